"""Foreign routes, failures of every call, liveness, node life, call budgets and the way between modes."""

from __future__ import annotations

from ipaddress import ip_interface, ip_network

import pytest

from cloudnet.controller.options import Options
from cloudnet.model.addresses import Family
from cloudnet.model.calico import cidr_name
from cloudnet.model.resources import CloudNode, CloudRoute, EncapMode, IPPool, Metadata, NextHop, Node
from cloudnet.provider.memory import Fault
from cloudnet.store.api import change

B0, B1, B2 = "10.65.0.0/26", "10.65.1.0/26", "10.65.2.0/26"

# --- foreign routes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("destination", [B1, "10.65.1.0/28", "10.65.1.17/32"], ids=["the same", "a part", "a host"])
def test_a_foreign_route_over_a_block_stays_and_the_block_goes_over_vxlan(cluster, destination) -> None:
    cluster.cloud.add_foreign_route("rtb-0", ip_network(destination), "tgw-1")
    cluster.join(0, 1)

    cluster.run()

    assert cluster.cloud.routes("rtb-0")[ip_network(destination)].target == "tgw-1"
    status = cluster.status(B1, "rtb-0")
    assert (status.state.value, status.cause.value) == ("conflict", "conflict")
    assert "tgw-1" in status.detail
    assert "remove it" in status.detail
    assert cluster.states(B1)["rtb-2"] == "programmed"


@pytest.mark.parametrize("destination", ["10.65.0.0/16", "0.0.0.0/0", "10.65.200.0/26"])
def test_a_wider_or_unrelated_foreign_route_is_in_nobodys_way(cluster, destination) -> None:
    cluster.cloud.add_foreign_route("rtb-0", ip_network(destination), "tgw-1")
    cluster.join(0, 1)

    cluster.run()

    assert cluster.states(B1) == {"rtb-0": "programmed", "rtb-2": "programmed"}
    assert cluster.cloud.routes("rtb-0")[ip_network(destination)].target == "tgw-1"


def test_a_route_that_somebody_takes_over_is_left_to_them(cluster) -> None:
    cluster.join(0, 1)
    cluster.machine(8)
    cluster.run()

    cluster.cloud.put_route("rtb-0", ip_network(B1), NextHop(interface="eni-8", instance="i-8"))
    cluster.run(1000)

    assert cluster.shown()["rtb-0"][B1] == "eni-8"
    assert cluster.states(B1) == {"rtb-0": "conflict", "rtb-2": "programmed"}


def test_a_foreign_route_that_arrives_between_read_and_write_is_a_conflict(cluster) -> None:
    cluster.join(0)
    cluster.run()
    cluster.cloud.add_foreign_route("rtb-0", ip_network(B1), "nat-1")

    cluster.join(1)
    cluster.run()

    assert cluster.cloud.routes("rtb-0")[ip_network(B1)].target == "nat-1"
    assert cluster.states(B1) == {"rtb-0": "conflict", "rtb-2": "programmed"}


def test_an_identical_route_is_adopted_without_a_write(cluster) -> None:
    cluster.machine(1)
    cluster.cloud.put_route("rtb-0", ip_network(B1), NextHop(interface="eni-1", instance="i-1"))
    cluster.join(0)
    cluster.node(1)
    cluster.block(1)

    cluster.run()

    assert not [c for c in cluster.cloud.log if c.table == "rtb-0" and c.destination == ip_network(B1)]
    assert cluster.states(B1)["rtb-0"] == "programmed"


def test_when_the_foreign_route_goes_the_block_becomes_native(cluster) -> None:
    cluster.cloud.add_foreign_route("rtb-0", ip_network(B1), "tgw-1")
    cluster.join(0, 1)
    cluster.run()

    cluster.cloud.remove_route("rtb-0", ip_network(B1))
    cluster.run(1000)

    assert cluster.states(B1)["rtb-0"] == "programmed"


