"""A controller that dies before any one of its actions: the next one ends where nobody would have died."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from cloudnet.model.addresses import Family
from cloudnet.model.resources import CloudNode, CloudRoute, NodeCondition
from cloudnet.provider.memory import Fault

FOREIGN = {"10.65.200.0/26": "tgw-1", "10.65.5.0/26": "tgw-2", "0.0.0.0/0": "igw-1"}


class Crash(Exception):
    """The controller is gone, at once."""


def join(cluster) -> None:
    cluster.join(3, 4)


def leave(cluster) -> None:
    cluster.leave(1)


def swap(cluster) -> None:
    cluster.leave(1)
    cluster.machine(1, instance="i-11")
    cluster.node(1, instance="i-11")
    cluster.block(1)


def shrink(cluster) -> None:
    cluster.cloud.set_limit("rtb-0", Family.IPV4, 4)
    cluster.report(2, lost=("10.65.0.0/26",))


def lose_answers(cluster) -> None:
    cluster.cloud.fail("create_route", Fault.TIMEOUT, times=1)
    cluster.join(3, 4)


def come_and_go(cluster) -> None:
    cluster.join(3)
    cluster.run(0.06)
    cluster.leave(3)


CHANGES = [join, leave, swap, shrink, lose_answers, come_and_go]


def prepared(make_cluster, *, read_delay: float = 0.0):
    cluster = make_cluster(read_delay=read_delay)
    for destination, target in FOREIGN.items():
        cluster.cloud.add_foreign_route("rtb-0", ip_network(destination), target)
    cluster.join(0, 1, 2)
    cluster.run(60)
    return cluster


def picture(cluster):
    """Return what must not depend on crashes: the cloud, and the ledger without times and revisions."""
    ledger = {
        s.value.cidr: (
            s.value.node,
            tuple((t.table, t.state, t.cause, t.next_hop, t.previous) for t in s.value.tables),
        )
        for s in cluster.store.list(CloudRoute).items
    }
    names = [[s.value.meta.name for s in cluster.store.list(kind).items] for kind in (CloudNode, NodeCondition)]
    return cluster.shown(), ledger, names


def after_crashes(make_cluster, change, at: int, *, read_delay: float) -> tuple[object, bool]:
    """Return the picture after a crash before action number ``at``, and whether there were so many actions."""
    cluster = prepared(make_cluster, read_delay=read_delay)
    seen = 0

    def dies(_action: object) -> None:
        nonlocal seen
        seen += 1
        if seen > at:
            raise Crash

    cluster.sim.before = dies
    crashed = False
    try:
        change(cluster)
        cluster.run(60)
    except Crash:
        crashed = True
        if change is come_and_go and cluster.get_node(3) is not None:
            cluster.leave(3)
        cluster.restart()
    cluster.sim.before = lambda _: None
    cluster.run(2000)
    return picture(cluster), crashed


@pytest.mark.parametrize("read_delay", [0.0, 3.0], ids=["prompt reads", "late reads"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda c: c.__name__.replace("_", " "))
def test_a_crash_before_any_action_changes_nothing_in_the_end(make_cluster, change, read_delay) -> None:
    expected, _ = after_crashes(make_cluster, change, 10_000, read_delay=read_delay)

    at, crashed = 0, True
    while crashed:
        found, crashed = after_crashes(make_cluster, change, at, read_delay=read_delay)
        assert found == expected, f"crash before action {at}"
        at += 1

    assert at > 3
    assert FOREIGN.items() <= found[0]["rtb-0"].items()
