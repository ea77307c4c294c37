import itertools
import os
import subprocess
import threading
import time
from dataclasses import replace
from ipaddress import IPv4Network, ip_address, ip_network

import pytest

from cloudnet.kernel import codec, netns, wire
from cloudnet.kernel.api import LEARNED_TABLE, Hop, Put, Remove, Route, RouteKind
from cloudnet.kernel.netlink import NetlinkKernel
from cloudnet.kernel.rtnetlink import Listener, Refusal, Socket
from cloudnet.testing.kernel import (
    ADDRESSES,
    DEVICE,
    DEVICE_V6,
    ENTRY,
    ENTRY_V6,
    GROUND,
    GROUND_V6,
    NATIVE,
    NATIVE_V6,
    NEIGHBOUR,
    NEIGHBOUR_V6,
    settle,
)

pytestmark = pytest.mark.kernel

RTNLGRP_IPV6_ROUTE = 11  # linux/rtnetlink.h

_numbers = itertools.count()


@pytest.fixture
def name():
    with netns.temporary(f"cn-test-netlink-{os.getpid()}-{next(_numbers)}") as name:
        netns.execute(name, ["sh", "-ec", "ip link add eth0 type veth peer name other; ip link set other up"])
        for address in ADDRESSES:
            netns.execute(name, ["ip", "address", "add", str(address), "dev", "eth0", "nodad"])
        netns.execute(name, ["ip", "link", "set", "eth0", "up"])
        yield name


@pytest.fixture
def kernel(name):
    kernel = netns.run_inside(name, NetlinkKernel)
    kernel.apply([Put(value) for value in (DEVICE, ENTRY, NEIGHBOUR, GROUND)])
    yield kernel
    kernel.close()


def test_replacing_a_route_leaves_no_moment_without_one(name, kernel):
    ways = [NATIVE, replace(NATIVE, gateway=ip_address("10.0.0.2"))]
    kernel.apply([Remove(GROUND), Put(ways[0])])
    asking, answers = netns.run_inside(name, Socket), []
    done = threading.Event()
    question = _lookup("10.65.2.9")

    def ask():
        while not done.is_set():
            answers.append(asking.ask(wire.RTM_GETROUTE, question))

    thread = threading.Thread(target=ask)
    thread.start()
    deadline, failures = time.monotonic() + 10, []
    while len(answers) < 200 and time.monotonic() < deadline:
        for way in reversed(ways):
            failures += kernel.apply([Put(way)])
    done.set()
    thread.join()
    asking.close()

    assert failures == []
    assert len(answers) >= 200
    assert not [answer for answer in answers if isinstance(answer, Refusal)]


@pytest.mark.parametrize(
    "other",
    [replace(NATIVE_V6, gateway=ip_address("fd00:10::2")), Route(NATIVE_V6.destination, "eth0", metric=512)],
    ids=["another gateway", "no gateway"],
)
def test_replacing_an_ipv6_route_deletes_none(name, kernel, other):
    kernel.apply([Put(NATIVE_V6)])
    listener = netns.run_inside(name, lambda: Listener([RTNLGRP_IPV6_ROUTE], deaf_to=0))

    assert not kernel.apply([Put(other), Put(NATIVE_V6)])

    heard = [message for _ in range(2) for message in listener.hear(1)]
    assert [(kind, codec.read_route(body, {}).gateway) for kind, _, body in heard] == [
        (wire.RTM_NEWROUTE, other.gateway),
        (wire.RTM_NEWROUTE, NATIVE_V6.gateway),
    ]
    assert not listener.hear(0)
    listener.close()


def test_mending_the_ground_below_a_native_route_leaves_no_trace(name, kernel):
    kernel.apply([Put(value) for value in (DEVICE_V6, ENTRY_V6, NEIGHBOUR_V6, NATIVE_V6)])

    assert not kernel.apply([Put(GROUND_V6)])

    shown = netns.execute(name, ["ip", "-6", "route", "show", "proto", "67"])
    assert sorted(line.split()[0] for line in shown.splitlines()) == ["fd00:65::40/122"] * 2


def test_a_bad_gateway_stays_refused(kernel):
    kernel.apply([Put(DEVICE_V6)])
    own = replace(GROUND_V6, gateway=DEVICE_V6.addresses[0].ip)

    (failure,) = kernel.apply([Put(own)])

    assert failure.change.value == own
    assert not any(isinstance(value, Route) and value.metric == 1 for value in kernel.read().values())


def test_refusals_are_told_apart_in_thousands_of_changes(kernel):
    blocks = [IPv4Network((0x0A420000 + (number << 6), 26)) for number in range(3000)]
    bad = ip_address("10.99.0.1")
    values = [
        Route(block, "eth0", bad if number % 7 == 0 else NATIVE.gateway, metric=512)
        for number, block in enumerate(blocks)
    ]

    failures = kernel.apply([Put(value) for value in values])

    assert [failure.change.value for failure in failures] == values[::7]
    assert len(kernel.read()) == 4 + len(values) - len(values[::7])


def test_thousands_of_own_writes_wake_nobody(name, kernel):
    notices = netns.run_inside(name, kernel.notices)
    settle(notices)
    blocks = [IPv4Network((0x0A420000 + (number << 6), 26)) for number in range(3000)]

    kernel.apply([Put(replace(GROUND, destination=block)) for block in blocks])
    kernel.apply([Put(replace(ENTRY, mac=f"66:00:00:01:{n >> 8:02x}:{n & 255:02x}")) for n in range(3000)])

    assert not notices.wait(0.2)
    notices.close()


