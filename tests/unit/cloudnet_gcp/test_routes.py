import time
from ipaddress import ip_network

import pytest

from cloudnet.clock import SystemClock
from cloudnet.lab.clouds.conditions import Conditions
from cloudnet.lab.clouds.gcp.calls import Manners
from cloudnet.lab.clouds.trouble import Fault, Trouble
from cloudnet.model.addresses import Family, NodeName
from cloudnet.provider.api import Owner, RouteChange, Verb
from cloudnet.provider.errors import NotFound, QuotaExceeded, Unavailable
from cloudnet_gcp import wire
from cloudnet_gcp.names import Marks, machine_url
from cloudnet_gcp.routes import BLACK_HOLES, parse, show
from cloudnet_gcp.steps import effective_first

MARKS = Marks("test", "vpc")
BLOCK, BLOCK6, OTHER = ip_network("10.65.1.0/26"), ip_network("fd65::/122"), ip_network("10.65.2.0/26")


def ours(destination=BLOCK, instance="z/a", **changes):
    fields = {"name": MARKS.name(destination, instance), "priority": 1000, "description": MARKS.description}
    return wire.Route(destination=destination, instance=machine_url("p", instance), **(fields | changes))


def theirs(destination=BLOCK, priority=1000, **changes):
    return wire.Route("theirs", destination, priority, **({"other": "address 10.0.0.9"} | changes))


def table(*answers, limit=100):
    return parse("vpc", answers, subnets=frozenset({"r/s"}), limit=limit, marks=MARKS)


def test_a_route_of_ours_leads_to_its_machine():
    (route,) = table(ours()).routes

    assert (route.destination, route.next_hop.instance, route.owner) == (BLOCK, "z/a", Owner.OURS)
    assert not route.black_hole


@pytest.mark.parametrize("code", BLACK_HOLES)
def test_a_warning_about_the_next_hop_is_a_black_hole(code):
    (route,) = table(ours(warnings=frozenset({code}))).routes

    assert route.black_hole


def test_another_warning_is_none():
    (route,) = table(ours(warnings=frozenset({"DEPRECATED_RESOURCE_USED"}))).routes

    assert not route.black_hole


@pytest.mark.parametrize(
    ("routes", "owner", "target"),
    [
        ([ours(), theirs(1000)], Owner.FOREIGN, "address 10.0.0.9"),
        ([theirs(priority=100), ours()], Owner.FOREIGN, "route theirs"),
        ([ours(), theirs(priority=2000)], Owner.OURS, "instance z/a"),
        ([theirs(instance="projects/p/zones/z/instances/b", other="")], Owner.FOREIGN, "instance z/b"),
        ([theirs(tags=("web",))], Owner.FOREIGN, "for machines tagged web"),
        ([ours(priority=999), ours(instance="z/b")], Owner.OURS, "instance z/a"),
    ],
    ids=["equal", "better", "a spare behind ours", "a machine", "tagged", "two of ours"],
)
def test_of_several_routes_the_one_that_decides_is_shown(routes, owner, target):
    shown = show(effective_first([r if r.destination == BLOCK else theirs(priority=1000) for r in routes]), MARKS)

    assert shown.owner is owner
    assert target in shown.target


def test_a_quota_of_both_families_is_told_family_by_family():
    local = theirs(ip_network("10.0.0.0/16"), other="subnets of network vpc", static=False)
    seen = table(ours(), ours(OTHER), ours(BLOCK6), local, limit=10)

    room = {
        version: seen.limits[version] - sum(r.destination.version == version for r in seen.routes)
        for version in Family
    }

    assert room == {Family.IPV4: 7, Family.IPV6: 7}


def test_the_table_serves_the_subnets_of_all_nodes_that_were_looked_up(world):
    world.provider.instances(world.nodes)

    (found,) = world.provider.routes.read().tables

    assert (found.id, found.subnets) == ("vpc", {"here/s1", "here/s2", "here/s3"})


def test_a_node_that_nobody_asks_for_falls_out_of_scope(world):
    world.provider.instances(world.nodes)
    world.clock.advance(3601.0)
    world.provider.instances(world.nodes[:1])

    (found,) = world.provider.routes.read().tables

    assert found.subnets == {"here/s1"}


def test_routes_of_another_network_are_not_seen(world):
    world.put("global/networks/other", {})
    world.put(
        "global/routes/elsewhere", {"network": "x/projects/lab/global/networks/other", "destRange": "10.9.0.0/16"}
    )

    (found,) = world.provider.routes.read().tables

    assert found.routes == ()


def test_more_routes_than_a_page_are_read_page_by_page(world):
    for k in range(1001):
        world.put_raw(f"r{k}", ip_network((0x0A400000 + (k << 6), 26)), nextHopIp="10.0.1.99")

    (found,) = world.provider.routes.read().tables

    assert len(found.routes) == 1001
    assert world.google.simulator.counts["compute.routes.list"] == 3


def test_a_table_of_another_name_is_not_ours(world):
    assert world.provider.routes.read(["other"]).tables == ()


