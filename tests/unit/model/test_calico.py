from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest
from hypothesis import given

from cloudnet.errors import BadInput
from cloudnet.model import calico, kinds
from cloudnet.model.addresses import Family
from cloudnet.model.resources import (
    Affinity,
    AffinityState,
    AllowedUse,
    AssignmentMode,
    BlockAffinity,
    EncapMode,
    IPPool,
    Metadata,
    Node,
    Vtep,
)
from cloudnet.testing import strategies

V3 = "projectcalico.org/v3"


def read(type_, spec, *, status=None, **metadata):
    document = {"apiVersion": V3, "kind": type_.__name__, "metadata": {"name": "x", **metadata}, "spec": spec}
    return kinds.of(type_).decode(json.dumps(document | ({"status": status} if status else {})).encode())


def write(value):
    return json.loads(kinds.encode(value))


# --- names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cidr", "name"),
    [
        ("10.65.1.0/26", "10-65-1-0-26"),
        ("fd00:65::/122", "fd00-65---122"),
        ("fd00:1:2:3:4:5:6:40/122", "fd00-1-2-3-4-5-6-40-122"),
    ],
)
def test_a_prefix_is_named_with_dashes(cidr, name):
    assert calico.cidr_name(ip_network(cidr)) == name


def test_an_affinity_is_named_after_node_and_prefix():
    assert calico.affinity_name("node-a", ip_network("10.65.1.0/26")) == "node-a-10-65-1-0-26"


@pytest.mark.parametrize("length", [239, 240, 253])
def test_an_affinity_name_of_253_is_cut_and_hashed(length):
    node, cidr = "n" * length, ip_network("10.65.1.0/26")

    name = calico.affinity_name(node, cidr)

    if length == 239:
        assert name == f"{node}-10-65-1-0-26"
        assert len(name) == 252
    else:
        digest = hashlib.sha256(f"{node}+10-65-1-0-26".encode()).hexdigest()[:11]
        assert name == f"{'n' * 227}-10-65-1-0-26-{digest}"
        assert len(name) == 252


def test_an_affinity_carries_the_labels_by_which_calico_finds_it():
    assert calico.affinity_labels(Affinity("node-a"), ip_network("fd00::/122")) == {
        "projectcalico.org/hostname-hash": "PY3TQE2E3XMTETLM2MJO3UITKPFB27YUJ4T4E5XGPEJON3SM4QAA",
        "projectcalico.org/affinity-type": "host",
        "projectcalico.org/ip-version": "6",
    }


@given(strategies.node_names(), strategies.networks())
def test_affinity_names_are_short_enough(node, cidr):
    assert len(calico.affinity_name(node * 20, cidr)) < 253


# --- Node ---------------------------------------------------------------------------------------------------

NODE = Node(
    Metadata("n1", labels={"zone": "a"}, annotations={"note": "mine"}),
    addresses=(ip_interface("10.0.1.11/24"), ip_interface("fd00::11/64")),
    vteps=(Vtep(ip_address("10.65.1.0"), "66:01:02:03:04:05"), Vtep(ip_address("fd00:65::"), "66:05:04:03:02:01")),
    pod_cidrs=(ip_network("10.66.1.0/24"),),
    provider_id="aws:///eu-west-1a/i-0abc",
)


def test_a_node_is_spelt_as_calico_spells_it():
    assert write(NODE) == {
        "apiVersion": V3,
        "kind": "Node",
        "metadata": {
            "name": "n1",
            "labels": {"zone": "a"},
            "annotations": {"note": "mine", "cloudnet.io/provider-id": "aws:///eu-west-1a/i-0abc"},
        },
        "spec": {
            "bgp": {"ipv4Address": "10.0.1.11/24", "ipv6Address": "fd00::11/64"},
            "ipv4VXLANTunnelAddr": "10.65.1.0",
            "vxlanTunnelMACAddr": "66:01:02:03:04:05",
            "ipv6VXLANTunnelAddr": "fd00:65::",
            "vxlanTunnelMACAddrV6": "66:05:04:03:02:01",
        },
        "status": {"podCIDRs": ["10.66.1.0/24"]},
    }


