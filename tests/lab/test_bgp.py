"""Real agents with real BIRDs in namespaces of their own: blocks learned by BGP, and what becomes of packets.

n1 and n2 share subnet 1, n3 has subnet 2; ``tor`` is the bridge within each and the router between both. It speaks
BGP only where a test starts a BIRD there.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from cloudnet.bgp import control
from cloudnet.kernel import netns
from cloudnet.model import calico
from cloudnet.model.addresses import NodeName
from cloudnet.model.resources import BlockAffinity, Metadata, Node, Vtep
from cloudnet.testing.rig import Rig, block, lost, standing

pytestmark = [pytest.mark.lab, pytest.mark.slow]


class Speakers(Rig):
    """A rig whose agents speak BGP; its router does where a test starts a BIRD there."""

    router = "tor"
    subnets = {1: 1, 2: 1, 3: 2}  # noqa: RUF012 - as in Rig

    def command(self, k, *more):
        return super().command(k, "--bgp", "--bgp-folder", str(self.folder / f"n{k}-bird"), *more)

    def run(self, k, *more):
        places = ("--bin-dir", str(self.folder / "bin"), "--conf-dir", str(self.folder / "net.d"))
        command = self.command(k, "--cni-state", str(self.folder / "cni"), *places, *more)
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def learned(self, k):
        """Return the routes of the table that BIRD learns into; nothing where there is no such table."""
        show = ["ip", "route", "show", "table", "all", "proto", "bird"]
        return netns.execute(self.namespace(f"n{k}"), show)

    def start_router(self, config):
        """Start a BIRD on the router between the subnets, as its owner would."""
        here = self.folder / "tor-bird"
        here.mkdir()
        (here / "bird.conf").write_text(config)
        files = [
            word
            for flag, name in (("-c", "conf"), ("-s", "ctl"), ("-P", "pid"))
            for word in (flag, f"{here}/bird.{name}")
        ]
        netns.execute(self.namespace("tor"), ["bird", *files])

    def routes(self, name):
        """Return the destinations that the host's BIRD put into its main table."""
        shown = netns.execute(self.namespace(name), ["ip", "route", "show", "proto", "bird"])
        return {line.split()[0] for line in shown.splitlines()}

    def bird(self, name):
        """Return the pid of the BIRD of a node or router, or nothing where none runs."""
        with contextlib.suppress(OSError, ValueError):
            pid = int((self.folder / f"{name}-bird" / "bird.pid").read_text())
            if Path(f"/proc/{pid}/exe").readlink().name == "bird":
                return pid
        return None

    def end_birds(self):
        """Kill every BIRD, and before them the agents, which would start them again."""
        for k in list(self.agents):
            self.stop(k, signal.SIGKILL)
        for name in self.places():
            if pid := self.bird(name):
                os.kill(pid, signal.SIGKILL)

    def birdc(self, k, command):
        control.ask(self.folder / f"n{k}-bird" / "bird.ctl", command)

    def sessions(self, k):
        return {one["address"]: one for one in self.ask(k, "bgp")["sessions"]}

    def changes(self):
        """Return how often any agent has said that a path changed."""
        return sum(path.read_text().count("path changed") for path in self.folder.glob("*.log"))

    def swallow(self, k, *, no_more=False):
        """Let the node drop whatever comes for its pods without a tunnel, as a fabric with a hole would."""
        rule = "add table ip hole\nadd chain ip hole in { type filter hook prerouting priority raw; }\n"
        rule += f"add rule ip hole in iifname eth0 ip daddr {block(k)} drop\n"
        nft = ["nft", "-f", "-"]
        netns.execute(self.namespace(f"n{k}"), nft, stdin="delete table ip hole\n" if no_more else rule)


SUBNETS, address = Speakers.subnets, Speakers.address


@pytest.fixture
def rig(tmp_path):
    with standing(Speakers, f"cnb{os.getpid()}", tmp_path) as rig, contextlib.ExitStack() as stack:
        stack.callback(rig.end_birds)
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
    first, before = rig.bird("n2"), rig.changes()

    flow = rig.flow(1, 2, 12)
    os.kill(first, signal.SIGKILL)
    rig.wait(lambda: rig.bird("n2") not in {None, first})
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
        if seconds[-1] < 1.0:
            break
    assert min(seconds) < 1.0


def test_where_bgp_is_no_longer_spoken_or_the_agent_taken_away_bird_ends_and_leaves_nothing(rig):
    folders = {k: rig.folder / f"n{k}-bird" for k in (1, 2)}
    for k in folders:
        rig.start(k)
    rig.wait(lambda: rig.path(1, 2) == ("bgp", "proven") and rig.path(2, 1) == ("bgp", "proven"))
    rig.stop(1)
    rig.stop(2)
    os.kill(rig.bird("n2"), signal.SIGKILL)
    left = [rig.learned(k) for k in folders]

    rig.start(1, "--no-bgp")
    rig.wait(lambda: rig.path(1, 2) == ("vxlan", "no-cloud"))
    done = rig.run(2, "--uninstall")

    assert done.returncode == 0, done.stderr
    assert str(folders[2]) in done.stdout
    assert [bool(routes) for routes in left] == [True, True]
    assert [rig.learned(k) for k in folders] == ["", ""]
    assert not any(folder.exists() for folder in folders.values())


