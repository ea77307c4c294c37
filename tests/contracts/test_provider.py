"""Every provider keeps the contract: the twin in memory, AWS against moto, and a plain network as far as it goes."""

import functools
import random
from collections import Counter
from ipaddress import ip_interface, ip_network
from urllib.parse import parse_qs

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError
from moto import mock_aws
from moto.core.models import botocore_stubber

from cloudnet.clock import ManualClock
from cloudnet.model.addresses import Family, TableId
from cloudnet.model.resources import Metadata, NextHop, Node
from cloudnet.provider.budget import Budget
from cloudnet.provider.memory import Fault, MemoryCloud, MemoryProvider
from cloudnet.testing.provider import InstancesContract, ProviderContract
from cloudnet_aws import AwsProvider
from cloudnet_aws.client import Client, connect
from cloudnet_aws.config import READ, WRITE, AwsConfig
from cloudnet_static import StaticProvider
from cloudnet_static.config import StaticConfig


class MemoryWorld:
    def __init__(self):
        self.clock = ManualClock()
        self.cloud = MemoryCloud(self.clock)
        self.nodes = []
        for k in (1, 2, 3):
            self.cloud.add_table(f"rtb-{k}", subnets=[] if k == 3 else [f"subnet-{k}"], main=k == 3)
            self.cloud.add_foreign_route(f"rtb-{k}", ip_network("10.0.0.0/16"), "the local route")
            address = ip_interface(f"10.0.{k}.11/24")
            self.cloud.add_instance(f"i-{k}", f"subnet-{k}", [address.ip])
            self.nodes.append(Node(Metadata(f"n{k}"), (address,), provider_id="" if k == 3 else f"memory:///z/i-{k}"))
        self.provider = MemoryProvider(self.cloud, self.clock)

    def truth(self, table):
        return {d: r.next_hop for d, r in self.cloud.routes(table).items()}

    def put_foreign(self, table, destination):
        self.cloud.add_foreign_route(table, destination, "gateway igw-1")

    def put_route(self, table, destination, next_hop):
        self.cloud.put_route(table, destination, next_hop)

    def fail(self, call, fault, *, times=None, skip=0):
        self.cloud.fail(call, fault, times=times, skip=skip)

    def calls(self, *names):
        return self.cloud.count(*names)


