from ipaddress import ip_address, ip_network

import pytest

from cloudnet.model.addresses import Family, InterfaceId, NodeName, SubnetId, TableId
from cloudnet.model.resources import NextHop
from cloudnet.provider.api import Owner, RouteChange, Verb
from cloudnet.provider.errors import QuotaExceeded, Unsupported
from cloudnet_aws.limits import PrefixList
from cloudnet_aws.routes import parse_route, parse_table, taken

V4, V6 = "10.65.1.0/26", "fd65::/122"
TO_A_LIST = (
    "<item><destinationPrefixListId>pl-1</destinationPrefixListId><transitGatewayId>tgw-1</transitGatewayId></item>"
)
QUOTA = '{"Quota": {"Value": 50.0}}'


def tables(*items):
    inside = "".join(items)
    return f"<DescribeRouteTablesResponse><routeTableSet>{inside}</routeTableSet></DescribeRouteTablesResponse>"


def table(name, *, subnets=(), main=False, routes=""):
    made = "".join(f"<item><main>false</main><subnetId>{s}</subnetId></item>" for s in subnets)
    made += "<item><main>true</main></item>" if main else ""
    return (
        f"<item><routeTableId>{name}</routeTableId><associationSet>{made}</associationSet>"
        f"<routeSet>{routes}</routeSet></item>"
    )


VPC = tables(
    table("rtb-main", main=True),
    table("rtb-a", subnets=["subnet-a"]),
    table("rtb-db", subnets=["subnet-db"]),
    table("rtb-unused"),
)


VPC_WITH_A_ROUTE = tables(
    table(
        "rtb-a",
        subnets=["subnet-a"],
        routes=f"<item><destinationCidrBlock>{V4}</destinationCidrBlock>"
        "<networkInterfaceId>eni-1</networkInterfaceId></item>",
    )
)


@pytest.fixture
def routes(provider, script):
    script.say("GetServiceQuota", QUOTA)
    return provider.routes


@pytest.fixture
def limited_routes(make_provider, config):
    return make_provider(config, routes_per_table=123).routes


def ids(found):
    return [t.id for t in found.tables]


def serve(routes, **subnets):
    routes.serve({NodeName(n): SubnetId(s.replace("_", "-")) for n, s in subnets.items()})


def test_only_tables_that_serve_nodes_are_in_scope(routes, script):
    script.say("DescribeRouteTables", VPC)
    serve(routes, n1="subnet-a")

    assert ids(routes.read()) == ["rtb-a"]


def test_a_subnet_without_an_association_belongs_to_the_main_table(routes, script):
    script.say("DescribeRouteTables", VPC)
    serve(routes, n1="subnet-a", n2="subnet-b")

    found = routes.read()

    assert ids(found) == ["rtb-a", "rtb-main"]
    assert [t.id for t in found.of(SubnetId("subnet-b"))] == ["rtb-main"]


def test_while_no_node_is_known_every_associated_table_is_in_scope(routes, script):
    script.say("DescribeRouteTables", VPC)

    assert ids(routes.read()) == ["rtb-a", "rtb-db"]


def test_a_table_asked_for_by_id_is_read_whomever_it_serves(routes, script):
    script.say("DescribeRouteTables", VPC)
    serve(routes, n1="subnet-a")

    assert ids(routes.read([TableId("rtb-db")])) == ["rtb-db"]


def test_configured_tables_are_the_scope(make_provider, config, script):
    script.say("GetServiceQuota", QUOTA)
    script.say("DescribeRouteTables", VPC)
    routes = make_provider(config, route_table_ids=("rtb-db",)).routes
    serve(routes, n1="subnet-a")

    assert ids(routes.read()) == ["rtb-db"]


def test_a_subnet_nobody_asks_for_leaves_the_scope(routes, script, clock):
    script.say("DescribeRouteTables", VPC)
    serve(routes, n1="subnet-a", n2="subnet-db")
    clock.advance(2000.0)
    serve(routes, n1="subnet-a")
    clock.advance(2000.0)
    serve(routes, n1="subnet-a")

    assert ids(routes.read()) == ["rtb-a"]


