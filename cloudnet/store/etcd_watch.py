"""Changes to some kinds, from etcd's own watches: one two-way stream with a watch for each range of keys.

* There is no thread: the stream is read by whoever calls ``next``. What etcd sends meanwhile waits in the socket,
  then in etcd.
* Each range has its own position, the last revision that it has delivered. A stream that breaks is opened anew,
  with another member if need be, and each range goes on after its position: nothing is lost, nothing comes twice.
* A stream that says nothing for ``PING_AFTER`` seconds is asked for its progress, and given up ``PONG_WITHIN``
  seconds later. A member that has lost its quorum cancels the watch by itself (``hasleader``).
* What etcd reports as progress also moves the positions, one report late: before 3.4.25 and 3.5.8 a report could
  overtake the changes before it (etcd issue 15220). So a quiet watch does not fall behind a compaction.

Order: one kind's changes come in order. While a watch of several ranges catches up with the past, etcd sends one
range after the other; they are held back until all have come, and sorted. Within one batch, the changes of one
kind keep the batch's order.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection
from types import TracebackType
from typing import Any, Final, Self

from cloudnet.model.resources import Resource
from cloudnet.store import etcd_errors, etcd_wire, records
from cloudnet.store.api import Compacted, Event, Revision
from cloudnet.store.etcd_client import Client
from cloudnet.store.etcd_keys import Layout
from cloudnet.store.etcd_stream import Denied, Place, Stream
from cloudnet.store.etcd_wire import OWN, RANGE, WATCH, b64

log = logging.getLogger(__name__)

PING_AFTER: Final = 10.0  # seconds of silence
PONG_WITHIN: Final = 5.0  # seconds: a member that works answers within milliseconds
REST: Final = 0.05  # seconds between a stream that broke and the next


class EtcdWatch:
    """The changes to some kinds after a revision."""

    def __init__(
        self,
        client: Client,
        layouts: Collection[Layout[Any]],
        *,
        since: Revision,
        ping_after: float = PING_AFTER,
        pong_within: float = PONG_WITHIN,
    ) -> None:
        self._client = client
        self._ping_after = ping_after
        self._pong_within = pong_within
        self._places = [Place(layout, found, since) for layout in layouts for found in layout.ranges(None)]
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._stream: Stream | None = None
        self._cluster = ""  # the id of the one that the positions belong to

    def next(self, timeout: float) -> tuple[Event[Resource], ...]:
        if self._closed.is_set():
            raise records.closed("watch")
        deadline = time.monotonic() + timeout
        with self._lock:
            while not self._closed.is_set():
                try:
                    events = self._step(deadline)
                except OSError as error:
                    self._begin_anew(error)
                    events = ()
                except BaseException:
                    self._drop()
                    raise
                if events or time.monotonic() >= deadline:
                    return events
        return ()

    def close(self) -> None:
        self._closed.set()
        if (stream := self._stream) is not None:
            stream.connection.shutdown()  # wakes who reads there
        with self._lock:
            self._drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def _step(self, deadline: float) -> tuple[Event[Resource], ...]:
        """Do one thing: open the stream, or wait for what it brings."""
        if self._stream is None:
            self._stream = self._open()
        if self._closed.is_set():
            return ()
        return self._stream.take(deadline)

    def _begin_anew(self, error: OSError) -> None:
        if self._stream is not None and not self._closed.is_set():
            log.info("watching anew endpoint=%s reason=%r", self._stream.connection.endpoint, str(error))
            self._client.avoid(self._stream.connection.endpoint)
        self._drop()
        self._closed.wait(REST)

    def _drop(self) -> None:
        if self._stream is not None:
            self._stream.connection.close()
            self._stream = None

    # --- opening ----------------------------------------------------------------------------------------

    def _open(self) -> Stream:
        try:
            return self._open_once()
        except Denied as denied:
            # A token that has run out is called that too.
            if not self._client.renew_token():
                raise etcd_errors.explain(denied.refused, self._client.settings.username) from denied
        try:
            return self._open_once()
        except Denied as denied:
            raise etcd_errors.explain(denied.refused, self._client.settings.username) from denied

    def _open_once(self) -> Stream:
        """Return a stream on which every range is watched after its position."""
        messages = [place.request(number) for number, place in enumerate(self._places, 1)]
        connection = self._client.open_stream(WATCH, *messages)
        stream = Stream(connection, self._places, ping_after=self._ping_after, pong_within=self._pong_within)
        try:
            revision = stream.wait_until_created(time.monotonic() + self._client.settings.timeout)
            self._check_cluster(stream.cluster)
            self._check_positions(revision)
        except OSError as error:
            connection.close()
            self._client.avoid(connection.endpoint)
            raise etcd_errors.nobody_answers([etcd_errors.unreachable(connection.endpoint, error)]) from error
        except BaseException:
            connection.close()
            raise
        return stream

    def _check_cluster(self, found: str) -> None:
        """Refuse to go on with another cluster, as one restored from a backup: its revisions mean other things."""
        if self._cluster and found != self._cluster:
            raise Compacted(f"this is another etcd cluster ({found}) than before ({self._cluster}): list again")
        self._cluster = found

    def _check_positions(self, revision: Revision) -> None:
        """Find out now whether etcd can go on from there; by itself it says so up to 0.1 s later, or never.

        A position before the compacted revision is too old, although etcd would watch from the compacted revision
        on: a deletion in just this revision may be gone (etcd issue 19179).

        Raises:
            Compacted: it cannot.
        """
        positions = [place.position for place in self._places]
        if (earliest := min(positions, default=revision)) < revision:
            self._client.call(RANGE, {"key": b64(OWN), "revision": str(max(earliest, 1))})
        if (latest := max(positions, default=revision)) > revision:
            # The member may just lag behind the one that gave us the revision: ask the cluster.
            found = etcd_wire.revision(self._client.call(RANGE, {"key": b64(OWN)}))
            if latest > found:
                raise Compacted(f"etcd is at revision {found} and has never had {latest}: list again")
