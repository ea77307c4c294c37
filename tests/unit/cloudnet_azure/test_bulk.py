from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from cloudnet.model.addresses import InstanceId, InterfaceId, SubnetId, TableId
from cloudnet.model.resources import NextHop
from cloudnet.provider.api import Instance, RouteChange, Verb
from cloudnet.provider.errors import Conflict, NotFound, Unsupported
from cloudnet_azure import bulk, tables
from cloudnet_azure.tables import Machines

HERE, THERE = ip_address("10.0.1.11"), ip_address("10.0.2.12")
MACHINES = Machines(
    {
        a: Instance(InstanceId(f"rg/n{k}"), InterfaceId(f"rg/n{k}-nic"), SubnetId("s"), addresses=(a,))
        for k, a in enumerate((HERE, THERE), start=1)
    }
)


def block(k):
    return ip_network(f"10.65.{k}.0/26")


def route(prefix, name, **properties):
    return {"name": name, "id": f"/x/{name}", "etag": "e", "properties": {"addressPrefix": str(prefix), **properties}}


def appliance(k, address, name=""):
    hop = {"nextHopType": "VirtualAppliance", "nextHopIpAddress": str(address), "provisioningState": "Succeeded"}
    return route(block(k), name or tables.route_name("c1", block(k)), hasBgpOverride=False, **hop)


def table(*routes, **properties):
    return {
        "id": "/x",
        "name": "rt",
        "type": "t",
        "etag": "W/1",
        "location": "westeurope",
        "tags": {"owner": "them"},
        "properties": {
            "routes": list(routes),
            "provisioningState": "Succeeded",
            "resourceGuid": "g",
            "subnets": [],
            "disableBgpRoutePropagation": True,
            **properties,
        },
    }


def sift(body, *changes):
    return bulk.sift(changes, tables.parse_table(body, MACHINES, cluster="c1", limit=400), MACHINES)


def change(verb, k, address=HERE):
    return RouteChange(verb, TableId("rt"), block(k), NextHop(address=address))


THEIRS = route("0.0.0.0/0", "default", nextHopType="Internet", futureField={"a": 1})
TAG = route("Storage.WestEurope", "tag", nextHopType="Internet")


def test_what_may_be_is_edited_and_what_stands_is_left():
    body = table(appliance(1, HERE), appliance(2, HERE), appliance(3, THERE))

    found = sift(
        body,
        change(Verb.CREATE, 1),
        change(Verb.REPLACE, 2, THERE),
        change(Verb.DELETE, 3, THERE),
        change(Verb.CREATE, 4),
        change(Verb.DELETE, 5),
    )

    assert found.errors == {}
    assert found.edits == {block(2): THERE, block(3): None, block(4): HERE}


@pytest.mark.parametrize(
    ("routes", "wanted", "error"),
    [
        ((appliance(1, THERE),), change(Verb.CREATE, 1), Conflict),
        ((appliance(1, THERE),), change(Verb.DELETE, 1), Conflict),
        ((), change(Verb.REPLACE, 1), NotFound),
        ((route(block(1), "x", nextHopType="Internet"),), change(Verb.CREATE, 1), Conflict),
        ((route(block(1), "x", nextHopType="Internet"),), change(Verb.REPLACE, 1), Conflict),
        ((route(block(1), "x", nextHopType="Internet"),), change(Verb.DELETE, 1), Conflict),
        ((), RouteChange(Verb.CREATE, TableId("rt"), ip_network("fd65::/122"), NextHop(address=HERE)), Unsupported),
    ],
    ids=["another-hop", "leads-elsewhere", "absent", "foreign-create", "foreign-replace", "foreign-delete", "family"],
)
def test_what_may_not_be_is_refused_and_hides_no_other_change(routes, wanted, error):
    found = sift(table(*routes), wanted, change(Verb.CREATE, 9))

    assert {type(e) for e in found.errors.values()} == {error}
    assert found.edits == {block(9): HERE}


def test_the_body_keeps_everything_that_is_not_ours_word_for_word():
    body = bulk.table_body(table(THEIRS, TAG, appliance(1, HERE)), {block(2): HERE}, cluster="c1")

    assert set(body) == {"location", "tags", "properties"}
    assert body["tags"] == {"owner": "them"}
    assert body["properties"]["disableBgpRoutePropagation"] is True
    assert set(body["properties"]) == {"disableBgpRoutePropagation", "routes"}
    kept = body["properties"]["routes"]
    assert [r["name"] for r in kept] == ["default", "tag", "cloudnet-c1-10.65.1.0-26", "cloudnet-c1-10.65.2.0-26"]
    assert kept[0]["properties"] == {"addressPrefix": "0.0.0.0/0", "nextHopType": "Internet", "futureField": {"a": 1}}


def test_an_edited_route_keeps_its_place_and_its_name():
    body = bulk.table_body(
        table(appliance(1, HERE, "by-hand"), appliance(2, HERE)), {block(1): THERE, block(2): None}, cluster="c1"
    )

    assert body["properties"]["routes"] == [{"name": "by-hand", **tables.route_body(block(1), THERE)}]


def test_the_last_half_of_the_new_routes_is_left_out_first():
    changes = [change(Verb.DELETE, 1), *[change(Verb.CREATE, k) for k in (1, 2, 3, 4)], change(Verb.REPLACE, 5)]
    standing = tables.parse_table(table(appliance(1, HERE)), MACHINES, cluster="c1", limit=400)

    assert bulk.last_half(changes, standing) == (change(Verb.CREATE, 3), change(Verb.CREATE, 4))
    assert bulk.last_half(changes[:2], standing) == ()
