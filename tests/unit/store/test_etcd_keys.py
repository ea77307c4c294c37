from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given

from cloudnet.errors import BadInput
from cloudnet.model import calico as calico_words
from cloudnet.model import kinds
from cloudnet.model.addresses import InstanceId, InterfaceId, NodeName, SubnetId, TableId
from cloudnet.model.calico_bgp import BGPConfiguration, BGPPeer
from cloudnet.model.calico_bgp_filter import BGPFilter
from cloudnet.model.calico_cluster import (
    CalicoNodeStatus,
    ClusterInformation,
    FelixConfiguration,
    KubeControllersConfiguration,
)
from cloudnet.model.cloud_addresses import CloudAddresses, CloudPrefix
from cloudnet.model.cluster_policies import ClusterNetworkPolicy
from cloudnet.model.kubernetes import Namespace, Pod, ServiceAccount
from cloudnet.model.kubernetes_policies import KubernetesNetworkPolicy, StagedKubernetesNetworkPolicy
from cloudnet.model.kubernetes_services import EndpointSlice
from cloudnet.model.policies import (
    GlobalNetworkPolicy,
    GlobalNetworkSet,
    HostEndpoint,
    NetworkPolicy,
    NetworkSet,
    PolicySpec,
    PolicyType,
    Profile,
    StagedGlobalNetworkPolicy,
    StagedNetworkPolicy,
    Tier,
)
from cloudnet.model.resources import (
    Affinity,
    AffinityState,
    AgentReport,
    AllocationAttribute,
    BlockAffinity,
    CloudNode,
    CloudRoute,
    EncapMode,
    IPAMBlock,
    IPAMConfiguration,
    IPAMHandle,
    IPPool,
    IPReservation,
    Lease,
    Metadata,
    Node,
    NodeCondition,
    RouteState,
    TableStatus,
    Vtep,
)
from cloudnet.model.workloads import WorkloadEndpoint
from cloudnet.store import etcd_keys
from cloudnet.store.api import Revision
from cloudnet.store.etcd_wire import Entry, prefix
from cloudnet.testing import strategies

NOW = "2026-01-02T03:04:05Z"
CALICO = "/calico/resources/v3/projectcalico.org"
OURS = "/cloudnet/resources/v1/cloudnet.io"
CORE = "/cloudnet/resources/v1/core"
FREE = list(range(1, 64))


def meta(name, **more):
    return {"name": name, **more, "uid": "u", "creationTimestamp": NOW}


