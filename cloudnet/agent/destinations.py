"""Where each remote block's way stands: on the ground, being proven, native, or held back after it flapped. Pure.

The table of states is ``routes/fallback.py``; here it is fed with what the cloud offers and what the probes say,
until it comes to rest. A level, not an edge: the same look twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from cloudnet.agent import desired
from cloudnet.agent.desired import Underlay
from cloudnet.kernel.api import Route
from cloudnet.model.addresses import Address, Network, family
from cloudnet.model.paths import PathKind
from cloudnet.model.resources import Node
from cloudnet.routes import fallback
from cloudnet.routes.fallback import Damping, Fallback, State
from cloudnet.routes.path import Candidate, There
from cloudnet.routes.probe import Prober, Verdict


@dataclass(slots=True)
class Destination:
    """A remote block's node, the native way to it, and its fallback state."""

    node: Node
    offered: Candidate
    fallback: Fallback


class Destinations:
    """All remote blocks. ``lost`` are those whose native way through the cloud does not bring probes back."""

    def __init__(self, prober: Prober, damping: Damping) -> None:
        self._prober, self._damping = prober, damping
        self._known: dict[Network, Destination] = {}
        self._holds: dict[Network, float] = {}
        self._adoptable: Mapping[Network, Route] = {}
        self.lost: set[Network] = set()

    def __iter__(self) -> Iterator[Network]:
        return iter(self._known)

    def responder(self, block: Network) -> Address | None:
        """Return who must answer the probes of a block: its node's own address."""
        known = self._known.get(block)
        address = known.node.address(family(block)) if known else None
        return address.ip if address else None

    def expired(self, now: float) -> Iterator[Network]:
        """Yield the blocks that were held back for long enough."""
        return (block for block, at in self._holds.items() if at <= now)

    def times(self) -> Iterable[float]:
        """Return when blocks have been held back for long enough."""
        return self._holds.values()

    def adopt(self, routes: Mapping[Network, Route]) -> None:
        """Let the first look at each block take over the native route that an earlier run left, if it is right."""
        self._adoptable = routes

    def settle(self, there: There, offered: Candidate, underlay: Underlay | None, now: float) -> Fallback:
        """Return where a block's way stands, given what is offered now."""
        block = there.block
        after = self._drive(block, offered, self._stand(there, offered, underlay, now), now)
        self._known[block] = Destination(there.node, offered, after)
        if after.state is State.HELD:
            self._holds[block] = after.held_until
        elif self._holds:  # asking nothing for a block costs a hash, and there may be thousands of blocks
            self._holds.pop(block, None)
        if offered.kind is PathKind.NATIVE and self._prober.verdict(block) in {Verdict.LOST, Verdict.SILENT}:
            self.lost.add(block)
        elif self.lost:
            self.lost.discard(block)
        return after

    def leave(self, block: Network) -> None:
        """Forget a block that is not remote any more."""
        self._known.pop(block, None)
        self._holds.pop(block, None)
        self.lost.discard(block)
        self._prober.forget(block)

    def flaps(self, block: Network) -> int:
        """Return how often a block's way has flapped so far."""
        known = self._known.get(block)
        return known.fallback.flaps if known else 0

    def _stand(self, there: There, offered: Candidate, underlay: Underlay | None, now: float) -> Fallback:
        """Return the state before this look; another way than before starts anew."""
        block, node = there.block, there.node
        known = self._known.get(block)
        if known is None:
            return self._begin(block, offered, underlay, now)
        before, after = ((way.kind, way.next_hop, way.device) for way in (known.offered, offered))
        if before == after and known.node.addresses == node.addresses:
            return known.fallback
        self._prober.forget(block)
        return fallback.advance(known.fallback, fallback.Event.ROUTE_LOST, now, self._damping)

    def _begin(self, block: Network, offered: Candidate, underlay: Underlay | None, now: float) -> Fallback:
        adopted = self._adoptable.get(block) if self._adoptable else None
        standing = Fallback(since=now)
        if offered.native and underlay and adopted == desired.native_route(block, offered, underlay):
            self._prober.watch(block, now)
            return fallback.advance(standing, fallback.Event.ADOPTED, now, self._damping)
        return standing

    def _drive(self, block: Network, offered: Candidate, standing: Fallback, now: float) -> Fallback:
        """Feed the fallback table with what holds now until it comes to rest."""
        if offered.native:
            self._prober.watch(block, now)
        else:
            self._prober.forget(block)
        while True:
            event = self._event(block, offered, standing, now)
            if event is None:
                return standing
            after = fallback.advance(standing, event, now, self._damping)
            if after is standing:
                return standing
            standing = after

    def _event(self, block: Network, offered: Candidate, standing: Fallback, now: float) -> fallback.Event | None:
        verdict = self._prober.verdict(block)
        match standing.state:
            case State.HELD if now >= standing.held_until:
                return fallback.Event.HOLD_EXPIRED
            case State.GROUND if offered.native:
                return fallback.Event.ROUTE_VERIFIED
            case State.PROVING | State.NATIVE if not offered.native:
                return fallback.Event.ROUTE_LOST
            case State.PROVING if verdict is Verdict.PROVEN:
                return fallback.Event.PROBES_PROVEN
            case State.NATIVE if verdict is Verdict.LOST:
                return fallback.Event.PROBES_LOST
        return None
