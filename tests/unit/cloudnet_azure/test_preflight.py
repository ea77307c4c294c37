"""The look before the first write, on the lab's Azure through the real SDK: each obstacle alone, and none."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.resources import EncapMode, IPPool, Metadata
from cloudnet.provider.preflight import Check, Needs, Severity
from cloudnet.testing.preflight import CloudPreflightContract, Obstacle

PODS, NODES = "10.65.0.0/16", "10.0.0.0/16"
READS = ("Get", "List")


def rule(
    priority, *, source="*", destination="*", ports="*", protocol="*", access="Allow", direction="Inbound", **more
):
    """Return a security rule; ``more`` are properties as they stand."""
    properties = {
        "priority": priority,
        "direction": direction,
        "access": access,
        "protocol": protocol,
        "sourcePortRange": "*",
        "destinationPortRange": ports,
        "sourceAddressPrefix": source,
        "destinationAddressPrefix": destination,
    }
    kept = {name: value for name, value in (properties | more).items() if value is not None}
    return {"name": f"r{priority}-{direction}", "properties": kept}


def allow(priority, **fields):
    return rule(priority, **fields)


def deny(priority, **fields):
    return rule(priority, access="Deny", **fields)


class Subscription:
    """This folder's resource group, its machines made to forward, its subnets in one group with Azure's own rules."""

    def __init__(self, cloud, nodes, **config):
        self.cloud = cloud
        self.provider = cloud.provider(**config)
        (network,) = self.resources("virtualNetworks")
        self.networks = network.id.partition("/virtualNetworks/")[0]
        self.group = f"{self.networks}/networkSecurityGroups/nodes"
        self.cloud.arm.state.put("networkSecurityGroups", self.group, {"location": "westeurope", "properties": {}})
        for resource in self.resources("subnets"):
            self.join(resource, self.group)
        for resource in (*self.resources("networkInterfaces"), *self.resources("scaleSetMachine")):
            self.change(resource, enableIPForwarding=True)
        self.needs = Needs(
            nodes=tuple(nodes),
            pools=(IPPool(Metadata("pods"), ip_network(PODS)),),
            blocks={NodeName(f"n{k}"): (ip_network(f"10.65.{k}.0/26"),) for k in (1, 2, 3)},
        )

    def resources(self, kind):
        return list(self.cloud.arm.state.of(kind))

    def resource(self, kind, name):
        return next(r for r in self.resources(kind) if r.id.endswith(f"/{name}"))

    def change(self, resource, **properties):
        written = {**resource.written, "properties": {**resource.written["properties"], **properties}}
        return self.cloud.arm.state.put(resource.kind, resource.id, written)

    def join(self, resource, group):
        self.change(resource, networkSecurityGroup={"id": group})

    def rules(self, *rules, name="nodes"):
        group = f"{self.networks}/networkSecurityGroups/{name}"
        body = {"location": "westeurope", "properties": {"securityRules": list(rules)}}
        self.cloud.arm.state.put("networkSecurityGroups", group, body)
        return group

    def writes(self):
        verbs = ((call, call.partition("_")[2]) for call in self.cloud.simulator.counts)
        return sorted(call for call, verb in verbs if not verb.startswith(READS))

    def cut_off(self):
        self.conditions(api="unavailable")

    def conditions(self, **fields):
        self.cloud.simulator.conditions = replace(self.cloud.simulator.conditions, **fields)


def denied(*calls):
    def plant(world):
        world.conditions(denied=frozenset(calls))

    return plant


def stopped(world):
    machines = world.cloud.arm.state.machines
    for name, machine in machines.items():
        if machine.name == "n1":
            machines[name] = replace(machine, running=False)


def no_forwarding(kind):
    def plant(world):
        world.change(world.resources(kind)[0], enableIPForwarding=False)

    return plant


def no_table(world):
    world.change(world.resource("subnets", "s2"), routeTable={"id": ""})


def closed(*rules):
    def plant(world):
        world.rules(*rules)

    return plant


def closed_at_an_interface(world):
    """Shut pods out at one interface; the subnet's group goes on letting them through."""
    world.join(world.resource("networkInterfaces", "n1-nic"), world.rules(deny(500, source=PODS), name="strict"))


def open_to_a_group_of_interfaces(world):
    """Let an application security group in, and nothing else: pods are in none."""
    group = {"id": f"{world.networks}/applicationSecurityGroups/nodes"}
    for resource in (*world.resources("networkInterfaces"), *world.resources("scaleSetMachine")):
        parts = resource.written["properties"]["ipConfigurations"]
        with_group = [{**c, "properties": {**c["properties"], "applicationSecurityGroups": [group]}} for c in parts]
        world.change(resource, ipConfigurations=with_group)
    of_nodes = allow(200, source=None, sourceApplicationSecurityGroups=[group])
    probes = allow(210, source=PODS, protocol="Udp", ports="4793")
    world.rules(of_nodes, probes, deny(4000))


def somebody_elses_block(world):
    world.cloud.add_route("rt-1", "theirs", "10.65.2.0/26", address="10.9.9.9")


