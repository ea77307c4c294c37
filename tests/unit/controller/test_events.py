"""What people are told at their nodes: each change once, in a sentence with the next step."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from cloudnet.controller import events
from cloudnet.controller.options import Options
from cloudnet.model import cluster_events
from cloudnet.model.addresses import NodeName, TableId
from cloudnet.model.cloud_addresses import CloudAddresses
from cloudnet.model.resources import (
    Cause,
    CloudNode,
    CloudRoute,
    Metadata,
    NodeCondition,
    RouteState,
    TableStatus,
)

BLOCK = ip_network("10.65.1.0/26")


def route(**states: str) -> CloudRoute:
    """Return a route with ``table="state cause"``."""
    tables = []
    for table, text in states.items():
        state, _, cause = text.partition(" ")
        tables.append(TableStatus(TableId(table), RouteState(state), Cause(cause or "none"), f"because of {cause}"))
    return CloudRoute(Metadata("r"), BLOCK, NodeName("n1"), tuple(tables))


def told(old, new) -> list[tuple[str, str]]:
    return [(e.reason.name, e.note) for e in events.of_change(old, new, lambda name: f"uid of {name}")]


def names(old, new) -> list[str]:
    return [name for name, _ in told(old, new)]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (None, route(a="pending"), []),
        (None, route(a="programmed"), ["RouteProgrammed"]),
        (route(a="pending"), route(a="programmed"), ["RouteProgrammed"]),
        (route(a="programmed"), route(a="programmed"), []),
        (None, route(a="refused quota"), ["RouteRefused"]),
        (route(a="refused quota"), route(a="refused quota"), []),
        (route(a="refused quota"), route(a="refused permission"), ["RouteRefused"]),
        (route(a="refused quota"), route(a="pending"), []),
        (route(a="refused quota"), route(a="programmed"), ["RouteProgrammed"]),
        (route(a="refused quota", b="programmed"), route(a="programmed", b="pending"), []),
        (route(a="pending"), route(a="conflict conflict"), ["RouteConflict"]),
        (route(a="programmed"), route(a="black-holed"), ["RouteBlackHoled"]),
        (None, route(a="refused quota", b="refused permission"), ["RouteRefused", "RouteRefused"]),
        (route(a="refused quota"), route(a="withdrawing"), []),
    ],
)
def test_a_node_is_told_of_trouble_when_it_comes_and_when_it_is_over(old, new, expected) -> None:
    assert names(old, new) == expected


def test_tables_that_refuse_a_block_for_one_cause_are_named_in_one_sentence() -> None:
    ((_, note),) = told(None, route(d="refused quota", a="refused quota", b="refused quota", c="refused quota"))

    assert note == (
        "pods of 10.65.1.0/26 are reached over VXLAN, for there is no route in table a, b, c and 1 more: "
        "because of quota"
    )


def condition(*, ready: bool) -> NodeCondition:
    return NodeCondition(Metadata("n1"), ready, "reason", "no address")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (None, condition(ready=False), []),
        (None, condition(ready=True), ["NetworkReady"]),
        (condition(ready=False), condition(ready=True), ["NetworkReady"]),
        (condition(ready=True), condition(ready=True), []),
        (condition(ready=True), condition(ready=False), ["NetworkNotReady"]),
        (condition(ready=False), condition(ready=False), []),
    ],
)
def test_a_node_is_told_when_its_network_begins_to_work_and_when_it_stops(old, new, expected) -> None:
    assert names(old, new) == expected


def test_a_shortage_of_native_addresses_is_told_once_and_when_it_is_over() -> None:
    enough = CloudAddresses(Metadata("n1"))
    short = replace(enough, cause=Cause.EXHAUSTED, detail="subnet s1 has no address left: enlarge it")

    assert told(enough, short) == [("NativeAddressesShort", "subnet s1 has no address left: enlarge it")]
    assert told(short, replace(short, detail="another sentence")) == []
    assert names(short, enough) == ["NativeAddressesEnough"]


def test_a_machine_that_may_not_forward_is_told_once() -> None:
    fine = CloudNode(Metadata("n1"), instance="i-1", interface="eni-1", subnet="s", zone="z")
    closed = replace(fine, problem="interface eni-1 drops pod addresses: allow it")

    assert told(fine, closed) == [("MachineImpaired", "interface eni-1 drops pod addresses: allow it")]
    assert told(closed, closed) == told(closed, fine) == []


def test_events_are_about_the_node_by_name_and_uid() -> None:
    (event,) = events.of_change(None, route(a="refused quota"), lambda name: f"uid of {name}")

    assert event.about == cluster_events.Subject("Node", "n1", uid="uid of n1")


# --- in the loop ----------------------------------------------------------------------------------------------


def warnings(cluster) -> list[tuple[str, str]]:
    return [
        (e.reason.name, e.about.name)
        for e in cluster.sim.told
        if e.reason.severity is cluster_events.Severity.WARNING
    ]


def test_a_full_table_is_told_at_the_nodes_that_it_refuses_and_only_once(make_cluster) -> None:
    cluster = make_cluster(tables=1, l2_adjacent=False, limit=2, options=Options(retry_first=1.0, resync=5.0))
    cluster.join(0, 1, 2, 3)
    cluster.run(5.0)
    first = warnings(cluster)

    cluster.run(60.0)

    assert first == [("RouteRefused", "n2"), ("RouteRefused", "n3")]
    assert warnings(cluster) == first
    refused = next(e for e in cluster.sim.told if e.reason is cluster_events.ROUTE_REFUSED)
    assert "raise the quota of routes per table" in refused.note
    assert refused.about.uid == cluster.get_node(2).meta.uid


def test_a_controller_that_starts_anew_tells_nothing_again(make_cluster) -> None:
    cluster = make_cluster(tables=1, l2_adjacent=False, limit=1, options=Options(retry_first=1.0, resync=5.0))
    cluster.join(0, 1)
    cluster.run(5.0)

    cluster.restart()
    cluster.run(60.0)

    assert cluster.sim.told == []


def test_a_node_is_told_that_it_is_back_on_the_cloud_s_routes(make_cluster) -> None:
    cluster = make_cluster(tables=1, l2_adjacent=False, limit=1, options=Options(retry_first=1.0, resync=5.0))
    cluster.join(0, 1)
    cluster.run(5.0)

    cluster.leave(0)
    cluster.run(60.0)

    assert [e.reason.name for e in cluster.sim.told if e.about.name == "n1"] == ["RouteRefused", "RouteProgrammed"]
