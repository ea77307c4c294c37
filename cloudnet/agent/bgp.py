"""Keeps BIRD told what this node says by BGP; ``bgp_thread`` runs it between the store's events and BIRD.

It writes BIRD's configuration when it changes, looks every few seconds how the sessions do, and starts a BIRD that
died. What BIRD learns of the way to pods comes to the path manager through the kernel (``Kernel.learned``), not
through here.

That a peer does not answer is shown and counted, and no reason for this node not to be ready: the ground carries its
packets. That BIRD is not there, or takes no configuration, is one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from cloudnet.agent.blocks import NO_BLOCKS, Blocks
from cloudnet.agent.borrowed import Borrowed
from cloudnet.bgp import plan, render
from cloudnet.bgp.api import Bird, BirdUnreachable, Status
from cloudnet.bgp.peers import wanted_secrets
from cloudnet.bgp.picture import Picture, ReadSecret
from cloudnet.bgp.speaker import Session
from cloudnet.errors import CloudnetError
from cloudnet.model.addresses import NodeName
from cloudnet.model.calico_bgp import BGPConfiguration, BGPPeer
from cloudnet.model.calico_bgp_filter import BGPFilter
from cloudnet.model.resources import BlockAffinity, IPAMBlock, IPPool, Node, Resource
from cloudnet.routes.claims import counts, pool_of
from cloudnet.store.api import Event, EventType

log = logging.getLogger(__name__)

K = TypeVar("K")
V = TypeVar("V")

KINDS: tuple[type[Resource], ...] = (Node, IPPool, BlockAffinity, BGPConfiguration, BGPPeer, BGPFilter)
"""What must be watched for this; strays come apart."""

_LOOK = 5.0  # seconds between two looks at the sessions, and at the passwords
_RETRY_FIRST = 1.0  # seconds until the second try; doubles …
_RETRY_LIMIT = 30.0  # … up to this


@dataclass(frozen=True, slots=True)
class Peering:
    """One session, as it is wanted and as it is; without a status BIRD has not told of it yet."""

    session: Session
    status: Status | None = None

    @property
    def state(self) -> str:
        return self.status.state if self.status else "unknown"

    @property
    def established(self) -> bool:
        return self.status is not None and self.status.established

    @property
    def routes(self) -> Mapping[str, int]:
        """Return how many routes went in which direction."""
        status = self.status
        return {"imported": status.imported, "exported": status.exported} if status else {}


@dataclass(slots=True)
class Counts:
    """Numbers that only grow, for metrics."""

    changes: int = 0
    failures: int = 0


class BgpKeeper:
    """The state; ``hear`` and ``work`` are the whole loop, so that a test needs no thread."""

    def __init__(self, node: NodeName, bird: Bird, read_secret: ReadSecret, *, log_path: str) -> None:
        """Keep ``bird`` told what ``node`` says; ``log_path``: where BIRD is to log."""
        self.counts = Counts()
        self.problem = ""  # why BIRD does not do what it should; any thread may ask, here and below
        self.warnings: tuple[str, ...] = ()  # what of the resources is not done, and why
        self.peerings: tuple[Peering, ...] = ()
        self._name, self._bird, self._read_secret, self._log_path = node, bird, read_secret, log_path
        self._nodes: dict[NodeName, Node] = {}
        self._pools: dict[str, IPPool] = {}
        self._blocks, self._borrowed = Blocks(), Borrowed()
        self._configurations: dict[str, BGPConfiguration] = {}
        self._peers: dict[str, BGPPeer] = {}
        self._filters: dict[str, BGPFilter] = {}
        self._synced = self._strays_known = False
        self._text = ""  # what BIRD was told last
        self._sessions: tuple[Session, ...] = ()
        self._told = ""
        self._pause = 0.0
        self._due = 0.0

    def hear(self, events: Iterable[Event[Resource]], *, synced: bool) -> None:
        """Take in what the store delivered."""
        for event in events:
            self._take(event.value, gone=event.type is EventType.DELETED)
        self._synced = self._synced or synced
        self._heard()

    def hear_blocks(self, events: Iterable[Event[Resource]], *, synced: bool) -> None:
        """Take in blocks, of which only the strays matter."""
        for event in events:
            if isinstance(event.value, IPAMBlock):
                self._borrowed.heard(event.value, gone=event.type is EventType.DELETED)
        self._strays_known = self._strays_known or synced
        self._heard()

    def _heard(self) -> None:
        if not self._pause:  # a BIRD that just failed is not asked again for every event
            self._due = 0.0

    def _take(self, value: Resource, *, gone: bool) -> None:
        match value:
            case Node():
                _put(self._nodes, value.name, value, gone=gone)
                cidrs = NO_BLOCKS if gone else frozenset(value.pod_cidrs)
                self._blocks.claim(("node", value.name), value.name, cidrs)
            case BlockAffinity():
                blocks = frozenset({value.cidr}) if counts(value) and not gone else NO_BLOCKS
                self._blocks.claim(("affinity", value.meta.name), value.node, blocks)
            case IPPool():
                _put(self._pools, value.meta.name, value, gone=gone)
            case BGPConfiguration():
                _put(self._configurations, value.meta.name, value, gone=gone)
            case BGPPeer():
                _put(self._peers, value.meta.name, value, gone=gone)
            case BGPFilter():
                _put(self._filters, value.meta.name, value, gone=gone)

    def work(self, now: float) -> float:
        """Do what is due; return when to work again if nothing is heard before.

        Before all is known BIRD is left as it is: the sessions of an earlier run go on.
        """
        if not (self._synced and self._strays_known and self._name in self._nodes):
            return now + _LOOK
        if now < self._due:
            return self._due
        try:
            self._settle()
            self._look()
        except CloudnetError as e:
            self._failed(str(e), now)
        else:
            self._works(now)
        return self._due

    def _settle(self) -> None:
        """Tell BIRD what changed."""
        picture = self._picture()
        secrets = {key: found for key in wanted_secrets(picture) if (found := self._read_secret(key))}
        wanted = plan.plan(picture, secrets)
        self._warn(wanted.problems)
        text = render.render(wanted.speaker, log=self._log_path)
        if text == self._text:
            return
        self._bird.configure(text)
        self._text, self._sessions = text, wanted.speaker.sessions
        self.counts.changes += 1
        log.info("told BIRD sessions=%d announcements=%d", len(self._sessions), len(wanted.speaker.announcements))

    def _picture(self) -> Picture:
        pools = tuple(self._pools.values())
        mine = {block for block in self._blocks.of(self._name) if self._blocks.owner(block) == self._name}
        strays = {stray for stray in self._borrowed.of(self._name) if self._blocks.owner(stray) is None}
        return Picture(
            node=self._nodes[self._name],
            nodes=self._nodes,
            pools=pools,
            blocks=frozenset(mine | strays),
            outside=frozenset(block for block in self._blocks if pool_of(block, pools) is None),
            configurations=self._configurations,
            peers=self._peers,
            filters=self._filters,
        )

    def _look(self) -> None:
        """See how the sessions do. One that BIRD could not even begin with is begun again by telling it the same.

        Raises:
            BirdUnreachable: BIRD is gone; it is started by the next try.
        """
        try:
            found = {status.name: status for status in self._bird.sessions()}
        except BirdUnreachable:
            self._text = ""
            raise
        before = {peering.session.key: peering for peering in self.peerings}
        self.peerings = tuple(Peering(session, found.get(render.name(session))) for session in self._sessions)
        for peering in self.peerings:
            self._tell(before.get(peering.session.key), peering)
        if any(peering.status is not None and peering.status.is_down for peering in self.peerings):
            self._bird.configure(self._text)

    def _tell(self, before: Peering | None, after: Peering) -> None:
        was_up = before is not None and before.established
        if was_up is not after.established:
            log.info(
                "BGP session changed peer=%r address=%s state=%s error=%r",
                after.session.peer,
                after.session.address,
                after.state,
                after.status.error if after.status else "",
            )

    def _warn(self, problems: tuple[str, ...]) -> None:
        for problem in problems:
            if problem not in self.warnings:
                log.warning("not done of BGP: %s", problem)
        self.warnings = problems

    def _works(self, now: float) -> None:
        if self._told:
            log.info("BIRD works again")
        self.problem = self._told = ""
        self._pause, self._due = 0.0, now + _LOOK

    def _failed(self, why: str, now: float) -> None:
        self.counts.failures += 1
        self.problem = f"BGP is not as it should be: {why}"
        if why != self._told:
            log.warning("BGP is not as it should be, trying again reason=%r", why)
        self._told = why
        self._pause = min(max(_RETRY_FIRST, self._pause * 2), _RETRY_LIMIT)
        self._due = now + self._pause

    def stopped(self, error: Exception) -> None:
        """Note that the thread is lost."""
        self.problem = f"the BGP thread stopped: {error}"


def _put(where: dict[K, V], key: K, value: V, *, gone: bool) -> None:
    if gone:
        where.pop(key, None)
    else:
        where[key] = value
