from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudnet.kernel import codec
from cloudnet.kernel.api import ROUTE_PROTOCOL, FdbEntry, Neighbour, Route, RouteKind, Rule
from cloudnet.model.addresses import Family, family
from cloudnet.testing import strategies
from cloudnet.testing.kernel import DEVICE, NATIVE

NAMES = {1: "lo", 2: "eth0", 70000: "vxlan.calico"}
INDEXES = {name: index for index, name in NAMES.items()}
devices = st.sampled_from(sorted(INDEXES))


@st.composite
def routes(draw):
    destination = draw(strategies.networks())
    of = family(destination)
    kind = draw(st.sampled_from(RouteKind))
    black = kind is RouteKind.BLACKHOLE
    return Route(
        destination,
        None if black else draw(devices),
        None if black else draw(st.none() | strategies.addresses(of)),
        draw(st.integers(1, 2**32 - 1)),
        draw(st.integers(1, 2**32 - 1)),
        kind,
        draw(st.booleans()),
        draw(st.none() | strategies.addresses(of)),
    )


@given(route=routes())
def test_a_route_is_read_as_it_was_written(route):
    request = codec.put_route(route, INDEXES.__getitem__, codec.CREATE)

    assert codec.read_route(request.body, NAMES) == route


def test_a_route_of_another_protocol_is_not_read():
    body = bytearray(codec.put_route(NATIVE, INDEXES.__getitem__, codec.CREATE).body)
    body[5] = ROUTE_PROTOCOL + 1  # rtm_protocol

    assert codec.read_route(bytes(body), NAMES) is None


@given(neighbour=st.builds(Neighbour, devices, strategies.addresses(), strategies.macs()))
def test_a_neighbour_is_read_as_it_was_written(neighbour):
    request = codec.put_neighbour(neighbour, INDEXES.__getitem__)

    assert codec.read_neighbour(request.body, NAMES) == neighbour


@given(entry=st.builds(FdbEntry, devices, strategies.macs(), strategies.addresses()))
def test_a_forwarding_entry_is_read_as_it_was_written(entry):
    request = codec.put_fdb(entry, INDEXES.__getitem__)

    assert codec.read_fdb(request.body, NAMES) == entry


def test_entries_on_unknown_devices_are_not_read():
    neighbour = codec.put_neighbour(Neighbour("eth0", DEVICE.local, DEVICE.mac), INDEXES.__getitem__)
    entry = codec.put_fdb(FdbEntry("eth0", DEVICE.mac, DEVICE.local), INDEXES.__getitem__)

    assert codec.read_neighbour(neighbour.body, {1: "lo"}) is None
    assert codec.read_fdb(entry.body, {1: "lo"}) is None


u32s, ports = st.integers(1, 2**32 - 1), st.integers(1, 2**16 - 1)


@given(rule=st.builds(Rule, st.sampled_from(Family), u32s, u32s, st.none() | st.integers(1, 255), st.none() | ports))
def test_a_rule_is_read_as_it_was_written(rule):
    assert codec.read_rule(codec.put_rule(rule).body) == rule


def test_a_device_is_read_as_it_was_written():
    found = codec.read_link(codec.create_vxlan(DEVICE, 2).body)

    assert found == codec.Device(
        "vxlan.calico",
        0,
        1450,
        up=True,
        mac=DEVICE.mac,
        vxlan=codec.Vxlan(4096, 4789, 2, DEVICE.local, learning=False),
    )


@given(address=strategies.families().flatmap(strategies.interfaces))
def test_an_address_is_read_as_it_was_written(address):
    assert codec.read_address(codec.put_address(9, address).body) == (9, address)


@pytest.mark.parametrize("mac", ["", "66:f9", "66:f9:37:c3:7e:94:00", "hello"])
def test_what_is_no_mac_is_refused(mac):
    with pytest.raises(ValueError, match=r"hex|MAC"):
        codec.put_neighbour(replace(Neighbour("lo", DEVICE.local, DEVICE.mac), mac=mac), INDEXES.__getitem__)
