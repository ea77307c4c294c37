from dataclasses import replace
from ipaddress import ip_address, ip_network
from threading import Timer

import pytest

from cloudnet.kernel.api import KernelError, Link, Put, Remove, Route
from cloudnet.kernel.memory import MemoryKernel
from cloudnet.testing.kernel import BLOCK, DEVICE, ENTRY, GROUND, NATIVE, NEIGHBOUR, MemoryWorld

POD = ip_address("10.65.2.5")


@pytest.fixture
def kernel() -> MemoryKernel:
    kernel = MemoryWorld().kernel
    kernel.apply([Put(DEVICE), Put(ENTRY), Put(NEIGHBOUR), Put(GROUND)])
    return kernel


def test_a_packet_takes_the_smallest_metric_of_the_longest_prefix(kernel):
    narrow = Route(ip_network("10.65.2.4/30"), "eth0", ip_address("10.0.0.9"))
    kernel.apply([Put(NATIVE), Put(narrow)])

    assert kernel.lookup(ip_address("10.65.2.1")) == NATIVE
    assert kernel.lookup(POD) == narrow
    assert kernel.lookup(ip_address("10.99.0.1")) is None


def test_a_packet_takes_a_foreign_route_too(kernel):
    theirs = Route(ip_network("10.65.2.5/32"), "eth0")
    kernel.add_foreign_route(theirs)

    assert kernel.lookup(POD) == theirs

    kernel.remove_foreign_route(theirs)

    assert kernel.lookup(POD) == GROUND


def test_the_history_shows_that_a_path_never_was_missing(kernel):
    other = replace(NATIVE, gateway=ip_address("10.0.0.2"))
    kernel.apply([Put(NATIVE), Put(other), Remove(other)])

    assert list(kernel.ways(POD)) == [GROUND, NATIVE, other, GROUND]


def test_the_history_shows_a_moment_without_a_path(kernel):
    kernel.apply([Remove(GROUND), Put(GROUND)])

    assert list(kernel.ways(POD)) == [GROUND, None, GROUND]


def test_the_history_of_another_table_is_another_one(kernel):
    probes = replace(NATIVE, table=4793)
    kernel.apply([Put(probes)])

    assert list(kernel.ways(POD, 4793)) == [probes]
    assert kernel.lookup(POD, 4793) == probes


def test_a_removed_device_takes_routes_of_everybody_along(kernel):
    theirs = Route(ip_network("10.77.0.0/24"), DEVICE.name)
    kernel.add_foreign_route(theirs)

    kernel.remove_link(DEVICE.name)

    assert kernel.read() == {}
    assert kernel.foreign_routes() == ()
    assert list(kernel.ways(POD)) == [GROUND, None]


def test_a_change_can_be_told_to_be_refused(kernel):
    error = KernelError("no memory", errno=12)
    kernel.refuse(lambda change: change.value == NATIVE, error)

    failures = kernel.apply([Put(NATIVE), Put(replace(NATIVE, table=4793))])

    assert [(f.change, f.error) for f in failures] == [(Put(NATIVE), error)]
    kernel.refuse_nothing()
    assert not kernel.apply([Put(NATIVE)])


def test_a_route_through_a_device_that_is_down_is_refused(kernel):
    kernel.add_link(Link("eth1", 7, 1500, up=False))

    (failure,) = kernel.apply([Put(Route(BLOCK, "eth1", metric=1))])

    assert "down" in str(failure.error)


def test_what_others_do_wakes_the_listener(kernel):
    notices = kernel.notices()
    timer = Timer(0.02, kernel.stir)
    timer.start()

    assert notices.wait(5)

    timer.join()
    notices.close()
