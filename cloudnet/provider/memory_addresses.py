"""Native pod addresses of the cloud in memory: the twin of ``AddressAllocator``, with EC2's manners.

``AddressSpace`` is the far side: subnets, interfaces, and what may be refused. It meters nothing by itself:
``MemoryCloud`` does. ``MemoryAddresses`` is the plugin's face of it. A prefix is aligned and wholly free, or it is
not to be had; four addresses at the beginning of a subnet and one at its end belong to the cloud.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from itertools import islice
from types import MappingProxyType
from typing import Protocol, TypeVar

from cloudnet.clock import Clock
from cloudnet.model.addresses import Family, InstanceId, InterfaceId, Network, SubnetId, family, order
from cloudnet.provider.api import Holdings, Instance, NetworkInterface, PodSubnet, Room, Wanted
from cloudnet.provider.budget import Budget, Kind
from cloudnet.provider.errors import Exhausted, NotFound, QuotaExceeded, Unsupported
from cloudnet.retry import Retry

T = TypeVar("T")

NAME = "memory"
READS = frozenset({"describe_interfaces"})
WRITES = frozenset(
    {
        "assign_addresses",
        "release_addresses",
        "create_interface",
        "attach_interface",
        "detach_interface",
        "delete_interface",
    }
)

ROOM = Room(
    3, MappingProxyType({Family.IPV4: 9, Family.IPV6: 9}), MappingProxyType({Family.IPV4: 28, Family.IPV6: 80})
)
"""Of an m5.large: three interfaces of ten addresses, one of which is the interface's own."""

_MACHINES_OWN = 10  # the cloud gives no pod an address below that: machines of tests are there


