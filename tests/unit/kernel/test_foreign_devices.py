"""Devices of another program: their ports and routes are found by name, and only what is named goes."""

from __future__ import annotations

import os
from contextlib import closing
from ipaddress import ip_network

import pytest

from cloudnet.kernel import netns
from cloudnet.kernel.api import HostNamespace
from cloudnet.kernel.foreign import LOWER, ForeignRoutes
from cloudnet.kernel.foreign_devices import ForeignDevices

pytestmark = pytest.mark.kernel

NAME = f"cn-leave-{os.getpid()}"


@pytest.fixture
def node():
    with netns.temporary(NAME):
        for line in (
            "link add eth0 type veth peer name eth0-peer",
            "link add cni0 type bridge",
            "link add veth1 type veth peer name veth1-peer",
            "link set veth1 master cni0",
            "link add flannel.1 type vxlan id 1 local 10.0.0.11 dev eth0 dstport 8472",
            "link set eth0 up",
            "link set cni0 up",
            "link set flannel.1 up",
            "address add 10.65.1.0/32 dev flannel.1",
            "address add 10.0.0.11/24 dev eth0",
            "route add 10.65.2.0/24 via 10.65.2.0 dev flannel.1 onlink",
            "route add 10.65.3.0/24 via 10.65.3.0 dev flannel.1 onlink proto static",
            "route add 10.65.2.0/24 dev eth0 metric 5",
        ):
            netns.execute(NAME, ["ip", *line.split()])
        yield


def work(how, door=ForeignDevices):
    def inside():
        with closing(door()) as devices:
            return how(devices)

    return netns.run_inside(NAME, inside)


def show(what):
    return netns.execute(NAME, ["ip", *what.split()])


def test_ports_are_those_of_the_bridge_that_is_named(node):
    assert work(lambda devices: list(devices.ports("cni0"))) == ["veth1"]
    assert work(lambda devices: list(devices.ports("cbr0"))) == []


def test_only_what_its_program_wrote_over_the_device_is_found_and_goes(node):
    found = work(lambda devices: devices.routes_over("flannel.1"))

    work(lambda routes: [routes.remove(body) for body in (*found.values(), *found.values())], lambda: theirs(3))

    assert set(found) == {ip_network("10.65.2.0/24")}
    assert "10.65.2.0/24 via" not in show("route")
    assert "10.65.2.0/24 dev eth0" in show("route")
    assert "10.65.3.0/24 via 10.65.3.0 dev flannel.1 proto static" in show("route")


def theirs(protocol):
    return ForeignRoutes(frozenset({protocol}), "cali")


def test_routes_that_were_lowered_are_told_from_those_that_were_not(node):
    netns.execute(NAME, ["ip", "route", "add", "10.66.0.0/26", "dev", "eth0", "proto", "80", "metric", str(LOWER)])
    netns.execute(NAME, ["ip", "route", "add", "10.67.0.0/26", "dev", "eth0", "proto", "80"])

    lowered = work(lambda routes: list(routes.lowered()), lambda: theirs(80))
    work(lambda routes: [routes.remove(body) for body in lowered], lambda: theirs(80))

    assert len(lowered) == 1
    assert "10.66.0.0/26" not in show("route")
    assert "10.67.0.0/26 dev eth0 proto 80" in show("route")


def test_a_device_goes_and_one_that_is_gone_is_no_error(node):
    for _ in range(2):
        work(lambda devices: devices.remove("flannel.1"))

    assert "flannel.1" not in show("link")
    assert "cni0" in show("link")


def test_the_machines_own_namespace_is_refused():
    with pytest.raises(HostNamespace):
        ForeignDevices()
