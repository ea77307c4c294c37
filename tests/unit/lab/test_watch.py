from __future__ import annotations

import time
from collections.abc import Sequence
from ipaddress import IPv4Network

import pytest

from cloudnet.clock import ManualClock, SystemClock
from cloudnet.lab.errors import LabError
from cloudnet.lab.scenarios import Standing
from cloudnet.lab.watch import Change, Watch
from cloudnet.model.addresses import NodeName
from cloudnet.model.paths import Path, PathKind, Reason

NATIVE = Standing(PathKind.NATIVE, Reason.PROVEN)
LOST = Standing(PathKind.VXLAN, Reason.PROBES_LOST)
BLOCK = "10.65.2.0/26"


class Agents:
    """What the agents answer: ``{node: standing}`` of one block; ``None`` is an agent that is down."""

    def __init__(self, **says: Standing | None) -> None:
        self.says = says

    def paths(self, node: str) -> Sequence[Path]:
        standing = self.says[node]
        if standing is None:
            raise LabError("down")
        return (Path(IPv4Network(BLOCK), NodeName("n2"), standing.kind, standing.reason),)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(at=10.0)


def test_only_changes_are_remembered(clock) -> None:
    agents = Agents(n1=NATIVE, n3=NATIVE)
    watch = Watch(lambda: agents.says, agents.paths, clock=clock)
    watch.look()
    watch.look()

    clock.advance(1)
    agents.says["n1"] = LOST
    watch.look()

    assert watch.changes() == (
        Change(10.0, "n1", BLOCK, None, NATIVE),
        Change(10.0, "n3", BLOCK, None, NATIVE),
        Change(11.0, "n1", BLOCK, NATIVE, LOST),
    )
    assert watch.changes(10.5) == watch.changes()[2:]
    assert watch.now() == {("n1", BLOCK): LOST, ("n3", BLOCK): NATIVE}


def test_an_agent_that_is_down_keeps_what_it_said_but_is_not_fresh(clock) -> None:
    agents = Agents(n1=NATIVE, n3=NATIVE)
    watch = Watch(lambda: agents.says, agents.paths, clock=clock)
    watch.look()
    clock.advance(1)
    agents.says["n1"] = None
    watch.look()

    assert set(watch.now()) == {("n1", BLOCK), ("n3", BLOCK)}
    assert set(watch.now(fresh=11.0)) == {("n3", BLOCK)}


def test_it_looks_by_itself_until_its_block_ends() -> None:
    agents = Agents(n1=NATIVE)

    with Watch(lambda: agents.says, agents.paths, clock=SystemClock()) as watch:
        deadline = time.monotonic() + 5
        while not watch.now() and time.monotonic() < deadline:
            time.sleep(0.02)

    assert watch.now() == {("n1", BLOCK): NATIVE}
