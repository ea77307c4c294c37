"""Real agents with real BIRDs in namespaces of their own: blocks learned by BGP, and what becomes of packets.

n1 and n2 share subnet 1, n3 has subnet 2; ``tor`` is the bridge within each and the router between both.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from cloudnet.bgp import control
from cloudnet.kernel import netns
from cloudnet.model.addresses import NodeName
from cloudnet.model.resources import BlockAffinity, Metadata, Node, Vtep
from cloudnet.store.registry import open_store

pytestmark = pytest.mark.lab

SOON = 60.0  # seconds, for what has no promise about time
SUBNETS = {1: 1, 2: 1, 3: 2}


def block(k):
    return ip_network(f"10.65.{k}.0/26")


def pod(k):
    return f"10.65.{k}.5"


def address(k):
    return f"10.0.{SUBNETS[k]}.{10 + k}"


def resources(k):
    name = f"n{k}"
    yield Node(Metadata(name), (ip_interface(f"{address(k)}/24"),), (Vtep(ip_address(f"10.65.{k}.0"), ""),))
    yield BlockAffinity(Metadata(f"{name}-10-65-{k}-0-26"), NodeName(name), block(k))


class Rig:
    """The namespaces, the store, and the programs that were started."""

    def __init__(self, prefix, folder, store, store_url):
        self.prefix, self.folder, self.store, self.store_url = prefix, folder, store, store_url
        self.agents = {}

    def namespace(self, name):
        return f"{self.prefix}-{name}"

    def ip(self, name, *lines):
        netns.execute(self.namespace(name), ["ip", "-batch", "-"], stdin="\n".join(lines) + "\n")

    def start(self, k, *more):
        here = self.folder / f"n{k}"
        command = [
            sys.executable, "-m", "cloudnet", "agent", "--node", f"n{k}", "--store", self.store_url,
            "--state", f"{here}-state", "--socket", f"{here}.sock", "--metrics", "127.0.0.1:9091",
            "--cni-socket", "", "--bgp", "--bgp-folder", f"{here}-bird", *more,
        ]  # fmt: skip
        with (self.folder / f"n{k}.log").open("ab") as log:
            inside = netns.command_inside(self.namespace(f"n{k}"), command)
            self.agents[k] = subprocess.Popen(inside, stdout=log, stderr=log)

    def stop(self, k, number=signal.SIGTERM):
        agent = self.agents.pop(k)
        agent.send_signal(number)
        return agent.wait(10)

    def bird(self, k):
        """Return the pid of the node's BIRD, or nothing where none runs."""
        with contextlib.suppress(OSError, ValueError):
            pid = int((self.folder / f"n{k}-bird" / "bird.pid").read_text())
            if Path(f"/proc/{pid}/exe").readlink().name == "bird":
                return pid
        return None

    def birdc(self, k, command):
        control.ask(self.folder / f"n{k}-bird" / "bird.ctl", command)

    def ask(self, k, verb):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(str(self.folder / f"n{k}.sock"))
            client.sendall(json.dumps({"verb": verb}).encode() + b"\n")
            answer = b""
            while piece := client.recv(65536):
                answer += piece
        return json.loads(answer)

    def paths(self, k):
        return {path["block"]: (path["kind"], path["reason"]) for path in self.ask(k, "paths")["paths"]}

    def sessions(self, k):
        return {one["address"]: one for one in self.ask(k, "bgp")["sessions"]}

    def changes(self):
        """Return how often any agent has said that a path changed."""
        return sum(path.read_text().count("path changed") for path in self.folder.glob("*.log"))

    def path(self, k, to):
        with contextlib.suppress(OSError):
            return self.paths(k).get(str(block(to)))
        return None

    def wait(self, condition):
        deadline = time.monotonic() + SOON
        while not condition():
            assert time.monotonic() < deadline, self.told()
            time.sleep(0.02)

    def told(self):
        logs = [*self.folder.glob("*.log"), *self.folder.glob("*/bird.log")]
        return {str(path): path.read_text()[-3000:] for path in logs}

    def swallow(self, k, *, no_more=False):
        """Let the node drop whatever comes for its pods without a tunnel, as a fabric with a hole would."""
        rule = "add table ip hole\nadd chain ip hole in { type filter hook prerouting priority raw; }\n"
        rule += f"add rule ip hole in iifname eth0 ip daddr {block(k)} drop\n"
        nft = ["nft", "-f", "-"]
        netns.execute(self.namespace(f"n{k}"), nft, stdin="delete table ip hole\n" if no_more else rule)

    def flow(self, k, to, seconds):
        """Ping a pod 200 times a second; by count: a deadline would cut off the last one's answer."""
        command = ["ping", "-i", "0.005", "-c", str(200 * seconds), "-W", "1", "-q", "-I", pod(k), pod(to)]
        inside = netns.command_inside(self.namespace(f"n{k}"), command)
        return subprocess.Popen(inside, stdout=subprocess.PIPE, text=True)


