"""Leaving the cluster, with real packets: a host outside sees the node or the pod, as the pool says."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from dataclasses import replace

import pytest

from cloudnet.kernel import netns
from cloudnet.lab import spec
from cloudnet.lab.lab import Lab
from cloudnet.lab.spec import LabSpec
from cloudnet.model.resources import IPPool

pytestmark = pytest.mark.lab

NAME = f"o{os.getpid() % 100000}"
PORT = 8080
OUTSIDE = str(spec.OUTSIDE_HOST.ip)
SOON = 10.0


@pytest.fixture(scope="module")
def lab():
    built = Lab.up(LabSpec(NAME, nodes=2, subnets=2, pods=1))
    try:
        built.add_outside()
        built.wait_native()
        yield built
    finally:
        built.down()


@pytest.fixture
def outside(lab):
    """A server on the host outside."""
    with netns.open_socket(lab.namespace("outside"), socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((OUTSIDE, PORT))
        listening.listen(8)
        listening.settimeout(2)
        yield listening


def nat_outgoing(lab, *, on):
    """Change the pool and wait until every node's kernel has followed."""
    with contextlib.closing(lab.store()) as store:
        seen = store.get(IPPool, "default")
        store.update(replace(seen.value, nat_outgoing=on), expected=seen.revision)
    show = ["nft", "list", "set", "inet", "cloudnet_nat", "sources4"]
    until(lambda: all(("10.65.0.0/16" in netns.execute(node.namespace, show)) == on for node in lab.nodes()))


def until(condition):
    end = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def call(lab, place, outside):
    """Connect from a pod to the host outside; return both ends and who the host sees."""
    calling = netns.open_socket(lab.namespace(place), socket.AF_INET, socket.SOCK_STREAM)
    calling.settimeout(2)
    calling.connect((OUTSIDE, PORT))
    answering, (seen, _) = outside.accept()
    answering.settimeout(2)
    return calling, answering, seen


def seen_by(lab, place, outside):
    calling, answering, seen = call(lab, place, outside)
    calling.close()
    answering.close()
    return seen


def carries(calling, answering):
    """Tell whether bytes still go both ways."""
    calling.sendall(b"there")
    answering.sendall(b"back")
    return (answering.recv(16), calling.recv(16)) == (b"there", b"back")


def reaches(lab, source, destination):
    with netns.open_socket(lab.namespace(source), socket.AF_INET, socket.SOCK_STREAM) as calling:
        calling.settimeout(0.5)
        try:
            calling.connect((destination, PORT))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        return True


@pytest.mark.parametrize("place", ["n1/p1", "n2/p1"])
def test_with_nat_the_host_outside_sees_the_node(lab, outside, place):
    nat_outgoing(lab, on=True)

    seen = seen_by(lab, place, outside)

    assert seen == str(lab.node(place.partition("/")[0]).addresses[0].ip)


def test_without_nat_a_pod_that_nobody_outside_has_a_route_to_gets_no_answer(lab, outside):
    nat_outgoing(lab, on=False)

    assert not reaches(lab, "n2/p1", OUTSIDE)
    assert not reaches(lab, "outside", str(lab.pod("n2/p1").address))


def test_inside_the_pools_pods_see_each_other_though_nat_is_on(lab):
    nat_outgoing(lab, on=True)
    address = str(lab.pod("n2/p1").address)
    with netns.open_socket(lab.namespace("n2/p1"), socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.bind((address, PORT))
        listening.listen()
        listening.settimeout(2)
        with netns.open_socket(lab.namespace("n1/p1"), socket.AF_INET, socket.SOCK_STREAM) as calling:
            calling.settimeout(2)
            calling.connect((address, PORT))
            answering, (seen, _) = listening.accept()
            answering.close()

    assert seen == str(lab.pod("n1/p1").address)


def test_another_node_sees_the_node_as_calico_has_it(lab):
    nat_outgoing(lab, on=True)
    node = lab.node("n2")
    with netns.open_socket(node.namespace, socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.bind((str(node.addresses[0].ip), PORT))
        listening.listen()
        listening.settimeout(2)
        with netns.open_socket(lab.namespace("n1/p1"), socket.AF_INET, socket.SOCK_STREAM) as calling:
            calling.settimeout(2)
            calling.connect((str(node.addresses[0].ip), PORT))
            answering, (seen, _) = listening.accept()
            answering.close()

    assert seen == str(lab.node("n1").addresses[0].ip)


def test_without_nat_and_with_routes_both_ways_the_pod_keeps_its_address_and_is_reached_from_outside(lab, outside):
    nat_outgoing(lab, on=False)
    lab.route_outside(spec.POOL)
    address = str(lab.pod("n2/p1").address)

    seen = seen_by(lab, "n2/p1", outside)

    assert seen == address
    assert reaches(lab, "outside", address)


def test_open_connections_live_through_every_change_of_the_pool(lab, outside):
    lab.route_outside(spec.POOL)
    with contextlib.ExitStack() as stack:
        connections = []
        for on in (True, False, True, False):
            nat_outgoing(lab, on=on)
            calling, answering, seen = call(lab, "n2/p1", outside)
            stack.enter_context(calling)
            stack.enter_context(answering)
            connections.append((calling, answering, seen))

            assert all(carries(one, other) for one, other, _ in connections)

    node, pod = str(lab.node("n2").addresses[0].ip), str(lab.pod("n2/p1").address)
    assert [seen for _, _, seen in connections] == [node, pod, node, pod]
