"""What BIRD answers on its control socket, as values. Pure; BIRD ``doc/reply_codes``.

A line begins with four digits and ``-``, or with a blank when it goes on as the one before; the last line of an
answer has a blank behind its digits. Codes from 8000 on are errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from cloudnet.bgp.api import DOWN, Status

_CODED: Final = re.compile(r"(?P<code>[0-9]{4})(?P<more>[- ])(?P<text>.*)")
_ERRORS: Final = 8000
_ROW: Final = 1002  # show protocols: one of them
_MORE: Final = 1006  # … and all there is to say of it
_FIELD: Final = re.compile(r"\s*(?P<name>BGP state|Last error):\s+(?P<value>.*)")
_ROUTES: Final = re.compile(
    r"\s*Routes:\s+(?P<imported>[0-9]+) imported, (?:[0-9]+ filtered, )?(?P<exported>[0-9]+) exported"
)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an answer, with its code; ``last``: nothing comes after it."""

    code: int
    text: str
    last: bool = False

    @property
    def failed(self) -> bool:
        return self.code >= _ERRORS


def line(text: str, before: int) -> Line:
    """Return a line; ``before`` is the code of the line before it."""
    found = _CODED.fullmatch(text)
    if found is None:
        return Line(before, text[1:])
    return Line(int(found["code"]), found["text"], found["more"] == " ")


def sessions(lines: Iterable[Line]) -> Sequence[Status]:
    """Return the state of every BGP session in an answer to ``show protocols all``."""
    return tuple(sorted(_sessions(lines), key=lambda status: status.name))


def _sessions(lines: Iterable[Line]) -> Iterator[Status]:
    status: Status | None = None
    for one in lines:
        if one.code == _ROW and (words := one.text.split()):
            if status is not None:
                yield status
            status = _row(words)
        elif one.code == _MORE and status is not None:
            status = _detailed(status, one.text)
    if status is not None:
        yield status


def _row(words: Sequence[str]) -> Status | None:
    """Return what a row says: name, protocol, table, state, date, time, and in words what BGP does."""
    name, protocol, _, _, *rest = words
    return Status(name, DOWN, " ".join(rest[:2])) if protocol == "BGP" else None


def _detailed(status: Status, text: str) -> Status:
    if field := _FIELD.fullmatch(text):
        if field["name"] == "BGP state":
            return replace(status, state=field["value"])
        return replace(status, error=field["value"])
    if routes := _ROUTES.match(text):
        return replace(status, imported=int(routes["imported"]), exported=int(routes["exported"]))
    return status