def test_an_idle_hour_costs_nine_reads_with_the_quota(routes, script, clock, provider):
    script.say("DescribeRouteTables", VPC)
    script.say("DescribeInstances", "<DescribeInstancesResponse><reservationSet/></DescribeInstancesResponse>")
    for _ in range(4):
        provider._client.instances()
        routes.read()
        clock.advance(900.0)

    assert len(script.requests) == 9


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"GatewayId": "local", "Origin": "CreateRouteTable"}, "the local route of the VPC"),
        ({"GatewayId": "igw-1"}, "internet gateway igw-1"),
        ({"GatewayId": "vpce-1"}, "VPC endpoint vpce-1"),
        ({"NatGatewayId": "nat-1"}, "NAT gateway nat-1"),
        ({"TransitGatewayId": "tgw-1"}, "transit gateway tgw-1"),
        ({"VpcPeeringConnectionId": "pcx-1"}, "peering connection pcx-1"),
        ({"VpcPeeringConnectionId": "pcx-1", "State": "blackhole"}, "peering connection pcx-1"),
        ({"EgressOnlyInternetGatewayId": "eigw-1"}, "egress-only internet gateway eigw-1"),
        (
            {"GatewayId": "vgw-1", "Origin": "EnableVgwRoutePropagation"},
            "virtual private gateway vgw-1 (not a static route: EnableVgwRoutePropagation)",
        ),
        (
            {"NetworkInterfaceId": "eni-1", "Origin": "Advertisement"},
            "a target (not a static route: Advertisement)",
        ),
        ({}, "a kind of target that cloudnet does not know"),
    ],
    ids=lambda v: "" if isinstance(v, dict) else v[:24],
)
def test_other_peoples_targets_are_foreign_and_named(fields, words):
    route = parse_route({"DestinationCidrBlock": V4, "State": "active", **fields})

    assert (route.owner, route.target) == (Owner.FOREIGN, words)


@pytest.mark.parametrize(
    ("fields", "hop"),
    [
        ({"NetworkInterfaceId": "eni-1", "InstanceId": "i-1"}, ("eni-1", "i-1")),
        ({"NetworkInterfaceId": "eni-1"}, ("eni-1", None)),
        ({"InstanceId": "i-1"}, (None, "i-1")),
        ({"State": "blackhole"}, (None, None)),
    ],
    ids=["both", "interface", "instance", "forgotten"],
)
@pytest.mark.parametrize("destination", [("DestinationCidrBlock", V4), ("DestinationIpv6CidrBlock", V6)])
def test_routes_to_machines_carry_no_mark(fields, hop, destination):
    route = parse_route({destination[0]: destination[1], "Origin": "CreateRoute", **fields})

    assert route.owner is Owner.UNMARKED
    assert (route.next_hop.interface, route.next_hop.instance) == hop
    assert route.destination == ip_network(destination[1])
    assert route.black_hole is (fields.get("State") == "blackhole")


def test_a_prefix_list_is_no_route_and_takes_its_greatest_size():
    answer = {
        "RouteTableId": "rtb-1",
        "Routes": [
            {"DestinationPrefixListId": "pl-1", "TransitGatewayId": "tgw-1"},
            {"DestinationPrefixListId": "pl-s3", "GatewayId": "vpce-1"},
            {"DestinationCidrBlock": V4, "NetworkInterfaceId": "eni-1"},
        ],
    }

    made = parse_table(answer, frozenset(), 50, {"pl-1": PrefixList(20, Family.IPV4)})

    assert len(made.routes) == 1
    assert made.limits == {Family.IPV4: 50 - 20 - 1, Family.IPV6: 50 - 1}


def test_propagated_routes_have_a_quota_of_their_own():
    routes = [
        {"DestinationCidrBlock": "192.168.0.0/16", "GatewayId": "vgw-1", "Origin": "EnableVgwRoutePropagation"},
        {"DestinationCidrBlock": V4, "NetworkInterfaceId": "eni-1"},
    ]

    assert taken(routes, Family.IPV4, {}) == -1
    assert taken(routes, Family.IPV6, {}) == 0


def test_prefix_lists_are_asked_for_once_an_hour(routes, script, clock):
    size = (
        "<item><prefixListId>pl-1</prefixListId><maxEntries>7</maxEntries><addressFamily>IPv4</addressFamily></item>"
    )
    script.say("DescribeRouteTables", tables(table("rtb-a", subnets=["subnet-a"], routes=TO_A_LIST)))
    script.say(
        "DescribeManagedPrefixLists",
        "<DescribeManagedPrefixListsResponse><prefixListSet>"
        f"{size}</prefixListSet></DescribeManagedPrefixListsResponse>",
    )

    for _ in range(3):
        (found,) = routes.read().tables
        clock.advance(1000.0)

    assert found.limits == {Family.IPV4: 43, Family.IPV6: 50}
    assert len(script.sent("DescribeManagedPrefixLists")) == 1


def test_a_gateway_endpoints_list_counts_one_and_costs_no_call(routes, script):
    listed = "<item><destinationPrefixListId>pl-s3</destinationPrefixListId><gatewayId>vpce-1</gatewayId></item>"
    script.say("DescribeRouteTables", tables(table("rtb-a", subnets=["subnet-a"], routes=listed)))

    (found,) = routes.read().tables

    assert found.limits == {Family.IPV4: 49, Family.IPV6: 49}
    assert script.sent("DescribeManagedPrefixLists") == []


