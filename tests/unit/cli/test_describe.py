from datetime import UTC, datetime
from ipaddress import ip_network

import pytest

from cloudnet.cli import describe
from cloudnet.ipam.allocator import Allocator, Request
from cloudnet.model.addresses import Family, InstanceId, InterfaceId, NodeName, SubnetId, TableId
from cloudnet.model.policies import NetworkPolicy, PolicySpec, Profile, Tier
from cloudnet.model.resources import (
    AgentReport,
    Cause,
    CloudNode,
    CloudRoute,
    IPAMBlock,
    IPPool,
    Metadata,
    Node,
    NodeCondition,
    RouteState,
    TableStatus,
)
from cloudnet.model.workloads import WorkloadEndpoint, endpoint_labels
from cloudnet.policy.selectors import Matches
from cloudnet.store import documents
from cloudnet.store.memory import MemoryStore

BLOCK = ip_network("10.65.0.0/28")


@pytest.fixture
def store():
    store = MemoryStore()
    store.create(Node(Metadata("n1", labels={"rack": "r1"})))
    store.create(IPPool(Metadata("pods"), ip_network("10.65.0.0/24"), block_size=28))
    ipam = Allocator(store, now=lambda: datetime.now(tz=UTC), matches=Matches())
    ipam.auto_assign(Family.IPV4, 1, Request(NodeName("n1"), "net.web", {"pod": "web", "namespace": "shop"}))
    return store


@pytest.fixture
def told(store):
    """Return what is said of one resource, section by section: ``{heading: lines}``."""

    def tell(kind, name, namespace=""):
        found: dict[str, list[str]] = {}
        heading = ""
        for line in describe.lines(documents.get(store, kind, name, namespace), store):
            if line.startswith(" "):
                found[heading].append(line.strip())
            else:
                heading, _, rest = line.partition(":")
                found[heading] = [rest.strip()] if rest.strip() else []
        return found

    return tell


def test_a_pool_is_told_with_its_use_and_its_blocks(told, store):
    (block,) = [stored.value for stored in store.list(IPAMBlock).items]

    pool = told(IPPool, "pods")

    assert pool["Use"] == ["1 of 256 addresses in use, 0 reserved, 255 free"]
    assert pool["Blocks"] == [f"{block.cidr} of n1: 1 of 16 in use"]
    assert "blockSize: 28" in pool["Spec"]


def test_a_block_is_told_with_who_has_which_address(told, store):
    (block,) = [stored.value for stored in store.list(IPAMBlock).items]
    (address,) = [a for a in block.cidr if block.allocations[int(a) - int(block.cidr[0])] is not None]

    (line,) = told(IPAMBlock, block.meta.name)["Addresses"]

    assert line.startswith(f"{address} pod shop/web")
    assert "(handle net.web)" in line


def test_a_node_is_told_with_all_that_anybody_says_of_it(told, store):
    instance, interface, subnet = InstanceId("i-1"), InterfaceId("eni-1"), SubnetId("subnet-a")
    store.create(NodeCondition(Metadata("n1"), ready=False, reason="Refused", message="the table is full"))
    store.create(AgentReport(Metadata("n1"), ready=True, lost=(ip_network("10.65.1.0/28"),)))
    store.create(CloudNode(Metadata("n1"), instance, interface, subnet, zone="a", problem="the check is on"))
    status = TableStatus(TableId("rtb-1"), RouteState.REFUSED, Cause.QUOTA, "raise the quota")
    store.create(CloudRoute(Metadata("x"), BLOCK, NodeName("n1"), (status,)))
    store.create(CloudRoute(Metadata("y"), ip_network("10.65.0.16/28"), NodeName("n1")))

    node = told(Node, "n1")

    assert node["Labels"] == ["rack: r1"]
    assert node["Network"] == ["not ready: the table is full"]
    assert node["Agent"] == ["VXLAN ground laid; native paths lost to 10.65.1.0/28"]
    assert node["Cloud"] == ["instance i-1 in subnet-a, zone a; drops pods' packets: the check is on; MTU 1500"]
    assert len(node["Blocks"]) == 1
    assert node["Blocks"][0].endswith("(confirmed)")
    assert node["Cloud routes"] == [f"{BLOCK} in rtb-1: refused (raise the quota)", "10.65.0.16/28: in no table"]
    assert node["Endpoints"] == ["none"]


def test_a_policy_is_told_with_whom_it_applies_to_and_a_tier_with_its_policies(told, store):
    for pod, app in (("web", "web"), ("db", "db")):
        labels = endpoint_labels({"app": app}, namespace="shop", orchestrator="k8s")
        meta = Metadata(f"n1-k8s-{pod}-eth0", "shop", labels=labels)
        store.create(WorkloadEndpoint(meta, NodeName("n1"), "k8s", "eth0", pod=pod, profiles=("kns.shop",)))
    store.create(Tier(Metadata("platform"), order=10.0))
    spec = PolicySpec(tier="platform", selector="app == 'db'")
    store.create(NetworkPolicy(Metadata("db", "shop"), spec))
    store.create(Profile(Metadata("kns.shop")))

    assert told(NetworkPolicy, "db", "shop")["Applies to"] == ["shop/db"]
    assert told(Tier, "platform")["Policies, in their order"] == ["NetworkPolicy shop/db"]
    assert told(Profile, "kns.shop")["Endpoints"] == ["shop/db", "shop/web"]
