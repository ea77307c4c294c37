"""Watches the paths that all agents of a lab have chosen, a few times a second, and remembers every change."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from cloudnet.clock import Clock
from cloudnet.errors import CloudnetError
from cloudnet.lab.scenarios import Standing
from cloudnet.model.paths import Path

EVERY = 0.15  # seconds; less than any hold-down, so that no change is missed


@dataclass(frozen=True, slots=True)
class Change:
    """A path became another. ``before`` is nothing when it was not known; ``at`` is monotonic seconds."""

    at: float
    node: str
    block: str
    before: Standing | None
    after: Standing


class Watch:
    """A thread that looks. Use as a context manager."""

    def __init__(
        self, nodes: Callable[[], Iterable[str]], paths: Callable[[str], Sequence[Path]], *, clock: Clock
    ) -> None:
        self._nodes = nodes
        self._paths = paths
        self._clock = clock
        self._now: dict[tuple[str, str], Standing] = {}
        self._changes: list[Change] = []
        self._answered: dict[str, float] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def now(self, *, fresh: float = 0.0) -> Mapping[tuple[str, str], Standing]:
        """Return every path by node and block, of those agents that answered at ``fresh`` or later."""
        with self._lock:
            return {key: value for key, value in self._now.items() if self._answered[key[0]] >= fresh}

    def changes(self, since: float = 0.0) -> tuple[Change, ...]:
        """Return the changes from a moment on, in the order of time."""
        with self._lock:
            return tuple(change for change in self._changes if change.at >= since)

    def look(self) -> None:
        """Ask every agent once; one that is down keeps what it said last, as its kernel keeps its routes."""
        for node in self._nodes():
            asked = self._clock.now()
            try:
                paths = self._paths(node)
            except CloudnetError:
                continue
            with self._lock:
                self._answered[node] = asked
                self._note(node, paths, at=self._clock.now())

    def _note(self, node: str, paths: Iterable[Path], *, at: float) -> None:
        for path in paths:
            key = node, str(path.block)
            found = Standing(path.kind, path.reason)
            before = self._now.get(key)
            if before != found:
                self._now[key] = found
                self._changes.append(Change(at, *key, before, found))

    def _run(self) -> None:
        while not self._ended.wait(EVERY):
            self.look()
