"""What the route controller shows of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from cloudnet.model.resources import CloudRoute


@dataclass
class Status:
    """Figures for metrics and health; a snapshot."""

    leader: bool = False
    synced: bool = False
    problem: str = ""
    routes: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # table, state, cause
    used: dict[tuple[str, int], int] = field(default_factory=dict)
    limits: dict[tuple[str, int], int] = field(default_factory=dict)
    nodes: int = 0
    blocks: int = 0
    refused_blocks: int = 0
    warnings: int = 0


def counted(routes: Iterable[CloudRoute]) -> Counter[tuple[str, str, str]]:
    """Return how many entries the ledger has, by table, state and cause."""
    return Counter((s.table, s.state.value, s.cause.value) for route in routes for s in route.tables)
