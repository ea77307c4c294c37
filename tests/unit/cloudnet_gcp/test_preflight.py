"""The look before the first write, on the lab's network through the real SDK: each obstacle alone, and none."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from cloudnet.lab.clouds.conditions import Conditions
from cloudnet.lab.clouds.gcp.plane import PROJECT
from cloudnet.lab.clouds.gcp.state import URL
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.resources import IPPool, Metadata
from cloudnet.provider.preflight import Check, Needs, Severity
from cloudnet.testing.preflight import CloudPreflightContract, Obstacle

PODS, NODES = "10.65.0.0/16", "10.0.0.0/16"
READS = ("get", "list", "aggregatedList", "testIamPermissions")
ALL = [{"IPProtocol": "all"}]


class Network:
    """The network of this folder's tests, its machines made to forward, its rules open to nodes and pods."""

    def __init__(self, vpc):
        self.vpc, self.provider, self.google = vpc, vpc.provider, vpc.google
        self.url = f"projects/{PROJECT}/global/networks/{vpc.config.network}"
        vpc.let_everybody_forward()
        self.change(mtu=1460)
        self.allow("nodes", sourceRanges=[NODES])
        self.allow("pods", sourceRanges=[PODS])
        self.needs = Needs(
            nodes=tuple(vpc.nodes),
            pools=(IPPool(Metadata("pods"), ip_network(PODS)),),
            blocks={NodeName(f"n{k}"): (ip_network(f"10.65.{k}.0/26"),) for k in (1, 2, 3)},
        )

    def change(self, **fields):
        self.google.project.resources[self.url] |= fields

    def allow(self, name, **fields):
        self.rule(name, allowed=fields.pop("allowed", ALL), **fields)

    def rule(self, name, **fields):
        kept = {"network": URL + self.url, "direction": "INGRESS", "priority": 1000}
        self.vpc.put(f"global/firewalls/{name}", kept | fields)

    def forget(self, name):
        del self.google.project.resources[f"projects/{PROJECT}/global/firewalls/{name}"]

    def machine(self, name):
        return next(m for _, m in self.google.project.of("instances") if m["name"] == name)

    def subnet(self, name):
        return next(s for _, s in self.google.project.of("subnetworks") if s["name"] == name)

    def writes(self):
        return sorted(call for call in self.google.simulator.counts if call.rpartition(".")[2] not in READS)

    def cut_off(self):
        self.google.conditions = Conditions(api="unavailable")


def denied(*calls):
    def plant(world):
        world.google.conditions = replace(world.google.conditions, denied=frozenset(calls))

    return plant


def may_not_forward(world):
    world.machine("vm-2")["canIpForward"] = False


def stopped(world):
    world.machine("vm-1")["status"] = "TERMINATED"


def tags_alone(world):
    """Let nodes in by their tag: that is their own addresses and no pod's."""
    for _, machine in world.google.project.of("instances"):
        machine["tags"] = {"items": ["node"]}
    world.forget("nodes")
    world.forget("pods")
    world.allow("nodes", sourceTags=["node"], targetTags=["node"])


def one_without_the_tag(world):
    for name in ("vm-1", "vm-2"):
        world.machine(name)["tags"] = {"items": ["node"]}
    world.forget("pods")
    world.allow("pods", sourceRanges=[PODS], targetTags=["node"])


def only_another_account(world):
    world.machine("vm-3")["serviceAccounts"] = [{"email": "nodes@lab.iam.gserviceaccount.com"}]
    world.forget("nodes")
    world.allow("nodes", sourceRanges=[NODES], targetServiceAccounts=["others@lab.iam.gserviceaccount.com"])
    world.allow("known", sourceRanges=[NODES], targetServiceAccounts=["nodes@lab.iam.gserviceaccount.com"])


def switched_off(world):
    world.forget("pods")
    world.allow("pods", sourceRanges=[PODS], disabled=True)


def some_ports(world):
    world.forget("nodes")
    world.allow("nodes", sourceRanges=[NODES], allowed=[{"IPProtocol": "udp", "ports": ["4789", "9000-9100"]}])


def a_denial_before(world):
    world.rule(
        "no-vxlan", denied=[{"IPProtocol": "udp", "ports": ["4789"]}], sourceRanges=["10.0.3.0/24"], priority=900
    )


def a_denial_of_the_same_priority(world):
    world.rule("no-vxlan", denied=[{"IPProtocol": "17", "ports": ["4780-4790"]}], sourceRanges=["0.0.0.0/0"])


def a_denial_on_the_way_out(world):
    world.rule("no-way-out", denied=ALL, direction="EGRESS", destinationRanges=[PODS], priority=65534)


