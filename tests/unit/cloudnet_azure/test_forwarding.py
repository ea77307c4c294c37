from __future__ import annotations

import pytest

from cloudnet.lab.clouds.trouble import Fault, Trouble
from cloudnet.model.addresses import InterfaceId, NodeName
from cloudnet.provider.errors import Conflict, NotFound, Unsupported
from cloudnet_azure import forwarding, interfaces


@pytest.mark.parametrize(
    ("name", "calls"),
    [
        ("n1", ["NetworkInterfaces_Get", "NetworkInterfaces_CreateOrUpdate"]),
        ("n2", ["VirtualMachineScaleSetVMs_Get", "VirtualMachineScaleSetVMs_Update", "Operations_Get"]),
    ],
    ids=["machine", "scale-set"],
)
def test_forwarding_is_switched_on_where_it_can_be(cloud, provider, three, name, calls):
    before = provider.instances(three)[NodeName(name)]
    cloud.simulator.log.clear()

    provider.allow_forwarding(before)

    seen = [call.name for call in cloud.simulator.log]
    assert seen[: len(calls)] == calls
    assert not before.forwarding
    assert provider.instances(three)[NodeName(name)].forwarding


def test_all_else_of_an_interface_stays(cloud, provider, three):
    cloud.arm.state.put(
        "networkInterfaces",
        cloud.arm.state.machines[three[0].provider_id.removeprefix("azure://")].interface,
        {
            "location": "northeurope",
            "properties": {
                "enableAcceleratedNetworking": True,
                "networkSecurityGroup": {"id": "/nsg"},
                "ipConfigurations": [
                    {
                        "name": "c",
                        "properties": {
                            "privateIPAddress": "10.0.1.11",
                            "privateIPAllocationMethod": "Static",
                            "subnet": {"id": "/subnet"},
                        },
                    }
                ],
            },
        },
    )
    before = cloud.outsider("GET", "networkInterfaces/n1-nic")

    provider.allow_forwarding(provider.instances(three[:1])[NodeName("n1")])

    after = cloud.outsider("GET", "networkInterfaces/n1-nic")
    for body in (before, after):
        body["properties"].pop("enableIPForwarding")
        body.pop("etag")
        body["properties"]["ipConfigurations"][0].pop("etag")
    assert after == before


def test_an_interface_that_somebody_changes_meanwhile_is_left_to_him(cloud, provider, three):
    instance = provider.instances(three)[NodeName("n1")]
    cloud.simulator.faults.add(Fault("NetworkInterfaces_CreateOrUpdate", Trouble.PRECONDITION))

    with pytest.raises(Conflict):
        provider.allow_forwarding(instance)

    assert not provider.instances(three)[NodeName("n1")].forwarding


def test_a_write_carries_the_etag_of_the_read(cloud, provider, three):
    instance = provider.instances(three)[NodeName("n1")]
    body = cloud.outsider("GET", "networkInterfaces/n1-nic")
    client = cloud.client()
    cloud.outsider("PUT", "networkInterfaces/n1-nic", written(body))  # a new etag

    with pytest.raises(Conflict):
        client.put_interface("rg", "n1-nic", written(body), body["etag"])
    assert instance.interface == "rg/n1-nic"


def written(body):
    return interfaces.whole({**body, "properties": forwarding.forwarding(body["properties"])})


@pytest.mark.parametrize("interface", ["eni-0123", "rg/gone", "rg/pool/99/nic"])
def test_an_interface_that_is_gone_is_not_found(cloud, interface):
    with pytest.raises(NotFound):
        forwarding.allow(cloud.client(), InterfaceId(interface), group="rg")


def test_a_scale_sets_machine_changes_in_that_one_interface_alone():
    configuration = {"name": "a", "properties": {"primary": True, "ipConfigurations": [{"name": "x"}]}}
    other = {"name": "b", "properties": {"enableIPForwarding": False}}
    machine = {
        "name": "pool_0",
        "location": "we",
        "properties": {"networkProfileConfiguration": {"networkInterfaceConfigurations": [configuration, other]}},
    }

    body = interfaces.of_machine(machine, "A", forwarding.forwarding)

    changed = {**configuration, "properties": {**configuration["properties"], "enableIPForwarding": True}}
    assert body == {
        "location": "we",
        "properties": {"networkProfileConfiguration": {"networkInterfaceConfigurations": [changed, other]}},
    }
    with pytest.raises(NotFound):
        interfaces.of_machine(machine, "c", forwarding.forwarding)
    with pytest.raises(Unsupported, match="shows no network configuration"):
        interfaces.of_machine({"name": "pool_0", "properties": {}}, "a", forwarding.forwarding)
