from ipaddress import ip_network

import pytest

from cloudnet.agent.addresses import SharedLeases
from cloudnet.ipam import native, picture
from cloudnet.ipam.affinity import Moment
from cloudnet.ipam.allocator import Request
from cloudnet.ipam.audit import problems
from cloudnet.ipam.collect import review
from cloudnet.ipam.errors import ClaimLost, NoFreeAddress
from cloudnet.ipam.known import KINDS
from cloudnet.ipam.warm import Warm
from cloudnet.model.addresses import Family, InterfaceId, NodeName
from cloudnet.model.resources import IPPool
from cloudnet.policy.selectors import Matches
from cloudnet.store.api import Event, EventType

N1, ENI = NodeName("n1"), InterfaceId("eni-1")
PREFIX = ip_network("10.0.1.32/28")


def adopt(books, node=N1, prefix=PREFIX):
    return native.adopt(books.store, node, prefix, ENI, Moment(books.now(), 1))


def request(handle="net.web"):
    return Request(N1, handle, {"node": "n1"}, native=True)


@pytest.fixture
def warm(books):
    leases = SharedLeases(Warm(books.store, N1, now=books.now, matches=Matches()))

    def hear():
        items = [item for kind in KINDS for item in books.store.list(kind).items]
        leases.heard([Event(EventType.PUT, item.value, item.revision) for item in items], synced=True)

    leases.hear = hear
    hear()
    return leases


def test_addresses_of_the_clouds_prefixes_are_given_and_taken_back(books):
    adopt(books)

    given = books.ipam.auto_assign(Family.IPV4, 3, request())

    assert all(address.ip in PREFIX for address in given)
    assert problems(picture.take(books.store)) == ()
    assert len(books.ipam.release_by_handle("net.web")) == 3


def test_what_is_not_native_takes_no_native_address(books):
    adopt(books)

    given = books.give("web", count=40)

    assert not [address for address in given if address.ip in PREFIX]


def test_when_the_clouds_prefixes_are_full_pools_are_asked(books):
    adopt(books)

    given = books.ipam.auto_assign(Family.IPV4, 18, request())

    assert [address.ip in PREFIX for address in given] == [True] * 16 + [False] * 2


def test_when_there_is_no_pool_either_the_message_says_both(books):
    for pool in books.store.list(IPPool).items:
        books.store.delete(IPPool, pool.value.meta.name, expected=pool.revision)

    with pytest.raises(NoFreeAddress, match=r"the cloud gave node 'n1' no IPv4 address that is free.*no IPv4 pool"):
        books.ipam.auto_assign(Family.IPV4, 1, request())


def test_native_blocks_do_not_count_towards_a_nodes_limit_of_blocks(books):
    for first in range(32, 32 + 16 * 5, 16):
        adopt(books, prefix=ip_network(f"10.0.1.{first}/28"))

    given = books.ipam.auto_assign(Family.IPV4, 1, Request(N1, "net.other", {"node": "n1"}, max_blocks=1))

    assert given[0].ip not in ip_network("10.0.1.0/24")


def test_adopting_twice_is_adopting_once(books):
    adopt(books)

    adopt(books)

    assert [block.cidr for block in picture.take(books.store).blocks] == [PREFIX]


def test_a_prefix_of_another_node_is_not_adopted(books):
    adopt(books)

    with pytest.raises(ClaimLost):
        adopt(books, NodeName("n2"))


def test_the_collector_leaves_an_empty_native_block_alone(books):
    adopt(books)
    adopt(books, prefix=ip_network("10.0.1.48/28"))
    seen = picture.take(books.store)

    assert review(seen, review(seen, {}, now=0, grace=1).suspects, now=10, grace=1).due == ()


def test_a_warm_node_gives_them_as_soon_as_it_hears_of_them(books, warm):
    (early,) = warm.take([Family.IPV4], [request("net.early")], lambda _: [])
    adopt(books)
    warm.hear()

    (first,) = warm.take([Family.IPV4], [request()], lambda _: [])
    (pooled,) = warm.take([Family.IPV4], [Request(N1, "net.other", {"node": "n1"})], lambda _: [])

    assert early.ip not in PREFIX
    assert first.ip in PREFIX
    assert pooled.ip not in PREFIX
