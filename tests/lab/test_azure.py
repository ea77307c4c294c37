"""The lab's Azure on the real kernel: its fabric's own semantics, and a short demo that keeps every promise."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from cloudnet.lab.lab import Lab
from cloudnet.lab.spec import LabSpec

pytestmark = pytest.mark.lab

NAME = "tazure"
SOON = 20.0
SEND_IPIP = "import socket, sys; socket.socket(2, socket.SOCK_RAW, 4).sendto(bytes(40), (sys.argv[1], 0))"


def reaches(lab, source, destination, *, within=SOON):
    """Tell whether a ping comes back, asking again until it does or the time is over."""
    end = time.monotonic() + within
    command = ["ip", "netns", "exec", lab.namespace(source), "ping", "-n", "-c", "1", "-W", "1"]
    while True:
        address = lab.pod(destination).address if "/" in destination else lab.state.node(destination).address.ip
        if subprocess.run([*command, str(address)], capture_output=True, check=False).returncode == 0:
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.1)


def is_lost(lab, source, destination):
    """Tell whether packets come to vanish, once the fabric has had its time to follow."""
    end = time.monotonic() + SOON
    while reaches(lab, source, destination, within=0.5):
        if time.monotonic() > end:
            return False
    return True


def program(lab, table, node):
    record = lab.state.node(node)
    hop = {"nextHopType": "VirtualAppliance", "nextHopIpAddress": str(record.address.ip)}
    properties = {"addressPrefix": str(record.blocks[0]), **hop}
    lab.cloud.arm("PUT", f"routeTables/rt-{table}/routes/{node}", {"properties": properties})


def forward(lab, node):
    """Switch IP forwarding on, of a node that is no scale set's."""
    name = lab.state.node(node).interface.rpartition("/")[2]
    body = lab.cloud.arm("GET", f"networkInterfaces/{name}")
    body["properties"]["enableIPForwarding"] = True
    lab.cloud.arm("PUT", f"networkInterfaces/{name}", body)


@pytest.fixture(scope="module")
def bare():
    """A lab without agents, all in one subnet; n2 and n4 are machines of their own, n1 and n3 a scale set's."""
    built = Lab.up(LabSpec(NAME, nodes=4, subnets=1, pods=1, cloud="azure", agents=False, controller=False))
    try:
        yield built
    finally:
        built.down()


def test_inside_a_subnet_pods_need_routes_and_forwarding_too(bare):
    assert reaches(bare, "n2", "n4")
    program(bare, "s1", "n2")
    program(bare, "s1", "n4")
    assert is_lost(bare, "n2/p1", "n4/p1")

    forward(bare, "n2")
    assert is_lost(bare, "n2/p1", "n4/p1")
    forward(bare, "n4")

    assert reaches(bare, "n2/p1", "n4/p1")


def test_the_fabric_carries_no_ipip(bare):
    before = bare.cloud.stats()["drops"]["refused_protocol"]

    target = str(bare.state.node("n4").address.ip)
    subprocess.run(["ip", "netns", "exec", bare.namespace("n2"), sys.executable, "-c", SEND_IPIP, target], check=True)

    assert bare.cloud.stats()["drops"]["refused_protocol"] == before + 1
    assert reaches(bare, "n2", "n4")


@pytest.mark.timeout(300)
def test_a_short_demo_keeps_every_promise(demo):
    chosen = ("--only", "quota", "--only", "delete-route", "--only", "stop-node")

    result = demo("--cloud", "azure", "--name", f"{NAME}d", "--nodes", 3, "--pods", 1, *chosen)

    paths = {(s["fault"], p["after"], p["reason"]) for s in result["steps"] for p in s["paths"]}
    assert {("quota", "vxlan", "quota"), ("stop-node", "vxlan", "black-holed")} <= paths
