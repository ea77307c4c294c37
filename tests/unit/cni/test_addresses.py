from datetime import UTC, datetime
from ipaddress import ip_network

import pytest

from cloudnet.agent.addresses import SharedLeases
from cloudnet.cni.addresses import Blocks
from cloudnet.cni.identity import Identity
from cloudnet.ipam.allocator import Request
from cloudnet.ipam.known import KINDS
from cloudnet.ipam.warm import Warm
from cloudnet.kernel.pods import Owner
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.resources import IPAMHandle, IPPool, Metadata
from cloudnet.policy.selectors import Matches
from cloudnet.store.api import Event, EventType
from cloudnet.store.memory import MemoryStore

N1 = NodeName("n1")


@pytest.fixture
def store():
    made = MemoryStore()
    made.create(IPPool(Metadata("default"), ip_network("10.65.0.0/24"), block_size=28))
    return made


@pytest.fixture
def leases(store):
    now = datetime(2026, 1, 2, tzinfo=UTC)
    made = SharedLeases(Warm(store, N1, now=lambda: now, matches=Matches()))
    items = [item for kind in KINDS for item in store.list(kind).items]
    made.heard([Event(EventType.PUT, item.value, item.revision) for item in items], synced=True)
    return made


def identity(orchestrator):
    owner = Owner("net", "c1", "eth0")
    return Identity(orchestrator, "shop", "web", owner, "n1-k8s-web-eth0", "cali1", "net.c1")


@pytest.mark.parametrize(("orchestrator", "left"), [("k8s", []), ("cni", ["shop.web"])])
def test_what_calico_gave_a_pod_under_its_older_name_is_taken_back_too(store, leases, orchestrator, left):
    for handle in ("net.c1", "shop.web"):
        leases.take([Family.IPV4], [Request(N1, handle)], lambda _: [])

    Blocks(leases, tuple).take_back(identity(orchestrator), ())

    assert [item.value.handle for item in store.list(IPAMHandle).items] == left
