"""A real agent on a host that nobody has described makes its Node, finds its address, and reaches the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from cloudnet.kernel import netns
from cloudnet.model.addresses import NodeName
from cloudnet.model.calico import affinity_name
from cloudnet.model.resources import BlockAffinity, IPPool, Metadata, Node, Vtep
from cloudnet.store.api import NotFound
from cloudnet.store.registry import open_store

pytestmark = pytest.mark.kernel

NAME = f"cn-find-{os.getpid()}"
HOST = (
    "ip link add eth0 type veth peer name eth0-peer",
    "ip link set eth0-peer up",
    "ip link set eth0 up",
    "ip address add 10.0.0.11/24 dev eth0",
    "ip link add docker0 type bridge",  # looked at first if it were not excluded: it is the last device
    "ip link set docker0 up",
    "ip address add 172.17.0.1/16 dev docker0",
)


class Found:
    """A host with an agent, and the store where another node is known already."""

    def __init__(self, folder, stack):
        self.folder, self.url = folder, f"sqlite://{folder}/store.sqlite"
        stack.enter_context(netns.temporary(NAME))
        for line in HOST:
            netns.execute(NAME, line.split())
        self.store = open_store(self.url)
        stack.callback(self.store.close)
        other, block = NodeName("n2"), ip_network("10.65.0.64/26")
        vtep = Vtep(ip_address("100.64.0.2"), "66:00:00:00:00:02")
        self.store.create(Node(Metadata(other), (ip_interface("10.0.0.12/24"),), (vtep,)))
        self.store.create(IPPool(Metadata("default"), ip_network("10.65.0.0/24")))
        self.store.create(BlockAffinity(Metadata(affinity_name(other, block)), other, block))
        self.stack = stack

    def start(self, *more):
        flags = {
            "node": "n1",
            "store": self.url,
            "socket": self.folder / "agent.sock",
            "cni-socket": self.folder / "cni.sock",
            "cni-state": self.folder / "state" / "cni",
            "state": self.folder / "state",
        }
        words = [str(word) for flag, value in flags.items() for word in (f"--{flag}", value)]
        program = [sys.executable, "-m", "cloudnet.cli.main", "agent", *words, *more]
        with (self.folder / "log").open("ab") as log:
            agent = subprocess.Popen(netns.command_inside(NAME, program), stdout=log, stderr=log)
        self.stack.callback(lambda: (agent.send_signal(signal.SIGTERM), agent.wait(20)))

    def node(self):
        try:
            return self.store.get(Node, "n1").value
        except NotFound:
            return None

    def status(self):
        words = ["node", "status", "--store", self.url, "--socket", str(self.folder / "agent.sock")]
        program = [sys.executable, "-m", "cloudnet.cli.main", *words]
        said = subprocess.run(netns.command_inside(NAME, program), capture_output=True, text=True, check=False)
        return said.stdout

    def wait_for(self, condition):
        end = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < end, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.05)


@pytest.fixture
def host(tmp_path):
    with ExitStack() as stack:
        yield Found(tmp_path, stack)


def test_a_host_that_nobody_described_gets_its_node_its_address_and_a_way_to_the_others(host):
    assert host.node() is None

    host.start("--ip-autodetection-method", "first-found")

    host.wait_for(lambda: host.node() is not None and host.node().addresses)
    assert list(map(str, host.node().addresses)) == ["10.0.0.11/24"]
    host.wait_for(lambda: "10.65.0.64/26" in netns.execute(NAME, ["ip", "route"]))


def test_where_no_device_suits_the_agent_says_what_it_looked_at_and_goes_on_looking(host):
    host.start("--ip-autodetection-method", "cidr=192.0.2.0/24")

    host.wait_for(lambda: "no IPv4 address by cidr=192.0.2.0/24" in (host.folder / "log").read_text())
    said = (host.folder / "log").read_text()
    netns.execute(NAME, ["ip", "address", "add", "192.0.2.7/24", "dev", "eth0"])
    host.wait_for(lambda: host.node().addresses)

    assert "eth0 (10.0.0.11/24)" in said
    assert list(map(str, host.node().addresses)) == ["192.0.2.7/24"]
    host.wait_for(lambda: "192.0.2.7/24 on eth0 by cidr=192.0.2.0/24" in host.status())
