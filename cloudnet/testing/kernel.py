"""The contract that every kernel door keeps: derive from ``KernelContract`` and say how a world is made.

class TestMemory(KernelContract):
    @pytest.fixture
    def world(self):
        return MemoryWorld()
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Protocol, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from cloudnet.kernel.api import (
    MAIN_TABLE,
    Change,
    Failure,
    FdbEntry,
    Gateway,
    Hop,
    Kernel,
    KernelError,
    KernelObject,
    Link,
    Neighbour,
    Notices,
    Put,
    Remove,
    Route,
    RouteKind,
    Rule,
    VxlanDevice,
)
from cloudnet.kernel.memory import MemoryKernel
from cloudnet.model.addresses import Family, Network

R = TypeVar("R")

UNDERLAY = "eth0"
ADDRESSES = (ip_interface("10.0.0.10/24"), ip_interface("fd00:10::10/64"))
GATEWAYS = (ip_address("10.0.0.1"), ip_address("fd00:10::1"))
SOON = 2.0  # seconds in which a notice must come
QUIET = 0.2  # seconds without a notice that count as none

DEVICE = VxlanDevice(
    "vxlan.calico",
    4096,
    4789,
    UNDERLAY,
    ip_address("10.0.0.10"),
    "66:f9:37:c3:7e:94",
    1450,
    (ip_interface("10.65.1.0/32"),),
)
DEVICE_V6 = VxlanDevice(
    "vxlan-v6.calico",
    4096,
    4789,
    UNDERLAY,
    ip_address("fd00:10::10"),
    "66:48:f6:56:dc:f1",
    1430,
    (ip_interface("fd00:65::/128"),),
)
BLOCK, BLOCK_V6 = ip_network("10.65.2.0/26"), ip_network("fd00:65::40/122")
GROUND = Route(BLOCK, "vxlan.calico", ip_address("10.65.2.0"), onlink=True)
GROUND_V6 = Route(BLOCK_V6, "vxlan-v6.calico", ip_address("fd00:65::40"), onlink=True)
NATIVE = Route(BLOCK, UNDERLAY, GATEWAYS[0], metric=512)
NATIVE_V6 = Route(BLOCK_V6, UNDERLAY, GATEWAYS[1], metric=512)
NEIGHBOUR = Neighbour("vxlan.calico", ip_address("10.65.2.0"), "66:00:00:00:00:02")
NEIGHBOUR_V6 = Neighbour("vxlan-v6.calico", ip_address("fd00:65::40"), "66:00:00:00:06:02")
ENTRY = FdbEntry("vxlan.calico", "66:00:00:00:00:02", ip_address("10.0.1.10"))
ENTRY_V6 = FdbEntry("vxlan-v6.calico", "66:00:00:00:06:02", ip_address("fd00:11::10"))
RULE = Rule(Family.IPV4, 98, 4793, socket.IPPROTO_UDP, 4793)

EVERYTHING: tuple[KernelObject, ...] = (
    DEVICE,
    DEVICE_V6,
    ENTRY,
    ENTRY_V6,
    NEIGHBOUR,
    NEIGHBOUR_V6,
    GROUND,
    GROUND_V6,
    NATIVE,
    NATIVE_V6,
    RULE,
    Rule(Family.IPV6, 98, 4793, socket.IPPROTO_UDP, 4793),
    Rule(Family.IPV4, 101, MAIN_TABLE, destination=ip_network("10.0.0.16/28")),
    Rule(Family.IPV4, 102, MAIN_TABLE, source=ip_network("10.0.0.32/28"), destination=ip_network("10.65.0.0/16")),
    Rule(Family.IPV4, 103, 4801, source=ip_network("10.0.0.32/28")),
    Rule(Family.IPV4, 103, 4801, source=ip_network("10.0.0.48/28")),
    Rule(Family.IPV6, 103, 4801, source=ip_network("fd00:10:0:0:1::/80")),
    Route(BLOCK, UNDERLAY, ip_address("10.0.0.7"), metric=512, table=4793),
    Route(ip_network("10.65.1.0/26"), "lo", table=4793, kind=RouteKind.LOCAL),
    Route(ip_network("10.65.1.0/26"), kind=RouteKind.BLACKHOLE),
    Route(ip_network("fd00:65::/122"), "lo", table=4793, kind=RouteKind.LOCAL),
    Route(ip_network("fd00:65::/122"), kind=RouteKind.BLACKHOLE),
    Route(ip_network("10.66.0.0/26"), UNDERLAY, ip_address("10.99.0.1"), onlink=True, source=ip_address("10.0.0.10")),
    Route(ip_network("10.66.1.0/26"), UNDERLAY),
)
"""One of everything that we ever write, in an order in which it can be written."""


class World(Protocol):
    """A host for one test: device ``eth0`` with ``ADDRESSES``, default routes of somebody else by ``GATEWAYS``."""

    @property
    def kernel(self) -> Kernel: ...

    def inside(self, work: Callable[[], R]) -> R:
        """Do something on a thread that is where the kernel is."""

    def add_foreign_route(self, route: Route) -> None:
        """Let somebody else add a route or take the place of ours."""

    def has_foreign_route(self, route: Route) -> bool: ...

    def lose(self, value: Route | Neighbour | FdbEntry) -> None:
        """Let somebody else delete something of ours."""

    def add_device(self, name: str) -> None:
        """Let the cloud attach a device: it is down and has no address."""

    def learn(self, destination: Network, hop: Hop) -> None:
        """Let BIRD put a way into its table, in place of what it knew before."""

    def unlearn(self, destination: Network) -> None:
        """Let BIRD take a way out of its table."""


class MemoryWorld:
    """The twin as a world."""

    def __init__(self) -> None:
        eth0 = Link(UNDERLAY, 2, 1500, up=True, mac="02:00:00:00:00:10", addresses=ADDRESSES)
        gateways = [Gateway(Family(address.version), UNDERLAY, address) for address in GATEWAYS]
        self.kernel = MemoryKernel([eth0], gateways)

    def inside(self, work: Callable[[], R]) -> R:
        return work()

    def add_foreign_route(self, route: Route) -> None:
        self.kernel.add_foreign_route(route)

    def has_foreign_route(self, route: Route) -> bool:
        return route in self.kernel.foreign_routes()

    def lose(self, value: Route | Neighbour | FdbEntry) -> None:
        self.kernel.lose(value)

    def add_device(self, name: str) -> None:
        self.kernel.add_link(Link(name, 9, 1500, up=False, mac="02:00:00:00:00:99"))

    def learn(self, destination: Network, hop: Hop) -> None:
        self.kernel.learn(destination, hop)

    def unlearn(self, destination: Network) -> None:
        self.kernel.learn(destination, None)


class KernelContract:
    """Tests of the kernel door's promises. A subclass gives the fixture ``world``."""

    # --- putting, reading, removing ---------------------------------------------------------------------

    def test_what_is_put_is_read(self, world: World) -> None:
        failures = put(world, *EVERYTHING)

        assert not failures
        assert world.kernel.read() == {value.key: value for value in EVERYTHING}

    def test_a_setting_is_read_as_it_was_set_and_one_that_is_not_there_is_nothing(self, world: World) -> None:
        name = f"net.ipv4.conf.{UNDERLAY}.proxy_arp"

        world.inside(lambda: world.kernel.set_sysctl(name, "1"))

        assert world.inside(lambda: world.kernel.sysctl(name)) == "1"
        assert world.inside(lambda: world.kernel.sysctl("net.ipv4.conf.nosuch.proxy_arp")) is None

    def test_putting_again_changes_nothing(self, world: World) -> None:
        put(world, *EVERYTHING)
        before = world.kernel.read()

        failures = put(world, *EVERYTHING)

        assert not failures
        assert world.kernel.read() == before

    def test_what_is_removed_is_gone_and_may_be_removed_again(self, world: World) -> None:
        put(world, *EVERYTHING)

        failures = [*remove(world, *reversed(EVERYTHING)), *remove(world, *reversed(EVERYTHING))]

        assert not failures
        assert not world.kernel.read()

    def test_nothing_is_read_of_what_others_made(self, world: World) -> None:
        world.add_foreign_route(Route(BLOCK, UNDERLAY, GATEWAYS[0]))

        assert not world.kernel.read()

    def test_a_fresh_door_replaces_what_an_earlier_one_wrote(self, world: World) -> None:
        put(world, *EVERYTHING)
        world.kernel.read()
        moved = replace(NATIVE, gateway=ip_address("10.0.0.2"))

        failures = put(world, moved)

        assert not failures
        assert world.kernel.read()[NATIVE.key] == moved

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            (NATIVE, replace(NATIVE, gateway=ip_address("10.0.0.2"))),
            (NATIVE, replace(NATIVE, gateway=ip_address("10.99.0.2"), onlink=True)),
            (NATIVE, Route(BLOCK, kind=RouteKind.BLACKHOLE, metric=512)),
            (Route(BLOCK, kind=RouteKind.BLACKHOLE, metric=512), NATIVE),
            (NATIVE, Route(BLOCK, UNDERLAY, metric=512)),
            (NATIVE_V6, replace(NATIVE_V6, gateway=ip_address("fd00:10::2"))),
            (NATIVE_V6, Route(BLOCK_V6, kind=RouteKind.BLACKHOLE, metric=512)),
            (Route(BLOCK_V6, kind=RouteKind.BLACKHOLE, metric=512), NATIVE_V6),
            (NATIVE_V6, Route(BLOCK_V6, UNDERLAY, metric=512)),
            (Route(BLOCK_V6, UNDERLAY, metric=512), NATIVE_V6),
            (NEIGHBOUR, replace(NEIGHBOUR, mac="66:00:00:00:00:09")),
            (ENTRY, replace(ENTRY, address=ip_address("10.0.1.99"))),
            (ENTRY_V6, replace(ENTRY_V6, address=ip_address("fd00:11::99"))),
        ],
        ids=str,
    )
    def test_what_has_the_same_key_is_replaced(self, world: World, before: KernelObject, after: KernelObject) -> None:
        put(world, DEVICE, DEVICE_V6, before)

        failures = put(world, after)

        assert not failures
        found = world.kernel.read()
        assert found == {value.key: value for value in (DEVICE, DEVICE_V6, after)}
        assert before not in found.values()

    def test_routes_with_other_metrics_and_tables_stand_side_by_side(self, world: World) -> None:
        routes = [GROUND, NATIVE, replace(NATIVE, table=4793), replace(NATIVE, table=4793, metric=1024)]
        put(world, DEVICE, *routes)

        remove(world, NATIVE)

        wanted: tuple[KernelObject, ...] = (DEVICE, GROUND, *routes[2:])
        assert world.kernel.read() == {value.key: value for value in wanted}

    def test_changes_are_carried_out_in_order(self, world: World) -> None:
        moved = replace(NATIVE, gateway=ip_address("10.0.0.2"))

        failures = world.kernel.apply([Put(NATIVE), Put(moved), Remove(moved), Put(NATIVE), Put(moved)])

        assert not failures
        assert world.kernel.read() == {moved.key: moved}

    # --- what is not ours -------------------------------------------------------------------------------

    @pytest.mark.parametrize("ours", [NATIVE, NATIVE_V6], ids=["ipv4", "ipv6"])
    def test_a_foreign_route_under_our_key_is_not_overwritten(self, world: World, ours: Route) -> None:
        theirs = replace(ours, gateway=None)
        world.add_foreign_route(theirs)

        failures = put(world, ours)

        assert [(f.change, f.error.errno) for f in failures] == [(Put(ours), errno.EEXIST)]
        assert world.has_foreign_route(theirs)
        assert not world.kernel.read()

    def test_a_foreign_route_that_took_the_place_of_ours_is_not_overwritten(self, world: World) -> None:
        put(world, NATIVE)
        theirs = replace(NATIVE, gateway=None)
        world.add_foreign_route(theirs)

        assert NATIVE.key not in world.kernel.read()
        assert [f.error.errno for f in put(world, NATIVE)] == [errno.EEXIST]
        assert world.has_foreign_route(theirs)

    def test_a_foreign_route_stays_when_both_are_written_in_one_batch(self, world: World) -> None:
        theirs = replace(NATIVE, gateway=None)
        world.add_foreign_route(theirs)

        failures = put(world, NATIVE, replace(NATIVE, gateway=ip_address("10.0.0.2")))

        assert [f.error.errno for f in failures] == [errno.EEXIST] * 2
        assert world.has_foreign_route(theirs)

    @pytest.mark.parametrize("ours", [NATIVE, NATIVE_V6], ids=["ipv4", "ipv6"])
    def test_a_foreign_route_is_not_removed(self, world: World, ours: Route) -> None:
        world.add_foreign_route(ours)

        failures = remove(world, ours)

        assert not failures
        assert world.has_foreign_route(ours)

    @pytest.mark.parametrize(
        "value",
        [replace(NEIGHBOUR, device=UNDERLAY), replace(ENTRY, device=UNDERLAY), replace(DEVICE, name="vxlan0")],
        ids=["neighbour", "fdb", "device"],
    )
    def test_devices_of_others_are_left_alone(self, world: World, value: KernelObject) -> None:
        failures = [*put(world, value), *remove(world, value)]

        assert [f.error.errno for f in failures] == [errno.EPERM] * 2
        assert not world.kernel.read()

    # --- refusals ---------------------------------------------------------------------------------------

    def test_one_refusal_hides_no_other_change(self, world: World) -> None:
        bad = Route(ip_network("10.66.0.0/26"), "nowhere", GATEWAYS[0])

        failures = put(world, DEVICE, bad, GROUND)

        assert [f.change for f in failures] == [Put(bad)]
        assert world.kernel.read() == {value.key: value for value in (DEVICE, GROUND)}

    @pytest.mark.parametrize(
        ("value", "number"),
        [
            (Route(BLOCK, "nowhere", GATEWAYS[0]), errno.ENODEV),
            (Route(BLOCK, UNDERLAY, ip_address("10.99.0.1")), errno.ENETUNREACH),
            (Route(BLOCK_V6, UNDERLAY, ip_address("fd00:99::1")), errno.EHOSTUNREACH),
            (replace(NATIVE, metric=0), errno.EINVAL),
            (replace(DEVICE, parent="nowhere"), errno.ENODEV),
            (NEIGHBOUR, errno.ENODEV),
            (ENTRY, errno.ENODEV),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_a_refusal_names_the_thing(self, world: World, value: KernelObject, number: int) -> None:
        (failure,) = put(world, value)

        assert failure.error.errno == number
        assert str(failure.error)
        assert not world.kernel.read()

    # --- the overlay device -----------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "change",
        [
            {"mac": "66:00:00:00:00:77"},
            {"mtu": 1400},
            {"addresses": (ip_interface("10.65.9.9/32"),)},
            {"addresses": (*DEVICE.addresses, ip_interface("10.65.9.9/32"))},
        ],
        ids=str,
    )
    def test_a_device_is_changed_in_place_where_that_is_possible(
        self, world: World, change: dict[str, object]
    ) -> None:
        put(world, DEVICE, ENTRY, NEIGHBOUR, GROUND)
        changed = replace(DEVICE, **change)  # type: ignore[arg-type] # fields of the row above

        failures = put(world, changed)

        assert not failures
        assert world.kernel.read() == {value.key: value for value in (changed, ENTRY, NEIGHBOUR, GROUND)}

    def test_addresses_are_read_in_ascending_order(self, world: World) -> None:
        addresses = (ip_interface("10.65.0.1/32"), ip_interface("10.65.1.0/32"), ip_interface("10.65.9.9/32"))
        put(world, replace(DEVICE, addresses=addresses[1:]))

        failures = put(world, replace(DEVICE, addresses=addresses))

        assert not failures
        assert world.kernel.read()[DEVICE.key] == replace(DEVICE, addresses=addresses)

    def test_an_ipv6_ground_route_can_be_mended_below_a_native_one(self, world: World) -> None:
        put(world, DEVICE_V6, ENTRY_V6, NEIGHBOUR_V6, GROUND_V6, NATIVE_V6)
        remove(world, GROUND_V6)

        failures = put(world, GROUND_V6)

        assert not failures
        wanted = (DEVICE_V6, ENTRY_V6, NEIGHBOUR_V6, GROUND_V6, NATIVE_V6)
        assert world.kernel.read() == {value.key: value for value in wanted}

    @pytest.mark.parametrize("change", [{"vni": 4097}, {"port": 8472}, {"parent": "lo"}], ids=str)
    def test_an_incompatible_device_is_made_anew_without_what_hung_on_it(
        self, world: World, change: dict[str, object]
    ) -> None:
        put(world, DEVICE, ENTRY, NEIGHBOUR, GROUND, NATIVE)
        index = world.kernel.links()[DEVICE.name].index
        changed = replace(DEVICE, **change)  # type: ignore[arg-type] # fields of the row above

        failures = put(world, changed)

        assert not failures
        assert world.kernel.read() == {value.key: value for value in (changed, NATIVE)}
        assert world.kernel.links()[DEVICE.name].index != index

    def test_removing_the_device_takes_along_what_hung_on_it(self, world: World) -> None:
        put(world, DEVICE, ENTRY, NEIGHBOUR, GROUND, NATIVE)

        remove(world, DEVICE)

        assert world.kernel.read() == {NATIVE.key: NATIVE}
        assert DEVICE.name not in world.kernel.links()

    # --- the host ---------------------------------------------------------------------------------------

    def test_links_have_their_addresses(self, world: World) -> None:
        put(world, DEVICE)

        links = world.kernel.links()

        assert set(ADDRESSES) <= set(links[UNDERLAY].addresses)
        assert links[UNDERLAY].up
        assert links[DEVICE.name].mtu == DEVICE.mtu
        assert links[DEVICE.name].mac == DEVICE.mac
        assert set(DEVICE.addresses) <= set(links[DEVICE.name].addresses)

    def test_a_device_is_set_up_with_addresses_of_its_own(self, world: World) -> None:
        world.add_device("eth7")
        own = [ip_address("10.0.0.77"), ip_address("fd00:10::77")]

        world.kernel.set_up("eth7", own)
        world.kernel.set_up("eth7", own)

        link = world.kernel.links()["eth7"]
        assert link.up
        assert [a for a in link.addresses if not a.ip.is_link_local] == [ip_interface(a) for a in own]

    def test_routes_can_leave_by_a_device_that_was_set_up(self, world: World) -> None:
        world.add_device("eth7")
        world.kernel.set_up("eth7", [ip_address("10.0.0.77")])
        way = Route(ip_network("0.0.0.0/0"), "eth7", ip_address("10.0.0.1"), table=4801, onlink=True)

        put(world, way)

        assert world.kernel.read() == {way.key: way}

    def test_a_device_that_is_not_there_cannot_be_set_up(self, world: World) -> None:
        with pytest.raises(KernelError, match="there is no network device 'eth7'"):
            world.kernel.set_up("eth7", [])

    def test_gateways_are_the_default_routes(self, world: World) -> None:
        wanted = {Gateway(Family(address.version), UNDERLAY, address) for address in GATEWAYS}

        assert set(world.kernel.gateways()) == wanted

    # --- what BIRD learned ------------------------------------------------------------------------------

    def test_before_bird_learned_anything_there_is_nothing(self, world: World) -> None:
        assert world.kernel.learned() == {}

    def test_ways_that_bird_learned_are_read_change_and_go(self, world: World) -> None:
        ways = {BLOCK: Hop(ip_address("10.0.0.7"), UNDERLAY), BLOCK_V6: Hop(ip_address("fd00:10::7"), UNDERLAY)}
        for destination, hop in ways.items():
            world.learn(destination, hop)
        first = world.kernel.learned()
        other = Hop(ip_address("10.0.0.8"), UNDERLAY)
        world.learn(BLOCK, other)
        second = world.kernel.learned()
        world.unlearn(BLOCK)

        assert first == ways
        assert second == {**ways, BLOCK: other}
        assert world.kernel.learned() == {BLOCK_V6: ways[BLOCK_V6]}

    def test_what_bird_learned_is_none_of_ours(self, world: World) -> None:
        world.learn(BLOCK, Hop(ip_address("10.0.0.7"), UNDERLAY))

        assert world.kernel.read() == {}

    def test_it_is_noticed_when_bird_learns_something(self, world: World) -> None:
        with listening(world) as notices:
            world.learn(BLOCK, Hop(ip_address("10.0.0.7"), UNDERLAY))

            assert notices.wait(SOON)

    # --- notices ----------------------------------------------------------------------------------------

    def test_a_change_by_others_is_noticed_once(self, world: World) -> None:
        with listening(world) as notices:
            world.add_foreign_route(Route(ip_network("10.77.0.0/24"), UNDERLAY))

            assert notices.wait(SOON)
            assert not notices.wait(QUIET)

    @pytest.mark.parametrize("value", [NATIVE, NEIGHBOUR, ENTRY], ids=["route", "neighbour", "fdb"])
    def test_losing_something_of_ours_is_noticed(self, world: World, value: Route | Neighbour | FdbEntry) -> None:
        put(world, DEVICE, value)
        with listening(world) as notices:
            settle(notices)

            world.lose(value)

            assert notices.wait(SOON)
        assert value.key not in world.kernel.read()

    def test_our_own_writes_are_not_noticed(self, world: World) -> None:
        put(world, DEVICE)
        with listening(world) as notices:
            settle(notices)

            put(world, ENTRY, NEIGHBOUR, GROUND, NATIVE, RULE)
            assert not notices.wait(QUIET)
            put(world, replace(ENTRY, address=ip_address("10.0.1.99")), replace(NEIGHBOUR, mac="66:00:00:00:00:09"))
            assert not notices.wait(QUIET)
            remove(world, NATIVE, RULE, GROUND, NEIGHBOUR, ENTRY)
            assert not notices.wait(QUIET)

    def test_waiting_ends_in_time(self, world: World) -> None:
        with listening(world) as notices:
            assert not notices.wait(0)
            assert not notices.wait(0.05)


def put(world: World, *values: KernelObject) -> Collection[Failure]:
    return world.kernel.apply([Put(value) for value in values])


def remove(world: World, *values: KernelObject) -> Collection[Failure]:
    return world.kernel.apply([Remove(value) for value in values])


@contextmanager
def listening(world: World) -> Iterator[Notices]:
    notices = world.inside(world.kernel.notices)
    try:
        yield notices
    finally:
        notices.close()


def settle(notices: Notices) -> None:
    """Wait until the kernel has said all it has to say about a new device."""
    while notices.wait(QUIET):
        pass


def changes() -> SearchStrategy[list[Change]]:
    """Lists of changes, good ones and bad ones, that often meet under the same keys."""
    blocks = st.sampled_from([ip_network(f"10.65.{i}.0/26") for i in range(3)])
    blocks_v6 = st.sampled_from([ip_network(f"fd00:65::{i}:0/122") for i in range(2)])
    metrics, tables = st.sampled_from([512, 1024]), st.sampled_from([254, 4793])
    gateways = st.sampled_from([ip_address(text) for text in ("10.0.0.1", "10.0.0.2", "10.99.0.1")])
    gateways_v6 = st.sampled_from([ip_address(text) for text in ("fd00:10::1", "fd00:10::2", "fd00:99::1")])
    macs = st.sampled_from([f"66:00:00:00:00:0{i}" for i in range(3)])
    remotes = st.sampled_from([ip_address(f"10.0.1.{i}") for i in range(3)])
    names = st.sampled_from([DEVICE.name, DEVICE.name, UNDERLAY])
    values: SearchStrategy[KernelObject] = st.one_of(
        st.builds(Route, blocks, st.sampled_from([UNDERLAY, "nowhere"]), gateways, metrics, tables),
        st.builds(Route, blocks, st.just(DEVICE.name), gateways, metrics, tables, onlink=st.just(value=True)),
        st.builds(Route, blocks_v6, st.just(UNDERLAY), gateways_v6, metrics, tables),
        st.builds(Route, blocks | blocks_v6, kind=st.just(RouteKind.BLACKHOLE), metric=metrics, table=tables),
        st.builds(Route, blocks | blocks_v6, st.just("lo"), table=st.just(4793), kind=st.just(RouteKind.LOCAL)),
        st.builds(Neighbour, names, remotes, macs),
        st.builds(FdbEntry, names, macs, remotes),
        st.builds(Rule, st.sampled_from(Family), st.sampled_from([98, 99]), tables, st.just(17), st.just(4793)),
        st.sampled_from(
            [DEVICE, DEVICE, replace(DEVICE, mtu=1400), replace(DEVICE, vni=7), replace(DEVICE, addresses=())]
        ),
    )
    return st.lists(st.builds(Put, values) | st.builds(Put, values) | st.builds(Remove, values), max_size=25)
