"""When a destination leaves its native path, and when it may return: one table, for one destination at a time.

The VXLAN ground carries packets in every state but ``NATIVE``, so no transition can cut a destination off. Leaving
takes one event; returning takes a verified cloud route **and** probes that came back. A native path that was
lost under way is held down first: ``hold_first`` seconds, twice as long with each further flap up to
``hold_limit``; a stretch of ``calm`` seconds on the native path takes one flap off the account again.

The table is complete: every state answers every event, most of them with itself. This file knows no clock, no
probes and no kernel; ``now`` is monotonic seconds.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


class State(enum.Enum):
    """Where one destination stands."""

    GROUND = "ground"  # no native way is offered
    PROVING = "proving"  # the cloud route is verified, probes have yet to show it
    NATIVE = "native"  # the native route lies on top of the ground
    HELD = "held"  # probes were lost on the native path: stay away for a while


class Event(enum.Enum):
    """What can happen to one destination."""

    ROUTE_VERIFIED = "route verified"  # programmed in every table that we use, or a direct neighbour
    ROUTE_LOST = "route lost"  # no longer programmed, being withdrawn, or another way than before
    PROBES_PROVEN = "probes proven"
    PROBES_LOST = "probes lost"
    HOLD_EXPIRED = "hold expired"
    ADOPTED = "adopted"  # the native route was in the kernel when we started


_G, _P, _N, _H = State.GROUND, State.PROVING, State.NATIVE, State.HELD

# fmt: off
_COLUMNS =                (_G,  _P,  _N,  _H)
_TABLE: Mapping[Event, tuple[State, State, State, State]] = MappingProxyType({
    Event.ROUTE_VERIFIED: (_P,  _P,  _N,  _H),
    Event.ROUTE_LOST:     (_G,  _G,  _G,  _H),  # a hold-down outlives the route that flapped
    Event.PROBES_PROVEN:  (_G,  _N,  _N,  _H),
    Event.PROBES_LOST:    (_G,  _P,  _H,  _H),
    Event.HOLD_EXPIRED:   (_G,  _P,  _N,  _G),  # via GROUND: the route must be verified again
    Event.ADOPTED:        (_N,  _P,  _N,  _H),
})
# fmt: on

TRANSITIONS: Mapping[tuple[State, Event], State] = MappingProxyType(
    {(state, event): row[i] for event, row in _TABLE.items() for i, state in enumerate(_COLUMNS)}
)


@dataclass(frozen=True, slots=True)
class Damping:
    """How long a flapping destination stays away from its native path; all in seconds."""

    first: float = 2.0
    limit: float = 300.0
    calm: float = 60.0  # on the native path this long: one flap is forgiven

    def hold(self, flaps: int) -> float:
        """Return the hold-down after the ``flaps``-th flap on the account."""
        doublings = min(flaps - 1, 64)  # past any limit; floats end at 1024
        return min(self.limit, math.ldexp(self.first, doublings))


@dataclass(frozen=True, slots=True)
class Fallback:
    """One destination's state. ``flaps`` only grows; ``account`` is what damping still remembers of them."""

    state: State = State.GROUND
    since: float = 0.0
    flaps: int = 0
    account: int = 0
    held_until: float = 0.0


def advance(fallback: Fallback, event: Event, now: float, damping: Damping) -> Fallback:
    """Return what becomes of a destination; the very same value when nothing does."""
    state = TRANSITIONS[fallback.state, event]
    if state is fallback.state:
        return fallback
    account, flaps, held_until = fallback.account, fallback.flaps, fallback.held_until
    if fallback.state is State.NATIVE:
        account = max(0, account - math.floor(max(0.0, now - fallback.since) / damping.calm))
    if state is State.HELD:
        account, flaps = account + 1, flaps + 1
        held_until = now + damping.hold(account)
    return Fallback(state, now, flaps, account, held_until)


def render() -> str:
    """Return the table as Markdown, for the design page; a dot means that the state stays."""
    head = [f"| event \\ state | {' | '.join(state.value for state in State)} |", "|---" * (len(State) + 1) + "|"]
    rows = []
    for event in Event:
        cells = (TRANSITIONS[state, event] for state in State)
        shown = ("·" if after is state else after.value for state, after in zip(State, cells, strict=True))
        rows.append(f"| {event.value} | {' | '.join(shown)} |")
    return "\n".join([*head, *rows])
