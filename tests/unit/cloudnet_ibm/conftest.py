"""A VPC of three zones behind the unmodified SDK, without sockets: requests go straight into the simulator."""

import dataclasses
import random
from ipaddress import IPv4Address, IPv4Network, ip_interface, ip_network

import pytest
from requests import Response
from requests.adapters import BaseAdapter
from requests.exceptions import ReadTimeout

from cloudnet.clock import ManualClock
from cloudnet.lab.clouds.conditions import Conditions
from cloudnet.lab.clouds.ibm import judge
from cloudnet.lab.clouds.ibm.plane import IbmPlane
from cloudnet.lab.clouds.ibm.state import Route
from cloudnet.lab.clouds.trouble import Fault
from cloudnet.model.resources import Metadata, NextHop, Node
from cloudnet.provider.api import RouteChange, Verb
from cloudnet.provider.budget import Budget
from cloudnet_ibm import IbmProvider
from cloudnet_ibm.client import Client, connect
from cloudnet_ibm.config import READ, WRITE, IbmConfig
from cloudnet_ibm.routes import route_name

URL = "http://vpc.test/v1"
BLOCK = ip_network("10.65.1.0/26")


class Straight(BaseAdapter):
    """What requests sends through: the simulator, and a record of every request."""

    def __init__(self, simulator):
        super().__init__()
        self.simulator = simulator
        self.sent = []

    def send(self, request, **_):
        self.sent.append(request)
        body = request.body.encode() if isinstance(request.body, str) else request.body or b""
        answer = self.simulator.handle(request.method, request.path_url, request.headers, body, outsider=False)
        if answer.lost or answer.slow:
            raise ReadTimeout(request=request)
        response = Response()
        response.status_code, response.request, response.url = answer.status, request, request.url
        response.headers.update({"Content-Type": "application/json", **answer.headers})
        response._content = answer.payload
        return response

    def close(self):
        """Nothing is open."""


class Vpc:
    """The world: ``n1`` and ``n2`` in the first zone, ``n3`` in the second; table ``t-a`` has subnets in both."""

    def __init__(self, **settings):
        self.clock = ManualClock()
        self.plane = IbmPlane(Conditions(routes_per_table=200), self.clock)
        self.plane.simulator.judge = judge.judge
        self.simulator, self.state = self.plane.simulator, self.plane.vpc
        self.tables = {name: self.state.add_table(name).id for name in ("t-a", "t-b")}
        self.subnets = {}
        for name, table, zone in (("s1", "t-a", 1), ("s2", "t-a", 2), ("s3", "t-b", 1)):
            cidr = IPv4Network(f"10.0.{name[1]}.0/24")
            self.subnets[name] = self.state.add_subnet(name, f"eu-de-{zone}", cidr, self.tables[table]).id
        self.nodes = {}
        for name, subnet in (("n1", "s1"), ("n2", "s3"), ("n3", "s2")):
            self.add_node(name, subnet)
        self.config = dataclasses.replace(
            IbmConfig("eu-de", self.state.id, "c1", token="the-token", endpoint_url=URL),  # noqa: S106  no secret
            **settings,
        )
        sdk = connect(self.config)
        self.wire = Straight(self.simulator)
        sdk.http_client.mount("http://", self.wire)
        self.budget = Budget(self.clock, read=READ, write=WRITE)
        client = Client(self.config, sdk, clock=self.clock, budget=self.budget, rng=random.Random(1))
        self.provider = IbmProvider(self.config, client, self.clock)

    def add_node(self, name, subnet, *, old=False):
        address = ip_interface(f"10.0.{subnet[1]}.{10 + int(name[1:])}/24")
        machine = self.state.add_machine(name, self.subnets[subnet], address.ip, old=old)
        self.nodes[name] = Node(Metadata(name), (address,), provider_id=f"ibm://a///c/{machine.id}")
        return machine

    def table(self, name="t-a", zone=1):
        return f"{self.tables[name]}/eu-de-{zone}"

    def put(self, name, destination=BLOCK, *, table="t-a", zone=1, address="10.0.1.11", **more):
        """Let a route stand there; ``name`` of ``None`` is the one that we would give it."""
        zone_name = f"eu-de-{zone}"
        chosen = route_name("c1", str(destination), zone_name) if name is None else name
        fields = {"action": "deliver", "priority": 2, **more}
        made = Route(self.state.new("r010-"), chosen, destination, zone_name, address=IPv4Address(address), **fields)
        self.state.tables[self.tables[table]].routes[made.id] = made
        return made

    def held(self, table="t-a"):
        return list(self.state.tables[self.tables[table]].routes.values())

    def read(self):
        """Return ``{table: {prefix: route}}`` as the provider sees it, with all nodes known."""
        self.provider.instances(self.nodes.values())
        return {t.id: {r.destination: r for r in t.routes} for t in self.provider.routes.read().tables}

    def apply(self, verb=Verb.CREATE, destination=BLOCK, *, address="10.0.1.11", table=None):
        hop = NextHop(address=IPv4Address(address))
        change = RouteChange(verb, table or self.table(), destination, hop)
        (result,) = self.provider.routes.apply([change])
        return result.error

    def fail(self, calls, trouble, **more):
        self.simulator.faults.add(Fault(calls, trouble, **more))


@pytest.fixture
def make_vpc():
    made = []

    def make(**settings):
        made.append(Vpc(**settings))
        return made[-1]

    yield make
    for vpc in made:
        assert vpc.simulator.violations == []


@pytest.fixture
def vpc(make_vpc):
    return make_vpc()
