import sys
from ipaddress import ip_network

import pytest
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, NoCredentialsError, ReadTimeoutError

from cloudnet.clock import ManualClock
from cloudnet.errors import BadInput, MissingTool
from cloudnet.model.addresses import InterfaceId, TableId
from cloudnet.model.resources import NextHop
from cloudnet.provider.api import RouteChange, Verb
from cloudnet.provider.budget import Kind
from cloudnet.provider.errors import (
    Conflict,
    NotFound,
    PermissionDenied,
    QuotaExceeded,
    Throttled,
    Unavailable,
    Unsupported,
)
from cloudnet_aws import make
from cloudnet_aws.config import WRITE

URL = "https://ec2.eu-west-1.amazonaws.com"
CHANGE = {
    verb: RouteChange(verb, TableId("rtb-1"), ip_network("10.65.1.0/26"), NextHop(interface=InterfaceId("eni-1")))
    for verb in Verb
}
REFUSALS = {
    "quota": ((400, "RouteLimitExceeded"), QuotaExceeded),
    "permission": ((403, "UnauthorizedOperation"), PermissionDenied),
    "expired": ((400, "ExpiredToken"), PermissionDenied),
    "throttle": ((503, "RequestLimitExceeded"), Throttled),
    "not-found": ((400, "InvalidRouteTableID.NotFound"), NotFound),
    "conflict": ((400, "IncorrectState"), Conflict),
    "server-error": ((500, "InternalError"), Unavailable),
    "shape": ((400, "InvalidParameterValue"), Unsupported),
}
BREAKDOWNS = {
    "unreachable": EndpointConnectionError(endpoint_url=URL, error="name or service not known"),
    "connect-timeout": ConnectTimeoutError(endpoint_url=URL),
    "read-timeout": ReadTimeoutError(endpoint_url=URL),
}
CALLS = {
    "DescribeRouteTables": lambda client: client.route_tables(),
    "DescribeInstances": lambda client: client.instances(),
    "DescribeManagedPrefixLists": lambda client: client.prefix_lists(["pl-1"]),
    "CreateRoute": lambda client: client.create_route({"RouteTableId": "rtb-1"}),
    "ReplaceRoute": lambda client: client.replace_route({"RouteTableId": "rtb-1"}),
    "DeleteRoute": lambda client: client.delete_route({"RouteTableId": "rtb-1"}),
    "ModifyNetworkInterfaceAttribute": lambda client: client.switch_source_check_off("eni-1"),
    "DescribeSecurityGroups": lambda client: client.security_groups(["sg-1"]),
    "DescribeNetworkInterfaces": lambda client: client.interfaces(),
    "DescribeSubnets": lambda client: client.subnets(),
    "DescribeInstanceTypes": lambda client: client.instance_types(["m5.large"]),
    "AssignPrivateIpAddresses": lambda client: client.assign_ipv4({"NetworkInterfaceId": "e"}),
    "AssignIpv6Addresses": lambda client: client.assign_ipv6({"NetworkInterfaceId": "e"}),
    "UnassignPrivateIpAddresses": lambda client: client.unassign_ipv4({"NetworkInterfaceId": "e"}),
    "UnassignIpv6Addresses": lambda client: client.unassign_ipv6({"NetworkInterfaceId": "e"}),
    "CreateNetworkInterface": lambda client: client.create_interface({"SubnetId": "s"}),
    "AttachNetworkInterface": lambda client: client.attach_interface("eni-1", "i-1", 1),
    "DetachNetworkInterface": lambda client: client.detach_interface("eni-attach-1"),
    "DeleteNetworkInterface": lambda client: client.delete_interface("eni-1"),
}


@pytest.fixture
def client(provider):
    return provider._client


@pytest.mark.parametrize("fault", REFUSALS)
@pytest.mark.parametrize("action", CALLS)
def test_every_call_translates_every_refusal(script, client, action, fault):
    (status, code), error = REFUSALS[fault]
    script.refuse(action, status, code)

    with pytest.raises(error) as caught:
        CALLS[action](client)

    assert (caught.value.code, caught.value.status, caught.value.request_id) == (code, status, "req-1")
    assert f"ec2:{action}" in str(caught.value)


@pytest.mark.parametrize("fault", BREAKDOWNS)
@pytest.mark.parametrize("action", CALLS)
def test_every_call_survives_a_cloud_out_of_reach(script, client, action, fault):
    script.say(action, error=BREAKDOWNS[fault])

    with pytest.raises(Unavailable, match=r"no answer from ec2\.eu-west-1\.amazonaws\.com in region eu-west-1"):
        CALLS[action](client)


@pytest.mark.parametrize("action", CALLS)
def test_every_call_survives_garbage(script, client, action):
    script.say(action, "<html><p>Sign in to the guest network</html>")

    with pytest.raises(Unavailable, match="not AWS"):
        CALLS[action](client)


@pytest.mark.parametrize("action", CALLS)
def test_garbage_with_a_server_error_is_unavailable(script, client, action):
    script.say(action, "upstream went away", status=502)

    with pytest.raises(Unavailable):
        CALLS[action](client)


