"""The core of every simulated cloud, with a tiny cloud on it that keeps numbers; over HTTP where that matters."""

from __future__ import annotations

import http.client
import json
import time

import pytest

from cloudnet.clock import ManualClock
from cloudnet.lab.clouds.conditions import Conditions
from cloudnet.lab.clouds.contract import Contract, Endpoint
from cloudnet.lab.clouds.listener import Listener
from cloudnet.lab.clouds.server import serving
from cloudnet.lab.clouds.simulator import Answer, Simulator
from cloudnet.lab.clouds.trouble import Fault, Trouble
from cloudnet.provider.budget import Bucket

CONTRACT = Contract(
    [
        Endpoint("numbers.get", "GET", "/numbers/{name}", bucket="read"),
        Endpoint("numbers.put", "PUT", "/numbers/{name}", frozenset({200, 201}), bucket="write"),
    ]
)


class Numbers:
    """A cloud: its state, and its words for what goes wrong."""

    def __init__(self):
        self.held = {}

    def __call__(self, request):
        name = request.parameters["name"]
        if request.method == "GET":
            return Answer(200, {"value": self.held.get(name)})
        status = 200 if name in self.held else 201
        self.held[name] = request.body["value"]
        return Answer(status, {"value": self.held[name]}, {"X-Made": "yes"})

    def refuse(self, _request, fault):
        headers = {"Retry-After": f"{fault.retry_after:g}"} if fault.retry_after is not None else {}
        return Answer(429, {"error": fault.code or fault.trouble.value}, headers)

    def credential(self, request):
        return request.headers.get("authorization", "")

    def operation_failed(self, request, answer, _fault):
        del self.held[request.parameters["name"]]
        return Answer(answer.status, {"operation": "failed"})


@pytest.fixture
def cloud():
    return Numbers()


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def simulator(cloud, clock):
    limits = {"read": Bucket(rate=2.0, burst=3.0)}
    return Simulator(CONTRACT, cloud, cloud, clock=clock, limits=limits)


def put(simulator, value, name="a", *, outsider=False, **headers):
    body = json.dumps({"value": value}).encode()
    return simulator.handle("PUT", f"/numbers/{name}", headers, body, outsider=outsider)


def get(simulator, name="a", *, outsider=False, **headers):
    return simulator.handle("GET", f"/numbers/{name}?x=1", headers, b"", outsider=outsider)


def test_calls_reach_the_cloud_and_are_counted(simulator):
    assert put(simulator, 1).status == 201
    assert put(simulator, 2).status == 200
    assert get(simulator).body == {"value": 2}
    assert simulator.counts == {"numbers.put": 2, "numbers.get": 1}
    assert [(call.name, call.status) for call in simulator.log] == [
        ("numbers.put", 201),
        ("numbers.put", 200),
        ("numbers.get", 200),
    ]


def test_a_call_that_the_contract_does_not_know_is_a_violation(simulator):
    assert simulator.handle("POST", "/numbers/a", {}, b"", outsider=False).status == 501
    assert simulator.handle("PUT", "/numbers/a", {}, b"{", outsider=False).status == 501
    assert simulator.violations == [
        "POST /numbers/a is no call of the contract",
        "numbers.put has a body that is no JSON",
    ]


def test_an_answer_with_a_status_that_the_contract_does_not_know_is_a_violation(cloud, clock):
    simulator = Simulator(CONTRACT, lambda _: Answer(204), cloud, clock=clock)

    put(simulator, 1)

    assert len(simulator.violations) == 1


def test_what_a_judge_finds_is_a_violation(simulator):
    simulator.judge = lambda _, answer: [] if answer.body.get("value") else ["no value"]

    put(simulator, 1)
    get(simulator, "absent")

    assert simulator.violations == ["numbers.get: no value"]


