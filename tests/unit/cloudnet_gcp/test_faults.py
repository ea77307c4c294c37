"""Every fault at every verb: the right class, nothing of somebody else's touched, and nothing left lying about."""

from dataclasses import replace
from ipaddress import ip_network

import pytest

from cloudnet.lab.clouds.trouble import Fault, Trouble
from cloudnet.model.addresses import NodeName
from cloudnet.provider.api import RouteChange, Verb
from cloudnet.provider.errors import (
    Conflict,
    NotFound,
    PermissionDenied,
    QuotaExceeded,
    Throttled,
    Unavailable,
    Unsupported,
)
from cloudnet_gcp.errors import PERMISSIONS

BLOCK, THEIRS = ip_network("10.65.1.0/26"), ip_network("10.65.9.0/26")
WRITES = {Verb.CREATE: "routes.insert", Verb.REPLACE: "routes.insert", Verb.DELETE: "routes.delete"}

FAULTS = {
    "quota": (Fault("", Trouble.QUOTA), QuotaExceeded),
    "quota in the operation": (Fault("", Trouble.OPERATION_FAILED, code="QUOTA_EXCEEDED"), QuotaExceeded),
    "permission": (Fault("", Trouble.PERMISSION), PermissionDenied),
    "permission in the operation": (Fault("", Trouble.OPERATION_FAILED, code="PERMISSIONS_ERROR"), PermissionDenied),
    "credentials": (Fault("", Trouble.AUTHENTICATION), PermissionDenied),
    "throttle": (Fault("", Trouble.THROTTLE), Throttled),
    "throttle with Retry-After": (Fault("", Trouble.THROTTLE, retry_after=3.0), Throttled),
    "not found": (Fault("", Trouble.NOT_FOUND), NotFound),
    "not found in the operation": (Fault("", Trouble.OPERATION_FAILED, code="RESOURCE_NOT_FOUND"), NotFound),
    "conflict": (Fault("", Trouble.CONFLICT), Conflict),
    "precondition": (Fault("", Trouble.PRECONDITION), Conflict),
    "failed operation": (Fault("", Trouble.OPERATION_FAILED, code="INTERNAL_ERROR"), Unavailable),
    "failed operation, unheard of": (Fault("", Trouble.OPERATION_FAILED, code="NEVER_SEEN"), Unsupported),
    "timeout after commit": (Fault("", Trouble.TIMEOUT), Unavailable),
    "503": (Fault("", Trouble.UNAVAILABLE), Unavailable),
    "500": (Fault("", Trouble.INTERNAL), Unavailable),
    "garbage body": (Fault("", Trouble.GARBAGE), Unavailable),
    "slow body": (Fault("", Trouble.SLOW, seconds=20.0), Unavailable),
}


@pytest.fixture
def world(make_world):
    world = make_world(timeout=0.3, deadline=2.0, operation_timeout=5.0)
    world.let_everybody_forward()
    world.put_raw("theirs", THEIRS, nextHopIp="10.0.1.99")
    return world


def hop(world, name):
    return world.provider.instances(world.nodes)[NodeName(name)].next_hop


def apply(world, verb, target):
    (result,) = world.provider.routes.apply([RouteChange(verb, world.provider.routes.table, BLOCK, target)])
    return result.error


def ours(world):
    return [route for _, route in world.google.project.of("routes") if route["name"].startswith("cloudnet-")]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("verb", Verb, ids=lambda v: v.value)
def test_a_write(world, verb, fault):
    before, after = hop(world, "n1"), hop(world, "n3")
    target = after if verb is not Verb.DELETE else before
    if verb is not Verb.CREATE:
        world.put_route(None, BLOCK, before)
    hit, expected = FAULTS[fault]
    world.google.simulator.faults.add(replace(hit, calls=f"compute.{WRITES[verb]}"))

    error = apply(world, verb, target)

    if verb is Verb.DELETE and expected is NotFound:
        assert error is None
    else:
        assert type(error) is expected
    assert THEIRS in world.truth(None)
    world.google.simulator.faults.clear()
    world.clock.advance(5.0)
    assert apply(world, verb, target) is None
    expected_now = {} if verb is Verb.DELETE else {BLOCK: target.instance}
    assert {d: h.instance for d, h in world.truth(None).items() if d == BLOCK} == expected_now
    assert len(ours(world)) == len(expected_now)