class AddressSpace:
    """Subnets and interfaces. Build the world with ``add_subnet`` and ``add_machine``; look at ``interfaces``."""

    def __init__(self, clock: Clock) -> None:
        self.interfaces: dict[InterfaceId, NetworkInterface] = {}
        self.meant: dict[InterfaceId, InstanceId] = {}  # for which machine an interface of ours was made
        self._clock = clock
        self._subnets: dict[SubnetId, tuple[Network, ...]] = {}
        self._zones: dict[SubnetId, str] = {}
        self._rooms: dict[InstanceId, Room] = {}
        self._taken: dict[SubnetId, set[Network]] = {}
        self._made = 0

    # --- build and change the world -------------------------------------------------------------------------

    def add_subnet(self, subnet: str, *cidrs: str, zone: str = "zone-a") -> SubnetId:
        """Add a subnet with a range of one or both families."""
        made = SubnetId(subnet)
        self._subnets[made] = tuple(ip_network(c) for c in cidrs)
        self._zones[made], self._taken[made] = zone, set()
        return made

    def add_machine(self, instance: Instance, room: Room = ROOM) -> NetworkInterface:
        """Give a machine its primary interface; its addresses lie in its subnet."""
        own = tuple(
            ip_interface((a, c.prefixlen))
            for a in instance.addresses
            for c in self._subnets[instance.subnet]
            if a in c
        )
        primary = NetworkInterface(
            instance.interface, instance.subnet, instance.id, primary=True, mac=_mac(0), addresses=own
        )
        self._rooms[instance.id] = room
        self._taken[instance.subnet].update(ip_network(a.ip) for a in own)
        self.interfaces[primary.id] = primary
        return primary

    def remove_machine(self, instance: str) -> None:
        """Terminate it: its interfaces go with it, and their addresses are free."""
        for interface in [i for i in self.interfaces.values() if i.instance == instance]:
            self._drop(interface)
        self._rooms.pop(InstanceId(instance), None)

    def take(self, subnet: str, *addresses: str) -> None:
        """Let somebody else have addresses, as machines and load balancers do."""
        self._taken[SubnetId(subnet)].update(ip_network(a) for a in addresses)

    def give_back(self, subnet: str, *addresses: str) -> None:
        """Let somebody else give addresses back."""
        self._taken[SubnetId(subnet)].difference_update(ip_network(a) for a in addresses)

    def fragment(self, subnet: str, length: int = 28) -> None:
        """Let somebody else have one address of every prefix of that length that is wholly free."""
        for cidr in self._subnets[SubnetId(subnet)]:
            if family(cidr) is Family.IPV4:
                for prefix in list(self._free(SubnetId(subnet), cidr, length)):
                    self._taken[SubnetId(subnet)].add(ip_network(prefix.network_address + 1))

    def add_foreign_address(self, interface: str, address: str) -> None:
        """Let somebody else give an interface another address, not for pods."""
        seen = self.interfaces[InterfaceId(interface)]
        of = Family(ip_address(address).version)
        self._taken[seen.subnet].add(ip_network(address))
        self.interfaces[seen.id] = replace(
            seen, foreign=MappingProxyType({**seen.foreign, of: seen.foreign.get(of, 0) + 1})
        )

    # --- the API's verbs ------------------------------------------------------------------------------------

    def describe(self, instances: Collection[InstanceId]) -> Holdings:
        shown = sorted((i for i in self.interfaces.values() if i.instance in instances or i.ours), key=lambda i: i.id)
        return Holdings(
            tuple(shown),
            MappingProxyType({i: r for i, r in self._rooms.items() if i in instances}),
            MappingProxyType({s: PodSubnet(s, self._zones[s], self._free_of(s)) for s in self._subnets}),
        )

    def assign(self, interface: InterfaceId, wanted: Wanted) -> tuple[Network, ...]:
        seen = self._existing(interface)
        room = self._rooms.get(seen.instance) if seen.instance else None
        used = sum(family(c) is wanted.family for c in seen.cidrs) + seen.foreign.get(wanted.family, 0)
        if room is not None and used + wanted.count > room.slots.get(wanted.family, 0):
            raise QuotaExceeded(
                f"interface {interface} holds {used} of {room.slots.get(wanted.family, 0)} addresses and prefixes",
                provider=NAME,
                code="PrivateIpAddressLimitExceeded",
                status=400,
            )
        if room is not None and not _fits(wanted, room):
            raise Unsupported(f"the machine of interface {interface} takes no /{wanted.length}", provider=NAME)
        given = self._take(seen.subnet, wanted)
        self.interfaces[seen.id] = replace(seen, cidrs=tuple(sorted((*seen.cidrs, *given), key=order)))
        return given

    def release(self, interface: InterfaceId, cidrs: Sequence[Network]) -> None:
        seen = self._existing(interface)
        self._taken[seen.subnet].difference_update(set(cidrs) & set(seen.cidrs))
        self.interfaces[seen.id] = replace(seen, cidrs=tuple(c for c in seen.cidrs if c not in cidrs))

    def create(self, subnet: SubnetId, wanted: Wanted, meant: InstanceId) -> NetworkInterface:
        if subnet not in self._subnets:
            raise NotFound(f"subnet {subnet} does not exist", provider=NAME, status=400)
        own = self._take(subnet, Wanted(Family.IPV4, 32))
        try:
            cidrs = self._take(subnet, wanted)
        except Exhausted:
            self._taken[subnet].difference_update(own)
            raise
        self._made += 1
        length = next(c.prefixlen for c in self._subnets[subnet] if c.version == own[0].version)
        made = NetworkInterface(
            InterfaceId(f"eni-made-{self._made:04d}"),
            subnet,
            ours=True,
            mac=_mac(self._made),
            addresses=(ip_interface((own[0].network_address, length)),),
            cidrs=tuple(sorted(cidrs, key=order)),
            made_at=self._clock.wall(),
        )
        self.interfaces[made.id], self.meant[made.id] = made, meant
        return made

    def attach(self, interface: InterfaceId, instance: InstanceId) -> NetworkInterface:
        seen, room = self._existing(interface), self._rooms.get(instance)
        if room is None:
            raise NotFound(f"instance {instance} does not exist", provider=NAME, status=400)
        if sum(i.instance == instance for i in self.interfaces.values()) >= room.interfaces:
            raise QuotaExceeded(
                f"instance {instance} has {room.interfaces} of {room.interfaces} interfaces",
                provider=NAME,
                code="AttachmentLimitExceeded",
                status=400,
            )
        self.interfaces[seen.id] = replace(seen, instance=instance)
        return self.interfaces[seen.id]

    def detach(self, interface: InterfaceId) -> None:
        self.interfaces[interface] = replace(self._existing(interface), instance=None)

    def delete(self, interface: InterfaceId) -> None:
        self._drop(self._existing(interface))

    # --- inside ---------------------------------------------------------------------------------------------

    def _existing(self, interface: InterfaceId) -> NetworkInterface:
        if interface not in self.interfaces:
            raise NotFound(f"interface {interface} does not exist", provider=NAME, status=400)
        return self.interfaces[interface]

    def _drop(self, interface: NetworkInterface) -> None:
        del self.interfaces[interface.id]
        own = (ip_network(a.ip) for a in interface.addresses)
        self._taken[interface.subnet].difference_update(interface.cidrs, own)

    def _take(self, subnet: SubnetId, wanted: Wanted) -> tuple[Network, ...]:
        cidrs = (c for c in self._subnets[subnet] if family(c) is wanted.family)
        free = (prefix for cidr in cidrs for prefix in self._free(subnet, cidr, wanted.length))
        given = tuple(islice(free, wanted.count))
        if len(given) < wanted.count:
            raise Exhausted(
                f"subnet {subnet} has not {wanted.count} free /{wanted.length}",
                provider=NAME,
                code="InsufficientCidrBlocks",
                status=400,
            )
        self._taken[subnet].update(given)
        return given

    def _free(self, subnet: SubnetId, cidr: Network, length: int) -> Iterator[Network]:
        """Yield the free prefixes of a length, lowest first; those of an IPv6 range without end, as long as asked."""
        taken = sorted((int(t.network_address), int(t.broadcast_address)) for t in self._taken[subnet])
        size = 1 << (cidr.max_prefixlen - length)
        first, last = int(cidr.network_address) + _MACHINES_OWN, int(cidr.broadcast_address) - 1
        at = -(-first // size) * size
        for low, high in (*taken, (last + 1, last + 1)):
            while at + size - 1 < low:
                yield type(cidr)((at, length))
                at += size
            if high >= at:
                at = -(-(high + 1) // size) * size

    def _free_of(self, subnet: SubnetId) -> Mapping[Family, int]:
        free = {}
        for cidr in self._subnets[subnet]:
            used = sum(t.num_addresses for t in self._taken[subnet] if t.version == cidr.version)
            free[family(cidr)] = max(0, cidr.num_addresses - _MACHINES_OWN - 1 - used)
        return MappingProxyType(free)


def _fits(wanted: Wanted, room: Room) -> bool:
    return wanted.addresses == wanted.count or room.lengths.get(wanted.family) == wanted.length


def _mac(number: int) -> str:
    return (b"\x06\x00\x00" + number.to_bytes(3, "big")).hex(":")


class Metered(Protocol):
    """What makes one call of a cloud that counts, refuses and forgets calls: ``MemoryCloud``."""

    def metered(self, verb: str, function: Callable[[], T]) -> T: ...


class MemoryAddresses:
    """Takes addresses from an ``AddressSpace``."""

    def __init__(self, cloud: Metered, space: AddressSpace, budget: Budget, retry: Retry) -> None:
        self._cloud, self._space, self._budget, self._retry = cloud, space, budget, retry

    def read(self, instances: Collection[Instance]) -> Holdings:
        wanted = frozenset(i.id for i in instances)
        return self._call("describe_interfaces", Kind.READ, lambda: self._space.describe(wanted))

    def assign(self, interface: NetworkInterface, wanted: Wanted) -> tuple[Network, ...]:
        return self._call("assign_addresses", Kind.WRITE, lambda: self._space.assign(interface.id, wanted))

    def release(self, interface: NetworkInterface, cidrs: Sequence[Network]) -> None:
        try:
            self._call("release_addresses", Kind.WRITE, lambda: self._space.release(interface.id, cidrs))
        except NotFound:
            return

    def add_interface(self, instance: Instance, subnet: SubnetId, wanted: Wanted) -> NetworkInterface:
        space = self._space
        made = self._call("create_interface", Kind.WRITE, lambda: space.create(subnet, wanted, instance.id))
        try:
            return self._call("attach_interface", Kind.WRITE, lambda: space.attach(made.id, instance.id))
        except (QuotaExceeded, NotFound):
            self._call("delete_interface", Kind.WRITE, lambda: space.delete(made.id))
            raise

    def remove_interface(self, interface: NetworkInterface) -> None:
        if not interface.ours or interface.primary:
            raise Unsupported(f"interface {interface.id} is not one that cloudnet made: it stays", provider=NAME)
        try:
            if interface.instance is not None:
                self._call("detach_interface", Kind.WRITE, lambda: self._space.detach(interface.id))
            self._call("delete_interface", Kind.WRITE, lambda: self._space.delete(interface.id))
        except NotFound:
            return

    def _call(self, verb: str, kind: Kind, function: Callable[[], T]) -> T:
        return self._retry.call(lambda: self._budget.call(verb, kind, lambda: self._cloud.metered(verb, function)))
