"""A cluster on a clock that stands still: a cloud and a store in memory, and the controller between them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from cloudnet.clock import ManualClock
from cloudnet.controller.options import Options
from cloudnet.controller.simulate import Simulation
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.calico import affinity_name, cidr_name
from cloudnet.model.resources import (
    AgentReport,
    BlockAffinity,
    CloudNode,
    CloudRoute,
    Metadata,
    Node,
    NodeCondition,
    Resource,
    TableStatus,
)
from cloudnet.provider.memory import MemoryCloud, MemoryProvider
from cloudnet.store.api import NotFound, change
from cloudnet.store.memory import MemoryStore

WRITES = ("create_route", "replace_route", "delete_route", "modify_interface")
READS = ("describe_tables", "describe_instances")


@dataclass
class Cluster:
    """Node ``n<k>`` is instance ``i-<k>`` in subnet ``k`` modulo the tables, with block ``10.65.<k>.0/26``."""

    tables: int = 3
    options: Options = field(default_factory=Options)
    l2_adjacent: bool = True
    limit: int = 500
    read_delay: float = 0.0

    def __post_init__(self) -> None:
        self.clock = ManualClock()
        limits = dict.fromkeys(Family, self.limit)
        self.cloud = MemoryCloud(self.clock, limits=limits, read_delay=self.read_delay)
        self.store = MemoryStore()
        for i in range(self.tables):
            self.cloud.add_table(f"rtb-{i}", subnets=[f"s{i}"])
        self.restart()

    def restart(self) -> Simulation:
        """Start another controller, which knows only what cloud and store tell."""
        provider = MemoryProvider(self.cloud, self.clock, l2_adjacent=self.l2_adjacent)
        self.sim = Simulation(self.store, provider, self.clock, self.options)
        return self.sim

    def run(self, seconds: float = 5.0) -> None:
        self.sim.run(seconds)

    def machine(self, k: int, *, instance: str = "", forwarding: bool = True) -> None:
        subnet = k % self.tables
        address = ip_address(f"10.0.{subnet}.{10 + k // self.tables}")
        self.cloud.add_instance(instance or f"i-{k}", f"s{subnet}", [address], forwarding=forwarding)

    def node(self, k: int, *pod_cidrs: str, instance: str = "") -> None:
        subnet = k % self.tables
        address = ip_interface(f"10.0.{subnet}.{10 + k // self.tables}/24")
        cidrs = tuple(ip_network(c) for c in pod_cidrs)
        self.store.create(
            Node(Metadata(f"n{k}"), (address,), pod_cidrs=cidrs, provider_id=f"x:///zone/{instance or f'i-{k}'}")
        )

    def block(self, k: int, cidr: str = "") -> str:
        cidr = cidr or f"10.65.{k}.0/26"
        name = affinity_name(NodeName(f"n{k}"), ip_network(cidr))
        self.store.create(BlockAffinity(Metadata(name), NodeName(f"n{k}"), ip_network(cidr)))
        return cidr

    def unblock(self, k: int, cidr: str = "") -> None:
        cidr = cidr or f"10.65.{k}.0/26"
        self.store.delete(BlockAffinity, affinity_name(NodeName(f"n{k}"), ip_network(cidr)))

    def join(self, *numbers: int) -> None:
        for k in numbers:
            self.machine(k)
            self.node(k)
            self.block(k)

    def leave(self, k: int) -> None:
        self.store.delete(Node, f"n{k}")
        self.unblock(k)

    def report(self, k: int, *, ready: bool = True, observed: int = 0, lost: tuple[str, ...] = ()) -> None:
        new = AgentReport(Metadata(f"n{k}"), ready, observed, tuple(ip_network(c) for c in lost))
        try:
            change(self.store, AgentReport, f"n{k}", lambda old: replace(new, meta=old.meta))
        except NotFound:
            self.store.create(new)

    def get(self, kind: type[Resource], name: str):
        with suppress(NotFound):
            return self.store.get(kind, name).value
        return None

    def get_node(self, k: int) -> Node | None:
        return self.get(Node, f"n{k}")

    def route(self, cidr: str) -> CloudRoute | None:
        return self.get(CloudRoute, cidr_name(ip_network(cidr)))

    def status(self, cidr: str, table: str) -> TableStatus | None:
        route = self.route(cidr)
        return route.status(table) if route else None

    def states(self, cidr: str) -> Mapping[str, str]:
        """Return ``{table: "state cause"}``, the cause left out when there is none."""
        route = self.route(cidr)
        words = {s.table: (s.state.value, s.cause.value) for s in route.tables} if route else {}
        return {t: state if cause in ("none", state) else f"{state} {cause}" for t, (state, cause) in words.items()}

    def cloud_node(self, k: int) -> CloudNode | None:
        return self.get(CloudNode, f"n{k}")

    def condition(self, k: int) -> NodeCondition | None:
        return self.get(NodeCondition, f"n{k}")

    def shown(self) -> Mapping[str, Mapping[str, str]]:
        """Return ``{table: {destination: target}}`` as the cloud really is."""
        return {
            f"rtb-{i}": {str(d): r.next_hop.interface or r.target for d, r in self.cloud.routes(f"rtb-{i}").items()}
            for i in range(self.tables)
            if f"rtb-{i}" in self.cloud._tables
        }

    def calls(self) -> tuple[int, int]:
        """Return how many reads and writes the cloud has seen."""
        return self.cloud.count(*READS), self.cloud.count(*WRITES)

    def refused_calls(self) -> int:
        return sum(call.outcome != "ok" for call in self.cloud.log)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def make_cluster() -> type[Cluster]:
    return Cluster
