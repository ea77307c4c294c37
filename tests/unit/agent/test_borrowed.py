"""Strays by block, address and node: what was touched, and that the way there does not matter."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from cloudnet.agent.borrowed import Borrowed
from cloudnet.ipam import block as blocks
from cloudnet.model.addresses import NodeName
from cloudnet.model.resources import Affinity, AllocationAttribute
from cloudnet.routes import borrowed


def block(k, *nodes):
    cidr = ip_network(f"10.65.{k}.0/26")
    made = blocks.new(cidr, Affinity(NodeName(f"n{k}")), now=datetime(2025, 1, 1, tzinfo=UTC), sequence=1)
    attributes = tuple(AllocationAttribute(owner={"node": node}) for node in nodes)
    taken = tuple(range(len(nodes)))
    return replace(made, allocations=(*taken, *made.allocations[len(taken) :]), attributes=attributes)


def stray(k, ordinal):
    return ip_network(f"10.65.{k}.{ordinal}/32")


def test_an_address_is_touched_when_it_comes_moves_and_goes():
    known = Borrowed()

    touched = [
        known.heard(block(2, "n2", "n3"), gone=False),
        known.heard(block(2, "n2", "n3"), gone=False),
        known.heard(block(2, "n2", "n4"), gone=False),
        known.heard(block(2, "n2", "n2"), gone=False),
    ]

    assert touched == [{stray(2, 1)}, set(), {stray(2, 1)}, {stray(2, 1)}]
    assert list(known) == []


def test_a_block_that_is_gone_takes_its_strays_along():
    known = Borrowed()
    known.heard(block(2, "n3"), gone=False)

    assert known.heard(block(2, "n3"), gone=True) == {stray(2, 0)}
    assert known.owner(stray(2, 0)) is None
    assert known.of(NodeName("n3")) == ()


@given(
    st.lists(st.tuples(st.integers(1, 3), st.lists(st.sampled_from(["n1", "n2", "n3"]), max_size=4), st.booleans()))
)
def test_the_answer_follows_from_the_last_of_each_block(history):
    known, last = Borrowed(), {}
    for k, nodes, gone in history:
        known.heard(block(k, *nodes), gone=gone)
        last[k] = {} if gone else borrowed.strays(block(k, *nodes))

    expected = {address: node for strays in last.values() for address, node in strays.items()}
    assert {address: known.owner(address) for address in known} == expected
    assert {a: NodeName(n) for n in ("n1", "n2", "n3") for a in known.of(NodeName(n))} == expected
