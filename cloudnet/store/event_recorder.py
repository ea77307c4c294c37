"""Tells people at their nodes and pods what happened, on a thread of its own: nothing ever waits for it.

    loop, CNI, policy ── record ──▶ queue, bounded ──▶ tally ──▶ Kubernetes

An event that cannot be written is lost, the log has the same sentence. Where the store keeps no events there is
nothing to do: sqlite and etcd have the log.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol, runtime_checkable

from cloudnet.errors import CloudnetError
from cloudnet.model.cluster_events import ClusterEvent, Record, ignore
from cloudnet.store.api import NotFound
from cloudnet.store.event_series import Series, Tally

log = logging.getLogger(__name__)

_WAITING: Final = 256  # events that wait for the cluster; more are dropped
_LONGEST_NAME: Final = 230  # characters of an object's name: with the time behind it 253 are allowed
_PATIENCE: Final = 1.0  # seconds for the write under way when we end


class EventSink(Protocol):
    """Where events are kept."""

    def write(self, series: Series, *, instance: str) -> None: ...


@runtime_checkable
class KeepsEvents(Protocol):
    """A store that has a place for events."""

    @property
    def events(self) -> EventSink: ...


class Recorder:
    """The thread and its queue. ``instance`` is the node or pod that speaks; ``unique`` makes names of events."""

    def __init__(
        self,
        sink: EventSink,
        *,
        instance: str,
        now: Callable[[], float] = time.monotonic,
        unique: Callable[[], int] = time.time_ns,
    ) -> None:
        self._sink, self._instance, self._now, self._unique = sink, instance, now, unique
        self._tally = Tally()
        self._full = 0
        self._failing = False
        self._ending = threading.Event()
        self._inbox: queue.Queue[ClusterEvent | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """How many events were too many."""
        return self._full + self._tally.dropped

    def record(self, event: ClusterEvent) -> None:
        """Have this written soon, if there is room for it. Any thread may call."""
        try:
            self._inbox.put_nowait(event)
        except queue.Full:
            self._full += 1

    def close(self) -> None:
        """End after the write under way; what waits behind it is dropped."""
        self._ending.set()
        with contextlib.suppress(queue.Full):  # then the thread is busy, and sees the end after its write
            self._inbox.put_nowait(None)
        self._thread.join(_PATIENCE)

    def _run(self) -> None:
        while True:
            event = self._inbox.get()
            if event is None or self._ending.is_set():
                return
            self._write(event)

    def _write(self, event: ClusterEvent) -> None:
        for _ in range(2):  # Kubernetes may have forgotten what we would count up
            series = self._tally.take(event, self._now(), name=self._name(event))
            if series is None:
                return
            try:
                self._sink.write(series, instance=self._instance)
            except NotFound as error:
                self._tally.forget(event)
                problem: CloudnetError = error
            except CloudnetError as error:
                self._tally.forget(event)
                problem = error
                break
            else:
                self._failing = False
                return
        self._tell(problem)

    def _name(self, event: ClusterEvent) -> str:
        return f"{event.about.name[:_LONGEST_NAME].rstrip('-.')}.{self._unique():x}"

    def _tell(self, problem: CloudnetError) -> None:
        level = logging.DEBUG if self._failing or self._ending.is_set() else logging.INFO
        log.log(level, "an event is not written, going on without reason=%r", str(problem))
        self._failing = True


@contextmanager
def recording(store: object, instance: str) -> Iterator[Record]:
    """Yield what takes events until the block ends; it does nothing where the store keeps none."""
    if not isinstance(store, KeepsEvents):
        yield ignore
        return
    recorder = Recorder(store.events, instance=instance)
    try:
        yield recorder.record
    finally:
        recorder.close()
