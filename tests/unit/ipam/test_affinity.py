from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network

import pytest

from cloudnet.ipam import affinity, records
from cloudnet.ipam import block as blocks
from cloudnet.ipam.affinity import Moment, Step
from cloudnet.ipam.errors import ClaimLost
from cloudnet.model.resources import Affinity, AffinityState, AllocationAttribute, BlockAffinity, IPAMBlock
from cloudnet.store.api import NotFound
from cloudnet.store.memory import MemoryStore

NOON = Moment(datetime(2026, 1, 2, 12, tzinfo=UTC), 1000)
CIDR = ip_network("10.65.1.0/29")
N1, N2 = Affinity("n1"), Affinity("n2")


@pytest.fixture
def store():
    return MemoryStore()


def state(store, node="n1"):
    try:
        return store.get(BlockAffinity, f"{node}-10-65-1-0-29").value.state
    except NotFound:
        return None


def block(store):
    found = records.find(store, IPAMBlock, "10-65-1-0-29")
    return found and found.value


def as_it_is(block):
    return block


def use(store, address="10.65.1.3"):
    seen = store.get(IPAMBlock, "10-65-1-0-29")
    assigned = blocks.assign(seen.value, ip_address(address), AllocationAttribute("h"))
    store.update(blocks.written(assigned), expected=seen.revision)


# --- the table ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state_", "step"), [*itertools.product([None, *AffinityState], Step)])
def test_a_step_leads_where_the_table_says_or_is_refused(state_, step):
    if (state_, step) in affinity.STEPS:
        assert affinity.after(state_, step) == affinity.STEPS[state_, step]
    else:
        with pytest.raises(ValueError, match=f"cannot {step.value} an affinity"):
            affinity.after(state_, step)


def test_nobody_forgets_a_confirmed_affinity_and_nobody_confirms_what_is_not_pending():
    assert (AffinityState.CONFIRMED, Step.FORGET) not in affinity.STEPS
    assert [at for at, step in affinity.STEPS if step is Step.CONFIRM] == [AffinityState.PENDING]


# --- claiming -----------------------------------------------------------------------------------------------


def test_a_claim_makes_affinity_and_block(store):
    claimed = affinity.claim(store, N1, CIDR, NOON)

    assert state(store) is AffinityState.CONFIRMED
    assert (claimed.value.affinity, claimed.value.claimed_at, claimed.value.sequence_number) == (N1, NOON.now, 1000)


def test_a_claim_of_anothers_block_is_lost_and_leaves_nothing(store):
    affinity.claim(store, N2, CIDR, NOON)

    with pytest.raises(ClaimLost, match=r"block 10\.65\.1\.0/29 belongs to host:n2"):
        affinity.claim(store, N1, CIDR, NOON)

    assert (state(store), state(store, "n2")) == (None, AffinityState.CONFIRMED)


@pytest.mark.parametrize("before", AffinityState)
def test_a_claim_mends_whatever_was_left_of_an_earlier_one(store, before):
    affinity.claim(store, N1, CIDR, NOON)
    left = store.get(BlockAffinity, "n1-10-65-1-0-29")
    store.update(replace(left.value, state=before), expected=left.revision)
    store.delete(IPAMBlock, "10-65-1-0-29")

    affinity.claim(store, N1, CIDR, NOON)

    assert (state(store), block(store).affinity) == (AffinityState.CONFIRMED, N1)


def test_claiming_our_own_block_writes_it_so_that_others_start_over(store):
    first = affinity.claim(store, N1, CIDR, NOON)

    second = affinity.claim(store, N1, CIDR, NOON)

    assert second.revision > first.revision
    assert second.value.sequence_number == first.value.sequence_number + 1


def test_a_block_that_somebody_half_deleted_is_deleted_and_made_anew(store):
    first = affinity.claim(store, N2, CIDR, NOON)
    store.update(replace(first.value, deleted=True), expected=first.revision)

    assert affinity.claim(store, N1, CIDR, NOON).value.affinity == N1


# --- letting go ---------------------------------------------------------------------------------------------


def test_an_empty_block_goes_with_its_affinity(store):
    affinity.claim(store, N1, CIDR, NOON)

    assert affinity.let_go(store, N1, CIDR, NOON, refresh=as_it_is)
    assert (state(store), block(store)) == (None, None)


def test_a_block_in_use_stays_when_only_empty_ones_may_go(store):
    affinity.claim(store, N1, CIDR, NOON)
    use(store)

    assert not affinity.let_go(store, N1, CIDR, NOON, refresh=as_it_is)
    assert (state(store), block(store).affinity) == (AffinityState.CONFIRMED, N1)


def test_a_block_in_use_becomes_nobodys_when_it_must_go(store):
    affinity.claim(store, N1, CIDR, NOON)
    use(store)

    assert affinity.let_go(store, N1, CIDR, NOON, refresh=as_it_is, may_go=lambda _: True)
    assert (state(store), block(store).affinity, block(store).claimed_at) == (None, None, None)
    with pytest.raises(ClaimLost, match="belongs to nobody, but has addresses in use"):
        affinity.claim(store, N2, CIDR, NOON)


def test_a_block_that_is_used_while_it_is_let_go_becomes_its_owners_again(store):
    affinity.claim(store, N1, CIDR, NOON)
    left = store.get(BlockAffinity, "n1-10-65-1-0-29")
    store.update(replace(left.value, state=AffinityState.PENDING_DELETION), expected=left.revision)
    use(store)

    assert not affinity.let_go(store, N1, CIDR, NOON, refresh=as_it_is)
    assert state(store) is AffinityState.CONFIRMED


def test_letting_go_of_anothers_block_leaves_it_alone(store):
    affinity.claim(store, N2, CIDR, NOON)

    affinity.let_go(store, N1, CIDR, NOON, refresh=as_it_is)

    assert (state(store, "n2"), block(store).affinity) == (AffinityState.CONFIRMED, N2)


def test_a_claim_between_the_two_readings_is_seen_and_let_go_as_a_whole():
    class Claimed(MemoryStore):
        """The owner claims right after somebody found that it has no affinity."""

        armed = True

        def get(self, kind, name, namespace=""):
            try:
                return super().get(kind, name, namespace)
            finally:
                if self.armed and kind is BlockAffinity:
                    self.armed = False
                    affinity.claim(self, N1, CIDR, NOON)

    store = Claimed()

    affinity.let_go(store, N1, CIDR, NOON, refresh=as_it_is)

    assert (state(store), block(store)) == (None, None)
