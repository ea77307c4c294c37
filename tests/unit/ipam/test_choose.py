from __future__ import annotations

from ipaddress import collapse_addresses, ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudnet.ipam import choose
from cloudnet.ipam.errors import NoPool
from cloudnet.model.addresses import Family
from cloudnet.model.resources import AllowedUse, AssignmentMode, IPPool, Metadata


def pool(cidr="10.65.0.0/24", size=28, name="default", **fields):
    return IPPool(Metadata(name), ip_network(cidr), block_size=size, **fields)


def pools_for(*pools, of=Family.IPV4, use=AllowedUse.WORKLOAD, named=(), selects=lambda _: True):
    named = [ip_network(cidr) for cidr in named]
    return [p.meta.name for p in choose.pools_for(pools, of, node="n1", use=use, named=named, selects=selects)]


def grow(pool_, host, count, taken=(), reserved=()):
    own = []
    for _ in range(count):
        own.append(choose.next_block(pool_, host, own=own, taken=[*taken, *own], reserved=reserved))
    return own


# --- pools --------------------------------------------------------------------------------------------------


def test_pools_are_used_in_the_order_of_their_names():
    assert pools_for(pool(name="b"), pool("10.66.0.0/24", name="a")) == ["a", "b"]


def test_a_pool_that_is_disabled_manual_or_of_the_other_family_is_not_used_unasked():
    pools = [
        pool(name="off", disabled=True),
        pool("10.66.0.0/24", name="manual", assignment_mode=AssignmentMode.MANUAL),
        pool("fd00::/112", 122, name="six"),
        pool("10.67.0.0/24", name="good"),
    ]

    assert pools_for(*pools) == ["good"]


def test_a_pool_asked_for_by_name_is_used_whatever_its_selectors_say():
    manual = pool(name="manual", assignment_mode=AssignmentMode.MANUAL)

    assert pools_for(manual, named=["10.65.0.0/24"], selects=lambda _: False) == ["manual"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"selects": lambda _: False}, r"no IPv4 pool selects node 'n1' .*: there are 'default' \(10\.65\.0\.0/24\)"),
        ({"of": Family.IPV6}, "there are none enabled"),
        ({"named": ["10.99.0.0/24"]}, r"there is no enabled pool 10\.99\.0\.0/24: there are 10\.65\.0\.0/24"),
        ({"use": AllowedUse.LOAD_BALANCER}, r"no IPv4 pool of 'default' \(10\.65\.0\.0/24\) allows 'LoadBalancer'"),
    ],
)
def test_that_there_is_no_pool_is_said_with_the_reason(arguments, message):
    with pytest.raises(NoPool, match=message):
        pools_for(pool(), **arguments)


def test_an_address_belongs_to_the_block_of_its_pool():
    assert choose.block_of(pool(), ip_address("10.65.0.77")) == ip_network("10.65.0.64/28")


# --- blocks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "value"), [("", 0x811C9DC5), ("a", 0x050C5D7E), ("foobar", 0x31F0B262)])
def test_the_hash_is_fnv_1(text, value):
    assert choose.fnv1(text) == value


@pytest.mark.parametrize("of", ["10.65.0.0/16 26", "fd00::/64 122", "10.65.0.0/26 26"])
def test_a_nodes_first_block_is_always_the_same(of):
    cidr, size = of.split()
    first = {grow(pool(cidr, int(size)), "n1", 1)[0] for _ in range(3)}

    assert len(first) == 1


@pytest.mark.parametrize("cidr_size", [("10.65.0.0/16", 26), ("fd00::/64", 122)])
@pytest.mark.parametrize("count", [2, 4, 8, 16])
def test_blocks_of_one_node_are_one_route(cidr_size, count):
    own = grow(pool(*cidr_size), "n1", count)

    assert len(list(collapse_addresses(own))) == 1


def test_nodes_that_grow_side_by_side_keep_their_blocks_together():
    pool_, owned = pool("10.65.0.0/16", 26), {f"n{i}": [] for i in range(30)}

    for _ in range(8):
        for host, own in owned.items():
            taken = [cidr for blocks in owned.values() for cidr in blocks]
            own.append(choose.next_block(pool_, host, own=own, taken=taken, reserved=()))

    assert [len(list(collapse_addresses(own))) for own in owned.values()] == [1] * 30


def test_a_pool_that_is_almost_full_still_gives_its_last_block():
    pool_ = pool()
    blocks = list(pool_.cidr.subnets(new_prefix=28))

    for last in blocks:
        taken = [cidr for cidr in blocks if cidr != last]
        assert choose.next_block(pool_, "n1", own=taken[:3], taken=taken, reserved=()) == last
    assert choose.next_block(pool_, "n1", own=(), taken=blocks, reserved=()) is None


def test_a_block_that_is_wholly_reserved_is_not_chosen_and_one_that_is_partly_reserved_is():
    halves = [ip_network("10.65.0.0/25"), ip_network("10.65.0.128/26"), ip_network("10.65.0.192/29")]

    own = grow(pool(), "n1", 4, reserved=halves)

    assert sorted(own) == list(ip_network("10.65.0.192/26").subnets(new_prefix=28))


def test_a_pool_of_a_billion_blocks_is_searched_at_once():
    reserved = [ip_network("fd00::/65")]

    assert choose.next_block(pool("fd00::/64", 122), "n1", own=(), taken=(), reserved=reserved) is not None


@pytest.mark.parametrize(("taken", "plenty"), [(0, True), (11, True), (12, False), (16, False)])
def test_a_pool_has_plenty_while_more_than_a_quarter_of_its_blocks_is_free(taken, plenty):
    of_16 = pool("10.65.0.0/24", size=28)

    assert choose.plenty([of_16], list(of_16.cidr.subnets(new_prefix=28))[:taken]) is plenty


def test_existing_blocks_are_walked_from_the_hosts_own_place():
    pool_ = pool()
    existing = list(pool_.cidr.subnets(new_prefix=28))
    walked = choose.rotated(pool_, "n1", [*existing, ip_network("10.99.0.0/28")])

    start = choose.fnv1("n1") % 16
    assert walked == existing[start:] + existing[:start]


@settings(deadline=None, max_examples=50)
@given(
    st.sets(st.integers(0, 15)),
    st.sets(st.integers(0, 15)),
    st.sets(st.integers(0, 15)),
    st.sampled_from(["a", "n1"]),
)
def test_a_block_is_found_exactly_when_one_is_free(own, others, reserved, host):
    pool_ = pool()
    every = list(pool_.cidr.subnets(new_prefix=28))
    gone = own | others | reserved

    found = choose.next_block(
        pool_,
        host,
        own=[every[i] for i in own],
        taken=[every[i] for i in own | others],
        reserved=[every[i] for i in reserved],
    )

    if len(gone) == 16:
        assert found is None
    else:
        assert every.index(found) not in gone