def ip_in_ip(world):
    (pool,) = world.needs.pools
    return replace(world.needs, pools=(replace(pool, ipip_mode=EncapMode.ALWAYS),))


def large_packets(world):
    return replace(world.needs, pod_mtu=1500)


def pool_over_a_subnet(world):
    return replace(world.needs, pools=(IPPool(Metadata("pods"), ip_network(NODES)),), blocks={})


def native(world):
    return replace(world.needs, native=frozenset({Family.IPV4}))


def no_room(world):
    """Leave the subnet of n1 three addresses: Azure keeps five."""
    world.change(world.resource("subnets", "s1"), addressPrefix="10.0.1.8/29")
    return native(world)


class TestAzurePreflight(CloudPreflightContract):
    CHECKS = frozenset(Check)
    OBSTACLES = (
        Obstacle(
            "tables denied",
            denied("RouteTables_List", "RouteTables_Get"),
            Check.PERMISSION,
            remedy='add "Microsoft.Network/routeTables/read" to the Actions of role cloudnet-c1, '
            "assigned at /subscriptions/.*/resourceGroups/rg$",
        ),
        Obstacle("interfaces denied", denied("NetworkInterfaces_List"), Check.PERMISSION),
        Obstacle(
            "routes denied",
            denied("Routes_CreateOrUpdate"),
            Check.PERMISSION,
            problem="no role",
            remedy="routeTables/routes/write",
        ),
        Obstacle("deletes denied", denied("Routes_Delete"), Check.PERMISSION, remedy="routeTables/routes/delete"),
        Obstacle(
            "machines denied", denied("VirtualMachines_List"), Check.PERMISSION, Severity.WARNING, remedy="virtualMac"
        ),
        Obstacle(
            "scale sets denied",
            denied("VirtualMachineScaleSetVMs_Update"),
            Check.PERMISSION,
            remedy="virtualMachineScaleSets/virtualMachines/write",
        ),
        Obstacle("subnets denied", denied("Subnets_List"), Check.PERMISSION, Severity.WARNING),
        Obstacle("groups denied", denied("NetworkSecurityGroups_Get"), Check.PERMISSION, Severity.WARNING),
        Obstacle("nobody tells", denied("Permissions_ListForResourceGroup"), Check.PERMISSION, Severity.WARNING),
        Obstacle("stopped machine", stopped, Check.MACHINES, remedy="start them"),
        Obstacle(
            "no forwarding",
            no_forwarding("networkInterfaces"),
            Check.FORWARDING,
            Severity.WARNING,
            remedy="az network nic update --resource-group rg --name n1-nic --ip-forwarding true$",
        ),
        Obstacle(
            "no forwarding in a scale set",
            no_forwarding("scaleSetMachine"),
            Check.FORWARDING,
            Severity.WARNING,
            remedy=r"az vmss update --resource-group rg --name pool .*enableIPForwarding=true.* --instance-ids 1$",
        ),
        Obstacle(
            "no table",
            no_table,
            Check.TABLES,
            problem="no route table",
            remedy="subnet update --resource-group rg --vnet-name vnet --name s2 --route-table",
        ),
        Obstacle(
            "denied before Azure's own",
            closed(deny(1000, source=NODES, protocol="Udp", ports="4789")),
            Check.FIREWALL,
            problem="udp 4789 .* in from 10.0.1.0/24, 10.0.2.0/23$",
            remedy="nsg rule create --resource-group rg --nsg-name nodes --name cloudnet-vxlan-inbound-999 "
            "--priority 999 --direction Inbound --access Allow --protocol 'Udp' --source-address-prefixes "
            r"10.0.1.0/24 10.0.2.0/23 --source-port-ranges '\*' --destination-address-prefixes '\*' "
            "--destination-port-ranges '4789'$",
        ),
        Obstacle(
            "everything denied but nodes",
            closed(allow(300, source=NODES), allow(310, source=PODS, ports="4793", protocol="Udp"), deny(400)),
            Check.FIREWALL,
            problem=r"tcp, udp, icmp \(pods\) is not let in",
            remedy=r"--priority 399 .* --protocol '\*' --source-address-prefixes 10.65.0.0/16 ",
        ),
        Obstacle(
            "two protocols",
            closed(
                allow(310, source=PODS, ports="4793", protocol="Udp"),
                allow(320, source=PODS, protocol="Icmp"),
                deny(399, source=PODS),
            ),
            Check.FIREWALL,
            problem=r"^tcp, udp \(pods\)",
            remedy="--priority 397 .* --protocol 'Tcp' .*; .*--priority 398 .* --protocol 'Udp' ",
        ),
        Obstacle(
            "an allowance too late",
            closed(deny(200, source=PODS, protocol="Tcp"), allow(300, source=PODS, protocol="Tcp")),
            Check.FIREWALL,
            problem=r"^tcp \(pods\)",
            remedy="--priority 199 ",
        ),
        Obstacle(
            "no room for a rule",
            closed(deny(100, source=PODS, protocol="Icmp")),
            Check.FIREWALL,
            problem=r"^icmp \(pods\)",
            remedy="no free priority before its denials",
        ),
        Obstacle(
            "some destinations",
            closed(allow(300, source=PODS, destination="10.65.1.0/26"), deny(400, source=PODS, protocol="Tcp")),
            Check.FIREWALL,
            problem=r"^tcp \(pods\)",
        ),
        Obstacle(
            "a denial of some destinations",
            closed(deny(400, source=PODS, destination="10.65.1.0/26", protocol="Tcp")),
            Check.FIREWALL,
            problem=r"^tcp \(pods\) is not let in from 10.65.0.0/16",
        ),
        Obstacle(
            "some source ports",
            closed(
                allow(300, source=NODES, protocol="Udp", sourcePortRange="4789"),
                deny(400, source=NODES, protocol="Udp", ports="4780-4790"),
            ),
            Check.FIREWALL,
            problem="udp 4789",
        ),
        Obstacle(
            "no way out",
            closed(deny(1000, direction="Outbound", destination=PODS, protocol="Tcp")),
            Check.FIREWALL,
            problem=r"^tcp \(pods\) is not let out to 10.65",
            remedy=r"--direction Outbound .* --destination-address-prefixes 10.65.0.0/16",
        ),
        Obstacle(
            "closed at an interface", closed_at_an_interface, Check.FIREWALL, problem="from 10.65", remedy="strict"
        ),
        Obstacle("a group of interfaces", open_to_a_group_of_interfaces, Check.FIREWALL, problem=r"\(pods\)"),
        Obstacle(
            "ranges in a list",
            closed(
                deny(
                    400,
                    source=None,
                    sourceAddressPrefixes=["10.65.0.0/17", "172.16.0.0/12"],
                    protocol="Tcp",
                )
            ),
            Check.FIREWALL,
            problem=r"^tcp \(pods\) is not let in from 10.65.0.0/17$",
        ),
        Obstacle(
            "IP-in-IP", ip_in_ip, Check.FIREWALL, Severity.WARNING, problem="Azure drops", remedy="ipipMode to Never"
        ),
        Obstacle(
            "somebody's block",
            somebody_elses_block,
            Check.ROUTES,
            problem="10.9.9.9",
            remedy="route delete --resource-group rg --route-table-name rt-1 --name 'theirs'$",
        ),
        Obstacle("large packets", large_packets, Check.MTU, remedy="CLOUDNET_POD_MTU=1450"),
        Obstacle("pool over a subnet", pool_over_a_subnet, Check.ADDRESSES, problem="subnet s1 10.0.1.0/24"),
        Obstacle(
            "no room for native addresses",
            no_room,
            Check.ADDRESSES,
            problem="there are none for n1",
            remedy="subnet update .* --name s1 ",
        ),
    )

    @pytest.fixture
    def world(self, cloud, three):
        return Subscription(cloud, three)


