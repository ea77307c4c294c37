"""Native addresses with real packets: prefixes on primary and further interfaces, and answers by the right one."""

from __future__ import annotations

import os
import re
import subprocess
import time
from contextlib import contextmanager
from ipaddress import ip_network

import pytest

from cloudnet.ipam import native
from cloudnet.lab.lab import Lab
from cloudnet.lab.spec import LAB_SETTINGS, OUTSIDE_HOST, LabSpec
from cloudnet.model.cloud_addresses import CloudAddresses
from cloudnet.model.paths import PathKind
from cloudnet.model.resources import BlockAffinity

pytestmark = pytest.mark.lab

NAME = f"a{os.getpid() % 100000}"
PODS = 48  # three prefixes: two fit on a primary interface whose other slots somebody else has
SETTINGS = {
    **LAB_SETTINGS,
    "CLOUDNET_NATIVE_ADDRESSES": "ipv4",
    "CLOUDNET_NATIVE_WARM": str(PODS),
    "CLOUDNET_NATIVE_POD_LIMIT": str(PODS),
}


@contextmanager
def native_lab(name, nodes):
    """A lab where each node has prefixes on two interfaces, and a pod on either; n1 and n3 share a subnet."""
    built = Lab.up(LabSpec(name, nodes=nodes, subnets=2, pods=0, controller=False, settings=SETTINGS))
    names = [record.name for record in built.state.nodes]
    try:
        for record in built.state.nodes:
            built.cloud.occupy(record.interface, 7)
        built.add_outside("s1")
        built.start_controller()
        eventually(lambda: all(len(natives(built, n)) == 3 for n in names))
        for node in names:
            eventually(lambda node=node: has_table(built, node))
            for block in one_of_each_interface(built, node):
                built.add_native_pod(node, block)
        yield built
    finally:
        built.down()


@pytest.fixture(scope="module")
def lab():
    with native_lab(NAME, nodes=3) as built:
        yield built


def eventually(holds, *, within=30.0):
    end = time.monotonic() + within
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.2)


def natives(lab, node):
    """Return the node's native blocks: {block: interface}."""
    store = lab.store()
    try:
        found = [i.value for i in store.list(BlockAffinity).items]
        return {a.cidr: a.meta.labels[native.LABEL] for a in found if native.is_native(a) and a.node == node}
    finally:
        store.close()


def one_of_each_interface(lab, node):
    """Return a block of the node's primary interface, and one of its further one."""
    primary = lab.state.node(node).interface
    blocks = natives(lab, node)
    return (
        next(b for b, i in blocks.items() if i == primary),
        next(b for b, i in blocks.items() if i != primary),
    )


