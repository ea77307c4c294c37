"""A plain network forwards what its routers have learned, and nobody can call it."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from cloudnet.lab import spec
from cloudnet.lab.clouds.conditions import Conditions
from cloudnet.lab.clouds.static.plane import StaticPlane, pods


@pytest.fixture
def plane():
    made = StaticPlane(Conditions())
    made.verbs["network"]({"subnets": {"s1": "10.0.1.0/24", "s2": "10.0.2.0/24"}})
    for name, subnet, address in (("n1", "s1", "10.0.1.11"), ("n2", "s2", "10.0.2.12")):
        made.verbs["launch"]({"name": name, "subnet": subnet, "address": address})
    return made


def ways(plane):
    state = plane.fabric_state()
    return {s.bridge: {str(r.destination): r.via.device for r in s.routes} for s in state.subnets}


def test_there_is_nothing_before_there_is_a_network():
    assert StaticPlane(Conditions()).fabric_state() is None


def test_there_is_nobody_to_call(plane):
    assert (plane.account, plane.outsider, plane.calls()) == (None, None, {})


def test_every_router_has_learned_where_the_pods_are(plane):
    learned = {"10.65.1.0/24": "p-n1", "10.65.2.0/24": "p-n2"}

    assert ways(plane) == {"br-s1": learned, "br-s2": learned}


def test_the_learned_prefix_holds_the_nodes_first_blocks():
    learned = pods(spec.node_address(spec.subnets(spec.LabSpec())[0], 7).ip)

    assert all(spec.block(7, index).subnet_of(learned) for index in range(4))


def test_what_is_switched_off_is_unlearned_and_its_link_is_down(plane):
    plane.verbs["power"]({"name": "n2", "on": False})

    assert "10.65.2.0/24" not in ways(plane)["br-s1"]
    assert [p.up for p in plane.fabric_state().ports] == [True, False]


def test_what_is_switched_on_again_is_learned_again(plane):
    before = ways(plane)
    plane.verbs["power"]({"name": "n2", "on": False})
    plane.verbs["power"]({"name": "n2", "on": True})

    assert ways(plane) == before


def test_what_is_taken_away_is_gone(plane):
    plane.verbs["terminate"]({"name": "n1"})

    assert [p.device for p in plane.fabric_state().ports] == ["p-n2"]


def test_no_machine_is_checked(plane):
    assert not any(p.check for p in plane.fabric_state().ports)


def test_prefixes_fall_silent_and_the_fabric_is_told(plane):
    told = []
    plane.watch(lambda: told.append(plane.fabric_state().silent))
    plane.conditions = Conditions(silent=frozenset({IPv4Network("10.65.1.0/26")}))
    plane.verbs["launch"]({"name": "n3", "subnet": "s1", "address": str(IPv4Address("10.0.1.13"))})

    assert told == [{IPv4Network("10.65.1.0/26")}]