def icmp_alone_is_missing(world):
    world.forget("pods")
    world.allow("pods", sourceRanges=[PODS], allowed=[{"IPProtocol": "tcp"}, {"IPProtocol": "udp"}])


def some_destinations(world):
    world.forget("pods")
    world.allow("pods", sourceRanges=[PODS], destinationRanges=["10.65.1.0/26"])


def a_policy(world):
    world.change(firewallPolicy=URL + f"projects/{PROJECT}/global/firewallPolicies/corp")


def somebody_elses_block(world):
    world.vpc.put_raw("theirs", ip_network("10.65.2.0/26"), nextHopIp="10.0.1.99")


def full(world):
    world.google.conditions = Conditions(routes_per_table=2)


def nearly_full(world):
    world.google.conditions = Conditions(routes_per_table=3)


def large_packets(world):
    return replace(world.needs, pod_mtu=1460)


def jumbo(world):
    world.change(mtu=8896)


def small(world):
    world.change(mtu=1300)


def pool_over_a_subnet(world):
    return replace(world.needs, pools=(IPPool(Metadata("pods"), ip_network(NODES)),), blocks={})


def pool_over_a_secondary_range(world):
    world.allow("more", sourceRanges=["10.201.0.0/16"])
    return replace(world.needs, pools=(IPPool(Metadata("pods"), ip_network("10.201.0.0/16")),), blocks={})


class TestGcpPreflight(CloudPreflightContract):
    CHECKS = frozenset(Check)
    OBSTACLES = (
        Obstacle(
            "may not forward",
            may_not_forward,
            Check.FORWARDING,
            problem="nothing can change later",
            remedy="instances delete vm-2 --project lab --zone here-a.* --can-ip-forward",
        ),
        Obstacle("routes denied", denied("compute.routes.list"), Check.PERMISSION, remedy="compute.routes.list$"),
        Obstacle(
            "instances denied",
            denied("compute.instances.aggregatedList"),
            Check.PERMISSION,
            remedy="roles update cloudnet_test --project lab --add-permissions compute.instances.list$",
        ),
        Obstacle(
            "inserts denied", denied("compute.routes.insert"), Check.PERMISSION, remedy="compute.routes.create$"
        ),
        Obstacle("quota denied", denied("compute.projects.get"), Check.PERMISSION, Severity.WARNING),
        Obstacle("rules denied", denied("compute.firewalls.list"), Check.PERMISSION, Severity.WARNING),
        Obstacle("network denied", denied("compute.networks.get"), Check.PERMISSION, Severity.WARNING),
        Obstacle("subnets denied", denied("compute.subnetworks.aggregatedList"), Check.PERMISSION, Severity.WARNING),
        Obstacle(
            "nobody tells",
            denied("cloudresourcemanager.projects.testIamPermissions"),
            Check.PERMISSION,
            Severity.WARNING,
            remedy="Cloud Resource Manager API",
        ),
        Obstacle("stopped machine", stopped, Check.MACHINES, remedy="start them"),
        Obstacle(
            "tags alone",
            tags_alone,
            Check.FIREWALL,
            problem=r"tcp, udp, icmp \(pods\) is not let in from 10\.65\.0\.0/16",
            remedy="--direction INGRESS --priority 1000 --allow tcp,udp,icmp "
            "--source-ranges 10.65.0.0/16 --target-tags node$",
        ),
        Obstacle("one without the tag", one_without_the_tag, Check.FIREWALL, problem="not let in from 10.65.0.0/16"),
        Obstacle("another account", only_another_account, Check.FIREWALL, problem="udp 4789"),
        Obstacle("switched off", switched_off, Check.FIREWALL, problem=r"\(pods\) is not let in"),
        Obstacle(
            "some ports", some_ports, Check.FIREWALL, problem=r"udp 4793 \(probes\)", remedy="--allow udp:4793 "
        ),
        Obstacle(
            "denied before",
            a_denial_before,
            Check.FIREWALL,
            problem="udp 4789 .* in from 10.0.3.0/24",
            remedy="--priority 899 --allow udp:4789 --source-ranges 10.0.3.0/24$",
        ),
        Obstacle(
            "denied at the same priority",
            a_denial_of_the_same_priority,
            Check.FIREWALL,
            problem="udp 4789",
            remedy="--priority 999 ",
        ),
        Obstacle(
            "denied on the way out",
            a_denial_on_the_way_out,
            Check.FIREWALL,
            problem=r"\(pods\) is not let out to 10\.65",
            remedy="create cloudnet-pods-egress-ipv4 .*--direction EGRESS .* --destination-ranges 10.65.0.0/16",
        ),
        Obstacle("no icmp", icmp_alone_is_missing, Check.FIREWALL, problem="^icmp", remedy="--allow icmp "),
        Obstacle("some destinations", some_destinations, Check.FIREWALL, problem=r"\(pods\) is not let in"),
        Obstacle("policy", a_policy, Check.FIREWALL, Severity.WARNING, remedy="describe corp$"),
        Obstacle(
            "somebody's block", somebody_elses_block, Check.ROUTES, remedy="routes delete theirs --project lab$"
        ),
        Obstacle("full", full, Check.QUOTA, problem="3 are wanted .* and 2 fit", remedy="ask for 6 static routes"),
        Obstacle("nearly full", nearly_full, Check.QUOTA, Severity.WARNING),
        Obstacle("large packets", large_packets, Check.MTU, remedy="CLOUDNET_POD_MTU=1410"),
        Obstacle("jumbo", jumbo, Check.MTU, Severity.WARNING, problem="smaller", remedy="set mtu to 8896"),
        Obstacle("small", small, Check.MTU, problem="carries 1300 bytes: larger packets are lost"),
        Obstacle("pool over a subnet", pool_over_a_subnet, Check.ADDRESSES, problem="subnet s1 10.0.1.0/24"),
        Obstacle(
            "pool over a range", pool_over_a_secondary_range, Check.ADDRESSES, problem="range pods of subnet s1"
        ),
    )

    @pytest.fixture
    def world(self, make_world):
        return Network(make_world(conditions=Conditions(routes_per_table=300)))


