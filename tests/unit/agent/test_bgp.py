"""The keeper's loop on BIRD's twin, its thread, and what the node says of it."""

from __future__ import annotations

import itertools
import logging
import time
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from cloudnet.agent.bgp import BgpKeeper
from cloudnet.agent.bgp_thread import KINDS, BgpThread, Silent, speaking, spell
from cloudnet.agent.metrics import Metrics
from cloudnet.bgp.api import Status
from cloudnet.bgp.memory import MemoryBird
from cloudnet.clock import SystemClock
from cloudnet.config import AgentConfig
from cloudnet.ipam import block as blocks
from cloudnet.model import calico
from cloudnet.model.addresses import NodeName
from cloudnet.model.resources import Affinity, AllocationAttribute, BlockAffinity, IPPool, Metadata, Node
from cloudnet.store.api import Event, EventType, Revision
from cloudnet.store.informer import Batch

POOL = IPPool(Metadata("default"), ip_network("10.65.0.0/16"))
SESSION = "Mesh_10_0_1_12"
UP = Status(SESSION, "Established", "2026-01-02 03:04:05", imported=3, exported=2)


def node(k):
    return Node(Metadata(f"n{k}"), (ip_interface(f"10.0.1.{k}/24"),))


def affinity(k):
    return BlockAffinity(Metadata(f"n{k}-block"), NodeName(f"n{k}"), ip_network(f"10.65.{k}.0/26"))


def peer(name="tor", **spec):
    document = {"apiVersion": "projectcalico.org/v3", "kind": "BGPPeer", "metadata": {"name": name}}
    return calico.parse({**document, "spec": {"peerIP": "10.0.1.1", "asNumber": 65000, **spec}})


def put(*values):
    return tuple(Event(EventType.PUT, value, Revision(1)) for value in values)


def gone(*values):
    return tuple(Event(EventType.DELETED, value, Revision(2)) for value in values)


CLUSTER = (node(11), node(12), affinity(11), affinity(12), POOL)


@pytest.fixture
def bird():
    return MemoryBird()


@pytest.fixture
def secrets():
    return {}


@pytest.fixture
def keeper(bird, secrets):
    return BgpKeeper(NodeName("n11"), bird, lambda key: secrets.get(key, ""), log_path="/run/bird.log")


def begin(keeper, *more):
    keeper.hear(put(*CLUSTER, *more), synced=True)
    keeper.hear_blocks((), synced=True)
    return keeper.work(0.0)


def routes(bird):
    """Return what BIRD announces now."""
    lines = (line.split() for line in bird.told[-1].splitlines())
    return [words[1] for words in lines if words[:1] == ["route"] and "blackhole" in words[2]]


@pytest.mark.parametrize("missing", ["store", "strays", "own node"])
def test_nothing_is_told_before_everything_is_known(keeper, bird, missing):
    keeper.hear(put(*(one for one in CLUSTER if one != node(11) or missing != "own node")), synced=missing != "store")
    keeper.hear_blocks((), synced=missing != "strays")

    keeper.work(0.0)

    assert bird.told == []
    assert keeper.problem == ""


def test_the_own_block_is_announced_and_every_other_node_is_a_peer(keeper, bird):
    due = begin(keeper)

    assert routes(bird) == ["10.65.11.0/26"]
    assert [(one.session.peer, one.state) for one in keeper.peerings] == [("node 'n12'", "Idle")]
    assert (keeper.counts.changes, keeper.counts.failures, keeper.problem, due) == (1, 0, "", 5.0)


def test_what_changes_is_told_at_once_and_what_does_not_is_not_told_again(keeper, bird):
    begin(keeper)
    for events in (put(node(12)), put(peer()), gone(peer()), gone(node(12), affinity(12))):
        keeper.hear(events, synced=True)
        keeper.work(1.0)

    assert len(bird.told) == 4
    assert ["Global_10_0_1_1" in text for text in bird.told] == [False, True, False, False]
    assert [SESSION in text for text in bird.told] == [True, True, True, False]


