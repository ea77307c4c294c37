"""The look before the first write, on the lab's VPC through the real SDK: each obstacle alone, and none."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from cloudnet.lab.clouds.conditions import Conditions
from cloudnet.lab.clouds.ibm.state import Rule
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.resources import IPPool, Metadata
from cloudnet.provider.preflight import Check, Needs, Severity
from cloudnet.testing.preflight import CloudPreflightContract, Obstacle

PODS, NODES = "10.65.0.0/16", "10.0.0.0/16"
WRITES = ("create", "update", "delete")


class IbmWorld:
    """The VPC of this folder's tests, its interfaces allowed to spoof and its group open to nodes and pods."""

    def __init__(self, vpc):
        self.vpc, self.provider = vpc, vpc.provider
        self.group = vpc.state.default_group
        self.group.rules[:] = [Rule("inbound", NODES), Rule("inbound", PODS), Rule("outbound", "0.0.0.0/0")]
        for interface in vpc.state.interfaces.values():
            interface.spoofing = True
        self.needs = Needs(
            nodes=tuple(vpc.nodes.values()),
            pools=(IPPool(Metadata("pods"), ip_network(PODS)),),
            blocks={NodeName(f"n{k}"): (ip_network(f"10.65.{k}.0/26"),) for k in (1, 2, 3)},
        )

    def writes(self):
        return sorted(name for name in self.vpc.simulator.counts if name.startswith(WRITES))

    def cut_off(self):
        self.vpc.plane.conditions = Conditions(api="unavailable")


def machine(world, name):
    return next(m for m in world.vpc.state.machines.values() if m.name == name)


def denied(call):
    def plant(world):
        world.vpc.plane.conditions = Conditions(routes_per_table=200, denied=frozenset({call}))

    return plant


def stopped(world):
    machine(world, "n1").status = "stopped"


def no_spoofing(world):
    world.vpc.state.interfaces[machine(world, "n2").interface].spoofing = False


def only_the_group(world):
    world.group.rules[:] = [Rule("inbound", world.group.id), Rule("outbound", "0.0.0.0/0")]


def no_probes(world):
    world.group.rules[:] = [
        Rule("inbound", NODES, "udp", (4789, 4789)),
        Rule("inbound", PODS),
        Rule("outbound", "0.0.0.0/0"),
    ]


def no_way_out(world):
    world.group.rules[:] = [Rule("inbound", NODES), Rule("inbound", PODS)]


def no_icmp_of_pods(world):
    rules = [
        Rule("inbound", NODES),
        Rule("inbound", PODS, "tcp"),
        Rule("inbound", PODS, "udp"),
        Rule("outbound", "0.0.0.0/0"),
    ]
    world.group.rules[:] = rules


def somebody_elses_block(world):
    world.vpc.put("theirs", ip_network("10.65.2.0/26"), address="10.9.9.9")


def large_packets(world):
    return replace(world.needs, pod_mtu=1500)


def pool_over_a_subnet(world):
    return replace(world.needs, pools=(IPPool(Metadata("pods"), ip_network("10.0.0.0/16")),), blocks={})


def pool_of_ipv6(world):
    six = IPPool(Metadata("six"), ip_network("fd00::/48"))
    return replace(world.needs, pools=(*world.needs.pools, six))


def native(world):
    return replace(world.needs, native=frozenset({Family.IPV4}))


class TestIbmPreflight(CloudPreflightContract):
    CHECKS = frozenset(Check)
    OBSTACLES = (
        Obstacle("instances denied", denied("list_instances"), Check.PERMISSION, remedy="role Viewer"),
        Obstacle("tables denied", denied("list_vpc_routing_tables"), Check.PERMISSION, remedy="role Viewer"),
        Obstacle(
            "groups denied", denied("list_security_groups"), Check.PERMISSION, Severity.WARNING, remedy="role Viewer"
        ),
        Obstacle("stopped machine", stopped, Check.MACHINES, remedy="start them"),
        Obstacle("no spoofing", no_spoofing, Check.FORWARDING, Severity.WARNING, remedy="--allow-ip-spoofing true"),
        Obstacle(
            "the group itself",
            only_the_group,
            Check.FIREWALL,
            problem=r"pods\) is not let in from 10\.65",
            remedy="security-group-rule-add r010-.* inbound tcp --remote 10.65.0.0/16",
        ),
        Obstacle(
            "no probes",
            no_probes,
            Check.FIREWALL,
            problem=r"udp 4793 \(probes\)",
            remedy="inbound udp .*--port-min 4793 --port-max 4793",
        ),
        Obstacle("no way out", no_way_out, Check.FIREWALL, problem="out to", remedy="outbound"),
        Obstacle("no icmp", no_icmp_of_pods, Check.FIREWALL, problem="^icmp", remedy="inbound icmp"),
        Obstacle(
            "somebody's block",
            somebody_elses_block,
            Check.ROUTES,
            problem="address 10.9.9.9",
            remedy="vpc-routing-table-route-delete r010-.* r010-.* theirs$",
        ),
        Obstacle("large packets", large_packets, Check.MTU, remedy="CLOUDNET_POD_MTU=1450"),
        Obstacle("pool over a subnet", pool_over_a_subnet, Check.ADDRESSES, problem="the subnet 10.0.1.0/24"),
        Obstacle("native addresses", native, Check.ADDRESSES, remedy="native_addresses to none"),
        Obstacle("pool of IPv6", pool_of_ipv6, Check.ADDRESSES, Severity.WARNING, problem="no IPv6 routes"),
    )

    @pytest.fixture
    def world(self, vpc):
        return IbmWorld(vpc)


def test_a_table_that_is_too_small_is_told_with_what_to_do(make_vpc):
    world = IbmWorld(make_vpc(routes_per_table=1))

    wrong = [f for f in world.provider.preflight(world.needs) if f.severity is not Severity.OK]

    assert {(f.check, f.severity) for f in wrong} == {(Check.QUOTA, Severity.BLOCKS), (Check.QUOTA, Severity.WARNING)}
    assert all("routing table of their own" in f.remedy for f in wrong)


def test_a_subnet_whose_table_is_out_of_scope_is_told(make_vpc):
    first = make_vpc()
    world = IbmWorld(make_vpc(routing_table_ids=(first.tables["t-b"],)))

    wrong = [f for f in world.provider.preflight(world.needs) if f.severity is not Severity.OK]

    assert {f.check for f in wrong} == {Check.TABLES}
    assert "routing_table_ids" in wrong[0].remedy