def test_a_prefix_list_that_cannot_be_read_counts_as_the_largest(routes, script):
    script.say("DescribeRouteTables", tables(table("rtb-a", subnets=["subnet-a"], routes=TO_A_LIST)))
    script.refuse("DescribeManagedPrefixLists", 403, "UnauthorizedOperation")

    (found,) = routes.read().tables

    assert found.limits == {Family.IPV4: 0, Family.IPV6: 0}


def test_the_quota_is_read_once_an_hour(routes, script, clock):
    script.say("DescribeRouteTables", VPC)

    for _ in range(5):
        routes.read()
        clock.advance(900.0)

    assert len([a for a, _ in script.requests if a == "GetServiceQuota"]) == 2


def test_while_a_table_is_nearly_full_a_raised_quota_is_seen_within_a_minute(limited_routes, script, clock):
    script.say("DescribeRouteTables", VPC_WITH_A_ROUTE)
    script.say("GetServiceQuota", '{"Quota": {"Value": 1.0}}')
    script.say("GetServiceQuota", QUOTA)

    assert limited_routes.read().tables[0].limits[Family.IPV4] == 1
    clock.advance(59.0)
    assert limited_routes.read().tables[0].limits[Family.IPV4] == 1
    clock.advance(1.0)
    assert limited_routes.read().tables[0].limits[Family.IPV4] == 50
    clock.advance(3599.0)
    limited_routes.read()

    assert len([a for a, _ in script.requests if a == "GetServiceQuota"]) == 2


@pytest.mark.parametrize(
    ("refused", "asked_again_after"),
    [((400, "AccessDeniedException"), 3600.0), ((500, "ServiceException"), 60.0)],
    ids=["denied", "down"],
)
def test_an_unreadable_quota_falls_back_to_the_configured_one(
    limited_routes, script, clock, refused, asked_again_after
):
    status, code = refused
    script.say("DescribeRouteTables", VPC)
    script.say("GetServiceQuota", f'{{"__type": "{code}", "message": "no"}}', status=status)

    assert limited_routes.read().tables[0].limits == {Family.IPV4: 123, Family.IPV6: 123}
    clock.advance(asked_again_after - 1.0)
    limited_routes.read()
    assert len([a for a, _ in script.requests if a == "GetServiceQuota"]) == 1
    clock.advance(1.0)
    limited_routes.read()
    assert len([a for a, _ in script.requests if a == "GetServiceQuota"]) == 2


def test_meeting_the_limit_makes_the_next_read_ask_for_the_quota(routes, script):
    script.say("DescribeRouteTables", VPC)
    script.refuse("CreateRoute", 400, "RouteLimitExceeded")
    routes.read()

    (result,) = routes.apply([change(Verb.CREATE)])
    routes.read()

    assert isinstance(result.error, QuotaExceeded)
    assert len([a for a, _ in script.requests if a == "GetServiceQuota"]) == 2


def change(verb, block=V4, hop=None):
    hop = hop or NextHop(interface=InterfaceId("eni-1"))
    return RouteChange(verb, TableId("rtb-a"), ip_network(block), hop)


@pytest.mark.parametrize(
    ("block", "field"), [(V4, "DestinationCidrBlock"), (V6, "DestinationIpv6CidrBlock")], ids=["ipv4", "ipv6"]
)
def test_a_create_addresses_the_interface(routes, script, block, field):
    routes.apply([change(Verb.CREATE, block)])

    (form,) = script.sent("CreateRoute")
    assert (form["RouteTableId"], form[field], form["NetworkInterfaceId"]) == ("rtb-a", block, "eni-1")
    assert "InstanceId" not in form


@pytest.mark.parametrize(
    ("block", "field"), [(V4, "DestinationCidrBlock"), (V6, "DestinationIpv6CidrBlock")], ids=["ipv4", "ipv6"]
)
@pytest.mark.parametrize("verb", [Verb.REPLACE, Verb.DELETE], ids=lambda v: v.value)
def test_a_replace_and_a_delete_are_one_read_and_one_write(routes, script, verb, block, field):
    standing = "eni-2" if verb is Verb.REPLACE else "eni-1"
    word = "destinationCidrBlock" if block == V4 else "destinationIpv6CidrBlock"
    item = f"<item><{word}>{block}</{word}><networkInterfaceId>{standing}</networkInterfaceId></item>"
    script.say("DescribeRouteTables", tables(table("rtb-a", subnets=["subnet-a"], routes=item)))

    (result,) = routes.apply([change(verb, block)])

    assert result.error is None
    writes = [(a, f) for a, f in script.requests if not a.startswith(("Describe", "Get"))]
    assert [a for a, _ in writes] == [f"{verb.value.title()}Route"]
    assert writes[0][1][field] == block
    assert len(script.sent("DescribeRouteTables")) == 1


def test_a_next_hop_without_an_interface_is_unsupported(routes, script):
    (result,) = routes.apply([change(Verb.CREATE, hop=NextHop(address=ip_address("10.0.0.1")))])

    assert isinstance(result.error, Unsupported)
    assert script.sent("CreateRoute") == []
