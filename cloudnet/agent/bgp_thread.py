"""The thread that keeps BIRD told, and what a node has instead that speaks no BGP.

BIRD goes on when the agent ends: only a node that is told to speak no BGP any more ends it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Final

from cloudnet.agent.bgp import BgpKeeper, Peering
from cloudnet.agent.bgp_heard import KINDS
from cloudnet.agent.keeper_thread import KeeperThread
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


class BgpThread(KeeperThread[BgpKeeper, _Heard]):
    """Keeps BIRD told until it is closed; BIRD goes on."""

    kinds = KINDS

    def __init__(self, keeper: BgpKeeper, clock: Clock) -> None:
        super().__init__("bgp", keeper, clock)

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

    def _hand_on(self, heard: _Heard) -> None:
        hear = self._keeper.hear_blocks if heard.blocks else self._keeper.hear
        hear(heard.events, synced=heard.synced)

    def _show(self, metrics: Metrics) -> None:
        keeper = self._keeper
        metrics.show_bgp(keeper.counts, keeper.peerings, problem=keeper.problem, not_done=len(keeper.warnings))


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
