from datetime import UTC, datetime
from ipaddress import ip_interface, ip_network

import pytest

from cloudnet.agent.tunnel import TunnelKeeper
from cloudnet.ipam.allocator import Allocator
from cloudnet.model.addresses import NodeName
from cloudnet.model.resources import IPPool, Metadata, Node
from cloudnet.policy.selectors import Matches
from cloudnet.store.memory import MemoryStore

NAME = NodeName("n1")
POOL = IPPool(Metadata("default"), ip_network("10.65.0.0/24"), block_size=28)


class Cluster:
    """What the informer knows, and the store it comes from."""

    def __init__(self):
        self.store = MemoryStore()
        self.node, self.pools = None, ()
        allocator = Allocator(self.store, now=lambda: datetime(2026, 1, 2, tzinfo=UTC), matches=Matches())
        self.keeper = TunnelKeeper(
            self.store, allocator, NAME, seen=lambda: (self.node, self.pools), matches=Matches()
        )

    def hear(self):
        self.node = self.store.get(Node, NAME).value
        self.pools = tuple(item.value for item in self.store.list(IPPool).items)

    def vteps(self):
        return self.store.get(Node, NAME).value.vteps


@pytest.fixture
def cluster():
    made = Cluster()
    made.store.create(Node(Metadata(NAME), (ip_interface("10.0.0.11/24"),)))
    return made


def test_nothing_is_asked_of_the_store_before_the_node_is_known(cluster):
    assert cluster.keeper.look() < 1
    assert cluster.vteps() == ()


def test_the_node_gets_its_address_as_soon_as_there_is_a_pool(cluster):
    cluster.hear()
    cluster.keeper.look()
    before = cluster.vteps()
    cluster.store.create(POOL)
    cluster.hear()

    cluster.keeper.look()

    assert before == ()
    assert cluster.vteps()[0].address in POOL.cidr


def test_an_idle_cluster_costs_the_store_nothing(cluster):
    cluster.store.create(POOL)
    cluster.hear()
    cluster.keeper.look()
    cluster.hear()
    cluster.store.data.outage = "nobody shall ask"

    assert cluster.keeper.look() == 1.0


def test_a_store_that_is_away_is_asked_again_and_told_of_once(cluster, caplog):
    cluster.store.create(POOL)
    cluster.hear()
    cluster.store.data.outage = "the disk is full"
    waits = [cluster.keeper.look() for _ in range(3)]
    cluster.store.data.outage = ""

    cluster.keeper.look()

    assert waits == [5.0] * 3
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) == 1
    assert len(cluster.vteps()) == 1
