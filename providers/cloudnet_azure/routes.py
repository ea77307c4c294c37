"""Programs route tables: a few changes of a table route by route, many as one write of the whole table.

Tables are found by the subnets that they serve, in one list of the resource group, routes and etags included. Azure
does one write of a table at a time, so the changes of a table follow each other, and each waits for its operation to
end. Tables do not wait for each other: the controller has a batch under way for each.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence

from cloudnet.clock import Clock
from cloudnet.model.addresses import NodeName, SubnetId, TableId
from cloudnet.provider import writes
from cloudnet.provider.api import Instance, RouteChange, RouteResult, RouteTable, RouteTables, Verb
from cloudnet.provider.errors import Conflict, NotFound, ProviderError, QuotaExceeded
from cloudnet_azure import bulk, tables
from cloudnet_azure.client import Client, Json
from cloudnet_azure.config import AzureConfig
from cloudnet_azure.errors import NAME
from cloudnet_azure.tables import Machines

log = logging.getLogger(__name__)

REMEMBER = 3600.0  # seconds that the machine of a node nobody asks for stays known: the slow resync asks for all
PRECONDITION_TRIES = 3  # that somebody else may win the race for a table before we leave it to the next round
_PRECONDITION = 412


class AzureRoutes:
    """Programs the route tables of one resource group that serve the subnets of nodes."""

    def __init__(self, client: Client, clock: Clock, config: AzureConfig) -> None:
        self._client = client
        self._clock = clock
        self._config = config
        self._only = frozenset(name.lower() for name in config.route_tables)
        self._known: dict[NodeName, tuple[Instance, float]] = {}

    def serve(self, found: Mapping[NodeName, Instance]) -> None:
        """Take the subnets of these nodes into scope, and learn who has which address."""
        now = self._clock.now()
        kept = {name: seen for name, seen in self._known.items() if now - seen[1] <= REMEMBER}
        self._known = kept | {name: (instance, now) for name, instance in found.items()}

    def read(self, wanted: Collection[TableId] | None = None) -> RouteTables:
        """Return the tables that serve nodes; every associated table of the group while no node is known.

        Tables asked for by id are returned whomever they serve.
        """
        found = [self.parse(body) for body in self._client.route_tables()]
        nodes = frozenset(instance.subnet for instance, _ in self._known.values())
        kept = [t for t in found if (t.id in wanted if wanted is not None else self._in_scope(t, nodes))]
        return RouteTables(tuple(sorted(kept, key=lambda t: t.id)))

    def apply(self, changes: Sequence[RouteChange]) -> Sequence[RouteResult]:
        """Carry the changes out: one read for all, then what each table needs."""
        if not changes:
            return ()
        names = tuple(dict.fromkeys(change.table for change in changes))
        try:
            seen = self._look(names)
        except ProviderError as error:
            return tuple(RouteResult(change, error) for change in changes)
        outcomes: dict[RouteChange, ProviderError | None] = {}
        few: list[RouteChange] = []
        for table in names:
            group = [change for change in changes if change.table == table]
            if len(group) >= self._config.bulk and table in seen:
                outcomes |= self._whole(group, seen[table])
            else:
                few += group
        snapshot = _Snapshot(self, seen)
        done = writes.apply(few, read=snapshot.read, write=snapshot.write, provider=NAME)
        outcomes |= {result.change: result.error for result in done}
        return tuple(RouteResult(change, outcomes[change]) for change in changes)

    def _look(self, names: Sequence[TableId]) -> dict[TableId, Json]:
        """Return these tables as they are now, with one call; those that do not exist are left out."""
        if len(names) > 1:
            return {TableId(body["name"]): body for body in self._client.route_tables()}
        try:
            return {names[0]: self._client.route_table(names[0])}
        except NotFound:
            return {}

    def _in_scope(self, table: RouteTable, nodes: Collection[SubnetId]) -> bool:
        if self._only:
            return table.id.lower() in self._only
        return not table.subnets.isdisjoint(nodes) if nodes else bool(table.subnets)

    @property
    def _machines(self) -> Machines:
        known = sorted(self._known.values(), key=lambda seen: seen[1])  # whoever was seen last has an address now
        return Machines({a: instance for instance, _ in known for a in instance.addresses})

    def parse(self, body: Json) -> RouteTable:
        limit = self._config.routes_per_table
        return tables.parse_table(body, self._machines, cluster=self._config.cluster, limit=limit)

    # --- one route ------------------------------------------------------------------------------------------

    def write_one(self, change: RouteChange, table: Json | None, deadline: float | None) -> None:
        """Send one change as a write of one route; ``table`` is what was read, nothing where there is none.

        Raises:
            ProviderError: Azure refused, or what was read forbids it.
        """
        if table is None:
            raise NotFound(f"route table {change.table} does not exist", provider=NAME)
        standing = tables.standing_name(table, change.destination)
        if change.verb is Verb.CREATE and standing:  # by another name Azure would refuse, by ours it would overwrite
            raise Conflict(f"{change.destination} in {change.table} has a route, {standing!r}", provider=NAME)
        if change.verb is Verb.REPLACE and not standing:
            raise NotFound(f"there is no route to {change.destination} in {change.table}", provider=NAME)
        name = standing or tables.route_name(self._config.cluster, change.destination)
        if change.verb is Verb.DELETE:
            self._client.delete_route(change.table, name, deadline=deadline)
        else:
            body = tables.route_body(change.destination, self._machines.address(change))
            self._client.put_route(change.table, name, body, deadline=deadline)

    # --- a whole table --------------------------------------------------------------------------------------

    def _whole(self, changes: Sequence[RouteChange], table: Json) -> dict[RouteChange, ProviderError | None]:
        """Send changes as one write of their table.

        When somebody else was quicker, they are merged into a fresh read; when the table would hold too many routes,
        half of the new ones are left out, and again, until it fits.
        """
        left_out: dict[RouteChange, ProviderError] = {}
        races = 0
        while True:
            trying = [change for change in changes if change not in left_out]
            try:
                return {**self._merge(trying, table), **left_out}
            except QuotaExceeded as error:
                new = bulk.last_half(trying, self.parse(table))
                left_out |= dict.fromkeys(new or trying, error)
            except NotFound as error:  # the table is gone: what was to be deleted is gone with it
                return {**{c: None if c.verb is Verb.DELETE else error for c in trying}, **left_out}
            except Conflict as error:
                races += 1
                if error.status != _PRECONDITION or races == PRECONDITION_TRIES:
                    return {**dict.fromkeys(trying, error), **left_out}
                log.info("table changed meanwhile table=%s tries=%d", table["name"], races)
            except ProviderError as error:
                return {**dict.fromkeys(trying, error), **left_out}
            try:
                table = self._client.route_table(table["name"])
            except ProviderError as error:
                return {**dict.fromkeys(changes, error), **left_out}

    def _merge(self, changes: Sequence[RouteChange], table: Json) -> dict[RouteChange, ProviderError | None]:
        """Write the table with what may be changed of it, and return the outcome of each change.

        Raises:
            ProviderError: Azure refused the write as a whole.
        """
        sifted = bulk.sift(changes, self.parse(table), self._machines)
        if sifted.edits:
            body = bulk.table_body(table, sifted.edits, cluster=self._config.cluster)
            self._client.put_table(table["name"], body, str(table.get("etag", "")))
        return {change: sifted.errors.get(change) for change in changes}


class _Snapshot:
    """The tables as a batch has read them, for guards; read anew when somebody was in the way."""

    def __init__(self, routes: AzureRoutes, seen: Mapping[TableId, Json]) -> None:
        self._routes = routes
        self._seen = dict(seen)
        self._fresh = True

    def read(self, wanted: Collection[TableId]) -> RouteTables:
        if not self._fresh:
            return self._routes.read(wanted)
        self._fresh = False
        return RouteTables(tuple(self._routes.parse(self._seen[t]) for t in wanted if t in self._seen))

    def write(self, change: RouteChange, deadline: float | None) -> None:
        self._routes.write_one(change, self._seen.get(change.table), deadline)
