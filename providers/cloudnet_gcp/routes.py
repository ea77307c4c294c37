"""The routes of one network in our words, and our changes carried out.

Google has no route tables: routes belong to the network and hold for every machine in it. So there is one table,
named like the network, that serves the subnets of all nodes, and each block stands in it once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from cloudnet.clock import Clock
from cloudnet.model.addresses import Family, Network, NodeName, SubnetId, TableId, family, order
from cloudnet.model.resources import NextHop
from cloudnet.provider.api import Owner, RouteChange, RouteResult, RouteTable, RouteTables, TableRoute, Verb
from cloudnet.provider.errors import NotFound, ProviderError, QuotaExceeded
from cloudnet_gcp import wire
from cloudnet_gcp.batch import Batch
from cloudnet_gcp.client import Client
from cloudnet_gcp.config import GcpConfig
from cloudnet_gcp.errors import NAME
from cloudnet_gcp.limits import Limits
from cloudnet_gcp.names import Marks, machine_id
from cloudnet_gcp.operations import Followed
from cloudnet_gcp.steps import effective_first

REMEMBER = 3600.0  # seconds that the subnet of a node nobody asks for stays in scope: the slow resync asks for all

BLACK_HOLES = frozenset(
    {
        "NEXT_HOP_ADDRESS_NOT_ASSIGNED",
        "NEXT_HOP_CANNOT_IP_FORWARD",
        "NEXT_HOP_INSTANCE_HAS_NO_IPV6_INTERFACE",
        "NEXT_HOP_INSTANCE_NOT_FOUND",
        "NEXT_HOP_INSTANCE_NOT_ON_NETWORK",
        "NEXT_HOP_NOT_RUNNING",
    }
)
"""The warnings by which the API says that packets to a route's next hop go nowhere."""


class GcpRoutes:
    """Programs the routes of one network."""

    def __init__(self, client: Client, limits: Limits, clock: Clock, config: GcpConfig) -> None:
        self._client = client
        self._limits = limits
        self._clock = clock
        self._config = config
        self._marks = Marks(config.cluster, config.network)
        self._subnets: dict[NodeName, tuple[SubnetId, float]] = {}

    def serve(self, subnets: Mapping[NodeName, SubnetId]) -> None:
        """Take the subnets of these nodes into scope."""
        now = self._clock.now()
        kept = {n: seen for n, seen in self._subnets.items() if now - seen[1] <= REMEMBER}
        self._subnets = kept | {node: (subnet, now) for node, subnet in subnets.items()}

    @property
    def table(self) -> TableId:
        return TableId(self._config.network)

    def read(self, tables: Collection[TableId] | None = None) -> RouteTables:
        """Return the network's one table; nothing when only others are asked for."""
        if tables is not None and self.table not in tables:
            return RouteTables()
        answers = self._client.routes()
        limit = self._limits.routes(sum(route.static for route in answers))
        subnets = frozenset(subnet for subnet, _ in self._subnets.values())
        return RouteTables((parse(self.table, answers, subnets=subnets, limit=limit, marks=self._marks),))

    def apply(self, changes: Sequence[RouteChange]) -> Sequence[RouteResult]:
        """Carry the changes out; one read before them, because the API refuses no second route to a destination."""
        results = [_elsewhere(change) for change in changes if change.table != self.table]
        ours = [change for change in changes if change.table == self.table]
        if ours:
            results += self._apply(ours)
        if any(isinstance(result.error, QuotaExceeded) for result in results):
            self._limits.forget()
        at = {id(change): position for position, change in enumerate(changes)}
        return sorted(results, key=lambda result: at[id(result.change)])

    def _apply(self, changes: Sequence[RouteChange]) -> Iterable[RouteResult]:
        try:
            standing = by_destination(self._client.routes())
        except ProviderError as error:
            return [RouteResult(change, error) for change in changes]
        followed = Followed(
            self._client, self._clock, timeout=self._config.operation_timeout, secrets=self._config.secrets
        )
        batch = Batch(self._client, followed, self._marks, standing)
        return batch.run(changes, parallel=self._config.parallel)


def by_destination(answers: Iterable[wire.Route]) -> Mapping[Network, list[wire.Route]]:
    found: defaultdict[Network, list[wire.Route]] = defaultdict(list)
    for route in answers:
        found[route.destination].append(route)
    return found


def parse(
    table: TableId, answers: Collection[wire.Route], *, subnets: frozenset[SubnetId], limit: int, marks: Marks
) -> RouteTable:
    """Return the network's table, one entry a destination.

    The quota counts static routes of both families together. Said family by family, what the other one takes is
    off, and what is listed but not counted (subnets, learned routes) is on top.
    """
    shown = {d: show(effective_first(routes), marks) for d, routes in by_destination(answers).items()}
    limits = {}
    for version in Family:
        others = sum(r.static for r in answers if family(r.destination) is not version)
        free = sum(1 for d in shown if family(d) is version) - sum(
            r.static for r in answers if family(r.destination) is version
        )
        limits[version] = max(0, limit - others + free)
    return RouteTable(
        id=table,
        subnets=subnets,
        routes=tuple(sorted(shown.values(), key=lambda route: order(route.destination))),
        limits=MappingProxyType(limits),
        name=table,
    )


def show(routes: Sequence[wire.Route], marks: Marks) -> TableRoute:
    """Return what the network does with a destination, from its routes in the order in which it follows them.

    Somebody else's route is shown when it wins or shares the traffic: a spare behind ours is nobody's trouble.
    """
    first = routes[0]
    rivals = [r for r in routes if r.priority == first.priority and not marks.ours(r)]
    found = parse_route(rivals[0] if rivals else first, marks)
    tags = (rivals[0] if rivals else first).tags
    return replace(found, target=f"{found.target} for machines tagged {', '.join(tags)}") if tags else found


def parse_route(route: wire.Route, marks: Marks) -> TableRoute:
    instance = machine_id(route.instance)
    words = f"instance {instance}" if instance else route.other
    return TableRoute(
        destination=route.destination,
        next_hop=NextHop(instance=instance),
        owner=Owner.OURS if marks.ours(route) else Owner.FOREIGN,
        black_hole=not BLACK_HOLES.isdisjoint(route.warnings),
        target=f"{words} (route {route.name})",
    )


def _elsewhere(change: RouteChange) -> RouteResult:
    if change.verb is Verb.DELETE:
        return RouteResult(change)
    return RouteResult(change, NotFound(f"network {change.table} is not the one that is configured", provider=NAME))