ACTIONS = {
    "describe_tables": "DescribeRouteTables",
    "describe_instances": "DescribeInstances",
    "create_route": "CreateRoute",
    "replace_route": "ReplaceRoute",
    "delete_route": "DeleteRoute",
    "modify_interface": "ModifyNetworkInterfaceAttribute",
}
ANSWERS = {
    Fault.THROTTLE: (503, "RequestLimitExceeded"),
    Fault.PERMISSION: (403, "UnauthorizedOperation"),
    Fault.QUOTA: (400, "RouteLimitExceeded"),
}
KEYS = {"region_name": "eu-west-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}


@functools.cache
def an_image():
    """Return one of moto's images; listing them takes a second."""
    return boto3.client("ec2", **KEYS).describe_images()["Images"][0]["ImageId"]


class AwsWorld:
    """A VPC in moto. CreateRoute refuses duplicates as EC2 does; moto overwrites a route to an interface."""

    def __init__(self, connection):
        self.clock = ManualClock()
        self.faults = []
        self.seen = Counter()
        self.ec2 = boto3.client("ec2", **KEYS)
        self.vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.gateway = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        image = an_image()
        self.nodes = [self.add_node(k, image) for k in (1, 2, 3)]
        config = AwsConfig(region="eu-west-1", vpc_id=self.vpc)
        client = Client(
            config,
            connection,
            clock=self.clock,
            budget=Budget(self.clock, read=READ, write=WRITE),
            rng=random.Random(1),
        )
        self.provider = AwsProvider(config, client, self.clock)
        events = connection.ec2.meta.events
        events.unregister("before-send", botocore_stubber)
        events.unregister("before-send.ec2", unique_id="world")
        events.register("before-send.ec2", self.answer, unique_id="world")

    def add_node(self, k, image):
        subnet = self.ec2.create_subnet(VpcId=self.vpc, CidrBlock=f"10.0.{k}.0/24")["Subnet"]["SubnetId"]
        if k != 3:
            table = self.ec2.create_route_table(VpcId=self.vpc)["RouteTable"]["RouteTableId"]
            self.ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
        (started,) = self.ec2.run_instances(
            ImageId=image, MinCount=1, MaxCount=1, SubnetId=subnet, PrivateIpAddress=f"10.0.{k}.11"
        )["Instances"]
        address = ip_interface(f"10.0.{k}.11/24")
        provider_id = "" if k == 3 else f"aws:///eu-west-1a/{started['InstanceId']}"
        return Node(Metadata(f"n{k}"), (address,), provider_id=provider_id)

    def answer(self, request, event_name, **_):
        form = {k: v[0] for k, v in parse_qs(request.body).items()}
        action = form["Action"]
        self.seen[action] += 1
        fault = self.strike(action)
        if fault in ANSWERS:
            return refuse(request, *ANSWERS[fault])
        if fault is Fault.UNAVAILABLE:
            raise ConnectTimeoutError(endpoint_url=request.url)
        if action == "CreateRoute" and self.is_duplicate(form):
            return refuse(request, 400, "RouteAlreadyExists")
        response = botocore_stubber(event_name, request)
        if fault is Fault.TIMEOUT:
            raise ReadTimeoutError(endpoint_url=request.url)
        return response

    def strike(self, action):
        for fault in self.faults:
            if fault["action"] != action or fault["times"] <= 0:
                continue
            if fault["skip"]:
                fault["skip"] -= 1
                continue
            fault["times"] -= 1
            return fault["fault"]
        return None

    def is_duplicate(self, form):
        wanted = form.get("DestinationCidrBlock") or form["DestinationIpv6CidrBlock"]
        found = self.ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [self.vpc]}])["RouteTables"]
        held = {t["RouteTableId"]: t["Routes"] for t in found}.get(form["RouteTableId"], [])
        return any(wanted in (r.get("DestinationCidrBlock"), r.get("DestinationIpv6CidrBlock")) for r in held)

    def truth(self, table):
        (found,) = self.ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"]
        return {
            ip_network(r.get("DestinationCidrBlock") or r["DestinationIpv6CidrBlock"]): NextHop(
                interface=r.get("NetworkInterfaceId")
            )
            for r in found["Routes"]
        }

    def put_foreign(self, table, destination):
        self.ec2.create_route(RouteTableId=table, DestinationCidrBlock=str(destination), GatewayId=self.gateway)

    def put_route(self, table, destination, next_hop):
        self.ec2.create_route(
            RouteTableId=table, DestinationCidrBlock=str(destination), NetworkInterfaceId=next_hop.interface
        )

    def fail(self, call, fault, *, times=None, skip=0):
        left = float("inf") if times is None else times
        self.faults.append({"action": ACTIONS[call], "fault": fault, "times": left, "skip": skip})

    def calls(self, *names):
        return sum(self.seen[ACTIONS[n]] for n in names) if names else self.seen.total()


def refuse(request, status, code):
    body = (
        f"<Response><Errors><Error><Code>{code}</Code><Message>refused</Message></Error></Errors>"
        "<RequestID>req-1</RequestID></Response>"
    ).encode()
    return AWSResponse(request.url, status, {"content-type": "text/xml"}, Raw(body))


class Raw:
    """The part of a urllib3 response that botocore reads."""

    def __init__(self, body):
        self.body = body

    def stream(self, **_):
        yield self.body


class TestMemory(ProviderContract):
    @pytest.fixture
    def world(self):
        return MemoryWorld()

    def test_a_main_table_serves_subnets_without_one(self, world):
        tables = {t.id: t.subnets for t in world.provider.routes.read().tables}

        assert tables[TableId("rtb-3")] == {"subnet-3"}

    def test_limits_are_counted_by_family(self, world):
        world.cloud.set_limit("rtb-1", Family.IPV4, 1)
        hop = world.cloud.instance("i-1").next_hop

        world.cloud.create_route("rtb-1", ip_network("fd65::/122"), hop)

        assert len(world.truth("rtb-1")) == 2


@pytest.fixture(scope="module")
def connection():
    """One account for all tests, a VPC for each: starting moto and the SDK takes seconds."""
    with mock_aws():
        yield connect(
            AwsConfig("eu-west-1", "vpc-1", **{k.removeprefix("aws_"): v for k, v in KEYS.items() if "key" in k})
        )


class TestAws(ProviderContract):
    @pytest.fixture
    def world(self, connection):
        return AwsWorld(connection)


class StaticWorld:
    """A network of three segments; there is nobody to call."""

    def __init__(self):
        self.clock = ManualClock()
        self.provider = StaticProvider(StaticConfig())
        self.nodes = [Node(Metadata(f"n{k}"), (ip_interface(f"10.0.{k}.11/24"),)) for k in (1, 2, 3)]

    def calls(self, *_names):
        return 0


class TestStatic(InstancesContract):
    @pytest.fixture
    def world(self):
        return StaticWorld()