def calico(kind, name, spec, **more):
    return {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": meta(name, **more), "spec": spec}


def ours(kind, name, **parts):
    return {"apiVersion": "cloudnet.io/v1", "kind": kind, "metadata": meta(name), **parts}


def core(kind, name, **more):
    return {"apiVersion": "v1", "kind": kind, "metadata": meta(name, **more)}


GOLDENS = [
    (
        Node(
            Metadata("n1", labels={"zone": "a"}),
            (ip_interface("10.0.1.11/24"),),
            (Vtep(ip_address("10.65.1.0"), "66:f9:37:c3:7e:94"),),
        ),
        f"{CALICO}/nodes/n1",
        calico(
            "Node",
            "n1",
            {
                "bgp": {"ipv4Address": "10.0.1.11/24"},
                "ipv4VXLANTunnelAddr": "10.65.1.0",
                "vxlanTunnelMACAddr": "66:f9:37:c3:7e:94",
            },
            labels={"zone": "a"},
        )
        | {"status": {}},
    ),
    (
        IPPool(Metadata("default-ipv4-ippool"), ip_network("192.168.0.0/16"), EncapMode.CROSS_SUBNET),
        f"{CALICO}/ippools/default-ipv4-ippool",
        calico(
            "IPPool",
            "default-ipv4-ippool",
            {"cidr": "192.168.0.0/16", "vxlanMode": "CrossSubnet", "ipipMode": "Never", "blockSize": 26},
        ),
    ),
    (
        IPReservation(Metadata("gateways"), (ip_network("10.65.0.1/32"),)),
        f"{CALICO}/ipreservations/gateways",
        calico("IPReservation", "gateways", {"reservedCIDRs": ["10.65.0.1/32"]}),
    ),
    (
        WorkloadEndpoint(
            Metadata("n1-k8s-web-eth0", "shop"),
            NodeName("n1"),
            "k8s",
            "eth0",
            pod="web",
            networks=(ip_network("10.65.1.7/32"),),
            interface="cali4e199eba087",
        ),
        f"{CALICO}/workloadendpoints/shop/n1-k8s-web-eth0",
        calico(
            "WorkloadEndpoint",
            "n1-k8s-web-eth0",
            {
                "node": "n1",
                "orchestrator": "k8s",
                "endpoint": "eth0",
                "pod": "web",
                "ipNetworks": ["10.65.1.7/32"],
                "interfaceName": "cali4e199eba087",
            },
            namespace="shop",
        ),
    ),
    (
        IPAMBlock(
            Metadata("10-65-1-0-26"),
            ip_network("10.65.1.0/26"),
            Affinity(NodeName("n1")),
            datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            (0, *[None] * 63),
            tuple(FREE),
            (AllocationAttribute("k8s-pod-network.abc", {"pod": "web", "namespace": "shop", "node": "n1"}),),
            1767322999000000001,
            {0: 1767322999000000000},
        ),
        "/calico/ipam/v2/assignment/ipv4/block/10.65.1.0-26",
        {
            "cidr": "10.65.1.0/26",
            "affinity": "host:n1",
            "affinity_claim_time": "2026-01-02T03:04:05Z",
            "allocations": [0] + [None] * 63,
            "unallocated": FREE,
            "attributes": [
                {
                    "handle_id": "k8s-pod-network.abc",
                    "secondary": {"pod": "web", "namespace": "shop", "node": "n1"},
                }
            ],
            "sequenceNumber": 1767322999000000001,
            "sequenceNumberForAllocation": {"0": 1767322999000000000},
            "deleted": False,
        },
    ),
    (
        IPAMBlock(
            Metadata("fd00-10-65---126"),
            ip_network("fd00:10:65::/126"),
            allocations=(None,) * 4,
            unallocated=(0, 1, 2, 3),
        ),
        "/calico/ipam/v2/assignment/ipv6/block/fd00:10:65::-126",
        {
            "cidr": "fd00:10:65::/126",
            "affinity": None,
            "allocations": [None] * 4,
            "unallocated": [0, 1, 2, 3],
            "attributes": [],
            "sequenceNumber": 0,
            "sequenceNumberForAllocation": {},
            "deleted": False,
        },
    ),
    (
        BlockAffinity(
            Metadata("n1-10-65-1-0-26"), NodeName("n1"), ip_network("10.65.1.0/26"), AffinityState.PENDING_DELETION
        ),
        "/calico/ipam/v2/host/n1/ipv4/block/10.65.1.0-26",
        {"state": "pendingDeletion", "deleted": False},
    ),
    (
        BlockAffinity(
            Metadata("load-balancer-fd00-10-65---122"),
            NodeName("load-balancer"),
            ip_network("fd00:10:65::/122"),
            type="virtual",
        ),
        "/calico/ipam/v2/virtual/load-balancer/ipv6/block/fd00:10:65::-122",
        {"state": "confirmed", "deleted": False},
    ),
    (
        IPAMHandle(Metadata("k8s-pod-network.abc"), "k8s-pod-network.abc", {ip_network("10.65.1.0/26"): 1}),
        "/calico/ipam/v2/handle/k8s-pod-network.abc",
        {"block": {"10.65.1.0/26": 1}, "deleted": False},
    ),
    (
        IPAMHandle(Metadata("vxlan-tunnel-addr-n1"), "vxlan-tunnel-addr-N1", {}),
        "/calico/ipam/v2/handle/vxlan-tunnel-addr-N1",
        {"block": {}, "deleted": False},
    ),
    (
        IPAMConfiguration(Metadata("default"), strict_affinity=True, max_blocks_per_host=4),
        "/calico/ipam/v2/config",
        {"strict_affinity": True, "auto_allocate_blocks": True, "maxBlocksPerHost": 4},
    ),
    (
        CloudNode(Metadata("n1"), InstanceId("i-1"), InterfaceId("eni-1"), SubnetId("subnet-1")),
        f"{OURS}/cloudnodes/n1",
        ours(
            "CloudNode",
            "n1",
            spec={"instance": "i-1", "interface": "eni-1", "subnet": "subnet-1"},
            status={"mtu": 1500},
        ),
    ),
    (
        CloudAddresses(Metadata("n1"), prefixes=(CloudPrefix(ip_network("10.0.1.32/28"), InterfaceId("eni-1")),)),
        f"{OURS}/cloudaddresses/n1",
        ours(
            "CloudAddresses",
            "n1",
            status={
                "prefixes": [{"cidr": "10.0.1.32/28", "interface": "eni-1"}],
                "summary": "1 held",
                "capacity": {},
            },
        ),
    ),
    (
        CloudRoute(
            Metadata("10-65-1-0-26"),
            ip_network("10.65.1.0/26"),
            NodeName("n1"),
            (TableStatus(TableId("rtb-1"), RouteState.PROGRAMMED),),
        ),
        f"{OURS}/cloudroutes/10-65-1-0-26",
        ours(
            "CloudRoute",
            "10-65-1-0-26",
            spec={"cidr": "10.65.1.0/26", "node": "n1"},
            status={"tables": [{"table": "rtb-1", "state": "programmed"}], "summary": "1 programmed"},
        ),
    ),
    (
        AgentReport(Metadata("n1"), ready=True, observed=7),
        f"{OURS}/agentreports/n1",
        ours("AgentReport", "n1", status={"ready": True, "observed": 7}),
    ),
    (
        Lease(Metadata("controller"), "c1", 15.0, 3),
        f"{OURS}/leases/controller",
        ours("Lease", "controller", spec={"holder": "c1", "duration": 15.0, "renewals": 3}),
    ),
    (
        NodeCondition(Metadata("n1"), ready=False, reason="NoRoute"),
        f"{OURS}/nodeconditions/n1",
        ours("NodeCondition", "n1", status={"ready": False, "reason": "NoRoute"}),
    ),
    (
        NetworkPolicy(Metadata("web", "shop"), PolicySpec(selector="app == 'web'", types=(PolicyType.INGRESS,))),
        f"{CALICO}/networkpolicies/shop/web",
        calico(
            "NetworkPolicy",
            "web",
            {"tier": "default", "selector": "app == 'web'", "types": ["Ingress"]},
            namespace="shop",
        ),
    ),
    (
        GlobalNetworkPolicy(
            Metadata("security.deny"), PolicySpec(tier="security", order=10.0, types=(PolicyType.EGRESS,))
        ),
        f"{CALICO}/globalnetworkpolicies/security.deny",
        calico("GlobalNetworkPolicy", "security.deny", {"tier": "security", "order": 10.0, "types": ["Egress"]}),
    ),
    (
        StagedNetworkPolicy(Metadata("web", "shop"), PolicySpec(types=(PolicyType.INGRESS,))),
        f"{CALICO}/stagednetworkpolicies/shop/web",
        calico(
            "StagedNetworkPolicy",
            "web",
            {"stagedAction": "Set", "tier": "default", "types": ["Ingress"]},
            namespace="shop",
        ),
    ),
    (
        StagedGlobalNetworkPolicy(Metadata("web"), PolicySpec(types=(PolicyType.INGRESS,))),
        f"{CALICO}/stagedglobalnetworkpolicies/web",
        calico("StagedGlobalNetworkPolicy", "web", {"stagedAction": "Set", "tier": "default", "types": ["Ingress"]}),
    ),
    (
        Tier(Metadata("security"), 100.0),
        f"{CALICO}/tiers/security",
        calico("Tier", "security", {"order": 100.0, "defaultAction": "Deny"}),
    ),
    (
        NetworkSet(Metadata("offices", "shop"), (ip_network("198.51.100.0/24"),)),
        f"{CALICO}/networksets/shop/offices",
        calico("NetworkSet", "offices", {"nets": ["198.51.100.0/24"]}, namespace="shop"),
    ),
    (
        GlobalNetworkSet(Metadata("offices"), (ip_network("198.51.100.0/24"),)),
        f"{CALICO}/globalnetworksets/offices",
        calico("GlobalNetworkSet", "offices", {"nets": ["198.51.100.0/24"]}),
    ),
    (
        Profile(Metadata("kns.shop"), labels_to_apply={"pcns.projectcalico.org/name": "shop"}),
        f"{CALICO}/profiles/kns.shop",
        calico("Profile", "kns.shop", {"labelsToApply": {"pcns.projectcalico.org/name": "shop"}}),
    ),
    (
        HostEndpoint(Metadata("n1-eth0"), NodeName("n1"), "eth0", (ip_address("10.0.1.11"),)),
        f"{CALICO}/hostendpoints/n1-eth0",
        calico("HostEndpoint", "n1-eth0", {"node": "n1", "interfaceName": "eth0", "expectedIPs": ["10.0.1.11"]}),
    ),
    (Namespace(Metadata("shop")), f"{CORE}/namespaces/shop", core("Namespace", "shop")),
    (
        ServiceAccount(Metadata("web", "shop")),
        f"{CORE}/serviceaccounts/shop/web",
        core("ServiceAccount", "web", namespace="shop"),
    ),
    (
        Pod(Metadata("web", "shop"), NodeName("n1"), phase="Running"),
        f"{CORE}/pods/shop/web",
        {**core("Pod", "web", namespace="shop"), "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}},
    ),
]


def entry(key, value, *, created=7, modified=9):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Entry(key, data, Revision(created), Revision(modified))


def read(kind, key, value, **more):
    return etcd_keys.of(kind).decode(entry(key, value, **more))


@pytest.mark.parametrize(("value", "key", "stored"), GOLDENS, ids=[key for _, key, _ in GOLDENS])
def test_a_resource_lies_where_calico_puts_it_and_says_what_calico_says(value, key, stored):
    layout = etcd_keys.of(type(value))

    written = layout.encode(value, "u", None, NOW)

    assert layout.key(value) == key
    assert json.loads(written) == stored


@pytest.mark.parametrize("kind", kinds.ALL, ids=lambda kind: kind.name)
def test_every_kind_has_a_golden_or_at_least_its_key_written_down(kind):
    assert kind.type in {type(value) for value, _, _ in GOLDENS} | KEYS.keys()


KEYS = {
    BGPConfiguration: f"{CALICO}/bgpconfigurations/a",
    BGPPeer: f"{CALICO}/bgppeers/a",
    BGPFilter: f"{CALICO}/bgpfilters/a",
    ClusterInformation: f"{CALICO}/clusterinformations/a",
    FelixConfiguration: f"{CALICO}/felixconfigurations/a",
    KubeControllersConfiguration: f"{CALICO}/kubecontrollersconfigurations/a",
    CalicoNodeStatus: f"{CALICO}/caliconodestatuses/a",
    StagedKubernetesNetworkPolicy: f"{CALICO}/stagedkubernetesnetworkpolicies/b/a",
    KubernetesNetworkPolicy: "/cloudnet/resources/v1/networking.k8s.io/kubernetesnetworkpolicies/b/a",
    ClusterNetworkPolicy: "/cloudnet/resources/v1alpha2/policy.networking.k8s.io/clusternetworkpolicies/a",
    EndpointSlice: "/cloudnet/resources/v1/discovery.k8s.io/endpointslices/b/a",
}


@pytest.mark.parametrize(("kind", "key"), KEYS.items(), ids=[kind.__name__ for kind in KEYS])
def test_a_kind_lies_under_its_group_and_plural(kind, key):
    assert etcd_keys.of(kind).keys("a", "b") == (key,)


@pytest.mark.parametrize(("value", "key", "stored"), GOLDENS, ids=[key for _, key, _ in GOLDENS])
def test_what_stands_there_is_read_back(value, key, stored):
    layout = etcd_keys.of(type(value))

    found = layout.decode(entry(key, stored))

    assert layout.holds(key)
    assert (found.meta.name, found.meta.namespace) == (value.meta.name, value.meta.namespace)
    assert layout.key(found) == key
    assert layout.encode(found, found.meta.uid, entry(key, stored), NOW) == layout.encode(
        value, found.meta.uid, entry(key, stored), NOW
    )


@pytest.mark.parametrize(("value", "key", "stored"), GOLDENS, ids=[key for _, key, _ in GOLDENS])
def test_a_name_leads_to_the_key(value, key, stored):
    keys = etcd_keys.of(type(value)).keys(value.meta.name, value.meta.namespace)

    assert key.lower() in keys or key in keys


# --- what Calico, old and new, has written ------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [b"", b"{}", {"state": ""}, {"state": "confirmed"}], ids=["none", "{}", "no", "yes"]
)
def test_an_affinity_without_a_state_is_confirmed(value):
    affinity = read(BlockAffinity, "/calico/ipam/v2/host/n1/ipv4/block/10.65.1.0-26", value)

    assert affinity.state is AffinityState.CONFIRMED
    assert affinity.node == "n1"
    assert affinity.cidr == ip_network("10.65.1.0/26")


def test_a_label_of_ours_stands_in_the_value_and_comes_back():
    name, cidr = NodeName("n1"), ip_network("10.0.1.32/28")
    layout = etcd_keys.of(BlockAffinity)
    labels = {**calico_words.affinity_labels(Affinity(name), cidr), "cloudnet.io/native": "eni-1"}
    affinity = BlockAffinity(Metadata("n1-10-0-1-32-28", labels=labels), name, cidr)

    key = layout.key(affinity)
    value = layout.encode(affinity, "uid", None, NOW)
    back = layout.decode(Entry(key, value, Revision(7), Revision(7)))

    assert json.loads(value) == {"state": "confirmed", "deleted": False, "labels": {"cloudnet.io/native": "eni-1"}}
    assert back.meta.labels == labels


def test_an_affinity_has_the_labels_that_calico_gives_it_elsewhere():
    affinity = read(BlockAffinity, "/calico/ipam/v2/host/node-a/ipv4/block/10.65.1.0-26", {})

    assert affinity.meta.labels == {
        "projectcalico.org/hostname-hash": "PY3TQE2E3XMTETLM2MJO3UITKPFB27YUJ4T4E5XGPEJON3SM4QAA",
        "projectcalico.org/affinity-type": "host",
        "projectcalico.org/ip-version": "4",
    }


def old_block(**more):
    return {"cidr": "10.0.0.0/30", "allocations": [None] * 4, "unallocated": [0, 1, 2, 3], "attributes": [], **more}


BLOCK = "/calico/ipam/v2/assignment/ipv4/block/10.0.0.0-30"


def test_the_owner_of_a_block_from_before_calico_3_is_known():
    stored = old_block(hostAffinity="n1", affinity=None, strictAffinity=False)

    block = read(IPAMBlock, BLOCK, stored)
    written = json.loads(etcd_keys.of(IPAMBlock).encode(block, "", entry(BLOCK, stored), NOW))

    assert block.affinity == Affinity(NodeName("n1"))
    assert written["affinity"] == "host:n1"
    assert "hostAffinity" not in written


def test_nulls_of_go_are_nothing():
    stored = old_block(
        allocations=[0, None, None, None],
        unallocated=[1, 2, 3],
        attributes=[{"handle_id": None, "secondary": None}],
        affinity=None,
        sequenceNumberForAllocation=None,
    )

    block = read(IPAMBlock, BLOCK, stored)

    assert block.attributes == (AllocationAttribute(),)
    assert block.sequence_numbers == {}


@pytest.mark.parametrize(
    ("value", "strict", "auto"),
    [
        ({"auto_allocate_blocks": True}, False, True),
        ({"strict_affinity": True}, True, False),
        ({"strict_affinity": True, "auto_allocate_blocks": True, "maxBlocksPerHost": 20}, True, True),
    ],
)
def test_a_field_that_a_configuration_leaves_out_is_false(value, strict, auto):
    found = read(IPAMConfiguration, "/calico/ipam/v2/config", value)

    assert (found.strict_affinity, found.auto_allocate_blocks) == (strict, auto)


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (BlockAffinity, "/calico/ipam/v2/host/n1"),
        (BlockAffinity, "/calico/ipam/v2/host/n1/ipv4/block/nonsense"),
        (BlockAffinity, "/calico/ipam/v2/host/n1/ipv6/block/10.65.1.0-26"),
        (IPAMHandle, "/calico/ipam/v2/handle/a/b"),
        (Node, f"{CALICO}/nodes/a/b"),
        (WorkloadEndpoint, f"{CALICO}/workloadendpoints/a"),
    ],
)
def test_a_key_that_is_none_of_the_kind_is_passed_over(kind, key):
    assert not etcd_keys.of(kind).holds(key)


