from __future__ import annotations

import pytest

from cloudnet.errors import BadInput
from cloudnet.lab import faults, natives, scenarios
from cloudnet.lab.manners import Manners
from cloudnet.lab.results import StepKind
from cloudnet.lab.scenarios import (
    ALL_NATIVE,
    NATIVE,
    VXLAN,
    Break,
    Expect,
    Heal,
    NewBlock,
    Pair,
    Standing,
    Supply,
)
from cloudnet.model.paths import PathKind, Reason
from cloudnet.model.resources import Cause

PAIRS = (Pair("n1", "b2", adjacent=False), Pair("n1", "b3", adjacent=False), Pair("n1", "b4", adjacent=True))
PROVEN = Standing(PathKind.NATIVE, Reason.PROVEN)
DIRECT = Standing(PathKind.DIRECT, Reason.PROVEN)
QUOTA = Standing(PathKind.VXLAN, Reason.QUOTA)


def standing(second: Standing, third: Standing = PROVEN, fourth: Standing = DIRECT) -> dict:
    return {("n1", "b2"): second, ("n1", "b3"): third, ("n1", "b4"): fourth}


@pytest.mark.parametrize(
    ("expect", "now", "missing"),
    [
        (Expect(NATIVE), standing(PROVEN), ""),
        (Expect(NATIVE), standing(QUOTA), "n1 to b2 is vxlan (quota)"),
        (Expect(NATIVE), standing(QUOTA, QUOTA), "n1 to b2 is vxlan (quota) and 1 more"),
        (Expect(NATIVE), {}, "n1 to b2 is unknown and 2 more"),
        (Expect(NATIVE, block="b3"), standing(QUOTA), ""),
        (Expect(VXLAN), standing(QUOTA, QUOTA), ""),
        (Expect(VXLAN, block="b2"), standing(QUOTA), ""),
        (Expect(VXLAN, at_least=1), standing(PROVEN, QUOTA), ""),
        (Expect(VXLAN, at_least=2), standing(PROVEN, QUOTA), "n1 to b2 is native (proven)"),
        (Expect(VXLAN, at_least=3), standing(QUOTA, QUOTA), "only 2 paths are concerned"),
        (Expect(NATIVE, block="b9"), standing(PROVEN), "only 0 paths are concerned"),
        (Expect(VXLAN, block="b2", reasons=frozenset({Reason.QUOTA})), standing(QUOTA), ""),
        (
            Expect(VXLAN, block="b2", reasons=frozenset({Reason.PERMISSION})),
            standing(QUOTA),
            "n1 to b2 is vxlan (quota)",
        ),
    ],
    ids=[
        "all-native",
        "one-is-not",
        "two-are-not",
        "nothing-known",
        "only-one-block-asked",
        "neighbours-are-not-asked-for-vxlan",
        "one-block-over-vxlan",
        "enough-of-them",
        "not-enough-of-them",
        "more-than-there-are",
        "a-block-that-nobody-knows",
        "for-the-reason",
        "for-another-reason",
    ],
)
def test_what_is_missing(expect, now, missing) -> None:
    assert expect.missing(PAIRS, now, ()) == missing


def test_what_was_seen_in_passing_counts_only_where_it_is_enough() -> None:
    since = [(PAIRS[0], QUOTA)]

    assert Expect(VXLAN, block="b2", seen=True).missing(PAIRS, standing(PROVEN), since) == ""
    assert Expect(VXLAN, block="b2").missing(PAIRS, standing(PROVEN), since)


def test_the_story_breaks_and_heals_every_fault_of_the_lab() -> None:
    steps = (*scenarios.story(6, 3), *natives.story(6, 3))
    actions = [action for step in steps for action in step.do]

    broken = {action.fault for action in actions if isinstance(action, Break)}
    healed = {action.fault for action in actions if isinstance(action, Heal)}
    assert broken == set(faults.KINDS)
    assert healed == set(faults.KINDS)


def test_the_story_of_native_addresses_breaks_what_is_theirs_and_no_routes() -> None:
    found = {step.fault for step in natives.story(6, 3)}

    assert {"fragmented", "exhausted", "take-prefix", "permission", "throttle", "api-down", "agent-kill"} <= found
    assert not {"quota", "foreign-route", "delete-route"} & found
    assert {step.kind for step in natives.story(6, 3)} == set(StepKind)


def test_an_overlays_block_is_asked_about_by_name_only() -> None:
    pair = Pair("n1", "b9", adjacent=False, overlay=True)
    now = {("n1", "b9"): Standing(PathKind.VXLAN, Reason.POOL_MODE), ("n1", "b2"): PROVEN}

    assert ALL_NATIVE.missing([PAIRS[0], pair], now, ()) == ""
    assert Expect(VXLAN, block="b9").missing([PAIRS[0], pair], now, ()) == ""


@pytest.mark.parametrize(
    ("wanted", "at_hand", "cause", "missing"),
    [
        (Supply("n1", at_hand=2), 2, Cause.NONE, ""),
        (Supply("n1", at_hand=2), 1, Cause.QUOTA, "n1 has 1 native addresses at hand, not 2 (quota)"),
        (Supply("n1", cause=Cause.EXHAUSTED), 0, Cause.EXHAUSTED, ""),
        (Supply("n1", cause=Cause.EXHAUSTED), 0, Cause.NONE, "n1 records none, not exhausted"),
    ],
)
def test_a_supply_is_there_or_the_reason_is(wanted, at_hand, cause, missing) -> None:
    assert wanted.missing(at_hand, cause) == missing


