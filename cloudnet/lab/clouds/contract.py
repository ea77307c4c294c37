"""The calls of an API, as its published description names them: all that a simulated cloud answers to. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import unquote


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One call. ``path`` is a template, ``/zones/{zone}/instances/{instance}``; a variable fits one segment.

    ``statuses`` are those of success that the description knows. ``bucket`` names the meter that the call is
    paid from; empty for what nobody meters. ``query`` must be in the request word for word: an API's version.
    """

    name: str
    method: str
    path: str
    statuses: frozenset[int] = frozenset({200})
    bucket: str = ""
    query: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)


class Contract:
    """All calls of an API. ``ignore_case``: whether the fixed parts of paths may be spelt in any case, as ARM's."""

    def __init__(self, endpoints: Iterable[Endpoint], *, ignore_case: bool = False) -> None:
        self.endpoints = tuple(endpoints)
        flags = re.IGNORECASE if ignore_case else 0
        self._patterns = [(endpoint, re.compile(_pattern(endpoint.path), flags)) for endpoint in self.endpoints]

    def match(self, method: str, path: str) -> tuple[Endpoint, Mapping[str, str]] | None:
        """Return the call that a request makes, with the values of its path; nothing for what the API does not have.

        A template with fewer variables wins: ``/routes/count`` is not the route named ``count``.
        """
        found = [
            (endpoint, {name: unquote(value) for name, value in fits.groupdict().items()})
            for endpoint, pattern in self._patterns
            if endpoint.method == method and (fits := pattern.fullmatch(path))
        ]
        return min(found, key=lambda each: len(each[1]), default=None)

    def endpoint(self, name: str) -> Endpoint:
        """Return the call of that name; ``KeyError`` when there is none."""
        for endpoint in self.endpoints:
            if endpoint.name == name:
                return endpoint
        raise KeyError(name)


def _pattern(template: str) -> str:
    parts = re.split(r"\{(\w+)\}", template)
    return "".join(f"(?P<{part}>[^/]+)" if at % 2 else re.escape(part) for at, part in enumerate(parts))