def test_a_foreign_route_that_goes_is_noticed_within_a_minute_or_so(cluster) -> None:
    cluster.cloud.add_foreign_route("rtb-0", ip_network(B1), "tgw-1")
    cluster.join(0, 1)
    cluster.run()

    cluster.cloud.remove_route("rtb-0", ip_network(B1))
    cluster.run(70)

    assert cluster.states(B1)["rtb-0"] == "programmed"


def test_a_machine_that_starts_again_is_noticed_within_a_minute_or_so(cluster) -> None:
    cluster.join(0, 1)
    cluster.run(900 - cluster.clock.at % 900 - 2)
    cluster.cloud.stop_instance("i-1")
    cluster.run(10)
    assert set(cluster.states(B1).values()) == {"black-holed"}

    cluster.cloud.start_instance("i-1")
    cluster.run(130)

    assert set(cluster.states(B1).values()) == {"programmed"}


def test_a_conflict_that_stays_costs_no_more_reads_than_a_look_every_ten_minutes(cluster) -> None:
    cluster.cloud.add_foreign_route("rtb-0", ip_network(B1), "tgw-1")
    cluster.join(0, 1)
    cluster.run(3600)
    before = cluster.cloud.count("describe_tables")

    cluster.run(3600)

    assert 4 <= cluster.cloud.count("describe_tables") - before <= 7


# --- failures of every call ---------------------------------------------------------------------------------

REFUSED = {
    Fault.PERMISSION: "refused permission",
    Fault.QUOTA: "refused quota",
    Fault.NOT_FOUND: "refused not-found",
    Fault.CONFLICT: "conflict",
}


@pytest.mark.parametrize("fault", list(REFUSED), ids=lambda f: f.value)
def test_a_refused_route_says_why_and_is_tried_again_ever_more_slowly(cluster, fault) -> None:
    cluster.join(0)
    cluster.run()
    cluster.cloud.fail("create_route", fault, destination=ip_network(B1))

    cluster.join(1)
    cluster.run(30)
    assert cluster.states(B1)["rtb-0"].startswith(REFUSED[fault])
    tried = cluster.cloud.count("create_route")
    cluster.run(3600)
    again = cluster.cloud.count("create_route") - tried
    cluster.cloud.heal()
    cluster.run(700)

    assert 2 <= again <= 2 * 9
    assert cluster.states(B1) == {"rtb-0": "programmed", "rtb-2": "programmed"}
    assert any(B1 in said for said in cluster.sim.said)


@pytest.mark.parametrize("fault", [Fault.THROTTLE, Fault.UNAVAILABLE], ids=lambda f: f.value)
def test_a_busy_cloud_leaves_routes_pending_and_recovers_soon(cluster, fault) -> None:
    cluster.join(0)
    cluster.run()
    cluster.cloud.fail("create_route", fault)

    cluster.join(1)
    cluster.run(60)
    pending = cluster.states(B1)
    cluster.cloud.heal()
    cluster.run(90)

    assert {s.split()[0] for s in pending.values()} == {"pending"}
    assert cluster.states(B1) == {"rtb-0": "programmed", "rtb-2": "programmed"}


def test_a_write_whose_answer_is_lost_is_found_by_the_read_back(cluster) -> None:
    cluster.cloud.fail("create_route", Fault.TIMEOUT, times=2)

    cluster.join(0, 1)
    cluster.run(120)

    assert cluster.states(B1) == {"rtb-0": "programmed", "rtb-2": "programmed"}
    assert cluster.shown()["rtb-0"] == {B1: "eni-1"}


def test_one_tables_refusal_does_not_hold_up_another(cluster) -> None:
    cluster.cloud.set_limit("rtb-0", Family.IPV4, 0)

    cluster.join(0, 1, 2)
    cluster.run()

    assert cluster.states(B1) == {"rtb-0": "refused quota", "rtb-2": "programmed"}
    assert "raise the quota" in cluster.status(B1, "rtb-0").detail


