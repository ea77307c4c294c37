"""Desired state, actual state, and what is left to do: the one difference engine of the program.

Pending work is kept as two sets that shrink and grow with each call, so that one change among many
thousands costs one change, not a scan. A key is never in both sets. The structure is pure data: it knows
nothing of kernels or clouds.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class DeltaTracker(Generic[K, V]):
    """Desired and actual state of one kind of thing, keyed alike; values compare by ``==``."""

    __slots__ = ("_actual", "_deletions", "_desired", "_updates")

    def __init__(self) -> None:
        self._desired: dict[K, V] = {}
        self._actual: dict[K, V] = {}
        self._updates: dict[K, None] = {}  # dicts keep the order in which work arrived
        self._deletions: dict[K, None] = {}

    @property
    def desired(self) -> Mapping[K, V]:
        return self._desired

    @property
    def actual(self) -> Mapping[K, V]:
        return self._actual

    def want(self, key: K, value: V) -> None:
        """Make ``value`` what ``key`` should be."""
        self._desired[key] = value
        self._settle(key)

    def drop(self, key: K) -> None:
        """Want ``key`` no longer; unknown keys are ignored."""
        self._desired.pop(key, None)
        self._settle(key)

    def saw(self, key: K, value: V) -> None:
        """Record that the world holds ``value`` under ``key``: after a read or a successful write."""
        self._actual[key] = value
        self._settle(key)

    def lost(self, key: K) -> None:
        """Record that the world holds nothing under ``key``, or that nobody knows what it holds."""
        self._actual.pop(key, None)
        self._settle(key)

    def resync(self, actual: Mapping[K, V]) -> None:
        """Replace everything known of the world by a fresh read."""
        self._actual = dict(actual)
        self._updates.clear()
        self._deletions.clear()
        for key in [*self._desired, *(k for k in self._actual if k not in self._desired)]:
            self._settle(key)

    def updates(self) -> Iterator[tuple[K, V]]:
        """Yield what must be created or replaced, oldest wish first; safe against changes meanwhile."""
        return ((key, self._desired[key]) for key in list(self._updates) if key in self._updates)

    def deletions(self) -> Iterator[tuple[K, V]]:
        """Yield what must go, with the value that stands there now; safe against changes meanwhile."""
        return ((key, self._actual[key]) for key in list(self._deletions) if key in self._deletions)

    def __bool__(self) -> bool:
        """Tell whether anything is left to do."""
        return bool(self._updates or self._deletions)

    def _settle(self, key: K) -> None:
        self._updates.pop(key, None)
        self._deletions.pop(key, None)
        if key in self._desired:
            if key not in self._actual or self._actual[key] != self._desired[key]:
                self._updates[key] = None
        elif key in self._actual:
            self._deletions[key] = None
