from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudnet.model.resources import NextHop
from cloudnet.provider.api import RouteChange, Verb
from cloudnet.provider.errors import Conflict, NotFound, Unsupported
from cloudnet_gcp import wire
from cloudnet_gcp.names import Marks, machine_url
from cloudnet_gcp.steps import PRIORITIES, Delete, Insert, effective_first, plan

MARKS = Marks("prod", "vpc")
BLOCK = ip_network("10.65.1.0/26")


def ours(instance, priority=1000):
    return wire.Route(
        MARKS.name(BLOCK, instance),
        BLOCK,
        priority,
        instance=machine_url("p", instance),
        description=MARKS.description,
    )


def theirs(priority=1000, **hop):
    return wire.Route("theirs", BLOCK, priority, **(hop or {"other": "gateway default-internet-gateway"}))


def steps(verb, target, *standing):
    return plan(RouteChange(verb, "vpc", BLOCK, NextHop(instance=target)), standing, MARKS)


def insert(instance, priority):
    return Insert(MARKS.name(BLOCK, instance), BLOCK, instance, priority)


def delete(instance):
    return Delete(MARKS.name(BLOCK, instance))


@pytest.mark.parametrize(
    ("verb", "target", "standing", "expected"),
    [
        (Verb.CREATE, "z/a", [], [insert("z/a", 1000)]),
        (Verb.CREATE, "z/a", [ours("z/a")], []),
        (Verb.CREATE, "z/a", [ours("z/a", 999), ours("z/b")], [delete("z/b")]),
        (Verb.REPLACE, "z/b", [ours("z/a")], [insert("z/b", 999), delete("z/a")]),
        (Verb.REPLACE, "z/b", [ours("z/a", 999)], [insert("z/b", 1000), delete("z/a")]),
        (Verb.REPLACE, "z/b", [ours("z/b")], []),
        (Verb.REPLACE, "z/b", [ours("z/a"), ours("z/b", 999)], [delete("z/a")]),
        (Verb.REPLACE, "z/b", [ours("z/a", 999), ours("z/b")], [delete("z/a")]),
        (Verb.REPLACE, "z/c", [ours("z/a"), ours("z/b", 999)], [insert("z/c", 1000), delete("z/a"), delete("z/b")]),
        (Verb.DELETE, "z/a", [], [delete("z/a")]),
        (Verb.DELETE, "z/a", [ours("z/a")], [delete("z/a")]),
        (Verb.DELETE, "z/a", [ours("z/a", 999), ours("z/b")], [delete("z/b"), delete("z/a")]),
        (Verb.DELETE, "z/a", [ours("z/a"), theirs(100)], [delete("z/a")]),
    ],
)
def test_what_a_change_takes(verb, target, standing, expected):
    assert list(steps(verb, target, *standing)) == expected


@pytest.mark.parametrize(
    ("verb", "standing", "names"),
    [
        (Verb.CREATE, [theirs()], "default-internet-gateway by route theirs"),
        (Verb.CREATE, [theirs(60000)], "theirs"),
        (Verb.CREATE, [theirs(instance="projects/p/zones/z/instances/x")], "instance z/x by route theirs"),
        (Verb.CREATE, [ours("z/b")], "instance z/b"),
        (Verb.REPLACE, [ours("z/b"), theirs()], "theirs"),
        (Verb.DELETE, [theirs()], "theirs"),
        (Verb.DELETE, [ours("z/b")], "instance z/b"),
    ],
)
def test_what_is_in_the_way_is_named_and_stays(verb, standing, names):
    with pytest.raises(Conflict, match=names):
        steps(verb, "z/a", *standing)


def test_nothing_is_no_place_for_a_replacement():
    with pytest.raises(NotFound):
        steps(Verb.REPLACE, "z/a")


def test_a_next_hop_without_a_machine_is_refused():
    with pytest.raises(Unsupported):
        steps(Verb.CREATE, None)


machines = st.sampled_from(["z/a", "z/b", "z/c"])


@given(st.lists(st.tuples(machines, st.sampled_from(PRIORITIES)), unique_by=lambda s: s[0], min_size=1), machines)
def test_at_no_moment_of_a_replacement_do_packets_find_nothing_or_a_third_way(standing, target):
    routes = {route.name: route for route in (ours(*each) for each in standing)}
    before = effective_first(routes.values())[0].instance
    wanted = machine_url("p", target)

    for step in steps(Verb.REPLACE, target, *routes.values()):
        if isinstance(step, Insert):
            routes[step.name] = ours(step.instance, step.priority)
        else:
            del routes[step.name]
        ways = effective_first(routes.values())
        best = {r.instance for r in ways if r.priority == ways[0].priority}
        assert wanted in best or before in best
        assert len(best) == 1 or len(standing) > 1  # two of ours stood there alike before

    assert {route.instance for route in routes.values()} == {wanted}
