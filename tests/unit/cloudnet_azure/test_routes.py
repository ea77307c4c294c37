from __future__ import annotations

import time
from dataclasses import replace
from ipaddress import ip_network

import pytest

from cloudnet.lab.clouds.azure.words import Codes
from cloudnet.lab.clouds.trouble import Fault, Trouble
from cloudnet.model.addresses import TableId
from cloudnet.provider.api import Owner, RouteChange, Verb
from cloudnet.provider.budget import Kind
from cloudnet.provider.errors import Conflict, NotFound, QuotaExceeded, Unavailable

PUT_TABLE, PUT_ROUTE, DELETE_ROUTE = "RouteTables_CreateOrUpdate", "Routes_CreateOrUpdate", "Routes_Delete"
RT = TableId("rt-1")


def block(k):
    return ip_network(f"10.66.{k}.0/26")


def creates(hop, count, table=RT):
    return [RouteChange(Verb.CREATE, table, block(k), hop("n2")) for k in range(count)]


def outcomes(results):
    return [type(r.error).__name__ if r.error else "ok" for r in results]


def test_few_changes_are_written_route_by_route(cloud, provider, hop):
    assert outcomes(provider.routes.apply(creates(hop, 3))) == ["ok"] * 3

    assert (cloud.count(PUT_ROUTE), cloud.count(PUT_TABLE), cloud.count("RouteTables_Get")) == (3, 0, 1)
    assert cloud.routes("rt-1")[block(0)] == ("cloudnet-c1-10.66.0.0-26", "10.0.2.11")


def test_many_changes_are_one_write_of_their_table(cloud, provider, hop):
    several = [c for k in (1, 2, 3) for c in creates(hop, 100, TableId(f"rt-{k}"))]

    assert outcomes(provider.routes.apply(several)) == ["ok"] * 300

    assert (cloud.count(PUT_TABLE), cloud.count(PUT_ROUTE), cloud.count("RouteTables_List")) == (3, 0, 1)
    assert all(len(cloud.routes(f"rt-{k}")) == 100 for k in (1, 2, 3))


def test_a_whole_write_creates_replaces_and_deletes_and_keeps_the_rest(cloud, provider, hop):
    cloud.add_route("rt-1", "default", "0.0.0.0/0", kind="Internet")
    cloud.add_route("rt-1", "tag", "Storage.WestEurope", kind="Internet")
    cloud.add_route("rt-1", "by-hand", "10.99.0.0/24", address="10.0.3.11")
    provider.routes.apply(creates(hop, 4))
    changes = [
        RouteChange(Verb.REPLACE, RT, block(0), hop("n3")),
        RouteChange(Verb.DELETE, RT, block(1), hop("n2")),
        *[RouteChange(Verb.CREATE, RT, block(k), hop("n2")) for k in (7, 8)],
    ]

    assert outcomes(provider.routes.apply(changes)) == ["ok"] * 4

    held = dict(cloud.outsider_routes("rt-1"))
    assert held["default"] == held["tag"] == "Internet"
    assert held["by-hand"] == "10.0.3.11"
    assert held["cloudnet-c1-10.66.0.0-26"] == "10.0.3.11"
    assert "cloudnet-c1-10.66.1.0-26" not in held
    assert {"cloudnet-c1-10.66.7.0-26", "cloudnet-c1-10.66.8.0-26"} <= set(held)


def test_a_foreign_route_in_a_batch_is_a_conflict_of_its_own(cloud, provider, hop):
    cloud.add_route("rt-1", "theirs", str(block(2)), kind="VirtualNetworkGateway")

    results = provider.routes.apply(creates(hop, 5))

    assert outcomes(results) == ["ok", "ok", "Conflict", "ok", "ok"]
    assert "the virtual network gateway (route 'theirs')" in str(results[2].error)
    assert cloud.routes("rt-1")[block(2)] == ("theirs", "VirtualNetworkGateway")


def test_a_table_that_changes_meanwhile_is_read_again_and_nothing_of_it_is_lost(cloud, provider, hop):
    def in_between(request, answer):  # the moment between our read and our write
        if request.call == "RouteTables_Get" and not request.outsider:
            cloud.simulator.judge = None
            cloud.add_route("rt-1", "late", "10.99.0.0/24", kind="Internet")
        return ()

    cloud.simulator.judge = in_between

    assert outcomes(provider.routes.apply(creates(hop, 5))) == ["ok"] * 5

    assert cloud.routes("rt-1")[ip_network("10.99.0.0/24")] == ("late", "Internet")
    assert len(cloud.routes("rt-1")) == 6
    assert (cloud.count(PUT_TABLE), cloud.count("RouteTables_Get")) == (2, 2)


