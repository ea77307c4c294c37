"""The strict AWS as a client sees it: real boto3, real HTTP on loopback."""

from __future__ import annotations

import dataclasses
import time
from ipaddress import ip_network

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError

from cloudnet.lab.clouds.aws import StrictEc2, server
from cloudnet.lab.clouds.conditions import Conditions
from cloudnet.lab.clouds.follower import Follower
from cloudnet.lab.clouds.listener import Listener
from cloudnet.lab.fabric import FabricState

REGION = "eu-west-1"
BLOCK = "10.65.1.0/26"


@pytest.fixture(scope="module")
def strict():
    return StrictEc2(REGION, Conditions(), changed=lambda: None)


@pytest.fixture(scope="module")
def listeners(strict):
    both = Listener(0, server(strict.account)), Listener(0, server(strict.outsider))
    for each in both:
        each.open()
    yield both
    for each in both:
        each.close()


def client(listener, service="ec2", key="KEY"):
    return boto3.client(
        service,
        region_name=REGION,
        endpoint_url=f"http://127.0.0.1:{listener.port}",
        aws_access_key_id=key,
        aws_secret_access_key="secret",  # noqa: S106 - nobody checks it
        config=Config(retries={"total_max_attempts": 1}),
    )


@pytest.fixture
def account(strict, listeners):
    strict.conditions = Conditions()
    strict.calls.clear()
    return client(listeners[0])


@pytest.fixture(scope="module")
def outsider(listeners):
    return client(listeners[1])


@dataclasses.dataclass
class Net:
    vpc: str
    table: str
    instance: str
    interface: str


@pytest.fixture
def net(outsider):
    vpc = outsider.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = outsider.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    table = outsider.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    outsider.associate_route_table(RouteTableId=table, SubnetId=subnet)
    machine = outsider.run_instances(ImageId="ami-1", MinCount=1, MaxCount=1, SubnetId=subnet)["Instances"][0]
    return Net(vpc, table, machine["InstanceId"], machine["NetworkInterfaces"][0]["NetworkInterfaceId"])


def create(ec2, net, destination=BLOCK, **more):
    target = {} if "InstanceId" in more else {"NetworkInterfaceId": net.interface}
    ec2.create_route(RouteTableId=net.table, DestinationCidrBlock=destination, **target, **more)


def routes(ec2, net):
    found = ec2.describe_route_tables(RouteTableIds=[net.table])["RouteTables"][0]["Routes"]
    return {route.get("DestinationCidrBlock") or route["DestinationIpv6CidrBlock"]: route for route in found}


def refused(call, *arguments, **named):
    with pytest.raises(ClientError) as caught:
        call(*arguments, **named)
    answer = caught.value.response
    assert answer["ResponseMetadata"]["RequestId"]
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


class Applied:
    def __init__(self):
        self.states = []

    def __call__(self, state):
        self.states.append((time.monotonic(), state))


@pytest.fixture
def applied():
    return Applied()


@pytest.fixture
def follower(applied):
    started = Follower(applied, 0.3)
    started.start()
    yield started
    started.close()


def test_the_fabric_follows_after_its_delay_and_not_before(follower, applied):
    state = FabricState(silent=frozenset({ip_network(BLOCK)}))
    asked = time.monotonic()

    follower.follow(state)

    while not applied.states and time.monotonic() < asked + 5:
        time.sleep(0.01)
    at, seen = applied.states[0]
    assert seen == state
    assert 0.3 <= at - asked < 0.6


def test_the_fabric_follows_at_once_when_a_device_came(follower, applied):
    old, new = FabricState(), FabricState(silent=frozenset({ip_network(BLOCK)}))
    follower.follow(old)

    follower.settle(new)

    assert [state for _, state in applied.states] == [new]


