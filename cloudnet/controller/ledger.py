"""The controller's own resources as the store holds them, and the route ledger by table. Pure.

Own writes and informer events arrive in any order; the newer revision wins, and a deletion is not undone by news from
before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TypeVar

from cloudnet.model.addresses import Network, NodeName, TableId
from cloudnet.model.calico import cidr_name
from cloudnet.model.resources import Cause, CloudRoute, Metadata, NextHop, Resource, RouteState, TableStatus
from cloudnet.routes.aggregate import key
from cloudnet.store.api import Revision, Stored

R = TypeVar("R", bound=Resource)

Name = tuple[type[Resource], str]
_NO_STATUS: Mapping[int, TableStatus] = MappingProxyType({})


class Mirror:
    """Resources by kind and name, each at the newest revision that is known."""

    def __init__(self) -> None:
        self._items: dict[Name, Stored[Resource]] = {}
        self._gone: dict[Name, Revision] = {}

    def put(self, stored: Stored[Resource]) -> bool:
        """Take in a version; tell whether it is news."""
        name = (type(stored.value), stored.value.meta.name)
        old = self._items.get(name)
        if stored.revision <= self._gone.get(name, 0) or (old is not None and stored.revision <= old.revision):
            return False
        self._items[name] = stored
        return True

    def drop(self, value: Resource, revision: Revision) -> bool:
        """Take in a deletion; ``revision`` is its own, or the last one that was deleted."""
        name = (type(value), value.meta.name)
        old = self._items.get(name)
        self._gone[name] = max(revision, self._gone.get(name, revision))
        if old is None or old.revision > revision:
            return False
        del self._items[name]
        return True

    def get(self, kind: type[R], name: str) -> Stored[R] | None:
        return self._items.get((kind, name))  # type: ignore[return-value]  # the key's kind is the value's type

    def all(self, kind: type[R]) -> Iterator[Stored[R]]:
        """Yield the resources of a kind, by name."""
        for name in sorted(n for k, n in self._items if k is kind):
            yield self._items[kind, name]  # type: ignore[misc]  # the key's kind is the value's type


class Ledger:
    """CloudRoutes by prefix, and what they say of each table."""

    def __init__(self) -> None:
        self._routes: dict[int, Stored[CloudRoute]] = {}
        self._tables: dict[TableId, dict[int, TableStatus]] = {}
        self._blocked: set[tuple[TableId, int]] = set()

    @property
    def blocked(self) -> bool:
        """Tell whether something waits for a change that only a read of the cloud's tables can show."""
        return bool(self._blocked)

    def put(self, stored: Stored[CloudRoute]) -> set[TableId]:
        """Take in a version; return the tables whose entry changed."""
        k = key(stored.value.cidr)
        old = self._routes.get(k)
        touched = self._index(k, old.value.tables if old else (), stored.value.tables)
        self._routes[k] = stored
        return touched

    def drop(self, cidr: Network) -> set[TableId]:
        old = self._routes.pop(key(cidr), None)
        return self._index(key(cidr), old.value.tables if old else (), ())

    def of(self, table: TableId) -> Mapping[int, TableStatus]:
        return self._tables.get(table, _NO_STATUS)

    def route(self, k: int) -> Stored[CloudRoute] | None:
        return self._routes.get(k)

    def last_hop(self, k: int) -> NextHop | None:
        """Return the next hop that a block has, in whichever table."""
        stored = self._routes.get(k)
        hops = (s.next_hop for s in stored.value.tables if s.next_hop is not None) if stored else iter(())
        return next(hops, None)

    def tables(self) -> Iterable[TableId]:
        """Return the tables that the ledger speaks of, whether or not they still exist."""
        return sorted(t for t, entries in self._tables.items() if entries)

    def routes(self) -> Mapping[int, Stored[CloudRoute]]:
        return self._routes

    def _index(self, k: int, old: Iterable[TableStatus], new: Iterable[TableStatus]) -> set[TableId]:
        before, after = {s.table: s for s in old}, {s.table: s for s in new}
        touched = {t for t in before.keys() | after.keys() if before.get(t) != after.get(t)}
        for table in touched:
            entries = self._tables.setdefault(table, {})
            if table in after:
                entries[k] = after[table]
            else:
                entries.pop(k, None)
            if table in after and _is_blocked(after[table]):
                self._blocked.add((table, k))
            else:
                self._blocked.discard((table, k))
        return touched


def _is_blocked(status: TableStatus) -> bool:
    """Somebody else's route in the way, a machine that is away, a full table: others mend that, without a word."""
    return status.state in {RouteState.CONFLICT, RouteState.BLACK_HOLED} or status.cause is Cause.QUOTA


def edited(
    old: CloudRoute | None,
    cidr: Network,
    node: NodeName,
    statuses: Mapping[TableId, TableStatus | None],
    *,
    wall: float,
) -> CloudRoute:
    """Return the CloudRoute with these statuses put in place or (``None``) taken out.

    ``since`` is when the state last became another one.
    """
    tables = {s.table: s for s in old.tables} if old else {}
    for table, status in statuses.items():
        if status is None:
            tables.pop(table, None)
            continue
        before = tables.get(table)
        unchanged = before is not None and (before.state, before.cause) == (status.state, status.cause)
        tables[table] = replace(status, since=before.since if before is not None and unchanged else wall)
    meta = old.meta if old else Metadata(cidr_name(cidr))
    return CloudRoute(meta, cidr, node, tuple(tables[t] for t in sorted(tables)))


def withdrawing(route: CloudRoute) -> Iterator[TableId]:
    """Yield the tables that the route is being withdrawn from."""
    return (s.table for s in route.tables if s.state is RouteState.WITHDRAWING)
