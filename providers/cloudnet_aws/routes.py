"""VPC route tables in our words, and our changes in AWS's.

Reading is one DescribeRouteTables of the whole VPC, filtered by its id: a subnet without an association of its
own belongs to the main table, which only the whole picture tells. Next hops are network interfaces, because an
instance with several cannot be a target. Routes carry no tags, so a route to an interface or an instance is
``UNMARKED`` and the controller's ledger decides; anything else is somebody else's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from ipaddress import ip_network
from types import MappingProxyType
from typing import TYPE_CHECKING

from cloudnet.clock import Clock
from cloudnet.model.addresses import (
    Family,
    InstanceId,
    InterfaceId,
    Network,
    NodeName,
    SubnetId,
    TableId,
    family,
    order,
)
from cloudnet.model.resources import NextHop
from cloudnet.provider import writes
from cloudnet.provider.api import Owner, RouteChange, RouteResult, RouteTable, RouteTables, TableRoute, Verb
from cloudnet.provider.errors import QuotaExceeded, Unsupported
from cloudnet_aws.client import Client
from cloudnet_aws.errors import NAME
from cloudnet_aws.limits import Limits, PrefixList

if TYPE_CHECKING:  # stubs, which exist only where the code is checked
    from mypy_boto3_ec2.type_defs import (
        CreateRouteRequestTypeDef,
        DeleteRouteRequestTypeDef,
        ReplaceRouteRequestTypeDef,
        RouteTableTypeDef,
        RouteTypeDef,
    )

PROPAGATED = "EnableVgwRoutePropagation"  # a route's origin: counted against a quota of its own
LOCAL = "the local route of the VPC"  # what of it is told: it has the addresses of the VPC's own subnets
REMEMBER = 3600.0  # seconds that the subnet of a node nobody asks for stays in scope: the slow resync asks for all

_TARGETS = (  # what else a route can lead to, by the field of the answer that names it
    ("NatGatewayId", "NAT gateway"),
    ("TransitGatewayId", "transit gateway"),
    ("VpcPeeringConnectionId", "peering connection"),
    ("EgressOnlyInternetGatewayId", "egress-only internet gateway"),
    ("LocalGatewayId", "local gateway"),
    ("CarrierGatewayId", "carrier gateway"),
    ("CoreNetworkArn", "core network"),
    ("OdbNetworkArn", "Oracle database network"),
)
_GATEWAYS = {"igw": "internet gateway", "vgw": "virtual private gateway", "vpce": "VPC endpoint"}


class AwsRoutes:
    """Programs the route tables of one VPC that serve the subnets of nodes."""

    def __init__(self, client: Client, limits: Limits, clock: Clock, *, only: Collection[str] = ()) -> None:
        self._client = client
        self._limits = limits
        self._clock = clock
        self._only = frozenset(TableId(t) for t in only)
        self._subnets: dict[NodeName, tuple[SubnetId, float]] = {}

    def serve(self, subnets: Mapping[NodeName, SubnetId]) -> None:
        """Take the subnets of these nodes into scope."""
        now = self._clock.now()
        kept = {n: seen for n, seen in self._subnets.items() if now - seen[1] <= REMEMBER}
        self._subnets = kept | {node: (subnet, now) for node, subnet in subnets.items()}

    def read(self, tables: Collection[TableId] | None = None) -> RouteTables:
        """Return the tables that serve nodes; every associated table of the VPC while no node is known.

        Tables asked for by id are returned whomever they serve.
        """
        answers = self._client.route_tables()
        quota = self._limits.quota()
        named = {pl for a in answers for r in a.get("Routes", []) if (pl := counted_list(r))}
        lists = self._limits.lists(named) if named else {}
        nodes = frozenset(subnet for subnet, _ in self._subnets.values())
        unassociated = nodes - {s for a in answers for s in associated(a)}
        found = (parse_table(a, unassociated, quota, lists) for a in answers)
        wanted = [t for t in found if (t.id in tables if tables is not None else self._in_scope(t, nodes))]
        self._limits.watch(wanted)
        return RouteTables(tuple(sorted(wanted, key=lambda t: t.id)))

    def apply(self, changes: Sequence[RouteChange]) -> Sequence[RouteResult]:
        results = writes.apply(changes, read=self.read, write=self._write, provider=NAME)
        if any(isinstance(r.error, QuotaExceeded) for r in results):
            self._limits.forget()
        return results

    def _in_scope(self, table: RouteTable, nodes: Collection[SubnetId]) -> bool:
        if self._only:
            return table.id in self._only
        return not table.subnets.isdisjoint(nodes) if nodes else bool(table.subnets)

    def _write(self, change: RouteChange, deadline: float | None) -> None:
        if change.verb is Verb.CREATE:
            self._client.create_route(create_request(change), deadline=deadline)
        elif change.verb is Verb.REPLACE:
            self._client.replace_route(replace_request(change), deadline=deadline)
        else:
            self._client.delete_route(delete_request(change), deadline=deadline)


def associated(answer: RouteTableTypeDef) -> frozenset[SubnetId]:
    """Return the subnets that are associated with the table by name."""
    return frozenset(SubnetId(a["SubnetId"]) for a in answer.get("Associations", []) if a.get("SubnetId"))


def parse_table(
    answer: RouteTableTypeDef, unassociated: frozenset[SubnetId], quota: int, lists: Mapping[str, PrefixList]
) -> RouteTable:
    """Return one table; the main one also serves the ``unassociated`` subnets."""
    main = any(a.get("Main") for a in answer.get("Associations", []))
    routes = (parse_route(r) for r in answer.get("Routes", []))
    return RouteTable(
        id=TableId(answer["RouteTableId"]),
        subnets=associated(answer) | unassociated if main else associated(answer),
        routes=tuple(sorted((r for r in routes if r), key=lambda r: order(r.destination))),
        limits=MappingProxyType(
            {f: max(0, quota - taken(answer.get("Routes", []), f, lists)) for f in (Family.IPV4, Family.IPV6)}
        ),
        name=next((t["Value"] for t in answer.get("Tags", []) if t.get("Key") == "Name"), ""),
    )


def taken(routes: Iterable[RouteTypeDef], of: Family, lists: Mapping[str, PrefixList]) -> int:
    """Return how far the quota differs from the number of listed routes that fit.

    A prefix list takes its greatest size, though it is not listed as routes; propagated routes are listed and
    have a quota of their own, so they give room back.
    """
    more = 0
    for route in routes:
        if route.get("DestinationPrefixListId"):
            size = lists.get(counted_list(route), PrefixList(entries=1))
            more += size.entries if size.family in (None, of) else 0
        elif route.get("Origin") == PROPAGATED and family(destination(route)) is of:
            more -= 1
    return more


def counted_list(route: RouteTypeDef) -> str:
    """Return the prefix list whose size counts; a gateway endpoint's list (S3, DynamoDB) counts 1, says AWS."""
    endpoint = route.get("GatewayId", "").startswith("vpce-")
    return "" if endpoint else route.get("DestinationPrefixListId", "")


