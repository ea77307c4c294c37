"""The fast path between two nodes with real policy: what takes it, what does not, and that nobody can tell.

a - n1 - f - n2 - b: two pods, two nodes, and the router between them. From node to node there are two ways, natively
through f and by VXLAN. A second pod c is on n1, and f itself is a host outside. Each node counts what its netfilter
forwards, so that packets which pass it by show.
"""

import contextlib
import json
import os
import re
import socket
import subprocess
import time
from ipaddress import ip_address, ip_network

import pytest

from cloudnet.kernel import netns
from cloudnet.kernel.fastpath import FastPathKernel, Part, Role
from cloudnet.lab.traffic import Endpoint, Flow, Traffic
from cloudnet.policy.compile import compile_state
from cloudnet.policy.options import Options
from cloudnet.policy.rules import (
    ALLOW_ALL,
    Direction,
    EndpointChanged,
    EndpointId,
    Policy,
    PolicyKey,
    State,
    Tier,
    TierPolicies,
)
from cloudnet.policy.rules import (
    Endpoint as Pod,
)
from cloudnet.policy.table import script

pytestmark = pytest.mark.lab

PODS = {
    "a": ("n1", "10.65.1.10", "fd65:1::10"),
    "b": ("n2", "10.65.2.10", "fd65:2::10"),
    "c": ("n1", "10.65.1.11", "fd65:1::11"),
}
UPLINKS = {"n1": "10.0.1.10", "n2": "10.0.2.10"}
OTHER = {"n1": "n2", "n2": "n1"}
BLOCKS = {"n1": "10.65.1.0/24", "n2": "10.65.2.0/24"}
OUTSIDE = "10.0.1.1"
COUNTING = """
add table inet counting
add chain inet counting forward { type filter hook forward priority 100; }
add rule inet counting forward counter
"""
MASQUERADING = """
add table inet masquerading
add chain inet masquerading out { type nat hook postrouting priority 100; }
add rule inet masquerading out ip saddr 10.65.0.0/16 ip daddr != 10.65.0.0/16 masquerade
"""
CLOSED = Policy(PolicyKey("GlobalNetworkPolicy", "", "closed"), "default", "all()", frozenset(Direction), None)


