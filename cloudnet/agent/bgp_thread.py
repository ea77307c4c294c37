"""The thread that keeps BIRD told, and what a node has instead that speaks no BGP.

BIRD goes on when the agent ends: only a node that is told to speak no BGP any more ends it.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Final

from cloudnet.agent.bgp import BgpKeeper, Peering
from cloudnet.agent.bgp_heard import KINDS
from cloudnet.bgp import render
from cloudnet.bgp.daemon import BirdDaemon
from cloudnet.bgp.passwords import passwords_in
from cloudnet.bgp.speaker import Speaker
from cloudnet.clock import Clock
from cloudnet.config import AgentConfig
from cloudnet.errors import CloudnetError
from cloudnet.model.addresses import NodeName
from cloudnet.model.resources import Resource
from cloudnet.store.api import Event
from cloudnet.store.informer import Batch

if TYPE_CHECKING:
    from cloudnet.agent.metrics import Metrics

log = logging.getLogger(__name__)

_NOBODY: Final = IPv4Address("127.0.0.1")  # a router id of one that speaks with nobody


@dataclass(frozen=True, slots=True)
class _Heard:
    events: tuple[Event[Resource], ...]
    synced: bool
    blocks: bool = False


class BgpThread:
    """Runs a keeper until it is closed; BIRD goes on."""

    kinds = KINDS

    def __init__(self, keeper: BgpKeeper, clock: Clock) -> None:
        self._keeper, self._clock = keeper, clock
        self._inbox: queue.SimpleQueue[_Heard | None] = queue.SimpleQueue()  # None: end
        self._metrics: Metrics | None = None
        self._thread = threading.Thread(target=self._run, name="bgp", daemon=True)
        self._thread.start()

    @property
    def problem(self) -> str:
        return self._keeper.problem

    def hear(self, batch: Batch) -> None:
        """Take events of any kind from any thread."""
        ours = tuple(event for event in batch.events if isinstance(event.value, KINDS))
        if ours or batch.synced:
            self._inbox.put(_Heard(ours, batch.synced))

    def hear_blocks(self, batch: Batch) -> None:
        """Take blocks from any thread."""
        self._inbox.put(_Heard(batch.events, batch.synced, blocks=True))

    def answer(self) -> Mapping[str, object]:
        """Return what the agent's socket says of BGP."""
        keeper = self._keeper
        return {
            "problem": keeper.problem,
            "warnings": list(keeper.warnings),
            "sessions": [spell(peering) for peering in keeper.peerings],
        }

    def measure(self, metrics: Metrics) -> None:
        """Tell these metrics what has been counted, and from now on whatever is."""
        self._metrics = metrics
        self._show(metrics)

    def close(self) -> None:
        self._inbox.put(None)
        self._thread.join()

    def _show(self, metrics: Metrics) -> None:
        keeper = self._keeper
        metrics.show_bgp(keeper.counts, keeper.peerings, problem=keeper.problem, not_done=len(keeper.warnings))

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

    def _take(self, timeout: float) -> bool:
        """Hand on what was heard within ``timeout`` seconds; return whether to go on."""
        try:
            heard = self._inbox.get(timeout=timeout)
            while heard is not None:
                hear = self._keeper.hear_blocks if heard.blocks else self._keeper.hear
                hear(heard.events, synced=heard.synced)
                heard = self._inbox.get_nowait()
        except queue.Empty:
            return True  # everything that was there has been taken
        return False


class Silent:
    """A node that speaks no BGP."""

    kinds: tuple[type[Resource], ...] = ()
    problem = ""

    def hear(self, batch: Batch) -> None: ...

    def hear_blocks(self, batch: Batch) -> None: ...

    def answer(self) -> Mapping[str, object]:
        return {}

    def measure(self, metrics: Metrics) -> None:
        metrics.bgp_ready.set(1)


def spell(peering: Peering) -> dict[str, object]:
    """Return a session as the socket spells it."""
    session, status = peering.session, peering.status
    return {
        "peer": session.peer,
        "address": str(session.address),
        "port": session.port,
        "as_number": session.as_number,
        "origin": session.origin.value,
        "state": peering.state,
        "since": status.since if status else "",
        "error": status.error if status else "",
        "imported": status.imported if status else 0,
        "exported": status.exported if status else 0,
    }


@contextmanager
def speaking(config: AgentConfig, clock: Clock) -> Iterator[BgpThread | Silent]:
    """Keep BIRD told until the block ends, where this node speaks BGP; elsewhere end the BIRD of an earlier run."""
    bird = BirdDaemon(config.bgp_folder, config.bgp_program)
    if not config.bgp:
        _end_earlier(bird)
        yield Silent()
        return
    keeper = BgpKeeper(NodeName(config.node), bird, passwords_in(config.bgp_secrets), log_path=bird.log)
    with closing(BgpThread(keeper, clock)) as thread:
        yield thread


def _end_earlier(bird: BirdDaemon) -> None:
    try:
        if clear(bird):
            log.info("this node speaks no BGP any more: ended BIRD")
    except CloudnetError as e:
        log.warning("this node speaks no BGP any more, but what its BIRD left behind stays: %s", e)


def clear(bird: BirdDaemon) -> bool:
    """Leave the host as if no BIRD had run there; return whether one had."""
    return bird.clear(render.render(Speaker(_NOBODY), log=bird.log))
