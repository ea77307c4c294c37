"""A thread that keeps its owner told of some kinds: first everything there is, then every change.

It outlives what a watch cannot: changes that are gone from the log (it lists again and makes up the deletions
that it missed), a store that does not answer (it tries again, ever more slowly; at the start it goes on from what is
kept in ``last_known.py``), and a document that makes no sense
(what it said last stays, and ``unreadable`` names it). What it hands out is
level-triggered: a value may come twice, never an older one after a newer one.

The receiver runs on the informer's thread and should only put the batch on a queue. ``step`` is the whole
loop body, so that a test needs no thread.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Any, Self, TypeAlias

from cloudnet.model.resources import Resource
from cloudnet.store.api import Compacted, Event, EventType, Listing, Revision, Store, StoreError, Watch
from cloudnet.store.last_known import LastKnown

log = logging.getLogger(__name__)

WAIT = 1.0  # seconds that one step waits for a change; closing the watch ends it sooner
RETRY_FIRST = 0.1  # seconds until the second try …
RETRY_LIMIT = 5.0  # … which doubles up to this: a store that comes back is seen within seconds

_Kind = type[Resource]
_Name = tuple[str, str]  # namespace, name
_View: TypeAlias = Callable[[Any], Any]  # a function of one kind's values to values of the same kind
_WHOLE: Mapping[_Kind, _View] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Batch:
    """Changes in the order of their revisions.

    ``synced`` marks a batch that completes a listing: it holds every resource of every kind, and deletions of
    those that went unseen. The first batch is one; so is the one after each listing forced by ``Compacted``.
    """

    events: tuple[Event[Resource], ...]
    synced: bool = False


class Informer:
    """Lists and watches ``kinds``, and calls ``deliver`` with batches until it is closed."""

    def __init__(
        self,
        store: Store,
        kinds: Collection[_Kind],
        deliver: Callable[[Batch], None],
        *,
        views: Mapping[_Kind, _View] = _WHOLE,
        last_known: LastKnown | None = None,
    ) -> None:
        """Watch ``kinds``; of those in ``views`` keep and deliver what the view leaves, and the same only once.

        While a store that never answered is away, what is ``last_known`` is delivered as if it were a listing.
        """
        self._store = store
        self._last_known = last_known
        self._views = views
        self._deliver = deliver
        self._known: dict[_Kind, dict[_Name, Event[Resource]]] = {kind: {} for kind in kinds}
        self._listed: dict[_Kind, Revision] = {}  # where each kind's listing stood
        self._watch: Watch | None = None
        self._unreadable: dict[tuple[_Kind, _Name], str] = {}
        self._pause = 0.0
        self._problem = ""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="informer", daemon=True)

    @property
    def problem(self) -> str:
        """Why the receiver may be behind; empty when it is not. For health endpoints; any thread may ask."""
        return self._problem

    @property
    def unreadable(self) -> Mapping[tuple[_Kind, _Name], str]:
        """Return whose documents make no sense, and why; replaced whole, so that any thread may ask."""
        return self._unreadable

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop, and wait for the thread; the store stays open."""
        self._closing.set()
        if (watch := self._watch) is not None:
            watch.close()
        if self._thread.is_alive():
            self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def step(self, wait: float = WAIT) -> float:
        """Do the next thing, a listing or one wait for changes; return the seconds to pause before the next step."""
        try:
            if self._watch is None:
                self._list()
            else:
                self._follow(self._watch, wait)
        except Compacted as error:
            log.info("listing again reason=%r", str(error))
            self._stop_watching()
            return 0.0
        except StoreError as error:
            return self._back_off(error)
        if self._problem:
            log.info("the store answers again")
        self._problem, self._pause = "", 0.0
        return 0.0

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                self._closing.wait(self.step())
        except Exception as error:
            # The receiver's own fault; the thread is lost, and health must show it.
            self._problem = f"the informer stopped: {error}"
            raise
        finally:
            self._stop_watching()

    def _list(self) -> None:
        listings = {kind: self._list_one(kind) for kind in self._known}
        self._listed = {kind: listing.revision for kind, listing in listings.items()}
        # From the oldest listing on; what later listings hold already is skipped by their revision.
        watch = self._store.watch(tuple(self._known), since=min(self._listed.values(), default=Revision(0)))
        events: list[Event[Resource]] = []
        for kind, listing in listings.items():
            fresh = {
                (item.value.meta.namespace, item.value.meta.name): Event(EventType.PUT, item.value, item.revision)
                for item in listing.items
            }
            stays = {name: known for name, known in self._known[kind].items() if name in listing.unreadable}
            events += [
                Event(EventType.DELETED, known.value, listing.revision)
                for name, known in self._known[kind].items()
                if name not in fresh and name not in stays
            ]
            fresh |= stays
            events += fresh.values()
            self._known[kind] = fresh
        events.sort(key=lambda event: event.revision)
        self._unreadable = {
            (kind, name): why for kind, listing in listings.items() for name, why in listing.unreadable.items()
        }
        self._watch = watch
        self._deliver(Batch(tuple(events), synced=True))
        self._keep()

    def _keep(self) -> None:
        """Keep what is known for the next start, if it is time."""
        if self._last_known is not None and self._last_known.is_due:
            self._last_known.save(event.value for known in self._known.values() for event in known.values())

    def _recall(self) -> None:
        """Deliver what was known last, once."""
        if self._last_known is None or self._listed or any(self._known.values()):
            return
        events = [Event(EventType.PUT, value, Revision(0)) for value in self._last_known.load(self._known)]
        for event in events:
            meta = event.value.meta
            self._known[type(event.value)][meta.namespace, meta.name] = event
        if events:
            log.warning("the store is away: going on from what it said last resources=%d", len(events))
            self._deliver(Batch(tuple(events), synced=True))

    def _list_one(self, kind: _Kind) -> Listing[Resource]:
        view = self._views.get(kind)
        return self._store.list(kind) if view is None else self._store.list(kind, view=view)

    def _news(self, event: Event[Resource]) -> Event[Resource] | None:
        """Return what the receiver is to hear of an event; nothing when it would hear the same again."""
        kind = type(event.value)
        if event.revision <= self._listed[kind]:
            return None
        view = self._views.get(kind)
        if view is None:
            return event
        seen = Event(event.type, view(event.value), event.revision)
        known = self._known[kind].get((seen.value.meta.namespace, seen.value.meta.name))
        same = known is not None and event.type is EventType.PUT and known.value == seen.value
        return None if same else seen

    def _follow(self, watch: Watch, wait: float) -> None:
        fresh: list[Event[Resource]] = []
        for heard in watch.next(wait):
            event = self._news(heard)
            if event is None:
                continue
            fresh.append(event)
            kind, name = type(event.value), (event.value.meta.namespace, event.value.meta.name)
            known = self._known[kind]
            if (kind, name) in self._unreadable:
                self._unreadable = {key: why for key, why in self._unreadable.items() if key != (kind, name)}
            if event.type is EventType.PUT:
                known[name] = event
            else:
                known.pop(name, None)
        if fresh:
            self._deliver(Batch(tuple(fresh)))
            self._keep()

    def _back_off(self, error: StoreError) -> float:
        if self._closing.is_set():
            return 0.0
        if not self._problem:
            log.warning("the store does not answer problem=%r", str(error))
        self._problem = str(error)
        self._recall()
        self._pause = min(max(RETRY_FIRST, self._pause * 2), RETRY_LIMIT)
        return self._pause

    def _stop_watching(self) -> None:
        if self._watch is not None:
            with contextlib.suppress(StoreError):  # it is of no more use, whatever it says
                self._watch.close()
            self._watch = None
