"""What the Azure provider costs: one node that joins, a thousand at once, and the calls of an idle hour.

The real controller, plugin and SDK over loopback HTTP, against the lab's Azure, on a clock that is moved by hand:
only waiting takes time on it. An operation takes two seconds, which is a guess; nobody publishes it.
"""

from __future__ import annotations

import gc
import random
from collections import deque
from collections.abc import Callable
from ipaddress import IPv4Network, ip_interface

from cloudnet.clock import ManualClock
from cloudnet.controller.actions import Action, ApplyChanges
from cloudnet.controller.pool_actions import PoolAction
from cloudnet.controller.simulate import Simulation
from cloudnet.lab.clouds.azure.names import GROUP, SUBSCRIPTION
from cloudnet.lab.clouds.azure.plane import AzurePlane
from cloudnet.lab.clouds.azure.state import INTERFACE, NETWORK, ROUTE_TABLE, SUBNET, Machine
from cloudnet.lab.clouds.conditions import Conditions
from cloudnet.lab.clouds.listener import Listener
from cloudnet.model.addresses import NodeName
from cloudnet.model.resources import BlockAffinity, CloudRoute, Metadata, Node, RouteState
from cloudnet.provider.budget import Budget
from cloudnet.store.memory import MemoryStore
from cloudnet_azure import AzureProvider
from cloudnet_azure.client import Client, connect
from cloudnet_azure.config import AzureConfig

NODES = 1000
TABLES = 3
OPERATION_SECONDS = 2.0
JOIN_SECONDS = 5.0
IDLE = 12  # calls an hour
STEP = 0.05  # seconds between two looks at what is done
PEER = "cloud-provider-azure: 60 to 90 s"
PREFIX = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers"
VNET = f"{PREFIX}/Microsoft.Network/virtualNetworks/vnet"
TABLE_WRITE, ROUTE_WRITE = "RouteTables_CreateOrUpdate", "Routes_CreateOrUpdate"


def measure() -> list[dict[str, object]]:
    """Return the rows of the benchmark, in half a minute."""
    return [*small(), *large()]


def small() -> list[dict[str, object]]:
    """One node joins six, and its interface does not forward yet."""
    cluster = Cluster()
    try:
        cluster.join(*range(6))
        cluster.until(lambda: cluster.programmed(6))
        cluster.sim.run(60)
        calls, started = cluster.count(), cluster.clock.now()
        cluster.join(6, forwarding=False)
        cluster.until(lambda: cluster.programmed(7))
        took = cluster.clock.now() - started
        cluster.sim.run(10)
        spent = cluster.count() - calls
    finally:
        cluster.close()
    return [
        row(
            f"one node joins {TABLES} tables, its routes verified (operations take {OPERATION_SECONDS:g} s)",
            round(took, 2),
            "s",
            f"< {JOIN_SECONDS:g}",
            ok=took < JOIN_SECONDS,
            peer=PEER,
        ),
        row("one node joins: calls, looks and forwarding included", spent, "calls", "reported", ok=True),
    ]


def large() -> list[dict[str, object]]:
    """A thousand nodes at once, and then nothing happens."""
    cluster = Cluster()
    try:
        cluster.sim.run(1)
        started = cluster.clock.now()
        cluster.join(*range(NODES))
        cluster.until(lambda: cluster.programmed(NODES))
        took = cluster.clock.now() - started
        tables, routes = cluster.count(TABLE_WRITE), cluster.count(ROUTE_WRITE)
        refused = sum(call.status >= 400 for call in cluster.plane.simulator.log)
        cluster.sim.run(120)
        before = cluster.count()
        cluster.sim.run(3600)
        idle = cluster.count() - before
    finally:
        cluster.close()
    return [
        row(
            f"{NODES} nodes at once, native everywhere",
            round(took, 1),
            "s",
            "reported",
            ok=True,
            peer=PEER,
        ),
        row(
            f"{NODES} nodes at once: writes",
            tables + routes,
            "calls",
            f"one a table, {TABLES} at most",
            ok=tables == TABLES and routes == 0,
        ),
        row(f"{NODES} nodes: refused calls", refused, "calls", "0", ok=refused == 0),
        row(f"idle hour, {NODES} nodes", idle, "calls", f"<= {IDLE}", ok=idle <= IDLE),
    ]


