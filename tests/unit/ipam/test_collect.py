from dataclasses import replace
from ipaddress import ip_network

import pytest

from cloudnet.ipam import native, picture
from cloudnet.ipam.affinity import Moment
from cloudnet.ipam.audit import problems
from cloudnet.ipam.collect import EmptyHandle, IdleBlock, LeakedAddress, LoneAffinity, review
from cloudnet.ipam.sweep import Swept, sweep
from cloudnet.model.addresses import InterfaceId, NodeName
from cloudnet.model.calico import affinity_name
from cloudnet.model.calico_ipam import handle_name
from cloudnet.model.resources import AffinityState, BlockAffinity, IPAMBlock, IPAMHandle, Metadata, Node
from cloudnet.model.workloads import WorkloadEndpoint

GRACE = 900.0


class Reviews:
    """Reviews of one store, one after the other."""

    def __init__(self, books):
        self.books, self.suspects = books, {}

    def __call__(self, now):
        found = review(picture.take(self.books.store), self.suspects, now=now, grace=GRACE)
        self.suspects = found.suspects
        return found.due

    def sweep(self, now):
        return sweep(self.books.store, self.books.ipam, self(now))


@pytest.fixture
def reviews(books):
    return Reviews(books)


def kinds(due):
    return [type(suspect) for suspect in due]


# --- addresses ------------------------------------------------------------------------------------------------


def test_an_address_with_its_pod_is_nobodys_suspect(books, reviews):
    books.pod("web")

    assert reviews(0) == ()
    assert reviews.suspects == {}


def test_an_address_without_a_pod_goes_after_the_grace_and_not_before(books, reviews):
    books.pod("web")
    (leaked,) = books.give("gone")

    assert [reviews(0), reviews(GRACE - 1)] == [(), ()]
    (due,) = reviews(GRACE)

    assert isinstance(due, LeakedAddress)
    assert due.address == leaked.ip


def test_the_first_look_takes_nothing_even_without_any_grace(books):
    books.give("gone")

    assert review(picture.take(books.store), {}, now=0, grace=0).due == ()


def test_a_pod_that_appears_in_time_keeps_its_address(books, reviews):
    (address,) = books.give("slow")
    reviews(0)
    network = next(iter(address.network.subnets(new_prefix=32)))
    meta = Metadata("n1-k8s-slow-eth0", "shop")
    endpoint = WorkloadEndpoint(meta, NodeName("n1"), "k8s", "eth0", pod="slow", networks=(network,))
    books.store.create(endpoint)

    assert address.ip == network.network_address
    assert reviews(GRACE) == ()


def test_an_address_that_changes_hands_begins_its_grace_anew(books, reviews):
    books.give("first")
    reviews(0)
    books.ipam.release_by_handle("net.first")
    books.give("first")

    assert reviews(GRACE) == ()
    assert kinds(reviews(2 * GRACE)) == [LeakedAddress]


def test_addresses_of_a_node_that_is_gone_with_its_pods_go_at_once(books, reviews):
    books.node("n2")
    books.pod("web", "n2")
    books.store.delete(Node, "n2")
    books.store.delete(WorkloadEndpoint, "n2-k8s-web-eth0", "shop")

    assert kinds(reviews(0)) == [LeakedAddress]


def test_a_pod_keeps_its_address_while_its_node_is_made_anew(books, reviews):
    """Who deletes a Node does not stop its pods, and the kubelet makes it anew."""
    books.node("n2")
    books.pod("web", "n2")
    books.give("n2", "n2", pod="", type="vxlanTunnelAddress")
    books.store.delete(Node, "n2")
    away = reviews.sweep(0), reviews.sweep(GRACE / 2)

    books.node("n2")

    assert away == (Swept(), Swept())
    assert reviews.sweep(GRACE) == Swept()
    assert reviews.sweep(3 * GRACE) == Swept()


def test_a_node_that_stays_away_loses_what_its_endpoints_say_after_the_grace(books, reviews):
    books.node("n2")
    books.pod("web", "n2")
    books.store.delete(Node, "n2")

    assert kinds(reviews(0)) == []
    assert kinds(reviews(GRACE)) == [LeakedAddress]


def test_a_handle_goes_whole_or_stays_whole(books, reviews):
    (kept, _) = books.pod("two", count=2)
    endpoint = books.store.get(WorkloadEndpoint, "n1-k8s-two-eth0", "shop")
    half = tuple(network for network in endpoint.value.networks if network.network_address == kept.ip)
    books.store.update(replace(endpoint.value, networks=half), expected=endpoint.revision)

    reviews(0)

    assert reviews(GRACE) == ()


