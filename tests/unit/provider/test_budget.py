import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudnet.clock import ManualClock
from cloudnet.provider.budget import Bucket, Budget, Kind, TokenBucket
from cloudnet.provider.errors import PermissionDenied, Throttled

READ, WRITE = Bucket(rate=20.0, burst=100.0), Bucket(rate=5.0, burst=50.0)


@pytest.fixture
def clock():
    return ManualClock()


def spend(budget, kind, times):
    for _ in range(times):
        budget.acquire(kind)


def throttle(retry_after=None):
    raise Throttled("slow", provider="test", retry_after=retry_after)


def test_a_burst_is_free_and_the_rest_comes_at_the_rate(clock):
    spend(Budget(clock, read=READ, write=Bucket(rate=5.0, burst=50.0)), Kind.WRITE, 50)
    assert clock.now() == 0.0

    spend(Budget(clock, read=READ, write=Bucket(rate=5.0, burst=50.0)), Kind.WRITE, 100)
    assert clock.now() == pytest.approx(10.0)


def test_reads_and_writes_are_paid_from_different_buckets(clock):
    budget = Budget(clock, read=Bucket(1.0, 2.0), write=Bucket(1.0, 2.0))

    spend(budget, Kind.READ, 2)
    spend(budget, Kind.WRITE, 2)

    assert clock.now() == 0.0


def test_a_throttled_answer_empties_the_bucket_and_halves_the_rate(clock):
    budget = Budget(clock, read=READ, write=Bucket(rate=8.0, burst=50.0))

    budget.throttled(Kind.WRITE)
    assert budget.rate(Kind.WRITE) == 4.0
    budget.acquire(Kind.WRITE)

    assert clock.now() == pytest.approx(0.25, rel=0.02)


def test_the_full_rate_comes_back_bit_by_bit(clock):
    budget = Budget(clock, read=READ, write=Bucket(rate=6.0, burst=50.0))
    budget.throttled(Kind.WRITE)

    clock.advance(10.0)
    assert budget.rate(Kind.WRITE) == pytest.approx(4.0)
    clock.advance(60.0)
    assert budget.rate(Kind.WRITE) == 6.0


def test_a_recovering_bucket_fills_by_what_the_rate_was_meanwhile():
    bucket = TokenBucket(Bucket(rate=6.0, burst=50.0), 0.0)
    bucket.slow_down(0.0)

    bucket.wait(10.0)

    assert bucket.tokens == pytest.approx((3.0 + 4.0) / 2 * 10.0)


def test_the_rate_never_falls_to_nothing(clock):
    budget = Budget(clock, read=READ, write=Bucket(rate=6.4, burst=50.0))

    for _ in range(100):
        budget.throttled(Kind.WRITE)

    assert budget.rate(Kind.WRITE) == pytest.approx(0.1)


def test_throttled_writes_leave_the_rate_of_reads_alone(clock):
    budget = Budget(clock, read=READ, write=WRITE)

    budget.throttled(Kind.WRITE)

    assert budget.rate(Kind.READ) == READ.rate


@pytest.mark.parametrize("kind", Kind)
def test_a_named_delay_holds_everybody(clock, kind):
    budget = Budget(clock, read=READ, write=WRITE)

    budget.throttled(Kind.WRITE, retry_after=30.0)
    budget.acquire(kind)

    assert clock.now() == pytest.approx(30.0)


def test_every_attempt_is_counted_and_observed(clock):
    seen = []
    budget = Budget(
        clock, read=READ, write=WRITE, observe=lambda verb, outcome, seconds: seen.append((verb, outcome, seconds))
    )

    def deny():
        raise PermissionDenied("no", provider="test")

    budget.call("read", Kind.READ, lambda: clock.advance(0.25))
    with pytest.raises(PermissionDenied):
        budget.call("write", Kind.WRITE, deny)
    with pytest.raises(Throttled):
        budget.call("write", Kind.WRITE, throttle)

    assert budget.calls == {("read", "ok"): 1, ("write", "permission"): 1, ("write", "throttled"): 1}
    assert seen == [("read", "ok", 0.25), ("write", "permission", 0.0), ("write", "throttled", 0.0)]
    assert budget.rate(Kind.WRITE) == WRITE.rate / 2


def test_an_observer_can_be_set_later(clock):
    seen = []
    budget = Budget(clock, read=READ, write=WRITE)
    budget.observe = lambda *call: seen.append(call)

    budget.call("read", Kind.READ, lambda: None)

    assert seen == [("read", "ok", 0.0)]


def test_a_thousand_nodes_at_once_lose_no_call_and_no_time(clock):
    ours, theirs = Budget(clock, read=READ, write=WRITE), TokenBucket(WRITE, clock.now())

    refused = 0
    for _ in range(3000):
        ours.acquire(Kind.WRITE)
        refused += not theirs.take(clock.now())

    assert refused == 0
    assert clock.now() == pytest.approx((3000 - 50) / 5.0, rel=0.001)


def test_threads_share_one_bucket(clock):
    budget = Budget(clock, read=READ, write=Bucket(rate=100.0, burst=10.0))
    threads = [threading.Thread(target=spend, args=(budget, Kind.WRITE, 20)) for _ in range(4)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10.0)

    assert clock.now() >= (80 - 10) / 100.0 - 1e-6


@given(
    st.floats(0.1, 100.0),
    st.floats(1.0, 200.0),
    st.lists(st.tuples(st.floats(0.0, 5.0), st.booleans()), max_size=60),
)
def test_a_bucket_never_gives_more_than_its_burst_and_rate(rate, burst, steps):
    bucket, now, taken = TokenBucket(Bucket(rate, burst), 0.0), 0.0, 0

    for passed, throttled in steps:
        now += passed
        if throttled:
            bucket.slow_down(now)
        taken += bucket.take(now)

        assert taken <= burst + rate * now + 1e-6
        assert 0.0 <= bucket.tokens <= burst
        assert 0.0 < bucket.rate <= rate


@given(st.floats(0.1, 50.0), st.floats(0.0, 100.0))
def test_after_the_wait_a_token_is_there(rate, passed):
    bucket = TokenBucket(Bucket(rate, 1.0), 0.0)
    bucket.slow_down(passed)

    assert bucket.take(passed + bucket.wait(passed))
