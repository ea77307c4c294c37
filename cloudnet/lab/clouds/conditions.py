"""What an account of a lab's cloud may do now: the conditions that faults change, alike on every cloud. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from types import MappingProxyType
from typing import Any

from cloudnet.errors import BadInput


@dataclass(frozen=True, slots=True)
class Conditions:
    """Times are seconds.

    ``denied`` names calls without permission. ``throttled`` refuses every call. ``silent`` are the prefixes
    whose packets vanish although every route is fine. ``api`` is ``up``, ``down`` (nobody listens) or
    ``unavailable`` (503 to every call). ``keys`` are the credentials that are valid; empty means any.
    Reads of routes are answered by ``replicas`` in turn, the last of which lags ``read_delay`` behind: with two or
    more, a route that one read showed may be missing from the next.
    """

    routes_per_table: int = 50
    denied: frozenset[str] = frozenset()
    throttled: bool = False
    retry_after: float | None = None
    silent: frozenset[IPv4Network] = frozenset()
    api: str = "up"
    read_delay: float = 0.0
    replicas: int = 1
    keys: frozenset[str] = frozenset()

    def lag(self, reads: int) -> float:
        """Return how far behind the replica is that answers a read, after so many earlier ones."""
        return self.read_delay * (reads % self.replicas + 1) / self.replicas


def change(
    conditions: Conditions,
    fields: Mapping[str, Any],  # parsed JSON of the control socket, checked here
) -> Conditions:
    """Return the conditions with some fields changed.

    Raises:
        BadInput: a name is unknown.
    """
    unknown = sorted(set(fields) - set(_PARSERS))
    if unknown:
        raise BadInput(f"expected one of {', '.join(_PARSERS)}", path=unknown[0])
    return dataclasses.replace(conditions, **{name: _PARSERS[name](value) for name, value in fields.items()})


def shown(conditions: Conditions) -> Mapping[str, object]:
    """Return the conditions as JSON, without the credentials."""
    return {
        "routes_per_table": conditions.routes_per_table,
        "denied": sorted(conditions.denied),
        "throttled": conditions.throttled,
        "silent": sorted(str(n) for n in conditions.silent),
        "api": conditions.api,
        "read_delay": conditions.read_delay,
        "replicas": conditions.replicas,
    }


_PARSERS: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {
        "routes_per_table": int,
        "denied": frozenset,
        "throttled": bool,
        "retry_after": lambda value: None if value is None else float(value),
        "silent": lambda values: frozenset(IPv4Network(v) for v in values),
        "api": str,
        "read_delay": float,
        "replicas": lambda value: max(1, int(value)),
        "keys": frozenset,
    }
)
