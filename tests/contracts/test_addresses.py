"""Every provider with native addresses keeps the contract: the twin in memory, and AWS against the lab's EC2."""

import random
from collections import Counter
from ipaddress import ip_address, ip_interface, ip_network
from urllib.parse import parse_qs

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError
from botocore.httpsession import URLLib3Session

from cloudnet.clock import ManualClock
from cloudnet.errors import BadInput
from cloudnet.lab.clouds.aws import StrictEc2, server
from cloudnet.lab.clouds.conditions import Conditions
from cloudnet.lab.clouds.listener import Listener
from cloudnet.model.addresses import Family
from cloudnet.model.resources import Metadata, Node
from cloudnet.provider.api import Wanted
from cloudnet.provider.budget import Bucket, Budget
from cloudnet.provider.memory import Fault, MemoryCloud, MemoryProvider
from cloudnet.provider.memory_addresses import AddressSpace
from cloudnet.testing.addresses import AddressContract, add, allocator, machines_of, prefixes, primary, read
from cloudnet_aws import AwsProvider
from cloudnet_aws.client import Client, connect
from cloudnet_aws.config import AwsConfig


class MemoryWorld:
    def __init__(self):
        self.clock = ManualClock()
        self.cloud = MemoryCloud(self.clock)
        self.space = AddressSpace(self.clock)
        self.space.add_subnet("subnet-1", "10.0.1.0/24", "fd00:1::/64")
        self.cloud.add_table("rtb-1", subnets=["subnet-1"])
        self.nodes = []
        for k in (1, 2):
            address = ip_interface(f"10.0.1.{k}/24")
            self.space.add_machine(self.cloud.add_instance(f"i-{k}", "subnet-1", [address.ip]))
            self.nodes.append(Node(Metadata(f"n{k}"), (address,), provider_id=f"memory:///z/i-{k}"))
        self.provider = MemoryProvider(self.cloud, self.clock, space=self.space)

    def truth(self, interface):
        seen = self.space.interfaces.get(interface)
        return frozenset(seen.cidrs if seen else ())

    def exists(self, interface):
        return interface in self.space.interfaces

    def fragment(self, subnet):
        self.space.fragment(subnet)

    def fill(self, subnet):
        self.space.take(subnet, *(str(a) for a in ip_network("10.0.1.0/24")))

    def fail(self, call, fault, *, times=None, skip=0):
        self.cloud.fail(call, fault, times=times, skip=skip)

    def calls(self, *names):
        return self.cloud.count(*names)


class TestMemory(AddressContract):
    @pytest.fixture
    def world(self):
        return MemoryWorld()

    def test_a_foreign_address_takes_a_slot_and_is_not_shown(self, world):
        world.space.add_foreign_address("eni-1", "10.0.1.77")

        seen = primary(world, "n1")

        assert seen.cidrs == ()
        assert seen.foreign == {Family.IPV4: 1}

    def test_an_ipv6_prefix_is_a_slash_80(self, world):
        (given,) = allocator(world).assign(primary(world, "n1"), Wanted(Family.IPV6, 80))

        assert given.prefixlen == 80
        assert ip_address("fd00:1::") not in given


# --- AWS ----------------------------------------------------------------------------------------------------

ACTIONS = {
    "describe_interfaces": "DescribeNetworkInterfaces",
    "assign_addresses": "AssignPrivateIpAddresses",
    "release_addresses": "UnassignPrivateIpAddresses",
    "create_interface": "CreateNetworkInterface",
    "attach_interface": "AttachNetworkInterface",
    "detach_interface": "DetachNetworkInterface",
    "delete_interface": "DeleteNetworkInterface",
}
ANSWERS = {Fault.THROTTLE: (503, "RequestLimitExceeded"), Fault.PERMISSION: (403, "UnauthorizedOperation")}


