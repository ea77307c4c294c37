"""The plugin keeps cloudnet's contract, and says what is wrong with its settings."""

import math
import random
from collections.abc import Iterator
from ipaddress import ip_interface, ip_network

import pytest
from router import PlannedFault, Router

from cloudnet.clock import ManualClock
from cloudnet.errors import BadInput
from cloudnet.model.addresses import Family, TableId
from cloudnet.model.resources import Metadata, NextHop, Node
from cloudnet.provider import registry
from cloudnet.provider.budget import Budget
from cloudnet.provider.errors import Throttled, Unavailable
from cloudnet.provider.refusals import Refusal
from cloudnet.testing.provider import ProviderContract
from cloudnet_example import READS, WRITES, ExampleProvider, make
from cloudnet_example.client import Client
from cloudnet_example.config import parse
from cloudnet_example.errors import translate


class ExampleWorld:
    """Three machines in three segments, each with its table, and a provider whose waits cost no time."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self.clock = ManualClock()
        self.nodes = [self.add_node(k) for k in (1, 2, 3)]
        config = parse({"url": router.url, "token": "secret"})
        client = Client(
            config, clock=self.clock, budget=Budget(self.clock, read=READS, write=WRITES), rng=random.Random(1)
        )
        self.provider = ExampleProvider(config, client)

    def add_node(self, k: int) -> Node:
        self.router.state.tables[f"table-{k}"] = {
            "name": f"table-{k}", "segments": [f"segment-{k}"], "limit": 100, "routes": {}
        }  # fmt: skip
        self.router.state.machines[f"m-{k}"] = {
            "name": f"m-{k}",
            "port": f"port-{k}",
            "segment": f"segment-{k}",
            "addresses": [f"10.0.{k}.11"],
            "running": True,
            "forwarding": False,
        }
        provider_id = "" if k == 3 else f"example://shelf-1/m-{k}"
        return Node(Metadata(f"n{k}"), (ip_interface(f"10.0.{k}.11/24"),), provider_id=provider_id)

    def truth(self, table):
        routes = self.router.state.tables[table]["routes"]
        return {ip_network(p): NextHop(interface=r.get("port")) for p, r in routes.items()}

    def put_foreign(self, table, destination):
        self.put(table, {"prefix": str(destination), "uplink": "up-1"})

    def put_route(self, table, destination, next_hop):
        self.put(table, {"prefix": str(destination), "port": next_hop.interface})

    def put(self, table, entry):
        self.router.state.tables[table]["routes"][entry["prefix"]] = entry

    def fail(self, call, fault, *, times=None, skip=0):
        self.router.faults.append(PlannedFault(call, fault, math.inf if times is None else times, skip))

    def calls(self, *names):
        return sum(self.router.seen[n] for n in names) if names else self.router.seen.total()


@pytest.fixture
def router() -> Iterator[Router]:
    router = Router()
    yield router
    router.close()


class TestExample(ProviderContract):
    @pytest.fixture
    def world(self, router):
        return ExampleWorld(router)

    def test_both_families_share_the_limit(self, world):
        world.put_route("table-1", ip_network("10.65.1.0/26"), NextHop(interface="port-1"))

        (table,) = world.provider.routes.read([TableId("table-1")]).tables

        assert table.limits == {Family.IPV4: 100, Family.IPV6: 99}


def test_the_plugin_is_found_by_its_name(router):
    assert registry.load("example", {"url": router.url}, clock=ManualClock()).name == "example"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "missing required field `url`"),
        ({"url": "shelf"}, "url: expected http"),
        ({"url": "http://shelf", "tokn": "x"}, "tokn: is not a setting"),
        ({"url": "http://shelf", "mtu": 0}, "mtu: expected a number above 0"),
    ],
)
def test_a_wrong_setting_is_named(config, message):
    with pytest.raises(BadInput, match=message):
        make(config, clock=ManualClock())


def test_the_routers_wish_to_wait_is_kept():
    error = translate(Refusal("CreateRoute", 429, message="slow down", request_id="req-7", retry_after=3.0))

    assert (type(error), error.retry_after, error.request_id) == (Throttled, 3.0, "req-7")


def test_an_answer_that_is_not_the_routers_is_no_table(router):
    router.answer = lambda *_: (200, "<html>")

    with pytest.raises(Unavailable, match="something that is not the router"):
        make({"url": router.url, "deadline": 0.001}, clock=ManualClock()).routes.read()