def hop(world, name):
    return world.provider.instances(world.nodes)[NodeName(name)].next_hop


def changes(world, count, *, verb=Verb.CREATE, name="n1"):
    target = hop(world, name)
    return [RouteChange(verb, "vpc", ip_network(f"10.66.{k}.0/26"), target) for k in range(count)]


def test_many_changes_are_one_read_and_few_looks(world):
    wanted = changes(world, 100)
    reads = world.google.simulator.counts["compute.routes.list"]

    results = world.provider.routes.apply(wanted)

    assert [r.error for r in results] == [None] * 100
    assert [r.change for r in results] == wanted
    counts = world.google.simulator.counts
    assert counts["compute.routes.list"] - reads == 1
    assert counts["compute.routes.insert"] == 100
    assert counts["compute.globalOperations.list"] <= 10


def test_writes_are_on_the_wire_together(make_world):
    world = make_world(parallel=8, clock=SystemClock(), manners=Manners(operation_seconds=0.0))
    wanted = changes(world, 16)
    world.google.simulator.faults.add(Fault("compute.routes.insert", Trouble.SLOW, seconds=0.3))
    started = time.monotonic()

    results = world.provider.routes.apply(wanted)

    assert [(r.change, r.error) for r in results] == [(change, None) for change in wanted]
    assert time.monotonic() - started < 16 * 0.3 * 0.75


def test_changes_of_another_network_are_not_found_and_do_not_disturb(world):
    good = changes(world, 1)[0]
    elsewhere = RouteChange(Verb.CREATE, "other", BLOCK, good.next_hop)

    first, second = world.provider.routes.apply([elsewhere, good])

    assert isinstance(first.error, NotFound)
    assert second.error is None


def test_a_quota_in_the_middle_leaves_the_rest_their_own_outcome(make_world):
    world = make_world(conditions=Conditions(routes_per_table=3))

    results = world.provider.routes.apply(changes(world, 5))

    assert [type(r.error) for r in results] == [type(None)] * 3 + [QuotaExceeded] * 2


@pytest.mark.parametrize("at_once", [True, False], ids=["the call", "the operation"])
def test_a_full_quota_refuses_a_replacement_and_the_old_route_stays(make_world, at_once):
    world = make_world(conditions=Conditions(routes_per_table=1), manners=Manners(quota_at_once=at_once))
    world.provider.routes.apply(changes(world, 1))
    before = world.truth(None)

    (result,) = world.provider.routes.apply(changes(world, 1, verb=Verb.REPLACE, name="n3"))

    assert isinstance(result.error, QuotaExceeded)
    assert world.truth(None) == before


def test_what_a_deletion_frees_is_there_for_the_creation_beside_it(make_world):
    world = make_world(conditions=Conditions(routes_per_table=1))
    create, other = changes(world, 2)
    world.provider.routes.apply([create])
    (delete,) = changes(world, 1, verb=Verb.DELETE)

    results = world.provider.routes.apply([other, delete])

    assert [(r.change, r.error) for r in results] == [(other, None), (delete, None)]
    assert list(world.truth(None)) == [other.destination]


def test_a_destination_can_be_deleted_and_made_anew_in_one_batch(world):
    world.provider.routes.apply(changes(world, 1))
    (delete,), (create,) = changes(world, 1, verb=Verb.DELETE), changes(world, 1, name="n3")

    results = world.provider.routes.apply([delete, create])

    assert [r.error for r in results] == [None, None]
    assert [hop.instance for hop in world.truth(None).values()] == ["here-a/vm-3"]


def test_a_replacement_that_was_interrupted_is_finished(world):
    (create,) = changes(world, 1)
    world.provider.routes.apply([create])
    world.google.simulator.faults.add(Fault("compute.routes.delete", Trouble.UNAVAILABLE))
    (replace,) = changes(world, 1, verb=Verb.REPLACE, name="n3")
    (cut,) = world.provider.routes.apply([replace])
    world.google.simulator.faults.clear()

    (again,) = world.provider.routes.apply([replace])

    assert isinstance(cut.error, Unavailable)
    assert again.error is None
    assert [d["nextHopInstance"].rpartition("/")[2] for _, d in world.google.project.of("routes")] == ["vm-3"]


def test_a_name_that_somebody_else_took_is_a_conflict_that_says_where_it_leads(world):
    (create,) = changes(world, 1)
    name = world.marks.name(create.destination, create.next_hop.instance)
    world.put_raw(name, OTHER, nextHopIp="10.0.1.99")

    (result,) = world.provider.routes.apply([create])

    assert "already leads to address 10.0.1.99" in str(result.error)


def test_an_operation_that_never_ends_is_given_up(make_world):
    world = make_world(manners=Manners(operation_seconds=1e9), operation_timeout=30.0)
    started = world.clock.now()

    (result,) = world.provider.routes.apply(changes(world, 1))

    assert isinstance(result.error, Unavailable)
    assert "not done after 30 s" in str(result.error)
    assert world.clock.now() - started < 40.0
