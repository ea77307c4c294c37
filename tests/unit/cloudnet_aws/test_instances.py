from dataclasses import replace
from ipaddress import ip_interface

import pytest

from cloudnet.model.resources import Metadata, Node
from cloudnet.provider.api import Instance
from cloudnet_aws.instances import choose, instance_id

FIRST = {
    "NetworkInterfaceId": "eni-1",
    "SubnetId": "subnet-a",
    "Attachment": {"DeviceIndex": 0},
    "PrivateIpAddresses": [{"PrivateIpAddress": "10.0.1.11", "Primary": True}],
    "Ipv6Addresses": [],
}
SECOND = {
    "NetworkInterfaceId": "eni-2",
    "SubnetId": "subnet-b",
    "Attachment": {"DeviceIndex": 1},
    "PrivateIpAddresses": [
        {"PrivateIpAddress": "10.0.2.99", "Primary": False},
        {"PrivateIpAddress": "10.0.2.11", "Primary": True},
    ],
    "Ipv6Addresses": [{"Ipv6Address": "fd00::11"}],
}


def node(name, *addresses, provider_id=""):
    return Node(Metadata(name), tuple(ip_interface(a) for a in addresses), provider_id=provider_id)


def interface(name, subnet, index, address, check):
    return (
        f"<item><networkInterfaceId>{name}</networkInterfaceId><subnetId>{subnet}</subnetId>"
        f"<sourceDestCheck>{check}</sourceDestCheck><attachment><deviceIndex>{index}</deviceIndex></attachment>"
        f"<privateIpAddressesSet><item><privateIpAddress>{address}</privateIpAddress><primary>true</primary></item>"
        "</privateIpAddressesSet></item>"
    )


def machine(name, *interfaces, state="running"):
    return (
        f"<item><instancesSet><item><instanceId>{name}</instanceId><instanceState><name>{state}</name></instanceState>"
        "<placement><availabilityZone>eu-west-1a</availabilityZone></placement>"
        f"<networkInterfaceSet>{''.join(interfaces)}</networkInterfaceSet></item></instancesSet></item>"
    )


def answer(*machines):
    inside = "".join(machines)
    return f"<DescribeInstancesResponse><reservationSet>{inside}</reservationSet></DescribeInstancesResponse>"


@pytest.mark.parametrize(
    ("provider_id", "expected"),
    [
        ("aws:///eu-west-1a/i-0abc", "i-0abc"),
        ("aws:///i-0abc", "i-0abc"),
        ("i-0abc", "i-0abc"),
        ("azure:///subscriptions/x/virtualMachines/vm", ""),
        ("", ""),
    ],
)
def test_the_instance_id_is_the_last_part_of_the_provider_id(provider_id, expected):
    assert instance_id(node("n1", provider_id=provider_id)) == expected


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (["10.0.1.11/24"], "eni-1"),
        (["10.0.2.11/24"], "eni-2"),
        (["10.0.2.99/24"], "eni-2"),
        (["fd00::11/64"], "eni-2"),
        (["fd00::11/64", "10.0.1.11/24"], "eni-1"),
        (["192.0.2.1/24"], "eni-1"),
        ([], "eni-1"),
    ],
    ids=["first", "second", "secondary", "ipv6", "ipv4-before-ipv6", "unknown", "none"],
)
def test_the_interface_that_carries_the_nodes_address_is_chosen(addresses, expected):
    assert choose([SECOND, FIRST], node("n1", *addresses))["NetworkInterfaceId"] == expected


def test_an_instance_with_two_interfaces_is_described_by_the_right_one(provider, script):
    first = interface("eni-1", "subnet-a", 0, "10.0.1.11", "true")
    second = interface("eni-2", "subnet-b", 1, "10.0.2.11", "false")
    script.say("DescribeInstances", answer(machine("i-1", first, second)))

    (found,) = provider.instances([node("n1", "10.0.2.11/24", provider_id="aws:///z/i-1")]).values()

    assert (found.id, found.interface, found.subnet, found.zone) == ("i-1", "eni-2", "subnet-b", "eu-west-1a")
    assert found.forwarding
    assert found.mtu == 9001


