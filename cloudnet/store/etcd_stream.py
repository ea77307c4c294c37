"""The stream behind an etcd watch: its messages, its silence, and how far each range of keys has come."""

from __future__ import annotations

import time
from typing import Any, Final

from cloudnet.model.resources import Resource
from cloudnet.store import etcd_errors, etcd_wire, records
from cloudnet.store.api import Compacted, Event, EventType, Revision
from cloudnet.store.connection import Connection
from cloudnet.store.etcd_keys import Layout
from cloudnet.store.etcd_wire import Json, Range, b64, entry, from_json, to_json

CATCH_UP: Final = 0.25  # seconds; etcd looks every 0.1 s which watches are behind (watchable_store.go)
_PROGRESS: Final = to_json({"progress_request": {}})


class Denied(Exception):
    """etcd does not let us watch."""

    def __init__(self, refused: etcd_errors.Refused) -> None:
        super().__init__(refused.message)
        self.refused = refused


class Place:
    """One range of one kind, and how far it has been delivered."""

    def __init__(self, layout: Layout[Any], wanted: Range, since: Revision) -> None:
        self.layout = layout
        self.position = since
        self._range = wanted

    def request(self, number: int) -> Json:
        message = {
            "key": b64(self._range.first),
            "start_revision": str(self.position + 1),
            "watch_id": str(number),
            "progress_notify": True,
            "prev_kv": True,
            "fragment": True,
        }
        if self._range.end:
            message["range_end"] = b64(self._range.end)
        return {"create_request": message}

    def event(self, change: Json) -> Event[Resource] | None:
        """Return a change; nothing when it is none of the kind, or makes no sense.

        Raises:
            Compacted: it deletes a value that is compacted already, or cannot be read.
        """
        now = entry(change["kv"])
        if not self.layout.holds(now.key):
            return None
        type_ = EventType.DELETED if change.get("type") == "DELETE" else EventType.PUT
        if type_ is EventType.DELETED and "prev_kv" not in change:
            raise Compacted(f"etcd has no longer what {now.key} was before it was deleted: list again")
        value = entry(change["prev_kv"]) if type_ is EventType.DELETED else now
        with records.readable(self.layout.kind.name, now.key):
            return Event(type_, self.layout.decode(value), now.modified)


class Stream:
    """An open stream: takes its messages apart and keeps an eye on its silence."""

    def __init__(self, connection: Connection, places: list[Place], *, ping_after: float, pong_within: float) -> None:
        self.connection = connection
        self._places = places
        self._ping_after = ping_after
        self._pong_within = pong_within
        self._text = b""  # of a message that is not complete
        self._parts: dict[int, list[Json]] = {}  # of answers that come in fragments, by watch
        self._events: list[Event[Resource]] = []
        self._created: dict[int, Revision] = {}
        self.cluster = ""
        self._heard_at = time.monotonic()
        self._asked_at = 0.0
        self._reported = Revision(0)
        self._hold_until = 0.0
        self._holding = False

    def wait_until_created(self, deadline: float) -> Revision:
        """Return etcd's revision, once it watches every range."""
        while len(self._created) < len(self._places):
            if time.monotonic() > deadline:
                raise TimeoutError("etcd does not begin to watch")
            self._read(deadline)
        revision = min(self._created.values(), default=Revision(0))
        if len(self._places) > 1 and any(place.position < revision for place in self._places):
            self._holding, self._hold_until = True, time.monotonic() + CATCH_UP
            self._ask()
        return revision

    def take(self, deadline: float) -> tuple[Event[Resource], ...]:
        """Return what came, waiting for it until the deadline or until the silence must be looked into."""
        self._read(time.monotonic())
        if not self._ready():
            self._read(min(deadline, self._next_look()))
        if not self._ready():
            self._look()
            return ()
        events, self._events = self._events, []
        return tuple(sorted(events, key=lambda event: event.revision))

    # --- silence ----------------------------------------------------------------------------------------

    def _ready(self) -> bool:
        if self._holding and not self._asked_at and time.monotonic() >= self._hold_until:
            self._holding = False
        return bool(self._events) and not self._holding

    def _next_look(self) -> float:
        if self._asked_at:
            return self._asked_at + self._pong_within
        if self._holding:
            return self._hold_until
        return self._heard_at + self._ping_after

    def _look(self) -> None:
        now = time.monotonic()
        if self._asked_at and now >= self._asked_at + self._pong_within:
            raise TimeoutError(f"{self.connection.endpoint} has said nothing for {now - self._heard_at:.0f} s")
        if not self._asked_at and now >= self._heard_at + self._ping_after:
            self._ask()

    def _ask(self) -> None:
        self._asked_at = time.monotonic()
        self.connection.send_message(_PROGRESS, deadline=self._asked_at + self._pong_within)

    # --- messages ---------------------------------------------------------------------------------------

    def _read(self, deadline: float) -> None:
        data = self.connection.receive(deadline)
        if not data:
            return
        self._heard_at = time.monotonic()
        *lines, self._text = (self._text + data).split(b"\n")
        for line in lines:
            if line:
                self._handle(from_json(line))

    def _handle(self, message: Json) -> None:
        if "result" not in message:
            raise _meaning(etcd_errors.from_stream(message))
        result: Json = message["result"]
        number = int(result.get("watch_id", 0))
        if result.get("canceled"):
            raise _end(result)  # of a watch that a compaction overtook the header has no revision
        revision = etcd_wire.revision(result)
        if result.get("created"):
            self._created[number] = revision
            self.cluster = str(result["header"].get("cluster_id", ""))
        elif result.get("events") or number in self._parts:
            self._take_events(number, result)
        else:
            self._take_report(number, revision)

    def _take_events(self, number: int, result: Json) -> None:
        self._parts.setdefault(number, []).extend(result.get("events", ()))
        if result.get("fragment"):
            return
        place = self._places[number - 1]
        changes = self._parts.pop(number)
        self._events += [event for change in changes if (event := place.event(change))]
        place.position = max(place.position, *(Revision(int(change["kv"]["mod_revision"])) for change in changes))

    def _take_report(self, number: int, revision: Revision) -> None:
        """Note progress: of one watch, which etcd says by itself, or of all (-1), which is asked for."""
        if number > 0:
            self._places[number - 1].position = max(self._places[number - 1].position, revision)
            return
        self._asked_at = 0.0
        if not self._holding:
            for place in self._places:
                place.position = max(place.position, self._reported)
            self._reported = revision


def _end(result: Json) -> Exception:
    """Return what it means that etcd ends a watch."""
    if int(result.get("compact_revision", 0)):
        return Compacted(f"etcd has forgotten the changes before revision {result['compact_revision']}: list again")
    return _meaning(etcd_errors.Refused(0, 0, str(result.get("cancel_reason") or "etcd ended the watch")))


def _meaning(refused: etcd_errors.Refused) -> Exception:
    """Return what to do about it: ask a person, or open another stream."""
    return Denied(refused) if refused.is_known else ConnectionResetError(refused.message)
