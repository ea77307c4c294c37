"""What commands print: the same values as a table for people and as JSON for programs."""

from __future__ import annotations

import enum
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Annotated, Any, TextIO

import typer


class Format(enum.StrEnum):
    """How a command prints its answer."""

    TABLE = "table"
    JSON = "json"


Output = Annotated[Format, typer.Option("--output", "-o", help="table for people, json for programs")]
"""The ``-o`` option of every command that prints."""


def print_json(document: object) -> None:
    """Print any of our values as JSON."""
    sys.stdout.write(as_json(document) + "\n")


def as_json(document: object) -> str:
    """Return any of our values as JSON: dataclasses as objects, enums by value, addresses as text."""
    import msgspec  # noqa: PLC0415 - `cloudnet --help` needs no JSON

    return msgspec.json.format(msgspec.json.encode(document, enc_hook=_plain), indent=2).decode()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "nothing to show") -> None:
    """Print rows under their headings; ``empty`` is said when there are none. Cut to the terminal's width only."""
    from rich.console import Console  # noqa: PLC0415 - the same
    from rich.table import Table  # noqa: PLC0415 - the same
    from rich.text import Text  # noqa: PLC0415 - the same

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(Text(_cell(cell)) for cell in row))
    if not table.row_count:
        sys.stdout.write(empty + "\n")
        return
    Console(width=None if sys.stdout.isatty() else _NO_LIMIT).print(table)


def print_fields(fields: Mapping[str, object], *, to: TextIO | None = None) -> None:
    """Print names and values, one a line, the values in one column."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        print(f"{name:<{width}}  {_cell(value)}", file=to or sys.stdout)


def ago(since: float, now: float) -> str:
    """Return how long ago ``since`` was: ``12s``, ``5m03s``, ``2h10m``, ``3d04h``; ``-`` when it is not known."""
    if since <= 0:
        return "-"
    seconds = max(0, int(now - since))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days}d{hours % 24:02d}h"
    if hours:
        return f"{hours}h{minutes % 60:02d}m"
    return f"{minutes}m{seconds % 60:02d}s" if minutes else f"{seconds}s"


def wall() -> float:
    """Return the time of day for ``ago``: the command line is a program, here the clock comes in."""
    return time.time()


_NO_LIMIT = 10_000  # columns: output that goes into a pipe is never cut

_ADDRESSES = (IPv4Address, IPv6Address, IPv4Network, IPv6Network, IPv4Interface, IPv6Interface)


def _plain(value: Any) -> Any:  # Any: msgspec's hook sees whatever msgspec does not know
    if isinstance(value, _ADDRESSES):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise NotImplementedError(f"no JSON for {type(value).__name__}")


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, enum.Enum):
        return str(value.value)
    return str(value)