def test_permission_lost_keeps_what_is_there(cluster) -> None:
    cluster.join(0, 1)
    cluster.run()
    cluster.cloud.fail("*", Fault.PERMISSION)

    cluster.join(2)
    cluster.run(2000)

    assert cluster.states(B0) == {"rtb-1": "programmed", "rtb-2": "programmed"}
    assert cluster.shown()["rtb-0"] == {B1: "eni-1"}
    assert len(cluster.sim.said) <= 3
    assert any("credentials" in said for said in cluster.sim.said)


def test_denied_forwarding_is_named_and_allowed_once_the_right_is_there(cluster) -> None:
    cluster.cloud.fail("modify_interface", Fault.PERMISSION)
    cluster.machine(0, forwarding=False)
    cluster.node(0)
    cluster.block(0)

    cluster.run()
    denied = cluster.cloud_node(0)
    cluster.cloud.heal()
    cluster.run(700)

    assert not denied.forwarding
    assert "grant" in denied.problem
    assert cluster.cloud_node(0).forwarding
    assert cluster.cloud_node(0).problem == ""


def test_a_cloud_that_is_away_from_the_start_harms_nobody(cluster) -> None:
    cluster.cloud.fail("*", Fault.UNAVAILABLE)
    cluster.join(0, 1)
    cluster.report(0)

    cluster.run(120)
    assert cluster.condition(0).ready
    cluster.cloud.heal()
    cluster.run(60)

    assert cluster.states(B1)["rtb-0"] == "programmed"


# --- liveness -----------------------------------------------------------------------------------------------


def test_nothing_is_programmed_before_a_read_shows_it(make_cluster) -> None:
    cluster = make_cluster(read_delay=8.0)
    cluster.join(0, 1)

    cluster.run(5)
    early = cluster.states(B1)
    cluster.run(30)

    assert set(early.values()) == {"pending"}
    assert set(cluster.states(B1).values()) == {"programmed"}
    assert cluster.cloud.count("create_route") == 4


def test_a_deleted_route_comes_back(cluster) -> None:
    cluster.join(0, 1)
    cluster.run()

    cluster.cloud.remove_route("rtb-0", ip_network(B1))
    cluster.report(0, lost=(B1,))
    cluster.run(3)

    assert cluster.shown()["rtb-0"] == {B1: "eni-1"}
    assert cluster.states(B1)["rtb-0"] == "programmed"


def test_a_refused_deletion_is_tried_again(cluster) -> None:
    cluster.join(0, 1)
    cluster.run()
    cluster.cloud.fail("delete_route", Fault.PERMISSION)

    cluster.leave(1)
    cluster.run(60)
    assert cluster.states(B1)["rtb-0"] == "withdrawing permission"
    cluster.cloud.heal()
    cluster.run(700)

    assert cluster.route(B1) is None
    assert cluster.shown()["rtb-0"] == {}


def test_reports_of_a_dead_route_make_few_reads(cluster) -> None:
    cluster.join(0, 1)
    cluster.run()
    before = cluster.cloud.count("describe_tables")

    cluster.report(0, lost=(B1,))
    cluster.run(3)
    soon = cluster.cloud.count("describe_tables") - before
    cluster.run(3600)

    assert soon >= 1
    assert cluster.cloud.count("describe_tables") - before <= 16


# --- node life ----------------------------------------------------------------------------------------------


def test_routes_are_deleted_only_after_every_agent_left_them(cluster) -> None:
    cluster.join(0, 1, 2)
    for k in (0, 2):
        cluster.report(k)
    cluster.run()

    cluster.leave(1)
    cluster.run(1)
    waiting, shown = cluster.states(B1), cluster.shown()
    revision = cluster.store.get(type(cluster.route(B1)), "10-65-1-0-26").revision
    cluster.report(0, observed=revision)
    cluster.run(1)
    one_left = cluster.shown()
    cluster.report(2, observed=revision + 5)
    cluster.run(1)

    assert waiting == {"rtb-0": "withdrawing", "rtb-2": "withdrawing"}
    assert B1 in shown["rtb-0"]
    assert B1 not in one_left["rtb-0"]
    assert B1 in one_left["rtb-2"]
    assert B1 not in cluster.shown()["rtb-2"]
    assert cluster.route(B1) is None
    assert cluster.cloud_node(1) is None
    assert cluster.condition(1) is None


