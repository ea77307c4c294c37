from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudnet.model.addresses import NodeName
from cloudnet.model.resources import IPPool, Metadata, Node
from cloudnet.provider import firewall
from cloudnet.provider.firewall import Gap, Guard, Opening, Rule
from cloudnet.provider.preflight import Needs

PODS = ip_network("10.65.0.0/16")
NEEDS = Needs(
    nodes=tuple(Node(Metadata(f"n{k}"), (ip_interface(f"10.0.{k}.11/24"),)) for k in (1, 2)),
    pools=(IPPool(Metadata("pods"), PODS),),
)
VXLAN = Opening("VXLAN", (ip_network("10.0.1.11/32"), ip_network("10.0.2.11/32")), ports=(4789, 4789))


def nets(*texts):
    return tuple(map(ip_network, texts))


def allow(*remotes, protocol="udp", ports=(4789, 4789), rank=0):
    return Rule(inbound=True, remotes=nets(*remotes), protocol=protocol, ports=ports, rank=rank)


def deny(*remotes, protocol="udp", ports=(4789, 4789), rank=0):
    return Rule(inbound=True, remotes=nets(*remotes), protocol=protocol, ports=ports, rank=rank, allow=False)


def guard(*rules, lets_in=False):
    return Guard("sg", (NodeName("n1"),), rules, lets_in=lets_in)


@pytest.mark.parametrize(
    ("rules", "shut"),
    [
        ([], ["10.0.1.11/32", "10.0.2.11/32"]),
        ([allow("10.0.0.0/16")], []),
        ([allow("10.0.1.0/24")], ["10.0.2.11/32"]),
        ([allow("10.0.1.0/24"), allow("10.0.2.0/24")], []),
        ([allow("10.0.0.0/16", protocol="tcp")], ["10.0.1.11/32", "10.0.2.11/32"]),
        ([allow("10.0.0.0/16", protocol="any", ports=(0, 65535))], []),
        ([allow("10.0.0.0/16", ports=(4000, 5000))], []),
        ([allow("10.0.0.0/16", ports=(4790, 5000))], ["10.0.1.11/32", "10.0.2.11/32"]),
        ([allow("fd00::/8")], ["10.0.1.11/32", "10.0.2.11/32"]),
        ([deny("10.0.2.0/24", rank=1), allow("10.0.0.0/16", rank=2)], ["10.0.2.11/32"]),
        ([deny("10.0.2.0/24", rank=2), allow("10.0.0.0/16", rank=1)], []),
        ([deny("10.0.2.0/24"), allow("10.0.0.0/16")], ["10.0.2.11/32"]),
        ([allow("10.0.0.0/16"), deny("10.0.2.0/24")], ["10.0.2.11/32"]),
        ([allow("10.0.0.0/16", ports=(4000, 4788))], ["10.0.1.11/32", "10.0.2.11/32"]),
        ([Rule(inbound=False)], ["10.0.1.11/32", "10.0.2.11/32"]),
    ],
    ids=[
        *("nothing", "all", "one subnet", "both", "another protocol", "everything", "a range", "other ports"),
        *("other family", "denied before", "denied too late", "denied beside", "denied beside, behind"),
        *("ports below", "the other way"),
    ],
)
def test_what_no_rule_lets_through_is_closed(rules, shut):
    assert firewall.closed(guard(*rules), "udp", VXLAN, inbound=True) == nets(*shut)


def test_what_no_rule_speaks_of_passes_where_the_firewall_says_so():
    assert firewall.closed(guard(lets_in=True), "udp", VXLAN, inbound=True) == ()
    assert firewall.closed(guard(deny("10.0.2.0/24"), lets_in=True), "udp", VXLAN, inbound=True) == nets(
        "10.0.2.11/32"
    )


def test_a_part_of_a_pool_that_is_let_through_leaves_the_rest_closed():
    pods = Opening("pods", (PODS,), ("tcp",))
    half = allow("10.65.0.0/17", protocol="tcp", ports=(0, 65535))

    assert firewall.closed(guard(half), "tcp", pods, inbound=True) == nets("10.65.128.0/17")


def test_protocols_that_are_closed_alike_are_one_gap():
    pods = Opening("pods", (PODS,), ("tcp", "udp", "icmp"))
    icmp = allow(str(PODS), protocol="icmp", ports=(0, 65535))

    assert firewall.gaps(Guard("sg", (), (icmp,), lets_out=True), [pods]) == (
        Gap(pods, inbound=True, protocols=("tcp", "udp"), remotes=(PODS,)),
    )


def test_nodes_and_pods_need_vxlan_probes_and_everything_between_pods():
    vxlan, probes, pods = firewall.openings(NEEDS)

    assert (vxlan.ports, vxlan.remotes) == ((4789, 4789), nets("10.0.1.11/32", "10.0.2.11/32"))
    assert (probes.ports, probes.remotes) == ((4793, 4793), nets("10.0.1.11/32", "10.0.2.11/32", str(PODS)))
    assert (pods.protocols, pods.remotes) == (("tcp", "udp", "icmp"), (PODS,))


def test_without_pools_nothing_is_asked_for_pods():
    assert [opening.name for opening in firewall.openings(Needs(nodes=NEEDS.nodes))] == ["VXLAN", "probes"]


def test_a_rule_is_proposed_for_the_subnets_of_nodes():
    assert firewall.widened(nets("10.0.1.11/32", str(PODS)), NEEDS) == nets("10.0.1.0/24", str(PODS))


def test_a_gap_says_what_it_is():
    gap = Gap(VXLAN, inbound=True, protocols=("udp",), remotes=nets("10.0.1.0/24"))

    assert gap.words == "udp 4789 (VXLAN) is not let in from 10.0.1.0/24"


networks = st.builds(
    lambda address, length: ip_network((address, length), strict=False),
    st.integers(0, 2**32 - 1).map(ip_address),
    st.integers(0, 32),
)


@given(whole=networks, parts=st.lists(networks, max_size=4), inside=st.integers(0, 2**32 - 1))
def test_what_is_left_has_every_address_that_was_not_taken_away(whole, parts, inside):
    address = whole[inside % whole.num_addresses]

    left = firewall.without(whole, parts)

    assert any(address in each for each in left) == (not any(address in part for part in parts))


@pytest.mark.parametrize(
    ("permits", "here", "shut"),
    [
        (True, ["10.0.1.11/32"], []),
        (True, ["10.0.1.11/32", "10.0.2.11/32"], ["10.0.1.11/32", "10.0.2.11/32"]),
        (False, ["10.0.1.11/32", "10.0.2.11/32"], ["10.0.1.11/32", "10.0.2.11/32"]),
        (False, ["10.0.2.11/32"], []),
    ],
    ids=["allowed to all", "allowed to one", "denied to one", "denied to none"],
)
def test_a_rule_about_a_part_of_this_side_allows_what_all_may_have_and_denies_what_any_may_not(permits, here, shut):
    rule = Rule(inbound=True, allow=permits, locals=nets("10.0.1.0/24"))
    guarded = Guard("sg", (), (rule,), lets_in=not permits, addresses=nets(*here))

    assert firewall.closed(guarded, "udp", VXLAN, inbound=True) == nets(*shut)


def test_a_rule_about_this_sides_ipv4_says_nothing_of_ipv6():
    six = Opening("pods", nets("fd00::/48"), locals=nets("fd00::/48"), nodes=False)
    rule = Rule(inbound=True, allow=False, locals=nets("10.0.0.0/8"))

    assert firewall.closed(Guard("sg", (), (rule,), lets_in=True), "udp", six, inbound=True) == ()
