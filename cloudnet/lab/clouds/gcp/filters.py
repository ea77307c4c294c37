"""The ``filter`` of Compute Engine's lists, as far as anybody here uses it: one field against one expression. Pure.

``name eq "a|b"`` takes a regular expression that has to match the whole field, ``name = "a"`` a plain value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_EXPRESSION = re.compile(r"""\(?\s*([A-Za-z.]+)\s+(eq|=)\s+("([^"]*)"|'([^']*)'|\S+?)\s*\)?""")


def parse(text: str) -> Callable[[Mapping[str, Any]], bool] | None:
    """Return what the filter lets through; nothing when it is not understood."""
    if not text:
        return lambda _: True
    found = _EXPRESSION.fullmatch(text.strip())
    if found is None:
        return None
    field, operator = found[1], found[2]
    value = next(v for v in (found[4], found[5], found[3]) if v is not None)
    if operator == "=":
        return lambda document: str(document.get(field, "")) == value
    try:
        pattern = re.compile(value)
    except re.error:
        return None
    return lambda document: pattern.fullmatch(str(document.get(field, ""))) is not None
