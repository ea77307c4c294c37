"""A plain network tells where nodes are and what its routers are declared to do, and writes nothing."""

from ipaddress import ip_address, ip_interface, ip_network

import pytest

from cloudnet.clock import ManualClock
from cloudnet.controller.options import Options
from cloudnet.controller.simulate import Simulation
from cloudnet.errors import BadInput
from cloudnet.model.addresses import Family, TableId
from cloudnet.model.paths import PathKind, Reason
from cloudnet.model.resources import (
    BlockAffinity,
    CloudNode,
    CloudRoute,
    Metadata,
    NextHop,
    Node,
)
from cloudnet.provider import registry
from cloudnet.provider.api import Owner, RouteChange, Verb
from cloudnet.provider.errors import Unsupported
from cloudnet.routes.path import Here, There, candidate
from cloudnet.store.memory import MemoryStore
from cloudnet_static import make

RACKS = {
    "subnets": [
        {"cidr": "10.0.1.0/24", "name": "rack-1", "zone": "a", "mtu": 9000},
        {"cidr": "10.0.2.0/24", "name": "rack-2"},
    ]
}


def provider(config=RACKS, **more):
    return make({**config, **more}, clock=ManualClock())


def node(name, *addresses):
    return Node(Metadata(name), tuple(ip_interface(a) for a in addresses))


# --- machines -----------------------------------------------------------------------------------------------------


def test_a_node_is_in_the_subnet_of_its_address():
    found = provider().instances([node("n1", "10.0.1.11/24"), node("n2", "10.0.2.12/24")])

    assert {name: (i.subnet, i.zone, i.mtu) for name, i in found.items()} == {
        "n1": ("rack-1", "a", 9000),
        "n2": ("rack-2", "", 1500),
    }


def test_a_node_forwards_for_its_pods_without_being_asked():
    static = provider()
    (machine,) = static.instances([node("n1", "10.0.1.11/24")]).values()

    static.allow_forwarding(machine)

    assert machine.forwarding
    assert machine.next_hop.address == ip_address("10.0.1.11")


def test_without_declared_subnets_a_nodes_own_prefix_is_its_subnet():
    found = provider({"mtu": 1400}).instances(
        [node("n1", "fd00::11/64", "192.168.7.11/24"), node("n2", "fd00::12/64")]
    )

    assert (found["n1"].subnet, found["n1"].mtu) == ("192.168.7.0/24", 1400)
    assert found["n1"].addresses == (ip_address("192.168.7.11"), ip_address("fd00::11"))
    assert found["n2"].subnet == "fd00::/64"


def test_a_node_outside_the_declared_subnets_and_one_without_address_are_left_out():
    assert provider().instances([node("n1", "10.9.1.11/24"), node("n2")]) == {}


# --- routers ------------------------------------------------------------------------------------------------------


def test_every_subnet_has_a_table_that_nobody_writes():
    tables = provider().routes.read().tables

    assert [(t.id, t.subnets, t.read_only) for t in tables] == [
        ("static/rack-1", {"rack-1"}, True),
        ("static/rack-2", {"rack-2"}, True),
    ]


def test_subnets_that_nobody_declared_have_a_table_once_a_node_is_in_them():
    static = provider({})
    static.instances([node("n1", "10.0.1.11/24")])
    static.instances([node("n2", "10.0.2.12/24")])

    assert [t.id for t in static.routes.read().tables] == ["static/10.0.1.0/24", "static/10.0.2.0/24"]
    assert [t.id for t in static.routes.read([TableId("static/10.0.2.0/24")]).tables] == ["static/10.0.2.0/24"]


def test_a_declared_prefix_stands_in_the_tables_of_its_subnets():
    routed = [
        {"prefix": "10.65.0.0/16", "subnets": ["rack-1"]},
        {"prefix": "10.66.0.0/24", "next_hop": "10.0.2.12"},
    ]
    first, second = provider(routed=routed).routes.read().tables

    assert [(r.destination, r.next_hop, r.owner) for r in first.routes] == [
        (ip_network("10.65.0.0/16"), NextHop(), Owner.DECLARED),
        (ip_network("10.66.0.0/24"), NextHop(address=ip_address("10.0.2.12")), Owner.DECLARED),
    ]
    assert [r.destination for r in second.routes] == [ip_network("10.66.0.0/24")]
    assert first.routes[0].target == "whoever has the block, by the router of rack-1"


@pytest.mark.parametrize("verb", Verb)
def test_every_change_is_refused_with_what_to_do_instead(verb):
    change = RouteChange(verb, TableId("static/rack-1"), ip_network("10.65.1.0/26"), NextHop())

    (result,) = provider().routes.apply([change])

    assert result.change is change
    assert type(result.error) is Unsupported
    assert "declare the prefix under routed" in str(result.error)


# --- from the declaration to the agents' choice --------------------------------------------------------------------


