from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cloudnet.ipam import block as blocks
from cloudnet.ipam.block import Release
from cloudnet.ipam.errors import AddressTaken, StaleRelease
from cloudnet.model import kinds
from cloudnet.model.resources import Affinity, AllocationAttribute, IPAMBlock

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
CIDR = ip_network("10.65.1.0/29")
WEB = AllocationAttribute("net.web", {"pod": "web", "node": "n1"})
API = AllocationAttribute("net.api", {"pod": "api", "node": "n1"})


def fresh(cidr=CIDR, sequence=100):
    return blocks.new(cidr, Affinity("n1"), now=NOON, sequence=sequence)


def ip(last):
    return ip_address(f"10.65.1.{last}")


# --- giving -------------------------------------------------------------------------------------------------


def test_a_new_block_is_free_from_the_lowest_address_on():
    block = fresh()

    assert block.unallocated == tuple(range(8))
    assert block.allocations == (None,) * 8
    assert (block.sequence_number, block.claimed_at, str(block.affinity)) == (100, NOON, "host:n1")
    assert block.meta.name == "10-65-1-0-29"
    assert blocks.is_empty(block)


def test_addresses_are_given_in_the_order_of_the_queue():
    block, given_ = blocks.auto_assign(replace(fresh(), unallocated=(5, 0, 3, 1, 2, 4, 6, 7)), 2, WEB)

    assert given_ == (ip(5), ip(0))
    assert block.unallocated == (3, 1, 2, 4, 6, 7)
    assert blocks.attribute(block, ip(5)) == WEB


def test_a_full_block_gives_fewer_addresses():
    block, given_ = blocks.auto_assign(fresh(), 9, WEB)

    assert len(given_) == 8
    assert blocks.auto_assign(block, 1, API) == (block, ())


def test_reserved_addresses_are_passed_over_and_keep_their_place():
    reserved = blocks.reserved(
        fresh(), [ip_network("10.65.1.0/31"), ip_network("fd00::/64"), ip_network("9.0.0.0/8")]
    )
    block, given_ = blocks.auto_assign(fresh(), 2, WEB, reserved=reserved)

    assert given_ == (ip(2), ip(3))
    assert block.unallocated == (0, 1, 4, 5, 6, 7)


def test_a_reservation_wider_than_the_block_covers_all_of_it():
    assert blocks.reserved(fresh(), [ip_network("10.65.0.0/16")]) == set(range(8))


def test_an_allocation_notes_the_sequence_number_before_the_write():
    block = blocks.written(blocks.assign(fresh(), ip(3), WEB))

    assert blocks.sequence(block, ip(3)) == 100
    assert block.sequence_number == 101


def test_equal_attributes_are_stored_once():
    block, _ = blocks.auto_assign(fresh(), 2, WEB)
    block = blocks.assign(blocks.assign(block, ip(5), API), ip(7), WEB)

    assert block.attributes == (WEB, API)
    assert block.allocations == (0, 0, None, None, None, 1, None, 0)


def test_an_address_that_somebody_has_is_not_given():
    with pytest.raises(AddressTaken, match=r"address 10\.65\.1\.3 belongs to handle 'net\.web': release it first"):
        blocks.assign(blocks.assign(fresh(), ip(3), WEB), ip(3), API)


def test_an_address_outside_the_block_is_the_callers_mistake():
    with pytest.raises(ValueError, match=r"10\.65\.1\.8 is not in block 10\.65\.1\.0/29"):
        blocks.assign(fresh(), ip(8), WEB)


# --- taking back --------------------------------------------------------------------------------------------


