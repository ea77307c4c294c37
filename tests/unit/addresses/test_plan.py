from dataclasses import replace
from ipaddress import ip_network
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudnet.addresses import plan
from cloudnet.addresses.plan import Add, Assign, Member, Settings, Shortage
from cloudnet.addresses.supply import Supply
from cloudnet.model.addresses import Family
from cloudnet.model.resources import Cause
from cloudnet.provider.api import Instance, NetworkInterface, PodSubnet, Room, Wanted

V4, V6 = Family.IPV4, Family.IPV6
ROOM = Room(3, MappingProxyType({V4: 9}), MappingProxyType({V4: 28}))
MACHINE = Instance("i-1", "eni-1", "subnet-1", "zone-a")
SUBNETS = {
    "subnet-1": PodSubnet("subnet-1", "zone-a", {V4: 200}),
    "subnet-2": PodSubnet("subnet-2", "zone-a", {V4: 900}),
    "subnet-3": PodSubnet("subnet-3", "zone-b", {V4: 999}),
}


def prefixes(count, start=0):
    return tuple(ip_network((0x0A000000 + 16 * (start + k), 28)) for k in range(count))


def eni(number, *cidrs, **more):
    return NetworkInterface(
        f"eni-{number}", "subnet-1", "i-1", primary=number == 1, ours=number > 1, cidrs=cidrs, **more
    )


def member(*interfaces, pods=0, room=ROOM, limit=110, used=()):
    interfaces = interfaces or (eni(1),)
    held = tuple(c for i in interfaces for c in i.cidrs)
    return Member(MACHINE, room, interfaces, held, dict(used), {V4: pods}, limit)


def grow(of, settings=None, supply=None, subnets=None, now=0.0):
    return plan.grow(of, settings or Settings(), supply or Supply(), SUBNETS if subnets is None else subnets, now=now)


@pytest.mark.parametrize(
    ("pods", "held", "count"),
    [
        (0, 0, 1),
        (8, 1, None),
        (9, 1, 1),
        (24, 2, None),
        (50, 0, 4),
        (50, 3, 1),
        (102, 0, 7),
        (110, 0, 7),
        (300, 0, 7),
    ],
    ids=str,
)
def test_all_that_is_lacking_is_one_request(pods, held, count):
    step = grow(member(eni(1, *prefixes(held)), pods=pods))

    assert step == (Assign(eni(1, *prefixes(held)), Wanted(V4, 28, count)) if count else None)


def test_a_full_interface_leaves_the_rest_to_another_one_in_the_own_subnet():
    full = eni(1, *prefixes(9))

    assert grow(member(full, pods=150, limit=200)) == Add("subnet-1", Wanted(V4, 28, 1))


def test_an_attached_interface_with_room_comes_before_another_one():
    second = eni(2, *prefixes(1, start=20))

    assert grow(member(eni(1, *prefixes(9)), second, pods=180, limit=250)) == Assign(second, Wanted(V4, 28, 2))


def test_ipv6_is_the_primary_interfaces_alone():
    room = Room(3, MappingProxyType({V6: 2}), MappingProxyType({V6: 80}))
    six, subnets = Settings(families=frozenset({V6})), {s: replace(SUBNETS[s], free={V6: 1 << 62}) for s in SUBNETS}
    second = eni(2)
    empty, full = eni(1), eni(1, ip_network("fd00::/80"), ip_network("fd00:0:0:0:1::/80"))

    first = grow(replace(member(empty, second, room=room), pods={V6: 3}), six, subnets=subnets)
    taken = replace(member(eni(1, foreign={V6: 2}), second, room=room), pods={V6: 3})

    assert first == Assign(empty, Wanted(V6, 80, 1))
    assert grow(replace(member(full, second, room=room), pods={V6: 3}), six, subnets=subnets) is None
    assert grow(taken, six, subnets=subnets).cause is Cause.QUOTA
    assert plan.capacity(taken, V6) == 0
    assert plan.capacity(replace(member(empty, second, room=room), pods={}), V6) == 110


def test_slots_of_others_are_not_ours():
    taken = eni(1, foreign={V4: 7})

    assert grow(member(taken, pods=50)) == Assign(taken, Wanted(V4, 28, 2))


def test_without_a_free_prefix_single_addresses_are_asked_for():
    supply = Supply()
    for subnet in SUBNETS:
        supply.refused(subnet, Wanted(V4, 28, 1), now=0.0)

    assert grow(member(), supply=supply) == Assign(eni(1), Wanted(V4, 32, 8))


def test_an_interface_for_prefixes_only_takes_no_single_address():
    supply = Supply()
    for subnet in SUBNETS:
        supply.refused(subnet, Wanted(V4, 28, 1), now=0.0)

    assert grow(member(eni(1, prefixes_only=True)), supply=supply) == Add("subnet-1", Wanted(V4, 32, 8))


def test_a_machine_that_takes_no_prefixes_gets_single_addresses():
    assert grow(member(room=replace(ROOM, lengths={}))) == Assign(eni(1), Wanted(V4, 32, 8))


