"""A simulated Azure on loopback, and the plugin on it through the real SDK, with time that a test moves by hand."""

from __future__ import annotations

import json
import os
import random
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest

from cloudnet.clock import ManualClock
from cloudnet.lab.clouds.azure.arm import Arm
from cloudnet.lab.clouds.azure.contract import BUCKETS, CONTRACT, NETWORK
from cloudnet.lab.clouds.azure.names import SUBSCRIPTION
from cloudnet.lab.clouds.azure.state import Machine
from cloudnet.lab.clouds.conditions import Conditions
from cloudnet.lab.clouds.listener import Listener
from cloudnet.lab.clouds.server import serving
from cloudnet.lab.clouds.simulator import Simulator
from cloudnet.model.addresses import NodeName
from cloudnet.model.resources import Metadata, Node
from cloudnet.provider.budget import Budget
from cloudnet.testing.arm_judge import ArmJudge
from cloudnet_azure import AzureProvider
from cloudnet_azure.client import Client, connect
from cloudnet_azure.config import AzureConfig

GROUP = "rg"
PREFIX = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers"
NETWORKS = f"{PREFIX}/Microsoft.Network"
VNET = f"{NETWORKS}/virtualNetworks/vnet"
TOKEN = "SECRET-TOKEN"  # noqa: S105 - what tests look for in messages


class AzureCloud:
    """One resource group with a virtual network; the plugin's calls come by HTTP, the test's own do not."""

    def __init__(self, *, operation_seconds=1.0, routes_per_table=400):
        self.clock = ManualClock()
        limit = Conditions(routes_per_table=routes_per_table)
        self.arm = Arm(
            self.clock, lambda: self.simulator.conditions.routes_per_table, operation_seconds=operation_seconds
        )
        self.arm.state.groups.add(GROUP)
        self.arm.state.denied = lambda: self.simulator.conditions.denied
        self.simulator = Simulator(CONTRACT, self.arm, self.arm, clock=self.clock, limits=BUCKETS, conditions=limit)
        self.listener = Listener(0, serving(self.simulator, outsider=False))
        self.listener.open()
        self._opened = []
        self.arm.state.put(
            "virtualNetworks", VNET, {"properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/8"]}}}
        )

    def close(self):
        for connection in self._opened:
            connection.network.close()
            connection.compute.close()
        self.listener.close()

    # --- the plugin ---

    def config(self, **more):
        fields = {
            "subscription_id": SUBSCRIPTION,
            "resource_group": GROUP,
            "cluster": "c1",
            "endpoint_url": f"http://127.0.0.1:{self.listener.port}",
            "access_token": TOKEN,
            "scale_sets": ("pool",),
            "read_timeout": 2.0,
        }
        return AzureConfig(**{**fields, **more})

    def client(self, **more):
        config = self.config(**more)
        connection = connect(config)
        self._opened.append(connection)
        budget = Budget(self.clock, read=config.read, write=config.write)
        return Client(config, connection, clock=self.clock, budget=budget, rng=random.Random(1))

    def provider(self, **more):
        return AzureProvider(self.config(**more), self.client(**more), self.clock)

    # --- the network ---

    def add_table(self, name, *subnets):
        """Make a table and the subnets that it serves: ``("s1", "10.0.1.0/24")``."""
        self.arm.state.put("routeTables", f"{NETWORKS}/routeTables/{name}", {"location": "westeurope"})
        for subnet, cidr in subnets:
            served = {"addressPrefix": cidr, "routeTable": {"id": f"{NETWORKS}/routeTables/{name}"}}
            self.arm.state.put("subnets", f"{VNET}/subnets/{subnet}", {"properties": served})

    def add_machine(self, name, subnet, *addresses, scale_set=False, forwarding=False):
        """Start a machine and return its node."""
        number = str(len(self.arm.state.machines))
        configurations = [
            {
                "name": f"ipconfig{at}",
                "properties": {
                    "privateIPAddress": address.partition("/")[0],
                    "privateIPAllocationMethod": "Static",
                    "privateIPAddressVersion": "IPv6" if ":" in address else "IPv4",
                    "subnet": {"id": f"{VNET}/subnets/{subnet}"},
                    "primary": at == 0,
                },
            }
            for at, address in enumerate(addresses)
        ]
        properties = {"ipConfigurations": configurations, "enableIPForwarding": forwarding}
        if scale_set:
            machine = f"{PREFIX}/Microsoft.Compute/virtualMachineScaleSets/pool/virtualMachines/{number}"
            interface = f"{machine}/networkInterfaces/nic"
            self.arm.state.put("scaleSetMachine", machine, {"name": "nic", "properties": properties})
        else:
            machine = f"{PREFIX}/Microsoft.Compute/virtualMachines/{name}"
            interface = f"{NETWORKS}/networkInterfaces/{name}-nic"
            self.arm.state.put("networkInterfaces", interface, {"location": "westeurope", "properties": properties})
        self.arm.state.machines[machine] = Machine(machine, name, interface, "00:0d:3a:00:00:01")
        own = tuple(ip_interface(a) for a in addresses if ":" not in a)
        return Node(Metadata(name), own, provider_id=f"azure://{machine}")

    def add_interface(self, name, subnet, *addresses, names=()):
        """Let somebody have an interface that is attached to nothing."""
        configurations = [
            {
                "name": names[at] if names else f"c{at}",
                "properties": {
                    "privateIPAddress": address,
                    "privateIPAllocationMethod": "Static",
                    "subnet": {"id": f"{VNET}/subnets/{subnet}"},
                    "primary": at == 0,
                },
            }
            for at, address in enumerate(addresses)
        ]
        body = {"location": "westeurope", "properties": {"ipConfigurations": configurations}}
        self.arm.state.put("networkInterfaces", f"{NETWORKS}/networkInterfaces/{name}", body)

    def add_route(self, table, name, prefix, *, address="", kind="VirtualAppliance"):
        """Let somebody write a route behind the plugin's back."""
        hop = {"nextHopType": kind, **({"nextHopIpAddress": address} if address else {})}
        self.outsider("PUT", f"routeTables/{table}/routes/{name}", {"properties": {"addressPrefix": prefix, **hop}})

    def outsider(self, method, path, body=None):
        raw = json.dumps(body).encode() if body else b""
        target = f"{NETWORKS}/{path}?api-version={NETWORK}"
        answer = self.simulator.handle(method, target, {}, raw, outsider=True)
        assert answer.status < 300, answer.body
        return answer.body

    def routes(self, table):
        """Return ``{prefix: (name, next hop)}`` as the table really holds them."""
        found = self.outsider("GET", f"routeTables/{table}")["properties"]["routes"]
        return {
            ip_network(p["addressPrefix"]): (r["name"], p.get("nextHopIpAddress", p["nextHopType"]))
            for r in found
            for p in [r["properties"]]
            if p["addressPrefix"][0].isdigit()
        }

    def outsider_routes(self, table):
        """Return ``[(name, next hop), …]``, service tags included."""
        found = self.outsider("GET", f"routeTables/{table}")["properties"]["routes"]
        return [(r["name"], r["properties"].get("nextHopIpAddress", r["properties"]["nextHopType"])) for r in found]

    def count(self, *calls):
        return sum(self.simulator.counts[call] for call in calls) if calls else self.simulator.counts.total()


