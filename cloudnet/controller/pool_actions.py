"""What the loop of native addresses asks for, and what it is told: values in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from cloudnet.controller.actions import Changed, Leading, Say, Tell, Write, WriteOutcome
from cloudnet.errors import CloudnetError
from cloudnet.model.addresses import InterfaceId, Network, NodeName, SubnetId
from cloudnet.provider.api import Holdings, Instance, NetworkInterface, Wanted
from cloudnet.provider.errors import ProviderError

# --- actions ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReadAddresses:
    """Read what the cloud says of these machines' addresses. One is under way at most."""

    instances: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class GiveAddresses:
    """Give one interface of a node more addresses."""

    node: NodeName
    interface: NetworkInterface
    wanted: Wanted


@dataclass(frozen=True, slots=True)
class AddInterface:
    """Attach another interface to a node's machine."""

    node: NodeName
    instance: Instance
    subnet: SubnetId
    wanted: Wanted


@dataclass(frozen=True, slots=True)
class TakeAddresses:
    """Give addresses back to the cloud: no block of them stands, and their quarantine is over."""

    node: NodeName
    interface: NetworkInterface
    cidrs: tuple[Network, ...]


@dataclass(frozen=True, slots=True)
class RemoveInterface:
    """Remove an interface of ours that delivers nothing that anybody uses; ``node`` is empty for a leaked one."""

    node: NodeName
    interface: NetworkInterface


@dataclass(frozen=True, slots=True)
class AdoptBlocks:
    """Make these the node's blocks: {block: the interface that delivers it}."""

    node: NodeName
    blocks: Mapping[Network, InterfaceId] = field(hash=False)


@dataclass(frozen=True, slots=True)
class LetBlocksGo:
    """Take the blocks of one leaving prefix from the node, those without an address in use."""

    node: NodeName
    cidr: Network
    blocks: tuple[Network, ...]


@dataclass(frozen=True, slots=True)
class WriteLedger:
    """Write records to the store, in order; one batch is under way at most."""

    writes: tuple[Write, ...]


Mutation: TypeAlias = GiveAddresses | AddInterface | TakeAddresses | RemoveInterface
CloudAction: TypeAlias = ReadAddresses | Mutation
StoreAction: TypeAlias = AdoptBlocks | LetBlocksGo | WriteLedger
PoolAction: TypeAlias = CloudAction | StoreAction | Say | Tell

# --- outcomes -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AddressesRead:
    """The outcome of ``ReadAddresses``."""

    holdings: Holdings | None
    error: ProviderError | None = None


@dataclass(frozen=True, slots=True)
class Mutated:
    """The outcome of a change in the cloud; without ``error`` it was made, and ``interface`` is as it is now.

    Neither: it was not tried, because this controller leads no longer.
    """

    action: Mutation
    interface: NetworkInterface | None = None
    error: ProviderError | None = None


@dataclass(frozen=True, slots=True)
class Adopted:
    """The outcome of ``AdoptBlocks``: blocks without an entry are the node's now."""

    action: AdoptBlocks
    errors: Mapping[Network, CloudnetError] = field(hash=False)


@dataclass(frozen=True, slots=True)
class LetGo:
    """The outcome of ``LetBlocksGo``: whether all are gone; otherwise some have addresses in use."""

    action: LetBlocksGo
    gone: bool
    error: CloudnetError | None = None


@dataclass(frozen=True, slots=True)
class LedgerWritten:
    """The outcome of ``WriteLedger``; writes without an outcome were not tried."""

    outcomes: tuple[WriteOutcome, ...]


PoolInput: TypeAlias = Changed | Leading | AddressesRead | Mutated | Adopted | LetGo | LedgerWritten
