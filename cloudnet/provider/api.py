"""The cloud door: what a provider plugin promises.

A provider is small and typed and honest about what it cannot do: ``routes`` or ``addresses`` is ``None`` where
the cloud has no such thing. Only the controller calls it. Every call goes through the call budget; ``Throttled``
and ``Unavailable`` are retried inside, under a deadline, and everything else leaves at once as one of
``cloudnet.provider.errors``. ``cloudnet.testing.provider`` holds the suite that every plugin passes.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from cloudnet.model.addresses import (
    Address,
    Family,
    InstanceId,
    Interface,
    InterfaceId,
    Network,
    NodeName,
    SubnetId,
    TableId,
)
from cloudnet.model.resources import NextHop, Node
from cloudnet.provider.errors import ProviderError


class Encapsulation(enum.Enum):
    """What the fabric lets through between nodes."""

    VXLAN = "vxlan"
    IPIP = "ipip"


class RouteScope(enum.Enum):
    """What one route table serves."""

    SUBNET = "subnet"  # AWS, Azure: a table for each subnet or group of subnets
    NETWORK = "network"  # Google: one table for the whole network
    ZONE = "zone"  # IBM: routes hold in one zone


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What this cloud and account can do; read once at start, never compiled in.

    ``l2_adjacent``: nodes of one subnet reach each other's pods without a table entry once forwarding is
    allowed. ``routes_per_table`` is the quota for tables that do not tell their own. ``forwarding_fixed``: whether a
    machine may forward is settled when it is made. ``batch`` is how many changes one ``apply`` should carry: as many
    as are on their way together for a few seconds, because leadership is looked at only between batches. ``page`` is
    how many routes or machines one call reads at most, 0 where no number is worth a thought: whoever needs more
    pages is read less often, so that an idle cluster costs the same at any size.
    """

    families: frozenset[Family] = frozenset({Family.IPV4})
    l2_adjacent: bool = False
    encapsulations: frozenset[Encapsulation] = frozenset({Encapsulation.VXLAN})
    route_scope: RouteScope = RouteScope.SUBNET
    routes_per_table: int = 0
    forwarding_fixed: bool = False
    batch: int = 10
    page: int = 0


@dataclass(frozen=True, slots=True)
class Instance:
    """A node's machine, as the cloud sees it; ``interface`` carries the node's address, ``type`` names its size."""

    id: InstanceId
    interface: InterfaceId
    subnet: SubnetId
    zone: str = ""
    addresses: tuple[Address, ...] = ()
    running: bool = True
    forwarding: bool = False
    mtu: int = 1500
    type: str = ""

    @property
    def next_hop(self) -> NextHop:
        """What a cloud route to this node points at; the address is the first, IPv4 before IPv6."""
        return NextHop(self.interface, self.id, self.addresses[0] if self.addresses else None)


class Owner(enum.Enum):
    """Whose a cloud route is, as far as the cloud itself can say."""

    OURS = "ours"  # the route carries our mark
    DECLARED = "declared"  # an operator vouches for it: it serves every block inside, and nobody here writes it
    FOREIGN = "foreign"  # it surely is somebody else's (the local route, another kind of next hop, a propagated one)
    UNMARKED = "unmarked"  # routes of this cloud carry no mark: our ledger decides


@dataclass(frozen=True, slots=True)
class TableRoute:
    """One entry of a cloud route table. ``target`` is the next hop in the cloud's own words, for messages."""

    destination: Network
    next_hop: NextHop
    owner: Owner = Owner.UNMARKED
    black_hole: bool = False
    target: str = ""


@dataclass(frozen=True, slots=True)
class RouteTable:
    """One route table: whom it serves, what it holds, how much fits.

    ``limits`` counts routes per family as the cloud counts them; a missing family has no known limit. With a
    ``zone`` its routes hold in that zone only and can lead only to machines there. ``read_only``: nothing can be
    written to it, it holds what it holds.
    """

    id: TableId
    subnets: frozenset[SubnetId]
    routes: tuple[TableRoute, ...] = ()
    limits: Mapping[Family, int] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    name: str = ""
    zone: str = ""
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class RouteTables:
    """Every table in scope, in the order of their ids."""

    tables: tuple[RouteTable, ...] = ()

    def of(self, subnet: SubnetId) -> tuple[RouteTable, ...]:
        """Return the tables that packets leaving ``subnet`` are looked up in."""
        return tuple(table for table in self.tables if subnet in table.subnets)


class Verb(enum.Enum):
    """What to do with one route."""

    CREATE = "create"
    REPLACE = "replace"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class RouteChange:
    """One change to one table. ``next_hop`` is the new one, for a delete the one that must still stand there."""

    verb: Verb
    table: TableId
    destination: Network
    next_hop: NextHop


@dataclass(frozen=True, slots=True)
class RouteResult:
    """The outcome of one change; without ``error`` the cloud accepted it, which a read has yet to show."""

    change: RouteChange
    error: ProviderError | None = None


