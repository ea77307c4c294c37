"""The real kernel and its twin keep the contract of ``cloudnet.testing.kernel``, and one answers as the other."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest
from hypothesis import given, settings

from cloudnet.kernel import netns
from cloudnet.kernel.api import LEARNED_TABLE, FdbEntry, Hop, Neighbour, Remove, Route
from cloudnet.kernel.netlink import NetlinkKernel
from cloudnet.model.addresses import Family, Network, family
from cloudnet.testing import kernel as contract
from cloudnet.testing.kernel import ADDRESSES, GATEWAYS, KernelContract, MemoryWorld

R = TypeVar("R")

_numbers = itertools.count()


class NetlinkWorld:
    """A network namespace of its own, with a veth pair as the underlay."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.ip(
            "link add eth0 type veth peer name eth0-peer",
            "link set eth0-peer up",
            "link set eth0 up",
            *(f"address add {address} dev eth0 {'nodad' if address.version == 6 else ''}" for address in ADDRESSES),
            *(f"-{address.version} route add default via {address} dev eth0" for address in GATEWAYS),
        )
        self.kernel = netns.run_inside(namespace, NetlinkKernel)

    def inside(self, work: Callable[[], R]) -> R:
        return netns.run_inside(self.namespace, work)

    def add_foreign_route(self, route: Route) -> None:
        self.ip(f"-{route.destination.version} route replace {_words(route)} proto static")

    def has_foreign_route(self, route: Route) -> bool:
        show = f"route show {route.destination} table {route.table} proto static metric {route.metric}"
        shown = netns.execute(self.namespace, ["ip", f"-{route.destination.version}", *show.split()])
        return (f"via {route.gateway}" in shown) if route.gateway else bool(shown) and "via" not in shown

    def lose(self, value: Route | Neighbour | FdbEntry) -> None:
        match value:
            case Route():
                self.ip(f"-{value.destination.version} route delete {_words(value)}")
            case Neighbour():
                self.ip(f"neighbour delete {value.address} dev {value.device}")
            case FdbEntry():
                netns.execute(self.namespace, ["bridge", "fdb", "delete", value.mac, "dev", value.device])

    def add_device(self, name: str) -> None:
        self.ip(f"link add {name} type veth peer name {name}-peer", f"link set {name}-peer up")

    def learn(self, destination: Network, hop: Hop) -> None:
        way = f"via {hop.gateway} dev {hop.device} table {LEARNED_TABLE} proto bird"
        self.ip(f"-{destination.version} route replace {destination} {way}")

    def unlearn(self, destination: Network) -> None:
        self.ip(f"-{destination.version} route delete {destination} table {LEARNED_TABLE}")

    def ip(self, *lines: str) -> None:
        """Run each line by an ``ip`` of its own: a batch cannot change the family."""
        for line in lines:
            netns.execute(self.namespace, ["ip", *line.split()])


def _words(route: Route) -> str:
    via = f"via {route.gateway}" if route.gateway else ""
    return f"{route.destination} {via} dev {route.device} metric {route.metric} table {route.table}"


@contextmanager
def netlink_world() -> Iterator[NetlinkWorld]:
    with netns.temporary(f"cn-test-{os.getpid()}-{next(_numbers)}") as name:
        world = NetlinkWorld(name)
        try:
            yield world
        finally:
            world.kernel.close()


class TestMemory(KernelContract):
    @pytest.fixture
    def world(self):
        return MemoryWorld()


@pytest.mark.kernel
class TestNetlink(KernelContract):
    @pytest.fixture
    def world(self):
        with netlink_world() as world:
            yield world


@pytest.mark.kernel
def test_the_twin_ends_where_the_kernel_ends():
    with netlink_world() as real:

        @settings(max_examples=60, deadline=None)
        @given(changes=contract.changes())
        def check(changes):
            real.kernel.apply([Remove(value) for value in reversed(real.kernel.read().values())])
            twin = MemoryWorld()

            refused = [(f.change, f.error.errno) for f in real.kernel.apply(changes)]
            refused_by_twin = [(f.change, f.error.errno) for f in twin.kernel.apply(changes)]

            assert refused_by_twin == refused
            assert dict(twin.kernel.read()) == dict(real.kernel.read())
            assert all(family(gateway.address) in Family for gateway in real.kernel.gateways())

        check()
