"""A node and its pods come into a lab's cluster and go again, on a store of each make."""

from __future__ import annotations

from contextlib import closing
from ipaddress import IPv4Interface

import pytest

from cloudnet.lab import kubelet, spec
from cloudnet.lab.cluster import Cluster
from cloudnet.lab.kubelet import Kubelet
from cloudnet.lab.state import NodeRecord, PodRecord
from cloudnet.model.resources import BlockAffinity, IPAMBlock, IPAMHandle, IPPool, Node
from cloudnet.model.workloads import WorkloadEndpoint
from cloudnet.store.kubernetes import KubernetesStore
from cloudnet.store.kubernetes_client import Client
from cloudnet.store.memory import MemoryStore
from cloudnet.testing.kube.server import ApiServer

BLOCK = spec.block(1)
POD = PodRecord("p1", spec.pod_address(BLOCK, 0), BLOCK)
RECORD = NodeRecord(
    "n1", 1, "s1", IPv4Interface("10.0.1.11/24"), "i-1", "eni-1", "02:00:00:00:00:01", agent=True, blocks=(BLOCK,)
)
MADE = (Node, BlockAffinity, IPAMBlock, IPAMHandle, WorkloadEndpoint)


@pytest.fixture
def api():
    with ApiServer() as api:
        yield api


@pytest.fixture
def memory():
    with closing(Cluster(MemoryStore())) as cluster:
        yield cluster


@pytest.fixture
def kubernetes(api):
    with closing(Cluster(KubernetesStore(Client(api.settings())), Kubelet(Client(api.settings())))) as cluster:
        yield cluster


@pytest.mark.parametrize("store", ["memory", "kubernetes"])
def test_a_node_with_a_pod_is_known_with_all_that_agents_ask_for(request, store):
    cluster = request.getfixturevalue(store)

    cluster.found()
    cluster.join(RECORD, provider_id="aws:///eu-west-1a/i-1")
    cluster.add_pod("n1", POD)

    node = cluster.store.get(Node, "n1").value
    (endpoint,) = (item.value for item in cluster.store.list(WorkloadEndpoint).items)
    assert [item.value.cidr for item in cluster.store.list(IPPool).items] == [spec.POOL]
    assert (node.addresses, node.provider_id) == ((RECORD.address,), "aws:///eu-west-1a/i-1")
    assert node.vteps[0].address == BLOCK.network_address
    assert (endpoint.node, endpoint.interface) == ("n1", spec.workload_device("n1-p1"))
    assert [str(network) for network in endpoint.networks] == ["10.65.1.2/32"]


@pytest.mark.parametrize("store", ["memory", "kubernetes"])
def test_a_node_that_leaves_takes_all_of_it_along(request, store):
    cluster = request.getfixturevalue(store)
    cluster.found()
    cluster.join(RECORD, provider_id="")
    cluster.add_pod("n1", POD)

    cluster.leave(NodeRecord(**{name: getattr(RECORD, name) for name in RECORD.__slots__} | {"pods": (POD,)}))

    assert {kind.__name__: len(cluster.store.list(kind).items) for kind in MADE} == {k.__name__: 0 for k in MADE}


def test_kubernetes_own_objects_are_the_kubelets(api, kubernetes):
    kubernetes.found()
    kubernetes.join(RECORD, provider_id="aws:///eu-west-1a/i-1")
    kubernetes.add_pod("n1", POD)

    node = api.find("v1", "nodes", "n1")
    pod = api.find("v1", "pods", "n1-p1", kubelet.NAMESPACE)
    assert node["spec"]["providerID"] == "aws:///eu-west-1a/i-1"
    assert node["status"]["addresses"][0] == {"type": "InternalIP", "address": "10.0.1.11"}
    assert node["metadata"]["annotations"]["projectcalico.org/IPv4Address"] == "10.0.1.11/24"
    assert pod["spec"]["nodeName"] == "n1"
    assert pod["metadata"]["annotations"]["cni.projectcalico.org/podIPs"] == "10.65.1.2/32"
