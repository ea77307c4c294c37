from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import collapse_addresses, ip_address, ip_interface, ip_network

import pytest

from cloudnet.ipam import block as blocks
from cloudnet.ipam.allocator import Allocator, Request
from cloudnet.ipam.block import Release
from cloudnet.ipam.errors import AddressTaken, BlockLimit, NoFreeAddress, NoPool, NotOurBlock, StaleRelease
from cloudnet.model.addresses import Family
from cloudnet.model.resources import (
    AffinityState,
    AllowedUse,
    BlockAffinity,
    IPAMBlock,
    IPAMConfiguration,
    IPAMHandle,
    IPPool,
    IPReservation,
    Metadata,
)
from cloudnet.store.memory import MemoryStore


def equals(selector, labels):
    """Know of two selectors: ``all()`` and ``key == value``."""
    if selector == "all()":
        return True
    key, value = selector.split(" == ")
    return labels.get(key) == value


@dataclass
class Cluster:
    store: MemoryStore = field(default_factory=MemoryStore)
    at: datetime = datetime(2026, 1, 2, 12, tzinfo=UTC)

    def __post_init__(self):
        self.ipam = Allocator(self.store, now=lambda: self.at, matches=equals)

    def pool(self, cidr="10.65.0.0/24", size=28, name="default", **fields):
        self.store.create(IPPool(Metadata(name), ip_network(cidr), block_size=size, **fields))
        return self

    def configure(self, **fields):
        self.store.create(IPAMConfiguration(Metadata("default"), **fields))
        return self

    def reserve(self, *cidrs):
        self.store.create(IPReservation(Metadata("r"), tuple(ip_network(cidr) for cidr in cidrs)))

    def take(self, count=1, node="n1", handle="h", of=Family.IPV4, **fields):
        return self.ipam.auto_assign(of, count, Request(node, handle, **fields))

    def assign(self, address, node="n1", handle="h", **fields):
        return self.ipam.assign_ip(ip_address(address), Request(node, handle, **fields))

    def blocks(self, node=None):
        found = [item.value for item in self.store.list(IPAMBlock).items]
        return [b.cidr for b in found if node is None or (b.affinity and b.affinity.host == node)]

    def handles(self):
        return {i.value.handle: sum(i.value.blocks.values()) for i in self.store.list(IPAMHandle).items}

    def used(self):
        return sum(sum(blocks.held(item.value).values()) for item in self.store.list(IPAMBlock).items)


@pytest.fixture
def cluster():
    return Cluster()


# --- giving -------------------------------------------------------------------------------------------------


def test_the_first_address_of_a_node_comes_with_a_block_of_its_own(cluster):
    (address,) = cluster.pool().take(owner={"pod": "web"})

    (block,) = cluster.store.list(IPAMBlock).items
    (affinity,) = cluster.store.list(BlockAffinity).items
    assert address.network == block.value.cidr == affinity.value.cidr
    assert blocks.attribute(block.value, address.ip).owner == {"pod": "web"}
    assert cluster.handles() == {"h": 1}


@pytest.mark.parametrize(("cidr", "size", "of"), [("10.65.0.0/16", 26, 4), ("fd00:65::/64", 122, 6)])
def test_no_address_is_given_twice_and_blocks_of_a_node_are_one_route(cluster, cidr, size, of):
    cluster.pool(cidr, size)

    given = cluster.take(200, of=Family(of)) + cluster.take(50, of=Family(of))

    assert len({a.ip for a in given}) == 250
    assert len(cluster.blocks()) == 4
    assert len(list(collapse_addresses(cluster.blocks()))) == 1


def test_a_warm_block_needs_two_writes(cluster):
    cluster.pool().take(handle="first")
    before = cluster.store.data.revision

    cluster.take(handle="second")

    assert cluster.store.data.revision == before + 2


def test_handles_that_differ_in_case_can_each_be_released(cluster):
    cluster.pool().take(2, handle="net.Web")
    cluster.take(1, handle="net.web")

    assert len(cluster.ipam.release_by_handle("net.Web")) == 2
    assert cluster.used() == 1
    assert len(cluster.ipam.release_by_handle("net.web")) == 1
    assert cluster.handles() == {}


