"""Routes of another program get a worse metric and back, with no moment without them, however often it is tried."""

from __future__ import annotations

import os
from contextlib import closing

import pytest

from cloudnet.kernel import netns
from cloudnet.kernel.foreign import LOWER, ForeignRoutes

pytestmark = pytest.mark.kernel

NAME = f"cn-foreign-{os.getpid()}"
OURS = frozenset({80})


@pytest.fixture
def node():
    with netns.temporary(NAME):
        for line in (
            "link add eth0 type veth peer name eth0-peer",
            "link add cali1 type veth peer name cali1-peer",
            "link set eth0-peer up",
            "link set eth0 up",
            "link set cali1 up",
            "address add 10.0.0.11/24 dev eth0",
            "-6 address add fd00::11/64 dev eth0 nodad",
            "route add 10.65.0.0/26 via 10.0.0.1 dev eth0 proto 80",
            "route add 10.65.0.64/26 via 10.9.0.1 dev eth0 onlink proto 80 metric 1024",
            "route add 10.65.0.128/26 proto 80 nexthop via 10.0.0.1 weight 1 nexthop via 10.0.0.2 weight 3",
            "route add blackhole 10.65.1.0/26 proto 80",
            "route add 10.65.1.7/32 dev cali1 proto 80",
            "route add 10.66.0.0/26 via 10.0.0.1 dev eth0 proto static",
            "-6 route add fd00:65::/64 via fd00::1 dev eth0 proto 80 metric 1024",
        ):
            netns.execute(NAME, ["ip", *line.split()])
        yield


def shown():
    return [netns.execute(NAME, ["ip", family, "route"]) for family in ("-4", "-6")]


def work(how):
    def inside():
        with closing(ForeignRoutes(OURS, "cali")) as routes:
            return how(routes)

    return netns.run_inside(NAME, inside)


def test_routes_are_lowered_and_raised_again_whatever_they_say(node):
    before = shown()
    read = work(lambda routes: list(routes.read()))

    work(lambda routes: [routes.lower(route) for route in read])
    lowered = shown()
    left = work(lambda routes: list(routes.read()))
    work(lambda routes: [routes.raise_again(route) for route in read])

    assert len(read) == 5
    assert left == []
    assert lowered[0].count(f"metric {LOWER}") == 3
    assert f"metric {LOWER + 1024}" in lowered[1]
    assert "10.65.1.7 dev cali1 proto 80" in lowered[0]
    assert [sorted(text.splitlines()) for text in shown()] == [sorted(text.splitlines()) for text in before]


def test_lowering_twice_is_lowering_once(node):
    read = work(lambda routes: list(routes.read()))
    work(lambda routes: [routes.lower(route) for route in read])
    once = shown()

    work(lambda routes: [routes.lower(route) for route in read])

    assert shown() == once


def test_a_route_whose_place_somebody_has_taken_goes_with_its_likeness(node):
    read = work(lambda routes: list(routes.read()))
    work(lambda routes: [routes.lower(route) for route in read])
    netns.execute(
        NAME,
        ["ip", "route", "add", "10.65.0.64/26", "via", "10.0.0.1", "dev", "eth0", "proto", "67", "metric", "1024"],
    )

    work(lambda routes: [routes.raise_again(route) for route in read])

    ways = netns.execute(NAME, ["ip", "route", "show", "10.65.0.64/26"]).splitlines()
    assert [way.split("proto ")[1].split()[0] for way in ways] == ["67"]
