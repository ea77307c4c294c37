"""Real packets through the lab's Google, and a short demo on it: no L2, one network of routes, alias ranges."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from cloudnet.lab.lab import Lab
from cloudnet.lab.spec import LabSpec
from cloudnet.model.paths import PathKind, Reason

pytestmark = pytest.mark.lab

NAME = f"g{os.getpid() % 100000}"
DEMO = f"gd{os.getpid() % 100000}"
CLOSED = f"gc{os.getpid() % 100000}"
PROPAGATION = 0.2
SOON = 20.0


@pytest.fixture(scope="module")
def bare():
    """A lab without agents, whose nodes send all pod addresses to their subnet's router; n1 and n3 share a subnet."""
    built = Lab.up(LabSpec(NAME, nodes=3, subnets=2, pods=1, cloud="gcp", agents=False, controller=False))
    try:
        yield built
    finally:
        built.down()


@pytest.fixture
def lab(bare):
    """The lab without a route to any pod."""
    yield bare
    for record in bare.state.nodes:
        bare.cloud.delete_route("vpc", record.blocks[0])
    bare.cloud.sync()


def reaches(lab, source, destination, *, within=SOON):
    """Tell whether a pod's packets arrive at another pod, and the answers come back, soon."""
    return answers(lab, source, str(lab.pod(destination).address), within=within)


def answers(lab, source, address, *, within=SOON):
    end = time.monotonic() + within
    ping = ["ip", "netns", "exec", lab.pod(source).namespace, "ping", "-n", "-q", "-c", "1", "-W", "0.3", address]
    while subprocess.run(ping, capture_output=True, check=False).returncode != 0:
        if time.monotonic() > end:
            return False
    return True


def is_lost(lab, source, destination):
    """Tell whether packets come to vanish, once the fabric has had its time to follow."""
    end = time.monotonic() + SOON
    while reaches(lab, source, destination, within=0.5):
        if time.monotonic() > end:
            return False
    return True


def program(lab, node, *, priority=1000, to=""):
    target = lab.state.node(to or node).instance
    zone, _, name = target.partition("/")
    body = {
        "name": f"test-{node}-{name}",
        "network": "projects/lab/global/networks/vpc",
        "destRange": str(lab.state.node(node).blocks[0]),
        "priority": priority,
        "nextHopInstance": f"projects/lab/zones/{zone}/instances/{name}",
    }
    lab.cloud.api("POST", "global/routes", body)


def test_without_a_route_packets_go_nowhere_inside_a_subnet_and_between(lab):
    assert is_lost(lab, "n1/p1", "n2/p1")
    assert is_lost(lab, "n1/p1", "n3/p1")


@pytest.mark.parametrize("other", ["n2", "n3"], ids=["another subnet", "the same subnet"])
def test_one_route_each_serves_the_whole_network(lab, other):
    program(lab, "n1")
    program(lab, other)

    assert reaches(lab, "n1/p1", f"{other}/p1")


def test_a_neighbours_mac_is_no_way_around_the_router(lab):
    there = lab.state.node("n3")
    namespace, block = lab.node("n1").namespace, str(there.blocks[0])
    way = ["ip", "-n", namespace, "route", "replace", block, "via", str(there.address.ip), "dev", "eth0", "onlink"]
    subprocess.run(way, check=True)
    program(lab, "n1")

    try:
        assert is_lost(lab, "n1/p1", "n3/p1")
        program(lab, "n3")
        assert reaches(lab, "n1/p1", "n3/p1")
    finally:
        subprocess.run(["ip", "-n", namespace, "route", "del", block], check=True)


def test_the_better_priority_has_the_packets(lab):
    program(lab, "n1")
    program(lab, "n2")
    assert reaches(lab, "n1/p1", "n2/p1")

    program(lab, "n2", priority=999, to="n3")

    assert is_lost(lab, "n1/p1", "n2/p1")