def test_a_storm_of_foreign_changes_is_noticed(name, kernel):
    notices = netns.run_inside(name, kernel.notices)
    settle(notices)
    batch = "\n".join(f"route add blackhole 11.{n >> 8}.{n & 255}.0/24" for n in range(20_000))

    netns.execute(name, ["ip", "-batch", "-"], stdin=batch)

    assert notices.wait(0.2)
    settle(notices)
    notices.close()


@pytest.mark.parametrize(
    "spoil",
    [
        "ip link set vxlan.calico down",
        "ip link set vxlan.calico type vxlan learning",
        "ip link delete vxlan.calico; ip link add vxlan.calico type veth peer name odd",
        "ip link set vxlan.calico mtu 1300",
        "ip address add 10.9.9.9/32 dev vxlan.calico",
        "ip address delete 10.65.1.0/32 dev vxlan.calico",
    ],
)
def test_a_spoilt_device_differs_from_every_wish_and_is_repaired(name, kernel, spoil):
    netns.execute(name, ["sh", "-ec", spoil])

    assert kernel.read()[DEVICE.key] != DEVICE
    assert not kernel.apply([Put(DEVICE), Put(ENTRY), Put(NEIGHBOUR), Put(GROUND)])
    assert kernel.read() == {value.key: value for value in (DEVICE, ENTRY, NEIGHBOUR, GROUND)}


def test_the_link_local_address_stays(name, kernel):
    kernel.apply([Put(replace(DEVICE, addresses=DEVICE_V6.addresses)), Put(DEVICE)])

    assert "fe80::" in netns.execute(name, ["ip", "-6", "address", "show", "dev", DEVICE.name])


def test_iproute2_reads_what_we_wrote(name, kernel):
    kernel.apply([Put(Route(ip_network("10.65.1.0/26"), "lo", table=4793, kind=RouteKind.LOCAL))])

    link = netns.execute(name, ["ip", "-d", "link", "show", "dev", DEVICE.name])
    assert "vxlan id 4096 local 10.0.0.10 dev eth0 srcport 0 0 dstport 4789 nolearning" in link
    assert "mtu 1450" in link
    assert (
        netns.execute(name, ["ip", "route", "show", str(GROUND.destination)]).strip()
        == "10.65.2.0/26 via 10.65.2.0 dev vxlan.calico proto 67 metric 1024 onlink"
    )
    assert (
        netns.execute(name, ["ip", "neighbour", "show", "dev", DEVICE.name]).strip()
        == "10.65.2.0 lladdr 66:00:00:00:00:02 PERMANENT"
    )
    assert (
        netns.execute(name, ["bridge", "fdb", "show", "dev", DEVICE.name]).strip()
        == "66:00:00:00:00:02 dst 10.0.1.10 self permanent"
    )
    assert "local 10.65.1.0/26 dev lo proto 67" in netns.execute(name, ["ip", "route", "show", "table", "4793"])


def test_broken_checksum_offload_is_switched_off(name):
    def work():
        kernel = NetlinkKernel(checksum_broken=True)
        try:
            failures = kernel.apply([Put(DEVICE)])
        finally:
            kernel.close()
        return failures, subprocess.run(
            ["ethtool", "-k", DEVICE.name], capture_output=True, text=True, check=True
        ).stdout

    failures, shown = netns.run_inside(name, work)

    assert not failures
    assert "tx-checksumming: off" in shown


def test_a_gateway_of_several_next_hops_is_the_first(name, kernel):
    hops = "nexthop via 10.0.0.3 dev eth0 nexthop via 10.0.0.4 dev eth0"
    netns.execute(
        name, ["sh", "-ec", f"ip route add default metric 9 {hops}; ip route add blackhole default metric 1"]
    )

    assert [str(gateway.address) for gateway in kernel.gateways()] == ["10.0.0.3"]


def test_of_ways_that_bird_learned_the_first_hop_counts_and_what_others_wrote_is_none(name, kernel):
    in_table = f"table {LEARNED_TABLE}"
    hops = "nexthop via 10.0.0.3 dev eth0 nexthop via 10.0.0.4 dev eth0"
    for words in (
        f"10.65.2.0/26 proto bird {in_table} {hops}",
        f"10.65.3.0/26 via 10.0.0.3 proto static {in_table}",
        "10.65.4.0/26 via 10.0.0.3 proto bird",
        f"blackhole 10.65.5.0/26 proto bird {in_table}",
        f"10.65.6.0/26 dev eth0 proto bird {in_table}",
    ):
        netns.execute(name, ["ip", "route", "add", *words.split()])

    assert kernel.learned() == {ip_network("10.65.2.0/26"): Hop(ip_address("10.0.0.3"), "eth0")}


def _lookup(address):
    packed = ip_address(address).packed
    family, bits = (wire.AF_INET, 32) if len(packed) == 4 else (wire.AF_INET6, 128)
    head = wire.ROUTE.pack(family, bits, 0, 0, 0, 0, 0, 0, 0)
    return head + codec.wire.address_attribute(wire.RTA_DST, packed)
