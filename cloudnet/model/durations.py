"""Durations as Go writes them: ``90s``, ``1m30s``, ``1.5h``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from cloudnet.model import wire
from cloudnet.model.problems import Problems

_DURATION: Final = re.compile(r"0|(?:[0-9]+(?:\.[0-9]*)?(?:ns|us|µs|ms|s|m|h))+")
_PART: Final = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]*)?)(?P<unit>ns|us|µs|ms|s|m|h)")
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """Return how many seconds a duration is.

    Raises:
        ValueError: it is none.
    """
    if not _DURATION.fullmatch(text):
        raise ValueError(text)
    return sum(float(part["number"]) * _SECONDS[part["unit"]] for part in _PART.finditer(text))


def check_durations(said: Mapping[str, object], fields: Iterable[str], path: str, problems: Problems) -> None:
    """Note which of some fields hold no duration."""
    for name in fields:
        found = said.get(name)
        if found is not None and not (isinstance(found, str) and _DURATION.fullmatch(found)):
            problems.add(f"{path}.{name}", f"expected a duration such as 90s or 1m30s, found {wire.shown(found)}")
