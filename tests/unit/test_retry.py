import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudnet.clock import ManualClock
from cloudnet.errors import BadInput
from cloudnet.provider.errors import QuotaExceeded, Throttled, Unavailable
from cloudnet.retry import Backoff, Retry


def failing(*errors):
    """Return a function that raises these in turn and then answers."""
    left = list(errors)

    def call():
        if left:
            raise left.pop(0)
        return "answer"

    return call


def unavailable():
    return Unavailable("down", provider="test")


@pytest.fixture
def clock():
    return ManualClock()


def test_an_answer_at_once_waits_for_nothing(clock):
    assert Retry(clock, random.Random(1)).call(lambda: "answer") == "answer"
    assert clock.slept == []


def test_a_passing_failure_is_tried_again(clock):
    assert Retry(clock, random.Random(1)).call(failing(unavailable(), unavailable())) == "answer"
    assert len(clock.slept) == 2


@pytest.mark.parametrize(
    "error", [QuotaExceeded("full", provider="test"), BadInput("wrong"), ValueError("a bug")], ids=str
)
def test_an_error_that_does_not_ask_for_it_leaves_at_once(clock, error):
    with pytest.raises(type(error)) as caught:
        Retry(clock, random.Random(1)).call(failing(error))

    assert caught.value is error
    assert clock.slept == []


def test_the_last_error_leaves_when_the_deadline_is_near(clock):
    errors = [Unavailable(f"failure {k}", provider="test") for k in range(1000)]

    with pytest.raises(Unavailable, match="failure"):
        Retry(clock, random.Random(1), deadline=10.0).call(failing(*errors))

    assert 5.0 < clock.now() <= 10.0


def test_a_deadline_of_zero_is_one_attempt(clock):
    with pytest.raises(Unavailable):
        Retry(clock, random.Random(1)).call(failing(unavailable()), deadline=0.0)


def test_the_other_sides_wish_is_the_least_wait(clock):
    Retry(clock, random.Random(1)).call(failing(Throttled("slow", provider="test", retry_after=3.0)))

    assert 3.0 <= clock.slept[0] <= 3.2


def test_a_wish_beyond_the_deadline_gives_up_without_waiting(clock):
    with pytest.raises(Throttled):
        Retry(clock, random.Random(1), deadline=10.0).call(
            failing(Throttled("slow", provider="test", retry_after=60.0))
        )

    assert clock.slept == []


@given(st.integers(1, 10_000), st.floats(0.001, 10.0), st.floats(0.001, 100.0))
def test_bounds_double_up_to_the_limit(failures, first, limit):
    backoff = Backoff(first, limit)

    assert backoff.bound(failures) == min(limit, first * 2.0 ** min(failures - 1, 60))


@given(st.integers())
def test_waits_are_spread_over_the_whole_bound_and_repeatable(seed):
    def waits():
        clock = ManualClock()
        Retry(clock, random.Random(seed), deadline=1000.0).call(failing(*[unavailable() for _ in range(6)]))
        return clock.slept

    first = waits()
    assert all(0.0 <= wait <= Backoff().bound(k + 1) for k, wait in enumerate(first))
    assert first == waits()