READS = {name: kept for name, kept in FAULTS.items() if "operation" not in name and name != "quota"}


@pytest.mark.parametrize("fault", READS)
@pytest.mark.parametrize("call", ["routes.list", "instances.aggregatedList"])
def test_a_read(world, call, fault):
    hit, expected = READS[fault]
    world.google.simulator.faults.add(replace(hit, calls=f"compute.{call}"))
    target = None if call != "routes.list" else hop(world, "n1")

    with pytest.raises(expected):
        world.provider.routes.read() if target else world.provider.instances(world.nodes)
    if target:
        assert type(apply(world, Verb.CREATE, target)) is expected
    assert ours(world) == []


@pytest.mark.parametrize("fault", [name for name in READS if READS[name][1] is not Conflict])
def test_a_look_at_operations(world, fault):
    target = hop(world, "n1")
    hit, expected = READS[fault]
    world.google.simulator.faults.add(replace(hit, calls="compute.globalOperations.list"))

    error = apply(world, Verb.CREATE, target)

    assert type(error) is (expected if not expected.retry else Unavailable)
    assert THEIRS in world.truth(None)
    world.google.simulator.faults.clear()
    assert apply(world, Verb.CREATE, target) is None
    assert len(ours(world)) == 1


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("verb", ["assign", "release"])
def test_addresses(make_world, verb, fault):
    world = make_world(timeout=0.3, deadline=2.0, pod_range="pods")
    given = world.assign("n1", 1)
    hit, expected = FAULTS[fault]
    world.google.simulator.faults.add(replace(hit, calls="compute.instances.updateNetworkInterface"))

    if verb == "release" and expected is NotFound:
        world.release("n1", given)
    else:
        with pytest.raises(expected):
            world.assign("n1", 2) if verb == "assign" else world.release("n1", given)

    world.google.simulator.faults.clear()
    world.clock.advance(5.0)
    world.release("n1", world.holds("n1"))
    assert world.holds("n1") == ()


CLIENT_READS = {
    "routes.list": lambda client: client.routes(),
    "routes.get": lambda client: client.route("theirs"),
    "instances.aggregatedList": lambda client: client.machines(),
    "instances.get": lambda client: client.machine("here-a/vm-1"),
    "subnetworks.get": lambda client: client.subnet("here/s1"),
    "subnetworks.aggregatedList": lambda client: client.subnets(),
    "networks.get": lambda client: client.network(),
    "firewalls.list": lambda client: client.firewalls(),
    "projects.get": lambda client: client.routes_quota(),
    "globalOperations.list": lambda client: client.operations(["operation-1"]),
    "zoneOperations.list": lambda client: client.operations(["operation-1"], zone="here-a"),
    "projects.testIamPermissions": lambda client: client.granted(["compute.routes.list"]),
}


def test_every_call_that_reads_is_in_the_matrix():
    reads = {call.partition(".")[2] for call in PERMISSIONS if not call.endswith((".insert", ".delete", "Interface"))}

    assert reads == set(CLIENT_READS)


@pytest.mark.parametrize("fault", READS)
@pytest.mark.parametrize("call", CLIENT_READS)
def test_every_call_that_reads_has_every_fault_in_its_class(world, call, fault):
    hit, expected = READS[fault]
    world.google.simulator.faults.add(replace(hit, calls=f"*.{call}"))

    with pytest.raises(expected) as caught:
        CLIENT_READS[call](world.client)

    assert type(caught.value) is expected
    assert call in str(caught.value)
    assert "token" not in str(caught.value).replace("next_page_token", "")
