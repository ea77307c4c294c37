import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from cloudnet.agent.addresses import SharedLeases
from cloudnet.ipam import picture
from cloudnet.ipam.allocator import Allocator, Request
from cloudnet.ipam.audit import problems
from cloudnet.ipam.errors import AddressTaken, NoPool
from cloudnet.ipam.known import KINDS
from cloudnet.ipam.warm import Warm
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.resources import (
    AffinityState,
    BlockAffinity,
    IPAMBlock,
    IPAMConfiguration,
    IPPool,
    IPReservation,
    Metadata,
)
from cloudnet.model.workloads import WorkloadEndpoint
from cloudnet.policy.selectors import Matches
from cloudnet.store.api import AlreadyExists, Create, Delete, Event, EventType
from cloudnet.store.memory import MemoryStore

NODE = NodeName("n1")


class Counting:
    """A store that counts requests, and waits at a write while it is told to."""

    def __init__(self, store):
        self._store, self.requests, self.may_write = store, [], threading.Event()
        self.atomic = store.atomic
        self.may_write.set()

    def __getattr__(self, verb):
        def call(*args, **kwargs):
            self.requests.append(verb)
            if verb == "write":
                assert self.may_write.wait(5)
            return getattr(self._store, verb)(*args, **kwargs)

        return call


class Warmth:
    """Warm leases of node n1 on the books' store."""

    def __init__(self, books, *, atomic=True):
        self.books = books
        self.store = Counting(books.store)
        self.store.atomic = atomic
        self.leases = SharedLeases(Warm(self.store, NODE, now=books.now, matches=Matches()))
        self.hear()

    def hear(self):
        items = [item for kind in KINDS for item in self.books.store.list(kind).items]
        self.leases.heard([Event(EventType.PUT, item.value, item.revision) for item in items], synced=True)

    def forget(self, value):
        self.leases.heard([Event(EventType.DELETED, value, 0)], synced=True)

    def take(self, pod, families=(Family.IPV4,), extra=None, **fields):
        request = Request(NODE, f"net.{pod}", {"pod": pod, "namespace": "shop", "node": NODE}, **fields)
        wanted = extra or (lambda addresses: [Create(endpoint(pod, addresses))])
        return [one.ip for one in self.leases.take(families, [request] * len(families), wanted)]

    def named(self, pod, *addresses):
        request = Request(NODE, f"net.{pod}", {"pod": pod, "namespace": "shop", "node": NODE})
        wanted = [ip_address(text) for text in addresses]
        return [one.ip for one in self.leases.take_named(wanted, request, lambda _: [])]

    def give_back(self, pod):
        self.leases.give_back(f"net.{pod}", [Delete(WorkloadEndpoint, name(pod), "shop")])

    def requests(self, deed):
        before = len(self.store.requests)
        deed()
        return self.store.requests[before:]


def name(pod):
    return f"n1-k8s-{pod}-eth0"


def endpoint(pod, addresses):
    networks = tuple(ip_network(address) for address in addresses)
    return WorkloadEndpoint(Metadata(name(pod), "shop"), NODE, "k8s", "eth0", pod=pod, networks=networks)


@pytest.fixture
def warm(books):
    made = Warmth(books)
    made.leases.top_up(Request(NODE))
    return made


def agree(books):
    return problems(picture.take(books.store)) == ()


# --- one request ----------------------------------------------------------------------------------------------


def test_a_pod_gets_its_address_and_its_endpoint_in_one_request(books, warm):
    assert warm.requests(lambda: warm.take("web")) == ["write"]
    assert agree(books)


def test_two_families_are_one_request_as_well(books, warm):
    books.store.create(IPPool(Metadata("six"), ip_network("fd00:65::/64"), block_size=122))
    warm.hear()
    warm.leases.top_up(Request(NODE))

    taken = []
    assert warm.requests(lambda: taken.extend(warm.take("web", (Family.IPV4, Family.IPV6)))) == ["write"]

    assert [address.version for address in taken] == [4, 6]
    assert agree(books)


def test_a_pod_gives_everything_back_in_one_request(books, warm):
    warm.take("web")

    assert warm.requests(lambda: warm.give_back("web")) == ["write"]
    assert not list(picture.take(books.store).allocations())
    assert agree(books)


def test_after_a_restart_giving_back_needs_a_look_at_the_handle(books, warm):
    warm.take("web")
    again = Warmth(books)
    again.take("other")

    assert again.requests(lambda: again.give_back("web")) == ["get", "write"]
    assert agree(books)


