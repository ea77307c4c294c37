"""Real agents in namespaces of their own, a router between them that follows its own mind, and real packets.

n1 and n3 share a subnet, n2 has another; ``cloud`` is the router between both and the bridge within each.
"""

import os
import signal
import subprocess
import time
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from cloudnet.ipam import block as blocks
from cloudnet.kernel import netns
from cloudnet.model.addresses import InstanceId, InterfaceId, NodeName, SubnetId, TableId
from cloudnet.model.resources import (
    Affinity,
    AgentReport,
    AllocationAttribute,
    BlockAffinity,
    Cause,
    CloudNode,
    CloudRoute,
    Metadata,
    Node,
    RouteState,
    TableStatus,
    Vtep,
)
from cloudnet.testing.rig import Rig, block, lost, pod, standing

pytestmark = pytest.mark.kernel

TABLES = {1: TableId("rtb-1"), 2: TableId("rtb-2")}


def route(k, state=RouteState.PROGRAMMED, cause=Cause.NONE):
    tables = tuple(TableStatus(table, state, cause) for table in TABLES.values())
    return CloudRoute(Metadata(f"10-65-{k}-0-26"), block(k), NodeName(f"n{k}"), tables)


class Cloud(Rig):
    """A rig whose router is a cloud that speaks for all nodes."""

    router = "cloud"

    @classmethod
    def resources(cls, k):
        yield from super().resources(k)
        subnet = cls.subnets[k]
        yield CloudNode(
            Metadata(f"n{k}"), InstanceId(f"i-{k}"), InterfaceId(f"eni-{k}"), SubnetId(f"subnet-{subnet}"),
            tables=(TABLES[subnet],), forwarding=True, l2_adjacent=True,
        )  # fmt: skip


SUBNETS, address = Cloud.subnets, Cloud.address


@pytest.fixture
def rig(tmp_path):
    with standing(Cloud, f"cnt{os.getpid()}", tmp_path) as rig:
        yield rig


def programmed(rig, *numbers):
    for k in numbers:
        rig.ip("cloud", f"route replace {block(k)} via {address(k)}")
        rig.put(route(k))


def all_native(rig):
    return all(
        rig.path(k, to) == ("direct" if SUBNETS[k] == SUBNETS[to] else "native", "proven")
        for k in SUBNETS
        for to in SUBNETS
        if k != to
    )


def test_the_ground_carries_packets_less_than_a_second_after_the_agent_starts(rig):
    rig.start(1)
    rig.wait(lambda: rig.path(1, 2) is not None)

    seconds = []
    for _ in range(5):  # the best of five: other work on this machine is not what is measured
        started = time.monotonic()
        rig.start(2)
        rig.wait(lambda: rig.pings(1, 2))
        seconds.append(time.monotonic() - started)
        rig.stop(2, signal.SIGKILL)
        rig.ip("n2", "link delete vxlan.calico")
        if seconds[-1] < 1.0:
            break

    assert min(seconds) < 1.0
    assert rig.path(1, 2) == ("vxlan", "pending")


def test_a_programmed_route_is_taken_a_black_hole_is_left_and_nobody_loses_a_connection(rig):
    for k in SUBNETS:
        rig.start(k)
    rig.wait(lambda: rig.path(1, 3) == ("direct", "proven"))
    rig.wait(lambda: rig.pings(1, 2))

    flow = rig.flow(1, 2, 3)
    programmed(rig, 1, 2, 3)
    rig.wait(lambda: all_native(rig))
    assert lost(flow) == 0

    seconds = []
    for _ in range(3):  # the best of three: other work on this machine is not what is measured
        flow = rig.flow(1, 2, 4)
        time.sleep(0.5)
        started = time.monotonic()
        rig.ip("cloud", f"route replace blackhole {block(2)}")
        rig.wait(lambda: rig.path(1, 2) == ("vxlan", "probes-lost"))
        seconds.append(time.monotonic() - started)
        assert lost(flow) < 200 * (seconds[-1] + 0.1)
        rig.wait(lambda: rig.store.get(AgentReport, "n1").value.lost == (block(2),))

        flow = rig.flow(1, 2, 6)
        rig.ip("cloud", f"route replace {block(2)} via {address(2)}")
        rig.wait(lambda: rig.path(1, 2) == ("native", "proven"))
        assert lost(flow) == 0
        if seconds[-1] < 1.0:
            break
    assert min(seconds) < 1.0


def test_a_withdrawal_loses_nothing_and_is_acknowledged_after_the_route_is_left(rig):
    for k in (1, 2):
        rig.start(k)
    programmed(rig, 1, 2)
    rig.wait(lambda: rig.path(1, 2) == ("native", "proven"))

    flow = rig.flow(1, 2, 2)
    revision = rig.put(route(2, RouteState.WITHDRAWING)).revision
    rig.wait(lambda: rig.store.get(AgentReport, "n1").value.observed >= revision)
    rig.ip("cloud", f"route replace blackhole {block(2)}")

    assert lost(flow) == 0
    assert rig.path(1, 2) == ("vxlan", "withdrawing")


def test_killing_and_restarting_agents_loses_no_packet(rig):
    for k in (1, 2):
        rig.start(k)
    programmed(rig, 1, 2)
    rig.wait(lambda: rig.path(1, 2) == ("native", "proven"))
    rig.wait(lambda: rig.path(2, 1) == ("native", "proven"))

    flow = rig.flow(1, 2, 5)
    time.sleep(0.3)
    rig.stop(1, signal.SIGKILL)
    rig.start(1)
    rig.wait(lambda: rig.path(1, 2) is not None)
    assert rig.stop(2) == 0
    time.sleep(1.0)
    rig.start(2)
    rig.wait(lambda: rig.path(2, 1) is not None)

    assert lost(flow) == 0


