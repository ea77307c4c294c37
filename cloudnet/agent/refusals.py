"""What the kernel refused, and when to ask it again: ever more slowly. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from cloudnet.kernel.api import Change, Failure, KernelObject, Key

_RETRY_FIRST: Final = 1.0  # seconds until the kernel is asked again; doubles …
_RETRY_LIMIT: Final = 30.0  # … up to this


class Refusals:
    """By key of the object: when to try again, how long to wait then, and what the kernel said."""

    def __init__(self) -> None:
        self._known: dict[Key, tuple[float, float, str]] = {}

    def __bool__(self) -> bool:
        return bool(self._known)

    def note(self, failure: Failure, now: float) -> None:
        key = failure.change.value.key
        wait = self._known[key][1] if key in self._known else _RETRY_FIRST
        self._known[key] = (now + wait, min(2 * wait, _RETRY_LIMIT), str(failure.error))

    def forget(self, key: Key) -> None:
        self._known.pop(key, None)

    def due(self, wanted: Sequence[Change], now: float) -> Sequence[Change]:
        """Return the changes that may be tried now; what nobody wants any more is forgotten."""
        if not self._known:
            return wanted
        self._known = {c.value.key: self._known[c.value.key] for c in wanted if c.value.key in self._known}
        return tuple(c for c in wanted if c.value.key not in self._known or self._known[c.value.key][0] <= now)

    def why(self, missing: Iterable[KernelObject]) -> str:
        """Return what the kernel said of one of these; nothing if it was not asked yet."""
        return next((self._known[each.key][2] for each in missing if each.key in self._known), "")

    def times(self) -> Iterable[float]:
        """Return when to try again."""
        return (at for at, _, _ in self._known.values())