@pytest.fixture(scope="session")
def judge():
    """Hold every call against Microsoft's descriptions, where they are at hand."""
    folder = os.environ.get("CLOUDNET_SPECS")
    return ArmJudge(Path(folder) / "azure") if folder else None


@pytest.fixture
def cloud(judge):
    made = AzureCloud()
    made.simulator.judge = judge
    yield made
    made.close()
    assert made.simulator.violations == []


@pytest.fixture
def three(cloud):
    """Return the nodes of three subnets with a table each: a machine, one of a scale set, and one without an id."""
    nodes = []
    for k in (1, 2, 3):
        cloud.add_table(f"rt-{k}", (f"s{k}", f"10.0.{k}.0/24"))
        addresses = f"10.0.{k}.11/24", f"fd00:{k}::11/64"
        nodes.append(cloud.add_machine(f"n{k}", f"s{k}", *addresses, scale_set=k == 2))
    nodes[2] = Node(nodes[2].meta, nodes[2].addresses)
    return nodes


@pytest.fixture
def provider(cloud, three):
    made = cloud.provider()
    made.instances(three)
    cloud.simulator.counts.clear()
    cloud.simulator.log.clear()
    return made


@pytest.fixture
def hop(provider, three):
    """Return what leads to the node of that name."""
    found = provider.instances(three)
    return lambda name: found[NodeName(name)].next_hop
