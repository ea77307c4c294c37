"""The thread that a keeper runs on: what is heard meanwhile waits, then the keeper works, until the thread is closed.

A keeper is what keeps one thing of this host as it should be (policy, outgoing NAT, BGP), without a thread of its
own, so that its tests need none. What a keeper left in the kernel stays when its thread ends.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from cloudnet.clock import Clock

if TYPE_CHECKING:
    from cloudnet.agent.metrics import Metrics

_BATCH: Final = 10_000  # things taken in before the keeper works


class Keeper(Protocol):
    """What a thread needs of it."""

    problem: str
    """Why something is not as it should be; any thread may ask."""

    def work(self, now: float) -> float:
        """Do what is due; return when to work again if nothing is heard before."""

    def stopped(self, error: Exception) -> None:
        """Say in ``problem`` that the thread is lost."""

    def close(self) -> None: ...


K = TypeVar("K", bound=Keeper)
H = TypeVar("H")  # what is heard


class KeeperThread(Generic[K, H]):
    """Runs a keeper until it is closed. Who derives from it says what hearing, and being measured, means."""

    def __init__(self, name: str, keeper: K, clock: Clock) -> None:
        self._keeper, self._clock = keeper, clock
        self._inbox: queue.SimpleQueue[H | None] = queue.SimpleQueue()  # None: end
        self._metrics: Metrics | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def problem(self) -> str:
        return self._keeper.problem

    def measure(self, metrics: Metrics) -> None:
        """Tell these metrics what has been counted, and from now on whatever is."""
        self._metrics = metrics
        self._show(metrics)

    def close(self) -> None:
        self._inbox.put(None)
        self._thread.join()

    # --- what differs -------------------------------------------------------------------------------------

    def _hand_on(self, heard: H) -> None:
        """Tell the keeper, on its thread."""
        raise NotImplementedError

    def _show(self, metrics: Metrics) -> None:
        """Write what has been counted."""
        raise NotImplementedError

    # --- the thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        wakeup = self._clock.now()
        try:
            while self._take(max(0.0, wakeup - self._clock.now())):
                wakeup = self._keeper.work(self._clock.now())
                if self._metrics is not None:
                    self._show(self._metrics)
        except Exception as error:  # a fault of ours; the thread is lost, and readiness must show it
            self._keeper.stopped(error)
            raise
        finally:
            self._keeper.close()

    def _take(self, timeout: float) -> bool:
        """Hand on what was heard within ``timeout`` seconds; return whether to go on."""
        for number in range(_BATCH):
            try:
                heard = self._inbox.get(timeout=0 if number else timeout)
            except queue.Empty:
                break  # everything that was there has been taken
            if heard is None:
                return False
            self._hand_on(heard)
        return True
