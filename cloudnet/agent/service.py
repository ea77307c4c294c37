"""What every agent program has, whatever it does: an end by signals, and metrics and health for those who watch."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Protocol

from cloudnet.clock import Clock
from cloudnet.config import AgentConfig
from cloudnet.errors import BadInput

if TYPE_CHECKING:
    from cloudnet.agent.metrics import Metrics

log = logging.getLogger(__name__)

_STUCK = 10.0  # seconds without a step, past the wake-up that was asked for: not healthy
_METRICS_PATIENCE = 2.0  # seconds; a health check must not wait for a store that is away


class Measured(Protocol):
    """A program that is watched. Any thread may ask."""

    metrics: Metrics | None
    laid: threading.Event  # what had to be done first is done

    @property
    def heard_at(self) -> float:
        """When the store told something last, in monotonic seconds."""

    @property
    def awake_until(self) -> float:
        """By when the next step is due, in monotonic seconds."""

    def not_ready(self) -> str:
        """Return what is missing, or nothing."""


class Measuring(Protocol):
    """A thread that counts."""

    def measure(self, metrics: Metrics) -> None: ...


class Closable(Protocol):
    """Something to close at the end."""

    def close(self) -> None: ...


@contextmanager
def stopping_on_signals(stop: Callable[[], object]) -> Iterator[None]:
    """Call ``stop`` on SIGTERM and SIGINT; it must be reentrant. On another than the main thread: do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def measuring(config: AgentConfig, agent: Measured, clock: Clock, threads: Sequence[Measuring]) -> Iterator[None]:
    """Serve metrics and health, once the ground is laid or takes long: their imports would compete with it."""
    servers: list[Closable] = []

    def healthy() -> str:
        late = clock.now() - agent.awake_until
        return f"the program is {late:.0f} s late" if late > _STUCK else ""

    def start() -> None:
        agent.laid.wait(_METRICS_PATIENCE)
        from prometheus_client import CollectorRegistry  # noqa: PLC0415 - takes longer than laying the ground

        from cloudnet import metrics  # noqa: PLC0415 - the same
        from cloudnet.agent.metrics import Metrics  # noqa: PLC0415 - the same

        registry = CollectorRegistry()
        measured = Metrics(registry, store_age=lambda: clock.now() - agent.heard_at)
        try:
            server = metrics.serve(config.metrics, registry, healthy=healthy, ready=agent.not_ready)
        except BadInput as e:
            log.error("running without metrics and health reason=%r", str(e))  # noqa: TRY400 - says it all
            return
        servers.append(server)
        agent.metrics = measured
        for measuring_thread in threads:
            measuring_thread.measure(measured)

    thread = threading.Thread(target=start, name="metrics start", daemon=True)
    thread.start()
    try:
        yield
    finally:
        agent.laid.set()
        thread.join()
        for server in servers:
            server.close()
