from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from cloudnet.model.addresses import Family, InstanceId, InterfaceId, NodeName, SubnetId, TableId
from cloudnet.model.resources import IPPool, Metadata, NextHop, Node
from cloudnet.provider import findings
from cloudnet.provider.api import Capabilities, Instance, Owner, RouteTable, RouteTables, TableRoute
from cloudnet.provider.errors import PermissionDenied, Unavailable
from cloudnet.provider.firewall import Guard
from cloudnet.provider.preflight import Check, Needs, Severity

NODES = tuple(Node(Metadata(f"n{k}"), (ip_interface(f"10.0.{k}.11/24"),)) for k in (1, 2, 3))
POOL = IPPool(Metadata("pods"), ip_network("10.65.0.0/16"))
NEEDS = Needs(NODES, (POOL,), {NodeName(f"n{k}"): (ip_network(f"10.65.{k}.0/26"),) for k in (1, 2, 3)})
FOUND = {
    NodeName(f"n{k}"): Instance(
        InstanceId(f"i-{k}"),
        InterfaceId(f"eni-{k}"),
        SubnetId(f"s{k}"),
        zone=f"z{k}",
        addresses=(ip_address(f"10.0.{k}.11"),),
        forwarding=True,
        mtu=1500,
    )
    for k in (1, 2, 3)
}


def table(k=1, *routes, limit=50, **more):
    return RouteTable(TableId(f"rtb-{k}"), frozenset({f"s{k}"}), routes, {Family.IPV4: limit}, **more)


def route(destination, owner=Owner.FOREIGN, hop=None):
    return TableRoute(ip_network(destination), hop or NextHop(), owner, target="igw-1")


def severities(found):
    return [f.severity for f in found]


def remedied(*_):
    return "do this"


def change(name, **fields):
    return {**FOUND, NodeName(name): replace(FOUND[NodeName(name)], **fields)}


def test_a_denied_read_is_a_finding_and_any_other_failure_is_not():
    def denied():
        raise PermissionDenied("no", provider="x")

    def away():
        raise Unavailable("away", provider="x")

    nothing, (finding,) = findings.asked(denied, "x:Read", "allow x:Read")
    assert (nothing, finding.severity, finding.remedy) == (None, Severity.BLOCKS, "allow x:Read")
    with pytest.raises(Unavailable):
        findings.asked(away, "x:Read", "")


def test_nodes_without_machine_and_machines_that_stand_still_are_named():
    found = change("n2", running=False)
    del found[NodeName("n3")]

    missing, stopped = findings.machines(NEEDS, found, remedy="look")

    assert (missing.subject, stopped.subject) == ("n3", "n2")
    assert severities(findings.machines(NEEDS, FOUND, remedy="look")) == [Severity.OK]


def test_a_machine_that_may_not_forward_is_named_with_its_interface():
    (finding,) = findings.forwarding(
        change("n2", forwarding=False), problem="off", remedy=remedied, severity=Severity.WARNING
    )

    assert (finding.subject, finding.severity) == ("n2, eni-2", Severity.WARNING)


def test_a_subnet_without_table_blocks():
    (finding,) = findings.tables(FOUND, RouteTables((table(1), table(2))), remedy=lambda s: f"make one for {s}")

    assert (finding.check, finding.remedy) == (Check.TABLES, "make one for s3")


@pytest.mark.parametrize(
    ("standing", "severity"),
    [
        (route("10.65.9.0/26"), Severity.BLOCKS),
        (route("10.65.9.5/32"), Severity.BLOCKS),
        (route("10.65.0.0/20"), Severity.WARNING),
        (route("0.0.0.0/0"), Severity.OK),
        (route("10.66.0.0/26"), Severity.OK),
        (route("fd00::/122"), Severity.OK),
        (route("10.65.9.0/26", Owner.OURS), Severity.OK),
        (route("10.65.9.0/26", Owner.DECLARED), Severity.OK),
        (route("10.65.2.0/26", Owner.UNMARKED, NextHop(InterfaceId("eni-2"))), Severity.OK),
        (route("10.65.2.0/26", Owner.UNMARKED, NextHop(InterfaceId("eni-9"))), Severity.BLOCKS),
    ],
    ids=[
        *("a block", "inside a block", "wider", "default", "beside", "other family", "ours", "declared"),
        *("to our node", "to a stranger"),
    ],
)
def test_somebody_elses_route_is_judged_by_what_it_takes(standing, severity):
    assert severities(findings.foreign(NEEDS, FOUND, RouteTables((table(1, standing),)), remedy=remedied)) == [
        severity
    ]


