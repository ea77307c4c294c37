"""What was declared of a plain network against the nodes in the store: each contradiction alone, and none."""

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.resources import IPPool, Metadata, Node
from cloudnet.provider.preflight import Check, Needs, Severity
from cloudnet.testing.preflight import Obstacle, PreflightContract
from cloudnet_static import StaticProvider
from cloudnet_static.config import Routed, StaticConfig, Subnet


class StaticWorld:
    """Three racks whose routers carry the pool; there is nobody to call."""

    def __init__(self):
        self.nodes = [Node(Metadata(f"n{k}"), (ip_interface(f"10.0.{k}.11/24"),)) for k in (1, 2, 3)]
        self.config = StaticConfig(
            subnets=tuple(Subnet(ip_network(f"10.0.{k}.0/24"), f"rack-{k}") for k in (1, 2, 3)),
            routed=(Routed(ip_network("10.65.0.0/16")),),
        )
        self.needs = Needs(
            tuple(self.nodes),
            (IPPool(Metadata("pods"), ip_network("10.65.0.0/16")),),
            {NodeName(f"n{k}"): (ip_network(f"10.65.{k}.0/26"),) for k in (1, 2, 3)},
        )
        self.provider = StaticProvider(self.config)

    def declare(self, *routed, **changes):
        self.provider = StaticProvider(replace(self.config, routed=routed or self.config.routed, **changes))

    def writes(self):
        return []


def nobody_routes(world):
    world.provider = StaticProvider(replace(world.config, routed=()))


def one_rack_does_not_route(world):
    world.declare(Routed(ip_network("10.65.0.0/16"), subnets=frozenset({"rack-1", "rack-2"})))


def to_a_stranger(world):
    world.declare(*world.config.routed, Routed(ip_network("10.65.9.0/24"), ip_address("10.0.1.99")))


def to_another_node(world):
    world.declare(*world.config.routed, Routed(ip_network("10.65.2.0/24"), ip_address("10.0.3.11")))


def a_rack_unknown(world):
    world.declare(subnets=world.config.subnets[:2])


def narrow_rack(world):
    racks = world.config.subnets
    world.declare(subnets=(replace(racks[0], mtu=1400), *racks[1:]))
    return replace(world.needs, pod_mtu=1450)


def a_pool_in_a_rack(world):
    return replace(world.needs, pools=(IPPool(Metadata("clash"), ip_network("10.0.2.128/25")), *world.needs.pools))


def native(world):
    return replace(world.needs, native=frozenset({Family.IPV4}))


class TestPreflight(PreflightContract):
    CHECKS = frozenset({Check.MACHINES, Check.TABLES, Check.ROUTES, Check.ADDRESSES, Check.MTU})
    OBSTACLES = (
        Obstacle("native addresses", native, Check.ADDRESSES, remedy="native_addresses to none"),
        Obstacle(
            "nobody routes",
            nobody_routes,
            Check.ROUTES,
            Severity.WARNING,
            "VXLAN carries it",
            r'add \{"prefix": "10.65.0.0/16"\} to routed',
        ),
        Obstacle("one rack does not route", one_rack_does_not_route, Check.ROUTES, Severity.WARNING, "nobody"),
        Obstacle("to a stranger", to_a_stranger, Check.ROUTES, problem="10.0.1.99, which no node has"),
        Obstacle("to another node", to_another_node, Check.ROUTES, problem="10.0.3.11, .* another node"),
        Obstacle("a rack nobody declared", a_rack_unknown, Check.MACHINES, remedy="to subnets"),
        Obstacle("a narrow rack", narrow_rack, Check.MTU, problem="at n1", remedy="CLOUDNET_POD_MTU=1350"),
    )

    @pytest.fixture
    def world(self):
        return StaticWorld()

    def test_a_pool_inside_a_rack_is_named(self, world):
        found = world.provider.preflight(a_pool_in_a_rack(world))

        (clash,) = {f.subject for f in found if f.check is Check.ADDRESSES and f.severity is Severity.BLOCKS}
        assert clash == "pool clash (10.0.2.128/25)"

    def test_in_one_segment_nothing_has_to_be_routed(self, world):
        nodes = tuple(Node(Metadata(f"n{k}"), (ip_interface(f"10.0.1.{10 + k}/24"),)) for k in (1, 2))

        found = StaticProvider(StaticConfig()).preflight(Needs(nodes, world.needs.pools))

        assert {f.severity for f in found} == {Severity.OK}
