"""Durations as Go writes them: ``90s``, ``1m30s``, ``1.5h``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from cloudnet.model import wire
from cloudnet.model.problems import Problems

_DURATION: Final = re.compile(r"0|(?:[0-9]+(?:\.[0-9]*)?(?:ns|us|µs|ms|s|m|h))+")


def check_durations(said: Mapping[str, object], fields: Iterable[str], path: str, problems: Problems) -> None:
    """Note which of some fields hold no duration."""
    for name in fields:
        found = said.get(name)
        if found is not None and not (isinstance(found, str) and _DURATION.fullmatch(found)):
            problems.add(f"{path}.{name}", f"expected a duration such as 90s or 1m30s, found {wire.shown(found)}")