def test_calls_beyond_the_meter_are_refused_until_time_has_passed(simulator, clock):
    statuses = [get(simulator).status for _ in range(4)]
    waits = get(simulator).headers["Retry-After"]
    clock.sleep(float(waits))

    assert statuses == [200, 200, 200, 429]
    assert get(simulator).status == 200
    assert put(simulator, 1).status == 201


@pytest.mark.parametrize(
    ("conditions", "word"),
    [
        (Conditions(api="unavailable"), "unavailable"),
        (Conditions(throttled=True), "throttle"),
        (Conditions(keys=frozenset({"good"})), "authentication"),
        (Conditions(denied=frozenset({"numbers.put"})), "permission"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_condition_refuses_the_account_and_never_an_outsider(simulator, cloud, conditions, word):
    simulator.conditions = conditions

    assert put(simulator, 1).body == {"error": word}
    assert cloud.held == {}
    assert put(simulator, 1, outsider=True).status == 201
    assert simulator.counts == {"numbers.put": 1}


def test_the_right_credential_passes(simulator):
    simulator.conditions = Conditions(keys=frozenset({"good"}))

    assert put(simulator, 1, Authorization="good").status == 201


def test_a_fault_refuses_so_many_calls_of_one_name_with_its_own_code(simulator, cloud):
    simulator.faults.add(Fault("numbers.put", Trouble.QUOTA, times=1, skip=1, code="TooMany", retry_after=3.0))

    assert put(simulator, 1, "a").status == 201
    refused = put(simulator, 1, "b")
    assert put(simulator, 1, "c").status == 201

    assert (refused.body, refused.headers["Retry-After"]) == ({"error": "TooMany"}, "3")
    assert sorted(cloud.held) == ["a", "c"]


def test_an_operation_that_fails_is_the_clouds_to_undo(simulator, cloud):
    simulator.faults.add(Fault("numbers.put", Trouble.OPERATION_FAILED))

    assert put(simulator, 1).body == {"operation": "failed"}
    assert cloud.held == {}


@pytest.fixture
def connection(simulator):
    listener = Listener(0, serving(simulator, outsider=False))
    listener.open()
    made = http.client.HTTPConnection("127.0.0.1", listener.port, timeout=2)
    yield made
    made.close()
    listener.close()


def ask(connection, method="GET", body=None):
    connection.request(method, "/numbers/a", body=json.dumps(body) if body else None)
    answer = connection.getresponse()
    return answer.status, answer.read(), answer.headers


def test_a_call_travels_over_http_and_back(connection):
    status, body, headers = ask(connection, "PUT", {"value": 7})

    assert (status, json.loads(body), headers["X-Made"]) == (201, {"value": 7}, "yes")
    assert json.loads(ask(connection)[1]) == {"value": 7}


def test_no_call_waits_for_nagle(connection, simulator):
    simulator._meter.limits = {}
    seconds = []

    for _ in range(25):
        started = time.monotonic()
        ask(connection)
        seconds.append(time.monotonic() - started)

    assert min(seconds) < 0.03  # at least 40 ms, each of them, otherwise


def test_an_answer_may_be_lost_after_the_deed(connection, simulator, cloud):
    simulator.faults.add(Fault("numbers.put", Trouble.TIMEOUT))

    with pytest.raises(http.client.RemoteDisconnected):
        ask(connection, "PUT", {"value": 1})

    assert cloud.held == {"a": 1}


def test_a_proxys_page_may_come_instead_of_an_answer(connection, simulator):
    simulator.faults.add(Fault("numbers.get", Trouble.GARBAGE))

    status, body, headers = ask(connection)

    assert (status, body[:6], headers["Content-Type"]) == (200, b"<html>", "text/html")
    assert simulator.violations == []


def test_a_body_may_come_slowly(connection, simulator):
    simulator.faults.add(Fault("numbers.get", Trouble.SLOW, seconds=0.4))
    started = time.monotonic()

    _, body, _ = ask(connection)

    assert json.loads(body) == {"value": None}
    assert time.monotonic() - started > 0.2
