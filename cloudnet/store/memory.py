"""The store's in-memory twin: the same promises, nothing on disk, for tests and for trying things out.

Several ``MemoryStore`` over one ``MemoryData`` are several clients of one store. Values pass through their
documents on the way in, so that what a file would refuse is refused here too.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeVar, cast

from cloudnet.model import kinds
from cloudnet.model.resources import Resource
from cloudnet.store import records
from cloudnet.store.api import (
    Compacted,
    Event,
    EventType,
    Listing,
    Revision,
    Stored,
    StoreUnavailable,
)

R = TypeVar("R", bound=Resource)
_Key = tuple[type[Resource], str, str]  # kind, namespace, name

KEEP = 10_000  # changes; as many as the sqlite store keeps
_START = Revision(0)


@dataclass
class MemoryData:
    """What a store holds, shared by its clients; ``outage`` is why it does not answer, empty when it does."""

    keep: int = KEEP
    new_uid: Callable[[], str] = records.new_uid
    outage: str = ""
    revision: Revision = _START
    compacted: Revision = _START
    items: dict[_Key, Stored[Resource]] = field(default_factory=dict)
    changes: deque[Event[Resource]] = field(default_factory=deque)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def check(self) -> None:
        if self.outage:
            raise StoreUnavailable(self.outage)

    def record(self, type_: EventType, value: Resource) -> Revision:
        self.revision = Revision(self.revision + 1)
        self.changes.append(Event(type_, value, self.revision))
        self.compact(keep=self.keep)
        self.changed.notify_all()
        return self.revision

    def compact(self, *, keep: int = 0) -> None:
        """Forget all but the newest changes; watches that still need them find out."""
        while len(self.changes) > keep:
            self.compacted = self.changes.popleft().revision


class MemoryStore:
    """A store in this process; it is gone with the last client."""

    def __init__(self, data: MemoryData | None = None) -> None:
        self.data = data or MemoryData()
        self._closing = threading.Event()

    def get(self, kind: type[R], name: str, namespace: str = "") -> Stored[R]:
        with self.data.changed:
            self._check()
            return self._find(kind, name, namespace)

    def list(self, kind: type[R], namespace: str | None = None) -> Listing[R]:
        with self.data.changed:
            self._check()
            found = [
                (key, stored)
                for key, stored in self.data.items.items()
                if key[0] is kind and namespace in {None, key[1]}
            ]
            found.sort(key=lambda item: item[0][1:])
            return Listing(tuple(cast("Stored[R]", stored) for _, stored in found), self.data.revision)

    def create(self, value: R) -> Stored[R]:
        data, key = self.data, _key(value)
        with data.changed:
            self._check()
            if key in data.items:
                raise records.already_exists(kinds.of(type(value)).name, value.meta.name, value.meta.namespace)
            return self._put(key, value, value.meta.uid or data.new_uid())

    def update(self, value: R, *, expected: Revision) -> Stored[R]:
        key, kind = _key(value), kinds.of(type(value)).name
        name, namespace = value.meta.name, value.meta.namespace
        with self.data.changed:
            self._check()
            seen = self._find(type(value), name, namespace)
            if seen.revision != expected:
                raise records.conflict(kind, name, namespace, expected=expected, found=seen.revision)
            if value.meta.uid not in {"", seen.value.meta.uid}:
                raise records.other_uid(kind, name, namespace)
            return self._put(key, value, seen.value.meta.uid)

    def delete(
        self, kind: type[Resource], name: str, namespace: str = "", *, expected: Revision | None = None
    ) -> None:
        with self.data.changed:
            self._check()
            seen = self._find(kind, name, namespace)
            if expected is not None and seen.revision != expected:
                raise records.conflict(kinds.of(kind).name, name, namespace, expected=expected, found=seen.revision)
            del self.data.items[kind, namespace, name]
            self.data.record(EventType.DELETED, seen.value)

    def watch(self, kinds: Collection[type[Resource]], *, since: Revision) -> MemoryWatch:
        return MemoryWatch(self.data, frozenset(kinds), since=since, closing=self._closing)

    def close(self) -> None:
        with self.data.changed:
            self._closing.set()
            self.data.changed.notify_all()

    def _check(self) -> None:
        if self._closing.is_set():
            raise records.closed("store")
        self.data.check()

    def _find(self, kind: type[R], name: str, namespace: str) -> Stored[R]:
        try:
            # The key holds the class, so the value has it.
            return cast("Stored[R]", self.data.items[kind, namespace, name])
        except KeyError:
            raise records.not_found(kinds.of(kind).name, name, namespace) from None

    def _put(self, key: _Key, value: R, uid: str) -> Stored[R]:
        kind = kinds.of(type(value))
        clean = kind.decode(kind.encode(records.with_uid(value, uid)))
        stored = Stored(clean, self.data.record(EventType.PUT, clean))
        self.data.items[key] = stored
        return stored


class MemoryWatch:
    """The changes to some kinds after a revision."""

    def __init__(
        self, data: MemoryData, kinds: frozenset[type[Resource]], *, since: Revision, closing: threading.Event
    ) -> None:
        self._data = data
        self._kinds = kinds
        self._since = since
        self._store_closing = closing
        self._closed = threading.Event()

    def next(self, timeout: float) -> tuple[Event[Resource], ...]:
        deadline = time.monotonic() + timeout
        with self._data.changed:
            if self._ended():
                raise records.closed("watch")
            while not self._ended():
                self._data.check()
                found = self._take()
                left = deadline - time.monotonic()
                if found or left <= 0:
                    return found
                self._data.changed.wait(left)
            return ()

    def _ended(self) -> bool:
        return self._closed.is_set() or self._store_closing.is_set()

    def _take(self) -> tuple[Event[Resource], ...]:
        data = self._data
        if not data.compacted <= self._since <= data.revision:
            raise Compacted(f"the changes after revision {self._since} are gone: list again")
        fresh: deque[Event[Resource]] = deque()
        for event in reversed(data.changes):
            if event.revision <= self._since:
                break
            if type(event.value) in self._kinds:
                fresh.appendleft(event)
        self._since = data.revision
        return tuple(fresh)

    def close(self) -> None:
        with self._data.changed:
            self._closed.set()
            self._data.changed.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()


def _key(value: Resource) -> _Key:
    return type(value), value.meta.namespace, value.meta.name
