"""What an idle hour costs where the other benchmarks of clouds do not say it: AWS by moto, and a plain network.

The real controller, plugin and boto3 over loopback HTTP, on a clock that is moved by hand: only waiting takes time on
it. Azure's, Google's and IBM's idle hours stand in their own benchmarks.
"""

from __future__ import annotations

import gc
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network, ip_interface
from typing import Any

from cloudnet.clock import ManualClock
from cloudnet.controller.simulate import Simulation
from cloudnet.lab.clouds.aws import StrictEc2, server
from cloudnet.lab.clouds.conditions import Conditions
from cloudnet.lab.clouds.listener import Listener
from cloudnet.model.addresses import NodeName
from cloudnet.model.resources import BlockAffinity, CloudRoute, Metadata, Node, RouteState
from cloudnet.provider.budget import Bucket, Budget, Kind
from cloudnet.store.memory import MemoryStore
from cloudnet_aws import AwsProvider
from cloudnet_aws.client import Client, connect
from cloudnet_aws.config import READ, WRITE, AwsConfig
from cloudnet_static import make

NODES = 1000
WITH_ROUTES = 60  # of them have a block: moto is slow at routes, and how many there are costs no call
SUBNETS = 3
REGION = "eu-west-1"
IDLE = 12  # calls an hour
IDLE_HOURS = 1  # both are read every quarter of an hour at any size
ENDLESS = dict.fromkeys(Kind, Bucket(1e6, 1e6))  # moto's wrapper goes by the machine's clock; our bucket does not


def measure() -> list[dict[str, object]]:
    """Return the rows of the benchmark, in a minute or two."""
    store = MemoryStore()
    with aws(store) as (sim, strict, expected):
        while programmed(store) < WITH_ROUTES:
            sim.run(5)
        sim.run(120)
        made = sum(count for name, count in strict.calls.items() if name == "CreateRoute")
        strict.calls.clear()
        sim.run(IDLE_HOURS * 3600)
        idle = strict.calls.total() / IDLE_HOURS
    static = plain()
    return [
        row(f"AWS: {WITH_ROUTES} of {NODES} nodes have routes: creates", made, f"{expected}", ok=made == expected),
        row(f"AWS: idle hour, {NODES} nodes", round(idle, 1), f"<= {IDLE}", ok=idle <= IDLE),
        row(f"plain network: idle hour, {NODES} nodes", static, "0", ok=static == 0),
    ]


def row(name: str, value: float, target: str, *, ok: bool) -> dict[str, object]:
    peer = "k8s route controller on AWS: 720 reads" if "AWS: idle" in name else ""
    return {"name": name, "value": value, "unit": "calls", "target": target, "peer": peer, "ok": ok}


@contextmanager
def aws(store: MemoryStore) -> Iterator[tuple[Simulation, StrictEc2, int]]:
    """Yield the controller of a VPC of three subnets, the VPC, and how many routes are to be made."""
    strict = StrictEc2(REGION, Conditions(routes_per_table=1000), changed=lambda: None, limits=ENDLESS)
    ports = [Listener(0, server(each)) for each in (strict.account, strict.outsider)]
    for port in ports:
        port.open()
    keys = {"access_key_id": "KEY", "secret_access_key": "secret"}
    urls = [f"http://127.0.0.1:{port.port}" for port in ports]
    theirs = connect(AwsConfig(REGION, "vpc-1", endpoint_url=urls[1], **keys)).ec2
    clock = ManualClock()
    vpc = theirs.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    for subnet in range(SUBNETS):
        populate(theirs, store, vpc, subnet)
    config = AwsConfig(REGION, vpc, endpoint_url=urls[0], **keys)
    budget = Budget(clock, read=READ, write=WRITE)
    client = Client(config, connect(config), clock=clock, budget=budget, rng=random.Random(1))
    try:
        # neighbours reach each other directly, so a route stands in the other subnets' tables only
        yield Simulation(store, AwsProvider(config, client, clock), clock), strict, WITH_ROUTES * (SUBNETS - 1)
    finally:
        gc.collect()
        for port in ports:
            port.close()


def populate(ec2: Any, store: MemoryStore, vpc: str, number: int) -> None:  # boto3's client
    """Make a subnet with its table and its share of the machines."""
    cidr = IPv4Network((int(IPv4Network("10.0.0.0/16")[0]) + (number << 12), 20))
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock=str(cidr))["Subnet"]["SubnetId"]
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    count = len(range(number, NODES, SUBNETS))
    asked = {"ImageId": "ami-1", "MinCount": count, "MaxCount": count, "SubnetId": subnet}
    for k, machine in zip(range(number, NODES, SUBNETS), ec2.run_instances(**asked)["Instances"], strict=True):
        interface = machine["NetworkInterfaces"][0]
        ec2.modify_network_interface_attribute(
            NetworkInterfaceId=interface["NetworkInterfaceId"], SourceDestCheck={"Value": False}
        )
        address = ip_interface(f"{machine['PrivateIpAddress']}/20")
        store.create(Node(Metadata(f"n{k}"), (address,), provider_id=f"aws:///zone/{machine['InstanceId']}"))
        if k < WITH_ROUTES:
            store.create(affinity(k))


def affinity(k: int) -> BlockAffinity:
    block = IPv4Network((int(IPv4Network("10.64.0.0/10")[0]) + (k << 6), 26))
    return BlockAffinity(Metadata(f"n{k}-block"), NodeName(f"n{k}"), block)


def programmed(store: MemoryStore) -> int:
    routes = (item.value for item in store.list(CloudRoute).items)
    return sum(any(s.state is RouteState.PROGRAMMED for s in route.tables) for route in routes)


def plain() -> int:
    """Return how many connections an idle hour opens where there is nobody to call."""
    store, clock = MemoryStore(), ManualClock()
    for k in range(NODES):
        address = ip_interface(f"10.{k >> 8}.{k & 255}.11/24")
        store.create(Node(Metadata(f"n{k}"), (address,)))
        store.create(affinity(k))
    provider = make({"routed": [{"prefix": "10.64.0.0/10"}]}, clock=clock)
    sim = Simulation(store, provider, clock)
    opened: list[str] = []
    sys.addaudithook(lambda event, _: opened.append(event) if event == "socket.connect" else None)
    sim.run(3600)
    return len(opened)
