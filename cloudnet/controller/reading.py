"""When the cloud is read: what is due, and how long to wait after each answer. Pure; times are monotonic seconds.

Reads are what a cloud counts. Each is due for a reason: nobody has looked yet; what was read grows old; a write is to
be seen through; agents saw a route dead; somebody else's route stands in the way. Reads that explain nothing, and
reads that fail, come ever more slowly.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from cloudnet.controller.options import Options
from cloudnet.controller.tables import NEVER, growing
from cloudnet.provider.errors import ProviderError


class TableReading:
    """When route tables are read. ``known``: they have been, since we lead."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.known = False
        self._begun: float | None = None
        self._last = -NEVER  # when the last read that succeeded was begun
        self._due = 0.0
        self._tries = 0
        self._blocked_tries = 0
        self._verify_due, self._verify_tries = NEVER, 0
        self._lost_due, self._lost_tries = NEVER, 0

    def start_over(self, now: float) -> None:
        self.known, self._due, self._tries, self._verify_due = False, now, 0, NEVER

    def is_due(self, now: float) -> bool:
        return self._begun is None and now >= min(self._due, self._verify_due, self._lost_due)

    def begin(self, now: float) -> None:
        self._begun = now
        self._verify_due = self._lost_due = NEVER

    def end(self) -> float | None:
        """Return when the read that is answered now was begun; nothing if nobody asked."""
        begun, self._begun = self._begun, None
        return begun

    def failed(self, error: ProviderError | None, now: float) -> None:
        self._tries += 1
        self._due = now + self._options.wait_after(error, self._tries)

    def succeeded(self, begun: float, *, changed: bool, resync: float, now: float) -> None:
        """Take in an answer; ``resync`` is how long it stays good."""
        self.known, self._tries, self._last = True, 0, begun
        self._blocked_tries = 0 if changed else self._blocked_tries + 1
        self._due = now + resync

    def soon(self, now: float) -> None:
        """Read once what is happening has come to rest."""
        self._verify_due = min(self._verify_due, now + self._options.settle)

    def blocked(self, pages: float, now: float) -> None:
        """While others stand in a block's way, look ever more slowly whether they still do."""
        first, limit = self._options.retry_first, self._options.retry_limit * pages
        self._due = min(self._due, now + growing(first, limit, self._blocked_tries + 1))

    def reported(self, now: float, *, lost: bool) -> None:
        """Take in that agents report something new; ``lost``: some see a dead route."""
        if not lost:
            self._lost_due, self._lost_tries = NEVER, 0
        elif self._lost_due == NEVER:
            self._lost_due = now + self._options.lost_first

    def still_lost(self, now: float, *, changed: bool) -> None:
        """A read has not made a dead route good: look again, ever more slowly unless it changed something."""
        self._lost_tries = 0 if changed else self._lost_tries + 1
        self._lost_due = now + growing(self._options.lost_first, self._options.resync, self._lost_tries + 1)

    def see_through(self, accepted: Collection[float], now: float, *, sending: bool) -> None:
        """Read back what was accepted at these moments: when everything is sent, or now and then while it goes on."""
        if not accepted:
            self._verify_tries = 0
            return
        if sending:
            due = min(accepted) + self._options.verify_at_most
        elif max(accepted) < self._last:
            self._verify_tries += 1
            due = now + growing(0.5, self._options.away_limit, self._verify_tries)
        else:
            due = now + self._options.settle
        self._verify_due = min(self._verify_due, due)

    def wakeups(self) -> Iterator[float]:
        if self._begun is None:
            yield from (self._due, self._verify_due, self._lost_due)


class InstanceReading:
    """When machines are read: all of them now and then, those that are not known as soon as may be."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.under_way = False
        self._all_due = 0.0
        self._unknown_due = 0.0
        self._tries = 0

    def start_over(self, now: float) -> None:
        self._all_due, self._tries = now, 0

    def all_are_due(self, now: float) -> bool:
        return now >= self._all_due

    def unknown_are_due(self, now: float) -> bool:
        return now >= self._unknown_due

    def begin_all(self, resync: float, now: float) -> None:
        self._all_due = now + resync

    def doubt(self, now: float) -> None:
        """Some machine may be another one: look at once."""
        self._unknown_due = now

    def failed(self, error: ProviderError, now: float) -> None:
        self.under_way = False
        self._tries += 1
        self._unknown_due = now + self._options.wait_after(error, self._tries)
        self._all_due = max(self._all_due, self._unknown_due)

    def succeeded(self, now: float, *, missing: bool, everything: bool, resync: float) -> None:
        """Take in an answer; ``missing``: some node has no machine. ``resync`` is how long all of them stay good."""
        self.under_way = False
        self._tries = self._tries + 1 if missing else 0
        self._unknown_due = now
        if everything:
            self._all_due = now + resync
        if missing:
            wait = growing(self._options.away_first * 5, self._options.resync, self._tries)
            self._all_due = min(self._all_due, now + wait)

    def wakeups(self, *, known: bool, unknown: bool, waiting_until: float) -> Iterator[float]:
        """Yield when to look: there are nodes (``known``), some of them not looked up, whose look-up others join."""
        if self.under_way:
            return
        if known:
            yield self._all_due
        if unknown:
            yield max(self._unknown_due, waiting_until)
