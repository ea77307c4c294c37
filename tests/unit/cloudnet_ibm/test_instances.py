"""Machines are found by two lists, whichever kind their interfaces are of."""

from dataclasses import replace
from ipaddress import ip_interface

import pytest

from cloudnet.lab.clouds.trouble import Trouble
from cloudnet.model.resources import Metadata, Node
from cloudnet.provider.errors import NotFound, PermissionDenied


def test_a_machine_is_found_with_its_subnet_zone_and_address(vpc):
    found = vpc.provider.instances(vpc.nodes.values())

    assert {n: (i.subnet, i.zone, str(i.addresses[0])) for n, i in found.items()} == {
        "n1": (vpc.subnets["s1"], "eu-de-1", "10.0.1.11"),
        "n2": (vpc.subnets["s3"], "eu-de-1", "10.0.3.12"),
        "n3": (vpc.subnets["s2"], "eu-de-2", "10.0.2.13"),
    }


def test_a_worker_of_a_managed_cluster_is_found_by_its_address(vpc):
    worker = "ibm://a1b2///c3d4/kube-c3d4-prod-default-00000119"
    node = Node(Metadata("w1"), (ip_interface("10.0.1.11/24"),), provider_id=worker)

    assert list(vpc.provider.instances([node])) == ["w1"]


def test_a_node_whose_instance_is_gone_is_not_found_by_an_address_that_somebody_else_has_by_now(vpc):
    gone = vpc.nodes["n1"].provider_id.rpartition("/")[2]
    vpc.state.remove_machine(gone)
    vpc.state.add_machine("n9", vpc.subnets["s1"], ip_interface("10.0.1.11/24").ip)

    assert vpc.provider.instances([vpc.nodes["n1"]]) == {}


@pytest.mark.parametrize(
    ("status", "running"), [("running", True), ("starting", True), ("stopped", False), ("failed", False)]
)
def test_what_stands_still_is_told(vpc, status, running):
    next(m for m in vpc.state.machines.values() if m.name == "n1").status = status

    assert vpc.provider.instances([vpc.nodes["n1"]])["n1"].running is running


def test_nodes_are_looked_up_with_two_lists_and_later_with_one(vpc):
    for instance in vpc.provider.instances(vpc.nodes.values()).values():
        vpc.provider.allow_forwarding(instance)
    vpc.simulator.counts.clear()

    found = vpc.provider.instances(vpc.nodes.values())

    assert all(i.forwarding for i in found.values())
    assert vpc.simulator.counts == {"list_instances": 1}


def test_that_an_interface_forwards_is_looked_at_again_after_a_while(vpc):
    vpc.provider.allow_forwarding(vpc.provider.instances([vpc.nodes["n1"]])["n1"])
    next(iter(vpc.state.interfaces.values())).spoofing = False

    soon = vpc.provider.instances([vpc.nodes["n1"]])["n1"].forwarding
    vpc.clock.advance(vpc.config.flag_seconds)
    later = vpc.provider.instances([vpc.nodes["n1"]])["n1"].forwarding

    assert (soon, later) == (True, False)


def test_an_interface_of_the_old_kind_is_changed_by_way_of_its_instance(vpc):
    vpc.add_node("n4", "s1", old=True)
    before = vpc.provider.instances([vpc.nodes["n4"]])["n4"]
    vpc.provider.allow_forwarding(before)
    after = vpc.provider.instances([vpc.nodes["n4"]])["n4"]

    assert (before.forwarding, after.forwarding) == (False, True)
    assert vpc.simulator.counts["update_instance_network_interface"] == 1
    assert vpc.simulator.counts["update_virtual_network_interface"] == 0
    assert vpc.simulator.counts["list_virtual_network_interfaces"] == 0


def test_an_old_interface_that_forwards_already_is_left_alone(vpc):
    machine = vpc.add_node("n4", "s1", old=True)
    vpc.state.interfaces[machine.interface].spoofing = True

    found = vpc.provider.instances([vpc.nodes["n4"]])["n4"]
    vpc.provider.allow_forwarding(found)

    assert found.forwarding
    assert vpc.simulator.counts["update_instance_network_interface"] == 0


def test_many_machines_are_read_page_by_page(vpc):
    for k in range(20, 150):
        vpc.add_node(f"n{k}", "s1")

    assert len(vpc.provider.instances(vpc.nodes.values())) == 133
    assert vpc.simulator.counts["list_instances"] == 2


def test_a_denied_flag_names_the_role(vpc):
    vpc.fail("update_virtual_network_interface", Trouble.PERMISSION)

    with pytest.raises(PermissionDenied, match="IP Spoofing Operator"):
        vpc.provider.allow_forwarding(vpc.provider.instances([vpc.nodes["n1"]])["n1"])


def test_an_interface_that_is_gone_is_not_found(vpc):
    machine = vpc.provider.instances([vpc.nodes["n1"]])["n1"]

    with pytest.raises(NotFound):
        vpc.provider.allow_forwarding(replace(machine, interface="02b7-none"))