def test_a_node_without_addresses_has_no_bgp_for_calico_refuses_an_empty_one():
    assert write(Node(Metadata("n1"))) == {
        "apiVersion": V3,
        "kind": "Node",
        "metadata": {"name": "n1"},
        "spec": {},
        "status": {},
    }


def test_an_address_without_a_prefix_length_is_a_host_of_its_own():
    assert read(Node, {"bgp": {"ipv4Address": "10.0.1.11"}}).address(Family.IPV4) == ip_interface("10.0.1.11/32")


def test_a_tunnel_end_may_lack_its_mac_and_a_mac_alone_is_none():
    assert read(Node, {"ipv4VXLANTunnelAddr": "10.65.1.0"}).vteps == (Vtep(ip_address("10.65.1.0"), ""),)
    assert read(Node, {"vxlanTunnelMACAddr": "66:00:00:00:00:01"}).vteps == ()


def test_two_addresses_of_one_family_cannot_be_written():
    node = Node(Metadata("n1"), addresses=(ip_interface("10.0.0.1/24"), ip_interface("10.0.0.2/24")))

    with pytest.raises(BadInput, match=r"spec\.bgp: expected one address a family, found 10\.0\.0\.1/24, 10"):
        kinds.encode(node)


# --- IPPool -------------------------------------------------------------------------------------------------


def test_a_pool_is_spelt_as_calico_spells_it():
    pool = IPPool(Metadata("default"), ip_network("10.65.0.0/16"), EncapMode.CROSS_SUBNET, nat_outgoing=True)

    assert write(pool)["spec"] == {
        "cidr": "10.65.0.0/16",
        "vxlanMode": "CrossSubnet",
        "ipipMode": "Never",
        "natOutgoing": True,
        "blockSize": 26,
    }


@pytest.mark.parametrize(("cidr", "size"), [("10.65.0.0/16", 26), ("fd00::/64", 122)])
def test_what_a_pool_leaves_unsaid_has_calicos_defaults(cidr, size):
    assert read(IPPool, {"cidr": cidr}) == IPPool(Metadata("x"), ip_network(cidr), block_size=size)


def test_who_may_use_a_pool_is_spelt_as_calico_spells_it():
    pool = IPPool(
        Metadata("gpu"),
        ip_network("10.66.0.0/16"),
        node_selector="has(gpu)",
        namespace_selector="team == 'a'",
        allowed_uses=frozenset({AllowedUse.WORKLOAD}),
        assignment_mode=AssignmentMode.MANUAL,
        disable_bgp_export=True,
    )

    assert write(pool)["spec"] == {
        "cidr": "10.66.0.0/16",
        "vxlanMode": "Never",
        "ipipMode": "Never",
        "blockSize": 26,
        "nodeSelector": "has(gpu)",
        "namespaceSelector": "team == 'a'",
        "allowedUses": ["Workload"],
        "assignmentMode": "Manual",
        "disableBGPExport": True,
    }


# --- BlockAffinity ------------------------------------------------------------------------------------------


def test_an_affinity_is_spelt_as_calico_spells_it():
    affinity = BlockAffinity(Metadata("n1-10-65-1-0-26"), "n1", ip_network("10.65.1.0/26"))

    assert write(affinity)["spec"] == {"cidr": "10.65.1.0/26", "node": "n1", "state": "confirmed", "type": "host"}


