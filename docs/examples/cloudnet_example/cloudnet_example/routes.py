"""The router's tables in cloudnet's words, and cloudnet's changes in the router's."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from ipaddress import ip_network
from types import MappingProxyType

from cloudnet.model.addresses import Family, InterfaceId, SubnetId, TableId, order
from cloudnet.model.resources import NextHop
from cloudnet.provider import writes
from cloudnet.provider.api import Owner, RouteChange, RouteResult, RouteTable, RouteTables, TableRoute, Verb
from cloudnet.provider.errors import Unsupported
from cloudnet_example.client import Client, Entry, Table
from cloudnet_example.errors import NAME


class ExampleRoutes:
    """Programs the tables of one router."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def read(self, tables: Collection[TableId] | None = None) -> RouteTables:
        found = (parse_table(t) for t in self._client.tables())
        return RouteTables(tuple(sorted((t for t in found if tables is None or t.id in tables), key=lambda t: t.id)))

    def apply(self, changes: Sequence[RouteChange]) -> Sequence[RouteResult]:
        return writes.apply(changes, read=self.read, write=self._write, provider=NAME)

    def _write(self, change: RouteChange, deadline: float | None) -> None:
        prefix = str(change.destination)
        if change.verb is Verb.CREATE:
            self._client.create_route(change.table, prefix, port(change), deadline=deadline)
        elif change.verb is Verb.REPLACE:
            self._client.replace_route(change.table, prefix, port(change), deadline=deadline)
        else:
            self._client.delete_route(change.table, prefix, deadline=deadline)


def parse_table(table: Table) -> RouteTable:
    """Return the table; the router counts both families together, so each may use what the other leaves."""
    routes = tuple(sorted(map(parse_route, table.routes), key=lambda r: order(r.destination)))
    taken = {family: sum(r.destination.version == family for r in routes) for family in Family}
    left = table.limit - len(routes)
    limits = {family: taken[family] + max(0, left) for family in Family}
    return RouteTable(
        id=TableId(table.name),
        subnets=frozenset(SubnetId(s) for s in table.segments),
        routes=routes,
        limits=MappingProxyType(limits),
    )


def parse_route(entry: Entry) -> TableRoute:
    """Return the route: to a port it may be ours, which the controller's ledger knows; to an uplink it never is."""
    if not entry.port:
        return TableRoute(ip_network(entry.prefix), NextHop(), Owner.FOREIGN, target=f"uplink {entry.uplink}")
    hop = NextHop(interface=InterfaceId(entry.port))
    return TableRoute(ip_network(entry.prefix), hop, Owner.UNMARKED, target=f"port {entry.port}")


def port(change: RouteChange) -> str:
    """Return the port that the route shall lead to.

    Raises:
        Unsupported: the change names none.
    """
    if not change.next_hop.interface:
        raise Unsupported(f"the route to {change.destination} names no port", provider=NAME)
    return change.next_hop.interface
