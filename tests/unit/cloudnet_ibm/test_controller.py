"""The whole controller on IBM Cloud: what it programs in which zone, what it believes, and what a restart costs."""

from ipaddress import ip_network

import pytest

from cloudnet.controller.options import Options
from cloudnet.controller.simulate import Simulation
from cloudnet.lab.clouds.conditions import Conditions
from cloudnet.model.resources import BlockAffinity, Cause, CloudNode, CloudRoute, Metadata, RouteState
from cloudnet.store.memory import MemoryStore

WRITES = ("create_vpc_routing_table_route", "update_vpc_routing_table_route", "delete_vpc_routing_table_route")


@pytest.fixture
def stocked():
    """Return what fills a store with the nodes of a VPC, a block each."""

    def fill(vpc):
        made = MemoryStore()
        for k, node in enumerate(vpc.nodes.values(), start=1):
            made.create(node)
            made.create(BlockAffinity(Metadata(f"{node.name}-block"), node.name, block(k)))
        return made

    return fill


@pytest.fixture
def store(vpc, stocked):
    return stocked(vpc)


def block(k):
    return ip_network(f"10.65.{k}.0/26")


def controller(vpc, store):
    return Simulation(store, vpc.provider, vpc.clock, Options())


def states(store, k):
    """Return ``{table: (state, cause)}`` of a block."""
    (route,) = (s.value for s in store.list(CloudRoute).items if s.value.cidr == block(k))
    return {s.table: (s.state, s.cause) for s in route.tables}


def writes(vpc):
    return sum(vpc.simulator.counts[name] for name in WRITES)


def test_a_block_is_routed_in_its_zone_and_refused_in_the_others_without_a_call(vpc, store):
    controller(vpc, store).run(30.0)

    programmed, never = (RouteState.PROGRAMMED, Cause.NONE), (RouteState.REFUSED, Cause.UNSUPPORTED)
    assert states(store, 1) == {
        vpc.table("t-a", 1): programmed,
        vpc.table("t-a", 2): never,
        vpc.table("t-b", 1): programmed,
    }
    assert states(store, 3) == {
        vpc.table("t-a", 1): never,
        vpc.table("t-a", 2): programmed,
        vpc.table("t-b", 1): never,
    }
    assert writes(vpc) == 5  # two blocks in two tables of the first zone, one in the second's
    assert all(s.value.forwarding for s in store.list(CloudNode).items)


def test_a_route_is_believed_once_it_is_in_force(vpc, store):
    vpc.plane.conditions = Conditions(routes_per_table=200, read_delay=3.0)
    running = controller(vpc, store)
    running.run(2.5)
    early = states(store, 1)[vpc.table()]
    running.run(30.0)

    assert early == (RouteState.PENDING, Cause.NONE)
    assert states(store, 1)[vpc.table()] == (RouteState.PROGRAMMED, Cause.NONE)
    assert vpc.simulator.counts["create_vpc_routing_table_route"] == 5


def test_another_controller_finds_everything_in_place_and_writes_nothing(vpc, store):
    controller(vpc, store).run(30.0)
    before = writes(vpc)
    controller(vpc, store).run(30.0)

    assert writes(vpc) == before
    assert states(store, 1)[vpc.table()] == (RouteState.PROGRAMMED, Cause.NONE)


def test_a_controller_that_starts_while_a_route_is_on_its_way_makes_no_second_one(vpc, store):
    vpc.plane.conditions = Conditions(routes_per_table=200, read_delay=20.0)
    controller(vpc, store).run(5.0)
    controller(vpc, store).run(60.0)

    assert states(store, 1)[vpc.table()] == (RouteState.PROGRAMMED, Cause.NONE)
    assert vpc.simulator.counts["create_vpc_routing_table_route"] == 5
    assert len(vpc.held("t-b")) == 2


def test_a_node_that_leaves_takes_its_routes_along(vpc, store):
    running = controller(vpc, store)
    running.run(30.0)
    store.delete(BlockAffinity, "n1-block")
    running.run(60.0)

    assert {r.destination for t in ("t-a", "t-b") for r in vpc.held(t)} == {block(2), block(3)}


def test_zones_share_the_room_of_a_table_and_the_rest_has_its_reason(make_vpc, stocked):
    vpc = make_vpc(routes_per_table=3)
    store = stocked(vpc)
    vpc.put("theirs", ip_network("192.168.0.0/24"))
    controller(vpc, store).run(60.0)

    assert len(vpc.held()) == 3
    assert states(store, 1)[vpc.table()] == states(store, 2)[vpc.table()] == (RouteState.PROGRAMMED, Cause.NONE)
    assert states(store, 3)[vpc.table(zone=2)] == (RouteState.REFUSED, Cause.QUOTA)


def test_an_idle_hour_costs_lists_only(vpc, store):
    running = controller(vpc, store)
    running.run(60.0)
    vpc.simulator.counts.clear()
    running.run(3600.0)

    counts = vpc.simulator.counts
    assert writes(vpc) == 0
    assert counts["list_instances"] == counts["list_vpc_routing_tables"] == 4
    assert counts["list_vpc_routing_table_routes"] == 4 * 2
    assert counts["list_virtual_network_interfaces"] <= 1
    assert counts.total() <= 4 + 4 + 8 + 1
