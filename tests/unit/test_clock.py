import time

import pytest

from cloudnet.clock import ManualClock, SystemClock


def test_the_systems_clock_is_monotonic_and_knows_the_time_of_day():
    clock = SystemClock()
    first, second = clock.now(), clock.now()

    assert first <= second
    assert clock.wall() == pytest.approx(time.time(), abs=5)


def test_the_systems_clock_sleeps_at_least_as_long_as_asked():
    clock = SystemClock()
    before = time.monotonic()
    clock.sleep(0.02)

    assert time.monotonic() - before >= 0.02


@pytest.mark.parametrize("clock", [SystemClock(), ManualClock()], ids=["system", "manual"])
def test_sleeping_for_less_than_nothing_returns_at_once(clock):
    before = clock.now()
    clock.sleep(-5)

    assert 0 <= clock.now() - before < 5


def test_a_manual_clock_stands_still_until_it_is_moved():
    clock = ManualClock(at=10, wall_at=1000)
    clock.now()
    clock.advance(2.5)

    assert (clock.now(), clock.wall()) == (12.5, 1002.5)


def test_sleep_moves_a_manual_clock_and_is_remembered():
    clock = ManualClock()
    clock.sleep(3)
    clock.sleep(0.5)

    assert clock.now() == 3.5
    assert clock.slept == [3, 0.5]
