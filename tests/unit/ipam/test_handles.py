from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network

import pytest

from cloudnet.ipam import block as blocks
from cloudnet.ipam import handles
from cloudnet.ipam.block import Release
from cloudnet.model.resources import Affinity, AllocationAttribute, IPAMBlock
from cloudnet.store.api import Conflict
from cloudnet.store.memory import MemoryStore

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
A, B = ip_network("10.65.1.0/28"), ip_network("10.65.2.0/28")


@pytest.fixture(params=[True, False], ids=["atomic", "without-transactions"])
def store(request):
    store = MemoryStore(atomic=request.param)
    for cidr in (A, B):
        store.create(blocks.new(cidr, Affinity("n1"), now=NOON, sequence=1))
    return store


def counts(store, handle="net.Web"):
    seen = handles.find(store, handle)
    return seen and dict(seen.value.blocks)


def read(store, cidr):
    return store.get(IPAMBlock, str(cidr).translate(str.maketrans("./", "--")))


def give(store, cidr, count, handle="net.Web", seen=None):
    seen = seen or read(store, cidr)
    after, _ = blocks.auto_assign(seen.value, count, AllocationAttribute(handle))
    return handles.give(store, handle, seen, after, count=count)


def freed(seen, count):
    """Return a block without its first addresses."""
    first = seen.value.cidr.network_address
    return blocks.release(seen.value, (Release(first + i) for i in range(count)), now=NOON).block


def test_counts_add_up_and_the_handle_keeps_its_capitals(store):
    assert give(store, A, 1)
    assert give(store, A, 2)
    assert give(store, B, 1)

    assert counts(store) == {A: 3, B: 1}
    assert handles.find(store, "net.web").value.handle == "net.Web"


def test_addresses_without_a_handle_are_counted_nowhere(store):
    assert give(store, A, 1, handle="")

    assert counts(store, "") is None
    assert read(store, A).value.allocations[0] is not None


def test_who_was_too_slow_leaves_the_count_as_it_was(store):
    give(store, B, 1)
    old = read(store, A)
    give(store, A, 1, handle="other")

    assert not give(store, A, 2, seen=old)

    assert counts(store) == {B: 1}


def test_who_was_too_slow_with_a_handles_first_address_leaves_no_handle(store):
    old = read(store, A)
    give(store, A, 1, handle="other")

    assert not give(store, A, 2, seen=old)

    assert counts(store) is None


def test_taking_back_writes_what_is_left_and_deletes_an_empty_handle(store):
    give(store, A, 3)
    give(store, B, 1)

    a, b, known = read(store, A), read(store, B), handles.find(store, "net.Web")
    assert handles.take(store, [known], [(a, freed(a, 2))])
    assert counts(store) == {A: 1, B: 1}
    assert handles.take(store, [handles.find(store, "net.Web")], [(b, freed(b, 1))], gone=[A])
    assert counts(store) is None


def test_a_count_that_was_too_high_is_mended(store):
    give(store, A, 3)
    known = handles.find(store, "net.Web")
    store.update(replace(known.value, blocks={A: 7}), expected=known.revision)

    a = read(store, A)
    assert handles.take(store, [handles.find(store, "net.Web")], [(a, freed(a, 1))])

    assert counts(store) == {A: 2}


def test_handles_that_differ_in_case_share_a_document_and_lose_nothing(store):
    give(store, A, 1, handle="net.Web")
    give(store, A, 2, handle="net.web")

    a = read(store, A)
    assert handles.take(store, [handles.find(store, "net.WEB")], [(a, freed(a, 1))])

    assert counts(store) == {A: 2}


def test_a_handle_that_somebody_raised_meanwhile_keeps_what_it_holds(store):
    give(store, A, 1)
    known, a = handles.find(store, "net.Web"), read(store, A)
    give(store, B, 1)

    done = handles.take(store, [known], [(a, freed(a, 1))])

    assert done is not store.atomic
    assert counts(store) == ({A: 1, B: 1} if store.atomic else {B: 1})
    assert blocks.attribute(read(store, B).value, ip_address("10.65.2.0")).handle == "net.Web"


def test_a_block_that_is_nobodys_goes_with_its_last_address(store):
    give(store, A, 1)
    a = read(store, A)
    a = store.update(replace(a.value, affinity=None), expected=a.revision)
    after = blocks.collect(freed(a, 1), now=NOON, cooldown=0)

    assert handles.take(store, [handles.find(store, "net.Web")], [(a, after)])

    assert [item.value.cidr for item in store.list(IPAMBlock).items] == [B]


def test_whoever_raised_a_count_before_it_is_mended_cannot_use_it():
    class Raised(MemoryStore):
        """Somebody reads the block and raises the count right after we wrote the block."""

        seen = None

        def update(self, value, *, expected):
            stored = super().update(value, expected=expected)
            if isinstance(value, IPAMBlock) and self.seen is None:
                self.seen = stored
                known = handles.find(self, "net.Web")
                super().write([handles.raising(known, "net.Web", {A: 1})])
            return stored

    store = Raised(atomic=False)
    store.create(blocks.new(A, Affinity("n1"), now=NOON, sequence=1))
    store.seen = "not now"
    give(store, A, 2)
    known, a, store.seen = handles.find(store, "net.Web"), read(store, A), None

    assert handles.take(store, [known], [(a, freed(a, 1))])

    after, _ = blocks.auto_assign(store.seen.value, 1, AllocationAttribute("net.Web"))
    with pytest.raises(Conflict):
        store.update(after, expected=store.seen.revision)
    assert counts(store) == {A: 1}
