"""What EC2 holds of a VPC, and what it refuses: the rules that moto leaves out.

Pure: a request and a state go in, a verdict comes out.

Codes and messages follow the EC2 API reference ("Error codes") and the texts that EC2 sends. What is assumed is
marked so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from types import MappingProxyType
from typing import TypeAlias

from cloudnet.lab.clouds.conditions import Conditions
from cloudnet.model.addresses import Address, Family, InstanceId, InterfaceId, Network, SubnetId, TableId, family

Parameters: TypeAlias = Mapping[str, str]
"""The form fields of a request: ``{name: value}``, as the EC2 query protocol sends them."""

Rule: TypeAlias = "Callable[[Parameters, Vpcs, int], Refusal | None]"
_NO_RULES: Mapping[str, Rule] = MappingProxyType({})

ROUTE_WRITES = frozenset({"CreateRoute", "ReplaceRoute", "DeleteRoute"})
LIVE = frozenset({"pending", "running"})  # an instance in another state takes no packets


@dataclass(frozen=True, slots=True)
class Eni:
    """A network interface. ``addresses``: the primary one first, then single secondary ones."""

    id: InterfaceId
    subnet: SubnetId
    vpc: str
    mac: str
    addresses: tuple[Address, ...]
    instance: InstanceId | None = None
    primary: bool = False
    check: bool = True
    prefixes: tuple[Network, ...] = ()
    attachment: str = ""
    index: int = 0

    @property
    def delivered(self) -> tuple[Network, ...]:
        """What packets reach it for: its addresses as prefixes, and its prefixes."""
        return (*(ip_network(a) for a in self.addresses), *self.prefixes)


@dataclass(frozen=True, slots=True)
class Machine:
    """An instance. ``interfaces``: the primary one first. The limits are its type's: addresses of one interface."""

    id: InstanceId
    name: str
    state: str
    interfaces: tuple[InterfaceId, ...] = ()
    check: bool = True
    type: str = ""
    nitro: bool = True
    most_interfaces: int = 1
    most_addresses: Mapping[Family, int] = field(default_factory=lambda: MappingProxyType({}), hash=False)

    def slots(self, version: Family) -> int:
        return self.most_addresses.get(version, 0)


@dataclass(frozen=True, slots=True)
class Subnet:
    """A subnet; ``table`` is the one that its packets are looked up in, the VPC's main one where none is set."""

    id: SubnetId
    name: str
    vpc: str
    cidr: Network
    table: TableId | None
    zone: str = ""
    cidr6: Network | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One route. At most one of the targets is set; ``other`` is any target but an interface or instance."""

    destination: Network
    interface: InterfaceId | None = None
    instance: InstanceId | None = None
    other: str = ""

    @property
    def local(self) -> bool:
        return self.other == "local"


@dataclass(frozen=True, slots=True)
class Table:
    """One route table, its entries in the order of their making."""

    id: TableId
    vpc: str
    entries: tuple[Entry, ...] = ()

    def entry(self, destination: Network) -> Entry | None:
        return next((e for e in self.entries if e.destination == destination), None)


@dataclass(frozen=True, slots=True)
class Vpcs:
    """Everything of one region that routing depends on, by id."""

    tables: Mapping[TableId, Table] = field(default_factory=dict, hash=False)
    subnets: Mapping[SubnetId, Subnet] = field(default_factory=dict, hash=False)
    interfaces: Mapping[InterfaceId, Eni] = field(default_factory=dict, hash=False)
    machines: Mapping[InstanceId, Machine] = field(default_factory=dict, hash=False)
    attachments: Mapping[str, SubnetId] = field(default_factory=dict, hash=False)
    """Transit gateways by id, each with the subnet that holds its end in the VPC."""

    def target(self, entry: Entry) -> Eni | None:
        """Return the interface that an entry leads to, dead or alive; nothing for a black hole without one."""
        if entry.interface:
            return self.interfaces.get(entry.interface)
        machine = self.machines.get(entry.instance) if entry.instance else None
        return self.interfaces.get(machine.interfaces[0]) if machine and machine.interfaces else None

    def delivers(self, interface: Eni) -> bool:
        """Tell whether packets sent to the interface arrive: attached, and its instance is running."""
        machine = self.machines.get(interface.instance) if interface.instance else None
        return machine is not None and machine.state in LIVE

    def black_hole(self, entry: Entry) -> bool:
        """Tell whether EC2 shows the entry with state ``blackhole``."""
        if entry.other:
            return False
        target = self.target(entry)
        return target is None or not self.delivers(target)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error answer of EC2."""

    status: int
    code: str
    message: str
    retry_after: float | None = None


