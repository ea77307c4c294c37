"""A Google project for the provider contract: the real SDK over loopback, against the lab's simulator."""

import dataclasses
import functools
import json
import random
from collections import Counter
from importlib.resources import files
from ipaddress import ip_interface, ip_network

import pytest

from cloudnet.clock import ManualClock
from cloudnet.lab.clouds.conditions import Conditions
from cloudnet.lab.clouds.gcp.calls import Manners
from cloudnet.lab.clouds.gcp.plane import PROJECT, Google
from cloudnet.lab.clouds.gcp.state import URL, fingerprint
from cloudnet.lab.clouds.listener import Listener
from cloudnet.lab.clouds.trouble import Fault as Hit
from cloudnet.lab.clouds.trouble import Trouble
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.resources import Metadata, NextHop, Node
from cloudnet.provider.api import Wanted
from cloudnet.provider.budget import Budget
from cloudnet.provider.memory import Fault
from cloudnet.testing.discovery import Description
from cloudnet_gcp import GcpProvider
from cloudnet_gcp.client import Client, connect
from cloudnet_gcp.config import GcpConfig
from cloudnet_gcp.names import Marks, machine_id, machine_url

NETWORK = "vpc"
TROUBLES = {
    Fault.THROTTLE: Hit("", Trouble.THROTTLE),
    Fault.PERMISSION: Hit("", Trouble.PERMISSION),
    Fault.QUOTA: Hit("", Trouble.OPERATION_FAILED, code="QUOTA_EXCEEDED"),
    Fault.UNAVAILABLE: Hit("", Trouble.UNAVAILABLE),
    Fault.TIMEOUT: Hit("", Trouble.TIMEOUT),
}
CALLS = {
    "describe_tables": "compute.routes.list",
    "describe_instances": "compute.instances.aggregatedList",
    "create_route": "compute.routes.insert",
    "replace_route": "compute.routes.insert",
    "delete_route": "compute.routes.delete",
    "modify_interface": "compute.instances.updateNetworkInterface",
    "describe_interfaces": "compute.instances.aggregatedList",
    "assign_addresses": "compute.instances.updateNetworkInterface",
    "release_addresses": "compute.instances.updateNetworkInterface",
}
ROUTE_WRITES = ("create_route", "replace_route", "delete_route")
OPERATIONS = ("compute.globalOperations.list", "compute.zoneOperations.list")


