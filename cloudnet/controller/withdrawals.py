"""Routes on their way out: no route goes before the agents have left it, or have had time enough to. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cloudnet.controller import ledger
from cloudnet.controller.tables import NEVER
from cloudnet.model.addresses import TableId
from cloudnet.model.resources import CloudRoute
from cloudnet.routes.aggregate import key
from cloudnet.store.api import Stored


class Withdrawals:
    """Since which revision each withdrawal is known, and until when agents are waited for.

    Times are monotonic seconds, ``patience`` is seconds.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._known: dict[tuple[TableId, int], tuple[int, float]] = {}

    def clear(self) -> None:
        self._known.clear()

    def note(self, routes: Iterable[Stored[CloudRoute]], now: float) -> set[TableId]:
        """Take in what the ledger says of routes; return the tables in which a withdrawal has begun."""
        begun: set[TableId] = set()
        for stored in routes:
            k, going = key(stored.value.cidr), set(ledger.withdrawing(stored.value))
            for status in stored.value.tables:
                if status.table not in going:
                    self._known.pop((status.table, k), None)
                elif (status.table, k) not in self._known:
                    self._known[status.table, k] = (stored.revision, now + self._patience)
                    begun.add(status.table)
        return begun

    def drop(self, route: CloudRoute) -> None:
        for status in route.tables:
            self._known.pop((status.table, key(route.cidr)), None)

    def left(self, table: TableId, *, observed: int, now: float) -> set[int]:
        """Return the withdrawals of a table that no agent can still be using; ``observed``: what all have seen."""
        return {
            k
            for (of, k), (revision, deadline) in self._known.items()
            if of == table and (revision <= observed or now >= deadline)
        }

    def give_up_waiting(self, now: float) -> set[TableId]:
        """Wait no longer for agents that have had their time; return the tables in which something may go now."""
        late = {at: revision for at, (revision, deadline) in self._known.items() if -NEVER != deadline <= now}
        for at, revision in late.items():
            self._known[at] = (revision, -NEVER)
        return {table for table, _ in late}

    def deadlines(self, now: float) -> Iterator[float]:
        """Yield when a wait that goes on will end."""
        return (deadline for _, deadline in self._known.values() if deadline > now)
