"""The Node says the address that was found, and is told apart from one that says it itself."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest

from cloudnet.agent import node_address
from cloudnet.agent.node_address_keeper import NodeAddressKeeper, methods
from cloudnet.config import AgentConfig
from cloudnet.errors import BadInput
from cloudnet.kernel.api import Link
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.resources import Metadata, Node, NodeAddress
from cloudnet.store.memory import MemoryStore

NAME = NodeName("n1")


class Host:
    """A host, its Node, and the keeper between them."""

    def __init__(self, v4="kubernetes-internal-ip", v6="none", *, registers=False):
        self.store = MemoryStore()
        self.links = (self.link("eth0", "10.0.1.5/24", "fd00::5/64"),)
        self.looks = 0
        self.asked = []
        self.told = []
        self.known = True
        wanted = methods(AgentConfig(NAME, ip_autodetection_method=v4, ip6_autodetection_method=v6))
        self.keeper = NodeAddressKeeper(
            self.store,
            NAME,
            wanted,
            own=lambda: self.node() if self.known else None,
            links=self.look_at_links,
            reach=self.reach,
            tell=lambda reason, note: self.told.append((reason.name, note)),
            registers=registers,
        )

    def link(self, name, *addresses):
        return Link(name, 2, 1500, up=True, addresses=tuple(map(ip_interface, addresses)))

    def look_at_links(self):
        self.looks += 1
        return self.links

    def reach(self, destination, of):
        self.asked.append((destination, of))
        return ip_address("10.0.1.5")

    def node(self):
        return self.store.get(Node, NAME).value

    def put(self, *said, **fields):
        addresses = tuple(NodeAddress(one, "InternalIP") for one in said)
        self.store.create(Node(Metadata(NAME), said_addresses=addresses, **fields))

    def change(self, **fields):
        stored = self.store.get(Node, NAME)
        self.store.update(replace(stored.value, **fields), expected=stored.revision)

    def addresses(self):
        return [str(one) for one in self.node().addresses]


def test_the_node_says_the_address_that_kubernetes_gave_it_with_the_prefix_of_its_subnet():
    host = Host()
    host.put("10.0.1.5")

    host.keeper.look(0.0)

    assert host.addresses() == ["10.0.1.5/24"]
    assert host.keeper.words() == {"IPv4": "10.0.1.5/24 on eth0 by kubernetes-internal-ip"}
    assert host.told == []


def test_both_families_are_found_and_one_that_the_node_has_not_is_no_trouble():
    both, one = Host(v6="kubernetes-internal-ip"), Host(v6="kubernetes-internal-ip")
    both.put("10.0.1.5", "fd00::5")
    one.put("10.0.1.5")

    both.keeper.look(0.0)
    one.keeper.look(0.0)

    assert both.addresses() == ["10.0.1.5/24", "fd00::5/64"]
    assert one.addresses() == ["10.0.1.5/24"]
    assert one.keeper.problem() == ""


def test_a_family_without_a_method_stays_as_the_node_says():
    host = Host()
    host.put("10.0.1.5", addresses=(ip_interface("fd00::99/64"),))

    host.keeper.look(0.0)

    assert host.addresses() == ["10.0.1.5/24", "fd00::99/64"]


def test_the_host_is_looked_at_again_when_the_node_changes_or_a_minute_has_passed():
    host = Host()
    host.put("10.0.1.5")
    moments = [0.0, 1.0, 30.0, 59.0]
    for now in moments:
        host.keeper.look(now)
    first = host.looks

    host.keeper.look(60.0)
    host.change(meta=replace(host.node().meta, labels={"a": "b"}))
    host.keeper.look(61.0)

    assert (first, host.looks) == (1, 3)


def test_an_address_that_moves_is_followed():
    host = Host()
    host.put("10.0.1.5")
    host.keeper.look(0.0)
    host.links = (host.link("eth0", "10.0.1.9/24"),)

    host.change(said_addresses=(NodeAddress("10.0.1.9", "InternalIP"),))
    host.keeper.look(1.0)

    assert host.addresses() == ["10.0.1.9/24"]


def test_an_address_that_is_gone_for_a_moment_stays_the_node_s():
    host = Host()
    host.put("10.0.1.5")
    host.keeper.look(0.0)
    host.links = ()

    host.keeper.look(60.0)

    assert host.addresses() == ["10.0.1.5/24"]
    assert host.told == []


def test_a_node_without_any_is_told_once_what_was_looked_at_and_looked_at_again_soon():
    host = Host()
    host.put("10.0.77.1")

    waits = [host.keeper.look(now) for now in (0.0, 5.0, 10.0)]
    told = list(host.told)
    host.links = (host.link("eth0", "10.0.77.1/24"),)
    host.keeper.look(15.0)

    assert waits == [5.0] * 3
    assert [reason for reason, _ in told] == ["NodeWithoutAddress"]
    assert "Kubernetes says 10.0.77.1" in told[0][1]
    assert host.addresses() == ["10.0.77.1/24"]
    assert host.keeper.problem() == ""


def test_a_store_that_is_away_is_asked_again():
    host = Host()
    host.put("10.0.1.5")
    node = host.node()
    host.keeper._own = lambda: node
    host.store.data.outage = "the disk is full"
    wait = host.keeper.look(0.0)
    host.store.data.outage = ""

    host.keeper.look(5.0)

    assert wait == 5.0
    assert host.addresses() == ["10.0.1.5/24"]


def test_nothing_is_looked_at_before_the_node_is_known():
    host = Host()
    host.known = False

    assert host.keeper.look(0.0) < 1
    assert host.looks == 0


def test_outside_kubernetes_a_node_that_is_not_there_is_made_and_then_says_its_address():
    host = Host(v4="first-found", registers=True)
    host.known = False

    host.keeper.look(0.0)
    host.known = True
    host.keeper.look(0.1)

    assert host.addresses() == ["10.0.1.5/24"]


def test_a_node_that_somebody_else_made_meanwhile_is_not_made_again():
    host = Host(v4="first-found", registers=True)
    host.known = False
    host.put("10.0.1.5")

    waits = [host.keeper.look(now) for now in (0.0, 0.1)]

    assert max(waits) < 1
    assert host.told == []


def test_a_node_that_cannot_be_made_is_tried_again_and_told_once():
    host = Host(v4="first-found", registers=True)
    host.known = False
    host.store.data.outage = "the disk is full"

    waits = [host.keeper.look(now) for now in (0.0, 5.0)]
    host.store.data.outage = ""
    host.keeper.look(10.0)

    assert waits == [5.0, 5.0]
    assert [reason for reason, _ in host.told] == ["NodeWithoutAddress"]
    assert host.node().meta.name == NAME


def test_a_destination_is_asked_for_by_its_family():
    host = Host(v4="can-reach=192.0.2.1")
    host.put()

    host.keeper.look(0.0)

    assert host.asked == [("192.0.2.1", Family.IPV4)]
    assert host.addresses() == ["10.0.1.5/24"]


def test_a_method_that_makes_no_sense_stops_the_program_with_its_name():
    with pytest.raises(BadInput, match="ip6_autodetection_method"):
        methods(AgentConfig(NAME, ip6_autodetection_method="eth0"))


def test_without_a_method_nothing_is_looked_for():
    assert methods(AgentConfig(NAME)) == {}
    assert node_address.parse("none", "x").text == "none"