def test_the_next_block_is_claimed_before_anybody_needs_it(books, warm):
    for number in range(12):
        warm.take(f"p{number}")
    warm.leases.top_up(Request(NODE))
    before = len(books.store.list(IPAMBlock).items)
    warm.take("p12")
    warm.leases.top_up(Request(NODE))

    assert (before, len(books.store.list(IPAMBlock).items)) == (1, 2)
    assert [warm.requests(lambda n=n: warm.take(f"p{n}")) for n in range(13, 29)] == [["write"]] * 16


def test_topping_up_twice_claims_once(books, warm):
    warm.leases.top_up(Request(NODE))

    assert warm.requests(lambda: warm.leases.top_up(Request(NODE))) == []
    assert len(books.store.list(IPAMBlock).items) == 1


# --- memory is never trusted ----------------------------------------------------------------------------------


def test_an_address_taken_behind_our_back_is_not_given_again(books, warm):
    first = warm.take("one")
    (behind,) = books.give("behind")

    second = warm.take("two")

    assert len({*first, behind.ip, *second}) == 3


def test_a_block_that_was_lost_behind_our_back_is_not_used(books, warm):
    (block,) = books.store.list(IPAMBlock).items
    books.ipam.release_block(NODE, block.value.cidr)
    other = Allocator(books.store, now=books.now, matches=Matches())
    other.assign_ip(block.value.cidr.network_address, Request(NodeName("n2"), "net.theirs", {"node": "n2"}))

    (taken,) = warm.take("web")

    assert taken != block.value.cidr.network_address
    assert len({a.address for a in picture.take(books.store).allocations()}) == 2


def test_a_container_that_comes_again_gets_another_address_beside_its_first(books, warm):
    (first,) = warm.take("web")

    (second,) = warm.take("web", extra=lambda _: [])

    assert first != second
    warm.give_back("web")
    assert not list(picture.take(books.store).allocations())


def test_an_endpoint_that_cannot_be_written_keeps_no_address(books, warm):
    warm.take("web")

    with pytest.raises(AlreadyExists, match=name("web")):
        warm.take("again", extra=lambda addresses: [Create(endpoint("web", addresses))])

    assert len(list(picture.take(books.store).allocations())) == 1
    assert agree(books)


@pytest.mark.parametrize("atomic", [True, False])
def test_a_pool_of_which_nobody_told_us_is_found_in_the_store(books, atomic):
    warm = Warmth(books, atomic=atomic)
    warm.forget(books.store.get(IPPool, "default").value)

    assert warm.take("web")
    assert agree(books)


def test_a_pool_that_is_switched_off_gives_no_more(books, warm):
    warm.take("web")
    seen = books.store.get(IPPool, "default")
    books.store.update(replace(seen.value, disabled=True), expected=seen.revision)
    warm.hear()

    with pytest.raises(NoPool):
        warm.take("other")


def test_reserved_addresses_are_passed_over(books, warm):
    first = books.store.list(IPAMBlock).items[0].value.cidr.network_address
    books.store.create(IPReservation(Metadata("r"), (ip_network(f"{first}/32"),)))
    warm.hear()

    assert warm.take("web") == [first + 1]


def test_what_was_given_back_cools_down_as_configured(books, warm):
    books.store.create(IPAMConfiguration(Metadata("default"), cooldown=1200))
    warm.hear()
    (first,) = warm.take("web")
    warm.give_back("web")

    taken = {address for n in range(20) for address in warm.take(f"p{n}")}

    assert first not in taken


def test_a_named_address_is_given_once(books, warm):
    block = books.store.list(IPAMBlock).items[0].value.cidr
    wanted = str(block.network_address + 7)

    assert warm.requests(lambda: warm.named("web", wanted)) == ["write"]
    with pytest.raises(AddressTaken):
        warm.named("other", wanted)
    assert agree(books) is False  # it has no endpoint, as this test writes none


def test_a_named_address_that_somebody_else_gave_back_is_free_again(books, warm):
    (wanted,) = warm.take("web")
    books.ipam.release_by_handle("net.web")

    assert warm.named("other", str(wanted)) == [wanted]


def test_a_block_that_somebody_began_to_let_go_is_the_nodes_again(books, warm):
    seen = books.store.list(BlockAffinity).items[0]
    marked = replace(seen.value, state=AffinityState.PENDING_DELETION)
    books.store.update(marked, expected=seen.revision)
    warm.hear()

    warm.leases.top_up(Request(NODE))

    (mended,) = books.store.list(BlockAffinity).items
    assert mended.value.state is AffinityState.CONFIRMED
    assert warm.requests(lambda: warm.take("web")) == ["write"]


