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

from cloudnet.agent.bgp_heard import BgpHeard
from cloudnet.bgp import plan, render
from cloudnet.bgp.api import Bird, BirdUnreachable, Status
from cloudnet.bgp.peers import wanted_secrets
from cloudnet.bgp.picture import ReadSecret, SecretKey
from cloudnet.bgp.speaker import Session, Speaker
from cloudnet.errors import CloudnetError
from cloudnet.model.addresses import NodeName
from cloudnet.model.resources import Resource
from cloudnet.store.api import Event

log = logging.getLogger(__name__)

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
        self._bird, self._read_secret, self._log_path = bird, read_secret, log_path
        self._heard = BgpHeard(node)
        self._stale = True  # something is different from what BIRD was told
        self._passwords: Mapping[SecretKey, str] = {}
        self._keys: frozenset[SecretKey] = frozenset()  # of the passwords that sessions need
        self._text = ""  # what BIRD was told last
        self._sessions: tuple[Session, ...] = ()
        self._told = ""
        self._pause = 0.0
        self._due = 0.0

    def hear(self, events: Iterable[Event[Resource]], *, synced: bool) -> None:
        """Take in what the store delivered."""
        if self._heard.resources(events, synced=synced):
            self._wake()

    def hear_blocks(self, events: Iterable[Event[Resource]], *, synced: bool) -> None:
        """Take in blocks, of which only the strays matter."""
        if self._heard.blocks(events, synced=synced):
            self._wake()

    def _wake(self) -> None:
        self._stale = True
        if not self._pause:  # a BIRD that just failed is not asked again for every event
            self._due = 0.0

    def work(self, now: float) -> float:
        """Do what is due; return when to work again if nothing is heard before.

        Before all is known BIRD is left as it is: the sessions of an earlier run go on.
        """
        if not self._heard.is_complete:
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
        """Tell BIRD what changed; where nothing did, nothing is planned: there may be a thousand sessions."""
        if self._text and not self._stale and self._read(self._keys) == self._passwords:
            return
        picture = self._heard.picture()
        self._keys = wanted_secrets(picture)
        self._passwords = self._read(self._keys)
        wanted = plan.plan(picture, self._passwords)
        self._warn(wanted.problems)
        self._say(wanted.speaker)
        self._stale = False

    def _read(self, keys: Iterable[SecretKey]) -> Mapping[SecretKey, str]:
        return {key: found for key in keys if (found := self._read_secret(key))}

    def _say(self, speaker: Speaker) -> None:
        text = render.render(speaker, log=self._log_path)
        if text == self._text:
            return
        self._bird.configure(text)
        self._text, self._sessions = text, speaker.sessions
        self.counts.changes += 1
        log.info("told BIRD sessions=%d announcements=%d", len(speaker.sessions), len(speaker.announcements))

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

    def close(self) -> None:
        """Leave BIRD as it is."""