def test_news_that_change_nothing_here_cost_nothing(keeper, bird):
    due = begin(keeper)
    asked = bird.asked
    block = made(12)

    keeper.hear(put(*CLUSTER), synced=True)
    keeper.hear_blocks(put(block, replace(block, sequence_number=7)), synced=True)

    assert keeper.work(1.0) == due
    assert bird.asked == asked


def test_what_bird_refused_is_planned_again(keeper, bird, secrets):
    begin(keeper)
    bird.refusal = "too long"
    keeper.hear(put(peer()), synced=True)
    again = keeper.work(1.0)
    bird.refusal = ""

    keeper.work(again)

    assert keeper.problem == ""
    assert "Global_10_0_1_1" in bird.told[-1]


def made(k):
    """Return a node's block without a pod."""
    owner = Affinity(NodeName(f"n{k}"))
    return blocks.new(ip_network(f"10.65.{k}.0/26"), owner, now=datetime(2025, 1, 1, tzinfo=UTC), sequence=1)


def test_an_address_from_anothers_block_is_announced_where_it_is(keeper, bird):
    begin(keeper)
    lent = replace(
        made(12),
        allocations=tuple(0 if n == 7 else None for n in range(64)),
        unallocated=tuple(n for n in range(64) if n != 7),
        attributes=(AllocationAttribute(handle="h", owner={"node": "n11"}),),
    )

    keeper.hear_blocks(put(lent), synced=True)
    keeper.work(1.0)
    borrowed = routes(bird)
    keeper.hear_blocks(gone(lent), synced=True)
    keeper.work(2.0)

    assert borrowed == ["10.65.11.0/26", "10.65.12.7/32"]
    assert routes(bird) == ["10.65.11.0/26"]


def test_a_block_that_two_nodes_claim_is_announced_by_nobody(keeper, bird):
    begin(keeper)

    keeper.hear(put(replace(affinity(12), cidr=ip_network("10.65.11.0/26"))), synced=True)
    keeper.work(1.0)

    assert routes(bird) == []


def test_a_session_that_comes_or_goes_is_told_once(keeper, bird, caplog):
    caplog.set_level(logging.INFO)
    now = begin(keeper)
    bird.becomes(UP)
    now = keeper.work(now)
    now = keeper.work(now)
    up = keeper.peerings
    bird.becomes(replace(UP, state="Active", error="Socket: Connection refused"))
    keeper.work(now)

    told = [record.message for record in caplog.records if "BGP session changed" in record.message]
    assert [one.established for one in up] == [True]
    assert up[0].routes == {"imported": 3, "exported": 2}
    assert len(told) == 2
    assert "state=Established" in told[0]
    assert "state=Active error='Socket: Connection refused'" in told[1]
    assert keeper.problem == ""


def test_a_session_that_bird_gave_up_is_begun_again(keeper, bird):
    now = begin(keeper)
    bird.becomes(Status(SESSION, "Down", error="Error: No listening socket"))

    keeper.work(now)

    assert len(bird.told) == 2
    assert bird.told[0] == bird.told[1]


def test_a_bird_that_died_is_a_problem_until_it_is_back_within_a_second(keeper, bird, caplog):
    caplog.set_level(logging.INFO)
    now = begin(keeper)
    bird.die()

    again = keeper.work(now)
    problem = keeper.problem
    keeper.work(again)

    assert problem == "BGP is not as it should be: no BIRD listens"
    assert again == now + 1.0
    assert keeper.problem == ""
    assert len(bird.told) == 2
    assert "BIRD works again" in caplog.text


def test_where_bird_cannot_be_started_it_is_tried_ever_more_slowly_and_told_once(keeper, bird, caplog):
    bird.startable = False
    due = [begin(keeper)]
    for _ in range(6):
        keeper.hear(put(node(12)), synced=True)  # what happens meanwhile makes it no faster
        assert keeper.work(due[-1] - 0.5) == due[-1]
        due.append(keeper.work(due[-1]))

    assert [after - before for before, after in itertools.pairwise(due)] == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert keeper.counts.failures == 7
    assert caplog.text.count("BGP is not as it should be") == 1
    bird.startable = True
    keeper.work(due[-1])
    assert keeper.problem == ""