def test_what_a_stranger_deletes_comes_back(rig):
    rig.start(1)
    rig.wait(lambda: rig.path(1, 2) is not None)
    time.sleep(2.5)

    rig.ip("n1", f"route delete {block(2)} dev vxlan.calico")

    show = ["ip", "route", "show", str(block(2))]
    rig.wait(lambda: "vxlan.calico" in netns.execute(rig.namespace("n1"), show))


def test_ipv6_has_its_own_ground_and_its_own_native_path(rig):
    rig.ip("cloud", *(f"address add fd00:{subnet}::1/64 dev br{subnet} nodad" for subnet in (1, 2)))
    netns.execute(rig.namespace("cloud"), ["sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"])
    blocks = {k: ip_network(f"fd00:65:{k}::/122") for k in (1, 2)}
    for k in (1, 2):
        rig.ip(
            f"n{k}", f"address add fd00:{k}::{k}0/64 dev eth0 nodad", f"address add fd00:65:{k}::5/128 dev lo",
            f"route add default via fd00:{k}::1",
        )  # fmt: skip
        rig.put(
            Node(
                Metadata(f"n{k}"),
                (ip_interface(f"{address(k)}/24"), ip_interface(f"fd00:{k}::{k}0/64")),
                (Vtep(ip_address(f"10.65.{k}.0"), ""), Vtep(blocks[k].network_address, "")),
            )
        )
        rig.put(BlockAffinity(Metadata(f"n{k}-v6"), NodeName(f"n{k}"), blocks[k]))
        rig.start(k)
    command = ["ping", "-c", "1", "-W", "0.2", "-q", "-I", "fd00:65:1::5", "fd00:65:2::5"]

    def reached():
        done = subprocess.run(netns.command_inside(rig.namespace("n1"), command), capture_output=True, check=False)
        return done.returncode == 0

    rig.wait(reached)
    assert rig.paths(1)[str(blocks[2])] == ("vxlan", "pending")

    for k in (1, 2):
        rig.ip("cloud", f"route replace {blocks[k]} via fd00:{k}::{k}0")
        rig.put(replace(route(k), meta=Metadata(f"v6-{k}"), cidr=blocks[k]))
    rig.wait(lambda: rig.paths(1)[str(blocks[2])] == ("native", "proven"))
    assert reached()


def lent(k, ordinal, to):
    """Return the block of node ``k``, of which node ``to`` has one address."""
    made = blocks.new(block(k), Affinity(NodeName(f"n{k}")), now=datetime(2025, 1, 1, tzinfo=UTC), sequence=1)
    allocations = tuple(0 if n == ordinal else None for n in range(64))
    free = tuple(n for n in range(64) if n != ordinal)
    owner = AllocationAttribute(handle="h", owner={"node": f"n{to}"})
    return replace(made, allocations=allocations, unallocated=free, attributes=(owner,))


def test_a_borrowed_address_is_reached_where_it_is_and_no_more_once_released(rig):
    borrowed = "10.65.2.7"
    rig.ip("n3", f"address add {borrowed}/32 dev lo")
    for k in SUBNETS:
        rig.start(k)
    rig.wait(lambda: rig.path(1, 2) is not None)

    def reaches(k):
        command = ["ping", "-c", "1", "-W", "0.2", "-q", "-I", pod(k), borrowed]
        inside = netns.command_inside(rig.namespace(f"n{k}"), command)
        return not subprocess.run(inside, capture_output=True, check=False).returncode

    def routed(k):
        return borrowed in netns.execute(rig.namespace(f"n{k}"), ["ip", "route", "show", f"{borrowed}/32"])

    before = reaches(1), reaches(2)
    rig.put(lent(2, 7, to=3))
    rig.wait(lambda: reaches(1) and reaches(2))
    while_borrowed = [routed(k) for k in SUBNETS]
    programmed(rig, 1, 2, 3)
    rig.wait(lambda: rig.path(1, 2) == ("native", "proven"))
    flow = [reaches(1) for _ in range(5)]
    rig.put(lent(2, 7, to=2))
    rig.wait(lambda: not routed(1) and not routed(2))

    assert before == (False, False)
    assert while_borrowed == [True, True, False]
    assert all(flow)
    assert not reaches(1)


def test_a_node_that_starts_while_the_store_is_away_goes_on_from_what_it_said_last(rig):
    for k in SUBNETS:
        rig.start(k)
    rig.wait(lambda: rig.pings(1, 2))
    rig.stop(1)
    rig.ip("n1", "link delete vxlan.calico")  # as after a reboot
    before = rig.pings(1, 2)

    rig.start(1, "--store", "etcd://127.0.0.1:1")

    rig.wait(lambda: rig.pings(1, 2))
    assert not before
    assert "going on from what it said last" in rig.told()["n1.log"]


def test_a_restarted_agent_loses_no_packet_to_a_borrowed_address(rig):
    borrowed = "10.65.2.7"
    rig.ip("n3", f"address add {borrowed}/32 dev lo")
    rig.put(lent(2, 7, to=3))
    for k in SUBNETS:
        rig.start(k)
    rig.wait(lambda: rig.pings(1, borrowed))

    flow = rig.flow(1, borrowed, 3)
    time.sleep(0.3)
    rig.stop(1, signal.SIGKILL)
    rig.start(1)
    rig.wait(lambda: rig.path(1, 2) is not None)

    assert lost(flow) == 0