@pytest.mark.parametrize(
    ("fields", "state", "type_", "deleted"),
    [
        ({}, AffinityState.CONFIRMED, "host", False),
        ({"state": "", "type": "", "deleted": False}, AffinityState.CONFIRMED, "host", False),
        (
            {"state": "pendingDeletion", "type": "virtual", "deleted": True},
            AffinityState.PENDING_DELETION,
            "virtual",
            True,
        ),
        ({"state": "pending", "deleted": "true"}, AffinityState.PENDING, "host", True),
        ({"deleted": "false"}, AffinityState.CONFIRMED, "host", False),
    ],
)
def test_old_and_new_affinities_are_read_alike(fields, state, type_, deleted):
    affinity = read(BlockAffinity, {"cidr": "10.65.1.0/26", "node": "n1", **fields})

    assert (affinity.state, affinity.type, affinity.deleted) == (state, type_, deleted)


# --- bad documents ------------------------------------------------------------------------------------------

BAD = json.loads((Path(__file__).parents[2] / "cases" / "bad_calico_documents.json").read_text())


@pytest.mark.parametrize("case", BAD, ids=lambda case: case["message"])
def test_a_bad_field_is_named_with_what_it_should_be(case):
    with pytest.raises(BadInput) as caught:
        read(kinds.named(case["kind"]).type, case["spec"])

    assert str(caught.value) == case["message"]
    assert case["message"].startswith(f"{caught.value.path}: ")


def test_a_bad_pod_cidr_is_named_with_its_place_in_the_list():
    with pytest.raises(BadInput, match=r"status\.podCIDRs\[1\]: expected a prefix such as"):
        read(Node, {}, status={"podCIDRs": ["10.66.1.0/24", "10.66.2/24"]})


# --- what others wrote --------------------------------------------------------------------------------------

FOREIGN = {
    "apiVersion": V3,
    "kind": "Node",
    "metadata": {
        "name": "n1",
        "uid": "u1",
        "creationTimestamp": "2024-01-01T00:00:00Z",
        "labels": {"zone": "a"},
        "annotations": {"theirs": "1"},
    },
    "spec": {
        "addresses": [{"address": "10.0.1.11/24", "type": "CalicoNodeIP"}],
        "bgp": {"asNumber": 64512, "ipv4Address": "10.0.1.11/24"},
        "orchRefs": [{"nodeName": "n1", "orchestrator": "k8s"}],
        "vxlanTunnelMACAddr": "66:00:00:00:00:09",
        "wireguard": {"interfaceIPv4Address": "10.65.1.1"},
    },
    "status": {"wireguardPublicKey": "abc="},
}


def rewrite(document, edit):
    stored = json.dumps(document).encode()
    kind = kinds.of(Node)
    return json.loads(kind.encode(edit(kind.decode(stored)), onto=stored))


def test_writing_back_an_unchanged_node_changes_nothing():
    assert rewrite(FOREIGN, lambda node: node) == FOREIGN


def test_writing_back_a_changed_node_changes_just_that():
    changed = rewrite(
        FOREIGN, lambda node: replace(node, vteps=(Vtep(ip_address("10.65.1.0"), "66:00:00:00:00:09"),))
    )

    assert changed == FOREIGN | {"spec": FOREIGN["spec"] | {"ipv4VXLANTunnelAddr": "10.65.1.0"}}


def test_taking_an_address_away_leaves_calicos_own_bgp_fields():
    changed = rewrite(FOREIGN, lambda node: replace(node, addresses=()))

    assert changed["spec"]["bgp"] == {"asNumber": 64512}


def test_taking_the_last_address_away_leaves_no_empty_bgp():
    document = FOREIGN | {"spec": {"bgp": {"ipv4Address": "10.0.1.11/24"}}}

    assert rewrite(document, lambda node: replace(node, addresses=()))["spec"] == {}


def test_a_provider_id_comes_and_goes_beside_others_annotations():
    with_id = rewrite(FOREIGN, lambda node: replace(node, provider_id="aws:///a/i-1"))
    without = rewrite(with_id, lambda node: replace(node, provider_id=""))

    assert with_id["metadata"]["annotations"] == {"theirs": "1", "cloudnet.io/provider-id": "aws:///a/i-1"}
    assert without == FOREIGN