def test_another_subnet_of_the_zone_is_used_when_the_own_one_is_out_and_never_one_of_another_zone():
    supply = Supply()
    supply.refused("subnet-1", Wanted(V4, 28, 1), now=0.0)
    first = grow(member(), supply=supply)
    supply.refused("subnet-2", Wanted(V4, 28, 1), now=0.0)
    for subnet in ("subnet-1", "subnet-2"):
        supply.refused(subnet, Wanted(V4, 32, 1), now=0.0)

    assert first == Add("subnet-2", Wanted(V4, 28, 1))
    assert grow(member(), supply=supply).cause is Cause.EXHAUSTED


def test_a_machine_that_holds_all_it_can_says_so():
    full = [eni(k, *prefixes(9, start=20 * k)) for k in (1, 2, 3)]

    step = grow(member(*full, pods=450, limit=500))

    assert isinstance(step, Shortage)
    assert step.cause is Cause.QUOTA
    assert "use a larger machine type" in step.detail


@pytest.mark.parametrize(
    ("room", "limit", "foreign", "capacity"),
    [
        (ROOM, 110, {}, 110),
        (ROOM, 500, {}, 432),
        (ROOM, 500, {V4: 7}, 320),
        (replace(ROOM, lengths={}), 500, {}, 27),
    ],
    ids=["by the pod limit", "by the type", "less what others have", "without prefixes"],
)
def test_capacity(room, limit, foreign, capacity):
    assert plan.capacity(member(eni(1, foreign=foreign), room=room, limit=limit), V4) == capacity


def test_spare_are_empty_prefixes_of_later_interfaces_first():
    one, two = eni(1, *prefixes(3)), eni(2, *prefixes(2, start=20))

    found = plan.spare(member(one, two, pods=30, used={prefixes(1)[0]: 16, prefixes(1, start=20)[0]: 14}), Settings())

    assert found == (prefixes(1, start=21)[0], prefixes(3)[1])


@given(
    pods=st.integers(0, 300),
    limit=st.integers(1, 300),
    warm=st.integers(0, 40),
    held=st.integers(0, 9),
    busy=st.sets(st.integers(0, 8)),
)
def test_what_is_spare_is_never_used_nor_needed(pods, limit, warm, held, busy):
    settings = Settings(warm=warm, pod_limit=limit)
    used = {prefixes(9)[k]: 1 for k in busy}
    this = member(eni(1, *prefixes(held)), pods=pods, limit=limit, used=used)

    spare = plan.spare(this, settings)
    left = replace(this, held=tuple(c for c in this.held if c not in spare))

    assert not set(spare) & used.keys()
    assert not spare or plan.lacking(left, V4, settings) <= 0
    assert not (spare and plan.lacking(this, V4, settings) > 0)


@given(pods=st.integers(0, 500), limit=st.integers(1, 500), held=st.integers(0, 9))
def test_no_request_brings_more_than_a_prefix_beyond_the_pod_limit(pods, limit, held):
    step = grow(member(eni(1, *prefixes(held)), pods=pods, limit=limit))

    if isinstance(step, Assign | Add):
        assert 16 * held + step.wanted.addresses < limit + 16


def test_a_large_prefix_is_carved_into_blocks_as_they_are_needed():
    eighty = ip_network("fd00::/80")

    assert plan.blocks(eighty, 65) == (ip_network("fd00::/122"), ip_network("fd00::40/122"))
    assert plan.blocks(ip_network("10.0.0.0/28"), 65) == (ip_network("10.0.0.0/28"),)


# --- supply -------------------------------------------------------------------------------------------------


def test_a_refusal_of_many_halves_what_is_asked_for_and_one_of_one_closes():
    supply = Supply()

    supply.refused("s", Wanted(V4, 28, 4), now=0.0)
    halved = supply.most("s", V4, 28, now=1.0)
    supply.refused("s", Wanted(V4, 28, 1), now=1.0)

    assert halved == 2
    assert supply.most("s", V4, 28, now=2.0) == 0
    assert supply.most("s", V4, 32, now=2.0) > 0
    assert supply.reopens(2.0) == 121.0


def test_the_same_refusal_to_many_nodes_counts_once():
    supply = Supply()

    for _ in range(150):
        supply.refused("s", Wanted(V4, 28, 1), now=0.0)

    assert supply.reopens(0.0) == 120.0


def test_a_closed_length_is_tried_by_one_and_ever_more_slowly():
    supply = Supply()
    supply.refused("s", Wanted(V4, 28, 1), now=0.0)
    tried = supply.most("s", V4, 28, now=120.0)
    supply.refused("s", Wanted(V4, 28, 1), now=120.0)

    assert tried == 1
    assert supply.reopens(120.0) == 360.0


def test_what_is_given_opens_again():
    supply = Supply()
    supply.refused("s", Wanted(V4, 28, 1), now=0.0)

    supply.given("s", Wanted(V4, 28, 1))

    assert supply.most("s", V4, 28, now=1.0) > 100
