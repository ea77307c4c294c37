"""Changes to some kinds, from the API's watches: one stream for each type of object, read by whoever calls ``next``.

* There is no thread. What comes meanwhile waits in the sockets, then in the API server.
* Each stream has its own position, the last revision that it has delivered; bookmarks move it too, about once a
  minute, so that a quiet watch does not fall behind. A stream that ends is opened anew after its position.
* A stream that says nothing, not even a bookmark, for ``SILENT`` seconds is given up: it may have died quietly.
* The API ends every watch after the time that we name, which differs from stream to stream, so that the streams of a
  thousand nodes do not come back at once.

Order: one kind's changes come in order. What arrives of several kinds together is sorted; when a watch begins, a
quarter of a second is waited for what each stream has to say of the past.

Sources: Kubernetes ``apiserver/pkg/storage/cacher`` (bookmarks, and errors as events), ``client-go/tools/cache``.
"""

from __future__ import annotations

import logging
import random
import select
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Protocol, Self

import msgspec

from cloudnet.model.resources import Resource
from cloudnet.store import kubernetes_errors, kubernetes_forms, records
from cloudnet.store.api import Compacted, Event, EventType, Revision, Stored, StoreUnavailable
from cloudnet.store.connection import Connection
from cloudnet.store.kubernetes_client import Client, Request
from cloudnet.store.kubernetes_errors import Refused, Status
from cloudnet.store.kubernetes_forms import Collection, Form

log = logging.getLogger(__name__)

SILENT: Final = 90.0  # seconds; bookmarks come every minute (cacher.go: bookmarkFrequency)
SETTLE: Final = 0.25  # seconds that the past has to arrive when a watch begins
REST: Final = 0.1  # seconds between a stream that broke and the next, doubling up to ...
REST_LIMIT: Final = 5.0
_LONG: Final = (300, 600)  # seconds that a stream may last, as client-go asks for


class Cluster(Protocol):
    """What a watch needs of its store."""

    @property
    def client(self) -> Client: ...

    def listed(self, form: Form[Any], collection: Collection) -> tuple[Sequence[Stored[Resource]], Revision]: ...

    def revision(self) -> Revision: ...

    def has_seen(self, revision: Revision) -> bool: ...

    def appeared(self, forms: Sequence[Form[Any]]) -> str:
        """Return the name of a kind among these that the cluster has by now; empty when it has none."""


class _Change(msgspec.Struct):
    type: str
    object: msgspec.Raw


_change = msgspec.json.Decoder(_Change)
_status = msgspec.json.Decoder(Status)