class GcpWorld:
    """A network of three subnets. ``n2`` may not forward and never will.

    Replacing a route is an insert beside the old one, and a delete of what no packet follows anymore; these count as
    ``replace_route``, so that ``delete_route`` counts the calls after which a destination has no route.
    """

    def __init__(self, *, manners=None, judge=None, budget=None, conditions=None, clock=None, **config):
        self.clock = clock or ManualClock()
        self.given = judge
        self.made = Counter()
        self.google = Google(
            conditions or Conditions(routes_per_table=2000),
            clock=self.clock,
            manners=manners or Manners(),
            judge=self.judge,
            limits={},
        )
        self.listener = Listener(0, self.google.account)
        self.listener.open()
        self.make_network()
        self.nodes = [self.add_node(k) for k in (1, 2, 3)]
        self.config = GcpConfig(
            **{
                "project": PROJECT,
                "network": NETWORK,
                "cluster": "test",
                "endpoint_url": f"http://127.0.0.1:{self.listener.port}",
                "resource_manager_url": f"http://127.0.0.1:{self.listener.port}",
                "access_token": "token",
                "parallel": 1,  # threads would sleep on one clock
                "timeout": 2.0,
            }
            | config
        )
        self.marks = Marks(self.config.cluster, NETWORK)
        self.connection = connect(self.config)
        spend = budget or Budget(self.clock, read=self.config.read, write=self.config.write)
        client = Client(self.config, self.connection, clock=self.clock, budget=spend, rng=random.Random(1))
        self.client = client
        self.provider = GcpProvider(self.config, client, self.clock)

    def close(self):
        self.listener.close()

    def put(self, path, document):
        self.google.project.resources[f"projects/{PROJECT}/{path}"] = {
            **document,
            **self.google.project.server_fields(f"projects/{PROJECT}/{path}", "any"),
            "name": path.rpartition("/")[2],
        }
        self.google.handler._remember()

    def make_network(self):
        self.put(f"global/networks/{NETWORK}", {})
        for k in (1, 2, 3):
            self.put(
                f"regions/here/subnetworks/s{k}",
                {
                    "network": URL + f"projects/{PROJECT}/global/networks/{NETWORK}",
                    "region": URL + f"projects/{PROJECT}/regions/here",
                    "ipCidrRange": f"10.0.{k}.0/24",
                    "secondaryIpRanges": [{"rangeName": "pods", "ipCidrRange": f"10.20{k}.0.0/24"}],
                },
            )

    def add_node(self, k, *, name="", zone="here-a", number=1):
        """Add a machine to subnet ``k``; ``number`` sets its address apart from the others'."""
        nic = {
            "name": "nic0",
            "network": URL + f"projects/{PROJECT}/global/networks/{NETWORK}",
            "subnetwork": URL + f"projects/{PROJECT}/regions/here/subnetworks/s{k}",
            "networkIP": f"10.0.{k}.{10 + number}",
            "ipv6Address": f"fd00:{k}::{number}",
        }
        name = name or f"vm-{k}"
        machine = {
            "zone": URL + f"projects/{PROJECT}/zones/{zone}",
            "status": "RUNNING",
            "canIpForward": k != 2,
            "networkInterfaces": [nic | {"fingerprint": fingerprint(nic)}],
        }
        self.put(f"zones/{zone}/instances/{name}", machine)
        provider_id = "" if k == 3 else f"gce://{PROJECT}/{zone}/{name}"
        address = ip_interface(f"10.0.{k}.{10 + number}/24")
        return Node(Metadata(f"n{k + number - 1}"), (address,), provider_id=provider_id)

    def let_everybody_forward(self):
        for _, machine in self.google.project.of("instances"):
            machine["canIpForward"] = True

    # --- the World of the contract ------------------------------------------------------------------------------

    def truth(self, _table):
        best = {}
        for _, route in self.google.project.of("routes"):
            held = best.get(route["destRange"])
            if held is None or route["priority"] < held["priority"]:
                best[route["destRange"]] = route
        return {ip_network(d): NextHop(instance=machine_id(r.get("nextHopInstance", ""))) for d, r in best.items()}

    def put_foreign(self, _table, destination):
        self.put_raw(f"theirs-{len(self.google.project.resources)}", destination, nextHopIp="10.0.1.99")

    def put_route(self, _table, destination, next_hop):
        self.put_raw(
            self.marks.name(destination, next_hop.instance),
            destination,
            nextHopInstance=URL + machine_url(PROJECT, next_hop.instance),
            description=self.marks.description,
        )
        self.let_everybody_forward()

    def put_raw(self, name, destination, *, priority=1000, **fields):
        route = {"network": URL + f"projects/{PROJECT}/global/networks/{NETWORK}", "priority": priority}
        self.put(f"global/routes/{name}", route | fields | {"destRange": str(destination)})

    # --- native addresses ---------------------------------------------------------------------------------------

    def interface(self, name):
        machine = self.provider.instances(self.nodes)[NodeName(name)]
        (found,) = self.provider.addresses.read([machine]).interfaces
        return found

    def holds(self, name):
        return self.interface(name).cidrs

    def assign(self, name, count):
        return self.provider.addresses.assign(self.interface(name), Wanted(Family.IPV4, 28, count))

    def release(self, name, cidrs):
        self.provider.addresses.release(self.interface(name), cidrs)

    # --- faults and figures -------------------------------------------------------------------------------------

    def fail(self, call, fault, *, times=None, skip=0):
        hit = dataclasses.replace(TROUBLES[fault], calls=CALLS[call], times=times, skip=skip)
        self.google.simulator.faults.add(hit)

    def calls(self, *names):
        counts = self.google.simulator.counts
        if not names:
            return counts.total() - sum(counts[o] for o in OPERATIONS)
        return sum(self.made[n] if n in ROUTE_WRITES else counts[CALLS[n]] for n in names)

    def judge(self, request, answer):
        """Count the writes of routes by what they do to their destination, and let the given judge judge."""
        if request.call == "compute.routes.insert":
            self.made["replace_route" if self.others(request.body["destRange"], "") else "create_route"] += 1
        elif request.call == "compute.routes.delete":
            name = request.parameters["route"]
            held = self.google.project.resources.get(f"projects/{PROJECT}/global/routes/{name}")
            spare = held and self.others(held["destRange"], name)
            self.made["replace_route" if spare else "delete_route"] += 1
        api = request.call.partition(".")[0]
        return (*described(api).judge(request, answer), *(self.given(request, answer) if self.given else ()))

    def others(self, destination, name):
        routes = (d for _, d in self.google.project.of("routes"))
        return [r for r in routes if r["destRange"] == destination and r["name"] != name]


@functools.cache
def described(api="compute"):
    """Return Google's description of an API; reading the five megabytes of Compute Engine's takes a moment."""
    page = files("googleapiclient") / "discovery_cache" / "documents" / f"{api}.v1.json"
    return Description(json.loads(page.read_text()))


@pytest.fixture
def description():
    return described()


@pytest.fixture
def make_world():
    """Return a function that makes worlds; each is held against the contract of its calls when the test is over."""
    made = []

    def make(**wishes):
        made.append(GcpWorld(**wishes))
        return made[-1]

    yield make
    for world in made:
        world.close()
    assert [v for world in made for v in world.google.simulator.violations] == []


@pytest.fixture
def world(make_world):
    return make_world()