def test_somebody_who_always_wins_the_race_is_a_conflict(cloud, provider, hop):
    cloud.simulator.faults.add(Fault(PUT_TABLE, Trouble.PRECONDITION))

    assert outcomes(provider.routes.apply(creates(hop, 5))) == ["Conflict"] * 5
    assert cloud.count(PUT_TABLE) == 3


@pytest.mark.parametrize("codes", [Codes(), Codes("MaxRoutesReachedQuota", 409), Codes("LimitOfRoutes", 403)])
def test_what_does_not_fit_is_left_out_and_the_rest_goes_in(cloud, provider, hop, codes):
    cloud.arm.state.codes = codes
    cloud.simulator.conditions = replace(cloud.simulator.conditions, routes_per_table=6)
    cloud.add_route("rt-1", "theirs", "10.99.0.0/24", kind="Internet")

    results = provider.routes.apply(creates(hop, 8))

    assert outcomes(results) == ["ok"] * 4 + ["QuotaExceeded"] * 4
    assert "set routes_per_table to what fits" in str(results[-1].error)
    assert len(cloud.routes("rt-1")) == 5
    assert cloud.count(PUT_TABLE) == 2


def test_a_full_table_takes_deletes_and_replaces_all_the_same(cloud, provider, hop):
    provider.routes.apply(creates(hop, 5))
    cloud.simulator.conditions = replace(cloud.simulator.conditions, routes_per_table=4)
    changes = [
        RouteChange(Verb.DELETE, RT, block(0), hop("n2")),
        RouteChange(Verb.REPLACE, RT, block(1), hop("n3")),
        RouteChange(Verb.CREATE, RT, block(8), hop("n2")),
        RouteChange(Verb.CREATE, RT, block(9), hop("n2")),
    ]

    assert outcomes(provider.routes.apply(changes)) == ["ok", "ok", "QuotaExceeded", "QuotaExceeded"]
    assert cloud.routes("rt-1")[block(1)][1] == "10.0.3.11"


@pytest.mark.parametrize("count", [1, 8], ids=["one-route", "whole-table"])
def test_a_write_waits_for_its_operation_and_another_table_does_not(cloud, provider, hop, count):
    cloud.arm.state.operations.seconds = 5.0
    started = cloud.clock.now()

    assert outcomes(provider.routes.apply(creates(hop, count))) == ["ok"] * count

    assert 5.0 <= cloud.clock.now() - started < 8.0
    assert 3 <= cloud.count("Operations_Get") <= 6


def test_an_operation_without_an_end_is_given_up(cloud, three, hop):
    provider = cloud.provider(operation_seconds=20.0)
    provider.instances(three)
    cloud.arm.state.operations.seconds = 1e9

    (result,) = provider.routes.apply(creates(hop, 1))

    assert isinstance(result.error, Unavailable)
    assert "has not ended after 20 s" in str(result.error)


def test_a_table_that_another_operation_holds_is_waited_for_and_nobody_is_slowed_down(cloud, provider, hop):
    cloud.arm.state.operations.start("Microsoft.Network", table_id(cloud), lambda: None, now=cloud.clock.now())
    cloud.arm.state.operations.seconds = 0.5
    rates = [provider.budget.rate(kind) for kind in Kind]

    assert outcomes(provider.routes.apply(creates(hop, 1))) == ["ok"]

    assert cloud.count(PUT_ROUTE) == 2
    assert cloud.clock.now() >= 11.0
    assert [provider.budget.rate(kind) for kind in Kind] == rates


def table_id(cloud):
    return cloud.outsider("GET", "routeTables/rt-1")["id"]


def test_a_whole_write_whose_answer_is_lost_is_found_to_have_happened(cloud, provider, hop):
    cloud.simulator.faults.add(Fault(PUT_TABLE, Trouble.TIMEOUT, times=1))

    assert outcomes(provider.routes.apply(creates(hop, 6))) == ["ok"] * 6

    assert len(cloud.routes("rt-1")) == 6


def test_a_table_that_is_gone_has_nothing_to_delete(cloud, provider, hop):
    gone = TableId("rt-9")
    changes = [RouteChange(verb, gone, block(k), hop("n2")) for k in range(3) for verb in (Verb.CREATE, Verb.DELETE)]

    assert outcomes(provider.routes.apply(changes)) == ["NotFound", "ok"] * 3


