import itertools

import pytest

from cloudnet.clock import ManualClock
from cloudnet.provider.errors import PermissionDenied, QuotaExceeded, Throttled, Unavailable
from cloudnet_gcp.operations import FIRST_LOOK, SLOWEST, Followed, finish
from cloudnet_gcp.wire import Failure, Operation


class Client:
    """Operations that end at a time; ``trouble`` is raised instead, as long as it is set."""

    def __init__(self, clock, **ends):
        self.clock, self.ends = clock, ends
        self.failures, self.trouble, self.looks = {}, None, []

    def operations(self, wanted, *, zone=""):
        self.looks.append((self.clock.now(), zone, sorted(wanted)))
        if self.trouble:
            raise self.trouble
        now = self.clock.now()
        return [
            Operation(name, zone, done=self.ends[name] <= now, failure=self.failures.get(name))
            for name in wanted
            if name in self.ends
        ]


@pytest.fixture
def clock():
    return ManualClock()


def following(client, *operations, timeout=60.0):
    followed = Followed(client, client.clock, timeout=timeout)
    for name, zone in operations:
        followed.add("compute.routes.insert", Operation(name, zone))
    return followed


def test_all_are_asked_for_together_and_ever_less_often(clock):
    client = Client(clock, a=3.0, b=5.0)

    ended = finish(following(client, ("a", ""), ("b", "")))

    assert ended == {"a": None, "b": None}
    times = [at for at, _, _ in client.looks]
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert times[0] == FIRST_LOOK
    assert waits == sorted(waits)
    assert max(waits) == SLOWEST
    assert client.looks[0][2] == ["a", "b"]
    assert client.looks[-1][2] == ["b"]


def test_global_and_zonal_ones_are_asked_for_where_they_live(clock):
    client = Client(clock, a=0.0, b=0.0)

    finish(following(client, ("a", ""), ("b", "here-a")))

    assert [(zone, names) for _, zone, names in client.looks] == [("", ["a"]), ("here-a", ["b"])]


def test_a_failure_is_told_with_the_name_of_its_operation(clock):
    client = Client(clock, a=0.0, b=0.0)
    client.failures["a"] = Failure(403, "QUOTA_EXCEEDED", "no more")

    ended = finish(following(client, ("a", ""), ("b", "")))

    assert isinstance(ended["a"], QuotaExceeded)
    assert (ended["a"].code, ended["a"].request_id) == ("QUOTA_EXCEEDED", "a")
    assert ended["b"] is None


def test_one_that_no_list_shows_is_waited_for_and_given_up_in_time(clock):
    ended = finish(following(Client(clock), ("a", ""), timeout=10.0))

    assert isinstance(ended["a"], Unavailable)
    assert 10.0 <= clock.now() <= 10.0 + SLOWEST


@pytest.mark.parametrize("trouble", [Throttled("slow", provider="gcp"), Unavailable("away", provider="gcp")])
def test_a_look_that_fails_for_now_is_repeated(clock, trouble):
    client = Client(clock, a=0.0)
    client.trouble = trouble
    followed = following(client, ("a", ""))

    assert followed.look(wait=True) == {}
    client.trouble = None

    assert finish(followed) == {"a": None}


def test_a_look_that_is_not_allowed_ends_them_all(clock):
    client = Client(clock, a=0.0, b=0.0)
    client.trouble = PermissionDenied("no", provider="gcp")

    ended = finish(following(client, ("a", ""), ("b", "")))

    assert set(ended) == {"a", "b"}
    assert all(isinstance(error, PermissionDenied) for error in ended.values())


def test_a_look_is_due_a_moment_after_the_first_write(clock):
    followed = following(Client(clock, a=0.0), ("a", ""))

    assert not followed.due()
    clock.advance(FIRST_LOOK)
    assert followed.due()


def test_nothing_to_follow_costs_nothing(clock):
    client = Client(clock)

    assert finish(following(client)) == {}
    assert client.looks == []
