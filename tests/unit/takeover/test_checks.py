"""What is found on a node, what stands in the way, and which steps follow: tables of values."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface, ip_network

import pytest

from cloudnet.kernel import iptables
from cloudnet.kernel.api import Link
from cloudnet.model.addresses import NodeName
from cloudnet.model.resources import BlockAffinity, EncapMode, IPPool, Metadata, Node
from cloudnet.takeover import checks, detect, plan
from cloudnet.takeover.checks import Verdict
from cloudnet.takeover.facts import LABEL, Configuration, Facts, Held, Plugin, Wanted

BLOCK = ip_network("10.244.1.0/24")
POOL = ip_network("10.244.0.0/16")
NODE = Node(Metadata("n1"), (ip_interface("10.0.0.11/24"),), pod_cidrs=(BLOCK,))
ETH0 = Link("eth0", 2, 1500, up=True, addresses=(ip_interface("10.0.0.11/24"),))
KUBENET = Configuration("10-containerd-net.conflist", "kubenet", (Plugin("bridge", "cbr0", "host-local"),))
FLANNEL = Configuration("10-flannel.conflist", "cbr0", (Plugin("flannel"), Plugin("portmap")))
AWS = Configuration("10-aws.conflist", "aws-cni", (Plugin("aws-cni"), Plugin("portmap")))
AZURE = Configuration("10-azure.conflist", "azure", (Plugin("azure-vnet", "azure0"),))
CALICO = Configuration("10-calico.conflist", "k8s-pod-network", (Plugin("calico"), Plugin("bandwidth")))
OURS = Configuration("10-cloudnet.conflist", "kubenet", (Plugin("cloudnet"),))


def bridge(name, address="10.244.1.1/24"):
    return Link(name, 3, 1500, up=True, addresses=(ip_interface(address),))


def facts(*configurations, **more):
    links = {"eth0": ETH0, "cbr0": bridge("cbr0"), "cni0": bridge("cni0")}
    return Facts(**{"node": NODE, "configurations": configurations, "links": links, "agent_answers": True, **more})


def verdicts(of, wanted):
    found = detect.predecessor(of, ours="cloudnet")
    return {c.name: c for c in checks.before(of, found, wanted)}


@pytest.mark.parametrize(
    ("configurations", "kind"),
    [
        ((KUBENET,), "kubenet"),
        ((FLANNEL,), "flannel"),
        ((AWS,), "vpc-cni"),
        ((AZURE,), "azure-cni"),
        ((CALICO,), "calico"),
        ((OURS, KUBENET), "kubenet"),
        ((OURS,), None),
        ((Configuration("10-broken.conflist"),), None),
        ((), None),
    ],
)
def test_a_predecessor_is_known_by_its_plugin(configurations, kind):
    found = detect.predecessor(facts(*configurations), ours="cloudnet")

    assert (found.kind if found else None) == kind


def test_ours_takes_along_the_plugins_that_it_knows():
    assert detect.predecessor(facts(CALICO), ours="cloudnet").chain == ("bandwidth",)


GOOD = facts(KUBENET)
TWO = replace(NODE, pod_cidrs=(BLOCK, ip_network("fd00::/64")))
IN_THE_WAY = {
    "no agent": (replace(GOOD, agent_answers=False, agent="no agent answers"), "agent", "start the agent"),
    "another machine": (replace(GOOD, links={"cbr0": bridge("cbr0")}), "node address", "--node"),
    "no range": (replace(GOOD, node=replace(NODE, pod_cidrs=())), "pod range", "--allocate-node-cidrs"),
    "both families": (replace(GOOD, node=TWO), "families", "drain"),
    "no bridge": (replace(GOOD, links={"eth0": ETH0}), "bridge", "first pod"),
    "another range": (replace(GOOD, links={"eth0": ETH0, "cbr0": bridge("cbr0", "10.9.0.1/24")}), "bridge", "agree"),
    "wrong blocks": (replace(GOOD, pools=(IPPool(Metadata("p"), POOL),)), "pool", "blockSize 24"),
    "not in the range": (replace(GOOD, node=replace(NODE, pod_cidrs=(ip_network("10.9.0.0/24"),))), "pool", "whole"),
    "an older range": (
        replace(GOOD, held={"kubenet": (Held(ip_interface("10.9.0.5/32").ip, "c"),)}),
        "addresses",
        "delete them",
    ),
    "a rival": (
        replace(GOOD, affinities=(BlockAffinity(Metadata("a"), NodeName("n2"), BLOCK),)),
        "owner",
        "release these",
    ),
    "in use is another": (
        replace(GOOD, configurations=(replace(AWS, file="05-x.conflist", plugins=(Plugin("x"),)), KUBENET)),
        "configuration",
        "remove what is not in use",
    ),
    "other books": (
        facts(replace(KUBENET, plugins=(Plugin("bridge", "cbr0", "host-local", "/run/books"),)), books="/var/lib"),
        "addresses",
        "--networks /run/books",
    ),
    "calico runs": (facts(CALICO, calico_runs=True), "calico-node", "nodeSelector"),
    "calico by bgp": (facts(CALICO, pools=(IPPool(Metadata("p"), POOL),)), "pools", "VXLAN for all"),
    "calico by nftables": (facts(CALICO, calico_nftables=True), "rules", "nftablesMode: Disabled"),
    "no pool beside the cloud's": (facts(AWS), "pool", "--pool"),
}


@pytest.mark.parametrize("name", IN_THE_WAY)
def test_what_stands_in_the_way_is_told_with_a_remedy(name):
    of, check, remedy = IN_THE_WAY[name]
    wanted = Wanted() if name.startswith("no pool") else Wanted(POOL)

    found = verdicts(of, wanted)[check]

    assert found.verdict is Verdict.BLOCKS
    assert remedy in found.remedy


@pytest.mark.parametrize(
    ("of", "wanted"),
    [
        (GOOD, Wanted(POOL)),
        (replace(GOOD, pools=(IPPool(Metadata("p"), POOL, block_size=24),)), Wanted()),
        (facts(FLANNEL), Wanted(POOL)),
        (facts(AWS), Wanted(POOL)),
        (facts(CALICO, pools=(IPPool(Metadata("p"), POOL, vxlan_mode=EncapMode.ALWAYS),)), Wanted()),
    ],
    ids=["kubenet", "a pool is there", "flannel", "vpc-cni", "calico"],
)
def test_a_node_that_is_as_it_should_be_may_be_taken(of, wanted):
    assert not checks.blocked(verdicts(of, wanted).values())


def test_addresses_of_the_cloud_are_no_pool_of_ours():
    assert verdicts(facts(AWS), Wanted(ip_network("10.0.0.0/16")))["pool"].verdict is Verdict.BLOCKS


@pytest.mark.parametrize(
    ("configuration", "names"),
    [
        (KUBENET, ["guard", "pool", "reserve", "close", "claim", "set", "set", "agent", "cni"]),
        (FLANNEL, ["guard", "pool", "reserve", "close", "claim", "set", "set", "agent", "cni"]),
        (AWS, ["pool", "agent", "routes", "cni"]),
        (CALICO, ["lower", "agent", "chains", "cni"]),
    ],
)
def test_the_steps_of_each_predecessor_end_with_its_configuration(configuration, names):
    of = facts(configuration)

    steps = plan.steps(plan.job(of, detect.predecessor(of, ours="cloudnet"), Wanted(POOL)))

    assert [step.name.split()[0] for step in steps] == names
    assert len({step.name for step in steps}) == len(steps)


def test_a_persons_pool_is_left_to_the_person_and_a_takeovers_is_gone_through_again():
    found = detect.predecessor(GOOD, ours="cloudnet")
    theirs = replace(GOOD, pools=(IPPool(Metadata("p"), POOL, block_size=24),))
    made = replace(GOOD, pools=(IPPool(Metadata("takeover", labels={LABEL: "made"}), POOL, block_size=24),))

    assert plan.job(theirs, found, Wanted()).pool is None
    assert plan.job(made, found, Wanted()).pool == POOL


def test_chains_of_another_program_are_removed_with_what_leads_to_them_and_nothing_else():
    saved = """# Generated
*filter
:FORWARD ACCEPT [0:0]
:cali-FORWARD - [0:0]
:KUBE-FORWARD - [0:0]
-A FORWARD -m comment --comment "cali:wUHh" -j cali-FORWARD
-A FORWARD -j KUBE-FORWARD
-A FORWARD -m comment --comment "cali:S93h" -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-FORWARD -j DROP
COMMIT
*nat
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -j MASQUERADE
COMMIT
"""

    assert iptables.removal(saved, "cali-", "cali:").splitlines() == [
        "*filter",
        '-D FORWARD -m comment --comment "cali:wUHh" -j cali-FORWARD',
        '-D FORWARD -m comment --comment "cali:S93h" -m mark --mark 0x10000/0x10000 -j ACCEPT',
        "-F cali-FORWARD",
        "-X cali-FORWARD",
        "COMMIT",
    ]
