"""Writes the node's AgentReport to the store on a thread of its own: a store that is slow or away stops nothing.

Only the newest report matters, so that a later one replaces one that waits. Failures are logged once until a write
succeeds again, and tried again every ``retry`` seconds. A definition that is older than the agent may refuse a report
or drop a part of it: that is tried again every ``refused`` seconds.
"""

from __future__ import annotations

import logging
import threading

from cloudnet.errors import BadInput
from cloudnet.model.resources import AgentReport
from cloudnet.store.api import AlreadyExists, Conflict, NotFound, Store, StoreError

log = logging.getLogger(__name__)

REFUSED = 30.0  # seconds: somebody has to apply a newer definition first, and every node asks


class Reporter:
    """The thread and its one pending report."""

    def __init__(self, store: Store, *, retry: float = 1.0, refused: float = REFUSED) -> None:
        self._store, self._retry, self._refused = store, retry, refused
        self._pending: AgentReport | None = None
        self._changed = threading.Condition()
        self._ending = False
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)
        self._thread.start()

    def report(self, report: AgentReport) -> None:
        """Have this written soon, instead of whatever still waits."""
        with self._changed:
            self._pending = report
            self._changed.notify()

    def close(self) -> None:
        """End after the write under way; what waits behind it is dropped: the next agent will know better."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending is not None or self._ending)
                if self._ending or self._pending is None:
                    return
                report, self._pending = self._pending, None
            if not (pause := self._write(report)):
                continue
            with self._changed:
                if self._pending is None:
                    self._pending = report
                self._changed.wait_for(lambda: self._ending, pause)

    def _write(self, report: AgentReport) -> float:
        """Return the seconds to wait before it is tried again; none when it was written."""
        try:
            is_kept = write(self._store, report)
        except (StoreError, BadInput) as e:
            if not self._failing:
                log.warning(
                    "cannot report to the store, going on without node=%s reason=%r", report.meta.name, str(e)
                )
            self._failing = True
            return self._refused if isinstance(e, BadInput) else self._retry
        if self._failing:
            log.info("reporting to the store again node=%s", report.meta.name)
        self._failing = False
        return 0.0 if is_kept else self._refused


def write(store: Store, report: AgentReport) -> bool:
    """Make the store hold this report; writes only when it holds another. Tell whether it holds all of it."""
    for _ in range(5):  # a conflict means that another agent of this name writes too: one of both will be stopped
        try:
            seen = store.get(AgentReport, report.meta.name)
            if _content(seen.value) != _content(report):
                seen = store.update(report, expected=seen.revision)
        except NotFound:
            try:
                seen = store.create(report)
            except AlreadyExists:
                continue
        except Conflict:
            continue
        return _content(seen.value) == _content(report)
    raise Conflict(f"agent report {report.meta.name!r}: is another agent running under this node's name?")


def _content(report: AgentReport) -> tuple[object, ...]:
    return report.ready, report.observed, report.lost, report.message
