"""What a node says by BGP, by tables."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_interface, ip_network

import msgspec
import pytest

from cloudnet.bgp import plan
from cloudnet.bgp.picture import Picture
from cloudnet.bgp.speaker import Severity
from cloudnet.model import calico
from cloudnet.model.resources import AllowedUse, IPPool, Metadata, Node

NODE = Node(Metadata("n1"), (ip_interface("10.0.1.11/24"),))
BLOCK, STRAY = ip_network("10.65.1.0/26"), ip_network("10.65.2.7/32")
POOL = IPPool(Metadata("default"), ip_network("10.65.0.0/16"))


def settings(name="default", **spec):
    return calico.parse(
        {
            "apiVersion": "projectcalico.org/v3",
            "kind": "BGPConfiguration",
            "metadata": {"name": name},
            "spec": spec,
        }
    )


def picture(*configurations, **other):
    given = {"node": NODE, "pools": (POOL,), "blocks": frozenset({BLOCK}), **other}
    return Picture(configurations={one.meta.name: one for one in configurations}, **given)


def said(*configurations, **other):
    found = plan.plan(picture(*configurations, **other), {})
    assert found.problems == ()
    return found.speaker


def prefixes(speaker):
    return [str(one.prefix) for one in speaker.announcements]


def test_a_node_that_was_told_nothing_announces_its_blocks_and_strays():
    speaker = said(blocks=frozenset({BLOCK, STRAY}))

    assert prefixes(speaker) == ["10.65.1.0/26", "10.65.2.7/32"]
    assert (speaker.router_id, speaker.port, speaker.strict_bind) == (IPv4Address("10.0.1.11"), 179, False)
    assert (speaker.cluster_id, speaker.severity, speaker.ignored_interfaces) == (None, Severity.INFO, ())
    assert speaker.inside == speaker.passed_on == (POOL.cidr,)


def test_blocks_of_a_pool_that_is_not_to_be_exported_are_kept_back():
    kept = replace(POOL, disable_bgp_export=True)

    speaker = said(pools=(kept,))

    assert prefixes(speaker) == []
    assert (speaker.inside, speaker.passed_on) == ((POOL.cidr,), ())


def test_ranges_are_merged_and_a_pool_of_load_balancers_is_none_of_pods():
    lower, upper = ip_network("10.65.0.0/17"), ip_network("10.65.128.0/17")
    pools = (
        replace(POOL, cidr=upper),
        replace(POOL, cidr=lower),
        replace(POOL, cidr=ip_network("10.99.0.0/24"), allowed_uses=frozenset({AllowedUse.LOAD_BALANCER})),
    )

    speaker = said(pools=pools, outside=frozenset({ip_network("192.168.1.0/24"), ip_network("fd00::/64")}))

    assert [str(one) for one in speaker.inside] == ["10.65.0.0/16", "192.168.1.0/24", "fd00::/64"]
    assert speaker.passed_on == speaker.inside


def test_the_word_for_one_node_counts_over_that_for_all_field_by_field():
    everybody = settings(listenPort=1790, logSeverityScreen="Warning", bindMode="NodeIP", ignoredInterfaces=["bond*"])
    this_one = settings("node.n1", logSeverityScreen="Debug")
    other = settings("node.n2", listenPort=1)

    speaker = said(everybody, this_one, other)

    assert (speaker.port, speaker.severity, speaker.strict_bind) == (1790, Severity.DEBUG, True)
    assert speaker.ignored_interfaces == ("bond*",)


def test_every_node_announces_the_ranges_of_services():
    ranges = settings(
        serviceClusterIPs=[{"cidr": "10.96.0.0/12"}, {"cidr": "fd00:96::/108"}],
        serviceExternalIPs=[{"cidr": "192.0.2.0/28"}],
        serviceLoadBalancerIPs=[{"cidr": "198.51.100.0/24"}],
    )

    assert prefixes(said(ranges)) == [
        "10.65.1.0/26", "10.96.0.0/12", "192.0.2.0/28", "198.51.100.0/24", "fd00:96::/108",
    ]  # fmt: skip


def test_a_node_that_is_excluded_from_load_balancers_announces_no_services_and_routes_none():
    excluded = replace(NODE, meta=Metadata("n1", labels={plan.EXCLUDED: ""}))

    speaker = said(settings(serviceClusterIPs=[{"cidr": "10.96.0.0/12"}]), node=excluded)

    assert prefixes(speaker) == ["10.65.1.0/26"]
    assert speaker.services == (ip_network("10.96.0.0/12"),)


def test_communities_stand_at_what_lies_in_a_prefix_by_number_or_by_name():
    tagged = settings(
        communities=[{"name": "internal", "value": "64512:100:1"}],
        prefixAdvertisements=[
            {"cidr": "10.65.0.0/16", "communities": ["internal", "64512:7"]},
            {"cidr": "10.65.1.0/27", "communities": ["64512:8"]},
            {"cidr": "fd00::/8", "communities": ["64512:9"]},
        ],
    )

    (announcement,) = said(tagged).announcements

    assert announcement.communities == ((64512, 7), (64512, 100, 1))


def test_a_node_without_ipv4_has_a_router_id_from_its_name():
    six = replace(NODE, addresses=(ip_interface("fd00:1::11/64"),))

    ids = {said(node=replace(six, meta=Metadata(f"n{k}"))).router_id for k in range(50)}

    assert len(ids) == 50
    assert said(node=six).router_id == said(node=six).router_id


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (
            {"serviceLoadBalancerIPs": [{"cidr": "198.51.100.0/24"}], "serviceLoadBalancerAggregation": "Disabled"},
            "single addresses of load balancers are not announced: leave spec.serviceLoadBalancerAggregation Enabled",
        ),
        (
            {"prefixAdvertisements": [{"cidr": "10.65.0.0/16", "communities": ["nobody"]}]},
            "spec.prefixAdvertisements[0].communities: expected a community such as",
        ),
        ({"logSeverityScreen": "Loud"}, "spec.logSeverityScreen: expected one of Debug, Info"),
        ({"ignoredInterfaces": ['eth0"; }']}, "spec.ignoredInterfaces[0]: expected the name of an interface"),
    ],
    ids=["aggregation", "community", "severity", "interface"],
)
def test_what_is_not_done_is_said_and_the_rest_is_done(spec, problem):
    one = settings()
    fields = msgspec.convert(spec, type(one.spec))

    found = plan.plan(picture(replace(one, spec=fields)), {})

    assert len(found.problems) == 1
    assert found.problems[0].startswith("BGPConfiguration: ")
    assert problem in found.problems[0]
    assert prefixes(found.speaker) == ["10.65.1.0/26"]
