from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from cloudnet.errors import BadInput
from cloudnet.lab import spec
from cloudnet.lab.spec import LabSpec


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "my-lab"),
        ("name", "Lab"),
        ("name", ""),
        ("name", "toolongforanamespace"),
        ("nodes", 0),
        ("nodes", 201),
        ("subnets", 0),
        ("zones", 27),
        ("pods", 62),
        ("pods", -1),
        ("mtu", 1300),
        ("mtu", 9217),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(field, value):
    with pytest.raises(BadInput) as caught:
        replace(LabSpec(), **{field: value}).check()

    assert caught.value.path == field


def test_the_defaults_can_be_built():
    LabSpec().check()


def test_subnets_take_turns_in_the_zones():
    plans = spec.subnets(LabSpec(subnets=3, zones=2))

    assert [(p.name, str(p.cidr), str(p.gateway), p.zone) for p in plans] == [
        ("s1", "10.0.1.0/24", "10.0.1.1", "eu-west-1a"),
        ("s2", "10.0.2.0/24", "10.0.2.1", "eu-west-1b"),
        ("s3", "10.0.3.0/24", "10.0.3.1", "eu-west-1a"),
    ]


def test_no_two_blocks_of_a_lab_overlap():
    blocks = [spec.block(number, index) for number in range(1, spec.MAX_NODES + 1) for index in range(5)]

    assert len(set(blocks)) == len(blocks)
    assert all(block.subnet_of(spec.POOL) and block.prefixlen == spec.BLOCK_LENGTH for block in blocks)


def test_the_first_block_of_node_k_is_easy_to_read():
    assert spec.block(7) == IPv4Network("10.65.7.0/26")


def test_names_of_devices_fit_the_kernel():
    longest = "n123456789"

    assert len(spec.port_name(longest)) <= 15
    assert len(spec.workload_device(f"{longest}-p61")) == 15


def test_pods_leave_room_for_vxlan():
    assert LabSpec(mtu=9001).pod_mtu == 8951
