"""A keeper on its thread: what is heard comes in order and whole, and a keeper that fails says so."""

from __future__ import annotations

import threading

import pytest

from cloudnet.agent import keeper_thread
from cloudnet.agent.keeper_thread import KeeperThread
from cloudnet.clock import SystemClock


class Notes:
    """A keeper that notes what it is told."""

    def __init__(self):
        self.problem = ""
        self.heard = []
        self.shown = []
        self.closed = threading.Event()
        self.may_work = threading.Event()

    def work(self, now):
        assert self.may_work.wait(10)
        if "broken" in self.heard:
            raise ValueError("broken")
        return now + 1000

    def stopped(self, error):
        self.problem = f"stopped: {error}"

    def close(self):
        self.closed.set()


class Thread(KeeperThread):
    def tell(self, *things):
        for thing in things:
            self._inbox.put(thing)

    def _hand_on(self, heard):
        self._keeper.heard.append(heard)

    def _show(self, metrics):
        self._keeper.shown.append((metrics, len(self._keeper.heard)))


def test_everything_that_is_heard_is_handed_on_in_order_also_more_than_is_taken_at_once():
    keeper = Notes()
    thread = Thread("notes", keeper, SystemClock())
    number = 2 * keeper_thread._BATCH + 2

    thread.tell(*range(number))
    keeper.may_work.set()
    thread.close()

    assert keeper.heard == list(range(number))
    assert keeper.closed.is_set()


def test_metrics_are_told_at_once_and_after_each_work():
    keeper = Notes()
    keeper.may_work.set()
    thread = Thread("notes", keeper, SystemClock())

    thread.measure("metrics")
    thread.tell("first")
    while len(keeper.shown) < 2:
        thread.tell("more")
    thread.close()

    assert keeper.shown[0][0] == "metrics"
    assert keeper.shown[-1][1] > 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_keeper_that_fails_is_closed_and_says_so():
    keeper = Notes()
    keeper.may_work.set()
    thread = Thread("notes", keeper, SystemClock())

    thread.tell("broken")
    assert keeper.closed.wait(10)
    thread.close()

    assert thread.problem == "stopped: broken"