def test_a_released_address_cools_down_before_it_comes_last_in_the_queue():
    block = blocks.assign(fresh(), ip(0), WEB)

    cooling = blocks.release(blocks.written(block), [Release(ip(0))], now=NOON)

    assert cooling.addresses == (ip(0),)
    assert cooling.handles == {"net.web": 1}
    assert cooling.block.attributes == (AllocationAttribute(released_at=NOON),)
    assert blocks.sequence(cooling.block, ip(0)) == 101
    assert not blocks.is_empty(cooling.block)
    with pytest.raises(AddressTaken, match="cools down"):
        blocks.assign(cooling.block, ip(0), API)
    early = blocks.collect(cooling.block, now=NOON + timedelta(seconds=29), cooldown=30)
    late = blocks.collect(cooling.block, now=NOON + timedelta(seconds=30), cooldown=30)
    assert early == cooling.block
    assert late.unallocated == (1, 2, 3, 4, 5, 6, 7, 0)
    assert (late.attributes, dict(late.sequence_numbers)) == ((), {})
    assert blocks.is_empty(late)


def test_addresses_leave_the_cooling_in_the_order_in_which_they_came():
    block, _ = blocks.auto_assign(fresh(), 8, WEB)
    block = blocks.release(block, [Release(ip(6))], now=NOON).block
    block = blocks.release(block, [Release(ip(2))], now=NOON + timedelta(seconds=1)).block

    assert blocks.collect(block, now=NOON + timedelta(seconds=1), cooldown=0).unallocated == (6, 2)


def test_attributes_that_nobody_uses_any_more_go_and_the_others_are_counted_anew():
    block = blocks.assign(blocks.assign(fresh(), ip(0), WEB), ip(1), API)

    block = blocks.collect(blocks.release(block, [Release(ip(0))], now=NOON).block, now=NOON, cooldown=0)

    assert block.attributes == (API,)
    assert block.allocations[1] == 0


def test_releasing_what_is_free_or_cooling_is_no_error():
    block = blocks.release(blocks.assign(fresh(), ip(0), WEB), [Release(ip(0))], now=NOON).block

    again = blocks.release(block, [Release(ip(0)), Release(ip(5))], now=NOON + timedelta(seconds=5))

    assert again.block == block
    assert again.unallocated == (ip(0), ip(5))


@pytest.mark.parametrize(
    ("stale", "message"),
    [
        (Release(ip(1), handle="net.web"), "belongs to handle 'net.api', not 'net.web'"),
        (Release(ip(1), sequence=99), "was given with sequence number 100, not 99"),
        (Release(ip(5), sequence=99), "was given with sequence number 0, not 99"),
    ],
)
def test_one_stale_release_stops_all_of_them(stale, message):
    block = blocks.assign(blocks.assign(fresh(), ip(0), WEB), ip(1), API)

    with pytest.raises(StaleRelease, match=message):
        blocks.release(block, [Release(ip(0)), stale], now=NOON)


def test_a_late_release_does_not_take_the_address_from_its_next_owner():
    block = blocks.written(blocks.assign(fresh(), ip(0), WEB))
    seen = blocks.sequence(block, ip(0))
    block = blocks.collect(blocks.release(block, [Release(ip(0))], now=NOON).block, now=NOON, cooldown=0)
    block = blocks.assign(blocks.written(block), ip(0), WEB)

    with pytest.raises(StaleRelease):
        blocks.release(block, [Release(ip(0), "net.web", seen)], now=NOON)


def test_a_handle_gives_back_all_it_has_also_under_its_damaged_name():
    damaged = AllocationAttribute("net.web\r\neth0", {"node": "n1"})
    block = blocks.assign(blocks.assign(blocks.assign(fresh(), ip(0), WEB), ip(1), API), ip(4), damaged)

    released = blocks.release_by_handle(block, "net.web", now=NOON)

    assert released.addresses == (ip(0), ip(4))
    assert released.handles == {"net.web": 2}
    assert blocks.held(released.block) == {"net.api": 1}


def test_what_windows_keeps_for_itself_leaves_a_block_empty():
    block = blocks.assign(fresh(), ip(0), AllocationAttribute("Windows-Reserved-IPAM-Handle"))

    assert blocks.is_empty(block)


