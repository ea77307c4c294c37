"""Blocks that one node claims are its own; blocks that two nodes claim are nobody's."""

from __future__ import annotations

from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from cloudnet.model.addresses import Network, NodeName
from cloudnet.model.resources import AffinityState, BlockAffinity, IPPool, Metadata, Node
from cloudnet.routes.claims import claims, pool_of


def affinity(node: str, cidr: str, *, state: AffinityState = AffinityState.CONFIRMED) -> BlockAffinity:
    return BlockAffinity(Metadata(f"{node}-{cidr}"), NodeName(node), ip_network(cidr), state)


def node(name: str, *pod_cidrs: str) -> Node:
    return Node(Metadata(name), pod_cidrs=tuple(ip_network(c) for c in pod_cidrs))


def pool(name: str, cidr: str) -> IPPool:
    return IPPool(Metadata(name), ip_network(cidr))


A, B = "10.65.1.0/26", "10.65.1.64/26"


def test_a_confirmed_block_belongs_to_its_node() -> None:
    found = claims([node("n1")], [affinity("n1", A)])

    assert found.owner == {ip_network(A): "n1"}
    assert not found.refused


def test_pod_cidrs_stand_beside_blocks() -> None:
    found = claims([node("n1", "10.9.0.0/24")], [affinity("n1", A)])

    assert set(found.owner) == {ip_network(A), ip_network("10.9.0.0/24")}


def test_blocks_that_come_or_go_are_not_claimed() -> None:
    pending = affinity("n1", A, state=AffinityState.PENDING)
    leaving = affinity("n1", B, state=AffinityState.PENDING_DELETION)

    assert not claims([node("n1")], [pending, leaving]).owner


def test_one_block_of_two_nodes_is_refused_to_both_and_says_which() -> None:
    found = claims([], [affinity("n1", A), affinity("n2", A), affinity("n3", B)])

    assert found.owner == {ip_network(B): "n3"}
    assert found.refused[ip_network(A)] == (
        "10.65.1.0/26 of node 'n1' and 10.65.1.0/26 of node 'n2' overlap: take the block from all nodes but one"
    )
    assert found.claimants[ip_network(A)] == ("n1", "n2")


def test_a_block_inside_another_nodes_block_refuses_both() -> None:
    found = claims([node("n2", "10.65.0.0/16")], [affinity("n1", A), affinity("n3", "10.66.0.0/26")])

    assert set(found.refused) == {ip_network(A), ip_network("10.65.0.0/16")}
    assert found.owner == {ip_network("10.66.0.0/26"): "n3"}


def test_overlapping_blocks_of_one_node_are_its_own() -> None:
    found = claims([node("n1", "10.65.1.0/24")], [affinity("n1", A)])

    assert not found.refused
    assert len(found.owner) == 2


def test_overlapping_pools_are_named_with_the_remedy() -> None:
    found = claims([], [], [pool("default", "10.65.0.0/16"), pool("extra", "10.65.8.0/24")])

    (warning,) = found.warnings
    assert "pools 'default' (10.65.0.0/16) and 'extra' (10.65.8.0/24) overlap" in warning


def test_a_pod_cidr_inside_a_pool_is_named_with_the_remedy() -> None:
    found = claims([node("n7", "10.65.0.0/24")], [], [pool("default", "10.65.0.0/16")])

    (warning,) = found.warnings
    assert warning == (
        "node 'n7' has pod CIDR 10.65.0.0/24, which overlaps pool 'default' (10.65.0.0/16): "
        "give it a block from the pool or exclude it"
    )


def test_the_narrowest_pool_decides_for_a_block() -> None:
    pools = [pool("wide", "10.65.0.0/16"), pool("narrow", "10.65.1.0/24"), pool("six", "fd00::/48")]

    assert pool_of(ip_network(A), pools) == pools[1]
    assert pool_of(ip_network("fd00::/122"), pools) == pools[2]
    assert pool_of(ip_network("192.0.2.0/26"), pools) is None


@st.composite
def prefixes(draw: st.DrawFn) -> Network:
    length = draw(st.integers(24, 28))
    number = draw(st.integers(0, 2**8 - 1))
    base = int(ip_network("10.65.0.0/24").network_address)
    return ip_network((base + (number >> (32 - length) << (32 - length)), length))


@given(st.lists(st.tuples(st.sampled_from(["n1", "n2", "n3"]), prefixes()), max_size=12), st.randoms())
def test_the_answer_is_that_of_comparing_every_pair_in_any_order(given, rng) -> None:
    affinities = [affinity(name, str(cidr)) for name, cidr in given]
    expected = {c for n, c in given for m, d in given if n != m and c.overlaps(d)}

    found = claims([], affinities)
    rng.shuffle(affinities)

    assert set(found.refused) == expected
    assert set(found.owner) == {c for _, c in given} - expected
    assert claims([], affinities) == found
