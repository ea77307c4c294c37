"""What the Google provider costs: a thousand routes against the write quota, and the calls of an idle hour.

The real controller, plugin and SDK over loopback HTTP, against the lab's Compute Engine, on a clock that is moved by
hand: only waiting takes time on it. An operation takes two seconds, which is a guess; nobody publishes it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from ipaddress import IPv4Network, ip_interface

from cloudnet.clock import ManualClock
from cloudnet.controller.simulate import Simulation
from cloudnet.lab.clouds.conditions import Conditions
from cloudnet.lab.clouds.gcp.calls import Manners
from cloudnet.lab.clouds.gcp.plane import PROJECT, Google
from cloudnet.lab.clouds.gcp.state import URL
from cloudnet.lab.clouds.listener import Listener
from cloudnet.model.addresses import NodeName
from cloudnet.model.resources import BlockAffinity, CloudRoute, Metadata, Node, RouteState
from cloudnet.provider.budget import Budget
from cloudnet.store.memory import MemoryStore
from cloudnet_gcp import GcpProvider
from cloudnet_gcp.client import Client, connect
from cloudnet_gcp.config import A_MINUTE, WRITE, GcpConfig

NODES = 1000
OPERATION_SECONDS = 2.0
OVER = 1.10  # of what the write quota allows
IDLE = 12  # calls an hour
PEER = "cloud-provider-gcp: 1,140 s reported"
IDLE_PEER = "cloud-provider-gcp: 360 lists"  # every ten seconds


def measure() -> list[dict[str, object]]:
    """Return the rows of the benchmark, in a minute."""
    cluster = Cluster()
    try:
        return cluster.measure()
    finally:
        cluster.close()


def row(name: str, value: float, unit: str, target: str, *, ok: bool, peer: str = "") -> dict[str, object]:
    return {"name": f"Google: {name}", "value": value, "unit": unit, "target": target, "peer": peer, "ok": ok}


class Cluster:
    """A network of one subnet, and a controller that knows nobody yet."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.google = Google(
            Conditions(routes_per_table=2 * NODES), clock=self.clock, manners=Manners(OPERATION_SECONDS)
        )
        self.put("global/networks/vpc", {})
        subnet = {"network": self.url("global/networks/vpc"), "ipCidrRange": "10.0.0.0/16"}
        self.put("regions/here/subnetworks/s", subnet)
        self._listener = Listener(0, self.google.account)
        self._listener.open()
        config = GcpConfig(
            project=PROJECT,
            network="vpc",
            cluster="bench",
            endpoint_url=f"http://127.0.0.1:{self._listener.port}",
            access_token="token",  # noqa: S106  the lab's Google asks for none
            parallel=1,  # the clock stands still while a call is under way, so threads would gain nothing
        )
        self.budget = Budget(self.clock, read=config.read, write=config.write)
        client = Client(config, connect(config), clock=self.clock, budget=self.budget, rng=random.Random(1))
        self.store = MemoryStore()
        self.sim = Simulation(self.store, GcpProvider(config, client, self.clock), self.clock)

    def close(self) -> None:
        self._listener.close()

    def url(self, path: str) -> str:
        return f"{URL}projects/{PROJECT}/{path}"

    def put(self, path: str, document: Mapping[str, object]) -> None:
        """Have a resource that was there before."""
        whole = f"projects/{PROJECT}/{path}"
        named = {"name": path.rpartition("/")[2], **self.google.project.server_fields(whole, "any")}
        self.google.project.resources[whole] = {**document, **named}

    def join(self, k: int) -> None:
        address = ip_interface((int(IPv4Network("10.0.0.0/16")[0]) + 10 + k, 16))
        nic = {
            "name": "nic0",
            "network": self.url("global/networks/vpc"),
            "subnetwork": self.url("regions/here/subnetworks/s"),
            "networkIP": str(address.ip),
        }
        machine = {"zone": self.url("zones/here-a"), "status": "RUNNING", "canIpForward": True}
        self.put(f"zones/here-a/instances/vm-{k}", machine | {"networkInterfaces": [nic]})
        self.store.create(Node(Metadata(f"n{k}"), (address,), provider_id=f"gce://{PROJECT}/here-a/vm-{k}"))
        block = IPv4Network((int(IPv4Network("10.64.0.0/10")[0]) + (k << 6), 26))
        self.store.create(BlockAffinity(Metadata(f"n{k}-block"), NodeName(f"n{k}"), block))

    def measure(self) -> list[dict[str, object]]:
        self.sim.run(1)
        started, before = self.clock.now(), len(self.google.simulator.log)
        for k in range(NODES):
            self.join(k)
        while not self.programmed() and self.clock.now() < started + 3600:
            self.sim.run(0.1)
        took = self.clock.now() - started
        bound = (NODES - WRITE.burst) / WRITE.rate
        calls = self.google.simulator.log[before:]
        writes = [call.at for call in calls if call.name == "compute.routes.insert"]
        busiest = max(sum(at <= other < at + 60.0 for other in writes) for at in writes)
        refused = sum(call.status != 200 for call in calls)
        looks = sum(call.name == "compute.globalOperations.list" for call in calls)
        self.sim.run(120)
        counted = self.google.simulator.counts.total()
        self.sim.run(3600)
        idle = self.google.simulator.counts.total() - counted
        return [
            row(
                f"{NODES} nodes at once, native everywhere",
                round(took, 1),
                "s",
                f"<= {bound * OVER:.1f} (the quota's {bound:.0f} and 10 %)",
                ok=took <= bound * OVER,
                peer=PEER,
            ),
            row(f"{NODES} nodes: inserts", len(writes), "calls", f"{NODES}", ok=len(writes) == NODES),
            row("most inserts in a minute", busiest, "calls", f"<= {A_MINUTE}", ok=busiest <= A_MINUTE),
            row(f"{NODES} nodes: refused calls", refused, "calls", "0", ok=refused == 0),
            row(f"{NODES} nodes: looks at operations", looks, "calls", "reported", ok=True),
            row(f"{NODES} nodes: other reads", len(calls) - len(writes) - looks, "calls", "reported", ok=True),
            row(f"idle hour, {NODES} nodes", idle, "calls", f"<= {IDLE}", ok=idle <= IDLE, peer=IDLE_PEER),
        ]

    def programmed(self) -> bool:
        routes = self.store.list(CloudRoute).items
        return len(routes) == NODES and all(
            r.value.tables and all(s.state is RouteState.PROGRAMMED for s in r.value.tables) for r in routes
        )