def test_an_alias_range_is_delivered_to_its_interface_without_any_route(lab):
    program(lab, "n1")
    inside = ["ip", "-n", lab.node("n2").namespace, "address", "add", "10.202.0.1/32", "dev", "lo"]
    subprocess.run(inside, check=True)
    set_aliases(lab, "n2", [{"ipCidrRange": "10.202.0.0/28", "subnetworkRangeName": "pods"}])

    assert answers(lab, "n1/p1", "10.202.0.1")

    set_aliases(lab, "n2", [])
    time.sleep(PROPAGATION + 0.2)
    assert not answers(lab, "n1/p1", "10.202.0.1", within=0.5)


def set_aliases(lab, node, aliases):
    zone, _, name = lab.state.node(node).instance.partition("/")
    path = f"zones/{zone}/instances/{name}"
    nic = lab.cloud.api("GET", path)["networkInterfaces"][0]
    body = {"fingerprint": nic["fingerprint"], "aliasIpRanges": aliases}
    lab.cloud.api("PATCH", f"{path}/updateNetworkInterface?networkInterface=nic0", body)


def close(lab, node):
    """Make a node's machine anew, as one that may not forward."""
    record = lab.state.node(node)
    zone, _, name = record.instance.partition("/")
    machine = lab.cloud.api("GET", f"zones/{zone}/instances/{name}")
    lab.cloud.terminate(record.instance)
    nics = [{key: nic[key] for key in ("subnetwork", "networkIP")} for nic in machine["networkInterfaces"]]
    lab.cloud.api("POST", f"zones/{zone}/instances", {"name": name, "networkInterfaces": nics})
    lab.cloud.sync()


@pytest.fixture
def closed():
    """A lab with the cloud's addresses on machines that may not forward; p1 has one of the pool, p2 of the cloud."""
    wanted = LabSpec(
        CLOSED, nodes=2, subnets=2, pods=1, cloud="gcp", addresses="native", agents=False, controller=False
    )
    built = Lab.up(wanted)
    try:
        for record in built.state.nodes:
            close(built, record.name)
        built.start_controller()
        for record in built.state.nodes:
            built.start_agent(record.name)
            assert eventually(lambda node=record.name: built.supply(node)[0] > 0)
            built.start_pod(record.name)
        yield built
    finally:
        built.down()


def eventually(holds, *, within=SOON):
    end = time.monotonic() + within
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def chosen(lab, node, place):
    """Return the path from a node to a pod's block."""
    block = lab.pod(place).block
    return next((path for path in lab.paths(node) if path.block == block), None)


def is_native(lab, node, place):
    path = chosen(lab, node, place)
    return path is not None and path.kind is PathKind.NATIVE


def test_without_forwarding_pods_with_the_clouds_addresses_go_natively_and_others_by_vxlan(closed):
    assert eventually(lambda: is_native(closed, "n1", "n2/p2") and is_native(closed, "n2", "n1/p2"))
    before = closed.cloud.stats()["drops"]

    met = [reaches(closed, f"n1/{a}", f"n2/{b}", within=5.0) for a in ("p1", "p2") for b in ("p1", "p2")]

    assert met == [True] * 4
    assert closed.cloud.stats()["drops"] == before, "nothing was sent from an address that is not the machine's"
    assert chosen(closed, "n1", "n2/p1").reason is Reason.POOL_MODE
    assert "go over VXLAN" in chosen(closed, "n1", "n2/p2").detail


def test_a_machine_made_without_forwarding_neither_sends_nor_gets_what_is_not_its_own(lab):
    program(lab, "n1")
    program(lab, "n2")
    assert reaches(lab, "n1/p1", "n2/p1")
    before = lab.cloud.stats()["drops"]

    close(lab, "n2")

    assert is_lost(lab, "n1/p1", "n2/p1")
    assert is_lost(lab, "n2/p1", "n1/p1")
    assert lab.cloud.stats()["drops"]["not_owned_source"] > before["not_owned_source"]


@pytest.mark.timeout(300)
def test_a_short_demo_keeps_every_promise(demo):
    chosen = ("--only", "foreign-route", "--only", "quota", "--only", "delete-route")

    result = demo("--cloud", "gcp", "--name", DEMO, "--nodes", 3, "--pods", 1, *chosen)

    reasons = {step["fault"]: {path["reason"] for path in step["paths"]} for step in result["steps"]}
    assert {"foreign-route", "quota", "delete-route"} <= reasons.keys()
