from __future__ import annotations

import threading
from dataclasses import replace
from ipaddress import ip_address

import pytest

from cloudnet.agent import fastpath
from cloudnet.agent.fastpath import FastPathKeeper, roles
from cloudnet.clock import SystemClock
from cloudnet.kernel.api import KernelError
from cloudnet.kernel.fastpath import Device, FastPathMemory, Part, Role

OWN = frozenset({ip_address("10.0.1.11")})
ETH0 = Device(2, "eth0", (ip_address("10.0.1.11"),), frozenset({"mq", "fq_codel"}))
ETH1 = Device(3, "eth1", (ip_address("192.0.2.1"),))
VXLAN = Device(4, "vxlan.calico", (), frozenset({"noqueue"}))
WEB = Device(7, "cali1", (), frozenset({"noqueue"}))
DB = Device(8, "cali2", (), frozenset({"noqueue"}))


def keeper(door):
    return FastPathKeeper(("cali",), lambda: OWN, lambda: door)


def settle(kept, now, until):
    """Have the keeper work whenever it wants to, up to a time; return when it would work next."""
    while now <= until:
        now = kept.work(now)
    return now


@pytest.mark.parametrize(
    ("device", "role"),
    [
        (WEB, Role.POD),
        (replace(WEB, qdiscs=frozenset()), Role.POD),
        (replace(WEB, qdiscs=frozenset({"tbf"})), None),
        (replace(WEB, qdiscs=frozenset({"noqueue", "ingress"})), None),
        (VXLAN, Role.WORLD),
        (replace(VXLAN, name="vxlan9"), None),
        (ETH0, Role.WORLD),
        (replace(ETH0, qdiscs=frozenset({"mq", "clsact"})), None),
        (replace(ETH0, name="lo"), None),
        (ETH1, None),
    ],
)
def test_pods_the_overlay_and_the_nodes_own_devices_take_part_unless_somebody_queues_or_filters(device, role):
    assert roles([device], ("cali",), OWN).get(device.index) is role


def test_ways_out_join_at_once_and_pods_one_at_a_time_when_they_are_some_seconds_old():
    door = FastPathMemory([ETH0, ETH1, VXLAN, WEB, DB])
    kept = keeper(door)

    settle(kept, 100.0, 100.3)
    assert set(door.joined) == {2, 4}
    now = settle(kept, 100.3, 102.9)
    assert set(door.joined) == {2, 4}
    kept.work(now)
    assert set(door.joined) == {2, 4, 7}
    assert settle(kept, now + 0.1, now + 1) > now + 20
    assert (
        door.joined == kept.joined == {2: Part(Role.WORLD), 4: Part(Role.WORLD), 7: Part(Role.POD), 8: Part(Role.POD)}
    )


def test_a_device_that_goes_or_gets_a_shaper_leaves_and_may_come_back():
    door = FastPathMemory([ETH0, WEB, DB])
    kept = keeper(door)
    settle(kept, 0.0, 10.0)

    door.there = [ETH0, replace(WEB, qdiscs=frozenset({"tbf"}))]
    settle(kept, 40.0, 50.0)
    assert set(door.joined) == set(kept.joined) == {2}
    door.there = [ETH0, WEB]
    kept.work(80.0)
    assert set(door.joined) == {2}
    settle(kept, 83.5, 84.0)
    assert set(door.joined) == {2, 7}


def test_rules_of_others_change_how_every_device_takes_part():
    door = FastPathMemory([ETH0, WEB])
    kept = keeper(door)
    settle(kept, 0.0, 10.0)

    door.rules = True
    settle(kept, 40.0, 50.0)

    assert door.joined == {2: Part(Role.WORLD, by_rules=True), 7: Part(Role.POD, by_rules=True)}


def test_a_device_that_cannot_join_holds_up_no_other_and_is_tried_again():
    door = FastPathMemory([ETH0, WEB, DB], refused=frozenset({2, 7}))
    kept = keeper(door)

    settle(kept, 0.0, 10.0)
    assert set(kept.joined) == {8}
    door.refused = frozenset()
    settle(kept, 60.0, 70.0)
    assert set(kept.joined) == {2, 7, 8}


def test_a_door_that_does_not_open_is_told_once_and_tried_again(caplog):
    tries = []

    def refuse():
        tries.append(1)
        raise KernelError("the kernel does not take program 'forward'")

    kept = FastPathKeeper(("cali",), lambda: OWN, refuse)

    assert kept.work(0.0) == kept.work(60.0) - 60.0 == 60.0
    assert len(tries) == 2
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "no fast path, trying again reason=\"the kernel does not take program 'forward'\""
    ]


def test_the_thread_looks_soon_after_something_stirs_and_in_the_end_all_leave():
    door = FastPathMemory([ETH0])
    looked = threading.Event()
    kept = keeper(door)

    with fastpath.keeping(kept, SystemClock()):
        for _ in range(200):
            if kept.joined:
                break
            looked.wait(0.05)
        assert set(kept.joined) == {2}
        door.there, door.stirred = [ETH0, VXLAN], True
        for _ in range(200):
            if 4 in kept.joined:
                break
            looked.wait(0.05)
        assert set(kept.joined) == {2, 4}

    assert door.joined == {}
