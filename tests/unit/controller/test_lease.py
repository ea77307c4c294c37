"""One leads, the others wait; a silent leader is replaced after a lease, and never two lead at once."""

from __future__ import annotations

import pytest

from cloudnet.controller import carry
from cloudnet.controller.lease import NAME, Keeper
from cloudnet.model.resources import Lease
from cloudnet.store.memory import MemoryData, MemoryStore

DURATION = 15.0


class Contender:
    """A keeper with a client of the shared store and a clock that may be off by ``offset``."""

    def __init__(self, name: str, data: MemoryData, offset: float = 0.0) -> None:
        self.keeper = Keeper(name, DURATION)
        self.store = MemoryStore(data)
        self.offset = offset

    def turn(self, now: float) -> bool:
        now += self.offset
        seen = carry.look_at_lease(self.store)
        if seen is not None:
            self.keeper.saw(seen.now, now)
        attempt, _ = self.keeper.step(now)
        if attempt is not None:
            self.keeper.done(carry.take_lease(attempt, self.store), now)
        return self.keeper.leading(now)


@pytest.fixture
def data() -> MemoryData:
    return MemoryData()


def test_the_first_one_leads_at_once_and_keeps_it(data) -> None:
    one, other = Contender("a", data), Contender("b", data)

    turns = [(one.turn(t), other.turn(t)) for t in range(100)]

    assert turns == [(True, False)] * 100


@pytest.mark.parametrize("offset", [0.0, -1e6, 1e6])
def test_a_silent_leader_is_replaced_after_the_duration_whatever_clocks_say(data, offset) -> None:
    one, other = Contender("a", data), Contender("b", data, offset)
    for t in range(20):
        one.turn(t)
        other.turn(t)

    led = [t for t in range(20, 60) if other.turn(t)]

    assert led[0] == pytest.approx(15 + DURATION, abs=1.1)


def test_a_leader_that_cannot_renew_is_silent_before_the_next_one_starts(data) -> None:
    one, other = Contender("a", data), Contender("b", data)
    one.turn(0)
    other.turn(0)

    turns = [(one.keeper.leading(t / 10), other.turn(t / 10)) for t in range(400)]

    assert (True, True) not in turns
    assert turns.index((False, True)) - turns.index((False, False)) >= DURATION / 3 * 10 - 1


def test_a_leader_that_lost_the_lease_stops_at_once(data) -> None:
    one = Contender("a", data)
    one.turn(0)
    stored = one.store.get(Lease, NAME)
    one.store.update(Lease(stored.value.meta, "b", DURATION, 9), expected=stored.revision)

    assert not one.turn(1)


def test_a_store_that_does_not_answer_costs_the_lead_and_nothing_else(data) -> None:
    one = Contender("a", data)
    one.turn(0)

    data.outage = "the disk is full"
    during = [one.turn(t) for t in range(1, 20)]
    data.outage = ""
    after = [one.turn(t) for t in range(20, 30)]

    assert during[8]
    assert not during[-1]
    assert after[-1]


def test_a_leader_that_stops_cleanly_makes_room_at_once(data) -> None:
    one, other = Contender("a", data), Contender("b", data)
    one.turn(0)
    other.turn(0)

    attempt = one.keeper.release()
    carry.take_lease(attempt, one.store)

    assert not one.keeper.leading(0)
    assert other.turn(1)
