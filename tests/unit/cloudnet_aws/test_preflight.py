"""The look before the first write, on the lab's EC2 through the real SDK: each obstacle alone, and none."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from ipaddress import ip_interface, ip_network

import pytest

from cloudnet.clock import ManualClock
from cloudnet.lab.clouds.aws import StrictEc2, server
from cloudnet.lab.clouds.conditions import Conditions
from cloudnet.lab.clouds.listener import Listener
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.resources import IPPool, Metadata, Node
from cloudnet.provider.budget import Bucket, Budget, Kind
from cloudnet.provider.preflight import Check, Needs, Severity
from cloudnet.testing.preflight import CloudPreflightContract, Obstacle
from cloudnet_aws import AwsProvider
from cloudnet_aws.client import Client, connect
from cloudnet_aws.config import READ, WRITE, AwsConfig

REGION = "eu-west-1"
POD_RANGE, VPC_RANGE = "10.65.0.0/16", "10.0.0.0/16"
READS = ("Describe", "Get")


def anything(*ranges):
    return [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": r} for r in ranges]}]


class AwsWorld:
    """Three subnets with a table and a machine each, in one security group that lets nodes and pods through."""

    def __init__(self, strict, connection, outsider):
        self.strict, self.connection, self.outsider = strict, connection, outsider
        strict.conditions = Conditions()
        strict.calls.clear()
        self.vpc = outsider.create_vpc(CidrBlock=VPC_RANGE)["Vpc"]["VpcId"]
        self.group = outsider.create_security_group(GroupName="nodes", Description="nodes", VpcId=self.vpc)["GroupId"]
        self.open(*anything(VPC_RANGE, POD_RANGE))
        self.tables, self.interfaces, self.nodes = {}, {}, []
        for k in (1, 2, 3):
            self.add_node(k)
        self.needs = Needs(
            nodes=tuple(self.nodes),
            pools=(IPPool(Metadata("pods"), ip_network(POD_RANGE)),),
            blocks={NodeName(f"n{k}"): (ip_network(f"10.65.{k}.0/26"),) for k in (1, 2, 3)},
        )
        self.clock = ManualClock()
        self.config = AwsConfig(REGION, self.vpc)
        self.provider = self.make()

    def make(self, **changes):
        config = replace(self.config, **changes)
        budget = Budget(self.clock, read=READ, write=WRITE)
        client = Client(config, self.connection, clock=self.clock, budget=budget, rng=random.Random(1))
        return AwsProvider(config, client, self.clock)

    def add_node(self, k):
        ec2 = self.outsider
        subnet = ec2.create_subnet(VpcId=self.vpc, CidrBlock=f"10.0.{k}.0/24")["Subnet"]["SubnetId"]
        table = ec2.create_route_table(VpcId=self.vpc)["RouteTable"]["RouteTableId"]
        ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
        (machine,) = ec2.run_instances(
            ImageId="ami-1",
            MinCount=1,
            MaxCount=1,
            SubnetId=subnet,
            PrivateIpAddress=f"10.0.{k}.11",
            SecurityGroupIds=[self.group],
        )["Instances"]
        name, interface = f"n{k}", machine["NetworkInterfaces"][0]["NetworkInterfaceId"]
        self.tables[name], self.interfaces[name] = table, interface
        self.check(name, on=False)
        address = ip_interface(f"10.0.{k}.11/24")
        self.nodes.append(Node(Metadata(name), (address,), provider_id=f"aws:///zone/{machine['InstanceId']}"))

    def open(self, *permissions):
        self.outsider.authorize_security_group_ingress(GroupId=self.group, IpPermissions=list(permissions))

    def shut(self, *permissions):
        self.outsider.revoke_security_group_ingress(GroupId=self.group, IpPermissions=list(permissions))

    def check(self, name, *, on):
        self.outsider.modify_network_interface_attribute(
            NetworkInterfaceId=self.interfaces[name], SourceDestCheck={"Value": on}
        )

    def deny(self, *actions):
        self.strict.conditions = Conditions(denied=frozenset(actions))

    def writes(self):
        return sorted(n for n in self.strict.calls if not n.startswith(READS) and not n.endswith("(dry run)"))

    def cut_off(self):
        self.strict.conditions = Conditions(api="unavailable")


def only_nodes(world):
    world.shut(*anything(VPC_RANGE, POD_RANGE))
    world.open(*anything(VPC_RANGE))


def only_the_group(world):
    world.shut(*anything(VPC_RANGE, POD_RANGE))
    world.open({"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": world.group}]})


def only_pods(world):
    world.shut(*anything(VPC_RANGE, POD_RANGE))
    world.open(*anything(POD_RANGE))


def no_icmp(world):
    world.shut(*anything(VPC_RANGE, POD_RANGE))
    ranges = {"IpRanges": [{"CidrIp": POD_RANGE}]}
    every = [{"IpProtocol": p, "FromPort": 0, "ToPort": 65535} | ranges for p in ("tcp", "udp")]
    world.open(*anything(VPC_RANGE), *every)


def no_way_out(world):
    world.outsider.revoke_security_group_egress(GroupId=world.group, IpPermissions=anything("0.0.0.0/0"))


def no_probes(world):
    world.shut(*anything(VPC_RANGE, POD_RANGE))
    vxlan = {"IpProtocol": "udp", "FromPort": 4789, "ToPort": 4789, "IpRanges": [{"CidrIp": VPC_RANGE}]}
    world.open(vxlan, *anything(POD_RANGE))


def a_check(world):
    world.check("n2", on=True)


def little_quota(world):
    world.strict.conditions = Conditions(routes_per_table=2)


def tight_quota(world):
    world.strict.conditions = Conditions(routes_per_table=3)


def somebody_elses_block(world):
    gateway = world.outsider.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    world.outsider.create_route(
        RouteTableId=world.tables["n1"], DestinationCidrBlock="10.65.9.0/26", GatewayId=gateway
    )


def somebody_elses_part_of_the_pool(world):
    gateway = world.outsider.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    world.outsider.create_route(
        RouteTableId=world.tables["n1"], DestinationCidrBlock="10.65.0.0/17", GatewayId=gateway
    )


def a_pool_in_the_vpc(world):
    inside = IPPool(Metadata("clash"), ip_network("10.0.128.0/18"))
    return replace(world.needs, pools=(*world.needs.pools, inside))


def large_pods(world):
    return replace(world.needs, pod_mtu=9001)


def a_stranger(world):
    gone = Node(Metadata("n9"), provider_id="aws:///zone/i-0123456789abcdef0")
    return replace(world.needs, nodes=(*world.needs.nodes, gone))


def a_stopped_machine(world):
    instance = world.nodes[1].provider_id.rpartition("/")[2]
    world.outsider.stop_instances(InstanceIds=[instance])


def too_few_tables(world):
    world.provider = world.make(route_table_ids=(world.tables["n1"], world.tables["n2"]))


def denied(action):
    return lambda world: world.deny(action)


def permission(action, severity=Severity.BLOCKS):
    service = "servicequotas" if action == "GetServiceQuota" else "ec2"
    remedy = f'"Action": \\["{service}:{action}"\\]'
    return Obstacle(f"no {action}", denied(action), Check.PERMISSION, severity, "not authorized", remedy)


ENDLESS = dict.fromkeys(Kind, Bucket(1e6, 1e6))  # the meter is not what is tested, and goes by the machine's clock


@pytest.fixture(scope="module")
def strict():
    return StrictEc2(REGION, Conditions(), changed=lambda: None, limits=ENDLESS)


@pytest.fixture(scope="module")
def ports(strict):
    both = Listener(0, server(strict.account)), Listener(0, server(strict.outsider))
    for each in both:
        each.open()
    yield [f"http://127.0.0.1:{each.port}" for each in both]
    for each in both:
        each.close()


@pytest.fixture(scope="module")
def connected(ports):
    """Return the plugin's connection and an outsider's: making them takes longer than a test."""
    keys = {"access_key_id": "KEY", "secret_access_key": "secret"}
    ours = AwsConfig(REGION, "vpc-1", endpoint_url=ports[0], **keys)
    theirs = AwsConfig(REGION, "vpc-1", endpoint_url=ports[1], **keys)
    return connect(ours), connect(theirs).ec2


class TestPreflight(CloudPreflightContract):
    OBSTACLES = (
        *map(permission, ("DescribeInstances", "DescribeRouteTables", "CreateRoute", "ReplaceRoute", "DeleteRoute")),
        permission("ModifyNetworkInterfaceAttribute"),
        permission("GetServiceQuota", Severity.WARNING),
        permission("DescribeSecurityGroups", Severity.WARNING),
        Obstacle("only nodes let in", only_nodes, Check.FIREWALL, problem="tcp, udp, icmp .pods. .*in from 10.65"),
        Obstacle("only the group let in", only_the_group, Check.FIREWALL, problem="pods", remedy="10.65.0.0/16"),
        Obstacle(
            "only pods let in",
            only_pods,
            Check.FIREWALL,
            problem="udp 4789 .VXLAN.* in from 10.0.1.0/24",
            remedy="authorize-security-group-ingress --group-id sg-.*4789.*10.0.1.0/24",
        ),
        Obstacle("probes shut", no_probes, Check.FIREWALL, problem="udp 4793 .probes.", remedy='"FromPort": 4793'),
        Obstacle(
            "ICMP shut",
            no_icmp,
            Check.FIREWALL,
            problem="^icmp .pods. is not let in from 10.65",
            remedy='"IpProtocol": "icmp", "FromPort": -1, "ToPort": -1, ',
        ),
        Obstacle("nothing let out", no_way_out, Check.FIREWALL, problem="out to", remedy="security-group-egress"),
        Obstacle(
            "source check on",
            a_check,
            Check.FORWARDING,
            Severity.WARNING,
            remedy="--network-interface-id eni-.* --no-source-dest-check",
        ),
        Obstacle("quota too small", little_quota, Check.QUOTA, problem="3 are .* and 2 fit", remedy="L-93826ACB"),
        Obstacle("quota nearly used", tight_quota, Check.QUOTA, Severity.WARNING, problem="3 are .* and 3 fit"),
        Obstacle(
            "a block taken",
            somebody_elses_block,
            Check.ROUTES,
            problem="internet gateway igw-",
            remedy="delete-route --route-table-id rtb-.* --destination-cidr-block 10.65.9.0/26",
        ),
        Obstacle("a part of the pool taken", somebody_elses_part_of_the_pool, Check.ROUTES, Severity.WARNING),
        Obstacle(
            "a pool in the VPC", a_pool_in_the_vpc, Check.ADDRESSES, problem="overlaps the VPC's own 10.0.0.0/16"
        ),
        Obstacle("large pods", large_pods, Check.MTU, problem="9001 bytes are lost", remedy="CLOUDNET_POD_MTU=8951"),
        Obstacle("a node that is not there", a_stranger, Check.MACHINES, problem="knows no machine", remedy="vpc_id"),
        Obstacle("a stopped machine", a_stopped_machine, Check.MACHINES, problem="do not run"),
        Obstacle("a subnet out of scope", too_few_tables, Check.TABLES, problem="no route table", remedy="subnet-"),
    )

    @pytest.fixture
    def world(self, strict, connected):
        return AwsWorld(strict, *connected)

    def test_routes_of_tables_are_as_before(self, world):
        before = world.strict.read()

        world.provider.preflight(world.needs)

        assert world.strict.read() == before

    def test_what_it_proposes_removes_what_it_found(self, world):
        only_nodes(world)

        for finding in world.provider.preflight(world.needs):
            if finding.remedy:
                world.open(*json.loads(finding.remedy.partition("--ip-permissions '")[2].removesuffix("'")))

        assert {f.severity for f in world.provider.preflight(world.needs)} == {Severity.OK}


@pytest.fixture
def native(strict, connected):
    """Return a VPC in which pods shall have addresses of the subnets."""
    world = AwsWorld(strict, *connected)
    world.needs = replace(world.needs, native=frozenset({Family.IPV4}))
    return world


def wrong(world):
    return [f for f in world.provider.preflight(world.needs) if f.severity is not Severity.OK]


def test_native_addresses_need_a_mark(native):
    (found,) = wrong(native)

    assert (found.check, found.remedy) == (Check.ADDRESSES, "set cluster in the provider's settings")


def test_native_addresses_are_free_for_every_node(native):
    native.provider = native.make(cluster="c1")

    assert wrong(native) == []
    assert "native IPv4 addresses in 3 subnets" in {f.subject for f in native.provider.preflight(native.needs)}
    assert native.writes() == []


def test_who_may_not_look_at_interfaces_is_told(native):
    native.provider = native.make(cluster="c1")
    native.deny("DescribeNetworkInterfaces")

    assert [(f.check, f.severity) for f in wrong(native)] == [(Check.PERMISSION, Severity.BLOCKS)]
