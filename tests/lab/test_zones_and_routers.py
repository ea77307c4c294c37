"""Clouds whose routes end at a zone, and networks without an API: what goes natively, and what a fault changes."""

from __future__ import annotations

import pytest

from cloudnet.errors import BadInput
from cloudnet.lab.lab import Lab
from cloudnet.lab.spec import LabSpec

pytestmark = pytest.mark.lab

SHORT = ("--pods", 1, "--name")


def moves(step: dict) -> set[tuple[str, str, str]]:
    return {(path["before"], path["after"], path["reason"]) for path in step["paths"]}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ibm_cloud_routes_inside_a_zone_and_vxlan_carries_the_rest(demo) -> None:
    result = demo("--cloud", "ibm", *SHORT, "tibm", "--only", "quota", "--only", "delete-route")

    steps = {(step["fault"], step["kind"]): step for step in result["steps"]}
    begun = steps["no-routes", "heal"]["paths"]
    assert {(path["from_node"], path["to_block"]) for path in begun} == {
        (f"n{here}", f"10.65.{there}.0/26") for here, there in ((1, 4), (4, 1), (2, 5), (5, 2), (3, 6), (6, 3))
    }
    assert ("none", "vxlan", "quota") in moves(steps["quota", "planned"])
    assert ("none", "vxlan", "unsupported") in moves(steps["quota", "planned"])
    assert 0 < steps["delete-route", "unplanned"]["longest_gap_ms"] < 1000


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_plain_network_routes_what_is_declared_and_probes_find_what_is_not_true(demo) -> None:
    result = demo("--cloud", "static", *SHORT, "tstatic", "--only", "blackhole", "--only", "controller-kill")

    steps = {(step["fault"], step["kind"]): step for step in result["steps"]}
    ground = ("none", "vxlan", "no-cloud")  # an agent that was late lays it only now
    assert moves(steps["no-routes", "heal"]) - {ground} == {
        ("vxlan", "native", "proven"),
        ("vxlan", "direct", "proven"),
    }
    assert moves(steps["blackhole", "unplanned"]) == {
        ("native", "vxlan", "probes-lost"),
        ("direct", "vxlan", "probes-lost"),
    }
    assert steps["controller-kill", "restart"]["lost"] == 0


def test_a_fault_that_a_plain_network_cannot_have_is_refused() -> None:
    lab = Lab.up(LabSpec("tplain", nodes=2, subnets=2, pods=0, cloud="static", agents=False, controller=False))
    try:
        with pytest.raises(BadInput, match="quota cannot be where nobody programs routes: not in a static lab"):
            lab.break_("quota")
        assert lab.state.faults == ()
        assert lab.status().control_plane == "running"
    finally:
        lab.down()