def test_a_block_is_named_before_its_prefix_is_known() -> None:
    first, newest = {"n1": "10.0.1.16/28"}, {"n1": "10.0.1.7/32"}

    names = (scenarios.first_of("n1"), scenarios.newest_of("n1"), "10.65.1.0/26", scenarios.first_of("n2"))

    found = [scenarios.resolved(name, first=first, newest=newest) for name in names]
    assert found == ["10.0.1.16/28", "10.0.1.7/32", "10.65.1.0/26", "first of n2"]


def test_the_story_has_a_step_of_every_kind() -> None:
    assert {step.kind for step in scenarios.story(3, 2)} == set(StepKind)


@pytest.mark.parametrize(("nodes", "subnets", "limit"), [(6, 3, "3"), (3, 3, "2"), (4, 2, "2"), (5, 2, "2")])
def test_the_lowered_quota_spares_some_routes_and_not_others(nodes, subnets, limit) -> None:
    quota = next(a for step in scenarios.story(nodes, subnets) for a in step.do if isinstance(a, Break))

    assert (quota.fault, quota.value) == ("quota", limit)


@pytest.mark.parametrize(("nodes", "subnets", "limit"), [(6, 3, "6"), (3, 2, "3")])
def test_where_no_quota_is_told_the_tables_are_full_and_a_new_block_is_refused(nodes, subnets, limit) -> None:
    steps = scenarios.story(nodes, subnets, manners=Manners(flat=False, listed=0, tells_quota=False))

    quota = next(step for step in steps if step.fault == "quota")
    assert quota.do == (Break("quota", value=limit), NewBlock("n1"))
    assert quota.until == Expect(VXLAN, block="10.65.1.64/26", reasons=frozenset({Reason.QUOTA}))
    claim = next(step for step in steps if step.fault == "foreign-route")
    assert claim.until.block == "10.65.1.128/26"


def test_the_lowered_quota_counts_neighbours_where_they_have_routes() -> None:
    quotas = [
        next(a.value for step in scenarios.story(4, 2, manners=manners) for a in step.do if isinstance(a, Break))
        for manners in (Manners(), Manners(flat=False), Manners(flat=False, listed=0))
    ]

    assert quotas == ["2", "3", "2"]


def test_only_the_chosen_faults_are_played_after_the_beginning() -> None:
    found = scenarios.story(3, 3, only=["blackhole"])

    assert [step.fault for step in found] == [scenarios.FIRST, "blackhole", "blackhole"]


@pytest.mark.parametrize(
    ("nodes", "subnets", "only", "says"),
    [
        (2, 2, (), "nodes: the demo needs 3 nodes at least, found 2"),
        (3, 1, (), "subnets: the demo needs 2 subnets at least"),
        (3, 3, ("flood",), "only: expected one of no-routes, quota, .* found 'flood'"),
    ],
    ids=["too-few-nodes", "one-subnet", "unknown-fault"],
)
def test_what_cannot_be_played_is_refused_by_name(nodes, subnets, only, says) -> None:
    with pytest.raises(BadInput, match=says):
        scenarios.story(nodes, subnets, only=only)


# --- clouds are not alike -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("manners", "needed"),
    [
        (Manners(), 4),  # two of six nodes are on the spot
        (Manners(flat=False), 6),
        (Manners(flat=False, zonal=True), 2),
        (Manners(zonal=True), 0),
    ],
    ids=["switch", "routed", "zonal", "zonal-switch"],
)
def test_the_smallest_table_depends_on_what_needs_no_route_and_what_can_have_none(manners, needed):
    assert scenarios.smallest_table(6, 3, 3, manners) == needed


def test_two_subnets_of_a_zone_share_their_routes():
    assert scenarios.smallest_table(6, 4, 2, Manners(flat=False, zonal=True)) == 3


def test_where_there_is_nothing_to_break_nothing_is_broken():
    faults = {step.fault for step in scenarios.story(6, 3, manners=Manners(without=frozenset({"quota", "api-down"})))}

    assert not faults & {"quota", "api-down"}
    assert {"blackhole", "stop-node"} <= faults


def test_a_pair_that_no_route_can_connect_is_asked_nothing():
    far = Pair("n1", "b9", adjacent=False, native=False)
    never = {("n1", "b9"): Standing(PathKind.VXLAN, Reason.UNSUPPORTED)}
    near = {("n1", "b2"): Standing(PathKind.NATIVE, Reason.PROVEN)}

    assert ALL_NATIVE.missing([PAIRS[0], far], {**never, **near}, ()) == ""
    assert ALL_NATIVE.missing([far], never, ()) == "only 0 paths are concerned"


def test_a_death_that_the_cloud_does_not_tell_moves_no_path():
    steps = scenarios.story(6, 3, manners=Manners(tells_death=False))
    (died,) = (step for step in steps if (step.fault, step.kind) == ("stop-node", StepKind.UNPLANNED))

    assert died.until.kinds == NATIVE | VXLAN