class Nodes:
    def __init__(self, prefix):
        self.prefix = prefix
        self.doors = {}

    def namespace(self, name):
        return f"{self.prefix}{name}"

    def run(self, name, *commands):
        return "".join(netns.execute(self.namespace(name), command.split()) for command in commands)

    def ip(self, name, *lines):
        netns.execute(self.namespace(name), ["ip", "-batch", "-"], stdin="\n".join(lines) + "\n")

    # --- wiring ---------------------------------------------------------------------------------------------

    def wire(self):
        for node, own in UPLINKS.items():
            third = own.split(".")[2]
            self.run(node, "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
            self.ip(
                node,
                "link set lo up",
                f"link add eth0 type veth peer {node} netns {self.namespace('f')}",
                "link set eth0 up",
                f"address add {own}/24 dev eth0",
                f"address add fd00:{third}::10/64 dev eth0 nodad",
                f"route add default via 10.0.{third}.1",
                f"route add default via fd00:{third}::1",
            )
            self.ip(
                "f",
                f"link set {node} up",
                f"address add 10.0.{third}.1/24 dev {node}",
                f"address add fd00:{third}::1/64 dev {node} nodad",
                f"route add {BLOCKS[node]} via {own}",
                f"route add fd65:{third}::/64 via fd00:{third}::10",
            )
        self.run("f", "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        for node in UPLINKS:
            self.lay_ground(node)
            self.go(node, "natively")
        for name, (node, four, six) in PODS.items():
            self.pod(name, node, four, six)

    def lay_ground(self, node):
        (here, there), (mac, far) = (
            [UPLINKS[one].split(".")[2] for one in (node, OTHER[node])],
            [f"66:00:00:00:00:0{UPLINKS[one].split('.')[2]}" for one in (node, OTHER[node])],
        )
        kind = f"type vxlan id 4096 dstport 4789 local {UPLINKS[node]} dev eth0 nolearning"
        self.ip(
            node,
            f"link add vxlan.calico address {mac} mtu 1450 {kind}",
            "link set vxlan.calico up",
            f"address add 10.65.{here}.0/32 dev vxlan.calico",
            f"neighbour add 10.65.{there}.0 lladdr {far} dev vxlan.calico nud permanent",
            f"route add {BLOCKS[OTHER[node]]} via 10.65.{there}.0 dev vxlan.calico onlink metric 1024",
        )
        self.run(node, f"bridge fdb append {far} dev vxlan.calico dst {UPLINKS[OTHER[node]]}")

    def pod(self, name, node, four, six):
        device = f"cali{name}"
        peer = f"peer eth0 mtu 1450 netns {self.namespace(name)}"
        self.ip(
            node,
            f"link add {device} mtu 1450 address ee:ee:ee:ee:ee:ee type veth {peer}",
            f"link set {device} up",
            f"address add 169.254.1.1/32 dev {device}",
            f"address add fe80::1/64 dev {device} nodad",
            f"route add {four} dev {device}",
            f"route add {six} dev {device}",
        )
        self.ip(
            name,
            "link set lo up",
            "link set eth0 up",
            f"address add {four}/32 dev eth0",
            f"address add {six}/128 dev eth0 nodad",
            "route add 169.254.1.1 dev eth0",
            "route add default via 169.254.1.1 dev eth0",
            "route add default via fe80::1 dev eth0",
        )

    def go(self, node, way):
        """Lay the native route over the ground, or take it away; each is one change."""
        gateway = UPLINKS[node].rpartition(".")[0] + ".1"
        verb = "add" if way == "natively" else "delete"
        self.ip(node, f"route {verb} {BLOCKS[OTHER[node]]} via {gateway} dev eth0 metric 512")

    # --- policy and the fast path ---------------------------------------------------------------------------

    def enforce(self, node, *policies, besides=None):
        """Put policy in force on a node; ``besides``: {pod: another address that it may send from}."""
        extra = {name: (ip_network(address),) for name, address in (besides or {}).items()}
        here = {name: pod for name, pod in PODS.items() if pod[0] == node}
        tiers = (TierPolicies(Tier("default"), tuple(policy.key for policy in policies)),) if policies else ()
        endpoints = [
            Pod(
                EndpointId(name),
                f"cali{name}",
                (ip_network(pod[1]), ip_network(pod[2])),
                (ALLOW_ALL.name,),
                extra.get(name, ()),
            )
            for name, pod in here.items()
        ]
        state = State(
            {pod.id: EndpointChanged(pod, tiers) for pod in endpoints},
            {policy.key: policy for policy in policies},
            {ALLOW_ALL.name: ALLOW_ALL},
            nodes=frozenset(map(ip_address, UPLINKS.values())),
        )
        text = script(compile_state(state, Options(fast_path=True)))
        netns.execute(self.namespace(node), ["nft", "-f", "-"], stdin=text)

    def open(self):
        for node in UPLINKS:
            netns.execute(self.namespace(node), ["nft", "-f", "-"], stdin=COUNTING)
            self.enforce(node)
            self.doors[node] = netns.run_inside(self.namespace(node), FastPathKernel)
            self.join(node)

    def join(self, node, *, by_rules=False):
        def do():
            for device in self.doors[node].devices():
                if device.name != "lo":
                    role = Role.POD if device.name.startswith("cali") else Role.WORLD
                    self.doors[node].join(device.index, Part(role, by_rules))

        netns.run_inside(self.namespace(node), do)

    def leave(self, node):
        for device in self.doors[node].devices():
            self.doors[node].leave(device.index)

    def close(self):
        for door in self.doors.values():
            door.close()

    # --- packets --------------------------------------------------------------------------------------------

    def forwarded(self, node):
        """Return how many packets the node's netfilter has forwarded."""
        listed = netns.execute(
            self.namespace(node), ["nft", "--json", "list", "chain", "inet", "counting", "forward"]
        )
        return json.loads(listed)["nftables"][-1]["rule"]["expr"][0]["counter"]["packets"]

    def pinging(self, source, target, count, *options):
        command = ["ping", "-i", "0.005", "-c", str(count), "-W", "1", *options, target]
        return subprocess.Popen(
            netns.command_inside(self.namespace(source), command), stdout=subprocess.PIPE, text=True
        )

    def end(self, name):
        node, four, _ = PODS[name]
        return Endpoint(node, self.namespace(name), ip_address(four))


def received(pinging):
    """Return how many answers came, and with which TTLs."""
    told, _ = pinging.communicate()
    return int(re.search(r"(\d+) received", told)[1]), set(re.findall(r"ttl=(\d+)", told))


@pytest.fixture(scope="module")
def rig():
    built = Nodes(f"cnfp{os.getpid() % 10000}")
    with contextlib.ExitStack() as stack:
        for name in (*PODS, "n1", "n2", "f"):
            stack.enter_context(netns.temporary(built.namespace(name)))
        built.wire()
        stack.callback(built.close)
        built.open()
        yield built


@pytest.fixture
def nodes(rig):
    """The rig as it was: natively, without policy, all devices taking part."""
    yield rig
    for node in UPLINKS:
        rig.enforce(node)


@pytest.fixture
def streams():
    with Traffic() as traffic:
        yield traffic


def intact(traffic, flows, seconds, work=lambda: None):
    """Have streams flow while something happens, and return whether each arrived whole."""
    for flow in flows:
        traffic.open(flow)
    deadline = time.monotonic() + 10
    while not all(traffic.arrived(flow) for flow in flows):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    begin = traffic.mark()
    ends = time.monotonic() + seconds
    work()
    time.sleep(max(0.0, ends - time.monotonic()))
    sample = traffic.measure(begin, traffic.mark())
    return sample.tcp_intact


@pytest.mark.parametrize("family", [1, 2], ids=["ipv4", "ipv6"])
def test_all_but_a_packet_a_second_pass_netfilter_by_and_look_as_if_routed(nodes, family):
    received(nodes.pinging("a", PODS["b"][family], 2))
    before = {node: nodes.forwarded(node) for node in UPLINKS}

    answers = received(nodes.pinging("a", PODS["b"][family], 400))

    assert answers == (400, {"61"})
    for node in UPLINKS:
        assert 2 <= nodes.forwarded(node) - before[node] < 40  # of 800, in 2 s


def test_two_pods_of_one_node_take_it_too(nodes):
    received(nodes.pinging("a", PODS["c"][1], 2))
    before = nodes.forwarded("n1")

    assert received(nodes.pinging("a", PODS["c"][1], 400)) == (400, {"63"})
    assert nodes.forwarded("n1") - before < 40


def test_fifty_changes_of_route_lose_no_packet_and_break_no_stream(nodes, streams):
    pings = [nodes.pinging("a", PODS["b"][1], 1200), nodes.pinging("b", PODS["a"][1], 1200)]  # 6 s
    flows = [Flow("tcp", nodes.end("a"), nodes.end("b")), Flow("tcp", nodes.end("b"), nodes.end("a"))]

    def switch():
        for number in range(50):
            for node in UPLINKS if number % 2 else reversed(UPLINKS):  # for a moment both ways differ
                nodes.go(node, "natively" if number % 2 else "by vxlan")
            time.sleep(0.08)

    assert intact(streams, flows, 5, switch)
    answers, ttls = zip(*map(received, pings), strict=True)
    assert answers == (1200, 1200)
    assert all("61" in seen and seen <= {"61", "62"} for seen in ttls)  # f is no hop to what is inside the tunnel


def test_leaving_and_joining_again_loses_nothing_though_conntrack_saw_but_some_of_it(nodes, streams):
    pings = nodes.pinging("a", PODS["b"][1], 1000)
    flows = [Flow("tcp", nodes.end("a"), nodes.end("b")), Flow("tcp", nodes.end("b"), nodes.end("a"))]

    def leave_and_join():
        time.sleep(1.5)
        for _ in range(3):
            nodes.leave("n1")
            time.sleep(0.5)
            nodes.join("n1")

    assert intact(streams, flows, 4, leave_and_join)
    assert received(pings) == (1000, {"61"})


def test_a_policy_that_comes_stops_new_connections_and_leaves_standing_ones(nodes, streams):
    flow = Flow("tcp", nodes.end("a"), nodes.end("b"))

    assert intact(streams, [flow], 3, lambda: nodes.enforce("n2", CLOSED))
    assert received(nodes.pinging("a", PODS["b"][1], 3)) == (0, set())
    nodes.enforce("n2")
    assert received(nodes.pinging("a", PODS["b"][1], 3))[0] == 3


def test_conntrack_keeps_a_connection_while_it_is_used_and_no_longer(nodes):
    timeouts = " ".join(f"net.netfilter.nf_conntrack_udp_timeout{kind}=3" for kind in ("", "_stream"))
    for node in UPLINKS:
        nodes.run(node, f"sysctl -qw {timeouts}")
    before = nodes.forwarded("n2")

    sent, answered = converse(nodes, "a", "b", seconds=6)

    assert answered == sent > 400
    assert nodes.forwarded("n2") - before < 60  # so it was on the fast path
    entries = nodes.run("n2", "conntrack -L -p udp --dport 5300 -o id").splitlines()
    assert len(entries) == 1  # neither forgotten nor begun anew
    assert "ASSURED" in entries[0]
    time.sleep(4)
    assert not nodes.run("n2", "conntrack -L -p udp --dport 5300").strip()


def test_what_is_translated_goes_the_ordinary_way(nodes):
    netns.execute(nodes.namespace("n1"), ["nft", "-f", "-"], stdin=MASQUERADING)
    try:
        before = nodes.forwarded("n1")

        answers = received(nodes.pinging("a", OUTSIDE, 100))

        assert answers[0] == 100
        assert nodes.forwarded("n1") - before == 200
        assert "src=10.0.1.1 dst=10.0.1.10" in nodes.run("n1", "conntrack -L -p icmp")  # back to the node's address
    finally:
        nodes.run("n1", "nft delete table inet masquerading")


def test_a_packet_that_does_not_fit_is_answered_as_by_any_router(nodes):
    nodes.ip("n1", "link set eth0 mtu 1300")
    try:
        small = received(nodes.pinging("a", PODS["b"][1], 3, "-M", "do", "-s", "1200"))
        large = nodes.pinging("a", PODS["b"][1], 300, "-M", "do", "-s", "1400")
        told, _ = large.communicate()
    finally:
        nodes.ip("n1", "link set eth0 mtu 1500")
        nodes.ip("a", "route flush cache")

    assert small[0] == 3
    assert " 0 received" in told
    assert re.search(r"mtu = ?1300|message too long", told)


def test_an_address_that_moves_to_another_node_is_followed_at_once(nodes):
    received(nodes.pinging("c", PODS["b"][1], 100))  # standing, and leased on both nodes
    _, four, _ = PODS["b"]
    nodes.ip("a", f"address add {four}/32 dev eth0")  # a is on n1, as c is
    nodes.enforce("n1", besides={"a": four})
    pings = nodes.pinging("c", four, 400)
    time.sleep(0.5)
    before = nodes.forwarded("n2")

    nodes.ip("n1", f"route add {four} dev calia")
    time.sleep(1)
    after = nodes.forwarded("n2")
    _, ttls = received(pings)

    nodes.ip("n1", f"route delete {four} dev calia")
    nodes.ip("a", f"address delete {four}/32 dev eth0")
    assert "63" in ttls
    assert after - before <= 4
    assert received(nodes.pinging("c", four, 20))[0] == 20


def test_a_device_with_a_shaper_shows_it(nodes):
    shaper = "root tbf rate 1mbit burst 32k latency 50ms"
    nodes.run("n1", f"tc qdisc add dev calic {shaper}", "tc qdisc add dev calia ingress")
    try:
        seen = {device.name: device.qdiscs for device in nodes.doors["n1"].devices()}
    finally:
        nodes.run("n1", "tc qdisc delete dev calic root", "tc qdisc delete dev calia ingress")

    assert "tbf" in seen["calic"]
    assert "ingress" in seen["calia"]
    assert seen["eth0"] <= {"noqueue"}


def test_all_rules_but_the_kernels_and_the_probes_count(nodes):
    door = nodes.doors["n1"]
    assert not door.has_rules()
    nodes.ip("n1", "rule add priority 98 ipproto udp dport 4793 table 4793 protocol 67")
    assert not door.has_rules()
    nodes.ip("n1", "rule add priority 99 from 192.0.2.1 table 99")
    of_others = door.has_rules()
    nodes.ip("n1", "rule delete priority 99", "rule add priority 104 from 192.0.2.1 table 4794 protocol 67")

    ours = door.has_rules()

    nodes.ip("n1", "rule delete priority 98", "rule delete priority 104")
    assert of_others
    assert ours


def test_by_rules_of_others_packets_go_where_these_say(nodes):
    """A rule leads c's packets to b through the tunnel, while the main table says natively."""
    nodes.leave("n1")
    nodes.ip("n1", f"rule add priority 99 from {PODS['c'][1]} table 99")
    nodes.ip("n1", f"route add {BLOCKS['n2']} via 10.65.2.0 dev vxlan.calico onlink table 99")
    nodes.join("n1", by_rules=True)
    before = tunnelled(nodes)
    try:
        answers = received(nodes.pinging("c", PODS["b"][1], 400))
        count = nodes.forwarded("n1")
        answers_later = received(nodes.pinging("c", PODS["b"][1], 400))
        counted = nodes.forwarded("n1") - count
    finally:
        nodes.leave("n1")
        nodes.ip("n1", "rule delete priority 99", "route flush table 99")
        nodes.join("n1")

    assert answers[0] == answers_later[0] == 400
    assert tunnelled(nodes) - before >= 800
    assert counted < 60


def tunnelled(nodes):
    """Return how many packets n1 has sent through the tunnel."""
    return json.loads(nodes.run("n1", "ip -s -j link show vxlan.calico"))[0]["stats64"]["tx"]["packets"]


def converse(nodes, source, target, *, seconds):
    """Have two pods exchange datagrams, a hundred a second; return how many went and how many were answered."""
    mine = netns.open_socket(nodes.namespace(source), socket.AF_INET, socket.SOCK_DGRAM)
    theirs = netns.open_socket(nodes.namespace(target), socket.AF_INET, socket.SOCK_DGRAM)
    with mine, theirs:
        theirs.bind((PODS[target][1], 5300))
        theirs.settimeout(1)
        mine.settimeout(1)
        mine.connect((PODS[target][1], 5300))
        sent = answered = 0
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            mine.send(b".")
            sent += 1
            data, back = theirs.recvfrom(1)
            theirs.sendto(data, back)
            answered += mine.recv(1) == data
            time.sleep(0.01)
    return sent, answered
