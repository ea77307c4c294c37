"""What the lab's VPC consists of, and what it means for routes. No HTTP, no JSON."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

RUNNING = frozenset({"starting", "running"})


@dataclass(slots=True)
class Route:
    """One route. It is in force once ``stable_at`` has passed, and gone once ``gone_at`` has."""

    id: str
    name: str
    destination: IPv4Network
    zone: str
    action: str
    address: IPv4Address
    priority: int
    advertise: bool = False
    stable_at: float = 0.0
    gone_at: float | None = None
    changed: bool = False
    service: bool = False  # made by a service, which alone may delete it

    def lifecycle(self, now: float) -> str:
        if self.gone_at is not None:
            return "deleting"
        if now >= self.stable_at:
            return "stable"
        return "updating" if self.changed else "pending"


@dataclass(slots=True)
class Table:
    """A routing table."""

    id: str
    name: str
    default: bool = False
    routes: dict[str, Route] = field(default_factory=dict)

    def standing(self, now: float) -> list[Route]:
        """Return what a list shows, the newest first; what is deleted long enough is forgotten."""
        for name in [r.id for r in self.routes.values() if r.gone_at is not None and r.gone_at <= now]:
            del self.routes[name]
        return list(reversed(self.routes.values()))

    def alike(self, destination: IPv4Network, zone: str, priority: int) -> list[Route]:
        return [
            r for r in self.routes.values() if (r.destination, r.zone, r.priority) == (destination, zone, priority)
        ]


@dataclass(slots=True)
class Subnet:
    """A subnet; ``table`` is the id of the routing table that its packets are looked up in."""

    id: str
    name: str
    zone: str
    cidr: IPv4Network
    table: str


@dataclass(slots=True)
class Rule:
    """One rule of a security group: ``inbound`` or ``outbound``, from or to a prefix or the members of a group by id.

    Without ``ports`` all are meant.
    """

    direction: str
    remote: str
    protocol: str = "any"
    ports: tuple[int, int] | None = None


@dataclass(slots=True)
class SecurityGroup:
    """A security group; its rules are kept, and nothing here enforces them."""

    id: str
    name: str
    rules: list[Rule] = field(default_factory=list)


@dataclass(slots=True)
class Interface:
    """An interface; ``old`` ones are from before virtual network interfaces. ``groups`` are ids."""

    id: str
    name: str
    subnet: str
    address: IPv4Address
    mac: str
    spoofing: bool = False
    old: bool = False
    groups: tuple[str, ...] = ()


@dataclass(slots=True)
class Machine:
    """An instance with one interface; ``attachment`` is empty when that is of the old kind."""

    id: str
    name: str
    interface: str
    attachment: str
    status: str = "running"


@dataclass(slots=True)
class Vpc:
    """One VPC, everything in it by id. Ids look like IBM's and follow from the order of things."""

    region: str
    id: str = ""
    tables: dict[str, Table] = field(default_factory=dict)
    subnets: dict[str, Subnet] = field(default_factory=dict)
    interfaces: dict[str, Interface] = field(default_factory=dict)
    machines: dict[str, Machine] = field(default_factory=dict)
    groups: dict[str, SecurityGroup] = field(default_factory=dict)
    outside: str = ""  # the subnet whose table what comes in from outside is looked up in
    default_group: SecurityGroup = field(init=False)
    _made: int = 0

    def __post_init__(self) -> None:
        self.id = self.id or self.new("r010-")
        self.default_group = self.add_group("default")
        self.default_group.rules += [Rule("inbound", self.default_group.id), Rule("outbound", "0.0.0.0/0")]

    def new(self, prefix: str) -> str:
        self._made += 1
        return prefix + str(uuid.uuid5(uuid.NAMESPACE_OID, str(self._made)))

    # --- made by hand ---------------------------------------------------------------------------------------

    def add_table(self, name: str, *, default: bool = False) -> Table:
        table = Table(self.new("r010-"), name, default)
        self.tables[table.id] = table
        return table

    def add_group(self, name: str) -> SecurityGroup:
        group = SecurityGroup(self.new("r010-"), name)
        self.groups[group.id] = group
        return group

    def add_subnet(self, name: str, zone: str, cidr: IPv4Network, table: str) -> Subnet:
        subnet = Subnet(self.new("02b7-"), name, zone, cidr, table)
        self.subnets[subnet.id] = subnet
        return subnet

    def add_machine(self, name: str, subnet: str, address: IPv4Address, *, old: bool = False) -> Machine:
        """Start a machine; spoofing is off, as IBM has it."""
        mac = "02:00:" + ":".join(f"{octet:02x}" for octet in address.packed)
        interface = Interface(
            self.new("02b7-"), f"{name}-nic", subnet, address, mac, old=old, groups=(self.default_group.id,)
        )
        machine = Machine(self.new("02b7_"), name, interface.id, "" if old else self.new("02b7-"))
        self.interfaces[interface.id], self.machines[machine.id] = interface, machine
        return machine

    def remove_machine(self, name: str) -> None:
        machine = self.machines.pop(name)
        del self.interfaces[machine.interface]

    # --- questions ------------------------------------------------------------------------------------------

    def machine_of(self, interface: str) -> Machine | None:
        return next((m for m in self.machines.values() if m.interface == interface), None)

    def carrier(self, address: IPv4Address, zone: str) -> Interface | None:
        """Return the interface in that zone that has the address and whose machine runs."""
        for interface in self.interfaces.values():
            machine = self.machine_of(interface.id)
            here = interface.address == address and self.subnets[interface.subnet].zone == zone
            if here and machine is not None and machine.status in RUNNING:
                return interface
        return None

    def taken(self, subnet: Subnet, now: float) -> Iterator[Route]:
        """Yield the routes that packets from the subnet take: for each destination the most urgent in force.

        Of equal ones the API's documentation shares the packets between both; the lab takes the older one.
        """
        best: dict[IPv4Network, Route] = {}
        for route in self._in_force(self.tables[subnet.table].routes.values(), now):
            if route.zone != subnet.zone:
                continue
            known = best.get(route.destination)
            if known is None or route.priority < known.priority:
                best[route.destination] = route
        yield from best.values()

    def _in_force(self, routes: Iterable[Route], now: float) -> Iterator[Route]:
        return (r for r in routes if r.gone_at is None and (r.changed or now >= r.stable_at))
