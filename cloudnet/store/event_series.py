"""Which events are worth a write: the first of its kind, then its count now and then, and never a flood. Pure.

An event that comes again (same object, reason and sentence) becomes a count in what was written first, as Kubernetes
means series to be (KEP-383). Each object, and all together, have a budget; what exceeds it is dropped and counted.
Kubernetes forgets an event an hour after its last write, and so do we: later it is a new one.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, TypeVar

from cloudnet.model.cluster_events import ClusterEvent, Severity, Subject

K = TypeVar("K")
V = TypeVar("V")

REPEAT_EVERY: Final = 300.0  # seconds between two writes of one series
FORGET_AFTER: Final = 3600.0  # seconds; kube-apiserver --event-ttl
_REMEMBERED: Final = 4096  # series, and objects: some megabytes at the most
_OF_ONE: Final = (10.0, 1 / 60)  # about one object: so many at once, and a second
_OF_ALL: Final = (100.0, 2.0)  # for a cluster whose thousand nodes have one trouble: told within minutes


@dataclass(slots=True)
class _Bucket:
    """A token bucket; ``burst`` at once, ``rate`` a second."""

    burst: float
    rate: float
    tokens: float
    at: float

    def fill(self, now: float) -> None:
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now

    def take(self) -> None:
        self.tokens -= 1.0


@dataclass(slots=True)
class Series:
    """One event, how often it came, and what it is called in the cluster."""

    event: ClusterEvent
    name: str
    count: int
    written_at: float
    seen_at: float


class Tally:
    """The series that stand, and the budgets. ``take`` says what to write."""

    def __init__(self) -> None:
        self.dropped = 0
        self._series: OrderedDict[ClusterEvent, Series] = OrderedDict()
        self._of_one: OrderedDict[Subject, _Bucket] = OrderedDict()
        self._of_all = _Bucket(*_OF_ALL, _OF_ALL[0], 0.0)

    def take(self, event: ClusterEvent, now: float, *, name: str) -> Series | None:
        """Return what to write of an event, nothing when it is known or too much; ``name`` is for a new one."""
        series = self._series.get(event)
        if series is not None and now - series.written_at < FORGET_AFTER:
            series.count, series.seen_at = series.count + 1, now
            if now - series.written_at < REPEAT_EVERY:
                return None
        if not self._may_write(event, now):
            self.dropped += 1
            return None
        if series is None or now - series.written_at >= FORGET_AFTER:
            series = Series(event, name, 1, now, now)
            _keep(self._series, event, series)
        series.written_at = now
        return series

    def forget(self, event: ClusterEvent) -> None:
        """An event was not written, or is not there any more: the next one is the first."""
        self._series.pop(event, None)

    def _may_write(self, event: ClusterEvent, now: float) -> bool:
        mine = self._of_one.get(event.about) or _Bucket(*_OF_ONE, _OF_ONE[0], now)
        _keep(self._of_one, event.about, mine)
        mine.fill(now)
        self._of_all.fill(now)
        kept = 0.0 if event.reason.severity is Severity.WARNING else _OF_ALL[0] / 2  # good news leaves room for bad
        if mine.tokens < 1.0 or self._of_all.tokens < 1.0 + kept:
            return False
        mine.take()
        self._of_all.take()
        return True


def _keep(kept: OrderedDict[K, V], key: K, value: V) -> None:
    """Remember a value as the newest, and no more than there is room for."""
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > _REMEMBERED:
        kept.popitem(last=False)
