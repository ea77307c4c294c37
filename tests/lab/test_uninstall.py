"""A real agent comes and goes, and the host is as it was before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from cloudnet.kernel import netns
from cloudnet.kernel.pods import Owner
from cloudnet.model.addresses import NodeName
from cloudnet.model.calico import affinity_name
from cloudnet.model.resources import BlockAffinity, IPPool, Metadata, Node, Vtep
from cloudnet.store.registry import open_store

pytestmark = pytest.mark.kernel

NAME = f"cn-leave-{os.getpid()}"
WATCHED = ("net.ipv4.ip_forward", "net.ipv4.conf.eth0.rp_filter", "net.netfilter.nf_conntrack_tcp_be_liberal")


class Host:
    """A node with another one to reach, and an agent that can be told to leave."""

    def __init__(self, folder, stack):
        self.folder, self.url = folder, f"sqlite://{folder}/store.sqlite"
        stack.enter_context(netns.temporary(NAME))
        off = "net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1"
        for line in (
            f"sysctl -qw {off} net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1",
            "ip link add eth0 type veth peer name eth0-peer",
            "ip link set eth0-peer up",
            "ip link set eth0 up",
            "ip address add 10.0.0.11/24 dev eth0",
            "ip route add default via 10.0.0.1",
            "nft add table inet firewall",
        ):
            self.run(line)
        with_store = open_store(self.url)
        stack.callback(with_store.close)
        for k in (1, 2):
            vtep = Vtep(ip_address(f"100.64.0.{k}"), f"66:00:00:00:00:0{k}")
            with_store.create(Node(Metadata(f"n{k}"), (ip_interface(f"10.0.0.1{k}/24"),), (vtep,)))
        with_store.create(IPPool(Metadata("default"), ip_network("10.65.0.0/24"), nat_outgoing=True))
        block = ip_network("10.65.0.64/26")
        with_store.create(BlockAffinity(Metadata(affinity_name(NodeName("n2"), block)), NodeName("n2"), block))
        self.agent = None

    def run(self, line):
        return netns.execute(NAME, line.split())

    def command(self, *more):
        flags = {
            "node": "n1",
            "store": self.url,
            "socket": self.folder / "agent.sock",
            "cni-socket": self.folder / "cni.sock",
            "cni-state": self.folder / "state" / "cni",
            "state": self.folder / "state",
            "bin-dir": self.folder / "bin",
            "conf-dir": self.folder / "net.d",
        }
        words = [str(word) for flag, value in flags.items() for word in (f"--{flag}", value)]
        program = [sys.executable, "-m", "cloudnet.cli.main", "agent", *words, *more]
        return netns.command_inside(NAME, program)

    def start(self):
        with (self.folder / "log").open("ab") as log:
            self.agent = subprocess.Popen(self.command(), stdout=log, stderr=log)
        self.wait_for(lambda: "10.65.0.64/26" in self.run("ip route"))
        self.wait_for(lambda: "cloudnet_nat" in self.run("nft list tables"))

    def stop(self):
        if self.agent is not None:
            self.agent.send_signal(signal.SIGTERM)
            assert self.agent.wait(20) == 0
            self.agent = None

    def uninstall(self, *more):
        return subprocess.run(self.command("--uninstall", *more), capture_output=True, text=True, check=False)

    def wait_for(self, condition):
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.05)

    def state(self):
        words = ("ip -br link", "ip address", "ip route show table all", "ip rule", "nft list ruleset")
        return [self.run(line) for line in words], [self.run(f"sysctl {name}") for name in WATCHED]


@pytest.fixture
def host(tmp_path):
    with ExitStack() as stack:
        made = Host(tmp_path, stack)
        stack.callback(made.stop)
        yield made


def test_a_host_is_as_it_was_before_when_the_agent_is_taken_away(host):
    before = host.state()
    host.start()
    host.wait_for(lambda: "= 2" in host.run("sysctl net.ipv4.conf.eth0.rp_filter"))
    refused = host.uninstall()
    host.stop()
    between = host.state()

    done = host.uninstall()
    after = host.state()
    again = host.uninstall()

    assert refused.returncode != 0
    assert "an agent answers at" in refused.stderr
    assert between != before
    assert done.returncode == 0, done.stderr
    assert after == before
    assert "net/ipv4/ip_forward" in done.stdout
    assert again.returncode == 0
    assert again.stdout.count("none") == 4
    assert [p.name for p in Path(host.folder).iterdir() if p.name != "log" and "store" not in p.name] == ["state"]


def test_a_host_with_pods_is_left_alone_until_somebody_forces_it(host):
    host.start()
    host.stop()
    host.run("ip link add cali0123456789a type veth peer name peer")
    alias = Owner("k8s", "c1", "eth0").alias
    netns.execute(NAME, ["ip", "link", "set", "cali0123456789a", "alias", alias])
    refused = host.uninstall()
    forced = host.uninstall("--force")

    assert refused.returncode != 0
    assert "1 pods have their network from here (cali0123456789a): drain the node first" in refused.stderr
    assert forced.returncode == 0, forced.stderr
    assert "cali0123456789a" not in host.run("ip link")