def test_a_route_shows_instance_and_interface_however_it_was_made(account, net):
    create(account, net)
    create(account, net, "10.65.2.0/26", InstanceId=net.instance)

    shown = routes(account, net)

    for block in (BLOCK, "10.65.2.0/26"):
        assert (shown[block]["InstanceId"], shown[block]["NetworkInterfaceId"]) == (net.instance, net.interface)
        assert (shown[block]["State"], shown[block]["Origin"]) == ("active", "CreateRoute")
    assert shown["10.0.0.0/16"]["GatewayId"] == "local"


def test_an_ipv6_route_is_made_shown_and_deleted(account, net):
    where = {"RouteTableId": net.table, "DestinationIpv6CidrBlock": "fd00:1::/64"}
    account.create_route(**where, NetworkInterfaceId=net.interface)
    assert routes(account, net)["fd00:1::/64"]["NetworkInterfaceId"] == net.interface

    account.delete_route(**where)

    assert "fd00:1::/64" not in routes(account, net)


def test_a_second_route_to_one_destination_is_refused_and_changes_nothing(account, net):
    create(account, net)

    assert refused(create, account, net) == (400, "RouteAlreadyExists")
    assert len(routes(account, net)) == 2


def test_host_bits_are_refused_and_leave_the_table_usable(account, net):
    assert refused(create, account, net, "10.65.1.7/26") == (400, "InvalidParameterValue")
    create(account, net, InstanceId=net.instance)


def test_the_local_route_cannot_be_deleted(account, net):
    delete = account.delete_route

    assert refused(delete, RouteTableId=net.table, DestinationCidrBlock="10.0.0.0/16") == (
        400,
        "InvalidParameterValue",
    )
    assert "10.0.0.0/16" in routes(account, net)


def test_a_dry_run_changes_nothing(account, net):
    assert refused(create, account, net, DryRun=True) == (412, "DryRunOperation")
    assert BLOCK not in routes(account, net)


def test_the_quota_is_told_and_kept(account, net, strict, listeners):
    strict.conditions = Conditions(routes_per_table=2)
    quotas = client(listeners[0], "service-quotas")

    told = quotas.get_service_quota(ServiceCode="vpc", QuotaCode="L-93826ACB")["Quota"]["Value"]
    create(account, net)

    assert told == 2
    assert refused(create, account, net, "10.65.2.0/26") == (400, "RouteLimitExceeded")


def test_a_replaced_route_leads_to_the_new_interface(account, outsider, net):
    create(account, net)
    subnet = outsider.describe_instances(InstanceIds=[net.instance])["Reservations"][0]["Instances"][0]["SubnetId"]
    other = outsider.run_instances(ImageId="ami-1", MinCount=1, MaxCount=1, SubnetId=subnet)["Instances"][0]
    interface = other["NetworkInterfaces"][0]["NetworkInterfaceId"]

    account.replace_route(RouteTableId=net.table, DestinationCidrBlock=BLOCK, NetworkInterfaceId=interface)

    assert routes(account, net)[BLOCK]["InstanceId"] == other["InstanceId"]


def test_a_route_to_a_stopped_machine_is_a_black_hole_until_it_starts(account, outsider, net):
    create(account, net)

    outsider.stop_instances(InstanceIds=[net.instance])
    assert routes(account, net)[BLOCK]["State"] == "blackhole"

    outsider.start_instances(InstanceIds=[net.instance])
    assert routes(account, net)[BLOCK]["State"] == "active"


def test_a_terminated_machine_takes_its_interface_along_and_leaves_a_black_hole(account, outsider, net):
    create(account, net)

    outsider.terminate_instances(InstanceIds=[net.instance])

    assert routes(account, net)[BLOCK]["State"] == "blackhole"
    code = refused(account.describe_network_interfaces, NetworkInterfaceIds=[net.interface])[1]
    assert code == "InvalidNetworkInterfaceID.NotFound"


