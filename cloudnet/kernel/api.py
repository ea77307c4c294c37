"""The kernel door: what of this Linux host cloudnet reads and writes.

Everything the kernel holds for us is a frozen value with a ``key``, the identity under which the kernel would
replace it. ``read`` gives only what carries our mark: routes and rules with our protocol number, and the
permanent entries on our own overlay devices. What others made is never returned and so never touched.
``cloudnet.testing.kernel`` holds the suite that the real door and its in-memory twin pass.
"""

from __future__ import annotations

import enum
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol, TypeAlias

from cloudnet.errors import CloudnetError
from cloudnet.model.addresses import Address, Family, Interface, Network, order

ROUTE_PROTOCOL = 67
"""Our rtnetlink protocol number (``rtm_protocol``, ``FRA_PROTOCOL``): free in iproute2's rt_protos, and neither
Calico's 80 nor BIRD's 12, so that each program knows its own routes on a shared host."""

# Routing tables. All that are ours stand here, so that no number is taken twice.
MAIN_TABLE = 254  # RT_TABLE_MAIN, linux/rtnetlink.h

PROBE_TABLE = 4793
"""The native way of each block, for probes alone."""

OVERLAY_TABLE = 4794
"""The overlay's way to native blocks, for what is not this machine's where it may not forward."""

LEARNED_TABLE = 4795
"""Where BIRD puts what peers say of the way to pods (``cloudnet.bgp``): no rule leads there, only we read it."""

INTERFACE_TABLES = 4800
"""And the number of a further interface: the main table with that interface's gateway."""

OVERLAY_DEVICES: Mapping[Family, str] = MappingProxyType(
    {Family.IPV4: "vxlan.calico", Family.IPV6: "vxlan-v6.calico"}
)
"""Our overlay devices have Calico's names (``felix/dataplane/linux/vxlan_mgr.go``). Devices carry no owner, so the
name is the mark: a device so called is ours with all its permanent entries, and entries elsewhere never are."""

Key: TypeAlias = tuple[Hashable, ...]


def _identify(value: KernelObject, key: Key) -> None:
    """Give a frozen value its key once: of numbers and words, because hashing addresses costs more than the rest."""
    object.__setattr__(value, "key", key)


class KernelError(CloudnetError):
    """The kernel refused; the message names the object, the errno and what to do."""

    def __init__(self, message: str, *, errno: int = 0) -> None:
        super().__init__(message)
        self.errno = errno


class HostNamespace(KernelError):
    """We were about to write in the machine's own network namespace without being told so explicitly."""


class NotANamespace(KernelError):
    """A file that should be a network namespace is none."""


class RouteKind(enum.Enum):
    """``rtm_type``: where a matching packet goes."""

    UNICAST = 1
    LOCAL = 2
    BLACKHOLE = 6


@dataclass(frozen=True, slots=True)
class Route:
    """One route of ours. A smaller ``metric`` wins among equal prefixes; it is 1 at least."""

    destination: Network
    device: str | None = None
    gateway: Address | None = None
    metric: int = 1024
    table: int = MAIN_TABLE
    kind: RouteKind = RouteKind.UNICAST
    onlink: bool = False
    source: Address | None = None
    key: Key = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _identify(self, ("route", self.table, *order(self.destination), self.metric))


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A permanent ARP or ND entry: ``address`` is at ``mac`` on ``device``. ``mac`` is lower case with colons."""

    device: str
    address: Address
    mac: str
    key: Key = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _identify(self, ("neighbour", self.device, self.address.version, int(self.address)))


@dataclass(frozen=True, slots=True)
class FdbEntry:
    """A permanent forwarding entry of a VXLAN device: frames for ``mac`` go to the remote host ``address``."""

    device: str
    mac: str
    address: Address
    key: Key = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _identify(self, ("fdb", self.device, self.mac))


@dataclass(frozen=True, slots=True)
class Rule:
    """One policy-routing rule of ours: packets that match all that is said are looked up in ``table``."""

    family: Family
    priority: int
    table: int
    protocol: int | None = None  # IPPROTO_*
    dport: int | None = None
    source: Network | None = None
    destination: Network | None = None
    key: Key = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ends = tuple(order(end) if end else None for end in (self.source, self.destination))
        _identify(self, ("rule", self.family, self.priority, self.table, self.protocol, self.dport, *ends))


@dataclass(frozen=True, slots=True)
class VxlanDevice:
    """Our overlay device, up, with exactly these addresses, ascending; an incompatible one is made anew.

    ``sound`` is false only in what ``read`` returns, for a device that is down, learns from packets, or is no
    VXLAN device at all: it differs from every wish, and putting it again repairs it.
    """

    name: str
    vni: int
    port: int
    parent: str
    local: Address
    mac: str
    mtu: int
    addresses: tuple[Interface, ...] = ()
    sound: bool = True
    key: Key = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _identify(self, ("vxlan", self.name))


KernelObject: TypeAlias = Route | Neighbour | FdbEntry | Rule | VxlanDevice


@dataclass(frozen=True, slots=True)
class Put:
    """Create the object, or replace the one with its key in one step, without a moment of neither."""

    value: KernelObject


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete the object; that it is absent already is success."""

    value: KernelObject


