from __future__ import annotations

import json
from datetime import UTC, datetime
from ipaddress import ip_network

from cloudnet.model import kinds
from cloudnet.model.calico_ipam import handle_name
from cloudnet.model.resources import (
    Affinity,
    AllocationAttribute,
    IPAMBlock,
    IPAMConfiguration,
    IPAMHandle,
    IPReservation,
    Metadata,
)

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
CIDR = ip_network("10.65.1.0/30")


def spec(value):
    return json.loads(kinds.encode(value))["spec"]


def read(type_, fields):
    document = {
        "apiVersion": "projectcalico.org/v3",
        "kind": type_.__name__,
        "metadata": {"name": "x"},
        "spec": fields,
    }
    return kinds.of(type_).decode(json.dumps(document).encode())


def test_a_block_is_spelt_as_calico_spells_it():
    block = IPAMBlock(
        Metadata("10-65-1-0-30"),
        CIDR,
        affinity=Affinity("n1"),
        claimed_at=NOON,
        allocations=(0, None, 1, None),
        unallocated=(3, 1),
        attributes=(
            AllocationAttribute("net.abc", {"pod": "web", "namespace": "shop", "node": "n1"}),
            AllocationAttribute(released_at=NOON),
        ),
        sequence_number=1_700_000_000_000_000_007,
        sequence_numbers={0: 1_700_000_000_000_000_003, 2: 1_700_000_000_000_000_006},
    )

    assert spec(block) == {
        "cidr": "10.65.1.0/30",
        "affinity": "host:n1",
        "affinityClaimTime": "2026-01-02T12:00:00Z",
        "allocations": [0, None, 1, None],
        "unallocated": [3, 1],
        "attributes": [
            {"handle_id": "net.abc", "secondary": {"pod": "web", "namespace": "shop", "node": "n1"}},
            {"releasedAt": "2026-01-02T12:00:00Z"},
        ],
        "sequenceNumber": 1_700_000_000_000_000_007,
        "sequenceNumberForAllocation": {"0": 1_700_000_000_000_000_003, "2": 1_700_000_000_000_000_006},
        "strictAffinity": False,
    }


def test_what_calicos_schema_requires_of_a_block_is_written_when_it_is_empty():
    written = spec(IPAMBlock(Metadata("x"), CIDR, allocations=(None,) * 4))

    assert {key: written[key] for key in ("attributes", "unallocated", "strictAffinity")} == {
        "attributes": [],
        "unallocated": [],
        "strictAffinity": False,
    }


def test_an_old_block_without_sequence_numbers_is_read():
    block = read(
        IPAMBlock,
        {
            "cidr": "10.65.1.0/31",
            "affinity": None,
            "allocations": [None] * 2,
            "unallocated": [0, 1],
            "attributes": None,
        },
    )

    assert (block.sequence_number, block.sequence_numbers, block.affinity) == (0, {}, None)


def test_a_free_address_missing_from_the_queue_is_lost_but_no_reason_to_refuse_the_block():
    block = read(IPAMBlock, {"cidr": "10.65.1.0/31", "allocations": [None, None], "unallocated": [1]})

    assert block.unallocated == (1,)


def test_a_handle_is_spelt_as_calico_spells_it():
    handle = IPAMHandle(Metadata("net.abc"), "net.ABC", {CIDR: 2})

    assert spec(handle) == {"handleID": "net.ABC", "block": {"10.65.1.0/30": 2}}


def test_a_handle_is_named_in_lower_case():
    assert handle_name("net.ABC") == "net.abc"


def test_the_configuration_is_spelt_as_calico_spells_it():
    configuration = IPAMConfiguration(
        Metadata("default"),
        strict_affinity=True,
        auto_allocate_blocks=False,
        max_blocks_per_host=4,
        cooldown=30,
    )

    assert spec(configuration) == {
        "strictAffinity": True,
        "autoAllocateBlocks": False,
        "maxBlocksPerHost": 4,
        "ipCooldownSeconds": 30,
    }


def test_what_a_configuration_leaves_unsaid_has_calicos_defaults():
    assert read(IPAMConfiguration, {}) == IPAMConfiguration(Metadata("x"))


def test_a_reservation_is_spelt_as_calico_spells_it():
    assert spec(IPReservation(Metadata("x"), (CIDR,))) == {"reservedCIDRs": ["10.65.1.0/30"]}
