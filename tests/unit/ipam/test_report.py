from ipaddress import ip_address, ip_network

import pytest

from cloudnet.errors import BadInput
from cloudnet.ipam import picture, report, split
from cloudnet.model.resources import IPPool, IPReservation, Metadata


def row(books, index=0, **options):
    used = report.usage(picture.take(books.store), **options)[index]
    return used.total, used.in_use, used.reserved, used.free


def test_an_empty_pool_is_all_free(books):
    assert row(books) == (256, 0, 0, 256)


def test_given_and_reserved_addresses_are_counted_once(books):
    (address,) = books.pod("web")
    reserved = (ip_network(f"{address.ip}/32"), ip_network("10.65.0.248/29"), ip_network("10.65.0.250/31"))
    books.store.create(IPReservation(Metadata("r"), reserved))

    assert row(books) == (256, 1, 8, 247)


def test_blocks_follow_their_pool_and_the_sums_agree(books):
    books.pod("many", count=20)

    pool, *blocks = report.usage(picture.take(books.store), each_block=True)

    assert [block.node for block in blocks] == ["n1", "n1"]
    assert sum(block.in_use for block in blocks) == pool.in_use == 20


def test_blocks_of_no_pool_come_last(books):
    books.pod("web")
    books.store.delete(IPPool, "default")

    (block,) = report.usage(picture.take(books.store))

    assert (block.grouping, block.in_use) == ("block", 1)


def test_who_has_an_address_is_told_and_nobody_of_a_free_one(books):
    (address,) = books.pod("web")

    (holder,) = report.holders(picture.take(books.store), [address.ip, ip_address("10.65.0.255")])

    assert (holder.address, holder.node, holder.owner) == (address.ip, "n1", "pod shop/web on n1")
    assert holder.block_of == "host:n1"


def test_borrowed_addresses_are_those_from_blocks_of_others(books):
    books.node("n2")
    books.pod("many", count=14 * 16 + 1)
    books.pod("other", "n2", count=20)

    borrowed = report.borrowers(picture.take(books.store))

    assert {holder.node for holder in borrowed} == {"n2"}
    assert {holder.block_of for holder in borrowed} == {"host:n1"}


# --- splitting ------------------------------------------------------------------------------------------------

POOL = IPPool(Metadata("big", labels={"zone": "a"}), ip_network("10.65.0.0/24"), block_size=26, nat_outgoing=True)


def test_a_pool_is_cut_into_equal_parts_that_keep_all_else():
    parts = split.parts(POOL, 4, taken=["big"])

    assert [part.meta.name for part in parts] == ["split-big-0", "split-big-1", "split-big-2", "split-big-3"]
    assert [part.cidr for part in parts] == list(POOL.cidr.subnets(new_prefix=26))
    assert {(part.nat_outgoing, part.block_size, part.meta.labels["zone"]) for part in parts} == {(True, 26, "a")}


@pytest.mark.parametrize(
    ("number", "taken", "words"),
    [
        (3, [], "expected a power of two from 2 on, found 3"),
        (1, [], "expected a power of two from 2 on, found 1"),
        (8, [], "expected 4 parts at most, found 8"),
        (2, ["split-big-1"], "there is a pool 'split-big-1' already"),
    ],
)
def test_what_cannot_be_cut_is_refused(number, taken, words):
    with pytest.raises(BadInput, match=words):
        split.parts(POOL, number, taken=taken)
