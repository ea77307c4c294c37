"""Carry out route changes one by one, the careful way that every cloud needs. Used by plugins, knows no cloud.

What it adds to a bare write:

* Before a replace or a delete the tables are read once, so that a route that somebody else put there meanwhile is
  a ``Conflict`` and stays. An empty place is not proof of absence (reads may lag): the delete is sent anyway.
* A create that meets a route is compared with it: alike is success (a timeout may have hidden our own write),
  anything else is a ``Conflict`` that names what stands there.
* A cloud that is down or throttling for longer than one deadline fails the rest of the batch soon instead of
  spending a deadline on each change; one change that is broken by itself does not stop the others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from cloudnet.model.addresses import TableId
from cloudnet.model.resources import NextHop
from cloudnet.provider.api import Owner, RouteChange, RouteResult, RouteTables, TableRoute, Verb
from cloudnet.provider.errors import Conflict, NotFound, ProviderError, Throttled, Unavailable

Read = Callable[[Collection[TableId]], RouteTables]
Write = Callable[[RouteChange, float | None], None]
"""Send one change, retrying for that many seconds (``None``: the usual deadline, 0: one attempt)."""

GIVE_UP_AFTER = 3  # changes in a row that found the cloud down or throttling: the rest is not sent


def apply(
    changes: Sequence[RouteChange], *, read: Read, write: Write, provider: str, look_first: bool = False
) -> tuple[RouteResult, ...]:
    """Return the outcome of each change, in order.

    ``look_first`` is for clouds that take a second route to one destination without a word: a create is then
    compared with what stands there before it is sent.
    """
    batch = _Batch(changes, read, write, provider, look_first=look_first)
    return tuple(RouteResult(change, batch.outcome(change)) for change in changes)


def stands(route: TableRoute, change: RouteChange) -> bool:
    """Tell whether ``route`` is what the change would write."""
    return route.owner is not Owner.FOREIGN and route.next_hop.same_as(change.next_hop)


def leads_nowhere(route: TableRoute) -> bool:
    """Tell whether the cloud forgot where the route led: its machine is gone, the ledger says that it was ours."""
    return route.owner is not Owner.FOREIGN and route.black_hole and route.next_hop == NextHop()


def not_sent(change: RouteChange, error: ProviderError, *, provider: str) -> ProviderError:
    """Return the outcome of a change that was held back, because of the last of those that failed before it."""
    kind = Throttled if isinstance(error, Throttled) else Unavailable
    return kind(
        f"{change.verb.value} of {change.destination} in {change.table} was not sent, "
        f"after {GIVE_UP_AFTER} changes in a row failed: {error}",
        provider=provider,
        retry_after=error.retry_after,
    )


def in_the_way(
    change: RouteChange, route: TableRoute, *, provider: str, error: ProviderError | None = None
) -> Conflict:
    """Return the conflict with ``route``; the cloud's own refusal keeps its code and request id."""
    what = route.target or str(route.next_hop.interface or route.next_hop.instance or route.next_hop.address)
    return Conflict(
        f"{change.destination} in route table {change.table} already leads to {what}: "
        "remove that route or give the node another block",
        provider=provider,
        code=error.code if error else "",
        request_id=error.request_id if error else "",
        status=error.status if error else 0,
    )


class _Batch:
    """The changes of one ``apply`` and what has been learned of the cloud on the way."""

    def __init__(
        self, changes: Sequence[RouteChange], read: Read, write: Write, provider: str, *, look_first: bool
    ) -> None:
        self._tables = frozenset(change.table for change in changes)
        self._read = read
        self._write = write
        self._provider = provider
        self._look_first = look_first
        self._standing: RouteTables | ProviderError | None = None
        self._failures = 0
        self._last: ProviderError | None = None

    def outcome(self, change: RouteChange) -> ProviderError | None:
        if self._last is not None and self._failures >= GIVE_UP_AFTER:
            return not_sent(change, self._last, provider=self._provider)
        try:
            self._carry_out(change)
        except (Throttled, Unavailable) as error:
            self._failures += 1
            self._last = error
            return error
        except ProviderError as error:
            self._failures = 0
            return error
        self._failures = 0
        return None

    def _carry_out(self, change: RouteChange) -> None:
        if change.verb is Verb.CREATE:
            self._create(change)
        elif change.verb is Verb.REPLACE:
            self._replace(change)
        else:
            self._delete(change)

    def _send(self, change: RouteChange) -> None:
        self._write(change, 0.0 if self._failures else None)

    def _create(self, change: RouteChange) -> None:
        if self._look_first and (there := self._find(change)) is not None:
            if not stands(there, change):
                raise self._in_the_way(change, there)
            return
        try:
            self._send(change)
        except Conflict as error:
            route = self._find(change) or self._find(change, fresh=True)
            if route is None:
                raise
            if not stands(route, change):
                raise self._in_the_way(change, route, error) from error

    def _replace(self, change: RouteChange) -> None:
        route = self._find(change)
        if route is not None and route.owner is Owner.FOREIGN:
            raise self._in_the_way(change, route)
        if route is None or not route.next_hop.same_as(change.next_hop):
            self._send(change)

    def _delete(self, change: RouteChange) -> None:
        try:
            route = self._find(change)
            if route is not None and not (stands(route, change) or leads_nowhere(route)):
                raise self._in_the_way(change, route)
            self._send(change)
        except NotFound:
            return  # the route, or its whole table, is gone already: that is what was asked for

    def _find(self, change: RouteChange, *, fresh: bool = False) -> TableRoute | None:
        """Return what stands at the change's place, from the one read of this batch or a ``fresh`` one."""
        if self._standing is None or fresh:
            try:
                self._standing = self._read(self._tables)
            except ProviderError as error:
                self._standing = error
        if isinstance(self._standing, ProviderError):
            raise self._standing
        table = next((t for t in self._standing.tables if t.id == change.table), None)
        if table is None:
            raise NotFound(f"route table {change.table} does not exist", provider=self._provider)
        return next((r for r in table.routes if r.destination == change.destination), None)

    def _in_the_way(self, change: RouteChange, route: TableRoute, error: ProviderError | None = None) -> Conflict:
        return in_the_way(change, route, provider=self._provider, error=error)
