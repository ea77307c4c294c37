"""BGP as an agent tells of it: whom its node speaks with and how that goes. Part of ``cloudnet node status``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from cloudnet.cli import output

_TYPES: Final = {"mesh": "node-to-node mesh", "node": "node specific", "global": "global"}
"""What calicoctl calls them."""

_COLUMNS: Final = ("PEER ADDRESS", "PEER", "PEER TYPE", "AS", "STATE", "SINCE", "ROUTES IN", "OUT", "INFO")
_PORT: Final = 179


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session; text, so that an older command reads a newer agent. ``since`` is local time."""

    peer: str
    address: str
    port: int = _PORT
    as_number: int = 0
    origin: str = ""
    state: str = ""
    since: str = ""
    error: str = ""
    imported: int = 0
    exported: int = 0


@dataclass(frozen=True, slots=True)
class Sessions:
    """An agent's answer to ``bgp``; ``sessions`` is missing where it speaks none. ``warnings``: what is not done."""

    sessions: tuple[SessionRow, ...] | None = None
    problem: str = ""
    warnings: tuple[str, ...] = ()


def read(line: bytes) -> Sessions | None:
    """Return what an agent said; nothing where its node speaks no BGP.

    Raises:
        MsgspecError: it cannot be understood.
    """
    found = msgspec.json.decode(line, type=Sessions)
    return None if found.sessions is None else found


def words(found: Sessions) -> dict[str, object]:
    """Return what to print of BGP as a whole, by heading."""
    rows = found.sessions or ()
    up = sum(row.state == "Established" for row in rows)
    fields: dict[str, object] = {"BGP": found.problem or f"{up} of {len(rows)} sessions established"}
    for i, warning in enumerate(found.warnings, start=1):
        fields[f"not done of BGP ({i})"] = warning
    return fields


def show(rows: Iterable[SessionRow]) -> None:
    """Print a table as calicoctl does."""
    output.print_table(_COLUMNS, map(_cells, rows), empty="no BGP sessions")


def _cells(row: SessionRow) -> Sequence[object]:
    address = row.address if row.port == _PORT else f"{row.address} port {row.port}"
    state = "up" if row.state == "Established" else "down" if row.state == "Down" else "start"
    info = f"{row.state}: {row.error}" if row.error and state != "up" else row.state
    kind = _TYPES.get(row.origin, row.origin)
    return address, row.peer, kind, row.as_number, state, row.since, row.imported, row.exported, info