def test_a_silent_agent_holds_a_deletion_up_for_the_timeout_only(cluster) -> None:
    cluster.join(0, 1)
    cluster.report(0)
    cluster.run()

    cluster.leave(1)
    cluster.run(9)
    assert B1 in cluster.shown()["rtb-0"]
    cluster.run(3)

    assert B1 not in cluster.shown()["rtb-0"]


def test_a_node_made_again_with_another_machine_and_block_loses_nothing(cluster) -> None:
    cluster.join(0, 1)
    cluster.run()

    cluster.leave(1)
    cluster.cloud.remove_instance("i-1")
    cluster.machine(1, instance="i-11")
    cluster.node(1, instance="i-11")
    cluster.block(1, "10.65.101.0/26")
    cluster.run(30)

    assert cluster.shown()["rtb-0"] == {"10.65.101.0/26": "eni-11"}
    assert cluster.route(B1) is None
    assert cluster.cloud_node(1).instance == "i-11"


def test_a_block_that_another_node_takes_over_is_replaced_in_place(cluster) -> None:
    cluster.join(0, 1)
    cluster.machine(4)
    cluster.node(4)
    cluster.run()

    cluster.leave(1)
    cluster.block(4, B1)
    cluster.run(30)

    assert cluster.shown()["rtb-0"] == {B1: "eni-4"}
    assert cluster.cloud.count("replace_route") == 2
    assert cluster.cloud.count("delete_route") == 0
    assert cluster.route(B1).node == "n4"
    assert set(cluster.states(B1).values()) == {"programmed"}


def test_a_node_that_changes_its_address_is_looked_up_again(cluster) -> None:
    cluster.join(0)
    cluster.run()
    before = cluster.cloud.count("describe_instances")

    new = (ip_interface("10.0.0.77/24"),)
    change(cluster.store, Node, "n0", lambda n: Node(n.meta, new, n.vteps, n.pod_cidrs, n.provider_id))
    cluster.run()

    assert cluster.cloud.count("describe_instances") == before + 1


def test_a_stopped_machine_is_black_holed_and_comes_back_by_itself(cluster) -> None:
    cluster.join(0, 1)
    cluster.run()

    cluster.cloud.stop_instance("i-1")
    cluster.run(1000)
    stopped = cluster.states(B1)
    cluster.cloud.start_instance("i-1")
    cluster.run(1000)

    assert set(stopped.values()) == {"black-holed"}
    assert set(cluster.states(B1).values()) == {"programmed"}
    assert cluster.cloud.count("delete_route", "replace_route") == 0


def test_routes_to_a_terminated_machine_go_and_the_block_says_why(cluster) -> None:
    cluster.join(0, 1)
    cluster.run()

    cluster.cloud.remove_instance("i-1")
    cluster.run(1000)

    assert cluster.shown()["rtb-0"] == {}
    assert cluster.states(B1) == {
        "rtb-0": "refused not-found",
        "rtb-1": "refused not-found",
        "rtb-2": "refused not-found",
    }
    assert "remove the node" in cluster.status(B1, "rtb-0").detail
    assert cluster.cloud_node(1) is None
    assert cluster.states(B0)["rtb-2"] == "programmed"


def test_a_table_deleted_under_us_is_forgotten(cluster) -> None:
    cluster.join(0, 1, 2)
    cluster.run()

    cluster.cloud.remove_table("rtb-0")
    cluster.join(4)
    cluster.run(60)

    assert cluster.states(B1) == {"rtb-2": "programmed"}
    assert cluster.states("10.65.4.0/26") == {"rtb-2": "programmed"}
    assert cluster.cloud_node(0).tables == ()