def wrong(world):
    return [f for f in world.provider.preflight(world.needs) if f.severity is not Severity.OK]


def test_a_table_that_is_too_small_is_told_with_what_to_do(cloud, three):
    world = Subscription(cloud, three, routes_per_table=2)

    assert {(f.check, f.severity) for f in wrong(world)} == {(Check.QUOTA, Severity.BLOCKS)}
    assert all("3 are wanted" in f.problem and "larger blocks" in f.remedy for f in wrong(world))


def test_without_a_group_everything_passes(cloud, three):
    world = Subscription(cloud, three)
    for resource in world.resources("subnets"):
        written = {k: v for k, v in resource.written["properties"].items() if k != "networkSecurityGroup"}
        cloud.arm.state.put("subnets", resource.id, {"properties": written})

    assert wrong(world) == []


def test_native_addresses_are_free_for_every_node(cloud, three):
    world = Subscription(cloud, three)
    world.needs = native(world)

    assert wrong(world) == []
    assert "native IPv4 addresses in 3 subnets" in {f.subject for f in world.provider.preflight(world.needs)}


def test_rights_for_native_addresses_are_looked_for_where_they_are_wanted(cloud, three):
    world = Subscription(cloud, three)
    denied("NetworkInterfaces_GetVirtualMachineScaleSetNetworkInterface")(world)

    assert wrong(world) == []
    world.needs = native(world)
    assert [(f.check, f.severity) for f in wrong(world)] == [(Check.PERMISSION, Severity.BLOCKS)]


def test_rights_for_scale_sets_are_looked_for_where_there_are_any(cloud, three):
    world = Subscription(cloud, three, scale_sets=())
    denied("VirtualMachineScaleSetVMs_Update")(world)
    world.needs = replace(world.needs, nodes=(three[0], three[2]))

    assert wrong(world) == []


def test_a_second_group_is_asked_for_its_own_roles(cloud, three):
    world = Subscription(cloud, three)
    calls = cloud.simulator.counts["Permissions_ListForResourceGroup"]
    world.provider.preflight(world.needs)
    assert cloud.simulator.counts["Permissions_ListForResourceGroup"] == calls + 1

    world.provider = cloud.provider(route_table_resource_group="tables")
    cloud.arm.state.groups.add("tables")
    world.provider.preflight(world.needs)
    assert cloud.simulator.counts["Permissions_ListForResourceGroup"] == calls + 3