@pytest.mark.parametrize("cidr", ["10.65.1.0/26", "fd00:65::40/122", "10.65.1.7/32"])
def test_ordinals_and_addresses_are_each_others_inverse(cidr):
    block = fresh(ip_network(cidr))

    assert [blocks.ordinal(block, blocks.address(block, o)) for o in block.unallocated] == list(block.unallocated)


# --- any order of anything ----------------------------------------------------------------------------------


class Life(RuleBasedStateMachine):
    """A block beside a plain dictionary of who has what."""

    def __init__(self) -> None:
        super().__init__()
        self.block: IPAMBlock = fresh()
        self.now = NOON
        self.owners: dict[int, str] = {}

    def write(self, block):
        self.block = blocks.written(block)
        self.now += timedelta(seconds=1)

    @rule(count=st.integers(0, 4), handle=st.sampled_from("abc"), reserved=st.sets(st.integers(0, 7), max_size=4))
    def auto_assign(self, count, handle, reserved):
        block, given_ = blocks.auto_assign(self.block, count, AllocationAttribute(handle), reserved=reserved)
        ordinals = [blocks.ordinal(block, a) for a in given_]
        assert not reserved & set(ordinals)
        assert not self.owners.keys() & set(ordinals)
        self.owners |= dict.fromkeys(ordinals, handle)
        self.write(block)

    @rule(o=st.integers(0, 7), handle=st.sampled_from("abc"))
    def assign(self, o, handle):
        try:
            block = blocks.assign(self.block, ip(o), AllocationAttribute(handle))
        except AddressTaken:
            assert self.block.allocations[o] is not None
        else:
            assert o not in self.owners
            self.owners[o] = handle
            self.write(block)

    @rule(ordinals=st.sets(st.integers(0, 7)))
    def release(self, ordinals):
        released = blocks.release(self.block, [Release(ip(o)) for o in sorted(ordinals)], now=self.now)
        assert set(released.addresses) == {ip(o) for o in ordinals & self.owners.keys()}
        self.owners = {o: handle for o, handle in self.owners.items() if o not in ordinals}
        self.write(released.block)

    @rule(handle=st.sampled_from("abc"))
    def release_by_handle(self, handle):
        self.write(blocks.release_by_handle(self.block, handle, now=self.now).block)
        self.owners = {o: owner for o, owner in self.owners.items() if owner != handle}

    @rule(cooldown=st.integers(0, 5))
    def collect(self, cooldown):
        self.write(blocks.collect(self.block, now=self.now, cooldown=cooldown))

    @invariant()
    def owners_are_as_expected(self):
        found = {o: blocks.attribute(self.block, ip(o)) for o in range(8)}
        assert {o: a.handle for o, a in found.items() if a} == self.owners

    @invariant()
    def every_address_is_free_or_somebodys_or_cools_down(self):
        block = self.block
        assert sorted(block.unallocated) == [o for o, index in enumerate(block.allocations) if index is None]
        assert {index for index in block.allocations if index is not None} == set(range(len(block.attributes)))
        assert set(block.sequence_numbers) == {o for o in range(8) if block.allocations[o] is not None}

    @invariant()
    def its_document_gives_it_back(self):
        assert kinds.decode(kinds.encode(self.block)) == self.block


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


@given(st.lists(st.integers(1, 8), max_size=6))
def test_whatever_is_given_and_taken_back_leaves_an_empty_block(counts):
    block = fresh()
    for i, count in enumerate(counts):
        block, _ = blocks.auto_assign(block, count, AllocationAttribute(f"h{i}"))
    for i, _ in enumerate(counts):
        block = blocks.release_by_handle(block, f"h{i}", now=NOON).block

    block = blocks.collect(block, now=NOON, cooldown=0)

    assert blocks.is_empty(block)
    assert sorted(block.unallocated) == list(range(8))