def test_a_block_of_two_nodes_is_refused_to_both_and_the_rest_is_unharmed(cluster) -> None:
    cluster.join(0, 1, 2)
    cluster.run()

    cluster.block(2, B1)
    cluster.run(30)
    both = cluster.states(B1)
    shown = cluster.shown()["rtb-0"]
    cluster.unblock(2, B1)
    cluster.run(30)

    assert set(both.values()) == {"refused duplicate"}
    assert shown == {B2: "eni-2"}
    assert any("'n1'" in s and "'n2'" in s for s in cluster.sim.said)
    assert cluster.states(B1) == {"rtb-0": "programmed", "rtb-2": "programmed"}


def test_events_in_the_wrong_order_end_the_same(cluster) -> None:
    cluster.join(0)
    cluster.run()

    cluster.block(1)
    cluster.run()
    cluster.node(1)
    cluster.run()
    cluster.machine(1)
    cluster.run(60)

    assert cluster.states(B1) == {"rtb-0": "programmed", "rtb-2": "programmed"}


def test_a_node_that_joins_changes_nothing_about_the_others(cluster) -> None:
    cluster.join(0, 1, 2)
    cluster.run()
    before = [cluster.cloud_node(k) for k in range(3)]
    watch = cluster.store.watch([CloudNode, CloudRoute], since=cluster.store.list(CloudNode).revision)

    cluster.join(3)
    cluster.run()

    assert {e.value.meta.name for e in watch.next(0)} == {"n3", "10-65-3-0-26"}
    assert [cluster.cloud_node(k) for k in range(3)] == before


def test_the_node_condition_follows_the_agent(cluster) -> None:
    cluster.join(0)
    cluster.run()
    before = cluster.condition(0)
    cluster.report(0, ready=True)
    cluster.run()
    ready = cluster.condition(0)

    assert (before.ready, before.reason) == (False, "NoAgent")
    assert (ready.ready, ready.reason) == (True, "GroundReady")


# --- call budgets -------------------------------------------------------------------------------------------


def test_one_node_that_joins_costs_a_create_a_table_and_no_more_reads_than_tables(cluster) -> None:
    cluster.join(0, 1, 2)
    cluster.run()
    reads, writes = cluster.calls()

    cluster.join(3)
    cluster.run(30)

    assert (cluster.calls()[0] - reads, cluster.calls()[1] - writes) == (2, 2)
    assert cluster.refused_calls() == 0


def test_nodes_that_join_within_a_moment_share_a_look_up_and_a_read_back(cluster) -> None:
    cluster.join(0, 1, 2)
    cluster.run()
    reads, _ = cluster.calls()

    for k in (3, 4, 5):
        cluster.join(k)
        cluster.run(0.01)
    cluster.run(30)

    assert cluster.calls()[0] - reads == 2


def test_an_idle_hour_is_at_most_twelve_reads_and_no_write(cluster) -> None:
    cluster.join(*range(6))
    for k in range(6):
        cluster.report(k)
    cluster.run(60)
    reads, writes = cluster.calls()
    revision = cluster.store.list(Node).revision

    cluster.run(3600)

    assert cluster.calls()[0] - reads <= 12
    assert cluster.calls()[1] == writes
    assert cluster.store.list(Node).revision == revision


def test_the_source_check_is_switched_off_once_and_only_where_it_is_on(cluster) -> None:
    for k in (0, 1):
        cluster.machine(k, forwarding=k == 0)
        cluster.node(k)
        cluster.block(k)

    cluster.run(3600)

    assert cluster.cloud.count("modify_interface") == 1
    assert cluster.cloud_node(1).forwarding


# --- the way between modes ----------------------------------------------------------------------------------


def test_blocks_beyond_the_quota_wait_and_are_programmed_when_it_grows(make_cluster) -> None:
    cluster = make_cluster(tables=1, l2_adjacent=False, limit=3)
    cluster.join(*range(5))
    cluster.run()
    before = cluster.shown()["rtb-0"]

    cluster.cloud.set_limit("rtb-0", Family.IPV4, 5)
    cluster.run(1000)

    assert len(before) == 3
    assert cluster.refused_calls() == 0
    assert before.items() <= cluster.shown()["rtb-0"].items()
    assert len(cluster.shown()["rtb-0"]) == 5


