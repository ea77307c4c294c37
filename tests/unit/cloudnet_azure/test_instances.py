from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface

from cloudnet.lab.clouds.trouble import Fault, Trouble
from cloudnet.model.addresses import NodeName
from cloudnet.model.resources import Metadata, Node

LISTS = ("NetworkInterfaces_List", "NetworkInterfaces_ListVirtualMachineScaleSetNetworkInterfaces")


def test_machines_scale_sets_and_addresses_are_found_with_a_call_for_each_list(cloud, provider, three):
    found = provider.instances(three)

    assert {name: (i.id, i.interface, i.subnet) for name, i in found.items()} == {
        "n1": ("rg/n1", "rg/n1-nic", "rg/vnet/s1"),
        "n2": ("rg/pool/1", "rg/pool/1/nic", "rg/vnet/s2"),
        "n3": ("rg/n3", "rg/n3-nic", "rg/vnet/s3"),
    }
    assert cloud.count(*LISTS) == cloud.count() == 2


def test_addresses_are_those_of_both_families_ipv4_first(provider, three):
    found = provider.instances(three)

    assert found[NodeName("n2")].addresses == (ip_address("10.0.2.11"), ip_address("fd00:2::11"))
    assert found[NodeName("n2")].mtu == 1500


def test_only_lists_that_can_have_the_nodes_are_read(cloud, provider, three):
    provider.instances(three[1:2])

    assert cloud.count("NetworkInterfaces_List") == 0
    assert cloud.count() == 1


def test_a_machine_in_another_resource_group_is_looked_for_there(cloud, provider):
    cloud.arm.state.groups.add("other")
    stranger = Node(
        Metadata("x"),
        provider_id="azure:///subscriptions/s/resourceGroups/Other/providers/Microsoft.Compute/virtualMachines/x",
    )

    assert provider.instances([stranger]) == {}
    assert [call.path.split("/")[4] for call in cloud.simulator.log] == ["other"]


def test_a_node_of_another_cloud_costs_no_call(cloud, provider):
    assert provider.instances([Node(Metadata("x"), provider_id="aws:///eu-west-1a/i-1")]) == {}
    assert cloud.count() == 0


def test_of_several_interfaces_the_one_with_the_nodes_address_is_taken(cloud, provider, three):
    machine = three[0].provider_id.removeprefix("azure://")
    second = cloud.arm.state.machines[machine]
    extra = replace(second, interface=second.interface.replace("n1-nic", "n1-second"))
    cloud.arm.state.put(
        "networkInterfaces",
        extra.interface,
        {
            "properties": {
                "ipConfigurations": [
                    {"name": "c", "properties": {"privateIPAddress": "10.0.1.99", "subnet": {"id": f"{machine}/x"}}}
                ]
            }
        },
    )
    cloud.arm.state.machines[f"{machine}#2"] = extra
    node = replace(three[0], addresses=(ip_interface("10.0.1.11/24"),))

    assert provider.instances([node])[node.name].interface == "rg/n1-nic"


def test_a_machine_that_is_off_is_known_after_the_next_look(cloud, three):
    provider = cloud.provider(power_seconds=60.0)
    machine = three[1].provider_id.removeprefix("azure://")
    cloud.arm.state.machines[machine] = replace(cloud.arm.state.machines[machine], running=False)

    before = provider.instances(three)
    cloud.clock.sleep(61.0)
    after = provider.instances(three)
    provider.instances(three)

    assert all(i.running for i in before.values())
    assert [i.running for i in after.values()] == [True, False, True]
    assert cloud.count("VirtualMachines_List") == cloud.count("VirtualMachineScaleSetVMs_List") == 1


def test_who_may_not_look_at_power_states_takes_all_for_running(cloud, three, caplog):
    provider = cloud.provider(power_seconds=1.0)
    cloud.simulator.faults.add(Fault("Virtual*_List", Trouble.PERMISSION))
    cloud.clock.sleep(2.0)

    found = provider.instances(three)

    assert all(i.running for i in found.values())
    assert "cannot read power states" in caplog.text