class Site:
    """Two nodes in rack-1 and one in rack-2, a block each, and a controller that has come to rest."""

    def __init__(self, **more):
        clock = ManualClock()
        self.store = MemoryStore()
        addresses = ("10.0.1.11/24", "10.0.1.12/24", "10.0.2.13/24")
        self.nodes = {f"n{k}": node(f"n{k}", a) for k, a in enumerate(addresses, start=1)}
        for k, one in enumerate(self.nodes.values(), start=1):
            self.store.create(one)
            self.store.create(BlockAffinity(Metadata(f"{one.name}-block"), one.name, block(k)))
        self.simulation = Simulation(self.store, provider(**more), clock, Options())
        self.simulation.run(30.0)

    def offered(self, source, target):
        """Return what the agent of ``source`` is offered for the block of ``target``."""
        here = Here(self.nodes[source], self.cloud(source), {Family.IPV4: ip_address("10.0.1.1")})
        wanted = block(int(target[1:]))
        routes = [s.value for s in self.store.list(CloudRoute).items if s.value.cidr == wanted]
        return candidate(here, There(wanted, self.nodes[target], self.cloud(target), *routes))

    def cloud(self, name):
        return self.store.get(CloudNode, name).value


def block(k):
    return ip_network(f"10.65.{k}.0/26")


def test_nodes_of_one_subnet_are_offered_the_direct_way():
    offered = Site().offered("n1", "n2")

    assert (offered.kind, offered.next_hop) == (PathKind.DIRECT, ip_address("10.0.1.12"))


def test_between_subnets_vxlan_carries_what_nobody_declared():
    site = Site()
    offered = site.offered("n1", "n3")

    assert (offered.kind, offered.reason) == (PathKind.VXLAN, Reason.UNSUPPORTED)
    assert "declare one" in offered.detail
    assert site.simulation.said == []


def test_a_declared_prefix_offers_the_router_natively():
    offered = Site(routed=[{"prefix": "10.65.0.0/16"}]).offered("n1", "n3")

    assert (offered.kind, offered.next_hop) == (PathKind.NATIVE, ip_address("10.0.1.1"))


def test_a_declaration_for_one_subnet_says_nothing_of_the_way_back():
    site = Site(routed=[{"prefix": "10.65.3.0/24", "subnets": ["rack-1"], "next_hop": "10.0.2.13"}])

    assert site.offered("n1", "n3").kind is PathKind.NATIVE
    assert site.offered("n3", "n1").kind is PathKind.VXLAN


def test_a_prefix_declared_to_the_wrong_node_is_a_conflict():
    offered = Site(routed=[{"prefix": "10.65.3.0/24", "next_hop": "10.0.2.99"}]).offered("n1", "n3")

    assert (offered.kind, offered.reason) == (PathKind.VXLAN, Reason.CONFLICT)
    assert "correct the declaration" in offered.detail


def test_where_frames_do_not_pass_a_neighbour_is_reached_by_the_router_or_vxlan():
    assert Site(l2=False).offered("n1", "n2").kind is PathKind.VXLAN
    assert Site(l2=False, routed=[{"prefix": "10.65.0.0/16"}]).offered("n1", "n2").kind is PathKind.NATIVE


# --- settings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"vpc": "x"}, "vpc: is not a setting of the static provider; there are l2, mtu, subnets, routed"),
        ({"subnets": [{"cidr": "10.0.1.0/24", "gateway": "x"}]}, r"subnets\[0\].gateway: is not a setting"),
        ({"subnets": [{"name": "a"}]}, "missing required field `cidr`"),
        ({"subnets": {}}, "Expected `array`"),
        ({"subnets": [{"cidr": "10.0.1.7/24"}]}, r"subnets\[0\].cidr: expected a prefix such as"),
        ({"subnets": [{"cidr": "10.0.0.0/16"}, {"cidr": "10.0.1.0/24"}]}, r"subnets\[1\].cidr: .* overlaps"),
        (
            {"subnets": [{"cidr": "10.0.1.0/24", "name": "a"}, {"cidr": "10.0.2.0/24", "name": "a"}]},
            r"subnets\[1\].name: 'a' is taken",
        ),
        ({"mtu": 1000}, "mtu: expected 1280 bytes or more, found 1000"),
        ({"subnets": [{"cidr": "10.0.1.0/24", "mtu": 9}]}, r"subnets\[0\].mtu: expected 1280"),
        ({"l2": "yes"}, "Expected `bool`"),
    ],
)
def test_a_wrong_setting_is_named(config, message):
    with pytest.raises(BadInput, match=message):
        make(config, clock=ManualClock())


@pytest.mark.parametrize(
    ("routed", "message"),
    [
        ({"prefix": "here"}, r"routed\[0\].prefix: expected a prefix"),
        ({"prefix": "10.65.0.0/16", "next_hop": "n1"}, r"routed\[0\].next_hop: expected a node's address"),
        ({"prefix": "10.65.0.0/16", "next_hop": "fd00::1"}, "expected an IPv4 address, as 10.65.0.0/16 is"),
        ({"prefix": "10.65.0.0/16", "subnets": ["x"]}, r"routed\[0\].subnets\[0\]: no subnet is named 'x'"),
    ],
)
def test_a_wrong_declaration_is_named(routed, message):
    with pytest.raises(BadInput, match=message):
        make({"routed": [routed]}, clock=ManualClock())


def test_a_prefix_is_declared_once_for_a_subnet():
    twice = [{"prefix": "10.65.0.0/16"}, {"prefix": "10.65.0.0/16", "subnets": ["rack-1"]}]

    with pytest.raises(BadInput, match=r"routed\[1\].prefix: 10.65.0.0/16 is declared twice"):
        provider(routed=twice)


def test_the_provider_is_found_by_its_name():
    assert registry.load("static", {}, clock=ManualClock()).name == "static"
