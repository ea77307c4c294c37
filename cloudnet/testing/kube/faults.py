"""What can be made to go wrong with the API server."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Faults:
    """What is wrong with the server; change it while it runs. Counts are of requests still to come."""

    latency: float = 0.0
    too_many: int = 0
    retry_after: int = 0
    broken: int = 0
    unanswered: int = 0  # carried out, but the connection breaks before the answer
    forbidden: set[tuple[str, str]] = field(default_factory=set)  # (verb, resource)
    tokens: set[str] = field(default_factory=set)  # empty: nobody is asked
    silent: bool = False  # watches say nothing more, and stay open
    bookmark_every: float = 60.0
