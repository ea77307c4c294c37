from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from cloudnet.ipam import picture, tunnel
from cloudnet.ipam.allocator import Request
from cloudnet.ipam.audit import problems
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.resources import AllowedUse, IPPool, Metadata, Node, Vtep
from cloudnet.overlay import vxlan
from cloudnet.policy.selectors import Matches

N1 = NodeName("n1")


@pytest.fixture
def node(books):
    """Give n1 addresses of its own."""

    def make(*addresses, vteps=(), labels=None):
        seen = books.store.get(Node, "n1")
        meta = replace(seen.value.meta, labels=labels or {})
        made = replace(seen.value, meta=meta, addresses=tuple(map(ip_interface, addresses)), vteps=vteps)
        books.store.update(made, expected=seen.revision)

    make("10.0.0.11/24")
    return make


def ensure(books):
    return tunnel.ensure(books.store, books.ipam, N1, Matches()).vteps


def replace_pool(books, **fields):
    seen = books.store.get(IPPool, "default")
    books.store.update(replace(seen.value, **fields), expected=seen.revision)


def held(books):
    return {str(a.address): dict(a.attribute.owner) for a in picture.take(books.store).allocations()}


def test_a_node_gets_an_address_of_a_pool_with_calicos_handle_attributes_and_mac(books, node):
    (vtep,) = ensure(books)

    assert vtep.address in ip_network("10.65.0.0/24")
    assert vtep.mac == vxlan.mac_of(N1, Family.IPV4)
    assert held(books) == {str(vtep.address): {"node": "n1", "type": "vxlanTunnelAddress"}}
    assert books.ipam.release_by_handle("vxlan-tunnel-addr-n1") == (vtep.address,)


def test_asking_again_changes_nothing(books, node):
    first = ensure(books)
    before = books.store.data.revision

    assert ensure(books) == first
    assert books.store.data.revision == before


def test_each_family_with_an_address_and_a_pool_gets_one(books, node):
    node("10.0.0.11/24", "fd00::11/64")
    books.store.create(IPPool(Metadata("six"), ip_network("fd00:65::/64"), block_size=122))

    vteps = ensure(books)

    assert [vtep.address.version for vtep in vteps] == [4, 6]
    assert vteps[0].mac != vteps[1].mac


def test_a_node_without_an_address_of_the_family_needs_none(books, node):
    books.store.create(IPPool(Metadata("six"), ip_network("fd00:65::/64"), block_size=122))

    assert [vtep.address.version for vtep in ensure(books)] == [4]


def test_a_crash_after_the_address_was_taken_costs_no_second_one(books, node):
    owner = {"node": "n1", "type": "vxlanTunnelAddress"}
    request = Request(N1, "vxlan-tunnel-addr-n1", owner, use=AllowedUse.TUNNEL)
    (taken,) = books.ipam.auto_assign(Family.IPV4, 1, request)

    (vtep,) = ensure(books)

    assert vtep.address == taken.ip
    assert len(held(books)) == 1


def test_an_address_of_no_pool_is_somebodys_choice_and_stays(books, node):
    chosen = Vtep(ip_address("100.64.0.1"), "02:00:00:00:00:01")
    node("10.0.0.11/24", vteps=(chosen,))

    assert ensure(books) == (chosen,)
    assert held(books) == {}


def test_an_address_that_the_books_do_not_know_is_entered(books, node):
    chosen = Vtep(ip_address("10.65.0.7"), "02:00:00:00:00:01")
    node("10.0.0.11/24", vteps=(chosen,))

    assert ensure(books) == (chosen,)
    assert list(held(books)) == ["10.65.0.7"]
    assert problems(picture.take(books.store)) == ()


def test_an_address_that_a_pod_has_meanwhile_is_the_pods(books, node):
    (pods,) = books.pod("web")
    node("10.0.0.11/24", vteps=(Vtep(pods.ip, ""),))

    (vtep,) = ensure(books)

    assert vtep.address != pods.ip
    assert len(held(books)) == 2


@pytest.mark.parametrize(
    "change",
    [{"node_selector": "zone == 'b'"}, {"disabled": True}, {"allowed_uses": frozenset({AllowedUse.WORKLOAD})}],
    ids=["selects other nodes", "is disabled", "is not for tunnels"],
)
def test_when_no_pool_is_left_the_address_goes(books, node, change):
    ensure(books)
    replace_pool(books, **change)

    assert ensure(books) == ()
    assert held(books) == {}


def test_a_pool_for_another_zone_makes_the_node_change(books, node):
    ensure(books)
    node("10.0.0.11/24", vteps=ensure(books), labels={"zone": "b"})
    replace_pool(books, node_selector="zone == 'a'")
    books.store.create(IPPool(Metadata("b"), ip_network("10.66.0.0/24"), block_size=28, node_selector="zone == 'b'"))

    (vtep,) = ensure(books)

    assert vtep.address in ip_network("10.66.0.0/24")
    assert list(held(books)) == [str(vtep.address)]
