import time
from dataclasses import replace

import pytest

from cloudnet.agent.reporter import Reporter, write
from cloudnet.errors import BadInput
from cloudnet.model.resources import AgentReport, Metadata
from cloudnet.store.api import StoreUnavailable
from cloudnet.store.memory import MemoryStore

REPORT = AgentReport(Metadata("n1"), ready=True, observed=7)


class AwayStore:
    """A store that does not answer until ``back``."""

    def __init__(self, error=None):
        self.error = error or StoreUnavailable("gone fishing")
        self.inner = MemoryStore()
        self.back = False
        self.asked = 0

    def __getattr__(self, name):
        self.asked += 1
        if not self.back:
            raise self.error
        return getattr(self.inner, name)


def stored(store):
    return [item.value.observed for item in store.list(AgentReport).items]


def eventually(condition):
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_report_is_created_then_updated():
    store = MemoryStore()

    write(store, REPORT)
    write(store, replace(REPORT, observed=8))

    assert stored(store) == [8]


def test_the_same_report_is_not_written_twice():
    store = MemoryStore()
    write(store, REPORT)
    before = store.get(AgentReport, "n1").revision

    write(store, REPORT)

    assert store.get(AgentReport, "n1").revision == before


def test_a_store_that_is_away_gets_the_newest_report_when_it_is_back(caplog):
    store = AwayStore()
    reporter = Reporter(store, retry=0.01)
    reporter.report(REPORT)
    eventually(lambda: store.asked > 3)

    reporter.report(replace(REPORT, observed=9))
    store.back = True

    eventually(lambda: stored(store.inner) == [9])
    reporter.close()
    assert sum("gone fishing" in record.getMessage() for record in caplog.records) == 1


def test_closing_does_not_wait_for_a_store_that_is_away():
    store = AwayStore()
    reporter = Reporter(store, retry=60.0)
    reporter.report(REPORT)
    eventually(lambda: store.asked > 0)

    started = time.monotonic()
    reporter.close()

    assert time.monotonic() - started == pytest.approx(0.0, abs=20.0)


def test_a_report_that_an_older_definition_refuses_is_said_once_and_tried_again(caplog):
    store = AwayStore(BadInput("expected true or false", path="status.ready"))
    reporter = Reporter(store, retry=60.0, refused=0.01)
    reporter.report(REPORT)
    eventually(lambda: store.asked > 3)

    store.back = True

    eventually(lambda: stored(store.inner) == [7])
    reporter.close()
    assert sum("status.ready" in record.getMessage() for record in caplog.records) == 1


class Forgetful(MemoryStore):
    """A store that drops a field until it knows it."""

    knows = False

    def create(self, value):
        return super().create(value if self.knows else replace(value, observed=0))

    def update(self, value, *, expected):
        return super().update(value if self.knows else replace(value, observed=0), expected=expected)


def test_a_report_that_an_older_definition_cuts_short_is_completed_once_it_may_be():
    store = Forgetful()
    reporter = Reporter(store, retry=60.0, refused=0.01)
    reporter.report(REPORT)
    eventually(lambda: stored(store) == [0])

    store.knows = True

    eventually(lambda: stored(store) == [7])
    reporter.close()
