"""Who leads: one lease in the store, taken and kept by compare-and-swap. Pure; times are monotonic seconds.

A watcher never compares clocks with the holder. It notes, on its own monotonic clock, when the lease last changed,
and takes over when it has stood still for its whole duration; a wall clock that jumps changes nothing. A holder
renews every third of the duration, and stops leading as soon as its last success is a duration less one third old,
so it is silent before anybody else may start.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from cloudnet.model.resources import Lease, Metadata
from cloudnet.store.api import Revision, Stored

NAME = "cloudnet-controller"

RENEW = 1 / 3  # of the duration
SILENT = 2 / 3  # of the duration: what is left is for writes that are under way


@dataclass(frozen=True, slots=True)
class Try:
    """Write the lease: create it, or update what we saw at ``expected``."""

    value: Lease
    expected: Revision | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a ``Try``: ``now`` is what the store holds, ``ours`` whether the write went through."""

    now: Stored[Lease] | None
    ours: bool


class Keeper:
    """Takes and keeps the lease for ``identity``; one try is under way at most."""

    def __init__(self, identity: str, duration: float) -> None:
        self.identity = identity
        self.duration = duration
        self._seen: Stored[Lease] | None = None
        self._changed_at: float | None = None  # when what we saw last became another
        self._trying: float | None = None
        self._held_since: float | None = None  # start of the last try that went through
        self._next = float("-inf")  # monotonic clocks begin anywhere

    def leading(self, now: float) -> bool:
        held = self._held_since
        return held is not None and now < held + SILENT * self.duration

    @property
    def silent_at(self) -> float:
        """When leading ends unless the lease is renewed."""
        return self._held_since + SILENT * self.duration if self._held_since is not None else float("inf")

    @property
    def holder(self) -> str:
        """Who led when we last looked."""
        return self._seen.value.holder if self._seen else ""

    def saw(self, lease: Stored[Lease] | None, now: float) -> None:
        """Note what the store holds."""
        if lease is not None and self._seen is not None and lease.revision < self._seen.revision:
            return
        if self._changed_at is None or _mark(lease) != _mark(self._seen):
            self._changed_at = now
        self._seen = lease
        if lease is None or lease.value.holder != self.identity:
            self._held_since = None

    def step(self, now: float) -> tuple[Try | None, float]:
        """Return the write that is due, and when to ask again."""
        if self._trying is not None or self._changed_at is None:
            return None, float("inf")
        due = max(self._next, self._due())
        if now < due:
            return None, due
        self._trying = now
        return Try(self._wanted(), self._seen.revision if self._seen else None), float("inf")

    def done(self, outcome: Outcome | None, now: float) -> None:
        """Note what became of the try; ``None`` when the store did not answer."""
        started, self._trying = self._trying, None
        if started is None:
            return
        self._next = now + self.duration * RENEW / 3  # a failed try is repeated while there is still time
        if outcome is None:
            return
        self.saw(outcome.now, now)
        if outcome.ours:
            self._held_since = started
            self._next = started + self.duration * RENEW

    def release(self) -> Try | None:
        """Return the write that lets the next one start at once, when we hold the lease."""
        if self._seen is None or self._seen.value.holder != self.identity:
            return None
        self._held_since = None
        return Try(replace(self._seen.value, holder=""), self._seen.revision)

    def _due(self) -> float:
        """Return when a try makes sense: at once for a lease that is free or ours, else when its holder is silent."""
        if self._seen is None or self._seen.value.holder in ("", self.identity):
            return float("-inf")
        return (self._changed_at or 0.0) + self._seen.value.duration

    def _wanted(self) -> Lease:
        meta = self._seen.value.meta if self._seen else Metadata(NAME)
        renewals = self._seen.value.renewals + 1 if self._seen else 1
        return Lease(meta, self.identity, self.duration, renewals)


def _mark(lease: Stored[Lease] | None) -> tuple[str, int, float]:
    return (lease.value.holder, lease.value.renewals, lease.value.duration) if lease else ("", -1, 0.0)