def test_a_terminated_machine_leaves_its_address_to_the_next_one(outsider, net):
    first = outsider.describe_instances(InstanceIds=[net.instance])["Reservations"][0]["Instances"][0]
    where = {"SubnetId": first["SubnetId"], "PrivateIpAddress": first["PrivateIpAddress"]}
    outsider.terminate_instances(InstanceIds=[net.instance])

    next_ = outsider.run_instances(ImageId="ami-1", MinCount=1, MaxCount=1, **where)["Instances"][0]

    assert next_["PrivateIpAddress"] == first["PrivateIpAddress"]


@pytest.mark.parametrize("by", ["instance", "interface"])
def test_the_check_of_instance_and_primary_interface_is_one(account, net, by):
    off = {"SourceDestCheck": {"Value": False}}
    if by == "instance":
        account.modify_instance_attribute(InstanceId=net.instance, **off)
    else:
        account.modify_network_interface_attribute(NetworkInterfaceId=net.interface, **off)

    interface = account.describe_network_interfaces(NetworkInterfaceIds=[net.interface])["NetworkInterfaces"][0]
    instance = account.describe_instances(InstanceIds=[net.instance])["Reservations"][0]["Instances"][0]

    assert (interface["SourceDestCheck"], instance["SourceDestCheck"]) == (False, False)


def test_a_denied_action_is_refused_and_others_are_not(account, net, strict):
    strict.conditions = Conditions(denied=frozenset({"CreateRoute"}))

    assert refused(create, account, net) == (403, "UnauthorizedOperation")
    assert BLOCK not in routes(account, net)


def test_throttled_calls_say_how_long_to_wait(account, net, strict):
    strict.conditions = Conditions(throttled=True, retry_after=2)

    with pytest.raises(ClientError) as caught:
        create(account, net)

    answer = caught.value.response
    assert answer["Error"]["Code"] == "RequestLimitExceeded"
    assert answer["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "2"


def test_wrong_keys_are_refused(strict, listeners, net):
    strict.conditions = Conditions(keys=frozenset({"KEY"}))

    assert refused(create, client(listeners[0], key="WRONG"), net) == (401, "AuthFailure")


def test_an_unavailable_api_answers_503(account, net, strict):
    strict.conditions = Conditions(api="unavailable")

    assert refused(create, account, net) == (503, "Unavailable")


def test_a_closed_listener_refuses_connections_and_comes_back(account, strict, net):
    listener = Listener(0, server(strict.account))
    listener.open()
    caller = client(listener)
    create(caller, net)
    listener.close()
    with pytest.raises(EndpointConnectionError):
        create(caller, net, "10.65.2.0/26")

    listener.open()

    create(caller, net, "10.65.2.0/26")
    listener.close()


def test_a_new_route_is_shown_only_after_the_delay(account, outsider, net, strict):
    strict.conditions = Conditions(read_delay=1.5)
    create(account, net)

    assert BLOCK not in routes(account, net)
    assert BLOCK in routes(outsider, net)
    time.sleep(1.6)
    assert BLOCK in routes(account, net)


def test_with_two_replicas_a_route_that_was_shown_may_be_missing_again(account, net, strict):
    strict.conditions = Conditions(read_delay=1.0, replicas=2)
    create(account, net)
    time.sleep(0.6)

    seen = {BLOCK in routes(account, net), BLOCK in routes(account, net)}

    assert seen == {True, False}


def test_a_caller_that_outruns_its_bucket_is_throttled(account, net, listeners):
    impatient = StrictEc2(REGION, Conditions(), changed=lambda: None)
    listener = Listener(0, server(impatient.account))
    listener.open()
    caller = client(listener)

    codes = {refused(create, caller, net, "10.65.1.1/26")[1] for _ in range(60)}

    listener.close()
    assert codes == {"InvalidParameterValue", "RequestLimitExceeded"}


def test_faults_and_counts_do_not_concern_outsiders(account, outsider, net, strict):
    strict.conditions = Conditions(throttled=True)

    create(outsider, net)

    assert strict.calls == {}


def test_calls_are_counted_by_action(account, net, strict):
    create(account, net)
    routes(account, net)
    routes(account, net)

    assert strict.calls == {"CreateRoute": 1, "DescribeRouteTables": 2}