def admit(action: str, key: str, conditions: Conditions) -> Refusal | None:
    """Judge the caller before looking at the request, in EC2's order: availability, rate, identity, permission."""
    if conditions.api == "unavailable":
        return Refusal(503, "Unavailable", "The server is overloaded and can't handle the request.")
    if conditions.throttled:
        return throttled(conditions.retry_after)
    if conditions.keys and key not in conditions.keys:
        return Refusal(401, "AuthFailure", "AWS was not able to validate the provided access credentials")
    if action in conditions.denied:
        return Refusal(
            403,
            "UnauthorizedOperation",
            "You are not authorized to perform this operation. User: arn:aws:iam::123456789012:user/cloudnet is not "
            f"authorized to perform: ec2:{action} because no identity-based policy allows the ec2:{action} action",
        )
    return None


def throttled(retry_after: float | None = None) -> Refusal:
    return Refusal(503, "RequestLimitExceeded", "Request limit exceeded.", retry_after)


def judge(
    action: str, parameters: Parameters, vpcs: Vpcs, *, routes_per_table: int, more: Mapping[str, Rule] = _NO_RULES
) -> Refusal | None:
    """Return why EC2 refuses the request; nothing when it (or moto behind us) carries it out."""
    rule = _RULES.get(action) or more.get(action)
    refusal = rule(parameters, vpcs, routes_per_table) if rule else None
    if refusal is None and parameters.get("DryRun", "").lower() == "true":
        return Refusal(412, "DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
    return refusal


def _create(parameters: Parameters, vpcs: Vpcs, routes_per_table: int) -> Refusal | None:
    table, destination, refusal = _addressed(parameters, vpcs)
    if table is None or destination is None:
        return refusal
    if refusal := _bad_target(parameters, table, vpcs):
        return refusal
    if table.entry(destination):
        return Refusal(400, "RouteAlreadyExists", f"The route identified by {destination} already exists.")
    if refusal := _inside_vpc(destination, table, vpcs):
        return refusal
    used = sum(family(e.destination) == family(destination) for e in table.entries)
    if used >= routes_per_table:  # assumed: the local routes count
        return Refusal(400, "RouteLimitExceeded", "The maximum number of routes has been reached.")
    return None


def _replace(parameters: Parameters, vpcs: Vpcs, _limit: int) -> Refusal | None:
    table, destination, refusal = _addressed(parameters, vpcs)
    if table is None or destination is None:
        return refusal
    entry = table.entry(destination)
    if entry is None:
        return _invalid(f"There is no route defined for '{destination}' in the route table. Use CreateRoute instead.")
    if entry.local:  # real EC2 allows a middlebox here; nothing in the lab is one
        return _invalid(f"cannot replace local route {destination} in route table {table.id}")
    return _bad_target(parameters, table, vpcs)


def _delete(parameters: Parameters, vpcs: Vpcs, _limit: int) -> Refusal | None:
    table, destination, refusal = _addressed(parameters, vpcs)
    if table is None or destination is None:
        return refusal
    entry = table.entry(destination)
    if entry is None:
        return Refusal(
            400,
            "InvalidRoute.NotFound",
            f"no route with destination-cidr-block {destination} in route table {table.id}",
        )
    if entry.local:
        return _invalid(f"cannot remove local route {destination} in route table {table.id}")
    return None


def _delete_interface(parameters: Parameters, vpcs: Vpcs, _limit: int) -> Refusal | None:
    interface = vpcs.interfaces.get(InterfaceId(parameters.get("NetworkInterfaceId", "")))
    if interface is None or interface.instance is None:
        return None
    return _invalid(f"Network interface '{interface.id}' is currently in use.")


_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "CreateRoute": _create,
        "ReplaceRoute": _replace,
        "DeleteRoute": _delete,
        "DeleteNetworkInterface": _delete_interface,
    }
)


def _addressed(parameters: Parameters, vpcs: Vpcs) -> tuple[Table | None, Network | None, Refusal | None]:
    """Return the table and the destination that a request names, or the refusal."""
    name = parameters.get("RouteTableId", "")
    table = vpcs.tables.get(TableId(name))
    if table is None:
        message = f"The routeTable ID '{name}' does not exist"
        return None, None, Refusal(400, "InvalidRouteTableID.NotFound", message)
    text = parameters.get("DestinationCidrBlock") or parameters.get("DestinationIpv6CidrBlock")
    if not text:
        message = "The request must contain the parameter destinationCidrBlock or destinationIpv6CidrBlock"
        return None, None, Refusal(400, "MissingParameter", message)
    try:
        destination = ip_network(text)
    except ValueError:  # no prefix at all, or bits set in its host part
        return (
            None,
            None,
            _invalid(
                f"Value ({text}) for parameter destinationCidrBlock is invalid. This is not a valid CIDR block."
            ),
        )
    if (family(destination) is Family.IPV6) != ("DestinationIpv6CidrBlock" in parameters):
        return (
            None,
            None,
            _invalid(
                f"Value ({text}) for parameter destinationCidrBlock is invalid. "
                "It belongs to the other address family."
            ),
        )
    return table, destination, None