def test_a_second_pool_is_used_when_the_first_is_full(cluster):
    cluster.pool("10.65.0.0/28", name="a").pool("10.66.0.0/28", name="b")

    networks = Counter(a.network for a in cluster.take(20))

    assert networks == {ip_network("10.65.0.0/28"): 16, ip_network("10.66.0.0/28"): 4}


def test_nodes_and_namespaces_use_the_pools_that_select_them(cluster):
    workload = frozenset({AllowedUse.WORKLOAD})
    cluster.pool(name="a", node_selector="zone == a")
    cluster.pool("10.66.0.0/24", name="b", namespace_selector="team == b", allowed_uses=workload)

    (here,) = cluster.take(node_labels={"zone": "a"})
    (there,) = cluster.take(node="n2", namespace_labels={"team": "b"})

    assert here.ip in ip_network("10.65.0.0/24")
    assert there.ip in ip_network("10.66.0.0/24")
    with pytest.raises(NoPool, match="no IPv4 pool selects node 'n3'"):
        cluster.take(node="n3")
    with pytest.raises(NoPool):
        cluster.take(node="n3", namespace_labels={"team": "b"}, use=AllowedUse.TUNNEL)


def test_an_empty_block_in_a_pool_that_selects_its_node_no_more_is_let_go(cluster):
    cluster.pool(name="a", node_selector="zone == a").pool("10.66.0.0/24", name="b")
    cluster.take(node_labels={"zone": "a"})
    cluster.ipam.release_by_handle("h")

    cluster.take()

    assert [cidr.supernet(new_prefix=24) for cidr in cluster.blocks()] == [ip_network("10.66.0.0/24")]


def test_reserved_addresses_are_not_given(cluster):
    cluster.pool("10.65.0.0/28").reserve("10.65.0.0/29", "10.65.0.8/31")

    given = cluster.take(16)

    assert [str(a.ip) for a in given] == [f"10.65.0.{last}" for last in range(10, 16)]


def test_a_node_with_as_many_blocks_as_it_may_have_neither_claims_nor_borrows(cluster):
    cluster.pool().take(node="n2", handle="other")
    cluster.take(32, max_blocks=2)

    with pytest.raises(BlockLimit, match="node 'n1' has 2 blocks of 2 allowed"):
        cluster.take(max_blocks=2)


def test_a_node_borrows_when_no_block_is_left(cluster):
    cluster.pool("10.65.0.0/28").take(node="n2", handle="other")

    given = cluster.take(15)

    assert len(given) == 15
    assert cluster.blocks("n1") == []
    with pytest.raises(NoFreeAddress, match=r"no free address for node 'n1' in 'default' \(10\.65\.0\.0/28\)"):
        cluster.take()


def test_nobody_borrows_when_affinity_is_strict(cluster):
    cluster.pool("10.65.0.0/28").configure(strict_affinity=True).take(node="n2", handle="other")

    with pytest.raises(NoFreeAddress):
        cluster.take()


def test_without_leave_to_claim_a_node_has_the_blocks_it_has(cluster):
    cluster.pool().configure(strict_affinity=True, auto_allocate_blocks=False)

    with pytest.raises(NoFreeAddress):
        cluster.take()


def test_an_empty_block_of_another_node_is_taken_after_a_minute(cluster):
    cluster.pool("10.65.0.0/28").configure(strict_affinity=True).take(node="n2", handle="other")
    cluster.ipam.release_by_handle("other")
    with pytest.raises(NoFreeAddress):
        cluster.take()

    cluster.at += timedelta(seconds=61)
    cluster.take()

    assert cluster.blocks("n1") == [ip_network("10.65.0.0/28")]
    assert [item.value.node for item in cluster.store.list(BlockAffinity).items] == ["n1"]


# --- one address --------------------------------------------------------------------------------------------


def test_an_address_asked_for_is_given_and_its_block_claimed(cluster):
    assert cluster.pool().assign("10.65.0.77") == ip_interface("10.65.0.77/28")

    assert cluster.blocks("n1") == [ip_network("10.65.0.64/28")]
    with pytest.raises(AddressTaken, match="belongs to handle 'h'"):
        cluster.assign("10.65.0.77", handle="i")
    assert cluster.handles() == {"h": 1}


