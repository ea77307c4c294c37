"""Detours: how interfaces are led to another chain while the rules of chains that stand change as well.

A packet on its way keeps to the rules of the moment when it came, but asks maps as they are now. If one transaction
changed both, such a packet would be led to a new chain and from there to old rules, which together allow neither
what the old ones did nor what the new ones do. So the interfaces first turn off to a chain whose one rule goes where
they went before, then only rules change, that one among them, and then the interfaces go straight to the new chain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

from cloudnet.policy.table import Chain, digest

Verdicts: TypeAlias = Mapping[str, dict[str, str]]
"""``{map: {element: verdict}}``"""


@dataclass(frozen=True, slots=True)
class Detours:
    """Chains for the time between, with the rule before and after, and the elements that lead in and on."""

    before: tuple[Chain, ...] = ()
    after: tuple[Chain, ...] = ()
    entering: Verdicts = field(default_factory=lambda: MappingProxyType({}), hash=False)
    leaving: Verdicts = field(default_factory=lambda: MappingProxyType({}), hash=False)

    def __bool__(self) -> bool:
        return bool(self.before)


@dataclass(frozen=True, slots=True)
class Move:
    """An element of a map that leads elsewhere now."""

    map: str
    key: str
    before: str
    after: str

    @property
    def detour(self) -> str:
        """The name of the detour: one for all elements that go the same way."""
        return f"detour-{digest(self.before, self.after)}"


def plan(moves: Iterable[Move]) -> Detours:
    """Return the detours of these moves."""
    before: dict[str, Chain] = {}
    after: dict[str, Chain] = {}
    entering: dict[str, dict[str, str]] = {}
    leaving: dict[str, dict[str, str]] = {}
    for move in moves:
        before[move.detour] = Chain(move.detour, (move.before,))
        after[move.detour] = Chain(move.detour, (move.after,))
        entering.setdefault(move.map, {})[move.key] = f"goto {move.detour}"
        leaving.setdefault(move.map, {})[move.key] = move.after
    return Detours(tuple(before.values()), tuple(after.values()), entering, leaving)
