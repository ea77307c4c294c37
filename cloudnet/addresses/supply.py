"""What subnets turned out not to have: learned from refusals, forgotten after a while. Pure.

No cloud tells how fragmented a subnet is. So a refusal of many prefixes halves what is asked for next, a refusal of
one closes that length in that subnet for all nodes together, and after a wait one node's try finds out anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloudnet.model.addresses import Family, SubnetId
from cloudnet.provider.api import Wanted

PLENTY: Final = 1 << 30
FIRST: Final = 120.0  # seconds that a closed length stays closed; doubles …
LIMIT: Final = 960.0  # … up to this

Key = tuple[SubnetId, Family, int]


@dataclass(frozen=True, slots=True)
class Short:
    """What a subnet has of one length: ``most`` at once, until ``until``; closed ``tries`` times in a row."""

    most: int
    until: float
    tries: int = 0


class Supply:
    """What to ask subnets for. Times are monotonic seconds."""

    def __init__(self, first: float = FIRST, limit: float = LIMIT) -> None:
        self._short: dict[Key, Short] = {}
        self._first, self._limit = first, limit

    def most(self, subnet: SubnetId, of: Family, length: int, *, now: float) -> int:
        """Return how many of that length may be asked of a subnet at once; 0 while it has none."""
        short = self._short.get((subnet, of, length))
        if short is None:
            return PLENTY
        return short.most if now < short.until else 1 if short.most == 0 else PLENTY

    def refused(self, subnet: SubnetId, wanted: Wanted, *, now: float) -> None:
        """Note that a subnet has not so many; the same refusal to several nodes counts once."""
        key = (subnet, wanted.family, wanted.length)
        old = self._short.get(key)
        most = wanted.count // 2
        if old is not None and now < old.until and old.most <= most:
            return
        tries = (old.tries if old else 0) + (most == 0)
        wait = min(self._limit, self._first * 2.0 ** max(0, tries - 1))
        self._short[key] = Short(most, now + wait, tries)

    def given(self, subnet: SubnetId, wanted: Wanted) -> None:
        """Note that a subnet had so many: what was closed is open."""
        key = (subnet, wanted.family, wanted.length)
        old = self._short.get(key)
        if old is not None and old.most < wanted.count:
            del self._short[key]

    def reopens(self, now: float) -> float:
        """Return when the next closed length may be tried again."""
        return min((s.until for s in self._short.values() if s.until > now), default=float("inf"))
