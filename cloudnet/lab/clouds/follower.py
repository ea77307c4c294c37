"""Carries fabric states out in their order, each some time after it became true, as an SDN would take its time."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from cloudnet.errors import CloudnetError
from cloudnet.lab.fabric import FabricState

log = logging.getLogger(__name__)


class Follower:
    """A thread that carries fabric states out, each ``propagation`` seconds after it became true."""

    def __init__(self, apply: Callable[[FabricState], None], propagation: float) -> None:
        self._apply = apply
        self._propagation = propagation
        self._waiting: deque[tuple[float, FabricState]] = deque()
        self._condition = threading.Condition()
        self._busy = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="fabric", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End the thread; states that are not due yet are forgotten."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        self._thread.join()

    def follow(self, state: FabricState) -> None:
        with self._condition:
            self._waiting.append((time.monotonic() + self._propagation, state))
            self._condition.notify_all()

    def settle(self, state: FabricState, *, timeout: float = 10.0) -> None:
        """Carry a state out now, and return when that is done; states that wait are out of date."""
        with self._condition:
            self._waiting.clear()
            self._waiting.append((time.monotonic(), state))
            self._condition.notify_all()
            self._condition.wait_for(lambda: not self._waiting and not self._busy, timeout)

    def _run(self) -> None:
        while state := self._next():
            try:
                self._apply(state)
            except CloudnetError:
                log.exception("the fabric could not follow")
            with self._condition:
                self._busy = False
                self._condition.notify_all()

    def _next(self) -> FabricState | None:
        """Wait for a state that is due and take it, with every older one that it replaces; nothing at the end."""
        with self._condition:
            while not self._closing:
                now = time.monotonic()
                due = [state for at, state in self._waiting if at <= now]
                if due:
                    for _ in due:
                        self._waiting.popleft()
                    self._busy = True
                    return due[-1]
                self._condition.wait(self._waiting[0][0] - now if self._waiting else None)
            return None