def document(kind, name, **spec):
    return calico.parse(
        {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name}, "spec": spec}
    )


ROUTER = """\
router id 10.0.1.1;
protocol device {}
protocol kernel { ipv4 { export where source = RTS_BGP; }; }
protocol static { ipv4; route 203.0.113.0/24 blackhole; }
"""
NEIGHBOUR = """\
protocol bgp n%(k)d {
  local %(own)s as 65000;
  neighbor %(address)s as 65001;
  password "two words";
  ttl security on;
  ipv4 { import all; export all; };
}
"""


def test_a_router_learns_pods_and_services_leads_nodes_to_each_other_and_hears_no_more_than_a_filter_lets_out(rig):
    own = {k: f"10.0.{SUBNETS[k]}.1" for k in (1, 3)}
    rig.start_router(ROUTER + "".join(NEIGHBOUR % {"k": k, "own": own[k], "address": address(k)} for k in own))
    (rig.folder / "secrets" / "bgp").mkdir(parents=True)
    (rig.folder / "secrets" / "bgp" / "password").write_text("two words\n")
    password = {"secretKeyRef": {"name": "bgp", "key": "password"}}
    services = [{"cidr": "10.96.0.0/12"}]
    rig.put(document("BGPConfiguration", "default", nodeToNodeMeshEnabled=False, serviceClusterIPs=services))
    elsewhere = {"action": "Reject", "cidr": "198.51.100.0/24", "matchOperator": "In"}
    rig.put(document("BGPFilter", "out", exportV4=[elsewhere]))
    for k, router in own.items():
        peer = {"node": f"n{k}", "peerIP": router, "asNumber": 65000, "password": password, "filters": ["out"]}
        rig.put(document("BGPPeer", f"tor-{k}", **peer, ttlSecurity=1, numAllowedLocalASNumbers=1))
        rig.put(replace(next(rig.resources(k)), as_number=65001))
        rig.start(k, "--bgp-secrets", str(rig.folder / "secrets"))

    rig.wait(lambda: rig.path(1, 3) == ("bgp", "proven") and rig.path(3, 1) == ("bgp", "proven"))
    assert rig.routes("tor") == {str(block(1)), str(block(3)), "10.96.0.0/12"}
    assert rig.routes("n1") == {"203.0.113.0/24"}  # what lies outside of the cluster, and nothing of pods
    rig.wait(lambda: rig.sessions(1)[own[1]]["exported"] == 2)  # the block, and the range of services
    assert lost(rig.flow(1, 3, 1)) == 0

    rejected = {"action": "Reject", "cidr": str(block(1)), "matchOperator": "Equal"}
    rig.put(document("BGPFilter", "out", exportV4=[elsewhere, rejected]))
    rig.wait(lambda: rig.path(3, 1) == ("vxlan", "not-learned"))
    assert rig.routes("tor") == {str(block(3)), "10.96.0.0/12"}
    assert lost(rig.flow(1, 3, 1)) == 0


def test_by_a_route_reflector_nodes_learn_each_others_blocks_of_both_families(rig):
    six = {k: ip_network(f"fd00:65:{k}::/122") for k in SUBNETS}
    rig.ip("tor", *(f"address add fd00:{subnet}::1/64 dev br{subnet} nodad" for subnet in (1, 2)))
    netns.execute(rig.namespace("tor"), ["sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"])
    for k, subnet in SUBNETS.items():
        own = f"fd00:{subnet}::1{k}/64"
        rig.ip(f"n{k}", f"address add {own} dev eth0 nodad", f"route add default via fd00:{subnet}::1")
        ends = Vtep(ip_address(f"10.65.{k}.0"), ""), Vtep(six[k].network_address, "")
        labels, cluster_id = ({"reflects": "yes"}, ip_address("1.0.0.1")) if k == 3 else ({}, None)
        addresses = ip_interface(f"{address(k)}/24"), ip_interface(own)
        rig.store.delete(Node, f"n{k}")
        rig.put(Node(Metadata(f"n{k}", labels=labels), addresses, ends, route_reflector=cluster_id))
        rig.put(BlockAffinity(Metadata(f"n{k}-six"), NodeName(f"n{k}"), six[k]))
    rig.put(document("BGPConfiguration", "default", nodeToNodeMeshEnabled=False))
    rig.put(document("BGPPeer", "reflectors", nodeSelector="!has(reflects)", peerSelector="has(reflects)"))
    for k in SUBNETS:
        rig.start(k)

    def by_bgp(k, to):
        paths = rig.paths(k)
        return all(paths.get(str(each)) == ("bgp", "proven") for each in (block(to), six[to]))

    rig.wait(lambda: rig.path(1, 2) and rig.path(2, 1) and by_bgp(1, 2) and by_bgp(2, 1))
    assert set(rig.sessions(1)) == {address(3), "fd00:2::13"}
    assert len(rig.sessions(3)) == 4
    assert lost(rig.flow(1, 2, 1)) == 0
