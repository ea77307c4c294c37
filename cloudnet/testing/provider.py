"""The contract of provider plugins: every one of them passes this suite, the twin in memory first.

Subclass, give it a ``world``, and pytest collects the whole contract::

    class TestMyCloud(ProviderContract):
        @pytest.fixture
        def world(self) -> World:
            return MyWorld()

A ``World`` is a cloud that the test can change and break behind the plugin's back. It has three running nodes
``n1`` to ``n3``, the first two found by provider id and the third by its address, each in a subnet of its own.
Each subnet has its own table, the third one's is the main table or whatever serves subnets without one; where the
capabilities say that routes belong to the network, one table serves all. ``n2`` may not forward yet, or never.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_network
from typing import ClassVar, Protocol

import pytest

from cloudnet.clock import ManualClock
from cloudnet.model.addresses import Family, InterfaceId, Network, NodeName, TableId
from cloudnet.model.resources import Metadata, NextHop, Node
from cloudnet.provider.api import (
    Instance,
    Owner,
    Provider,
    RouteChange,
    RouteProgrammer,
    RouteResult,
    RouteScope,
    RouteTable,
    TableRoute,
    Verb,
)
from cloudnet.provider.errors import (
    Conflict,
    NotFound,
    PermissionDenied,
    ProviderError,
    QuotaExceeded,
    Throttled,
    Unavailable,
    Unsupported,
)
from cloudnet.provider.memory import Fault

BLOCK = ip_network("10.65.1.0/26")
BLOCK6 = ip_network("fd65:1::/122")
OTHER = ip_network("10.65.2.0/26")

WRITES = ("create_route", "replace_route", "delete_route")
REFUSALS: Mapping[Fault, type[ProviderError]] = {
    Fault.THROTTLE: Throttled,
    Fault.PERMISSION: PermissionDenied,
    Fault.QUOTA: QuotaExceeded,
    Fault.UNAVAILABLE: Unavailable,
}


class World(Protocol):
    """A cloud under test. Calls are named as in ``cloudnet.provider.memory``: ``create_route`` and so on."""

    clock: ManualClock
    provider: Provider
    nodes: Sequence[Node]

    def truth(self, table: TableId) -> Mapping[Network, NextHop]:
        """Return what the table really holds; an empty next hop for what leads to no instance."""

    def put_foreign(self, table: TableId, destination: Network) -> None:
        """Let somebody else route the destination to a gateway."""

    def put_route(self, table: TableId, destination: Network, next_hop: NextHop) -> None:
        """Let somebody else route the destination to an instance."""

    def fail(self, call: str, fault: Fault, *, times: int | None = None, skip: int = 0) -> None:
        """Let calls of that name fail, ``times`` times (``None``: for good) after letting ``skip`` pass."""

    def calls(self, *names: str) -> int:
        """Return how many calls of these names arrived, of all names when none is given."""


class InstancesContract:
    """What every provider promises, one that writes nothing too."""

    @pytest.fixture
    def world(self) -> World:
        raise NotImplementedError("give the contract a world")

    def test_every_node_is_found_and_carries_its_address(self, world: World) -> None:
        found = world.provider.instances(world.nodes)

        assert sorted(found) == ["n1", "n2", "n3"]
        for node in world.nodes:
            assert node.addresses[0].ip in found[node.name].addresses
            assert found[node.name].running

    def test_nodes_are_looked_up_in_bulk(self, world: World) -> None:
        several = [n for n in world.nodes if n.provider_id]
        world.provider.instances(several[:1])
        for_one = world.calls()
        world.provider.instances(several)

        assert world.calls() <= 2 * for_one

    def test_no_nodes_cost_no_call(self, world: World) -> None:
        assert world.provider.instances([]) == {}
        assert world.calls() == 0

    def test_a_node_without_a_machine_is_left_out(self, world: World) -> None:
        gone = Node(Metadata("gone"), provider_id="cloud:///zone/i-0123456789abcdef0")

        assert sorted(world.provider.instances([*world.nodes, gone])) == ["n1", "n2", "n3"]


class ProviderContract(InstancesContract):
    """What every provider with a route programmer promises besides.

    ``NEXT_HOP``: a node that forwards and that a route in the table of ``n1`` may lead to.
    ``READS_TO_JOIN``: what it may cost to look at three tables before and after a route is made in each.
    """

    READS_TO_JOIN: ClassVar[int] = 3
    NEXT_HOP: ClassVar[str] = "n3"

    # --- forwarding -----------------------------------------------------------------------------------------

    def test_forwarding_is_allowed_once_and_seen_afterwards(self, world: World) -> None:
        before = instance(world, "n2")
        if world.provider.capabilities.forwarding_fixed:
            return refused_for_ever(world, before)
        world.provider.allow_forwarding(before)
        after = instance(world, "n2")
        calls = world.calls("modify_interface")
        world.provider.allow_forwarding(after)

        assert not before.forwarding
        assert after.forwarding
        assert world.calls("modify_interface") == calls == 1
        return None

    def test_an_interface_that_is_gone_is_not_found(self, world: World) -> None:
        gone = replace(instance(world, "n2"), interface=InterfaceId("eni-0123456789abcdef0"))
        if world.provider.capabilities.forwarding_fixed:
            return refused_for_ever(world, gone)

        with pytest.raises(NotFound):
            world.provider.allow_forwarding(gone)
        return None

    # --- reading --------------------------------------------------------------------------------------------

    def test_each_subnet_has_its_table(self, world: World) -> None:
        machines = world.provider.instances(world.nodes).values()
        found = routes(world).read()

        shared = world.provider.capabilities.route_scope is RouteScope.NETWORK
        assert all(len(found.of(m.subnet)) == 1 for m in machines)
        assert len({t.id for m in machines for t in found.of(m.subnet)}) == (1 if shared else len(world.nodes))

    def test_a_read_can_be_narrowed_to_some_tables(self, world: World) -> None:
        wanted = table_of(world, "n1").id

        assert [t.id for t in routes(world).read([wanted]).tables] == [wanted]

    def test_a_table_tells_how_much_fits(self, world: World) -> None:
        table = table_of(world, "n1")

        assert all(limit > 0 for limit in table.limits.values())

    def test_somebody_elses_route_is_told_apart_and_named(self, world: World) -> None:
        table = table_of(world, "n1")
        world.put_foreign(table.id, OTHER)

        route = route_in(world, table, OTHER)

        assert route is not None
        assert route.owner is Owner.FOREIGN
        assert route.target

    # --- writing --------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("block", [BLOCK, BLOCK6], ids=["ipv4", "ipv6"])
    def test_a_created_route_is_read_back_with_its_next_hop(self, world: World, block: Network) -> None:
        table, hop = table_of(world, "n1"), instance(world, self.NEXT_HOP).next_hop
        error = apply(world, Verb.CREATE, table, hop, block=block)

        if Family(block.version) not in world.provider.capabilities.families:
            assert isinstance(error, Unsupported)
            return
        assert error is None
        route = route_in(world, table, block)
        assert route is not None
        assert route.next_hop.same_as(hop)
        assert route.owner is not Owner.FOREIGN
        assert not route.black_hole

    def test_creating_what_exists_alike_succeeds(self, world: World) -> None:
        table, hop = table_of(world, "n1"), instance(world, "n2").next_hop

        assert apply(world, Verb.CREATE, table, hop) is None
        assert apply(world, Verb.CREATE, table, hop) is None

    def test_a_create_leaves_another_instances_route_alone(self, world: World) -> None:
        table, theirs = table_of(world, "n1"), instance(world, "n3").next_hop
        world.put_route(table.id, BLOCK, theirs)

        error = apply(world, Verb.CREATE, table, instance(world, "n2").next_hop)

        assert isinstance(error, Conflict)
        assert str(theirs.interface) in str(error) or str(theirs.instance) in str(error)
        assert world.truth(table.id)[BLOCK].same_as(theirs)

    @pytest.mark.parametrize("verb", Verb)
    def test_a_foreign_route_is_never_touched(self, world: World, verb: Verb) -> None:
        table = table_of(world, "n1")
        world.put_foreign(table.id, BLOCK)

        error = apply(world, verb, table, instance(world, "n2").next_hop)

        assert isinstance(error, Conflict)
        assert world.truth(table.id)[BLOCK] == NextHop()

    def test_a_replaced_next_hop_leaves_no_gap(self, world: World) -> None:
        table, hop = table_of(world, "n1"), instance(world, "n3").next_hop
        apply(world, Verb.CREATE, table, instance(world, "n2").next_hop)

        assert apply(world, Verb.REPLACE, table, hop) is None
        assert world.truth(table.id)[BLOCK].same_as(hop)
        assert world.calls("delete_route") == 0

    def test_replacing_by_what_stands_there_writes_nothing(self, world: World) -> None:
        table, hop = table_of(world, "n1"), instance(world, "n2").next_hop
        apply(world, Verb.CREATE, table, hop)

        assert apply(world, Verb.REPLACE, table, hop) is None
        assert world.calls("replace_route") == 0

    def test_replacing_what_is_absent_is_not_found(self, world: World) -> None:
        error = apply(world, Verb.REPLACE, table_of(world, "n1"), instance(world, "n2").next_hop)

        assert isinstance(error, NotFound)

    def test_a_deleted_route_is_gone(self, world: World) -> None:
        table, hop = table_of(world, "n1"), instance(world, "n2").next_hop
        apply(world, Verb.CREATE, table, hop)

        assert apply(world, Verb.DELETE, table, hop) is None
        assert BLOCK not in world.truth(table.id)

    def test_deleting_what_is_absent_succeeds(self, world: World) -> None:
        assert apply(world, Verb.DELETE, table_of(world, "n1"), instance(world, "n2").next_hop) is None

    def test_a_delete_spares_a_route_that_leads_elsewhere_by_now(self, world: World) -> None:
        table, theirs = table_of(world, "n1"), instance(world, "n3").next_hop
        world.put_route(table.id, BLOCK, theirs)

        error = apply(world, Verb.DELETE, table, instance(world, "n2").next_hop)

        assert isinstance(error, Conflict)
        assert world.truth(table.id)[BLOCK].same_as(theirs)

    def test_a_table_that_is_gone_refuses_a_create_and_has_nothing_to_delete(self, world: World) -> None:
        gone, hop = RouteTable(TableId("rtb-0123456789abcdef0"), frozenset()), instance(world, "n2").next_hop

        assert isinstance(apply(world, Verb.CREATE, gone, hop), NotFound)
        assert isinstance(apply(world, Verb.REPLACE, gone, hop), NotFound)
        assert apply(world, Verb.DELETE, gone, hop) is None

    # --- refusals -------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("fault", REFUSALS, ids=lambda f: f.value)
    @pytest.mark.parametrize("verb", Verb, ids=lambda v: v.value)
    def test_a_refused_write_says_why_and_changes_nothing(self, world: World, verb: Verb, fault: Fault) -> None:
        table, hop = table_of(world, "n1"), instance(world, "n2").next_hop
        if verb is not Verb.CREATE:
            world.put_route(table.id, BLOCK, hop)
        before = world.truth(table.id)
        world.fail(f"{verb.value}_route", fault)

        error = apply(world, verb, table, instance(world, "n3").next_hop if verb is Verb.REPLACE else hop)

        assert type(error) is REFUSALS[fault]
        assert world.truth(table.id) == before

    @pytest.mark.parametrize("fault", [Fault.PERMISSION, Fault.THROTTLE, Fault.UNAVAILABLE], ids=lambda f: f.value)
    def test_a_refused_read_says_why(self, world: World, fault: Fault) -> None:
        world.fail("describe_tables", fault)
        world.fail("describe_instances", fault)

        with pytest.raises(REFUSALS[fault]):
            routes(world).read()
        with pytest.raises(REFUSALS[fault]):
            world.provider.instances(world.nodes)

    @pytest.mark.parametrize("fault", [Fault.PERMISSION, Fault.QUOTA], ids=lambda f: f.value)
    def test_one_refusal_hides_no_other_change(self, world: World, fault: Fault) -> None:
        hop = instance(world, "n2").next_hop
        tables = [table_of(world, name).id for name in ("n1", "n2", "n3")]
        places = list(zip(tables, blocks(3), strict=True))
        world.fail("create_route", fault, times=1, skip=1)

        results = routes(world).apply([RouteChange(Verb.CREATE, table, block, hop) for table, block in places])

        assert [type(r.error) for r in results] == [type(None), REFUSALS[fault], type(None)]
        assert [block in world.truth(table) for table, block in places] == [True, False, True]

    @pytest.mark.parametrize("fault", [Fault.THROTTLE, Fault.UNAVAILABLE], ids=lambda f: f.value)
    def test_a_passing_failure_is_tried_again(self, world: World, fault: Fault) -> None:
        table, hop = table_of(world, "n1"), instance(world, "n2").next_hop
        world.fail("create_route", fault, times=2)

        assert apply(world, Verb.CREATE, table, hop) is None
        assert world.calls("create_route") == 3

    @pytest.mark.parametrize("fault", [Fault.PERMISSION, Fault.QUOTA], ids=lambda f: f.value)
    def test_a_lasting_refusal_is_not_tried_again(self, world: World, fault: Fault) -> None:
        world.fail("create_route", fault)

        apply(world, Verb.CREATE, table_of(world, "n1"), instance(world, "n2").next_hop)

        assert world.calls("create_route") == 1

    def test_a_cloud_that_is_down_costs_one_deadline_not_one_for_each_change(self, world: World) -> None:
        table, hop = table_of(world, "n1"), instance(world, "n2").next_hop
        world.fail("create_route", Fault.UNAVAILABLE)
        started = world.clock.now()

        results = routes(world).apply([RouteChange(Verb.CREATE, table.id, b, hop) for b in blocks(50)])

        assert all(isinstance(r.error, Unavailable) for r in results)
        assert world.clock.now() - started < 15.0

    @pytest.mark.parametrize("verb", Verb, ids=lambda v: v.value)
    def test_a_write_whose_answer_is_lost_once_succeeds(self, world: World, verb: Verb) -> None:
        table, hop = table_of(world, "n1"), instance(world, "n2").next_hop
        if verb is not Verb.CREATE:
            world.put_route(table.id, BLOCK, hop)
        world.fail(f"{verb.value}_route", Fault.TIMEOUT, times=1)
        wanted = instance(world, "n3").next_hop if verb is Verb.REPLACE else hop

        assert apply(world, verb, table, wanted) is None
        held = world.truth(table.id).get(BLOCK)
        assert held is None if verb is Verb.DELETE else held is not None and held.same_as(wanted)

    def test_a_create_whose_answers_are_all_lost_is_unknown_until_read_back(self, world: World) -> None:
        table, hop = table_of(world, "n1"), instance(world, "n2").next_hop
        world.fail("create_route", Fault.TIMEOUT, times=1)
        world.fail("create_route", Fault.UNAVAILABLE)

        error = apply(world, Verb.CREATE, table, hop)

        assert isinstance(error, Unavailable)
        route = route_in(world, table, BLOCK)
        assert route is not None
        assert route.next_hop.same_as(hop)

    # --- what it costs --------------------------------------------------------------------------------------

    def test_a_joining_node_costs_a_create_for_each_table_and_few_reads(self, world: World) -> None:
        world.provider.instances(world.nodes)
        tables = routes(world).read().tables
        reads, writes = world.calls("describe_tables", "describe_instances"), world.calls(*WRITES)

        hop = instance(world, "n2").next_hop
        results = routes(world).apply([RouteChange(Verb.CREATE, t.id, BLOCK, hop) for t in tables])
        routes(world).read()

        assert all(r.error is None for r in results)
        assert world.calls(*WRITES) - writes == len(tables)
        assert world.calls("describe_tables", "describe_instances") - reads <= self.READS_TO_JOIN


def refused_for_ever(world: World, instance: Instance) -> None:
    """Hold that forwarding which is settled when a machine is made is refused without a call, and with the remedy."""
    calls = world.calls()

    with pytest.raises(Unsupported, match="make it anew"):
        world.provider.allow_forwarding(instance)
    assert not instance.forwarding
    assert world.calls() == calls


def routes(world: World) -> RouteProgrammer:
    programmer = world.provider.routes
    assert programmer is not None
    return programmer


def instance(world: World, name: str) -> Instance:
    return world.provider.instances(world.nodes)[NodeName(name)]


def table_of(world: World, name: str) -> RouteTable:
    """Return the table that the node's own packets are looked up in."""
    machine = instance(world, name)
    (found,) = routes(world).read().of(machine.subnet)
    return found


def route_in(world: World, table: RouteTable, block: Network) -> TableRoute | None:
    """Return what a read shows for the block."""
    (found,) = routes(world).read([table.id]).tables
    return next((r for r in found.routes if r.destination == block), None)


def apply(
    world: World, verb: Verb, table: RouteTable, hop: NextHop, *, block: Network = BLOCK
) -> ProviderError | None:
    """Carry out one change and return its error."""
    result: RouteResult
    (result,) = routes(world).apply([RouteChange(verb, table.id, block, hop)])
    return result.error


def blocks(count: int) -> list[Network]:
    return [ip_network(f"10.66.{k}.0/26") for k in range(count)]
