"""A real agent beside somebody else's pod network: policy holds, and nothing else of the host is touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from ipaddress import ip_interface, ip_network

import pytest

from cloudnet.kernel import netns
from cloudnet.model.addresses import NodeName
from cloudnet.model.policies import GlobalNetworkPolicy, PolicySpec
from cloudnet.model.resources import Metadata, Node
from cloudnet.model.workloads import WorkloadEndpoint
from cloudnet.store.registry import open_store

pytestmark = pytest.mark.kernel

NAME = f"cn-beside-{os.getpid()}"
PODS = {"a": "10.0.0.101", "b": "10.0.0.102"}
LINKS = {"a": "eni0000000000a", "b": "eni0000000000b"}


class Host:
    """A node whose pods another plugin has wired."""

    def __init__(self, folder, stack):
        self.folder, self.url = folder, f"sqlite://{folder}/store.sqlite"
        self.store = open_store(self.url)
        stack.callback(self.store.close)
        self.store.create(Node(Metadata("n1"), (ip_interface("10.0.0.11/24"),)))
        stack.enter_context(netns.temporary(NAME))
        # Without IPv6, whose own routes come a second after a link: they would look like somebody's change.
        off = ("net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
        self.run(NAME, " ".join(("sysctl -qw net.ipv4.ip_forward=1", *off)))
        for pod, address in PODS.items():
            stack.enter_context(netns.temporary(f"{NAME}-{pod}"))
            self.wire(pod, address)
        self.agent = None

    def run(self, namespace, line):
        return netns.execute(namespace, line.split())

    def wire(self, pod, address):
        link, inside = LINKS[pod], f"{NAME}-{pod}"
        self.run(NAME, f"ip link add {link} type veth peer name eth0 netns {inside}")
        self.run(NAME, f"ip link set {link} up")
        self.run(NAME, f"sysctl -qw net.ipv4.conf.{link}.proxy_arp=1")
        self.run(NAME, f"ip route add {address}/32 dev {link}")
        for words in ("link set eth0 up", f"address add {address}/32 dev eth0", "route add default dev eth0"):
            self.run(inside, f"ip {words}")

    def know(self, pod):
        """Let the store know of a pod, by the name of a link that Calico would give it."""
        self.store.create(
            WorkloadEndpoint(
                Metadata(f"n1-k8s-{pod}-eth0", "shop", labels={"app": pod}),
                node=NodeName("n1"),
                orchestrator="k8s",
                workload=pod,
                endpoint="eth0",
                networks=(ip_network(f"{PODS[pod]}/32"),),
                profiles=("projectcalico-default-allow",),
                interface=LINKS[pod].replace("eni", "cali"),
            )
        )

    def start(self):
        flags = {"node": "n1", "store": self.url, "socket": self.folder / "agent.sock", "interface-prefix": "eni"}
        flags["state"] = self.folder / "state"
        words = [str(word) for flag, value in flags.items() for word in (f"--{flag}", value)]
        program = [sys.executable, "-m", "cloudnet.cli.main", "agent", "--policy-only", *words]
        with (self.folder / "log").open("ab") as log:
            self.agent = subprocess.Popen(netns.command_inside(NAME, program), stdout=log, stderr=log)

    def stop(self):
        if self.agent is not None:
            self.agent.send_signal(signal.SIGTERM)
            assert self.agent.wait(20) == 0
            self.agent = None

    def reaches(self, pod, other):
        command = ["ping", "-c", "1", "-W", "0.3", PODS[other]]
        inside = netns.command_inside(f"{NAME}-{pod}", command)
        return not subprocess.run(inside, capture_output=True, check=False).returncode

    def state(self):
        """Return what the host has besides policy: links, routes, rules, and other tables than ours."""
        tables = self.run(NAME, "nft list tables").splitlines()
        words = ("ip -br link", "ip route show table all", "ip -6 route show table all", "ip rule")
        return [self.run(NAME, line) for line in words], [t for t in tables if t != "table inet cloudnet"]


@pytest.fixture
def host(tmp_path):
    with ExitStack() as stack:
        made = Host(tmp_path, stack)
        stack.callback(made.stop)
        yield made


def wait_for(condition, host):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, [log.read_text()[-2000:] for log in host.folder.glob("log")]
        time.sleep(0.05)


def test_policy_holds_beside_another_plugins_network_and_nothing_else_is_touched(host):
    wait_for(lambda: host.reaches("a", "b"), host)
    before = host.state()
    host.start()
    host.know("b")
    wait_for(lambda: not host.reaches("a", "b"), host)  # a is not known yet
    host.know("a")
    wait_for(lambda: host.reaches("a", "b"), host)

    host.store.create(GlobalNetworkPolicy(Metadata("closed"), PolicySpec(selector="app == 'b'")))
    wait_for(lambda: not host.reaches("a", "b"), host)
    there_and_back = host.reaches("b", "a")
    after = host.state()
    host.stop()

    assert there_and_back
    assert after == before
    assert not host.reaches("a", "b")
