from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

import pytest

from cloudnet.ipam.allocator import Allocator, Request
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.resources import IPPool, Metadata, Node
from cloudnet.model.workloads import WorkloadEndpoint
from cloudnet.policy.selectors import Matches
from cloudnet.store.memory import MemoryStore

START = datetime(2026, 1, 2, 12, tzinfo=UTC)


class Books:
    """A store with one pool, nodes, and pods that have addresses in it."""

    def __init__(self, url_or_store=None):
        self.store = url_or_store or MemoryStore()
        self.at = START
        self.ipam = Allocator(self.store, now=self.now, matches=Matches())
        self.store.create(IPPool(Metadata("default"), ip_network("10.65.0.0/24"), block_size=28))

    def now(self):
        self.at += timedelta(milliseconds=1)
        return self.at

    def node(self, name):
        self.store.create(Node(Metadata(name)))

    def give(self, name, node="n1", count=1, **owner):
        """Give addresses as CNI does, and write no endpoint."""
        noted = {"pod": name, "namespace": "shop", "node": node, **owner}
        return self.ipam.auto_assign(Family.IPV4, count, Request(NodeName(node), f"net.{name}", noted))

    def pod(self, pod, node="n1", count=1):
        """Give addresses as CNI does, and write the endpoint."""
        given = self.give(pod, node, count)
        networks = tuple(ip_network(f"{one.ip}/32") for one in given)
        meta = Metadata(f"{node}-k8s-{pod}-eth0", "shop")
        self.store.create(WorkloadEndpoint(meta, NodeName(node), "k8s", "eth0", pod=pod, networks=networks))
        return given


@pytest.fixture
def books():
    made = Books()
    made.node("n1")
    return made
