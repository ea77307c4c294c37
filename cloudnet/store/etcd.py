"""A store in an etcd cluster, in Calico's layout: Calico's tools read what we write, and we go on where they were.

* Every write is one transaction that compares the revisions of the keys it touches, and one request. Revisions
  are etcd's own (``mod_revision``); the writes of one batch share one.
* An update changes the stored value only where it differs, so it needs this value. The one that has the expected
  revision is mostly still known from the read or the write that the caller has the revision from; otherwise it is
  read first.
* A listing is read in pages, all of them at the revision of the first.

The keys and values are described in ``etcd_keys``, members and users in ``etcd_client``, watches in ``etcd_watch``.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Final, TypeVar, cast

from cloudnet.model.kinds import keeping
from cloudnet.model.resources import Resource
from cloudnet.store import etcd_keys, etcd_wire, records
from cloudnet.store.api import Compacted, Create, Delete, Listing, Revision, Stored, StoreUnavailable, Update, Write
from cloudnet.store.etcd_batch import Known, Transactions, decode, find
from cloudnet.store.etcd_client import Client
from cloudnet.store.etcd_keys import Layout
from cloudnet.store.etcd_watch import EtcdWatch
from cloudnet.store.etcd_wire import OWN, RANGE, TXN, Entry, Range, b64

R = TypeVar("R", bound=Resource)

PAGE: Final = 500  # keys in one answer: a few hundred kilobytes
REMEMBERED: Final = 1024  # values; a node's agent updates a few dozen
_LISTING_TRIES: Final = 3  # a listing is begun anew when its revision is compacted before its last page


def _utc_now() -> str:
    return datetime.now(tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class EtcdStore:
    """A store in etcd. ``page`` is how many keys one answer of a listing has."""

    atomic = True

    def __init__(
        self,
        client: Client,
        *,
        page: int = PAGE,
        new_uid: Callable[[], str] = records.new_uid,
        now: Callable[[], str] = _utc_now,
    ) -> None:
        self.client = client
        self._page = page
        self._known = Known(REMEMBERED)
        self._transactions = Transactions(self.client, self._known, new_uid=new_uid, now=now)
        self._watches: weakref.WeakSet[EtcdWatch] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._closed = False

    # --- reading ----------------------------------------------------------------------------------------

    def get(self, kind: type[R], name: str, namespace: str = "") -> Stored[R]:
        layout, entry = self._find(kind, name, namespace)
        return Stored(decode(layout, entry), entry.modified)

    def whole(self, kind: type[R], name: str, namespace: str = "") -> Stored[R]:
        layout, entry = self._find(kind, name, namespace)
        return Stored(keeping(decode(layout, entry), layout.document(entry)), entry.modified)

    def _find(self, kind: type[R], name: str, namespace: str) -> tuple[Layout[R], Entry]:
        layout = etcd_keys.of(kind)
        self._check_open()
        entry = find(self.client, layout, name, namespace)
        if entry is None:
            raise records.not_found(layout.kind.name, name, namespace)
        self._known.note(entry)
        return layout, entry

    def list(
        self, kind: type[R], namespace: str | None = None, *, view: Callable[[R], R] | None = None
    ) -> Listing[R]:
        return self._list(etcd_keys.of(kind), namespace, lambda value, _: view(value) if view else value)

    def all_whole(self, kind: type[R], namespace: str | None = None) -> Listing[R]:
        layout = etcd_keys.of(kind)
        return self._list(layout, namespace, lambda value, entry: keeping(value, layout.document(entry)))

    def _list(self, layout: Layout[R], namespace: str | None, view: Callable[[R, Entry], R]) -> Listing[R]:
        for attempt in range(_LISTING_TRIES):
            try:
                entries, revision = self._read(layout.ranges(namespace))
            except Compacted:
                if attempt == _LISTING_TRIES - 1:
                    raise StoreUnavailable(
                        f"etcd forgets faster than its {layout.kind.plural} can be read: compact less often"
                    ) from None
            else:
                break
        items = []
        unreadable: dict[tuple[str, str], str] = {}
        for entry in entries:
            if layout.holds(entry.key):
                # One value that somebody spoilt must not hide all the others.
                with records.tolerated(layout.kind.name, *layout.name(entry.key), unreadable):
                    items.append(Stored(view(layout.decode(entry), entry), entry.modified))
        items.sort(key=lambda item: (item.value.meta.namespace, item.value.meta.name))
        return Listing(tuple(items), revision, unreadable)

    def watch(self, kinds: Collection[type[Resource]], *, since: Revision) -> EtcdWatch:
        watch = EtcdWatch(self.client, [etcd_keys.of(kind) for kind in kinds], since=since)
        with self._lock:
            self._check_open()
            self._watches.add(watch)
        return watch

    # --- writing ----------------------------------------------------------------------------------------

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
        records.check_batch(writes)
        return self._carry_out(writes)

    def _carry_out(self, writes: Sequence[Write]) -> Sequence[Stored[Resource] | None]:
        self._check_open()
        return self._transactions.carry_out(writes)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            watches = list(self._watches)
        for watch in watches:
            watch.close()
        self.client.close()

    # --- inside: reading --------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise records.closed("store")

    def _read(self, ranges: Sequence[Range]) -> tuple[Sequence[Entry], Revision]:
        """Return all entries of some ranges, and the one revision at which they were read."""
        self._check_open()
        if not ranges:
            return (), self._revision()
        first = self.client.call(
            TXN, {"success": [{"request_range": etcd_wire.page(found, self._page)} for found in ranges]}
        )
        revision = etcd_wire.revision(first)
        entries: deque[Entry] = deque()
        for wanted, one in zip(ranges, first["responses"], strict=True):
            answer = one["response_range"]
            entries += etcd_wire.entries(answer)
            while answer.get("more"):
                message = etcd_wire.page(wanted, self._page, after=entries[-1].key, at=revision)
                answer = self.client.call(RANGE, message)
                entries += etcd_wire.entries(answer)
        return entries, revision

    def _revision(self) -> Revision:
        return etcd_wire.revision(self.client.call(RANGE, {"key": b64(OWN)}))