class AwsWorld:
    """A VPC of its own in the lab's strict EC2: moto behind the rules that EC2 enforces and moto does not."""

    def __init__(self, strict, connection, outsider):
        self.clock = ManualClock()
        self.strict, self.ec2 = strict, outsider
        self.faults, self.seen = [], Counter()
        self.vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.subnet = self.ec2.create_subnet(VpcId=self.vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
        self.nodes = [self.add_node(k) for k in (1, 2)]
        config = AwsConfig(region="eu-west-1", vpc_id=self.vpc, cluster="test")
        budget = Budget(self.clock, write=Bucket(5.0, 500.0), read=Bucket(20.0, 500.0))
        client = Client(config, connection, clock=self.clock, budget=budget, rng=random.Random(1))
        self.provider = AwsProvider(config, client, self.clock)
        events = connection.ec2.meta.events
        events.unregister("before-send.ec2", unique_id="world")
        events.register("before-send.ec2", self.answer, unique_id="world")

    def add_node(self, k):
        address = ip_interface(f"10.0.1.{10 + k}/24")
        (started,) = self.ec2.run_instances(
            ImageId="ami-1",
            MinCount=1,
            MaxCount=1,
            SubnetId=self.subnet,
            PrivateIpAddress=str(address.ip),
            InstanceType="m5.large",
        )["Instances"]
        return Node(Metadata(f"n{k}"), (address,), provider_id=f"aws:///z/{started['InstanceId']}")

    def answer(self, request, **_):
        form = {k: v[0] for k, v in parse_qs(request.body).items()}
        action = form["Action"]
        self.seen[action] += 1
        fault = self.strike(action)
        if fault in ANSWERS:
            return refuse(request, *ANSWERS[fault])
        if fault is Fault.UNAVAILABLE:
            raise ConnectTimeoutError(endpoint_url=request.url)
        if fault is Fault.TIMEOUT:
            URLLib3Session().send(request)
            raise ReadTimeoutError(endpoint_url=request.url)
        return None

    def strike(self, action):
        for fault in self.faults:
            if fault["action"] == action and fault["times"] > 0:
                fault["times"] -= 1
                return fault["fault"]
        return None

    def truth(self, interface):
        seen = self.strict.read().interfaces.get(interface)
        return frozenset((*(ip_network(a) for a in seen.addresses[1:]), *seen.prefixes) if seen else ())

    def exists(self, interface):
        return interface in self.strict.read().interfaces

    def fragment(self, subnet):
        for k in range(1, 16):
            self.ec2.create_network_interface(SubnetId=subnet, PrivateIpAddress=f"10.0.1.{16 * k + 7}")

    def fill(self, subnet):
        held = self.ec2.create_network_interface(SubnetId=subnet, SecondaryPrivateIpAddressCount=248)
        assert len(held["NetworkInterface"]["PrivateIpAddresses"]) == 249

    def fail(self, call, fault, *, times=None, skip=0):
        assert skip == 0
        left = float("inf") if times is None else times
        self.faults.append({"action": ACTIONS[call], "fault": fault, "times": left})

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


@pytest.fixture(scope="module")
def strict():
    return StrictEc2("eu-west-1", Conditions(), changed=lambda: None)


@pytest.fixture(scope="module")
def endpoint(strict):
    listener = Listener(0, server(strict.outsider))
    listener.open()
    yield f"http://127.0.0.1:{listener.port}"
    listener.close()


@pytest.fixture(scope="module")
def connection(endpoint):
    return connect(
        AwsConfig("eu-west-1", "vpc-1", endpoint_url=endpoint, access_key_id="a", secret_access_key="b")  # noqa: S106
    )


@pytest.fixture(scope="module")
def outsider(endpoint):
    return boto3.client(
        "ec2",
        region_name="eu-west-1",
        endpoint_url=endpoint,
        aws_access_key_id="o",
        aws_secret_access_key="o",  # noqa: S106 - nobody checks it
        config=Config(retries={"total_max_attempts": 1}),
    )


class TestAws(AddressContract):
    @pytest.fixture
    def world(self, strict, connection, outsider):
        return AwsWorld(strict, connection, outsider)

    def test_a_single_address_on_a_primary_interface_is_somebody_elses(self, world):
        world.ec2.assign_private_ip_addresses(
            NetworkInterfaceId=primary(world, "n1").id, SecondaryPrivateIpAddressCount=1
        )

        seen = primary(world, "n1")

        assert seen.cidrs == ()
        assert seen.foreign == {Family.IPV4: 1}
        assert seen.prefixes_only

    def test_somebody_elses_interface_has_no_room_for_us(self, world):
        machine = machines_of(world)["n1"]
        theirs = world.ec2.create_network_interface(SubnetId=world.subnet)["NetworkInterface"]["NetworkInterfaceId"]
        world.ec2.attach_network_interface(NetworkInterfaceId=theirs, InstanceId=machine.id, DeviceIndex=1)

        (seen,) = (i for i in read(world).interfaces if i.id == theirs)
        made = add(world, prefixes(world, 1))

        assert (seen.ours, seen.primary, seen.foreign[Family.IPV4]) == (False, False, 9)
        assert made.instance == machine.id

    def test_an_interface_goes_with_its_machine(self, world):
        made = add(world, prefixes(world, 1))

        world.ec2.terminate_instances(InstanceIds=[made.instance])

        assert not world.exists(made.id)

    def test_releasing_some_that_are_gone_releases_the_rest(self, world):
        one, two = allocator(world).assign(primary(world, "n1"), prefixes(world, 2))
        allocator(world).release(primary(world, "n1"), [one])

        allocator(world).release(primary(world, "n1"), [one, two])

        assert world.truth(primary(world, "n1").id) == frozenset()

    def test_types_are_asked_for_once(self, world):
        read(world)
        read(world)

        assert world.seen["DescribeInstanceTypes"] == 1

    def test_without_a_cluster_there_is_no_mark_and_no_address(self, world):
        provider = AwsProvider(AwsConfig("eu-west-1", world.vpc), world.provider._client, world.clock)

        with pytest.raises(BadInput, match="cluster: name the cluster"):
            provider.addresses  # noqa: B018
