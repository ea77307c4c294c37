"""The lab's Azure: what its calls do, what its hand makes, and what its state means for packets."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network

import pytest

from cloudnet.clock import ManualClock
from cloudnet.errors import BadInput
from cloudnet.lab import control, spec
from cloudnet.lab.clouds.azure.contract import COMPUTE, NETWORK
from cloudnet.lab.clouds.azure.hand import Azure
from cloudnet.lab.clouds.azure.names import SUBSCRIPTION
from cloudnet.lab.clouds.azure.plane import AzurePlane
from cloudnet.lab.clouds.conditions import Conditions
from cloudnet.lab.errors import LabError
from cloudnet.lab.spec import LabSpec
from cloudnet_azure.config import parse

BLOCK = IPv4Network("10.65.1.0/26")


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def plane(clock):
    return AzurePlane(Conditions(routes_per_table=3), clock, operation_seconds=2.0)


@pytest.fixture
def hand(plane, tmp_path):
    """Return the lab's hand, on a socket that answers with the plane's own verbs."""

    def answer(message):
        return {**plane.verbs, "sync": lambda _: {}}[message["verb"]](message)

    server = control.Server(tmp_path / "cloud.sock", answer)
    yield Azure(tmp_path / "cloud.sock", "lab")
    server.close()


@pytest.fixture
def cloud(hand):
    return hand.make_network(spec.subnets(LabSpec(cloud="azure", subnets=2)))


@pytest.fixture
def machines(hand, cloud):
    """Start a machine of a scale set in the first subnet and one of its own in the second."""
    addresses = IPv4Address("10.0.1.11"), IPv4Address("10.0.2.12")
    return [hand.launch(f"n{k}", cloud.subnets[f"s{k}"], a) for k, a in enumerate(addresses, start=1)]


def route(address, prefix=BLOCK):
    hop = {"nextHopType": "VirtualAppliance", "nextHopIpAddress": str(address)}
    return {"properties": {"addressPrefix": str(prefix), **hop}}


def call(plane, method, path, body=None, *, version=NETWORK, **headers):
    """Make a call of the account below the resource group."""
    target = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/lab/providers/{path}?api-version={version}"
    raw = json.dumps(body).encode() if body is not None else b""
    return plane.simulator.handle(method, target, headers, raw, outsider=False)


# --- the hand -------------------------------------------------------------------------------------------------


def test_the_network_has_a_table_for_each_subnet(hand, cloud, plane):
    assert cloud.tables == {"s1": "rt-s1", "s2": "rt-s2"}
    body = hand.arm("GET", "routeTables/rt-s2")
    assert [s["id"] for s in body["properties"]["subnets"]] == [cloud.subnets["s2"]]
    assert plane.fabric_state() is not None


def test_machines_come_alone_and_in_a_scale_set(hand, machines):
    assert "/virtualMachineScaleSets/pool/virtualMachines/1" in machines[0].instance
    assert machines[1].instance.endswith("/virtualMachines/n2")
    assert hand.provider_id(machines[1].instance, "z").startswith("azure:///subscriptions/")


def test_the_plugin_takes_the_configuration(hand, cloud):
    assert parse(hand.provider_config(cloud, mtu=1500)).cluster == "lab"


def test_a_claim_stands_in_the_way_and_goes_again(hand, cloud):
    hand.claim(cloud, BLOCK)
    assert set(hand.routes("rt-s1")) == set(hand.routes("rt-s2")) == {str(BLOCK)}

    hand.unclaim(cloud, BLOCK)
    assert hand.routes("rt-s1") == {}


def test_unclaiming_leaves_what_is_not_the_outsiders(hand, cloud):
    hand.arm("PUT", "routeTables/rt-s1/routes/ours", route("10.0.2.12"))

    hand.unclaim(cloud, BLOCK)

    assert set(hand.routes("rt-s1")) == {str(BLOCK)}


def test_a_claim_takes_a_standing_route_over(hand, cloud):
    hand.arm("PUT", "routeTables/rt-s1/routes/ours", route("10.0.2.12"))

    hand.claim(cloud, BLOCK)

    assert hand.routes("rt-s1")[str(BLOCK)]["properties"]["nextHopIpAddress"] == "10.0.1.9"


def test_deleting_a_route_that_is_not_there_is_success(hand, cloud):
    hand.delete_route("rt-s1", BLOCK)


def test_what_azure_refuses_is_told_in_its_own_words(hand, cloud):
    with pytest.raises(LabError, match="ResourceNotFound"):
        hand.arm("GET", "routeTables/none")


# --- the account ----------------------------------------------------------------------------------------------


def test_a_table_is_locked_while_an_operation_is_at_work_and_outsiders_wait_for_none(plane, hand, cloud, clock):
    path = "Microsoft.Network/routeTables/rt-s1/routes"
    first = call(plane, "PUT", f"{path}/a", route("10.0.1.11"))
    second = call(plane, "PUT", f"{path}/b", route("10.0.1.11", "10.65.2.0/26"))
    hand.arm("PUT", "routeTables/rt-s1/routes/c", route("10.0.1.11", "10.65.3.0/26"))
    clock.sleep(2.0)
    third = call(plane, "PUT", f"{path}/b", route("10.0.1.11", "10.65.2.0/26"))

    assert [a.status for a in (first, second, third)] == [201, 429, 201]
    assert second.body["error"]["code"] == "RetryableErrorDueToAnotherOperation"
    assert second.headers["Retry-After"] == "11"
    assert set(hand.routes("rt-s1")) == {"10.65.1.0/26", "10.65.2.0/26", "10.65.3.0/26"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (route("10.0.1.11", "10.65.1.0/99"), "InvalidAddressPrefixFormat"),
        (route("10.0.1.11", "10.65.1.1/26"), "InvalidAddressPrefixFormat"),
        (route("10.0.1.11", "fd00::/64"), "InvalidRequestFormat"),
        (
            {"properties": {"addressPrefix": "10.65.1.0/26", "nextHopType": "VirtualAppliance"}},
            "InvalidRequestFormat",
        ),
        ({"properties": {"addressPrefix": "10.65.1.0/26"}}, "InvalidRequestFormat"),
        (route("10.0.1.11", "10.65.9.0/26"), "DuplicateRouteAddressPrefix"),
    ],
    ids=["length", "host-bits", "family", "no-address", "no-kind", "twice"],
)
def test_a_route_that_makes_no_sense_is_refused(plane, hand, cloud, body, code):
    hand.arm("PUT", "routeTables/rt-s1/routes/other", route("10.0.1.11", "10.65.9.0/26"))

    answer = call(plane, "PUT", "Microsoft.Network/routeTables/rt-s1/routes/x", body)

    assert (answer.status, answer.body["error"]["code"]) == (400, code)


def test_a_table_holds_no_more_than_its_limit_both_families_together(plane, hand, cloud):
    for k, prefix in enumerate(("10.65.1.0/26", "10.65.2.0/26")):
        hand.arm("PUT", f"routeTables/rt-s1/routes/r{k}", route("10.0.1.11", prefix))
    hand.arm("PUT", "routeTables/rt-s1/routes/six", route("fd00::1", "fd65::/64"))

    answer = call(plane, "PUT", "Microsoft.Network/routeTables/rt-s1/routes/x", route("10.0.1.11", "10.65.3.0/26"))

    assert (answer.status, answer.body["error"]["code"]) == (400, "RouteCountLimitReached")


def test_every_write_changes_the_etag_and_the_old_one_is_refused(plane, hand, cloud):
    before = hand.arm("GET", "routeTables/rt-s1")["etag"]
    hand.arm("PUT", "routeTables/rt-s1/routes/a", route("10.0.1.11"))
    after = hand.arm("GET", "routeTables/rt-s1")["etag"]

    old = call(plane, "PUT", "Microsoft.Network/routeTables/rt-s1", {"location": "x"}, **{"If-Match": before})
    new = call(plane, "PUT", "Microsoft.Network/routeTables/rt-s1", {"location": "x"}, **{"If-Match": after})

    assert (before != after, old.status, new.status) == (True, 412, 200)


def test_a_table_in_use_cannot_be_deleted(plane, cloud):
    answer = call(plane, "DELETE", "Microsoft.Network/routeTables/rt-s1")

    assert (answer.status, answer.body["error"]["code"]) == (400, "InUseRouteTableCannotBeDeleted")


def test_a_wrong_version_and_an_unknown_call_are_violations(plane, cloud):
    call(plane, "GET", "Microsoft.Network/routeTables", version="2019-01-01")
    call(plane, "POST", "Microsoft.Network/routeTables/rt-s1/start")

    assert len(plane.simulator.violations) == 2


def test_a_machine_shows_whether_it_runs(plane, hand, machines):
    hand.stop(machines[1].instance)

    path = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/lab/providers/Microsoft.Compute/virtualMachines"
    target = f"{path}?api-version={COMPUTE}&$expand=instanceView"
    body = plane.simulator.handle("GET", target, {}, b"", outsider=False).body

    codes = [s["code"] for s in body["value"][0]["properties"]["instanceView"]["statuses"]]
    assert "PowerState/deallocated" in codes


# --- packets --------------------------------------------------------------------------------------------------


def fabric(plane, subnet):
    state = plane.fabric_state()
    return {r.destination: r.via for s in state.subnets if s.bridge == f"br-{subnet}" for r in s.routes}


def test_a_route_leads_to_the_port_that_has_its_address(plane, hand, machines):
    hand.arm("PUT", "routeTables/rt-s1/routes/a", route("10.0.2.12"))

    via = fabric(plane, "s1")[BLOCK]

    assert (via.device, via.bridge, via.addresses) == ("p-n2", "br-s2", (ip_address("10.0.2.12"),))
    assert fabric(plane, "s2") == {}


@pytest.mark.parametrize(
    "body",
    [
        route("10.0.9.9"),
        {"properties": {"addressPrefix": str(BLOCK), "nextHopType": "None"}},
        {"properties": {"addressPrefix": str(BLOCK), "nextHopType": "Internet"}},
    ],
    ids=["nobody", "none", "internet"],
)
def test_a_route_to_nobody_leads_nowhere(plane, hand, machines, body):
    hand.arm("PUT", "routeTables/rt-s1/routes/a", body)

    assert fabric(plane, "s1") == {BLOCK: None}


def test_a_machine_that_is_off_gets_nothing_and_comes_back(plane, hand, machines):
    hand.arm("PUT", "routeTables/rt-s1/routes/a", route("10.0.2.12"))

    hand.stop(machines[1].instance)
    assert fabric(plane, "s1") == {BLOCK: None}
    hand.start(machines[1].instance)

    assert fabric(plane, "s1")[BLOCK].device == "p-n2"


def test_interfaces_are_guarded_until_they_forward(plane, hand, machines):
    assert [p.check for p in plane.fabric_state().ports] == [True, True]
    body = hand.arm("GET", "networkInterfaces/n2-nic")
    body["properties"]["enableIPForwarding"] = True

    hand.arm("PUT", "networkInterfaces/n2-nic", body)

    assert {p.device: p.check for p in plane.fabric_state().ports} == {"p-n1": True, "p-n2": False}


def test_ipip_and_gre_are_refused_and_black_holes_are_kept(plane, cloud):
    plane.conditions = Conditions(silent=frozenset({BLOCK}))

    state = plane.fabric_state()

    assert (state.refused, state.silent) == ({4, 47}, {BLOCK})


def test_the_way_out_is_the_gateways(plane, hand, cloud):
    hand.attach_outside(cloud, "s2")

    state = plane.fabric_state()

    assert [g.table for g in state.gateways] == [1002]
    assert fabric(plane, "s1")[ip_network("192.0.2.0/24")] == state.gateways[0]


def test_a_terminated_machine_is_gone_with_its_interface(plane, hand, machines):
    for machine in machines:
        hand.terminate(machine.instance)

    assert plane.fabric_state().ports == ()
    with pytest.raises(LabError):
        hand.arm("GET", "networkInterfaces/n2-nic")


def test_whatever_packets_may_feel_is_told(plane, hand, cloud):
    told = []
    plane.watch(lambda: told.append(1))

    hand.launch("n3", cloud.subnets["s1"], IPv4Address("10.0.1.13"))
    hand.arm("PUT", "routeTables/rt-s1/routes/a", route("10.0.1.13"))

    assert len(told) == 2


def test_an_outsiders_call_that_fails_says_so(plane):
    message = {"method": "GET", "path": "/subscriptions/s/resourceGroups/none/x", "version": NETWORK}

    with pytest.raises(BadInput):
        plane.verbs["arm"](message)
