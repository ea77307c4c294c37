import pytest

from cloudnet.clock import ManualClock
from cloudnet.provider.errors import PermissionDenied, Unavailable
from cloudnet_gcp.limits import DEFAULT, Limits
from cloudnet_gcp.wire import Quota


class Answers:
    """A client that answers with what it is given, or raises it."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = 0

    def routes_quota(self):
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def clock():
    return ManualClock()


def limits(answers, clock, fixed=0):
    return Limits(answers, clock, fixed=fixed, keep=3600.0)


def test_what_other_networks_hold_is_off(clock):
    assert limits(Answers(Quota(500.0, 120.0)), clock).routes(held=20) == 400


def test_a_fixed_number_asks_nobody(clock):
    answers = Answers(Quota(500.0, 0.0))

    assert limits(answers, clock, fixed=1000).routes(held=0) == 1000
    assert answers.asked == 0


def test_a_quota_is_kept_for_an_hour(clock):
    answers = Answers(Quota(500.0, 0.0))
    known = limits(answers, clock)

    known.routes(held=0)
    clock.advance(3599.0)
    known.routes(held=0)
    assert answers.asked == 1
    clock.advance(2.0)
    known.routes(held=0)
    assert answers.asked == 2


@pytest.mark.parametrize(("held", "asked"), [(449, 1), (450, 2)])
def test_a_quota_that_is_nearly_used_up_is_asked_for_every_minute(clock, held, asked):
    answers = Answers(Quota(500.0, 0.0))
    known = limits(answers, clock)

    known.routes(held=held)
    clock.advance(61.0)
    known.routes(held=held)

    assert answers.asked == asked


def test_after_a_refusal_it_is_asked_for_at_once(clock):
    answers = Answers(Quota(500.0, 0.0))
    known = limits(answers, clock)
    known.routes(held=0)
    answers.answer = Quota(600.0, 0.0)

    known.forget()

    assert known.routes(held=0) == 600


@pytest.mark.parametrize(
    ("error", "after"),
    [(PermissionDenied("no", provider="gcp"), 3600.0), (Unavailable("down", provider="gcp"), 60.0)],
    ids=["for good", "for now"],
)
def test_a_quota_that_cannot_be_read_is_guessed_and_asked_for_again(clock, caplog, error, after):
    answers = Answers(error)
    known = limits(answers, clock)

    assert known.routes(held=0) == DEFAULT
    assert "going on with 300" in caplog.text
    clock.advance(after - 1.0)
    known.routes(held=0)
    assert answers.asked == 1
    clock.advance(2.0)
    known.routes(held=0)
    assert answers.asked == 2


def test_a_project_that_tells_no_such_quota_has_the_usual_one(clock):
    assert limits(Answers(None), clock).routes(held=10) == DEFAULT
