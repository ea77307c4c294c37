"""The look before the first write: each obstacle alone, with its remedy, and none."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network

import pytest
from router import PlannedFault, Router

from cloudnet.clock import ManualClock
from cloudnet.model.addresses import NodeName
from cloudnet.model.resources import IPPool, Metadata, Node
from cloudnet.provider.memory import Fault
from cloudnet.provider.preflight import Check, Needs, Severity
from cloudnet.testing.preflight import CloudPreflightContract, Obstacle
from cloudnet_example import make


class Shelf:
    """Three machines whose ports forward, in three segments with a table each."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self.provider = make({"url": router.url, "token": "secret", "deadline": 0.001}, clock=ManualClock())
        for k in (1, 2, 3):
            self.add(k)
        self.needs = Needs(
            nodes=tuple(Node(Metadata(f"n{k}"), provider_id=f"example://shelf-1/m-{k}") for k in (1, 2, 3)),
            pools=(IPPool(Metadata("pods"), ip_network("10.65.0.0/16")),),
            blocks={NodeName(f"n{k}"): (ip_network(f"10.65.{k}.0/26"),) for k in (1, 2, 3)},
        )

    def add(self, k: int) -> None:
        table = {"name": f"table-{k}", "segments": [f"segment-{k}"], "limit": 100, "routes": {}}
        machine = {"name": f"m-{k}", "port": f"port-{k}", "segment": f"segment-{k}", "addresses": [f"10.0.{k}.11"]}
        self.router.state.tables[f"table-{k}"] = table
        self.router.state.machines[f"m-{k}"] = machine | {"running": True, "forwarding": True}

    def writes(self) -> list[str]:
        return [call for call in self.router.seen if not call.startswith("describe")]

    def cut_off(self) -> None:
        for call in ("describe_instances", "describe_tables"):
            self.fail(call, Fault.UNAVAILABLE)

    def fail(self, call: str, fault: Fault) -> None:
        self.router.faults.append(PlannedFault(call, fault, math.inf, 0))


def denied(call):
    return lambda shelf: shelf.fail(call, Fault.PERMISSION)


def a_port_that_does_not_forward(shelf):
    shelf.router.state.machines["m-2"]["forwarding"] = False


def a_machine_that_is_off(shelf):
    shelf.router.state.machines["m-1"]["running"] = False


def no_table(shelf):
    shelf.router.state.tables["table-3"]["segments"] = []


def full(shelf):
    shelf.router.state.tables["table-1"]["limit"] = 2


def an_uplink_in_the_way(shelf):
    shelf.router.state.tables["table-1"]["routes"]["10.65.2.0/26"] = {"prefix": "10.65.2.0/26", "uplink": "up-1"}


def large_packets(shelf):
    return replace(shelf.needs, pod_mtu=1500)


class TestPreflight(CloudPreflightContract):
    CHECKS = frozenset(Check) - {Check.FIREWALL, Check.ADDRESSES}
    OBSTACLES = (
        Obstacle("machines denied", denied("describe_instances"), Check.PERMISSION, remedy="role reader"),
        Obstacle("tables denied", denied("describe_tables"), Check.PERMISSION, remedy="role reader"),
        Obstacle("off", a_machine_that_is_off, Check.MACHINES, remedy="start them"),
        Obstacle(
            "no forwarding",
            a_port_that_does_not_forward,
            Check.FORWARDING,
            Severity.WARNING,
            remedy="port port-2 --forwarding on",
        ),
        Obstacle("no table", no_table, Check.TABLES, remedy="add segment-3 "),
        Obstacle("full", full, Check.QUOTA, problem="3 are wanted .* and 2 fit", remedy="table-1 --limit 6"),
        Obstacle("uplink", an_uplink_in_the_way, Check.ROUTES, problem="up-1", remedy="delete 10.65.2.0/26$"),
        Obstacle("large packets", large_packets, Check.MTU, remedy="CLOUDNET_POD_MTU=1450"),
    )

    @pytest.fixture
    def world(self) -> Iterator[Shelf]:
        router = Router()
        yield Shelf(router)
        router.close()
