"""The store's in-memory twin: the same promises, nothing on disk, for tests and for trying things out.

Several ``MemoryStore`` over one ``MemoryData`` are several clients of one store. Values pass through their
documents on the way in, so that what a file would refuse is refused here too.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeVar, cast

from cloudnet.model import kinds
from cloudnet.model.resources import Resource
from cloudnet.store import records
from cloudnet.store.api import (
    Compacted,
    Create,
    Delete,
    Event,
    EventType,
    Listing,
    Revision,
    Stored,
    StoreUnavailable,
    Update,
    Write,
)
from cloudnet.store.records import Key

R = TypeVar("R", bound=Resource)

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
    items: dict[Key, Stored[Resource]] = field(default_factory=dict)
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


@dataclass(frozen=True, slots=True)
class _Prepared:
    """One write that nothing stands against: what it leaves, or what it removes."""

    key: Key
    type: EventType
    value: Resource


class MemoryStore:
    """A store in this process; it is gone with the last client. ``atomic=False``: one without transactions."""

    def __init__(self, data: MemoryData | None = None, *, atomic: bool = True) -> None:
        self.data = data or MemoryData()
        self.atomic = atomic
        self._closing = threading.Event()

    def get(self, kind: type[R], name: str, namespace: str = "") -> Stored[R]:
        with self.data.changed:
            self._check()
            return self._find(kind, name, namespace)

    def list(
        self, kind: type[R], namespace: str | None = None, *, view: Callable[[R], R] | None = None
    ) -> Listing[R]:
        with self.data.changed:
            self._check()
            found = [
                (key, stored)
                for key, stored in self.data.items.items()
                if key[0] is kind and namespace in {None, key[1]}
            ]
            found.sort(key=lambda item: item[0][1:])
            items = tuple(cast("Stored[R]", stored) for _, stored in found)
            if view is not None:
                items = tuple(Stored(view(item.value), item.revision) for item in items)
            return Listing(items, self.data.revision)

    def create(self, value: R) -> Stored[R]:
        (stored,) = self._carry_out([Create(value)])
        return cast("Stored[R]", stored)  # the same value, so the same class

    def update(self, value: R, *, expected: Revision) -> Stored[R]:
        (stored,) = self._carry_out([Update(value, expected)])
        return cast("Stored[R]", stored)  # the same

    def delete(
        self, kind: type[Resource], name: str, namespace: str = "", *, expected: Revision | None = None
    ) -> None:
        self._carry_out([Delete(kind, name, namespace, expected)])

    def write(self, writes: Sequence[Write]) -> Sequence[Stored[Resource] | None]:
        if not self.atomic:
            return records.one_by_one(self, writes)
        records.check_batch(writes)
        return self._carry_out(writes)

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

    def _carry_out(self, writes: Sequence[Write]) -> Sequence[Stored[Resource] | None]:
        with self.data.changed:
            self._check()
            prepared = [self._prepare(write) for write in writes]  # whatever is wrong is found before any is done
            return tuple([self._put(one) for one in prepared])

    def _prepare(self, write: Write) -> _Prepared:
        match write:
            case Create(value):
                return self._prepare_create(value)
            case Update(value, expected):
                seen = self._expect(type(value), value.meta.name, value.meta.namespace, expected)
                if value.meta.uid not in {"", seen.meta.uid}:
                    raise records.other_uid(kinds.of(type(value)).name, value.meta.name, value.meta.namespace)
                return _Prepared(
                    records.key(value), EventType.PUT, _clean(value, seen.meta.uid, onto=seen.meta.document)
                )
            case Delete(kind, name, namespace, maybe):
                seen = self._expect(kind, name, namespace, maybe)
                return _Prepared(records.key(write), EventType.DELETED, seen)

    def _prepare_create(self, value: Resource) -> _Prepared:
        key = records.key(value)
        if key in self.data.items:
            raise records.already_exists(kinds.of(type(value)).name, value.meta.name, value.meta.namespace)
        return _Prepared(key, EventType.PUT, _clean(value, value.meta.uid or self.data.new_uid()))

    def _expect(self, kind: type[Resource], name: str, namespace: str, expected: Revision | None) -> Resource:
        seen = self._find(kind, name, namespace)
        if expected is not None and seen.revision != expected:
            raise records.conflict(kinds.of(kind).name, name, namespace, expected=expected, found=seen.revision)
        return seen.value

    def _put(self, prepared: _Prepared) -> Stored[Resource] | None:
        revision = self.data.record(prepared.type, prepared.value)
        if prepared.type is EventType.DELETED:
            del self.data.items[prepared.key]
            return None
        stored = self.data.items[prepared.key] = Stored(prepared.value, revision)
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


def _clean(value: Resource, uid: str, *, onto: bytes = b"") -> Resource:
    kind = kinds.of(type(value))
    document = kind.encode(records.with_uid(value, uid), onto=onto or None)
    clean = kind.decode(document)
    return kinds.keeping(clean, document) if onto or value.meta.document else clean
