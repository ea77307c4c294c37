from datetime import UTC, datetime
from ipaddress import ip_network

import pytest

from cloudnet.controller.addresses import Collector
from cloudnet.ipam.allocator import Allocator, Request
from cloudnet.ipam.sweep import Swept
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.resources import IPAMHandle, IPPool, Metadata, Node
from cloudnet.policy.selectors import Matches
from cloudnet.store.memory import MemoryStore

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


class Figures:
    """Keeps what it is shown."""

    def __init__(self):
        self.suspects, self.swept = [], []

    def show_addresses(self, picture, suspects):
        assert picture.pools
        self.suspects.append(suspects)

    def collected_some(self, swept):
        self.swept.append(swept)


@pytest.fixture
def store():
    made = MemoryStore()
    made.create(Node(Metadata("n1")))
    made.create(IPPool(Metadata("default"), ip_network("10.65.0.0/24"), block_size=28))
    owner = {"pod": "gone", "namespace": "shop", "node": "n1"}
    ipam = Allocator(made, now=lambda: NOON, matches=Matches())
    ipam.auto_assign(Family.IPV4, 1, Request(NodeName("n1"), "net.gone", owner))
    return made


@pytest.fixture
def figures():
    return Figures()


@pytest.fixture
def collector(store, figures):
    return Collector(store, grace=900, period=300, metrics=figures, today=lambda: NOON)


def leaked(store):
    return len(store.list(IPAMHandle).items)


def test_a_leaked_address_is_taken_back_once_its_grace_is_over(collector, store, figures):
    for now in (0, 300, 600):
        collector.step(now, leads=True)
    before = leaked(store)

    collector.step(900, leads=True)

    assert (before, leaked(store)) == (1, 0)
    assert figures.suspects == [1, 1, 1, 1]
    assert figures.swept[-1] == Swept(addresses=1)


def test_who_does_not_lead_touches_nothing(collector, store):
    for now in (0, 900, 1800):
        collector.step(now, leads=False)

    assert leaked(store) == 1


def test_a_new_leader_begins_every_grace_anew(collector, store):
    collector.step(0, leads=True)
    collector.step(600, leads=False)

    collector.step(900, leads=True)

    assert leaked(store) == 1


def test_a_store_that_is_away_is_asked_again(collector, store, caplog):
    store.data.outage = "the disk is full"
    waits = [collector.step(now, leads=True) for now in (0, 300)]
    store.data.outage = ""

    collector.step(600, leads=True)
    collector.step(1500, leads=True)

    assert waits == [300, 300]
    assert [record.levelname for record in caplog.records if "cannot look" in record.message] == ["WARNING"]
    assert leaked(store) == 0
