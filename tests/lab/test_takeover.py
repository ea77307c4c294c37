"""Nodes are taken over and given back under traffic: old pods and new ones talk, and no packet is lost."""

from __future__ import annotations

import os
import time

import pytest

from cloudnet.lab.traffic import Traffic
from cloudnet.testing import takeover
from cloudnet.testing.takeover import both_ways, open_all

pytestmark = pytest.mark.lab

POOL = ("--pool", str(takeover.RANGE))
STEADY = 0.5  # seconds of traffic after the last change


def name(letter):
    return f"{letter}{os.getpid() % 100000}"


def succeeds(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def unharmed(traffic, begin):
    time.sleep(STEADY)
    sample = traffic.measure(begin, traffic.mark())
    bad = [(str(flow.flow), flow.lost) for flow in sample.flows if flow.lost or not flow.intact]
    assert not bad
    assert sample.sent > 100


def test_a_node_of_kubenet_is_taken_over_and_given_back_under_traffic():
    with (
        takeover.served_by(name("k"), "10-containerd-net.conflist", takeover.kubenet) as (n1, n2),
        Traffic() as traffic,
    ):
        old, neighbour, far = n1.attach("old"), n1.attach("near"), n2.attach("far")
        before, given = n1.host("cbr0"), n1.books("kubenet")
        n1.start_agent()
        begin = traffic.mark()
        open_all(traffic, [*both_ways(old, far), *both_ways(old, neighbour)])

        succeeds(n1.takeover("run", *POOL))
        new = n1.attach("new")
        open_all(traffic, [*both_ways(new, far), *both_ways(new, old)])
        unharmed(traffic, begin)
        n1.detach("near")

        kept = n1.takeover("rollback")
        again = n1.attach("again")
        open_all(traffic, [*both_ways(again, new), *both_ways(again, far)])
        unharmed(traffic, begin)

        assert kept.returncode == 7
        assert "1 pod of ours" in kept.stdout
        n1.detach("new")
        n1.detach("again")
        n1.stop_agent()
        succeeds(n1.takeover("rollback"))

        assert n1.host("cbr0") == before
        assert n1.books("kubenet") == {a: c for a, c in given.items() if c != neighbour.attachment.container_id}
