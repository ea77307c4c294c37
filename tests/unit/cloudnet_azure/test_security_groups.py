"""Security groups as rules of addresses, and roles as grants, without a cloud."""

from ipaddress import ip_network

import pytest

from cloudnet.provider.firewall import EVERYWHERE, Rule
from cloudnet_azure import rights
from cloudnet_azure.rights import Right, Where
from cloudnet_azure.security_groups import Known, free_priorities, rules

NETWORK = (ip_network("10.0.0.0/16"), ip_network("10.65.0.0/16"))
KNOWN = Known(NETWORK, {"/asg/nodes": (ip_network("10.0.1.11/32"),)})
ACTION = "Microsoft.Network/routeTables/routes/write"


def parsed(**changes):
    properties = {
        "direction": "Inbound",
        "access": "Allow",
        "priority": 200,
        "protocol": "*",
        "sourcePortRange": "*",
        "destinationPortRange": "*",
        "sourceAddressPrefix": "*",
        "destinationAddressPrefix": "*",
    }
    kept = {name: value for name, value in (properties | changes).items() if value is not None}
    return rules({"properties": {"securityRules": [{"properties": kept}]}}, KNOWN)


@pytest.mark.parametrize(
    ("prefix", "remotes"),
    [
        ("*", EVERYWHERE),
        ("VirtualNetwork", NETWORK),
        ("AzureLoadBalancer", ()),
        ("Internet", ()),
        ("10.0.1.0/24", (ip_network("10.0.1.0/24"),)),
    ],
)
def test_a_prefix_or_a_tag_means_addresses(prefix, remotes):
    (rule,) = parsed(sourceAddressPrefix=prefix)

    assert rule.remotes == remotes


def test_an_application_security_group_means_its_interfaces():
    (rule,) = parsed(sourceAddressPrefix=None, sourceApplicationSecurityGroups=[{"id": "/ASG/Nodes"}])

    assert rule.remotes == (ip_network("10.0.1.11/32"),)


def test_icmp_speaks_of_ipv4_alone():
    (icmp,), (tcp,) = parsed(protocol="Icmp"), parsed(protocol="Tcp")

    assert (icmp.protocol, icmp.remotes) == ("icmp", EVERYWHERE[:1])
    assert (tcp.protocol, tcp.remotes) == ("tcp", EVERYWHERE)


def test_a_rule_on_the_way_out_has_its_other_side_in_the_destination():
    (rule,) = parsed(direction="Outbound", destinationAddressPrefix="10.65.0.0/16", sourceAddressPrefix="10.0.0.0/16")

    assert (rule.inbound, rule.remotes, rule.locals) == (False, NETWORK[1:], NETWORK[:1])


def test_several_ranges_of_ports_are_several_rules():
    found = parsed(destinationPortRange=None, destinationPortRanges=["80", "4000-5000"])

    assert [rule.ports for rule in found] == [(80, 80), (4000, 5000)]


def test_a_new_rule_takes_no_priority_that_is_taken_and_none_behind_a_denial():
    def rule(rank, *, allow=True, inbound=True):
        return Rule(inbound=inbound, allow=allow, rank=rank)

    group = (
        rule(199),
        rule(198),
        rule(200, allow=False),
        rule(150, allow=False, inbound=False),
        rule(65500, allow=False),
    )

    assert free_priorities(group, 2, inbound=True) == (196, 197)
    assert free_priorities(group, 1, inbound=False) == (149,)
    assert free_priorities((rule(100, allow=False),), 1, inbound=True) == ()
    assert free_priorities((), 1, inbound=True) == (4096,)


@pytest.mark.parametrize(
    ("roles", "granted"),
    [
        ([], False),
        ([{"actions": ["*"]}], True),
        ([{"actions": [ACTION.lower()]}], True),
        ([{"actions": ["Microsoft.Network/routeTables/*"]}], True),
        ([{"actions": ["*/read"]}], False),
        ([{"actions": ["Microsoft.Network/routeTables/write"]}], False),
        ([{"actions": ["*"], "notActions": ["Microsoft.Network/*/write"]}], False),
        ([{"actions": ["*"], "notActions": ["*/write"]}, {"actions": ["Microsoft.Network/*"]}], True),
    ],
)
def test_a_role_grants_what_its_patterns_cover_and_its_exceptions_do_not(roles, granted):
    assert rights.granted(ACTION, roles) is granted


def test_what_is_not_known_of_a_resource_group_is_not_told():
    wanted = [Right(ACTION, Where.TABLES)]

    assert rights.missing({}, wanted, {Where.TABLES: {"a"}}) == []
    assert rights.missing({"a": [], "b": [{"actions": ["*"]}]}, wanted, {Where.TABLES: {"a", "b"}}) == [
        (wanted[0], "a")
    ]


def test_every_page_of_permissions_is_read(cloud):
    handler = cloud.simulator.handler

    def paged(request):
        answer = handler(request)
        if "page" not in request.query:
            url = f"http://127.0.0.1:{cloud.listener.port}{request.path}?api-version={request.query['api-version']}"
            answer.body["nextLink"] = f"{url}&page=2"
        return answer

    cloud.simulator.handler = paged

    assert len(cloud.client().permissions("rg")) == 2
