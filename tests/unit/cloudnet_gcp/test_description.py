"""The judge of calls objects: good ones pass, and each kind of damage is found and named."""

from dataclasses import replace

import pytest

from cloudnet.lab.clouds.simulator import Answer, Request
from cloudnet.testing.discovery import keys

ROUTE = {
    "kind": "compute#route",
    "id": "1",
    "name": "r",
    "network": "projects/p/global/networks/n",
    "destRange": "10.65.1.0/26",
    "priority": 1000,
    "nextHopInstance": "projects/p/zones/z/instances/i",
    "warnings": [{"code": "NEXT_HOP_NOT_RUNNING", "message": "m"}],
}
MACHINE = {"name": "i", "canIpForward": True, "networkInterfaces": [{"name": "nic0", "fingerprint": "abcdef0123A="}]}
INSERT = Request(
    "compute.routes.insert",
    "POST",
    "/compute/v1/projects/p/global/routes",
    {"project": "p"},
    {"requestId": "1", "alt": "json"},
    body={"name": "r", "network": "n", "destRange": "10.65.1.0/26", "priority": 1000, "nextHopIp": "10.0.0.1"},
)
OPERATION = Answer(200, {"name": "o", "status": "RUNNING", "id": "1", "targetId": "2"})


def test_what_google_would_say_passes(description):
    assert description.answer("compute.routes.get", ROUTE) == []
    assert description.answer("compute.instances.get", MACHINE) == []
    assert description.judge(INSERT, OPERATION) == []


@pytest.mark.parametrize(
    ("call", "body", "found"),
    [
        ("routes.get", ROUTE | {"destinationRange": "x"}, "answer.destinationRange: unknown"),
        ("routes.get", ROUTE | {"priority": "1000"}, "answer.priority: expected integer, found '1000'"),
        ("routes.get", ROUTE | {"priority": True}, "answer.priority: expected integer, found True"),
        ("routes.get", ROUTE | {"priority": -1}, "answer.priority: -1 is not from 0 to 4294967295"),
        ("routes.get", ROUTE | {"name": "Upper"}, "answer.name: 'Upper' does not match"),
        ("routes.get", ROUTE | {"routeType": "ODD"}, "answer.routeType: 'ODD' is none of BGP"),
        ("routes.get", ROUTE | {"id": "x"}, "answer.id: 'x' is no uint64"),
        ("routes.get", ROUTE | {"warnings": [{"code": "X"}]}, "answer.warnings[0].code: 'X' is none of"),
        ("routes.get", [], "answer: expected object, found []"),
        ("instances.get", MACHINE | {"canIpForward": "yes"}, "answer.canIpForward: expected boolean, found 'yes'"),
        ("instances.get", {"networkInterfaces": [{"fingerprint": "a"}]}, "[0].fingerprint: 'a' is no byte"),
        ("instances.aggregatedList", {"items": {"zones/z": {"instance": []}}}, "items.zones/z.instance: unknown"),
    ],
)
def test_a_damaged_answer_is_found(description, call, body, found):
    (first,) = description.answer(f"compute.{call}", body)

    assert found in first


@pytest.mark.parametrize(
    ("request_", "found"),
    [
        (replace(INSERT, body=INSERT.body | {"nextHopILB": "x"}), "body.nextHopILB: unknown"),
        (replace(INSERT, body=INSERT.body | {"id": "7"}), "body.id: only the server writes it"),
        (replace(INSERT, body={"name": "r", "network": "n", "priority": 1}), "body.destRange: missing"),
        (replace(INSERT, query={"request_id": "1"}), "query.request_id: unknown"),
        (replace(INSERT, method="PUT"), "method: PUT"),
        (replace(INSERT, path="/compute/v1/projects/p/routes"), "path: "),
        (replace(INSERT, call="compute.routes.update"), "no method"),
    ],
)
def test_a_damaged_request_is_found(description, request_, found):
    assert any(found in each for each in description.judge(request_, OPERATION))


def test_an_error_has_one_shape(description):
    good = {"error": {"code": 404, "message": "m", "errors": [{"message": "m", "domain": "d", "reason": "r"}]}}

    assert description.judge(INSERT, Answer(404, good)) == []
    assert description.judge(INSERT, Answer(404, {"error": {"codes": 404}})) == ["answer.error.codes: unknown"]


def test_a_damaged_answer_of_the_simulator_fails_whoever_asked(make_world, description):
    world = make_world()
    world.google.simulator.handler = lambda _: Answer(200, {"items": [{"destRange": "::/0", "nextHopILB": "x"}]})

    world.client.routes()

    (violation,) = world.google.simulator.violations
    assert "answer.items[0].nextHopILB: unknown" in violation
    world.google.simulator.violations.clear()


def test_keys_are_named_by_their_place():
    assert set(keys({"a": {"b": 1}, "c": [{"d": 1}, {"e": 2}]})) == {"a", "a.b", "c", "c[].d", "c[].e"}