def test_the_sdk_does_not_retry_beside_us(script, client):
    script.refuse("CreateRoute", 503, "RequestLimitExceeded")

    with pytest.raises(Throttled):
        client.create_route({"RouteTableId": "rtb-1"}, deadline=0.0)

    assert len(script.requests) == 1


def test_a_throttled_call_is_repeated_and_slows_the_budget(script, client):
    script.refuse("CreateRoute", 503, "RequestLimitExceeded")
    script.say("CreateRoute", "<CreateRouteResponse><return>true</return></CreateRouteResponse>")

    client.create_route({"RouteTableId": "rtb-1"})

    assert len(script.requests) == 2
    assert client.budget.rate(Kind.WRITE) < WRITE.rate
    assert client.budget.calls == {("ec2:CreateRoute", "throttled"): 1, ("ec2:CreateRoute", "ok"): 1}


def test_a_named_delay_is_waited_for(script, client, clock):
    script.refuse("CreateRoute", 503, "RequestLimitExceeded", headers={"Retry-After": "4"})
    script.say("CreateRoute", "<CreateRouteResponse><return>true</return></CreateRouteResponse>")

    client.create_route({"RouteTableId": "rtb-1"})

    assert clock.now() >= 4.0


def test_missing_credentials_are_a_matter_of_permission(script, client):
    script.say("DescribeRouteTables", error=NoCredentialsError())

    with pytest.raises(PermissionDenied, match="give the machine a role or set access_key_id"):
        client.route_tables()


def test_no_error_shows_a_secret(script, client):
    script.refuse("DescribeRouteTables", 401, "AuthFailure", "AKIAEXAMPLE:very-secret was not able to sign")

    with pytest.raises(PermissionDenied) as caught:
        client.route_tables()

    assert "very-secret" not in str(caught.value)
    assert "AKIAEXAMPLE" not in str(caught.value)


def test_a_request_that_no_api_would_take_is_not_sent(script, client):
    with pytest.raises(Unsupported, match="was not sent"):
        client.create_route({})

    assert script.requests == []


def test_tables_are_read_page_by_page_and_only_of_the_vpc(script, client):
    item = "<item><routeTableId>rtb-{}</routeTableId></item>"
    body = "<DescribeRouteTablesResponse><routeTableSet>{}</routeTableSet>{}</DescribeRouteTablesResponse>"
    script.say("DescribeRouteTables", body.format(item.format(1), "<nextToken>more</nextToken>"))
    script.say("DescribeRouteTables", body.format(item.format(2), ""))

    tables = client.route_tables()

    assert [t["RouteTableId"] for t in tables] == ["rtb-1", "rtb-2"]
    first, second = script.sent("DescribeRouteTables")
    assert (first["Filter.1.Name"], first["Filter.1.Value.1"], first["MaxResults"]) == ("vpc-id", "vpc-1", "100")
    assert "NextToken" not in first
    assert second["NextToken"] == "more"


def test_instances_are_read_page_by_page_and_only_of_the_vpc(script, client):
    item = "<item><instancesSet><item><instanceId>i-{}</instanceId></item></instancesSet></item>"
    body = "<DescribeInstancesResponse><reservationSet>{}</reservationSet>{}</DescribeInstancesResponse>"
    script.say("DescribeInstances", body.format(item.format(1), "<nextToken>more</nextToken>"))
    script.say("DescribeInstances", body.format(item.format(2), ""))

    found = client.instances("instance-id", ["i-1", "i-2"])

    assert [i["InstanceId"] for i in found] == ["i-1", "i-2"]
    for form in script.sent("DescribeInstances"):
        assert (form["Filter.1.Name"], form["Filter.1.Value.1"]) == ("vpc-id", "vpc-1")
        assert (form["Filter.2.Name"], form["Filter.2.Value.2"]) == ("instance-id", "i-2")


def test_a_region_that_does_not_exist_is_refused_before_any_call():
    with pytest.raises(BadInput, match=r"^region: 'eu-nowhere-9' is no AWS region"):
        make({"region": "eu-nowhere-9", "vpc_id": "vpc-1"}, clock=ManualClock())


def test_with_an_endpoint_of_its_own_any_region_will_do():
    config = {"region": "eu-nowhere-9", "vpc_id": "vpc-1", "endpoint_url": "http://127.0.0.1:5000"}

    assert make(config, clock=ManualClock()).name == "aws"


def test_an_endpoint_that_is_no_url_is_refused():
    with pytest.raises(BadInput, match=r"^endpoint_url: .*nonsense"):
        make({"region": "eu-west-1", "vpc_id": "vpc-1", "endpoint_url": "nonsense"}, clock=ManualClock())


def test_a_missing_sdk_is_one_line_that_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)

    with pytest.raises(MissingTool, match=r"pip install 'cloudnet\[aws\]'") as caught:
        make({"region": "eu-west-1", "vpc_id": "vpc-1"}, clock=ManualClock())

    assert "\n" not in str(caught.value)