def lost(flow):
    output, _ = flow.communicate(timeout=60)
    sent, received = (int(n) for n in re.search(r"(\d+) packets transmitted, (\d+) received", output).groups())
    assert sent > 100
    return sent - received


@pytest.fixture
def rig(tmp_path):
    prefix = f"cnb{os.getpid()}"
    store_url = f"sqlite://{tmp_path}/store.sqlite"
    with contextlib.ExitStack() as stack:
        for name in ("tor", "n1", "n2", "n3"):
            stack.enter_context(netns.temporary(f"{prefix}-{name}"))
        store = open_store(store_url)
        stack.callback(store.close)
        rig = Rig(prefix, tmp_path, store, store_url)
        stack.callback(lambda: [os.kill(pid, signal.SIGKILL) for k in SUBNETS if (pid := rig.bird(k))])
        stack.callback(lambda: [rig.stop(k, signal.SIGKILL) for k in list(rig.agents)])
        netns.execute(rig.namespace("tor"), ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
        rig.ip("tor", "link set lo up")
        for subnet in (1, 2):
            rig.ip(
                "tor", f"link add br{subnet} type bridge", f"address add 10.0.{subnet}.1/24 dev br{subnet}",
                f"link set br{subnet} up",
            )  # fmt: skip
        for k, subnet in SUBNETS.items():
            rig.ip(
                "tor",
                f"link add n{k} type veth peer name eth0 netns {rig.namespace(f'n{k}')}",
                f"link set n{k} master br{subnet} up",
            )
            rig.ip(
                f"n{k}", "link set lo up", f"address add {address(k)}/24 dev eth0", "link set eth0 up",
                f"route add default via 10.0.{subnet}.1", f"address add {pod(k)}/32 dev lo",
            )  # fmt: skip
            for resource in resources(k):
                store.create(resource)
        yield rig


def test_a_path_by_bgp_is_taken_left_and_taken_again_and_no_packet_is_lost(rig):
    for k in (1, 2):
        rig.start(k)
    by_bgp, by_ground = ("bgp", "proven"), ("vxlan", "not-learned")
    rig.wait(lambda: rig.path(1, 2) == by_bgp and rig.path(2, 1) == by_bgp)

    flow = rig.flow(1, 2, 8)
    assert rig.stop(2) == 0  # BIRD goes on
    time.sleep(1.0)
    while_agent_away = rig.path(1, 2)
    rig.birdc(2, "down")
    rig.wait(lambda: rig.path(1, 2) == by_ground)
    assert lost(flow) == 0

    flow = rig.flow(1, 2, 10)
    rig.start(2)
    rig.wait(lambda: rig.path(1, 2) == by_bgp and rig.path(2, 1) == by_bgp)
    assert lost(flow) == 0
    assert while_agent_away == by_bgp


def test_a_bird_that_dies_is_started_again_and_nothing_changes_meanwhile(rig):
    for k in (1, 2):
        rig.start(k)
    by_bgp = ("bgp", "proven")
    rig.wait(lambda: rig.path(1, 2) == by_bgp and rig.path(2, 1) == by_bgp)
    first, before = rig.bird(2), rig.changes()

    flow = rig.flow(1, 2, 12)
    os.kill(first, signal.SIGKILL)
    rig.wait(lambda: rig.bird(2) not in {None, first})
    rig.wait(lambda: rig.sessions(2)[address(1)]["state"] == "Established")
    assert lost(flow) == 0
    assert rig.changes() == before


def test_a_path_by_bgp_that_swallows_packets_is_left_within_a_second(rig):
    for k in (1, 2):
        rig.start(k)
    rig.wait(lambda: rig.path(1, 2) == ("bgp", "proven"))

    seconds = []
    for _ in range(2):  # the best of two: other work on this machine is not what is measured
        flow = rig.flow(1, 2, 4)
        time.sleep(0.5)
        started = time.monotonic()
        rig.swallow(2)
        rig.wait(lambda: rig.path(1, 2) == ("vxlan", "probes-lost"))
        seconds.append(time.monotonic() - started)
        assert lost(flow) < 200 * (seconds[-1] + 0.1)
        rig.swallow(2, no_more=True)
        rig.wait(lambda: rig.path(1, 2) == ("bgp", "proven"))
    assert min(seconds) < 1.0