def test_a_smaller_quota_withdraws_the_surplus_after_agents_left(make_cluster) -> None:
    cluster = make_cluster(tables=1, l2_adjacent=False, limit=5)
    cluster.join(*range(5))
    cluster.run()

    cluster.cloud.set_limit("rtb-0", Family.IPV4, 3)
    cluster.run(1000)

    assert len(cluster.shown()["rtb-0"]) == 3
    assert cluster.states("10.65.4.0/26") == {"rtb-0": "refused quota"}


def test_headroom_stays_free_for_others(make_cluster) -> None:
    cluster = make_cluster(tables=1, l2_adjacent=False, limit=5, options=Options(headroom=2))
    cluster.join(*range(5))

    cluster.run()

    assert len(cluster.shown()["rtb-0"]) == 3


def test_adjacent_blocks_of_one_node_share_a_route_when_the_table_is_too_small(make_cluster) -> None:
    cluster = make_cluster(tables=1, l2_adjacent=False, limit=2)
    cluster.join(0, 1)
    cluster.run()

    cluster.block(0, "10.65.0.64/26")
    cluster.run(60)

    assert cluster.shown()["rtb-0"] == {"10.65.0.0/25": "eni-0", B1: "eni-1"}
    assert cluster.states("10.65.0.64/26") == {"rtb-0": "programmed"}
    assert cluster.states(B0) == {"rtb-0": "programmed"}
    assert "10.65.0.0/25" in cluster.status(B0, "rtb-0").detail


def test_a_shared_route_is_taken_apart_when_a_block_of_it_goes(make_cluster) -> None:
    cluster = make_cluster(tables=1, l2_adjacent=False, limit=2)
    cluster.join(0, 1)
    cluster.block(0, "10.65.0.64/26")
    cluster.run(60)

    cluster.unblock(0, "10.65.0.64/26")
    cluster.run(60)

    assert cluster.shown()["rtb-0"] == {B0: "eni-0", B1: "eni-1"}
    assert cluster.states(B0) == {"rtb-0": "programmed"}
    assert cluster.route("10.65.0.64/26") is None
    assert cluster.route("10.65.0.0/25") is None


@pytest.mark.parametrize("mode", [EncapMode.ALWAYS, EncapMode.CROSS_SUBNET], ids=lambda m: m.value)
def test_a_pool_that_leaves_native_mode_is_cleaned_up(cluster, mode) -> None:
    cluster.store.create(IPPool(Metadata("default"), ip_network("10.65.0.0/16")))
    cluster.join(0, 1)
    cluster.run()

    change(cluster.store, IPPool, "default", lambda p: IPPool(p.meta, p.cidr, mode))
    cluster.run(60)

    assert cluster.shown()["rtb-0"] == {}
    assert cluster.route(B1) is None


def test_every_route_stands_in_every_table_when_that_is_asked_for(make_cluster) -> None:
    cluster = make_cluster(options=Options(every_route_in_every_table=True))

    cluster.join(0, 1)
    cluster.run()

    assert all(set(routes) == {B0, B1} for routes in cluster.shown().values())


# --- pace ---------------------------------------------------------------------------------------------------


def test_events_after_a_plan_wait_for_each_other_the_longer_the_more_blocks_there_are(cluster) -> None:
    cluster.options = Options(rest_a_block=1.0)
    cluster.restart()
    cluster.join(0, 1)
    cluster.run(60)

    first, second = cluster.block(0, "10.65.10.0/26"), cluster.block(0, "10.65.11.0/26")
    cluster.run(0.5)
    third = cluster.block(0, "10.65.12.0/26")
    cluster.run(0.5)
    early = [bool(cluster.get(CloudRoute, cidr_name(ip_network(b)))) for b in (first, second, third)]
    cluster.run(10)

    assert early == [True, True, False]
    assert set(cluster.states(third).values()) == {"programmed"}