_TARGETS = (
    "NetworkInterfaceId",
    "InstanceId",
    "GatewayId",
    "NatGatewayId",
    "TransitGatewayId",
    "VpcPeeringConnectionId",
    "EgressOnlyInternetGatewayId",
    "CarrierGatewayId",
    "VpcEndpointId",
    "LocalGatewayId",
    "CoreNetworkArn",
)


def _bad_target(parameters: Parameters, table: Table, vpcs: Vpcs) -> Refusal | None:
    named = [name for name in _TARGETS if parameters.get(name)]
    if not named:
        return Refusal(400, "MissingParameter", "The request must contain exactly one target of the route")
    if len(named) > 1:
        return Refusal(
            400, "InvalidParameterCombination", f"The parameters {', '.join(named)} may not be used together"
        )
    value = parameters[named[0]]
    if named[0] == "NetworkInterfaceId":
        return _bad_interface(InterfaceId(value), table, vpcs)
    if named[0] == "InstanceId":
        return _bad_machine(InstanceId(value), table, vpcs)
    return None


def _bad_interface(name: InterfaceId, table: Table, vpcs: Vpcs) -> Refusal | None:
    interface = vpcs.interfaces.get(name)
    if interface is None:
        return Refusal(400, "InvalidNetworkInterfaceID.NotFound", f"The networkInterface ID '{name}' does not exist")
    if interface.vpc != table.vpc:
        return _invalid(f"route table {table.id} and interface {name} belong to different networks")
    return None


def _bad_machine(name: InstanceId, table: Table, vpcs: Vpcs) -> Refusal | None:
    machine = vpcs.machines.get(name)
    if machine is None or not machine.interfaces:
        return Refusal(400, "InvalidInstanceID.NotFound", f"The instance ID '{name}' does not exist")
    if len(machine.interfaces) > 1:
        return Refusal(
            400,
            "InvalidInstanceID",
            f"There are multiple interfaces attached to instance '{name}'. "
            "Please specify an interface ID for the operation instead.",
        )
    return _bad_interface(machine.interfaces[0], table, vpcs)


def _inside_vpc(destination: Network, table: Table, vpcs: Vpcs) -> Refusal | None:
    """Refuse a route more specific than the local one, unless it covers exactly one subnet (a middlebox)."""
    local = next((e.destination for e in table.entries if e.local and _contains(e.destination, destination)), None)
    if local is None or any(s.cidr == destination for s in vpcs.subnets.values() if s.vpc == table.vpc):
        return None
    return _invalid(
        f"The destination CIDR block {destination} is equal to or more specific than one of this VPC's CIDR "
        f"blocks ({local}). It must be the CIDR block of a subnet"
    )


def _contains(outer: Network, inner: Network) -> bool:
    return outer.version == inner.version and outer.prefixlen <= inner.prefixlen and inner.network_address in outer


def _invalid(message: str) -> Refusal:
    return Refusal(400, "InvalidParameterValue", message)


@dataclass(slots=True)
class Views:
    """What readers of the API see: states of the past, for reads that lag behind writes.

    ``add`` takes states in the order of time; ``tables(at)`` gives the route tables of that moment. A table that
    did not exist then is shown as it was made: only routes arrive late.
    """

    _states: list[tuple[float, Vpcs]] = field(default_factory=list)

    def add(self, now: float, state: Vpcs, *, keep: float) -> None:
        """Remember a state; forget those that no reader can see anymore, ``keep`` seconds back."""
        self._states.append((now, state))
        old = [i for i, (at, _) in enumerate(self._states) if at <= now - keep]
        del self._states[: max(old[-1], 0) if old else 0]

    def tables(self, at: float) -> Mapping[TableId, Table]:
        then = [state.tables for when, state in self._states if when <= at][-1:]
        later = [state.tables for when, state in self._states if when > at]
        shown = {}
        for name, latest in self._states[-1][1].tables.items():
            shown[name] = next((tables[name] for tables in (*then, *later) if name in tables), latest)
        return shown