@pytest.fixture
def native(make_world):
    """Return a network whose pods shall have alias ranges."""
    world = Network(make_world(pod_range="pods"))
    world.needs = replace(world.needs, native=frozenset({Family.IPV4}))
    return world


def wrong(world):
    return [f for f in world.provider.preflight(world.needs) if f.severity is not Severity.OK]


def test_what_nothing_can_change_later_is_said_first(make_world):
    world = Network(make_world())
    may_not_forward(world)
    stopped(world)

    assert world.provider.preflight(world.needs)[0].check is Check.FORWARDING


def test_native_addresses_need_no_machine_that_forwards(native):
    may_not_forward(native)

    assert [(f.check, f.severity) for f in wrong(native)] == [(Check.FORWARDING, Severity.WARNING)]


def test_native_addresses_are_free_for_every_node(native):
    assert wrong(native) == []
    assert "native IPv4 addresses in 3 subnets" in {f.subject for f in native.provider.preflight(native.needs)}


def test_native_addresses_need_a_range_to_come_from(make_world):
    world = Network(make_world())
    world.needs = replace(world.needs, native=frozenset({Family.IPV4}))

    (found,) = wrong(world)

    assert (found.check, found.severity, found.remedy) == (
        Check.ADDRESSES,
        Severity.BLOCKS,
        "set pod_range in the provider's settings",
    )


def test_a_subnet_without_the_range_is_told_with_the_command_that_adds_it(native):
    del native.subnet("s2")["secondaryIpRanges"]

    (found,) = wrong(native)

    assert (found.check, found.severity) == (Check.ADDRESSES, Severity.BLOCKS)
    assert found.problem == "0 are free, so there are none for n2"
    assert found.remedy.startswith("gcloud compute networks subnets update s2 --project lab --region here ")
    assert "--add-secondary-ranges pods=" in found.remedy


def test_a_range_that_is_full_blocks_the_nodes_that_hold_nothing(native):
    native.subnet("s1")["secondaryIpRanges"] = [{"rangeName": "pods", "ipCidrRange": "10.201.0.0/28"}]
    native.machine("vm-1")["networkInterfaces"][0]["aliasIpRanges"] = [
        {"ipCidrRange": "10.201.0.0/28", "subnetworkRangeName": "pods"}
    ]
    assert wrong(native) == []

    native.vpc.nodes.append(native.vpc.add_node(1, name="vm-4", number=4))
    native.needs = replace(native.needs, nodes=tuple(native.vpc.nodes))
    native.vpc.let_everybody_forward()

    (found,) = wrong(native)
    assert found.problem == "0 are free, so there are none for n4"


def test_permissions_for_native_addresses_are_asked_about_where_they_are_wanted(make_world, native):
    denied("compute.instances.updateNetworkInterface")(native)
    plain = Network(make_world())
    denied("compute.instances.updateNetworkInterface")(plain)

    assert {f.subject for f in wrong(native)} == {"compute.instances.updateNetworkInterface"}
    assert wrong(plain) == []


def test_a_permission_that_is_missing_is_told_once(make_world):
    world = Network(make_world())
    denied("compute.routes.list")(world)

    assert [f.subject for f in wrong(world)] == ["compute.routes.list"]