@pytest.mark.parametrize(
    ("limit", "adjacent", "routes", "severity"),
    [
        (50, False, (), Severity.OK),
        (3, False, (), Severity.WARNING),
        (2, False, (), Severity.BLOCKS),
        (2, True, (), Severity.WARNING),
        (3, False, (route("10.9.0.0/16"),), Severity.BLOCKS),
        (3, False, (route("10.65.1.0/26", Owner.OURS),), Severity.WARNING),
        (0, False, (), Severity.OK),
    ],
    ids=["room", "just enough", "too small", "neighbours need none", "others'", "ours stand already", "no limit"],
)
def test_a_quota_is_judged_by_what_will_be_wanted(limit, adjacent, routes, severity):
    tables = RouteTables((table(1, *routes, limit=limit),))

    found = findings.quota(NEEDS, FOUND, tables, Capabilities(l2_adjacent=adjacent), remedy=remedied)

    assert severities(found) == [severity]


def test_a_zones_table_needs_only_the_zones_nodes():
    tables = RouteTables((table(1, limit=2, zone="z1"),))

    assert severities(findings.quota(NEEDS, FOUND, tables, Capabilities(), remedy=remedied)) == [Severity.OK]


def test_a_node_without_blocks_will_want_a_route():
    tables = RouteTables((table(1, limit=2),))

    found = findings.quota(replace(NEEDS, blocks={}), FOUND, tables, Capabilities(), remedy=remedied)

    assert severities(found) == [Severity.BLOCKS]


@pytest.mark.parametrize(
    ("pod_mtu", "severity"),
    [(0, Severity.OK), (1450, Severity.OK), (1451, Severity.BLOCKS), (1500, Severity.BLOCKS)],
)
def test_pods_have_to_fit_into_vxlan(pod_mtu, severity):
    assert severities(findings.mtu(replace(NEEDS, pod_mtu=pod_mtu), FOUND)) == [severity]


def test_the_smallest_mtu_decides_and_ipv6_takes_more():
    six = IPPool(Metadata("six"), ip_network("fd65::/64"))
    (finding,) = findings.mtu(replace(NEEDS, pools=(POOL, six), pod_mtu=1350), change("n2", mtu=1400))

    assert (finding.severity, finding.remedy) == (Severity.BLOCKS, "set CLOUDNET_POD_MTU=1330 for every agent, or 0")


@pytest.mark.parametrize(
    ("taken", "severity"),
    [("10.64.0.0/15", Severity.BLOCKS), ("10.65.7.0/24", Severity.BLOCKS), ("10.0.0.0/16", Severity.OK)],
    ids=["around", "inside", "beside"],
)
def test_a_pool_that_overlaps_the_clouds_own_is_named(taken, severity):
    found = findings.overlaps(NEEDS, [("the network's own", ip_network(taken))], severity=Severity.BLOCKS)

    assert severities(found) == [severity]


def test_pools_of_a_family_without_routes_are_carried_by_vxlan():
    six = IPPool(Metadata("six"), ip_network("fd65::/64"))

    (finding,) = findings.families(replace(NEEDS, pools=(POOL, six)), Capabilities())

    assert (finding.severity, finding.subject) == (Severity.WARNING, "pool six (fd65::/64)")


def test_each_gap_of_each_firewall_is_told_with_its_remedy():
    guard = Guard("sg-1", (NodeName("n1"),), (), lets_out=True)

    found = findings.openings(NEEDS, [guard], remedy=lambda g, gap: f"open {gap.opening.name} of {g.name}")

    assert [f.remedy for f in found] == ["open VXLAN of sg-1", "open probes of sg-1", "open pods of sg-1"]
    assert all(f.severity is Severity.BLOCKS for f in found)


def test_many_names_are_cut_short():
    assert findings.listed([f"n{k}" for k in range(1, 7)]) == "n1, n2, n3, n4 and 2 more"