def test_where_few_blocks_are_left_none_is_claimed_ahead_of_need(books, warm):
    for number in range(12):
        books.ipam.assign_ip(ip_address(f"10.65.0.{number * 16}"), Request(NodeName("n2"), f"net.other{number}"))
    before = len(books.store.list(IPAMBlock).items)
    for number in range(13):
        warm.take(f"p{number}")

    assert not warm.leases.top_up(Request(NODE))
    assert len(books.store.list(IPAMBlock).items) == before


# --- many at once ---------------------------------------------------------------------------------------------


def test_those_who_wait_for_a_write_share_the_next(books, warm):
    warm.store.may_write.clear()
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(warm.take, "first")
        while "write" not in warm.store.requests[-1:]:
            pass
        rest = [pool.submit(warm.take, f"p{n}") for n in range(8)]
        while len(warm.leases._waiting) < 8:
            pass
        before = len(warm.store.requests)
        warm.store.may_write.set()
        taken = [*first.result(), *(address for one in rest for address in one.result())]

    assert warm.store.requests[before:] == ["write"]
    assert len(set(taken)) == 9
    assert agree(books)


def test_one_that_fails_fails_alone(books, warm):
    warm.take("web")
    warm.store.may_write.clear()
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(warm.take, "first")
        while "write" not in warm.store.requests[-1:]:
            pass
        good = [pool.submit(warm.take, f"p{n}") for n in range(3)]
        bad = pool.submit(warm.take, "bad", extra=lambda addresses: [Create(endpoint("web", addresses))])
        while len(warm.leases._waiting) < 4:
            pass
        warm.store.may_write.set()
        taken = {*first.result(), *(address for one in good for address in one.result())}

    assert len(taken) == 4
    assert isinstance(bad.exception(), AlreadyExists)
    assert agree(books)


# --- without transactions ---------------------------------------------------------------------------------------


@pytest.fixture
def stepwise(books):
    books.store = MemoryStore(books.store.data, atomic=False)
    made = Warmth(books, atomic=False)
    made.leases.top_up(Request(NODE))
    return made


def test_without_transactions_a_pod_takes_one_write_each_for_handle_block_and_endpoint(books, stepwise):
    assert stepwise.requests(lambda: stepwise.take("web")) == ["write"] * 3
    assert agree(books)


def test_without_transactions_a_pod_s_end_takes_as_many(books, stepwise):
    stepwise.take("web")

    assert stepwise.requests(lambda: stepwise.give_back("web")) == ["write"] * 3
    assert not list(picture.take(books.store).allocations())
    assert agree(books)


def test_without_transactions_an_endpoint_that_cannot_be_leaves_no_address(books, stepwise):
    stepwise.take("web")

    with pytest.raises(AlreadyExists):
        stepwise.take("other", extra=lambda addresses: [Create(endpoint("web", addresses))])

    assert [found.handle for found in picture.take(books.store).allocations()] == ["net.web"]
    assert agree(books)


def test_without_transactions_a_lost_block_is_planned_again_and_the_handle_s_count_is_exact(books, stepwise):
    first = books.ipam.auto_assign(Family.IPV4, 1, Request(NODE, "net.elsewhere"))[0].ip

    (second,) = stepwise.take("web")

    assert first != second
    assert agree(books)


@pytest.fixture
def two_families(books, stepwise):
    books.store.create(IPPool(Metadata("six"), ip_network("fd00:65::/64"), block_size=122))
    stepwise.hear()
    stepwise.leases.top_up(Request(NODE))
    return stepwise


def test_without_transactions_two_families_are_two_handles_writes_and_two_blocks(books, two_families):
    assert two_families.requests(lambda: two_families.take("web", tuple(Family))) == ["write"] * 5
    assert agree(books)


def test_without_transactions_a_second_family_that_is_lost_is_planned_again_with_the_first(books, two_families):
    books.ipam.auto_assign(Family.IPV6, 1, Request(NODE, "net.elsewhere"))

    taken = two_families.take("web", (Family.IPV4, Family.IPV6))

    held = [found.address for found in picture.take(books.store).allocations() if found.handle == "net.web"]
    assert sorted(map(str, held)) == sorted(map(str, taken))
    assert agree(books)


def test_whoever_goes_the_long_way_holds_up_nobody(books, warm):
    books.store.create(IPPool(Metadata("far"), ip_network("10.66.0.0/24"), block_size=28))
    warm.hear()
    asked, may_go_on = threading.Event(), threading.Event()

    def slowly(_):
        asked.set()
        assert may_go_on.wait(5)
        return []

    books.ipam.assign_ip(ip_address("10.66.0.1"), Request(NodeName("n2"), "net.there"))
    request = Request(NODE, "net.slow")
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(warm.leases.take_named, [ip_address("10.66.0.2")], request, slowly)
        assert asked.wait(5)
        taken = warm.take("quick")
        may_go_on.set()
        slow.result()

    assert len(taken) == 1