def destination(route: RouteTypeDef) -> Network:
    return ip_network(route.get("DestinationCidrBlock") or route["DestinationIpv6CidrBlock"])


def parse_route(route: RouteTypeDef) -> TableRoute | None:
    """Return one route; ``None`` for a prefix list, which has no one destination."""
    if route.get("DestinationPrefixListId"):
        return None
    interface, instance = route.get("NetworkInterfaceId"), route.get("InstanceId")
    other = other_target(route)
    black_hole = route.get("State") == "blackhole"
    words = f"interface {interface}" if interface else f"instance {instance}" if instance else "nothing any more"
    return TableRoute(
        destination=destination(route),
        next_hop=NextHop(
            interface=InterfaceId(interface) if interface else None,
            instance=InstanceId(instance) if instance else None,
        ),
        owner=Owner.FOREIGN if other else Owner.UNMARKED,
        black_hole=black_hole,
        target=other or words,
    )


def other_target(route: RouteTypeDef) -> str:
    """Return what the route leads to when that surely is nothing of ours, else ''."""
    gateway = route.get("GatewayId", "")
    if gateway == "local" or route.get("Origin") == "CreateRouteTable":
        return LOCAL
    kind, name = next(((words, str(route[field])) for field, words in _TARGETS if route.get(field)), ("", ""))  # type: ignore[literal-required]  # the fields are those of _TARGETS
    if gateway:
        kind, name = _GATEWAYS.get(gateway.partition("-")[0], "gateway"), gateway
    origin = route.get("Origin", "CreateRoute")
    if origin != "CreateRoute":  # propagated by a VPN gateway, or advertised by a route server
        return f"{kind or 'a target'} {name} (not a static route: {origin})".replace("  ", " ")
    if kind:
        return f"{kind} {name}"
    known = route.get("NetworkInterfaceId") or route.get("InstanceId") or route.get("State") == "blackhole"
    return "" if known else "a kind of target that cloudnet does not know"


def create_request(change: RouteChange) -> CreateRouteRequestTypeDef:
    request: CreateRouteRequestTypeDef = {"RouteTableId": change.table, "NetworkInterfaceId": target(change)}
    if family(change.destination) is Family.IPV4:
        request["DestinationCidrBlock"] = str(change.destination)
    else:
        request["DestinationIpv6CidrBlock"] = str(change.destination)
    return request


def replace_request(change: RouteChange) -> ReplaceRouteRequestTypeDef:
    request: ReplaceRouteRequestTypeDef = {"RouteTableId": change.table, "NetworkInterfaceId": target(change)}
    if family(change.destination) is Family.IPV4:
        request["DestinationCidrBlock"] = str(change.destination)
    else:
        request["DestinationIpv6CidrBlock"] = str(change.destination)
    return request


def delete_request(change: RouteChange) -> DeleteRouteRequestTypeDef:
    request: DeleteRouteRequestTypeDef = {"RouteTableId": change.table}
    if family(change.destination) is Family.IPV4:
        request["DestinationCidrBlock"] = str(change.destination)
    else:
        request["DestinationIpv6CidrBlock"] = str(change.destination)
    return request


def target(change: RouteChange) -> str:
    """Return the interface that the route shall lead to.

    Raises:
        Unsupported: the change names none.
    """
    if not change.next_hop.interface:
        raise Unsupported(
            f"the route to {change.destination} names no network interface, and AWS routes need one", provider=NAME
        )
    return change.next_hop.interface