@pytest.mark.parametrize(
    ("state", "running"), [("running", True), ("pending", True), ("stopping", False), ("stopped", False)]
)
def test_a_machine_that_does_not_run_is_said_not_to(provider, script, state, running):
    made = machine("i-1", interface("eni-1", "subnet-a", 0, "10.0.1.11", "true"), state=state)
    script.say("DescribeInstances", answer(made))

    (found,) = provider.instances([node("n1", provider_id="aws:///z/i-1")]).values()

    assert found.running is running


@pytest.mark.parametrize(
    "made",
    [
        machine("i-1", state="terminated"),
        machine("i-1", interface("eni-1", "subnet-a", 0, "10.0.1.11", "true"), state="terminated"),
        machine("i-1", state="running"),
    ],
    ids=["bare", "with-interface", "no-interface"],
)
def test_a_terminated_machine_or_one_without_interfaces_is_gone(provider, script, made):
    script.say("DescribeInstances", answer(made))

    assert provider.instances([node("n1", provider_id="aws:///z/i-1")]) == {}


def test_known_ids_and_unknown_addresses_cost_one_filtered_call_each(provider, script):
    script.say("DescribeInstances", answer(machine("i-1", interface("eni-1", "subnet-a", 0, "10.0.1.11", "true"))))
    script.say("DescribeInstances", answer(machine("i-2", interface("eni-2", "subnet-a", 0, "10.0.1.12", "true"))))

    found = provider.instances([node("n1", provider_id="aws:///z/i-1"), node("n2", "10.0.1.12/24")])

    assert {n: i.id for n, i in found.items()} == {"n1": "i-1", "n2": "i-2"}
    assert [f["Filter.2.Name"] for f in script.sent("DescribeInstances")] == ["instance-id", "private-ip-address"]


@pytest.mark.parametrize(
    "nodes",
    [
        [node(f"n{k}", provider_id=f"aws:///z/i-{k}") for k in range(201)],
        [node("n1", "fd00::11/64")],
    ],
    ids=["many", "ipv6-only"],
)
def test_what_no_filter_can_name_is_found_in_the_list_of_the_vpc(provider, script, nodes):
    script.say("DescribeInstances", answer())

    provider.instances(nodes)

    (form,) = script.sent("DescribeInstances")
    assert form["Filter.1.Name"] == "vpc-id"
    assert "Filter.2.Name" not in form


def test_a_node_of_another_cloud_costs_no_call(provider, script):
    assert provider.instances([node("n1", "10.0.1.11/24", provider_id="azure:///vm")]) == {}
    assert script.requests == []


def test_the_subnets_of_found_nodes_are_in_scope(provider, script):
    script.say("DescribeInstances", answer(machine("i-1", interface("eni-1", "subnet-a", 0, "10.0.1.11", "true"))))

    provider.instances([node("n1", provider_id="aws:///z/i-1")])

    assert [s for s, _ in provider.routes._subnets.values()] == ["subnet-a"]


def test_forwarding_is_switched_on_the_interface_and_only_where_it_is_off(provider, script):
    machine_ = Instance("i-1", "eni-2", "subnet-b")

    provider.allow_forwarding(machine_)
    provider.allow_forwarding(replace(machine_, forwarding=True))

    (form,) = script.sent("ModifyNetworkInterfaceAttribute")
    assert (form["NetworkInterfaceId"], form["SourceDestCheck.Value"]) == ("eni-2", "false")


def test_every_route_in_every_table_gives_up_the_shortcut(make_provider, config):
    assert make_provider(config).capabilities.l2_adjacent
    assert not make_provider(config, every_route_in_every_table=True).capabilities.l2_adjacent
