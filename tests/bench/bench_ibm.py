"""What the IBM provider costs: tables that fill to their quota, and the calls of an idle hour.

The real controller, plugin and SDK over loopback HTTP, against the lab's VPC, on a clock that is moved by hand: only
waiting takes time on it. A route is in force two seconds after it was made, which is a guess; nobody publishes it.
"""

from __future__ import annotations

import gc
import random
from ipaddress import IPv4Network, ip_interface

from cloudnet.clock import ManualClock
from cloudnet.controller.simulate import Simulation
from cloudnet.lab.clouds.conditions import Conditions
from cloudnet.lab.clouds.ibm.plane import IbmPlane
from cloudnet.lab.clouds.listener import Listener
from cloudnet.model.addresses import NodeName
from cloudnet.model.resources import BlockAffinity, CloudRoute, Metadata, Node, RouteState
from cloudnet.provider.budget import Budget
from cloudnet.store.memory import MemoryStore
from cloudnet_ibm import IbmProvider
from cloudnet_ibm.client import Client, connect
from cloudnet_ibm.config import WRITE, IbmConfig

QUOTA = 200  # routes in a table
ZONES = 3
LARGE = 1000  # nodes: more than three tables take, the rest stays on VXLAN
SMALL = 100  # nodes of a cluster that fits a page
IN_FORCE_SECONDS = 2.0
OVER = 1.15  # of what our own write bucket allows
IDLE = 12  # calls an hour
SETTLE = 4 * 3600.0  # seconds: what does not fit is looked at again, ever more slowly
IDLE_HOURS = 6  # a large cluster is read every hour and a half


def measure() -> list[dict[str, object]]:
    """Return the rows of the benchmark, in a minute."""
    return [*_measured(LARGE, ZONES), *_measured(SMALL, 1)]


def _measured(nodes: int, zones: int) -> list[dict[str, object]]:
    cluster = Cluster(nodes, zones)
    try:
        return cluster.measure()
    finally:
        cluster.close()


def row(name: str, value: float, unit: str, target: str, *, ok: bool = True) -> dict[str, object]:
    return {"name": f"IBM: {name}", "value": value, "unit": unit, "target": target, "peer": "", "ok": ok}


class Cluster:
    """A VPC with a subnet and a routing table for each zone, and a controller that knows nobody yet."""

    def __init__(self, nodes: int, zones: int) -> None:
        self.nodes, self.zones = nodes, zones
        self.clock = ManualClock()
        self.plane = IbmPlane(Conditions(routes_per_table=QUOTA, read_delay=IN_FORCE_SECONDS), self.clock)
        self.plane.cloud.changed = lambda: None  # no fabric follows
        self.subnets = [self.subnet(zone) for zone in range(1, zones + 1)]
        self._listener = Listener(0, self.plane.account)
        self._listener.open()
        config = IbmConfig(
            region="eu-de",
            vpc_id=self.plane.vpc.id,
            cluster="bench",
            token="token",  # noqa: S106  the lab's VPC asks for none
            endpoint_url=f"http://127.0.0.1:{self._listener.port}/v1",
        )
        budget = Budget(self.clock, read=config.read, write=config.write)
        client = Client(config, connect(config), clock=self.clock, budget=budget, rng=random.Random(1))
        self.store = MemoryStore()
        self.sim = Simulation(self.store, IbmProvider(config, client, self.clock), self.clock)

    def close(self) -> None:
        self.sim = None  # type: ignore[assignment]  # with it go the SDK's connections
        gc.collect()
        self._listener.close()

    def subnet(self, zone: int) -> str:
        table = self.plane.vpc.add_table(f"t{zone}")
        cidr = IPv4Network(f"10.0.{4 * zone}.0/22")
        return self.plane.vpc.add_subnet(f"s{zone}", f"eu-de-{zone}", cidr, table.id).id

    def join(self, k: int) -> None:
        zone = k % self.zones
        address = ip_interface((int(IPv4Network(f"10.0.{4 * (zone + 1)}.0/22")[0]) + 10 + k // self.zones, 22))
        machine = self.plane.vpc.add_machine(f"n{k}", self.subnets[zone], address.ip)
        self.store.create(Node(Metadata(f"n{k}"), (address,), provider_id=f"ibm://a///bench/{machine.id}"))
        block = IPv4Network((int(IPv4Network("10.64.0.0/10")[0]) + (k << 6), 26))
        self.store.create(BlockAffinity(Metadata(f"n{k}-block"), NodeName(f"n{k}"), block))

    def measure(self) -> list[dict[str, object]]:
        self.sim.run(1)
        started = self.clock.now()
        for k in range(self.nodes):
            self.join(k)
        fitting = min(self.nodes, QUOTA * self.zones)
        while self.programmed() < fitting and self.clock.now() < started + 3600:
            self.sim.run(0.5)
        took, made = self.clock.now() - started, self.plane.simulator.counts["create_vpc_routing_table_route"]
        bound = (fitting + self.nodes - WRITE.burst) / WRITE.rate  # routes, and a spoofing flag for each node
        refused = sum(call.status >= 400 for call in self.plane.simulator.log)
        self.sim.run(SETTLE)
        before = self.plane.simulator.counts.total()
        self.sim.run(IDLE_HOURS * 3600)
        idle = (self.plane.simulator.counts.total() - before) / IDLE_HOURS
        what = f"{self.nodes} nodes in {self.zones} zone{'s' * (self.zones > 1)}"
        within = "native in each zone" if fitting == self.nodes else f"{fitting} native, as many as fit"
        return [
            row(
                f"{what} at once, {within}",
                round(took, 1),
                "s",
                f"<= {bound * OVER:.1f} (our own bucket's {bound:.0f} and 15 %)",
                ok=took <= bound * OVER,
            ),
            row(f"{what}: creates", made, "calls", f"{fitting}", ok=made == fitting),
            row(f"{what}: refused calls", refused, "calls", "0", ok=refused == 0),
            row(f"{what}: idle hour", round(idle, 1), "calls", f"<= {IDLE}", ok=idle <= IDLE),
        ]

    def programmed(self) -> int:
        """Return how many blocks have a route that is in force."""
        routes = (item.value for item in self.store.list(CloudRoute).items)
        return sum(any(s.state is RouteState.PROGRAMMED for s in route.tables) for route in routes)
