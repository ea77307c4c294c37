"""The API's lists: which resources a request asks for, and in which pages. Pure.

As far as anybody here uses filters: one field against one expression. ``name eq "a|b"`` takes a regular expression
that has to match the whole field, ``name = "a"`` a plain value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cloudnet.lab.clouds.gcp.state import Document

MOST = 500  # on a page

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


def page(query: Mapping[str, str], found: Sequence[Document]) -> tuple[Sequence[Document], str]:
    """Return the page that is asked for and the token of the next; the token is a number here, opaque to callers."""
    start = int(query.get("pageToken") or 0)
    end = start + min(int(query.get("maxResults") or MOST), MOST)
    return found[start:end], str(end) if end < len(found) else ""