class RouteProgrammer(Protocol):
    """Programs the cloud's route tables."""

    def read(self, tables: Collection[TableId] | None = None) -> RouteTables:
        """Return every table in scope, or just these; found by subnet association, quota included.

        Raises:
            ProviderError: the read failed.
        """

    def apply(self, changes: Sequence[RouteChange]) -> Sequence[RouteResult]:
        """Carry the changes out, in order; each has its own outcome and one refusal never hides another.

        Creating what exists alike and deleting what is absent succeed. A replaced next hop leaves no gap.
        """


# --- native pod addresses -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """Pod addresses to take: so many prefixes of one length; single addresses where it is all the family's bits."""

    family: Family
    length: int
    count: int = 1

    @property
    def addresses(self) -> int:
        """How many addresses that is."""
        return self.count << (_BITS[self.family] - self.length)


_BITS: Mapping[Family, int] = MappingProxyType({Family.IPV4: 32, Family.IPV6: 128})


@dataclass(frozen=True, slots=True)
class Room:
    """What fits on one machine, as its type allows.

    ``interfaces`` counts the primary one; 1 where a running machine gets no more. ``slots`` is how many prefixes and
    single addresses together one interface takes beside its own address: {family: number}. ``lengths`` are those of
    the prefixes that the cloud delegates; a family that is missing gets single addresses only.
    """

    interfaces: int = 1
    slots: Mapping[Family, int] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    lengths: Mapping[Family, int] = field(default_factory=lambda: MappingProxyType({}), hash=False)


@dataclass(frozen=True, slots=True)
class NetworkInterface:
    """One network interface, and the pod addresses that the cloud delivers to it.

    ``addresses`` are its own, with the prefix length of its subnet, one a family at most. ``cidrs`` are prefixes and
    single addresses (as /32 and /128) for pods, in order, and nothing that may be somebody else's: of those only the
    slots count, {family: number}. ``ours`` carries our mark: we made it at ``made_at`` (seconds since 1970) and may
    remove it. One that is attached to nothing has no ``instance``. ``prefixes_only`` takes no single addresses: they
    could not be told from somebody else's.
    """

    id: InterfaceId
    subnet: SubnetId
    instance: InstanceId | None = None
    primary: bool = False
    ours: bool = False
    mac: str = ""
    addresses: tuple[Interface, ...] = ()
    cidrs: tuple[Network, ...] = ()
    foreign: Mapping[Family, int] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    made_at: float = 0.0
    prefixes_only: bool = False


@dataclass(frozen=True, slots=True)
class PodSubnet:
    """A subnet that interfaces for pods may be in. ``free`` addresses may be scattered: {family: number}."""

    id: SubnetId
    zone: str = ""
    free: Mapping[Family, int] = field(default_factory=lambda: MappingProxyType({}), hash=False)


@dataclass(frozen=True, slots=True)
class Holdings:
    """All that the cloud says of native addresses: interfaces in the order of their ids, rooms and subnets by id."""

    interfaces: tuple[NetworkInterface, ...] = ()
    rooms: Mapping[InstanceId, Room] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    subnets: Mapping[SubnetId, PodSubnet] = field(default_factory=lambda: MappingProxyType({}), hash=False)


class AddressAllocator(Protocol):
    """Takes pod addresses from the cloud's own IPAM. Every method raises ``ProviderError`` when the cloud refuses."""

    def read(self, instances: Collection[Instance]) -> Holdings:
        """Return the interfaces of these machines and every one with our mark, in bulk, never one call a machine.

        ``made_at`` of an interface and the mark itself come from the cloud, so that whoever reads next can tell.
        """

    def assign(self, interface: NetworkInterface, wanted: Wanted) -> tuple[Network, ...]:
        """Give an interface more pod addresses, all or none; return them.

        A try whose answer is lost may leave addresses that nobody was told of: the next read shows them.

        Raises:
            Exhausted: the subnet has not so many; prefixes need aligned free ranges.
            QuotaExceeded: the interface is full.
        """

    def release(self, interface: NetworkInterface, cidrs: Sequence[Network]) -> None:
        """Take pod addresses from an interface; that they, or it, are gone already is success."""

    def add_interface(self, instance: Instance, subnet: SubnetId, wanted: Wanted) -> NetworkInterface:
        """Make an interface that carries our mark from its first moment and holds ``wanted``; attach it.

        It goes when the machine goes. What fails midway is taken back, or shows in a read, attached to nothing.

        Raises:
            Exhausted: as for ``assign``.
            QuotaExceeded: the machine, or the account, may have no more.
            Unsupported: a running machine gets no interface in this cloud.
        """

    def remove_interface(self, interface: NetworkInterface) -> None:
        """Detach an interface of ours and delete it, with its addresses; that it is gone already is success.

        Raises:
            Unsupported: it does not carry our mark, or is a machine's primary one.
        """


class Provider(Protocol):
    """One cloud."""

    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def routes(self) -> RouteProgrammer | None: ...

    @property
    def addresses(self) -> AddressAllocator | None: ...

    def instances(self, nodes: Iterable[Node]) -> Mapping[NodeName, Instance]:
        """Return the machine of each node, in bulk, never one call a node; nodes without one are left out.

        Raises:
            ProviderError: the read failed.
        """

    def allow_forwarding(self, instance: Instance) -> None:
        """Let the instance's interface send and receive for addresses that are not its own.

        Raises:
            ProviderError: the cloud refused, or this can only be set when the machine is made.
        """