def test_a_table_that_goes_between_read_and_write_has_nothing_to_delete(cloud, provider, hop):
    cloud.simulator.faults.add(Fault(PUT_TABLE, Trouble.NOT_FOUND))
    provider.routes.apply(creates(hop, 2))
    changes = [RouteChange(Verb.DELETE, RT, block(k), hop("n2")) for k in range(2)] + creates(hop, 8)[4:]

    assert outcomes(provider.routes.apply(changes)) == ["ok", "ok", *["NotFound"] * 4]


def test_nothing_to_do_costs_nothing(cloud, provider):
    assert provider.routes.apply([]) == ()
    assert cloud.count() == 0


def test_what_stands_alike_is_not_written_again(cloud, provider, hop):
    provider.routes.apply(creates(hop, 6))
    cloud.simulator.counts.clear()

    assert outcomes(provider.routes.apply(creates(hop, 6))) == ["ok"] * 6
    assert cloud.count(PUT_TABLE, PUT_ROUTE) == 0


def test_a_route_by_another_name_is_replaced_and_deleted_by_that_name(cloud, provider, hop):
    cloud.add_route("rt-1", "node-1", str(block(0)), address="10.0.2.11")
    cloud.add_route("rt-1", "node-10", str(block(1)), address="10.0.2.11")

    assert outcomes(provider.routes.apply([RouteChange(Verb.REPLACE, RT, block(0), hop("n3"))])) == ["ok"]
    assert cloud.routes("rt-1")[block(0)] == ("node-1", "10.0.3.11")
    assert outcomes(provider.routes.apply([RouteChange(Verb.DELETE, RT, block(0), hop("n3"))])) == ["ok"]
    assert cloud.routes("rt-1") == {block(1): ("node-10", "10.0.2.11")}


def test_reads_show_the_tables_of_the_nodes_subnets(cloud, provider):
    cloud.add_table("rt-elsewhere", ("s9", "10.0.9.0/24"))
    cloud.add_table("rt-unused")

    assert [t.id for t in provider.routes.read().tables] == ["rt-1", "rt-2", "rt-3"]
    assert [t.id for t in provider.routes.read(["rt-unused"]).tables] == ["rt-unused"]


def test_before_a_node_is_known_every_associated_table_is_shown(cloud, three):
    cloud.add_table("rt-unused")

    assert [t.id for t in cloud.provider().routes.read().tables] == ["rt-1", "rt-2", "rt-3"]


def test_only_the_tables_that_are_named_are_shown(cloud, three):
    provider = cloud.provider(route_tables=("RT-2",))

    assert [t.id for t in provider.routes.read().tables] == ["rt-2"]


def test_a_route_made_by_us_is_ours_whoever_looks(cloud, provider, hop):
    provider.routes.apply(creates(hop, 1))

    (route,) = cloud.provider().routes.read([RT]).tables[0].routes

    assert route.owner is Owner.OURS
    assert cloud.provider(cluster="c2").routes.read([RT]).tables[0].routes[0].owner is Owner.UNMARKED


def test_a_thousand_routes_are_merged_in_no_time(cloud, provider, hop):
    cloud.simulator.conditions = replace(cloud.simulator.conditions, routes_per_table=2000)
    many = [RouteChange(Verb.CREATE, RT, ip_network((0x0A420000 + 64 * k, 26)), hop("n2")) for k in range(1000)]
    started = time.process_time()

    assert set(outcomes(provider.routes.apply(many))) == {"ok"}

    assert time.process_time() - started < 10.0
    assert cloud.count(PUT_TABLE) == 1


def test_refusals_are_of_the_kinds_that_the_controller_knows(cloud, provider, hop):
    cloud.simulator.faults.add(Fault(PUT_ROUTE, Trouble.QUOTA, times=1))
    cloud.simulator.faults.add(Fault(PUT_ROUTE, Trouble.CONFLICT, times=1))
    cloud.simulator.faults.add(Fault(PUT_ROUTE, Trouble.NOT_FOUND, times=1))

    errors = [r.error for r in provider.routes.apply(creates(hop, 3))]

    assert [type(e) for e in errors] == [QuotaExceeded, Conflict, NotFound]
    assert all(e.provider == "azure" and e.code and e.request_id for e in errors)


def test_an_address_is_whose_node_was_seen_last(cloud, provider, three, hop):
    first = provider.instances(three)
    taken = first["n3"].addresses[0]
    cloud.clock.sleep(10.0)
    provider.routes.serve({"n1": replace(first["n1"], addresses=(taken,))})
    cloud.add_route("rt-1", "r", str(block(0)), address=str(taken))

    (route,) = provider.routes.read([RT]).tables[0].routes

    assert route.next_hop.interface == first["n1"].interface