def inside(namespace, *command):
    done = subprocess.run(["ip", "netns", "exec", namespace, *command], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def has_table(lab, node):
    return "default via" in inside(lab.namespace(node), "ip", "route", "show", "table", "4801")[1]


def reaches(lab, source, address, *, within=5.0):
    end = time.monotonic() + within
    while inside(lab.namespace(source), "ping", "-n", "-q", "-c", "2", "-i", "0.05", "-W", "0.5", str(address))[0]:
        if time.monotonic() > end:
            return False
    return True


def sent(lab, node, device):
    """Return how many packets have left a node by a device."""
    shown = inside(lab.namespace(node), "ip", "-s", "link", "show", "dev", device)[1]
    return int(re.search(r"TX:.*\n\s+\d+\s+(\d+)", shown)[1])


def path(lab, node, block):
    return next((p for p in lab.paths(node) if p.block == block), None)


PODS_OF_ALL = [f"{n}/{p}" for n in ("n1", "n2", "n3") for p in ("p1", "p2")]


@pytest.mark.parametrize("source", PODS_OF_ALL)
def test_pods_on_either_interface_reach_all_others(lab, source):
    for other in PODS_OF_ALL:
        if other != source:
            assert reaches(lab, source, lab.pod(other).address), f"{source} to {other}"


@pytest.mark.parametrize("pod", PODS_OF_ALL)
def test_a_host_outside_reaches_pods_without_being_told_a_route_and_they_reach_it(lab, pod):
    assert reaches(lab, "outside", lab.pod(pod).address)
    assert reaches(lab, pod, OUTSIDE_HOST.ip)


def test_native_blocks_are_reached_natively_once_probes_come_back(lab):
    for block in natives(lab, "n2"):
        eventually(lambda block=block: (p := path(lab, "n1", block)) is not None and p.kind is PathKind.NATIVE)


@pytest.mark.parametrize("pod", ["p1", "p2"])
def test_a_black_hole_that_the_cloud_does_not_know_of_is_passed_over_vxlan_by_pods_of_either_interface(lab, pod):
    blocks = [lab.pod(place).block for place in (f"n1/{pod}", f"n2/{pod}")]
    for block in blocks:
        lab.break_("blackhole", target=str(block))
    try:
        eventually(lambda: path(lab, "n1", blocks[1]).kind is PathKind.VXLAN)
        eventually(lambda: path(lab, "n2", blocks[0]).kind is PathKind.VXLAN)

        assert reaches(lab, f"n1/{pod}", lab.pod(f"n2/{pod}").address)
    finally:
        for block in blocks:
            lab.heal("blackhole", target=str(block))
    eventually(lambda: path(lab, "n1", blocks[1]).kind is PathKind.NATIVE)
    eventually(lambda: path(lab, "n2", blocks[0]).kind is PathKind.NATIVE)


def test_answers_leave_by_the_interface_that_owns_the_address(lab):
    before = {device: sent(lab, "n1", device) for device in ("eth0", "eth1")}
    dropped = lab.cloud.stats()["drops"].get("not_owned_source", 0)

    for _ in range(10):
        assert reaches(lab, "outside", lab.pod("n1/p2").address)

    assert sent(lab, "n1", "eth1") - before["eth1"] >= 20
    assert lab.cloud.stats()["drops"].get("not_owned_source", 0) == dropped


def test_a_further_interface_keeps_its_source_check(lab):
    store = lab.store()
    try:
        record = store.get(CloudAddresses, "n1").value
    finally:
        store.close()
    (further,) = (i.id for i in record.interfaces if i.number == 1)

    (shown,) = lab.cloud.call("describe_network_interfaces", NetworkInterfaceIds=[further])["NetworkInterfaces"]

    assert shown["SourceDestCheck"] is True
    assert {t["Key"]: t["Value"] for t in shown["TagSet"]}["cloudnet.io/cluster"] == NAME
    assert shown["Attachment"]["DeleteOnTermination"] is True


def test_single_addresses_of_others_are_left_alone(lab):
    (shown,) = lab.cloud.call("describe_network_interfaces", NetworkInterfaceIds=[lab.state.node("n1").interface])[
        "NetworkInterfaces"
    ]

    assert len([a for a in shown["PrivateIpAddresses"] if not a["Primary"]]) == 7
    assert len(shown["Ipv4Prefixes"]) == 2
    assert all(ip_network(p["Ipv4Prefix"]).prefixlen == 28 for p in shown["Ipv4Prefixes"])


def test_programs_that_restart_disturb_no_pod_and_ask_the_cloud_for_nothing():
    with native_lab(f"b{os.getpid() % 100000}", nodes=2) as lab:
        before = address_calls(lab)
        command = ["ping", "-n", "-q", "-c", "100", "-i", "0.05", str(lab.pod("n1/p2").address)]
        with subprocess.Popen(
            ["ip", "netns", "exec", lab.namespace("n2/p1"), *command], stdout=subprocess.PIPE, text=True
        ) as ping:
            for node in ("n1", "n2"):
                lab.kill_agent(node)
                lab.start_agent(node)
            lab.kill_controller()
            lab.start_controller()
            lab.wait_agents()
            said, _ = ping.communicate(timeout=30)

        assert " 100 received" in said
        assert address_calls(lab) == before
        assert len(natives(lab, "n1")) == 3


def address_calls(lab):
    """Return how often the account asked for changes of addresses and interfaces."""
    changes = ("Assign", "Unassign", "CreateNetwork", "Attach", "Detach", "DeleteNetwork")
    return {call: number for call, number in lab.status().calls.items() if call.startswith(changes)}
