"""One lock for each name, for as long as somebody holds it or waits for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Locks:
    """Keeps what is about one thing in order, while everything else goes on."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._held: dict[str, tuple[threading.Lock, int]] = {}

    @contextmanager
    def holding(self, name: str) -> Iterator[None]:
        with self._guard:
            lock, users = self._held.get(name, (None, 0))
            lock = lock or threading.Lock()
            self._held[name] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._guard:
                _, users = self._held[name]
                if users == 1:
                    del self._held[name]
                else:
                    self._held[name] = (lock, users - 1)

    def held(self, name: str) -> bool:
        """Tell whether somebody holds it, or is about to."""
        return name in self._held
