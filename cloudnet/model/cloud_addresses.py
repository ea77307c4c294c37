"""What the controller records of a node's native addresses: the ledger of what is held, and what its agent must know.

Written by the controller alone, named like the node. The cloud is asked for nothing, and gives nothing back, before
it stands here; the agent finds here which interface delivers which prefix.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from cloudnet.model.addresses import Family, Interface, InterfaceId, Network, SubnetId
from cloudnet.model.resources import Cause, Metadata


class PrefixState(enum.Enum):
    """Life of a prefix that the cloud gave: a leaving one takes no new pod, and is given back once none uses it."""

    HELD = "held"
    LEAVING = "leaving"


@dataclass(frozen=True, slots=True)
class CloudPrefix:
    """A prefix or single address of one interface; ``since`` is seconds since 1970 in this state, for people."""

    cidr: Network
    interface: InterfaceId
    state: PrefixState = PrefixState.HELD
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class CloudInterface:
    """An interface that delivers native addresses to the node.

    ``number`` is 0 for the one that carries the node's address; others keep theirs as long as they are there, since
    the node's route tables are named after it. ``addresses`` have the prefix length of the subnet.
    """

    id: InterfaceId
    number: int
    mac: str
    subnet: SubnetId
    addresses: tuple[Interface, ...] = ()


@dataclass(frozen=True, slots=True)
class CloudAddresses:
    """The native addresses of one node.

    ``capacity`` is how many pods can have one, at most, on this machine: {family: number}. While ``cause`` is not
    ``none`` further pods get addresses of pools instead; ``detail`` says why, and the remedy.
    """

    meta: Metadata
    interfaces: tuple[CloudInterface, ...] = ()
    prefixes: tuple[CloudPrefix, ...] = ()
    capacity: Mapping[Family, int] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    cause: Cause = Cause.NONE
    detail: str = ""

    def prefix(self, cidr: Network) -> CloudPrefix | None:
        return next((p for p in self.prefixes if p.cidr == cidr), None)

    def interface(self, of: InterfaceId) -> CloudInterface | None:
        return next((i for i in self.interfaces if i.id == of), None)