def test_a_refusal_is_a_problem_and_what_was_said_before_stays(keeper, bird):
    begin(keeper)
    bird.refusal = "too long"
    keeper.hear(put(peer()), synced=True)
    keeper.work(1.0)

    assert keeper.problem == "BGP is not as it should be: BIRD refuses 'configure': too long"
    assert [one.session.peer for one in keeper.peerings] == ["node 'n12'"]


def test_a_password_that_comes_later_makes_its_session(keeper, bird, secrets, caplog):
    reference = {"secretKeyRef": {"name": "bgp", "key": "password"}}
    now = begin(keeper, peer(password=reference))
    without = keeper.warnings, len(keeper.peerings)
    secrets["bgp", "password"] = "geheim"

    keeper.work(now)

    assert (len(without[0]), without[1]) == (1, 1)
    assert "key 'password' of secret 'bgp' cannot be read" in without[0][0]
    assert keeper.problem == ""
    assert (keeper.warnings, len(keeper.peerings)) == ((), 2)
    assert 'password "geheim"' in bird.told[-1]
    assert "geheim" not in caplog.text
    assert "geheim" not in str(spell(keeper.peerings[0]))


# --- the thread, and what is said of it -----------------------------------------------------------------------


def eventually(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_the_thread_takes_what_is_heard_and_answers_and_counts(keeper, bird):
    registry = CollectorRegistry()
    thread = BgpThread(keeper, SystemClock())
    try:
        thread.measure(Metrics(registry, store_age=lambda: 0.0))
        thread.hear(Batch(put(*CLUSTER, peer(filters=["missing"])), synced=True))
        thread.hear_blocks(Batch((), synced=True))
        eventually(lambda: thread.answer()["sessions"])
        answer = thread.answer()
    finally:
        thread.close()

    assert answer["problem"] == ""
    assert answer["warnings"] == [
        "BGPPeer 'tor': no session: there is no BGPFilter 'missing': create it, or take it from spec.filters"
    ]
    assert answer["sessions"] == [
        {
            "peer": "node 'n12'", "address": "10.0.1.12", "port": 179, "as_number": 64512, "origin": "mesh",
            "state": "Idle", "since": "", "error": "", "imported": 0, "exported": 0,
        }
    ]  # fmt: skip
    values = {
        ("cloudnet_bgp_sessions", "Idle"): 1, ("cloudnet_bgp_not_done", ""): 1, ("cloudnet_bgp_ready", ""): 1,
        ("cloudnet_bgp_changes_total", ""): 1,
    }  # fmt: skip
    assert {key: registry.get_sample_value(key[0], {"state": key[1]} if key[1] else {}) for key in values} == values


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_of_ours_shows(bird):
    keeper = BgpKeeper(NodeName("n11"), bird, lambda _key: "", log_path='"')  # which no configuration can hold
    thread = BgpThread(keeper, SystemClock())
    thread.hear(Batch(put(*CLUSTER), synced=True))
    thread.hear_blocks(Batch((), synced=True))

    eventually(lambda: "the BGP thread stopped: " in thread.problem)
    thread.close()


def test_a_node_that_speaks_no_bgp_watches_none_of_its_kinds_and_is_never_a_problem(tmp_path):
    config = AgentConfig(node="n1", bgp_folder=str(tmp_path / "bird"))

    with speaking(config, SystemClock()) as silent:
        assert isinstance(silent, Silent)
        assert (silent.kinds, silent.problem, silent.answer()) == ((), "", {})
        silent.hear(Batch(put(node(11)), synced=True))
        silent.hear_blocks(Batch((), synced=True))
        silent.measure(Metrics(registry := CollectorRegistry(), store_age=lambda: 0.0))
        assert registry.get_sample_value("cloudnet_bgp_ready") == 1
    assert not Path(config.bgp_folder).exists()
    assert BgpThread.kinds == KINDS
