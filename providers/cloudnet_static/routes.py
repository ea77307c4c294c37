"""The routers as the operator declares them: one table for each subnet, read only."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from cloudnet.model.addresses import NodeName, SubnetId, TableId, order
from cloudnet.model.resources import NextHop
from cloudnet.provider.api import Owner, RouteChange, RouteResult, RouteTable, RouteTables, TableRoute
from cloudnet.provider.errors import Unsupported
from cloudnet_static.config import NAME, Routed, StaticConfig


class StaticRoutes:
    """What the routers of the nodes' subnets are declared to do."""

    def __init__(self, config: StaticConfig) -> None:
        self._config = config
        self._subnets: dict[NodeName, SubnetId] = {}

    def serve(self, subnets: Mapping[NodeName, SubnetId]) -> None:
        """Take the subnets of these nodes into scope."""
        self._subnets = {**self._subnets, **subnets}

    def read(self, tables: Collection[TableId] | None = None) -> RouteTables:
        """Return the router of every declared subnet, or of every subnet that a node was found in."""
        names = [SubnetId(s.name) for s in self._config.subnets] or sorted(set(self._subnets.values()))
        found = (table(self._config, name) for name in sorted(names))
        return RouteTables(tuple(t for t in found if tables is None or t.id in tables))

    def apply(self, changes: Sequence[RouteChange]) -> Sequence[RouteResult]:
        """Refuse every change: a plan asks for none, because the tables say that they are read only."""
        return tuple(RouteResult(change, _refusal(change)) for change in changes)


def table(config: StaticConfig, subnet: SubnetId) -> RouteTable:
    declared = (r for r in config.routed if not r.subnets or subnet in r.subnets)
    routes = tuple(sorted((_route(r, subnet) for r in declared), key=lambda r: order(r.destination)))
    return RouteTable(
        TableId(f"static/{subnet}"), frozenset({subnet}), routes, name=f"the router of {subnet}", read_only=True
    )


def _route(routed: Routed, subnet: SubnetId) -> TableRoute:
    where = str(routed.next_hop) if routed.next_hop else "whoever has the block"
    return TableRoute(
        routed.prefix,
        NextHop(address=routed.next_hop),
        Owner.DECLARED,
        target=f"{where}, by the router of {subnet}",
    )


def _refusal(change: RouteChange) -> Unsupported:
    return Unsupported(
        f"{change.destination} cannot be routed in {change.table}: nobody here programs that router; "
        "tell it by hand and declare the prefix under routed, or leave the block to VXLAN",
        provider=NAME,
    )
