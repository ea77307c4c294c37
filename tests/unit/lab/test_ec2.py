from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from cloudnet.lab.clouds import ec2
from cloudnet.lab.clouds.conditions import Conditions
from cloudnet.lab.clouds.ec2 import Eni, Entry, Machine, Subnet, Table, Views, Vpcs

TABLE = "rtb-1"


def world(*entries, state="running"):
    local = Entry(ip_network("10.0.0.0/16"), other="local")
    return Vpcs(
        tables={TABLE: Table(TABLE, "vpc-1", (local, *entries))},
        subnets={"subnet-1": Subnet("subnet-1", "s1", "vpc-1", ip_network("10.0.1.0/24"), TABLE)},
        interfaces={
            "eni-1": Eni("eni-1", "subnet-1", "vpc-1", "02::1", (ip_address("10.0.1.11"),), "i-1", primary=True),
            "eni-far": Eni("eni-far", "subnet-9", "vpc-9", "02::9", (ip_address("10.9.1.11"),), "i-9", primary=True),
            "eni-free": Eni("eni-free", "subnet-1", "vpc-1", "02::2", (ip_address("10.0.1.12"),)),
        },
        machines={
            "i-1": Machine("i-1", "n1", state, ("eni-1",)),
            "i-2": Machine("i-2", "n2", "running", ("eni-1", "eni-free")),
        },
    )


def to_eni(destination, interface="eni-1"):
    return Entry(ip_network(destination), interface=interface)


def judge(action, vpcs, *, limit=50, **parameters):
    refusal = ec2.judge(action, {"RouteTableId": TABLE, **parameters}, vpcs, routes_per_table=limit)
    return refusal.code if refusal else ""


def create(vpcs, destination="10.65.1.0/26", *, limit=50, **parameters):
    target = parameters or {"NetworkInterfaceId": "eni-1"}
    return judge("CreateRoute", vpcs, limit=limit, DestinationCidrBlock=destination, **target)


def test_a_route_to_an_interface_is_accepted():
    assert create(world()) == ""


def test_a_route_to_an_instance_with_one_interface_is_accepted():
    assert create(world(), InstanceId="i-1") == ""


@pytest.mark.parametrize(
    ("destination", "code"),
    [
        ("10.65.1.7/26", "InvalidParameterValue"),
        ("10.65.1.0/99", "InvalidParameterValue"),
        ("pods", "InvalidParameterValue"),
        ("fd00::/64", "InvalidParameterValue"),
        ("", "MissingParameter"),
        ("10.65.2.0/26", "RouteAlreadyExists"),
        ("10.0.0.0/16", "RouteAlreadyExists"),
        ("10.0.7.0/24", "InvalidParameterValue"),
        ("10.0.1.0/24", ""),
        ("0.0.0.0/0", ""),
    ],
    ids=["host bits", "length", "no prefix", "family", "none", "taken", "local", "inside VPC", "a subnet", "wider"],
)
def test_a_destination_is_judged_as_ec2_judges_it(destination, code):
    assert create(world(to_eni("10.65.2.0/26")), destination) == code


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ({"NetworkInterfaceId": "eni-none"}, "InvalidNetworkInterfaceID.NotFound"),
        ({"NetworkInterfaceId": "eni-far"}, "InvalidParameterValue"),
        ({"InstanceId": "i-none"}, "InvalidInstanceID.NotFound"),
        ({"InstanceId": "i-2"}, "InvalidInstanceID"),
        ({"NetworkInterfaceId": "eni-1", "InstanceId": "i-1"}, "InvalidParameterCombination"),
        ({"NetworkInterfaceId": ""}, "MissingParameter"),
    ],
    ids=["unknown interface", "other VPC", "unknown instance", "several interfaces", "two targets", "no target"],
)
def test_a_target_is_judged_as_ec2_judges_it(target, code):
    assert create(world(), **target) == code


def test_an_unknown_table_is_refused():
    assert judge("CreateRoute", Vpcs(), DestinationCidrBlock="10.65.1.0/26") == "InvalidRouteTableID.NotFound"


def test_a_full_table_refuses_another_route():
    assert create(world(to_eni("10.65.2.0/26")), limit=2) == "RouteLimitExceeded"


def test_each_family_has_its_own_limit():
    vpcs = world(to_eni("fd00:1::/64"), to_eni("fd00:2::/64"))

    assert create(vpcs, limit=2) == ""


