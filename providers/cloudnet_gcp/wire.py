"""The parts of Compute Engine's answers that we act on, as values. Pure; what reads the SDK's objects is client.py.

Names are the API's own where it has a good one; URLs of other resources stay URLs, ``names.py`` reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from cloudnet.model.addresses import Network


@dataclass(frozen=True, slots=True)
class Route:
    """One route of a network. Exactly one of ``instance`` (a URL) and ``other`` (kind and name) is set.

    ``warnings`` are the API's codes for next hops that do not work.
    """

    name: str
    destination: Network
    priority: int
    instance: str = ""
    other: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    warnings: frozenset[str] = frozenset()
    static: bool = True  # counted by the quota of static routes; subnet routes and learned ones are not


@dataclass(frozen=True, slots=True)
class Alias:
    """An alias range of an interface; ``range`` names the subnet's secondary range, '' is its primary one."""

    cidr: str
    range: str = ""


@dataclass(frozen=True, slots=True)
class Nic:
    """A machine's interface. ``fingerprint`` has to come back with every change."""

    name: str
    network: str
    subnetwork: str
    addresses: tuple[str, ...] = ()
    fingerprint: str = ""
    aliases: tuple[Alias, ...] = ()


@dataclass(frozen=True, slots=True)
class Machine:
    """A VM instance."""

    name: str
    zone: str
    status: str
    type: str = ""
    can_ip_forward: bool = False
    nics: tuple[Nic, ...] = ()
    tags: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()  # service accounts, by their addresses


@dataclass(frozen=True, slots=True)
class Subnet:
    """A subnet's ranges: the primary one, and the secondary ones by name."""

    cidr: str
    secondary: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    name: str = ""


@dataclass(frozen=True, slots=True)
class VpcNetwork:
    """A network. ``mtu`` is bytes. ``policy`` is the firewall policy that is attached to it, a URL."""

    mtu: int
    policy: str = ""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a firewall rule speaks of: a protocol, by name or number, and ports (``443``, ``1-9``); none is all."""

    protocol: str
    ports: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Firewall:
    """One firewall rule of a network: it allows all of its ``traffic`` or denies it.

    ``targets`` and ``sources`` name tags and service accounts alike: a rule has the one kind or the other, and no tag
    looks like an account. No target is every machine. ``remotes`` are the other side's ranges, ``locals`` this one's.
    """

    name: str
    inbound: bool
    allow: bool
    priority: int
    traffic: tuple[Traffic, ...]
    remotes: tuple[str, ...] = ()
    locals: tuple[str, ...] = ()
    sources: frozenset[str] = frozenset()
    targets: frozenset[str] = frozenset()
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an operation failed: the HTTP status that it would have been, the API's code and message."""

    status: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Operation:
    """A write that was accepted. ``zone`` is '' for a global one."""

    name: str
    zone: str = ""
    done: bool = False
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Quota:
    """One of the project's quotas."""

    limit: float
    usage: float