@pytest.mark.parametrize(
    ("kind", "key", "stored"),
    [
        (IPAMBlock, BLOCK, old_block(affinity="host:n1", sequenceNumber=4, next_year={"a": 1})),
        (BlockAffinity, "/calico/ipam/v2/host/n1/ipv4/block/10.0.0.0-30", {"state": "pending", "next_year": 1}),
        (IPAMHandle, "/calico/ipam/v2/handle/h", {"block": {"10.0.0.0/30": 1}, "deleted": False, "next_year": 1}),
        (
            IPAMConfiguration,
            "/calico/ipam/v2/config",
            {"auto_allocate_blocks": True, "kubeVirtVMAddressPersistence": "Disabled"},
        ),
        (
            Node,
            f"{CALICO}/nodes/n1",
            calico("Node", "n1", {"bgp": {"asNumber": 64512}, "orchRefs": [{"nodeName": "n"}]}),
        ),
    ],
    ids=["block", "affinity", "handle", "configuration", "node"],
)
def test_what_others_wrote_stays(kind, key, stored):
    layout = etcd_keys.of(kind)
    before = entry(key, stored)

    written = json.loads(layout.encode(layout.decode(before), "u", before, NOW))

    assert {field: written.get(field) for field in stored} == stored


# --- names and uids -----------------------------------------------------------------------------------------