def test_replacing_needs_a_route():
    assert judge("ReplaceRoute", world(), DestinationCidrBlock="10.65.1.0/26") == "InvalidParameterValue"


def test_replacing_works_in_a_full_table():
    vpcs = world(to_eni("10.65.1.0/26"))

    assert (
        judge("ReplaceRoute", vpcs, limit=1, DestinationCidrBlock="10.65.1.0/26", NetworkInterfaceId="eni-free") == ""
    )


@pytest.mark.parametrize(
    ("destination", "code"),
    [("10.65.9.0/26", "InvalidRoute.NotFound"), ("10.0.0.0/16", "InvalidParameterValue"), ("10.65.1.0/26", "")],
    ids=["absent", "local", "there"],
)
def test_a_deletion_is_judged_as_ec2_judges_it(destination, code):
    assert judge("DeleteRoute", world(to_eni("10.65.1.0/26")), DestinationCidrBlock=destination) == code


def test_an_attached_interface_cannot_be_deleted():
    assert judge("DeleteNetworkInterface", world(), NetworkInterfaceId="eni-1") == "InvalidParameterValue"
    assert judge("DeleteNetworkInterface", world(), NetworkInterfaceId="eni-free") == ""


def test_a_dry_run_is_never_carried_out():
    assert create(world(), NetworkInterfaceId="eni-1", DryRun="true") == "DryRunOperation"


def test_a_dry_run_reports_what_would_be_refused():
    assert create(world(), "10.65.1.1/26", NetworkInterfaceId="eni-1", DryRun="true") == "InvalidParameterValue"


@pytest.mark.parametrize("state", ["stopped", "stopping", "shutting-down", "terminated"])
def test_a_route_to_a_machine_that_does_not_run_is_a_black_hole(state):
    assert world(state=state).black_hole(to_eni("10.65.1.0/26"))


@pytest.mark.parametrize("interface", ["eni-gone", "eni-free"], ids=["deleted", "detached"])
def test_a_route_to_an_interface_without_machine_is_a_black_hole(interface):
    assert world().black_hole(to_eni("10.65.1.0/26", interface))


def test_a_route_to_a_running_machine_is_none():
    assert not world().black_hole(to_eni("10.65.1.0/26"))
    assert not world().black_hole(Entry(ip_network("10.65.1.0/26"), instance="i-1"))


@pytest.mark.parametrize(
    ("conditions", "status", "code"),
    [
        (Conditions(), 0, ""),
        (Conditions(api="unavailable"), 503, "Unavailable"),
        (Conditions(throttled=True), 503, "RequestLimitExceeded"),
        (Conditions(denied=frozenset({"CreateRoute"})), 403, "UnauthorizedOperation"),
        (Conditions(denied=frozenset({"DeleteRoute"})), 0, ""),
        (Conditions(keys=frozenset({"OTHER"})), 401, "AuthFailure"),
    ],
    ids=["fine", "unavailable", "throttled", "denied", "another denied", "wrong key"],
)
def test_a_caller_is_refused_with_the_codes_of_ec2(conditions, status, code):
    refusal = ec2.admit("CreateRoute", "KEY", conditions)

    assert (refusal.status, refusal.code) == (status, code) if refusal else not code


def test_throttling_passes_on_how_long_to_wait():
    refusal = ec2.admit("CreateRoute", "KEY", Conditions(throttled=True, retry_after=3))

    assert refusal.retry_after == 3


def test_readers_see_a_new_route_only_after_the_delay():
    views = Views()
    views.add(0.0, world(), keep=60)
    views.add(10.0, world(to_eni("10.65.1.0/26")), keep=60)

    assert len(views.tables(9.9)[TABLE].entries) == 1
    assert len(views.tables(10.0)[TABLE].entries) == 2


def test_a_table_that_was_not_there_is_shown_as_it_was_made():
    views = Views()
    views.add(0.0, Vpcs(), keep=60)
    views.add(10.0, world(), keep=60)
    views.add(11.0, world(to_eni("10.65.1.0/26")), keep=60)

    assert len(views.tables(0.0)[TABLE].entries) == 1


def test_a_table_that_is_gone_is_shown_no_more():
    views = Views()
    views.add(0.0, world(), keep=60)
    views.add(10.0, Vpcs(), keep=60)

    assert not views.tables(0.0)


def test_states_that_no_reader_can_see_are_forgotten():
    views = Views()
    for second in range(1000):
        views.add(float(second), world(), keep=60)

    assert len(views._states) <= 62