class Place:
    """One type of object, the kinds that are made of it, and how far its changes have been delivered."""

    def __init__(self, collection: Collection, forms: Sequence[Form[Any]], since: Revision) -> None:
        self.forms = forms
        self.collection = collection
        self.position = since
        self.connection: Connection | None = None
        self.heard_at = 0.0
        self.not_before = 0.0
        self._rest = REST
        self._text = b""  # of a line that is not complete

    def request(self, seconds: int) -> Request:
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": str(self.position),
            "timeoutSeconds": str(seconds),
            **self.collection.chosen,
        }
        return Request("watch", self.collection.what, self.collection.path(), query)

    def opened(self, connection: Connection, now: float) -> None:
        self.connection, self.heard_at, self._text = connection, now, b""

    def dropped(self, now: float) -> None:
        """Forget the stream; one that breaks again and again is opened ever more slowly."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None
        self.not_before = now + self._rest
        self._rest = min(self._rest * 2, REST_LIMIT)

    def take(self, data: bytes, now: float) -> list[Event[Resource]]:
        """Return the changes in what a stream brought.

        Raises:
            Compacted: the API cannot go on from our position.
            ConnectionResetError: the stream is of no more use.
        """
        self.heard_at = now
        *lines, self._text = (self._text + data).split(b"\n")
        events = [event for line in lines if line for event in self._read(_change.decode(line))]
        self._rest = REST
        return events

    def _read(self, change: _Change) -> list[Event[Resource]]:
        raw = bytes(change.object)
        if change.type == "ERROR":
            raise self._end(_status.decode(raw))
        revision = kubernetes_forms.revision(raw)
        if change.type == "BOOKMARK":
            if revision < self.position:
                raise Compacted(f"the cluster went back to revision {revision}, from {self.position}: list again")
            self.position = revision
            return []
        events: list[Event[Resource]] = []
        for form in self.forms:
            with records.readable(form.kind.name, records.title_name(*reversed(kubernetes_forms.title(raw)))):
                events += self._events(form, change.type, raw, revision)
        self.position = max(self.position, revision)
        return events

    def _events(self, form: Form[Any], word: str, raw: bytes, revision: Revision) -> list[Event[Resource]]:
        value = form.read(self.collection, raw)
        type_ = EventType.DELETED if word == "DELETED" or value is None else EventType.PUT
        shown = value if value is not None else form.gone(self.collection, raw)
        return [] if shown is None else [Event(type_, shown, revision)]

    def _end(self, status: Status) -> Exception:
        if status.code == kubernetes_errors.GONE:
            return Compacted(
                f"Kubernetes no longer has the changes of {self.collection.what} after revision {self.position}: "
                f"list again"
            )
        return ConnectionResetError(status.message or status.reason)


class KubernetesWatch:
    """The changes to some kinds after a revision; ``missing`` are kinds that the cluster does not know yet."""

    def __init__(
        self,
        cluster: Cluster,
        forms: Sequence[Form[Any]],
        *,
        since: Revision,
        missing: Sequence[Form[Any]] = (),
        silent: float = SILENT,
    ) -> None:
        self._cluster = cluster
        self._missing = missing
        self._silent = silent
        collections = dict.fromkeys(collection for form in forms for collection in form.collections)
        self._places = [
            Place(collection, [form for form in forms if collection in form.collections], since)
            for collection in collections
        ]
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._held: list[Event[Resource]] = []
        self._settled_at: float | None = None  # when what comes may be delivered, once all streams were opened

    def next(self, timeout: float) -> tuple[Event[Resource], ...]:
        if self._closed.is_set():
            raise records.closed("watch")
        deadline = time.monotonic() + timeout
        with self._lock:
            while not self._closed.is_set():
                self._open_streams()
                self._read_streams(deadline)
                if self._is_settled() and (self._held or time.monotonic() >= deadline):
                    events, self._held = self._held, []
                    return tuple(sorted(events, key=lambda event: event.revision))
        return ()

    def close(self) -> None:
        self._closed.set()
        for place in self._places:
            if (connection := place.connection) is not None:
                connection.shutdown()  # wakes who waits there
        with self._lock:
            self._drop_streams()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    # --- opening ----------------------------------------------------------------------------------------

    def _open_streams(self) -> None:
        now = time.monotonic()
        for place in self._places:
            if place.connection is None and now >= place.not_before and not self._closed.is_set():
                self._open(place)
        if self._settled_at is None:
            self._settled_at = time.monotonic() + SETTLE

    def _open(self, place: Place) -> None:
        if self._is_settled() and (kind := self._cluster.appeared(self._missing)):
            raise Compacted(f"the cluster has {kind} now: list again")
        if not place.position:
            self._begin(place)
        elif not self._cluster.has_seen(place.position) and place.position > (found := self._cluster.revision()):
            raise Compacted(f"Kubernetes is at revision {found} and has never had {place.position}: list again")
        request = place.request(random.randint(*_LONG))  # noqa: S311 - to spread load
        try:
            connection = self._cluster.client.open_reading(request)
        except Refused as refused:
            place.dropped(time.monotonic())
            raise kubernetes_errors.explain(refused, request.verb, request.what) from refused
        except StoreUnavailable:
            place.dropped(time.monotonic())
            raise
        place.opened(connection, time.monotonic())

    def _begin(self, place: Place) -> None:
        """Begin with everything there is: the API's own way to do so tells it in no order."""
        listings = [self._cluster.listed(form, place.collection) for form in place.forms]
        self._held += [Event(EventType.PUT, one.value, one.revision) for values, _ in listings for one in values]
        place.position = min(revision for _, revision in listings)

    def _is_settled(self) -> bool:
        return self._settled_at is not None and time.monotonic() >= self._settled_at

    # --- reading ----------------------------------------------------------------------------------------

    def _read_streams(self, deadline: float) -> None:
        """Take in what streams have brought, waiting for the first of it."""
        ready = self._wait(deadline)
        while ready and not self._closed.is_set():
            for place in ready:
                self._read(place)
            ready = self._wait(0.0)
        self._drop_silent()

    def _wait(self, deadline: float) -> list[Place]:
        """Return the places whose streams have something, waiting for it until the deadline."""
        places = [place for place in self._places if place.connection is not None]
        ready = [place for place in places if place.connection is not None and place.connection.has_more]
        if ready:
            return ready
        poll = select.poll()
        numbers: dict[int, Place] = {}
        for place in places:
            if place.connection is not None and (number := place.connection.fileno()) >= 0:
                numbers[number] = place
                poll.register(number, select.POLLIN)
        left = self._until(deadline, places) - time.monotonic()
        if not numbers:
            self._closed.wait(max(left, 0.0))
            return []
        return [numbers[number] for number, _ in poll.poll(max(left, 0.0) * 1000)]

    def _until(self, deadline: float, places: Sequence[Place]) -> float:
        """Return how long may be waited: something else may be due before the deadline."""
        if not deadline:
            return deadline
        return min(
            deadline if self._is_settled() else self._settled_at or deadline,
            *(place.heard_at + self._silent for place in places),
            *(place.not_before for place in self._places if place.connection is None),
        )

    def _read(self, place: Place) -> None:
        if place.connection is None:
            return
        now = time.monotonic()
        try:
            if data := place.connection.receive(now):
                self._held += place.take(data, now)
        except Compacted:
            self._drop_streams()
            raise
        except OSError as error:
            if not self._closed.is_set():
                log.debug("watching anew what=%s reason=%r", place.collection.what, str(error))
            place.dropped(now)

    def _drop_silent(self) -> None:
        now = time.monotonic()
        for place in self._places:
            if place.connection is not None and now >= place.heard_at + self._silent:
                log.info("a watch went silent what=%s seconds=%.0f", place.collection.what, now - place.heard_at)
                place.dropped(now)

    def _drop_streams(self) -> None:
        for place in self._places:
            place.dropped(time.monotonic())
