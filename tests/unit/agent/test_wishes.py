from ipaddress import ip_address, ip_network

from cloudnet.agent.wishes import Wishes
from cloudnet.kernel.api import Neighbour, Put, Remove, Route, RouteKind

BLOCK = ip_network("10.65.2.0/26")
GROUND = Route(BLOCK, "vxlan.calico", ip_address("10.65.2.0"), onlink=True)
NATIVE = Route(BLOCK, "eth0", ip_address("10.0.1.1"), metric=512)
PROBES = Route(BLOCK, "eth0", ip_address("10.0.1.1"), metric=512, table=4793)
NEIGHBOUR = Neighbour("vxlan.calico", ip_address("10.65.2.0"), "66:00:00:00:00:02")


def carry_out(wishes):
    changes = wishes.changes()
    for change in changes:
        wishes.applied(change)
    return changes


def test_layers_are_laid_from_the_bottom_and_cleared_from_the_top():
    wishes = Wishes()
    wishes.wish(("block",), [NATIVE, PROBES, GROUND])
    wishes.wish(("node",), [NEIGHBOUR])

    assert [change.value for change in carry_out(wishes)] == [NEIGHBOUR, GROUND, PROBES, NATIVE]
    wishes.wish(("node",), [])
    wishes.wish(("block",), [])
    assert carry_out(wishes) == (Remove(NATIVE), Remove(PROBES), Remove(GROUND), Remove(NEIGHBOUR))


def test_a_native_route_is_left_before_anything_else_happens():
    wishes = Wishes()
    wishes.wish(("block",), [NATIVE, GROUND])
    carry_out(wishes)

    wishes.wish(("block",), [GROUND])
    wishes.wish(("node",), [NEIGHBOUR])

    assert carry_out(wishes) == (Remove(NATIVE), Put(NEIGHBOUR))


def test_a_native_route_whose_ground_is_missing_stays_until_the_ground_is_laid():
    wishes = Wishes()
    wishes.found({NATIVE.key: NATIVE})
    wishes.wish(("block",), [GROUND])

    assert carry_out(wishes) == (Put(GROUND), Remove(NATIVE))


def test_of_two_wishes_for_one_key_the_same_one_holds_in_any_order():
    other = Neighbour("vxlan.calico", ip_address("10.65.2.0"), "66:00:00:00:00:03")
    outcomes = set()
    for first, second in [(("node", "a"), ("node", "b")), (("node", "b"), ("node", "a"))]:
        wishes = Wishes()
        for wisher in (first, second):
            wishes.wish(wisher, [NEIGHBOUR if wisher == ("node", "a") else other])
        outcomes.add(wishes.desired[NEIGHBOUR.key])

    assert outcomes == {NEIGHBOUR}


def test_the_other_wish_takes_over_when_the_first_is_dropped():
    other = Neighbour("vxlan.calico", ip_address("10.65.2.0"), "66:00:00:00:00:03")
    wishes = Wishes()
    wishes.wish(("node", "a"), [NEIGHBOUR])
    wishes.wish(("node", "b"), [other])
    carry_out(wishes)

    wishes.wish(("node", "a"), [])

    assert carry_out(wishes) == (Put(other),)


def test_a_read_tells_how_much_differs_from_what_was_believed():
    wishes = Wishes()
    black_hole = Route(ip_network("10.65.1.0/26"), kind=RouteKind.BLACKHOLE)
    wishes.wish(("block",), [GROUND, NEIGHBOUR])
    carry_out(wishes)

    assert wishes.found({GROUND.key: GROUND, NEIGHBOUR.key: NEIGHBOUR}) == 0
    assert wishes.found({GROUND.key: GROUND, black_hole.key: black_hole}) == 2
    assert carry_out(wishes) == (Put(NEIGHBOUR), Remove(black_hole))
