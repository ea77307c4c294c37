"""States of the past, for readers that lag behind writers. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class History(Generic[T]):
    """States in the order of time, each with the second from which it held."""

    _states: list[tuple[float, T]] = field(default_factory=list)

    def add(self, now: float, state: T, *, keep: float) -> None:
        """Remember a state; forget those that no reader can see anymore, ``keep`` seconds back."""
        self._states.append((now, state))
        old = [i for i, (at, _) in enumerate(self._states) if at <= now - keep]
        del self._states[: max(old[-1], 0) if old else 0]

    def at(self, moment: float) -> T:
        """Return the state of a moment; the oldest known one for a moment before it.

        Raises:
            LookupError: none was ever added.
        """
        if not self._states:
            raise LookupError("a history without a state")
        return next((state for at, state in reversed(self._states) if at <= moment), self._states[0][1])
