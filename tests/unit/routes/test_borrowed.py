"""Which addresses of a block are elsewhere, by Calico's rule; and that the lean form says the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network

import pytest
from hypothesis import given

from cloudnet.ipam import block as blocks
from cloudnet.model.addresses import NodeName
from cloudnet.model.resources import Affinity, AllocationAttribute
from cloudnet.routes import borrowed
from cloudnet.testing import strategies

NOW = datetime(2025, 1, 1, tzinfo=UTC)
CIDR = ip_network("10.65.2.0/26")


def block(*attributes, affinity="n2", cidr=CIDR):
    """Return a block whose first addresses have these attributes."""
    made = blocks.new(cidr, Affinity(NodeName(affinity)), now=NOW, sequence=1)
    taken = tuple(range(len(attributes)))
    return replace(
        made,
        affinity=Affinity(NodeName(affinity)) if affinity else None,
        allocations=(*taken, *made.allocations[len(taken) :]),
        unallocated=made.unallocated[len(taken) :],
        attributes=tuple(attributes),
    )


def pod(node, **fields):
    return AllocationAttribute(handle=f"k8s.{node}", owner={"node": node, "pod": "p"}, **fields)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(block(pod("n2")), {}, id="at home"),
        pytest.param(block(pod("n2"), pod("n3")), {"10.65.2.1/32": "n3"}, id="borrowed"),
        pytest.param(block(pod("n2"), affinity=""), {"10.65.2.0/32": "n2"}, id="the block belongs to nobody"),
        pytest.param(block(AllocationAttribute(handle="h")), {}, id="nobody knows where"),
        pytest.param(block(pod("n3", released_at=NOW)), {}, id="cooling down"),
        pytest.param(replace(block(pod("n3")), deleted=True), {}, id="deleted"),
        pytest.param(block(pod("n3"), cidr=ip_network("fd00:65::40/122")), {"fd00:65::40/128": "n3"}, id="IPv6"),
    ],
)
def test_addresses_of_other_nodes_than_the_blocks_own_are_strays(given, expected):
    assert {str(address): node for address, node in borrowed.strays(given).items()} == expected


def test_addresses_that_share_an_attribute_are_all_strays():
    made = replace(block(pod("n3")), allocations=(0, 0, None, 0))

    assert [str(address) for address in borrowed.strays(made)] == ["10.65.2.0/32", "10.65.2.1/32", "10.65.2.3/32"]


@given(strategies.ipam_blocks())
def test_the_lean_block_has_the_same_strays_and_nothing_else(made):
    lean = borrowed.lean(made)

    assert borrowed.strays(lean) == borrowed.strays(made)
    assert borrowed.lean(lean) == lean
    assert len(lean.attributes) == len(set(borrowed.strays(made).values()))
    assert (lean.unallocated, dict(lean.sequence_numbers)) == ((), {})


def test_a_pod_at_home_changes_nothing_in_the_lean_block():
    assert borrowed.lean(block(pod("n2"))) == borrowed.lean(block(pod("n2"), pod("n2")))
