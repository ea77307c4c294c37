"""The NAT table on a real kernel: settings are taken, addresses and ports are as said, portmap works beside it."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from cloudnet.kernel import netns, ruleset
from cloudnet.kernel.nft_library import NftLibrary
from cloudnet.model.resources import IPPool, Metadata, Node
from cloudnet.nat import plan
from cloudnet.nat.apply import Nat
from cloudnet.nat.plan import CHAIN, TABLE, Options

pytestmark = pytest.mark.kernel

POOLS = (
    IPPool(Metadata("p4"), ip_network("10.65.0.0/16"), nat_outgoing=True),
    IPPool(Metadata("p6"), ip_network("fd00:65::/48"), nat_outgoing=True),
)
NODES = (Node(Metadata("n1"), (ip_interface("10.0.1.11/24"),)), Node(Metadata("n2"), (ip_interface("10.0.1.12/24"),)))
_numbers = itertools.count()


class Host:
    """A node with one pod, and two machines on its network: 10.0.1.12 is a node as well, 10.0.1.99 is not."""

    def __init__(self, prefix):
        self.node, self.pod, self.outside = (f"{prefix}-{name}" for name in ("node", "pod", "out"))
        self.nft = netns.run_inside(self.node, NftLibrary)

    def wire(self):
        self.ip(
            self.node,
            f"link add eth0 type veth peer name eth0 netns {self.outside}",
            "address add 10.0.1.11/24 dev eth0", "address add fd00:10::11/64 dev eth0 nodad",
            "address add 192.0.2.77/32 dev eth0", "link set eth0 up",
            "route add default via 10.0.1.99",
            f"link add cali1 address ee:ee:ee:ee:ee:ee type veth peer name eth0 netns {self.pod}",
            "link set cali1 up", "route add 10.65.1.2/32 dev cali1",
        )  # fmt: skip
        self.sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.conf.cali1.proxy_arp=1")
        self.ip(
            self.outside,
            *(f"address add {a} dev eth0" for a in ("10.0.1.99/24", "10.0.1.12/24", "fd00:10::99/64 nodad")),
            "link set eth0 up", "route add 192.0.2.77/32 dev eth0",
        )  # fmt: skip
        self.ip(
            self.pod,
            "address add 10.65.1.2/32 dev eth0", "address add fd00:65::2/64 dev eth0 nodad", "link set eth0 up",
            "route add 169.254.1.1 dev eth0", "route add default via 169.254.1.1",
            "route add fd00:65::1 dev eth0", "-6 route add default via fd00:65::1",
        )  # fmt: skip
        self.ip(self.node, "address add fd00:65::1/64 dev cali1 nodad")
        return self

    def ip(self, namespace, *lines):
        for line in lines:
            words = line.split()
            netns.execute(namespace, ["ip", *(["-6"] if "-6" in words else []), *(w for w in words if w != "-6")])

    def sysctl(self, *settings):
        netns.execute(self.node, ["sysctl", "-qw", *settings])

    def settle(self, options):
        wanted = plan.desired(POOLS, NODES, options)
        netns.run_inside(self.node, lambda: Nat(self.nft).settle(wanted))

    def seen(self, destination, port=9000, source=None):
        """Connect from the pod (or ``source``) to a machine outside; return the address and port that it sees."""
        family = socket.AF_INET6 if ":" in destination else socket.AF_INET
        with netns.open_socket(self.outside, family, socket.SOCK_STREAM) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((destination, port))
            listening.listen()
            listening.settimeout(2)
            with netns.open_socket(source or self.pod, family, socket.SOCK_STREAM) as calling:
                calling.settimeout(2)
                calling.connect((destination, port))
                answering, peer = listening.accept()
                answering.close()
        return ip_address(peer[0]), peer[1]


@pytest.fixture
def host():
    prefix = f"cn-nat-{os.getpid()}-{next(_numbers)}"
    with (
        netns.temporary(f"{prefix}-node"),
        netns.temporary(f"{prefix}-pod"),
        netns.temporary(f"{prefix}-out"),
    ):
        host = Host(prefix)
        yield host.wire()
        netns.run_inside(host.node, host.nft.close)


NODE, NODE6, POD = ip_address("10.0.1.11"), ip_address("fd00:10::11"), ip_address("10.65.1.2")


def test_both_families_get_the_address_of_the_device_they_leave_by(host):
    host.settle(Options(own_ports=(4789, 4793)))

    host.ip(host.outside, "route add 10.65.0.0/16 via 10.0.1.11")
    assert host.seen("10.0.1.99")[0] == NODE
    assert host.seen("fd00:10::99")[0] == NODE6


@pytest.mark.parametrize(("exclude", "expected"), [(False, NODE), (True, POD)], ids=["pools only", "nodes too"])
def test_another_node_sees_the_pod_only_when_nodes_are_excluded(host, exclude, expected):
    host.ip(host.outside, "route add 10.65.0.0/16 via 10.0.1.11")

    host.settle(Options(exclude_hosts=exclude))

    assert host.seen("10.0.1.12")[0] == expected
    assert host.seen("10.0.1.99")[0] == NODE


@pytest.mark.parametrize("address", [None, ip_address("192.0.2.77")], ids=["masquerade", "fixed"])
def test_connections_come_from_the_port_range(host, address):
    host.settle(Options(ports=(2000, 2009), address=address))

    seen, port = host.seen("10.0.1.99")

    assert seen == (address or NODE)
    assert 2000 <= port <= 2009


@pytest.mark.parametrize(("device", "expected"), [("eth+", NODE), ("eth0", NODE), ("wlan+", POD)])
def test_only_what_leaves_by_the_device_is_translated(host, device, expected):
    host.ip(host.outside, "route add 10.65.0.0/16 via 10.0.1.11")

    host.settle(Options(device=device))

    assert host.seen("10.0.1.99")[0] == expected


@pytest.mark.parametrize(
    "options",
    [
        Options(),
        Options(exclude_hosts=True, ports=(1, 65535), address=ip_address("192.0.2.1"), device="e+", own_ports=(1, 2)),
        Options(ports=(53, 53), address=ip_address("2001:db8::1"), device="eth0"),
    ],
    ids=["nothing", "IPv4", "IPv6"],
)
def test_every_setting_is_taken_and_what_stands_is_recognised_later(host, options):
    wanted = plan.desired(POOLS, NODES, options)
    nat = Nat(host.nft)
    netns.run_inside(host.node, lambda: nat.settle(wanted))

    untouched = netns.run_inside(host.node, nat.repair)
    netns.run_inside(host.node, lambda: host.nft.run(ruleset.script([ruleset.flush_chain(TABLE, CHAIN)])))
    mended = netns.run_inside(host.node, nat.repair)

    assert (untouched, mended) == (False, True)
    assert len(netns.run_inside(host.node, lambda: host.nft.list(TABLE)).chains[CHAIN].rules) == len(wanted.rules)


def test_our_own_datagrams_leave_as_they_were_sent_though_their_source_is_in_a_pool(host):
    host.ip(host.node, "address add 10.65.0.0/32 dev lo")
    host.ip(host.outside, "route add 10.65.0.0/16 via 10.0.1.11")
    host.settle(Options(own_ports=(4789, 4793)))

    sources = {}
    for port in (4793, 5000):
        with netns.open_socket(host.outside, socket.AF_INET, socket.SOCK_DGRAM) as hearing:
            hearing.bind(("10.0.1.99", port))
            hearing.settimeout(2)
            with netns.open_socket(host.node, socket.AF_INET, socket.SOCK_DGRAM) as sending:
                sending.bind(("10.65.0.0", 0))
                sending.sendto(b"probe", ("10.0.1.99", port))
                sources[port] = hearing.recvfrom(16)[1][0]

    assert sources == {4793: "10.65.0.0", 5000: "10.0.1.11"}


def test_a_restart_of_the_agent_leaves_an_open_connection_translated(host):
    host.settle(Options())
    with netns.open_socket(host.outside, socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.bind(("10.0.1.99", 9000))
        listening.listen()
        listening.settimeout(2)
        with netns.open_socket(host.pod, socket.AF_INET, socket.SOCK_STREAM) as calling:
            calling.settimeout(2)
            calling.connect(("10.0.1.99", 9000))
            answering, _ = listening.accept()
            answering.settimeout(2)

            host.settle(Options(exclude_hosts=True))
            calling.sendall(b"there")
            answering.sendall(b"back")
            carried = answering.recv(16), calling.recv(16)
            answering.close()

    assert carried == (b"there", b"back")


def portmap(host, verb):
    document = {
        "cniVersion": "0.4.0", "name": "n", "type": "portmap", "snat": True,
        "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]},
        "prevResult": {
            "cniVersion": "0.4.0",
            "interfaces": [{"name": "cali1"}, {"name": "eth0", "sandbox": f"/run/netns/{host.pod}"}],
            "ips": [{"version": "4", "address": "10.65.1.2/32", "interface": 1}],
        },
    }  # fmt: skip
    environment = {
        "CNI_COMMAND": verb, "CNI_CONTAINERID": "c1", "CNI_NETNS": f"/run/netns/{host.pod}",
        "CNI_IFNAME": "eth0", "CNI_PATH": "/usr/lib/cni", "PATH": os.environ["PATH"],
    }  # fmt: skip
    subprocess.run(
        netns.command_inside(host.node, ["/usr/lib/cni/portmap"]),
        input=json.dumps(document), env=environment, text=True, capture_output=True, check=True,
    )  # fmt: skip


def test_a_host_port_of_portmap_leads_to_the_pod_from_outside_and_from_the_pod_itself(host):
    host.settle(Options())
    portmap(host, "ADD")
    peers = {}

    with netns.open_socket(host.pod, socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.bind(("10.65.1.2", 80))
        listening.listen()
        listening.settimeout(2)
        for name in (host.outside, host.pod):
            with netns.open_socket(name, socket.AF_INET, socket.SOCK_STREAM) as calling:
                calling.settimeout(2)
                calling.connect(("10.0.1.11", 8080))
                answering, (peers[name], _) = listening.accept()
                answering.sendall(b"answer")
                answering.close()
                assert calling.recv(16) == b"answer"
    portmap(host, "DEL")

    assert peers[host.outside] == "10.0.1.99"
    assert peers[host.pod] != "10.65.1.2"
