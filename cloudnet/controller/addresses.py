"""Takes leaked addresses, empty handles and idle blocks back, a step at a time; ``cloudnet/ipam/collect.py`` decides.

It remembers in memory only since when it has suspected whom: a new leader starts all grace periods anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Protocol

from cloudnet.errors import CloudnetError
from cloudnet.ipam import collect, sweep
from cloudnet.ipam import picture as pictures
from cloudnet.ipam.allocator import Allocator
from cloudnet.ipam.collect import Suspect
from cloudnet.ipam.picture import Picture
from cloudnet.ipam.sweep import Swept
from cloudnet.policy.selectors import Matches
from cloudnet.store.api import Store

log = logging.getLogger(__name__)

_WAIT_TO_LEAD = 1.0  # seconds between two looks whether this controller leads


class Shows(Protocol):
    """Where the figures go."""

    def show_addresses(self, picture: Picture, suspects: int) -> None: ...

    def collected_some(self, swept: Swept) -> None: ...


def _today() -> datetime:
    return datetime.now(tz=UTC)


class Collector:
    """Looks for leaks once a period. ``grace`` and ``period`` are seconds."""

    def __init__(
        self,
        store: Store,
        *,
        grace: float,
        period: float,
        metrics: Shows | None = None,
        today: Callable[[], datetime] = _today,
    ) -> None:
        self._store = store
        self._allocator = Allocator(store, now=today, matches=Matches())
        self._grace, self._period = grace, period
        self._metrics = metrics
        self._suspects: Mapping[Suspect, float] = {}
        self._problem = ""

    def step(self, now: float, *, leads: bool) -> float:
        """Look once, if this controller leads; return the seconds until the next look."""
        if not leads:
            self._suspects = {}
            return _WAIT_TO_LEAD
        try:
            self._look(now)
        except CloudnetError as error:
            if str(error) != self._problem:
                log.warning("cannot look for leaked addresses, trying again by itself reason=%r", str(error))
            self._problem = str(error)
        else:
            self._problem = ""
        return self._period

    def _look(self, now: float) -> None:
        picture = pictures.take(self._store)
        found = collect.review(picture, self._suspects, now=now, grace=self._grace)
        self._suspects = found.suspects
        if self._metrics:
            self._metrics.show_addresses(picture, len(found.suspects))
        swept = sweep.sweep(self._store, self._allocator, found.due)
        if self._metrics:
            self._metrics.collected_some(swept)
        if swept != Swept():
            log.info("collected addresses=%d handles=%d blocks=%d", swept.addresses, swept.handles, swept.blocks)