def row(name: str, value: float, unit: str, target: str, *, ok: bool, peer: str = "") -> dict[str, object]:
    return {"name": f"Azure: {name}", "value": value, "unit": unit, "target": target, "peer": peer, "ok": ok}


class Together(Simulation):
    """Lets the batches of several tables begin at one moment, as the controller's workers do."""

    def _carry_out(self, action: Action | PoolAction) -> None:
        if not isinstance(action, ApplyChanges):
            super()._carry_out(action)
            return
        started, ended = self._clock.now(), self._clock.now()
        batches = [action, *(a for a in self._todo if isinstance(a, ApplyChanges))]
        self._todo = deque(a for a in self._todo if not isinstance(a, ApplyChanges))
        for batch in batches:
            self._clock.advance(started - self._clock.now())
            super()._carry_out(batch)
            ended = max(ended, self._clock.now())
        self._clock.advance(ended - self._clock.now())


class Cluster:
    """Three subnets with a table each, and a controller that knows nobody yet."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        limits = Conditions(routes_per_table=NODES)
        self.plane = AzurePlane(limits, self.clock, operation_seconds=OPERATION_SECONDS)
        self.plane.state.put(NETWORK, VNET, {"properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/8"]}}})
        for i in range(TABLES):
            table = f"{PREFIX}/Microsoft.Network/routeTables/rt-{i}"
            self.plane.state.put(ROUTE_TABLE, table, {"location": "westeurope"})
            properties = {"addressPrefix": f"10.{i}.0.0/16", "routeTable": {"id": table}}
            self.plane.state.put(SUBNET, f"{VNET}/subnets/s{i}", {"properties": properties})
        self._listener = Listener(0, self.plane.account)
        self._listener.open()
        config = AzureConfig(
            subscription_id=SUBSCRIPTION,
            resource_group=GROUP,
            cluster="bench",
            endpoint_url=f"http://127.0.0.1:{self._listener.port}",
            access_token="token",  # noqa: S106  the lab's Azure asks for none
            routes_per_table=NODES,
        )
        budget = Budget(self.clock, read=config.read, write=config.write)
        client = Client(config, connect(config), clock=self.clock, budget=budget, rng=random.Random(1))
        self.store = MemoryStore()
        self.sim = Together(self.store, AzureProvider(config, client, self.clock), self.clock)

    def close(self) -> None:
        self.sim = None  # type: ignore[assignment]  # with it go the SDK's connections
        gc.collect()
        self._listener.close()

    def join(self, *numbers: int, forwarding: bool = True) -> None:
        for k in numbers:
            subnet = k % TABLES
            address = ip_interface((int(IPv4Network(f"10.{subnet}.0.0/16")[0]) + 10 + k // TABLES, 16))
            machine = f"{PREFIX}/Microsoft.Compute/virtualMachines/vm-{k}"
            interface = f"{PREFIX}/Microsoft.Network/networkInterfaces/vm-{k}"
            own = {"privateIPAddress": str(address.ip), "subnet": {"id": f"{VNET}/subnets/s{subnet}"}}
            properties = {"ipConfigurations": [{"name": "c", "properties": own}], "enableIPForwarding": forwarding}
            self.plane.state.put(INTERFACE, interface, {"location": "westeurope", "properties": properties})
            self.plane.state.machines[machine] = Machine(machine, f"vm-{k}", interface, "00:0d:3a:00:00:01")
            self.store.create(Node(Metadata(f"n{k}"), (address,), provider_id=f"azure://{machine}"))
            block = IPv4Network((int(IPv4Network("10.64.0.0/10")[0]) + (k << 6), 26))
            self.store.create(BlockAffinity(Metadata(f"n{k}-block"), NodeName(f"n{k}"), block))

    def until(self, done: Callable[[], bool]) -> None:
        end = self.clock.now() + 600
        while not done() and self.clock.now() < end:
            self.sim.run(STEP)

    def programmed(self, count: int) -> bool:
        routes = self.store.list(CloudRoute).items
        return len(routes) == count and all(
            len(r.value.tables) == TABLES and all(s.state is RouteState.PROGRAMMED for s in r.value.tables)
            for r in routes
        )

    def count(self, *calls: str) -> int:
        counts = self.plane.simulator.counts
        return sum(counts[call] for call in calls) if calls else counts.total()


if __name__ == "__main__":
    for line in measure():
        print(line)  # noqa: T201  the point of running it
