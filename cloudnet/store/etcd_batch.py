"""Several writes as one etcd transaction: what it compares, what it changes, and which failed if it was refused."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from cloudnet.errors import BadInput
from cloudnet.model.resources import Resource
from cloudnet.store import etcd_keys, etcd_wire, records
from cloudnet.store.api import Create, Delete, Revision, Stored, StoreDamaged, StoreUnavailable, Update, Write
from cloudnet.store.etcd_client import Client
from cloudnet.store.etcd_keys import Layout
from cloudnet.store.etcd_wire import RANGE, TXN, Entry, Json, b64

R = TypeVar("R", bound=Resource)

_NEW: Final = Revision(0)


class Transactions:
    """Carries batches out. ``known`` is asked for the values that updates change."""

    def __init__(self, client: Client, known: Known, *, new_uid: Callable[[], str], now: Callable[[], str]) -> None:
        self._client = client
        self._known = known
        self._new_uid = new_uid
        self._now = now

    def carry_out(self, writes: Sequence[Write]) -> Sequence[Stored[Resource] | None]:
        """Do all or nothing, as ``Store.write`` says."""
        ops = self._prepare(writes)
        if not ops:
            return ()
        answer = self._client.call(
            TXN,
            {
                "compare": [op.condition for op in ops],
                "success": [op.action for op in ops],
                "failure": [etcd_wire.get(op.key) for op in ops],
            },
            repeatable=False,
        )
        if not answer.get("succeeded"):
            self._refuse(ops, {entry.key: entry for entry in etcd_wire.entries_in(answer)})
        revision = etcd_wire.revision(answer)
        return tuple([self._stored(op, revision) for op in ops])

    def _prepare(self, writes: Sequence[Write]) -> list[_Op]:
        places = [self._place(write) for write in writes]
        wanted = [
            key
            for (_, key), write in zip(places, writes, strict=True)
            if isinstance(write, Update) and not self._known.at(key, write.expected)
        ]
        for entry in fetch(self._client, wanted).values():
            self._known.note(entry)
        return [self._op(layout, key, write) for (layout, key), write in zip(places, writes, strict=True)]

    def _place(self, write: Write) -> tuple[Layout[Any], str]:
        """Return where a write belongs. A name that may stand in several places is looked up."""
        if not isinstance(write, Delete):
            layout: Layout[Any] = etcd_keys.of(type(write.value))
            return layout, layout.key(write.value)
        layout = etcd_keys.of(write.kind)
        keys = layout.keys(write.name, write.namespace)
        if len(keys) == 1:
            return layout, keys[0]
        entry = find(self._client, layout, write.name, write.namespace)
        if entry is None:
            raise records.not_found(layout.kind.name, write.name, write.namespace)
        return layout, entry.key

    def _op(self, layout: Layout[Any], key: str, write: Write) -> _Op:
        match write:
            case Create(value):
                data = layout.encode(value, value.meta.uid or self._new_uid(), None, self._now())
                return _Op(layout, key, write, etcd_wire.is_absent(key), etcd_wire.put(key, data), data)
            case Update(value, expected):
                # Nothing where it has another revision by now: etcd will refuse, and show which write is the first.
                onto = self._known.at(key, expected)
                data = self._changed(layout, value, onto)
                created = onto.created if onto else _NEW
                return _Op(
                    layout, key, write, etcd_wire.has_revision(key, expected), etcd_wire.put(key, data), data, created
                )
            case Delete(_, _, _, expected):
                condition = etcd_wire.is_there(key) if expected is None else etcd_wire.has_revision(key, expected)
                return _Op(layout, key, write, condition, etcd_wire.delete(key))

    def _changed(self, layout: Layout[Any], value: Resource, onto: Entry | None) -> bytes:
        uid = decode(layout, onto).meta.uid if onto else value.meta.uid
        if value.meta.uid not in {"", uid}:
            raise records.other_uid(layout.kind.name, value.meta.name, value.meta.namespace)
        return layout.encode(value, uid, onto, self._now())

    def _refuse(self, ops: Sequence[_Op], found: Mapping[str, Entry]) -> None:
        """Raise what is wrong with the first write that fails."""
        for entry in found.values():
            self._known.note(entry)
        for op in ops:
            _check(op.layout, op.write, found.get(op.key))
        raise StoreUnavailable("etcd refused a transaction although all its conditions hold: see what its log says")

    def _stored(self, op: _Op, revision: Revision) -> Stored[Resource] | None:
        if op.data is None:
            self._known.forget(op.key)
            return None
        entry = Entry(op.key, op.data, op.created or revision, revision)
        self._known.note(entry)
        return Stored(op.layout.decode(entry), revision)


@dataclass(frozen=True, slots=True)
class _Op:
    """One write as a part of a transaction; ``created`` is when its key was, ``_NEW`` for now."""

    layout: Layout[Any]
    key: str
    write: Write
    condition: Json
    action: Json
    data: bytes | None = None
    created: Revision = _NEW


class Known:
    """The entries read or written last, a bounded number."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, Entry] = OrderedDict()

    def note(self, entry: Entry) -> None:
        with self._lock:
            before = self._entries.get(entry.key)
            if before is not None and before.modified > entry.modified:
                return
            self._entries[entry.key] = entry
            self._entries.move_to_end(entry.key)
            if len(self._entries) > self._most:
                self._entries.popitem(last=False)

    def at(self, key: str, revision: Revision) -> Entry | None:
        """Return what stood under a key at the revision that wrote it."""
        with self._lock:
            entry = self._entries.get(key)
        return entry if entry is not None and entry.modified == revision else None

    def forget(self, key: str) -> None:
        with self._lock:
            self._entries.pop(key, None)


def _check(layout: Layout[Any], write: Write, found: Entry | None) -> None:
    """Raise what is wrong with a write when this is what stands there."""
    kind = layout.kind.name
    match write:
        case Create(value):
            if found is not None:
                raise records.already_exists(kind, value.meta.name, value.meta.namespace)
            return
        case Update(value, expected):
            name, namespace, wanted = value.meta.name, value.meta.namespace, expected
        case Delete(_, name, namespace, maybe):
            if found is None:
                raise records.not_found(kind, name, namespace)
            if maybe is None:
                return
            wanted = maybe
    if found is None:
        raise records.not_found(kind, name, namespace)
    if found.modified != wanted:
        raise records.conflict(kind, name, namespace, expected=wanted, found=found.modified)


# --- reading ------------------------------------------------------------------------------------------------


def fetch(client: Client, keys: Sequence[str]) -> Mapping[str, Entry]:
    """Return what stands under some keys at one moment."""
    if not keys:
        return {}
    if len(keys) == 1:
        entries = etcd_wire.entries(client.call(RANGE, {"key": b64(keys[0])}))
    else:
        entries = etcd_wire.entries_in(client.call(TXN, {"success": [etcd_wire.get(key) for key in keys]}))
    return {entry.key: entry for entry in entries}


def find(client: Client, layout: Layout[R], name: str, namespace: str) -> Entry | None:
    """Return what stands under the first key that a name may mean."""
    keys = layout.keys(name, namespace)
    found = fetch(client, keys)
    return next((found[key] for key in keys if key in found), None)


def decode(layout: Layout[R], entry: Entry) -> R:
    """Return the value of an entry that somebody asked for."""
    try:
        return layout.decode(entry)
    except BadInput as error:
        raise StoreDamaged(
            f"etcd holds a {layout.kind.name} under {entry.key} with a field that makes no sense ({error}): "
            f"delete it and create it again"
        ) from error
