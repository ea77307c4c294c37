"""The keeper's loop on the twin, and its thread."""

from __future__ import annotations

import logging
import time
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from cloudnet.agent.nat import NatKeeper, NatThread, options
from cloudnet.clock import SystemClock
from cloudnet.config import AgentConfig
from cloudnet.errors import BadInput, MissingTool
from cloudnet.kernel import ruleset
from cloudnet.kernel.nft_memory import MemoryNft
from cloudnet.kernel.ruleset import Element
from cloudnet.model.addresses import Family
from cloudnet.model.resources import IPPool, Metadata, Node
from cloudnet.nat.plan import HOSTS, SOURCES, TABLE, Options
from cloudnet.store.api import Event, EventType, Revision

V4 = Family.IPV4
RESYNC = 90.0


def pool(*, nat=True, name="p", cidr="10.65.0.0/16"):
    return IPPool(Metadata(name), ip_network(cidr), nat_outgoing=nat)


def put(*values):
    return tuple(Event(EventType.PUT, value, Revision(1)) for value in values)


def gone(value):
    return (Event(EventType.DELETED, value, Revision(2)),)


def sources(nft):
    return {str(element.key[0]) for element in nft.list(TABLE).sets[SOURCES[V4].name].elements}


@pytest.fixture
def nft():
    return MemoryNft()


@pytest.fixture
def keeper(nft):
    return NatKeeper(Options(), lambda: nft, resync=RESYNC)


def test_nothing_is_written_before_the_store_has_told_everything(keeper, nft):
    keeper.hear(put(pool()), synced=False)

    keeper.work(0.0)

    assert nft.tables() == frozenset()


def test_pools_come_change_and_go(keeper, nft):
    seen = []
    for events in (put(pool()), put(pool(nat=False)), put(pool(), pool(name="q", cidr="10.66.0.0/16")), gone(pool())):
        keeper.hear(events, synced=True)
        keeper.work(0.0)
        seen.append(sources(nft))

    assert seen == [{"10.65.0.0/16"}, set(), {"10.65.0.0/16", "10.66.0.0/16"}, {"10.66.0.0/16"}]
    assert keeper.counts.changes == 4
    assert keeper.problem == ""


def test_addresses_of_nodes_matter_only_when_they_are_excluded(nft):
    keeper = NatKeeper(Options(exclude_hosts=True), lambda: nft, resync=RESYNC)
    node = Node(Metadata("n1"), (ip_interface("10.0.1.11/24"),))

    keeper.hear(put(pool(), node), synced=True)
    keeper.work(0.0)

    assert nft.list(TABLE).sets[HOSTS[V4].name].elements == {Element((ip_address("10.0.1.11"),))}


def test_what_others_changed_is_mended_at_the_next_resync(keeper, nft, caplog):
    keeper.hear(put(pool()), synced=True)
    due = keeper.work(0.0)
    nft.run(ruleset.script([ruleset.flush_set(SOURCES[V4])]))

    keeper.work(due - 1)
    before = sources(nft)
    keeper.work(due)

    assert due == RESYNC
    assert before == set()
    assert sources(nft) == {"10.65.0.0/16"}
    assert keeper.counts.repairs == 1
    assert "somebody else had changed table" in caplog.text


def test_a_refusal_is_told_once_tried_again_ever_more_slowly_and_over_when_it_works(keeper, nft, caplog):
    caplog.set_level(logging.INFO)
    nft.refuse = lambda _line: "no memory"
    keeper.hear(put(pool()), synced=True)

    first = keeper.work(0.0)
    second = keeper.work(first)
    problem = keeper.problem
    nft.refuse = lambda _line: None
    keeper.work(second)

    assert (first, second) == (1.0, 3.0)
    assert "pool 'p' has natOutgoing, which is not in force" in problem
    assert "no memory" in problem
    assert caplog.text.count("no outgoing NAT, trying again") == 1
    assert caplog.text.count("outgoing NAT works again") == 1
    assert keeper.problem == ""
    assert sources(nft) == {"10.65.0.0/16"}


def test_without_the_library_the_agent_goes_on_until_a_pool_needs_nat(caplog):
    caplog.set_level(logging.INFO)

    def missing():
        raise MissingTool("there is no libnftables.so.1: apt-get install libnftables1")

    keeper = NatKeeper(Options(), missing, resync=RESYNC)
    keeper.hear(put(pool(nat=False)), synced=True)

    due = keeper.work(0.0)
    nobody_needs_it = keeper.problem
    keeper.work(due)
    keeper.hear(put(pool()), synced=False)
    keeper.work(due)

    assert nobody_needs_it == ""
    assert "apt-get install libnftables1" in keeper.problem
    assert caplog.text.count("there is no libnftables.so.1") == 1


def test_the_thread_works_when_it_hears_and_ends_when_it_is_closed(nft):
    thread = NatThread(NatKeeper(Options(), lambda: nft, resync=RESYNC), SystemClock())
    try:
        thread.hear(put(pool()), synced=True)
        deadline = time.monotonic() + 5
        while not nft.tables() and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        thread.close()

    assert sources(nft) == {"10.65.0.0/16"}
    assert thread.problem == ""


def test_settings_become_options():
    config = AgentConfig(
        node="n1",
        nat_outgoing_exclusions="IPPoolsAndHostIPs",
        nat_port_range="1000:2000",
        nat_outgoing_address="192.0.2.1",
        nat_outgoing_interface="eth+",
    )

    read = options(config)

    assert read == Options(True, (1000, 2000), ip_address("192.0.2.1"), "eth+", (4789, 4793))  # noqa: FBT003


@pytest.mark.parametrize(
    ("name", "value"),
    [("nat_port_range", "x"), ("nat_outgoing_address", "x"), ("nat_outgoing_interface", "a b")],
)
def test_a_wrong_setting_is_refused_by_name(name, value):
    with pytest.raises(BadInput, match=f"^{name}: "):
        options(AgentConfig(node="n1", **{name: value}))
