"""VPC routing tables in our words, and our changes in IBM's.

A routing table serves subnets of any zone, but each of its routes holds in one zone and can lead only to a machine
there. So one routing table is as many tables to the planner as its subnets have zones, each named ``TABLE/ZONE``.

A route's name is its mark: it is made of the cluster, the destination and the zone, and a route that bears the name
it should bear is ours. The API takes two routes for one destination and shares the packets between them, so nothing
is created before a look.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_network
from types import MappingProxyType

from cloudnet.model.addresses import Address, Family, Network, NodeName, SubnetId, TableId, family, order
from cloudnet.model.resources import NextHop
from cloudnet.provider import writes
from cloudnet.provider.api import Instance, Owner, RouteChange, RouteResult, RouteTable, RouteTables, TableRoute, Verb
from cloudnet.provider.errors import NotFound, Unsupported
from cloudnet_ibm import answers
from cloudnet_ibm.client import Client
from cloudnet_ibm.config import IbmConfig
from cloudnet_ibm.errors import NAME

GOING = frozenset({"deleting"})
COMING = frozenset({"pending", "updating", "waiting"})  # accepted, not in force yet
LOST = frozenset({"failed", "suspended"})
_LONGEST_NAME = 63


class IbmRoutes:
    """Programs the routing tables of one VPC that serve the subnets of nodes."""

    def __init__(self, client: Client, config: IbmConfig) -> None:
        self._client = client
        self._config = config
        self._only = frozenset(config.routing_table_ids)
        self._nodes: dict[NodeName, Instance] = {}
        self._zones: dict[str, str] = {}
        self._seen: dict[str, list[answers.Route]] = {}

    def serve(self, instances: Mapping[NodeName, Instance]) -> None:
        """Take the subnets of these nodes into scope, and remember which machines stand still."""
        self._nodes = {**self._nodes, **instances}

    def read(self, tables: Collection[TableId] | None = None) -> RouteTables:
        """Return the tables that serve nodes; every table with a subnet while no node is known.

        Our routes that are accepted and not in force yet are left out: they are not there yet.
        """
        found = []
        for table in self._client.routing_tables():
            zones = self._zones_of(table)
            wanted = [z for z, subnets in zones.items() if self._in_scope(table.id, z, subnets, tables)]
            if wanted:
                routes = self._look(table.id)
                found += [self._table(table, zone, zones[zone], routes) for zone in wanted]
        return RouteTables(tuple(sorted(found, key=lambda t: t.id)))

    def apply(self, changes: Sequence[RouteChange]) -> Sequence[RouteResult]:
        return writes.apply(changes, read=self._standing, write=self._write, provider=NAME, look_first=True)

    # --- reading --------------------------------------------------------------------------------------------

    def _zones_of(self, table: answers.RoutingTable) -> Mapping[str, frozenset[SubnetId]]:
        """Return ``{zone: the table's subnets there}``; a subnet that nobody has seen yet is looked up, once."""
        if any(s.id not in self._zones for s in table.subnets):
            self._zones = {s.id: s.zone.name for s in self._client.subnets()}
        zones = sorted({z for s in table.subnets if (z := self._zones.get(s.id))})
        return {z: frozenset(SubnetId(s.id) for s in table.subnets if self._zones.get(s.id) == z) for z in zones}

    def _in_scope(
        self, table: str, zone: str, subnets: frozenset[SubnetId], tables: Collection[TableId] | None
    ) -> bool:
        if tables is not None:
            return table_id(table, zone) in tables
        if self._only and table not in self._only:
            return False
        served = {i.subnet for i in self._nodes.values()}
        return not served or not subnets.isdisjoint(served)

    def _look(self, table: str) -> list[answers.Route]:
        self._seen[table] = self._client.routes(table)
        return self._seen[table]

    def _table(
        self, table: answers.RoutingTable, zone: str, subnets: frozenset[SubnetId], routes: Sequence[answers.Route]
    ) -> RouteTable:
        limit = rooms(routes, {*self._zones.values()}, self._config.routes_per_table)[zone]
        return RouteTable(
            id=table_id(table.id, zone),
            subnets=subnets,
            routes=self._parse(routes, zone, coming=False),
            limits=MappingProxyType({Family.IPV4: limit}),
            name=table.name,
            zone=zone,
        )

    def _standing(self, tables: Collection[TableId]) -> RouteTables:
        """Return what stands in these tables, not in force yet included: what a write must look at."""
        found: list[RouteTable] = []
        for table in sorted({split(t)[0] for t in tables}):
            try:
                routes = self._look(table)
            except NotFound:
                continue
            zones = (split(t)[1] for t in sorted(tables) if split(t)[0] == table)
            found += [
                RouteTable(table_id(table, z), frozenset(), self._parse(routes, z, coming=True), zone=z)
                for z in zones
            ]
        return RouteTables(tuple(found))

    def _parse(self, routes: Iterable[answers.Route], zone: str, *, coming: bool) -> tuple[TableRoute, ...]:
        """Return the routes of a zone, one for each destination: the one that packets take.

        Of equal ones somebody else's is named, because it is the one that has to go.
        """
        best: dict[Network, tuple[tuple[int, bool], TableRoute]] = {}
        for answer in routes:
            if answer.zone.name != zone or answer.lifecycle_state in GOING:
                continue
            route = self._route(answer)
            if route.owner is Owner.OURS and answer.lifecycle_state in COMING and not coming:
                continue
            rank = (answer.priority, route.owner is Owner.OURS)
            if route.destination not in best or rank < best[route.destination][0]:
                best[route.destination] = rank, route
        return tuple(sorted((route for _, route in best.values()), key=lambda r: order(r.destination)))

    def _route(self, answer: answers.Route) -> TableRoute:
        destination = ip_network(answer.destination)
        address = leads_to(answer)
        still = {a: i for i in self._nodes.values() if not i.running for a in i.addresses}
        machine = next((i for i in self._nodes.values() if address in i.addresses), None) if address else None
        hop = NextHop(address=address, instance=machine.id if machine else None)
        return TableRoute(
            destination,
            hop if address else NextHop(),
            Owner.OURS if self._is_ours(answer) else Owner.FOREIGN,
            black_hole=answer.lifecycle_state in LOST or address in still,
            target=target(answer, machine),
        )

    def _is_ours(self, answer: answers.Route) -> bool:
        """Tell whether the route bears the name that we would give it, and can be changed by us at all."""
        name = route_name(self._config.cluster, answer.destination, answer.zone.name)
        return answer.name == name and answer.creator is None and leads_to(answer) is not None

    # --- writing --------------------------------------------------------------------------------------------

    def _write(self, change: RouteChange, deadline: float | None) -> None:
        table, zone = split(change.table)
        if change.verb is Verb.CREATE:
            self._check(change, table)
            self._client.create_route(table, self._request(change, zone), deadline=deadline)
            return
        route = self._find(change, table, zone)
        if change.verb is Verb.REPLACE:
            self._client.replace_next_hop(table, route.id, str(gateway(change)), deadline=deadline)
        else:
            self._client.delete_route(table, route.id, deadline=deadline)

    def _request(self, change: RouteChange, zone: str) -> Mapping[str, object]:
        destination = str(change.destination)
        return {
            "destination": destination,
            "zone": {"name": zone},
            "action": "deliver",
            "name": route_name(self._config.cluster, destination, zone),
            "next_hop": {"address": str(gateway(change))},
            "priority": self._config.priority,
        }

    def _find(self, change: RouteChange, table: str, zone: str) -> answers.Route:
        """Return our route as the look before the write found it.

        Raises:
            NotFound: it was not there.
        """
        for route in self._seen.get(table, ()):
            here = route.zone.name == zone and route.lifecycle_state not in GOING
            if here and ip_network(route.destination) == change.destination and self._is_ours(route):
                return route
        raise NotFound(f"there is no route to {change.destination} in {change.table}", provider=NAME)

    def _check(self, change: RouteChange, table: str) -> None:
        """Refuse what the API would refuse, or worse, take."""
        if family(change.destination) is not Family.IPV4:
            raise Unsupported(f"{change.destination} cannot be routed: a VPC has no IPv6 routes", provider=NAME)
        lengths = Counter(ip_network(r.destination).prefixlen for r in self._seen.get(table, ()))
        most = self._config.prefix_lengths_per_table
        if change.destination.prefixlen not in lengths and len(lengths) >= most:
            shown = ", ".join(f"/{n}" for n in sorted(lengths))
            raise Unsupported(
                f"routing table {table} has {len(lengths)} prefix lengths ({shown}) and takes no more than {most}: "
                "use one block size for all pools, or move other routes to another table",
                provider=NAME,
            )


def rooms(routes: Iterable[answers.Route], zones: Iterable[str], quota: int) -> Mapping[str, int]:
    """Return how many routes of a routing table each zone may hold: what it holds, and all that is left.

    What is left is offered to every zone, and the API refuses who comes late. Where the quota is exceeded, the last
    zone gives way first: if each did, all would withdraw what one of them had to.
    """
    held = Counter(route.zone.name for route in routes)
    left = quota - held.total()
    found = {}
    for zone in sorted({*zones, *held}, reverse=True):
        found[zone] = max(0, held[zone] + left)
        left = min(left + held[zone], 0) if left < 0 else left
    return found


def table_id(table: str, zone: str) -> TableId:
    return TableId(f"{table}/{zone}")


def split(table: TableId) -> tuple[str, str]:
    """Return routing table and zone."""
    name, _, zone = table.partition("/")
    return name, zone


def route_name(cluster: str, destination: str, zone: str) -> str:
    """Return the name that a route of ours bears, ``cloudnet-prod-10-65-1-0-26-eu-de-1``; at most 63 characters."""
    name = f"cloudnet-{cluster}-{destination.replace('.', '-').replace('/', '-')}-{zone}"
    if len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{name[: _LONGEST_NAME - len(digest) - 1]}-{digest}"


def leads_to(answer: answers.Route) -> Address | None:
    """Return the address that packets are delivered to; nothing when they go elsewhere, or nowhere."""
    return ip_address(answer.next_hop.address) if answer.action == "deliver" and answer.next_hop.address else None


def target(answer: answers.Route, machine: Instance | None) -> str:
    """Say in IBM's words where the route leads, and whose it is when that can be told."""
    made = f" (route {answer.name}, made by a service)" if answer.creator else f" (route {answer.name})"
    address = leads_to(answer)
    if address is not None:
        return (f"interface {machine.interface} at {address}" if machine else f"address {address}") + made
    if answer.action == "deliver":
        return f"VPN connection {answer.next_hop.name or answer.next_hop.id}{made}"
    return f"the action {answer.action}{made}"


def gateway(change: RouteChange) -> Address:
    """Return the address that the route shall lead to.

    Raises:
        Unsupported: the change names none.
    """
    if change.next_hop.address is None:
        raise Unsupported(
            f"the route to {change.destination} names no address, and IBM Cloud's routes need one", provider=NAME
        )
    return change.next_hop.address