Change: TypeAlias = Put | Remove


@dataclass(frozen=True, slots=True)
class Failure:
    """One change that the kernel refused; the others of the batch were still carried out."""

    change: Change
    error: KernelError


@dataclass(frozen=True, slots=True)
class Link:
    """One network device of the host, anybody's."""

    name: str
    index: int
    mtu: int
    up: bool
    mac: str = ""
    addresses: tuple[Interface, ...] = ()


@dataclass(frozen=True, slots=True)
class Hop:
    """The way to the next router: its address, and the device that it is behind."""

    gateway: Address
    device: str


@dataclass(frozen=True, slots=True)
class Gateway:
    """The host's default route of one family."""

    family: Family
    device: str
    address: Address


class Notices(Protocol):
    """Tells that something in the kernel changed; use from one thread, close when done."""

    def wait(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds; return whether links, addresses, routes, rules or neighbours changed.

        Our own writes are not reported, though what the kernel does by itself about a new device may be. Many
        changes at once are one notice. Neighbours count on our overlay devices only: elsewhere they come and go.
        """

    def close(self) -> None: ...


class Kernel(Protocol):
    """This host's links, routes and overlay devices, in the network namespace the door was opened in."""

    def links(self) -> Mapping[str, Link]:
        """Return every device by name."""

    def gateways(self) -> Sequence[Gateway]:
        """Return the default route of each family that has one with a gateway."""

    def read(self) -> Mapping[Key, KernelObject]:
        """Return all that carries our mark, by key."""

    def learned(self) -> Mapping[Network, Hop]:
        """Return the ways that BIRD learnt from its peers and put into ``LEARNED_TABLE``; of several the first."""

    def apply(self, changes: Sequence[Change]) -> Sequence[Failure]:
        """Carry the changes out in order, many in one system call; return those that the kernel refused.

        The failures are in the order of the changes and hold the very objects that were given.
        """

    def set_up(self, device: str, addresses: Sequence[Address]) -> None:
        """Set a device of the cloud's up and give it these addresses, alone and without a route to any neighbours.

        What it has besides stays; so nothing of this is ever taken back. It goes when the device goes.

        Raises:
            KernelError: there is no such device, or the kernel refused.
        """

    def set_sysctl(self, name: str, value: str) -> None:
        """Write e.g. ``net.ipv4.conf.eth0.rp_filter``; writing what stands there already costs only the read.

        A device's name may hold dots, ``net.ipv4.conf.vxlan.calico.rp_filter``; slashes separate as well.

        Raises:
            KernelError: there is no such setting, or it may not be written.
        """

    def sysctl(self, name: str) -> str | None:
        """Return what a setting stands at; nothing when there is none of the name."""

    def notices(self) -> Notices:
        """Return a stream of notices on what others change from now on."""

    def close(self) -> None: ...