def test_a_uid_is_another_one_when_the_key_is_created_anew():
    key = "/calico/ipam/v2/handle/h"
    stored = {"block": {}, "deleted": False}

    uids = [read(IPAMHandle, key, stored, created=created).meta.uid for created in (7, 7, 8)]

    assert uids[0] == uids[1] != uids[2]


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (IPAMHandle(Metadata("other"), "h", {}), "metadata.name"),
        (IPAMConfiguration(Metadata("mine")), "metadata.name"),
        (BlockAffinity(Metadata("x"), NodeName("n1"), ip_network("10.0.0.0/26")), "metadata.name"),
        (IPAMHandle(Metadata("h", labels={"a": "b"}), "h", {}), "metadata.labels"),
        (IPAMHandle(Metadata("h", annotations={"a": "b"}), "h", {}), "metadata.annotations"),
    ],
)
def test_what_etcd_cannot_hold_is_refused(value, path):
    with pytest.raises(BadInput) as caught:
        etcd_keys.of(type(value)).key(value)

    assert caught.value.path == path


@pytest.mark.parametrize(
    ("kind", "key", "stored", "problem"),
    [
        (Node, f"{CALICO}/nodes/n1", calico("Node", "n2", {}), "not of the key"),
        (IPAMBlock, "/calico/ipam/v2/assignment/ipv4/block/10.0.0.4-30", old_block(), "not of the key"),
        (IPAMHandle, "/calico/ipam/v2/handle/h", b"[]", "expected a JSON object"),
        (IPAMHandle, "/calico/ipam/v2/handle/h", b"\xff", "expected a JSON object"),
    ],
)
def test_a_value_that_belongs_elsewhere_or_is_none_is_refused(kind, key, stored, problem):
    with pytest.raises(BadInput, match=problem):
        read(kind, key, stored)


@given(strategies.block_affinities())
def test_every_affinity_is_found_by_its_name(affinity):
    layout = etcd_keys.of(BlockAffinity)

    assert layout.key(affinity) in layout.keys(affinity.meta.name, "")


@given(strategies.ipam_blocks())
def test_every_block_is_found_by_its_name_alone(block):
    layout = etcd_keys.of(IPAMBlock)

    assert layout.keys(block.meta.name, "") == (layout.key(block),)


@pytest.mark.parametrize("name", ["", "n1", "10-65-1-0", "10-65-1-0-99", "10-065-1-0-26", "x-y"])
def test_a_name_that_is_no_blocks_leads_nowhere(name):
    assert etcd_keys.of(IPAMBlock).keys(name, "") == ()


def test_a_prefix_holds_neither_its_sibling_nor_more():
    found = prefix("/calico/ipam/v2/host/")

    assert found.first <= "/calico/ipam/v2/host/n1" < found.end
    assert not found.first <= "/calico/ipam/v2/host0" < found.end
    assert base64.b64encode(found.end.encode()) != base64.b64encode(found.first.encode())