def test_an_address_in_another_nodes_block_is_given_only_without_strict_affinity(cluster):
    cluster.pool().assign("10.65.0.77", node="n2")
    cluster.assign("10.65.0.78")
    cluster.configure(strict_affinity=True)

    with pytest.raises(NotOurBlock, match=r"10\.65\.0\.79 is in block 10\.65\.0\.64/28 of host:n2"):
        cluster.assign("10.65.0.79")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("10.99.0.1", r"address 10\.99\.0\.1 lies in no pool: there are 10\.65\.0\.0/24, 10\.66\.0\.0/24"),
        ("10.66.0.1", r"address 10\.66\.0\.1 lies in pool 'off', which is disabled"),
    ],
)
def test_an_address_outside_every_usable_pool_is_refused(cluster, address, message):
    cluster.pool().pool("10.66.0.0/24", name="off", disabled=True)

    with pytest.raises(NoPool, match=message):
        cluster.assign(address)


# --- taking back --------------------------------------------------------------------------------------------


def test_a_handle_takes_back_all_it_has_and_is_gone(cluster):
    given = cluster.pool().take(40)
    cluster.take(handle="other")

    assert sorted(cluster.ipam.release_by_handle("h")) == sorted(a.ip for a in given)
    assert cluster.ipam.release_by_handle("h") == ()
    assert cluster.handles() == {"other": 1}


def test_releasing_addresses_lowers_the_count(cluster):
    given = cluster.pool().take(3)

    missing = cluster.ipam.release_ips([Release(given[0].ip), Release(ip_address("10.65.9.9"))])

    assert missing == (ip_address("10.65.9.9"),)
    assert cluster.handles() == {"h": 2}
    assert cluster.used() == 2


def test_a_stale_release_takes_nothing_back(cluster):
    (address,) = cluster.pool().take()

    with pytest.raises(StaleRelease):
        cluster.ipam.release_ips([Release(address.ip, handle="other")])
    assert cluster.used() == 1


def test_a_released_address_rests_for_the_cool_down(cluster):
    cluster.pool("10.65.0.0/31", 31).configure(cooldown=30)
    cluster.take(2)
    cluster.ipam.release_by_handle("h")

    with pytest.raises(NoFreeAddress):
        cluster.take()
    cluster.at += timedelta(seconds=30)
    assert len(cluster.take(2)) == 2


def test_addresses_of_a_pool_that_is_gone_can_be_released(cluster):
    (address,) = cluster.pool().take()
    cluster.store.delete(IPPool, "default")

    assert cluster.ipam.release_ips([Release(address.ip)]) == ()
    assert cluster.handles() == {}


def test_an_empty_block_can_be_let_go_and_one_in_use_cannot(cluster):
    (address,) = cluster.pool().take()

    assert not cluster.ipam.release_block("n1", address.network)
    cluster.ipam.release_by_handle("h")
    assert cluster.ipam.release_block("n1", address.network)
    assert cluster.blocks() == []


def test_a_block_in_use_that_must_go_becomes_nobodys_and_ends_with_its_last_address(cluster):
    given = cluster.pool().take(2)

    assert cluster.ipam.release_block("n1", given[0].network, in_use=True)
    assert cluster.store.list(BlockAffinity).items == ()
    cluster.ipam.release_ips([Release(given[0].ip)])
    assert (cluster.used(), cluster.handles()) == (1, {"h": 1})
    cluster.ipam.release_by_handle("h")
    assert cluster.blocks() == []


def test_an_address_in_a_block_whose_claim_was_never_confirmed_confirms_it(cluster):
    (address,) = cluster.pool().take()
    (left,) = cluster.store.list(BlockAffinity).items
    cluster.store.update(replace(left.value, state=AffinityState.PENDING), expected=left.revision)

    cluster.assign(str(address.ip + 1))

    assert cluster.store.list(BlockAffinity).items[0].value.state is AffinityState.CONFIRMED