@pytest.mark.parametrize(
    "owner",
    [{"pod": "", "type": "vxlanTunnelAddress"}, {"pod": ""}],
    ids=["tunnel of a node that is there", "nobody noted an owner"],
)
def test_some_addresses_have_no_pod_and_stay(books, reviews, owner):
    books.give("node", **owner)

    reviews(0)

    assert reviews(GRACE) == ()


def test_the_tunnel_of_a_node_that_is_gone_goes(books, reviews):
    books.node("n2")
    books.give("n2", "n2", pod="", type="vxlanTunnelAddress")
    books.store.delete(Node, "n2")

    assert kinds(reviews(0)) == [LeakedAddress]


def test_what_is_swept_is_free_again_and_the_books_agree(books, reviews):
    books.pod("web")
    (leaked,) = books.give("gone")
    reviews(0)

    swept = reviews.sweep(GRACE)

    assert swept.addresses == 1
    assert leaked.ip not in {a.address for a in picture.take(books.store).allocations()}
    assert problems(picture.take(books.store)) == ()


def test_a_pod_that_appears_between_review_and_sweep_keeps_its_address(books, reviews):
    (address,) = books.give("late")
    reviews(0)
    due = reviews(GRACE)
    network = next(n for n in address.network.subnets(new_prefix=32) if n.network_address == address.ip)
    meta = Metadata("n1-k8s-late-eth0", "shop")
    books.store.create(WorkloadEndpoint(meta, NodeName("n1"), "k8s", "eth0", pod="late", networks=(network,)))

    assert sweep(books.store, books.ipam, due).addresses == 0


# --- handles, blocks, affinities ------------------------------------------------------------------------------


def test_a_handle_that_holds_nothing_goes_after_the_grace(books, reviews):
    (address,) = books.pod("web")
    books.store.create(IPAMHandle(Metadata(handle_name("net.lost")), "net.lost", {address.network: 1}))
    reviews(0)

    assert kinds(reviews(GRACE)) == [EmptyHandle]
    reviews.sweep(GRACE)

    assert problems(picture.take(books.store)) == ()


def test_an_idle_block_goes_and_the_last_one_of_a_node_stays(books, reviews):
    books.give("many", count=20)
    books.ipam.release_by_handle("net.many")
    reviews(0)

    due = reviews(GRACE)
    reviews.sweep(GRACE)

    assert kinds(due) == [IdleBlock]
    assert len(books.store.list(IPAMBlock).items) == 1
    assert problems(picture.take(books.store)) == ()


def test_an_idle_block_beside_one_in_use_is_what_the_node_keeps_ready(books, reviews):
    books.give("many", count=20)
    books.ipam.release_by_handle("net.many")
    books.pod("web", count=13)
    reviews(0)

    assert reviews(GRACE) == ()


def test_free_addresses_of_the_clouds_are_none_that_a_node_has_at_hand(books, reviews):
    books.give("many", count=20)
    books.ipam.release_by_handle("net.many")
    books.pod("web", count=13)
    native.adopt(
        books.store, NodeName("n1"), ip_network("10.0.1.16/28"), InterfaceId("eni-1"), Moment(books.now(), 1)
    )
    reviews(0)

    assert reviews(GRACE) == ()


def test_an_idle_block_that_the_node_need_not_keep_goes(books, reviews):
    books.give("many", count=20)
    books.ipam.release_by_handle("net.many")
    books.pod("web", count=12)
    reviews(0)

    assert kinds(reviews(GRACE)) == [IdleBlock]


def test_a_block_that_was_used_in_between_stays(books, reviews):
    books.give("many", count=20)
    books.ipam.release_by_handle("net.many")
    reviews(0)
    books.pod("web", count=20)

    assert reviews(GRACE) == ()


def test_a_node_that_is_gone_leaves_no_block_and_no_affinity(books, reviews):
    books.node("n2")
    books.pod("web", "n2")
    books.store.delete(Node, "n2")
    books.store.delete(WorkloadEndpoint, "n2-k8s-web-eth0", "shop")

    reviews.sweep(0)
    reviews.sweep(1)

    assert books.store.list(IPAMBlock).items == ()
    assert books.store.list(BlockAffinity).items == ()


def test_an_affinity_without_its_block_goes_after_the_grace(books, reviews):
    books.pod("web")
    block = next(iter(picture.take(books.store).blocks)).cidr
    other = next(b for b in block.supernet(new_prefix=24).subnets(new_prefix=28) if b != block)
    name = affinity_name(NodeName("n1"), other)
    books.store.create(BlockAffinity(Metadata(name), NodeName("n1"), other, AffinityState.PENDING))
    reviews(0)
    due = reviews(GRACE)

    sweep(books.store, books.ipam, due)

    assert kinds(due) == [LoneAffinity]
    assert [item.value.cidr for item in books.store.list(BlockAffinity).items] == [block]
