"""The contract of providers that take pod addresses from their cloud: subclass, give it a ``world``.

::

    class TestMyCloud(AddressContract):
        @pytest.fixture
        def world(self) -> AddressWorld:
            return MyWorld()

A world has two running nodes ``n1`` and ``n2`` in one subnet, with room for two prefixes at least on each primary
interface, and nothing taken yet. Where the cloud gives running machines no further interface, ``Room.interfaces`` is
1, and the tests ask for the refusal instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import pytest

from cloudnet.clock import ManualClock
from cloudnet.model.addresses import Family, InterfaceId, Network, NodeName, SubnetId
from cloudnet.model.resources import Node
from cloudnet.provider.api import AddressAllocator, Holdings, Instance, NetworkInterface, Provider, Room, Wanted
from cloudnet.provider.errors import (
    Exhausted,
    NotFound,
    PermissionDenied,
    ProviderError,
    QuotaExceeded,
    Throttled,
    Unavailable,
    Unsupported,
)
from cloudnet.provider.memory import Fault

REFUSALS: Mapping[Fault, type[ProviderError]] = {
    Fault.PERMISSION: PermissionDenied,
    Fault.THROTTLE: Throttled,
    Fault.UNAVAILABLE: Unavailable,
}


class AddressWorld(Protocol):
    """A cloud under test. Calls are named as in ``cloudnet.provider.memory_addresses``: ``assign_addresses``.

    Where the cloud has one call for two of these names, both mean that call.
    """

    clock: ManualClock
    provider: Provider
    nodes: Sequence[Node]

    def truth(self, interface: InterfaceId) -> frozenset[Network]:
        """Return the pod addresses that the cloud really delivers to an interface; empty for one that is gone."""

    def exists(self, interface: InterfaceId) -> bool: ...

    def fragment(self, subnet: SubnetId) -> None:
        """Let somebody else have an address in every free prefix, so that single ones are all that is left."""

    def fill(self, subnet: SubnetId) -> None:
        """Let somebody else have every address that is free."""

    def fail(self, call: str, fault: Fault, *, times: int | None = None, skip: int = 0) -> None:
        """Let calls of that name fail, ``times`` times (``None``: for good) after letting ``skip`` pass."""

    def calls(self, *names: str) -> int:
        """Return how many calls of these names arrived, of all names when none is given."""


class AddressContract:
    """What every provider with an address allocator promises."""

    @pytest.fixture
    def world(self) -> AddressWorld:
        raise NotImplementedError("give the contract a world")

    # --- reading --------------------------------------------------------------------------------------------

    def test_every_machine_has_its_primary_interface_and_room(self, world: AddressWorld) -> None:
        found, machines = read(world), machines_of(world)

        for machine in machines.values():
            (primary,) = (i for i in found.interfaces if i.instance == machine.id)
            assert (primary.id, primary.subnet, primary.primary) == (machine.interface, machine.subnet, True)
            assert not primary.ours
            assert machine.addresses[0] in {a.ip for a in primary.addresses}
            assert found.rooms[machine.id].slots[Family.IPV4] >= 2
            assert found.subnets[machine.subnet].free[Family.IPV4] > 32

    def test_addresses_are_read_in_bulk(self, world: AddressWorld) -> None:
        read(world)
        before = world.calls()

        read(world, nodes=world.nodes[:1])
        one = world.calls() - before
        read(world)

        assert world.calls() - before == 2 * one

    def test_a_machine_that_nobody_asks_for_is_left_out(self, world: AddressWorld) -> None:
        found = read(world, nodes=world.nodes[:1])

        assert {i.instance for i in found.interfaces} == {machines_of(world)[NodeName("n1")].id}

    # --- prefixes and single addresses ----------------------------------------------------------------------

    def test_given_prefixes_are_delivered_and_read_back(self, world: AddressWorld) -> None:
        given = allocator(world).assign(primary(world, "n1"), prefixes(world, 2))

        assert len(set(given)) == 2
        assert world.truth(primary(world, "n1").id) == set(given) == set(primary(world, "n1").cidrs)

    def test_no_two_interfaces_are_given_the_same(self, world: AddressWorld) -> None:
        one = allocator(world).assign(primary(world, "n1"), prefixes(world, 2))
        other = allocator(world).assign(primary(world, "n2"), prefixes(world, 2))

        assert not any(a.overlaps(b) for a in one for b in other)

    def test_an_assignment_is_one_write(self, world: AddressWorld) -> None:
        interface, wanted = primary(world, "n1"), prefixes(world, 2)
        before = world.calls("assign_addresses")

        allocator(world).assign(interface, wanted)

        assert world.calls("assign_addresses") - before == 1

    def test_a_released_prefix_is_gone_and_releasing_again_succeeds(self, world: AddressWorld) -> None:
        kept, gone = allocator(world).assign(primary(world, "n1"), prefixes(world, 2))

        allocator(world).release(primary(world, "n1"), [gone])
        allocator(world).release(primary(world, "n1"), [gone])

        assert primary(world, "n1").cidrs == (kept,)
        assert world.truth(primary(world, "n1").id) == {kept}

    def test_releasing_from_an_interface_that_is_gone_succeeds(self, world: AddressWorld) -> None:
        interface = primary(world, "n1")
        (given,) = allocator(world).assign(interface, prefixes(world, 1))

        allocator(world).release(replace(interface, id=InterfaceId("eni-0123456789abcdef0")), [given])

        assert primary(world, "n1").cidrs == (given,)

    def test_a_fragmented_subnet_is_exhausted_for_prefixes(self, world: AddressWorld) -> None:
        interface, wanted = primary(world, "n1"), prefixes(world, 1)
        world.fragment(interface.subnet)

        with pytest.raises(Exhausted):
            allocator(world).assign(interface, wanted)
        assert world.truth(interface.id) == frozenset()

    def test_a_full_subnet_is_exhausted_for_interfaces_and_addresses(self, world: AddressWorld) -> None:
        interface, wanted = primary(world, "n1"), prefixes(world, 1)
        world.fill(interface.subnet)

        with pytest.raises(Exhausted):
            allocator(world).assign(interface, wanted)

    def test_a_full_interface_is_a_quota_and_not_an_exhausted_subnet(self, world: AddressWorld) -> None:
        slots = room(world).slots[Family.IPV4]
        held = min(slots, 8)
        allocator(world).assign(primary(world, "n1"), prefixes(world, held))

        with pytest.raises(QuotaExceeded) as caught:
            allocator(world).assign(primary(world, "n1"), prefixes(world, slots - held + 1))
        assert not isinstance(caught.value, Exhausted)

    # --- interfaces -----------------------------------------------------------------------------------------

    def test_an_added_interface_is_ours_attached_and_holds_what_was_wanted(self, world: AddressWorld) -> None:
        if room(world).interfaces == 1:
            self.refuses_interfaces(world)
            return
        made = add(world, prefixes(world, 2))
        (seen,) = (i for i in read(world).interfaces if i.id == made.id)

        assert (seen.ours, seen.primary, seen.instance) == (True, False, machines_of(world)[NodeName("n1")].id)
        assert len(seen.cidrs) == 2
        assert seen.addresses
        assert seen.mac
        assert abs(seen.made_at - world.clock.wall()) < 60.0
        assert world.truth(made.id) == set(seen.cidrs)

    def test_an_added_interface_takes_single_addresses_where_prefixes_are_out(self, world: AddressWorld) -> None:
        if room(world).interfaces == 1:
            self.refuses_interfaces(world)
            return
        world.fragment(primary(world, "n1").subnet)

        made = add(world, Wanted(Family.IPV4, 32, 3))
        more = allocator(world).assign(made, Wanted(Family.IPV4, 32, 2))

        assert {c.prefixlen for c in made.cidrs} == {32}
        assert world.truth(made.id) == {*made.cidrs, *more}
        assert len(world.truth(made.id)) == 5

    def test_a_removed_interface_is_gone_with_its_addresses(self, world: AddressWorld) -> None:
        if room(world).interfaces == 1:
            self.refuses_interfaces(world)
            return
        made = add(world, prefixes(world, 1))

        allocator(world).remove_interface(made)
        allocator(world).remove_interface(made)

        assert not world.exists(made.id)
        assert made.id not in {i.id for i in read(world).interfaces}

    def test_a_machines_own_interface_is_never_removed(self, world: AddressWorld) -> None:
        own = primary(world, "n1")

        with pytest.raises(Unsupported):
            allocator(world).remove_interface(own)
        assert world.exists(own.id)

    def test_a_machine_gets_no_more_interfaces_than_its_type_allows(self, world: AddressWorld) -> None:
        for _ in range(room(world).interfaces - 1):
            add(world, prefixes(world, 1))
        before = {i.id for i in read(world).interfaces}

        with pytest.raises((QuotaExceeded, Unsupported)):
            add(world, prefixes(world, 1))
        assert {i.id for i in read(world).interfaces} == before

    def test_an_interface_that_could_not_be_attached_is_found_by_its_mark(self, world: AddressWorld) -> None:
        if room(world).interfaces == 1:
            self.refuses_interfaces(world)
            return
        world.fail("attach_interface", Fault.PERMISSION)
        world.fail("delete_interface", Fault.PERMISSION)

        with pytest.raises(PermissionDenied):
            add(world, prefixes(world, 1))
        (left,) = (i for i in read(world).interfaces if i.ours)

        assert left.instance is None

    def refuses_interfaces(self, world: AddressWorld) -> None:
        machine, wanted = machines_of(world)[NodeName("n1")], prefixes(world, 1)
        before = world.calls()
        with pytest.raises(Unsupported):
            allocator(world).add_interface(machine, machine.subnet, wanted)
        assert world.calls() - before <= 1

    # --- refusals -------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("fault", REFUSALS, ids=lambda f: f.value)
    def test_a_refused_assignment_says_why_and_gives_nothing(self, world: AddressWorld, fault: Fault) -> None:
        interface, wanted = primary(world, "n1"), prefixes(world, 1)
        world.fail("assign_addresses", fault)

        with pytest.raises(REFUSALS[fault]):
            allocator(world).assign(interface, wanted)
        assert world.truth(interface.id) == frozenset()

    @pytest.mark.parametrize("fault", REFUSALS, ids=lambda f: f.value)
    def test_a_refused_read_says_why(self, world: AddressWorld, fault: Fault) -> None:
        world.fail("describe_interfaces", fault)

        with pytest.raises(REFUSALS[fault]):
            read(world)

    def test_what_a_lost_answer_gave_shows_in_the_next_read(self, world: AddressWorld) -> None:
        interface, wanted = primary(world, "n1"), prefixes(world, 1)
        world.fail("assign_addresses", Fault.TIMEOUT, times=1)
        world.fail("assign_addresses", Fault.UNAVAILABLE)

        with pytest.raises(Unavailable):
            allocator(world).assign(interface, wanted)

        assert set(primary(world, "n1").cidrs) == world.truth(interface.id) != frozenset()

    def test_an_interface_that_is_gone_is_not_found(self, world: AddressWorld) -> None:
        gone, wanted = replace(primary(world, "n1"), id=InterfaceId("eni-0123456789abcdef0")), prefixes(world, 1)

        with pytest.raises(NotFound):
            allocator(world).assign(gone, wanted)


def allocator(world: AddressWorld) -> AddressAllocator:
    found = world.provider.addresses
    assert found is not None
    return found


def machines_of(world: AddressWorld) -> Mapping[NodeName, Instance]:
    return world.provider.instances(world.nodes)


def read(world: AddressWorld, *, nodes: Sequence[Node] | None = None) -> Holdings:
    return allocator(world).read(tuple(world.provider.instances(nodes or world.nodes).values()))


def primary(world: AddressWorld, name: str) -> NetworkInterface:
    """Return a node's primary interface as the cloud shows it now."""
    machine = machines_of(world)[NodeName(name)]
    (found,) = (i for i in read(world).interfaces if i.id == machine.interface)
    return found


def room(world: AddressWorld) -> Room:
    return read(world).rooms[machines_of(world)[NodeName("n1")].id]


def prefixes(world: AddressWorld, count: int) -> Wanted:
    """Ask for prefixes of the length that the cloud delegates."""
    return Wanted(Family.IPV4, room(world).lengths[Family.IPV4], count)


def add(world: AddressWorld, wanted: Wanted) -> NetworkInterface:
    machine = machines_of(world)[NodeName("n1")]
    return allocator(world).add_interface(machine, machine.subnet, wanted)
