"""IBM Cloud keeps the provider contract: the unmodified SDK over HTTP, against a simulator that its models judge."""

import gc
import random
from ipaddress import IPv4Network, ip_interface, ip_network

import pytest

from cloudnet.clock import ManualClock
from cloudnet.lab.clouds.conditions import Conditions
from cloudnet.lab.clouds.ibm import judge
from cloudnet.lab.clouds.ibm.plane import IbmPlane
from cloudnet.lab.clouds.ibm.state import Route
from cloudnet.lab.clouds.listener import Listener
from cloudnet.lab.clouds.trouble import Fault as Planned
from cloudnet.lab.clouds.trouble import Trouble
from cloudnet.model.resources import Metadata, NextHop, Node
from cloudnet.provider.budget import Budget
from cloudnet.provider.memory import Fault
from cloudnet.testing.provider import ProviderContract
from cloudnet_ibm import IbmProvider
from cloudnet_ibm.client import Client, connect
from cloudnet_ibm.config import READ, WRITE, IbmConfig
from cloudnet_ibm.routes import route_name, split

ZONE = "eu-de-1"
CALLS = {
    "describe_tables": ("list_vpc_routing_tables", "list_vpc_routing_table_routes"),
    "describe_instances": ("list_instances", "list_virtual_network_interfaces"),
    "create_route": ("create_vpc_routing_table_route",),
    "replace_route": ("update_vpc_routing_table_route",),
    "delete_route": ("delete_vpc_routing_table_route",),
    "modify_interface": ("update_virtual_network_interface",),
}
TROUBLES = {
    Fault.THROTTLE: Trouble.THROTTLE,
    Fault.PERMISSION: Trouble.PERMISSION,
    Fault.QUOTA: Trouble.QUOTA,
    Fault.UNAVAILABLE: Trouble.UNAVAILABLE,
    Fault.TIMEOUT: Trouble.TIMEOUT,
}


class IbmWorld:
    """A VPC of one zone: a subnet, a routing table and a machine for each node."""

    def __init__(self):
        self.clock = ManualClock()
        self.plane = IbmPlane(Conditions(routes_per_table=200), self.clock)
        self.simulator = self.plane.simulator
        self.simulator.judge = judge.judge
        self.vpc = self.plane.vpc
        self.nodes = [self.add_node(k) for k in (1, 2, 3)]
        self.listener = Listener(0, self.plane.account)
        self.listener.open()
        url = f"http://127.0.0.1:{self.listener.port}/v1"
        config = IbmConfig("eu-de", self.vpc.id, "c1", token="secret", endpoint_url=url)  # noqa: S106  no secret
        budget = Budget(self.clock, read=READ, write=WRITE)
        self.sdk = connect(config)
        client = Client(config, self.sdk, clock=self.clock, budget=budget, rng=random.Random(1))
        self.provider = IbmProvider(config, client, self.clock)

    def add_node(self, k):
        table = self.vpc.add_table(f"table-{k}", default=k == 3)
        subnet = self.vpc.add_subnet(f"subnet-{k}", ZONE, IPv4Network(f"10.0.{k}.0/24"), table.id)
        address = ip_interface(f"10.0.{k}.11/24")
        machine = self.vpc.add_machine(f"n{k}", subnet.id, address.ip)
        return Node(Metadata(f"n{k}"), (address,), provider_id="" if k == 3 else f"ibm://a///c/{machine.id}")

    def close(self):
        gc.collect()  # an error keeps its response, and with it a connection, until then
        self.sdk.http_client.close()
        self.listener.close()
        assert self.simulator.violations == []

    def held(self, table):
        name, zone = split(table)
        return [r for r in self.vpc.tables[name].routes.values() if r.zone == zone]

    def truth(self, table):
        return {
            ip_network(r.destination): NextHop(address=r.address) if r.action == "deliver" else NextHop()
            for r in self.held(table)
        }

    def put_foreign(self, table, destination):
        self.put(table, destination, f"theirs-{len(self.held(table))}", "drop", "0.0.0.0")

    def put_route(self, table, destination, next_hop):
        name = route_name("c1", str(destination), ZONE)
        self.put(table, destination, name, "deliver", next_hop.address)

    def put(self, table, destination, name, action, address):
        made = Route(self.vpc.new("r010-"), name, destination, split(table)[1], action, ip_interface(address).ip, 2)
        self.vpc.tables[split(table)[0]].routes[made.id] = made

    def fail(self, call, fault, *, times=None, skip=0):
        for name in CALLS[call]:
            self.simulator.faults.add(Planned(name, TROUBLES[fault], times=times, skip=skip))

    def calls(self, *names):
        counts = self.simulator.counts
        return sum(counts[c] for n in names for c in CALLS[n]) if names else counts.total()


class TestIbm(ProviderContract):
    NEXT_HOP = "n2"  # in the zone of n1
    READS_TO_JOIN = (
        2 + 3 + 1 + 3
    )  # machine and interface; each table before its create; tables, and each one's routes

    @pytest.fixture
    def world(self):
        world = IbmWorld()
        yield world
        world.close()
