"""Firewall rules as rules of addresses, without a cloud."""

from ipaddress import ip_network
from types import SimpleNamespace

import pytest

from cloudnet.provider.firewall import EVERY_PORT, Gap, Guard, Opening, Rule
from cloudnet.provider.preflight import Check, Finding, Severity
from cloudnet_gcp import firewalls, preflight, read, wire
from cloudnet_gcp.config import GcpConfig

PODS, PODS6 = ip_network("10.65.0.0/16"), ip_network("fd00::/48")
CONFIG = GcpConfig("p", "vpc", "c1")


def firewall(*traffic, remotes=("10.65.0.0/16", "fd00::/48"), **fields):
    return wire.Firewall("r", inbound=True, allow=True, priority=1000, traffic=traffic, remotes=remotes, **fields)


@pytest.mark.parametrize(
    ("protocol", "remotes"),
    [("icmp", (PODS,)), ("1", (PODS,)), ("58", (PODS6,)), ("tcp", (PODS, PODS6)), ("all", (PODS, PODS6))],
)
def test_icmp_is_of_one_family_by_its_name(protocol, remotes):
    (rule,) = firewalls.rules(firewall(wire.Traffic(protocol)), {})

    assert rule.remotes == remotes
    assert rule.protocol == {"all": "any", "tcp": "tcp"}.get(protocol, "icmp")


def test_each_range_of_ports_is_a_rule():
    found = firewalls.rules(firewall(wire.Traffic("tcp", ("22", "8000-9000")), wire.Traffic("udp")), {})

    assert [(r.protocol, r.ports) for r in found] == [("tcp", (22, 22)), ("tcp", (8000, 9000)), ("udp", EVERY_PORT)]


def test_a_rule_that_names_nobody_means_all_of_ipv4():
    (rule,) = firewalls.rules(firewall(wire.Traffic("all"), remotes=()), {})

    assert rule.remotes == (ip_network("0.0.0.0/0"),)


def test_a_tag_means_addresses_that_are_known():
    (rule,) = firewalls.rules(
        firewall(wire.Traffic("all"), remotes=(), sources=frozenset({"node", "other"})), {"node": [PODS]}
    )

    assert rule.remotes == (PODS,)


def test_a_gap_of_both_families_is_a_rule_each_with_its_own_icmp():
    guard = Guard("g", (), (Rule(inbound=True, allow=False, rank=500),), id="nodes@p.iam.gserviceaccount.com")
    gap = Gap(Opening("pods", (PODS, PODS6)), inbound=True, protocols=("tcp", "icmp"), remotes=(PODS, PODS6))

    four, six = preflight._allow(CONFIG, guard, gap).split("; ")

    assert "cloudnet-pods-ingress-ipv4 " in four
    assert "--priority 499 --allow tcp,icmp --source-ranges 10.65.0.0/16 " in four
    assert "cloudnet-pods-ingress-ipv6 " in six
    assert "--allow tcp,58 --source-ranges fd00::/48 " in six
    assert six.endswith("--target-service-accounts nodes@p.iam.gserviceaccount.com")


@pytest.mark.parametrize(("told", "mtu"), [(0, 1460), (8896, 8896)])
def test_a_network_that_names_no_mtu_has_googles(told, mtu):
    assert read.network(SimpleNamespace(mtu=told, firewall_policy="")).mtu == mtu


def test_a_refusal_is_kept_where_a_grant_was_told_first():
    granted, refused = (
        Finding(Check.PERMISSION, "a"),
        Finding(Check.PERMISSION, "a", Severity.BLOCKS, "no", "grant it"),
    )

    assert preflight.once([granted, refused]) == (refused,)
    assert preflight.once([refused, granted]) == (refused,)


def test_two_problems_of_one_subject_are_both_told():
    one, two = (Finding(Check.FIREWALL, "g", Severity.BLOCKS, problem, "x") for problem in ("a", "b"))

    assert preflight.once([one, two]) == (one, two)
