"""Native addresses under load: 150 nodes with 50 pods each at once, and what an idle hour costs.

Everything runs on a clock that is moved by hand, against a cloud in memory that meters calls by EC2's published token
buckets and refuses what comes too fast. Pods start through the allocator, as agents start them: with a native address
where one is at hand, with one of the pool meanwhile. The pool is for VXLAN alone: no route shares the
bucket.
"""

from __future__ import annotations

import math

from cloudnet.addresses.plan import Settings
from cloudnet.provider.api import Room
from cloudnet.provider.memory import WRITE
from cloudnet.provider.memory_addresses import ROOM, WRITES
from cloudnet.testing.pools import PoolCluster

NODES, PODS = 150, 50
SUBNETS = 4  # of 4,096 addresses, as clusters of that size have
PEER = "AWS VPC CNI: 15 minutes reported for 150 new nodes (amazon-vpc-cni-k8s issue 405)"
DEEP_ENOUGH = 600.0


def measure() -> list[dict[str, object]]:
    """Return the rows of the benchmark, in under a minute."""
    return [*burst(), *fragmented()]


def burst() -> list[dict[str, object]]:
    cluster = at_once(ROOM)
    started = cluster.clock.now()
    addressed = len(cluster.pods)
    early = sum(cluster.is_native(a) for a in cluster.pods.values())
    native = run_until_native(cluster) - started
    writes = cluster.cloud.count(*WRITES)
    least = fewest_writes(ROOM)
    floor = (least - WRITE.burst) / WRITE.rate
    refused = sum(call.outcome != "ok" for call in cluster.cloud.log)
    calls = cluster.cloud.count("describe_interfaces")
    cluster.run(3600)
    before = cluster.cloud.count()
    cluster.run(3600)
    idle = cluster.cloud.count() - before
    cluster.check()
    return [
        row(
            f"{NODES} nodes x {PODS} pods at once: pods with an address at once, on the overlay",
            addressed - early,
            "pods",
            f"all that have no native one ({NODES * PODS})",
            peer="VPC CNI: none, pods wait",
            ok=addressed == NODES * PODS,
        ),
        row(
            "native addresses at hand for every pod",
            round(native, 1),
            "s",
            f"<= {floor * 1.15:.1f} (what the bucket allows, {floor:.1f}, + 15 %)",
            peer=PEER,
            ok=native <= floor * 1.15,
        ),
        row("calls that the bucket refused", refused, "calls", "0", peer="", ok=refused == 0),
        row(
            "changes in the cloud", writes, "calls", f"<= {least}", peer="VPC CNI: 6 an interface", ok=writes <= least
        ),
        row("reads of addresses", calls, "calls", "<= 5", peer="VPC CNI: 1 a node and minute", ok=calls <= 5),
        row("idle hour, reads and changes", idle, "calls", "<= 12", peer="Cilium: 240 to 300", ok=idle <= 12),
    ]


def fragmented() -> list[dict[str, object]]:
    """The same in subnets without one free prefix: single addresses, and the pool for the rest."""
    cluster = at_once(ROOM, fragment=True, nodes=20)
    cluster.run(DEEP_ENOUGH)
    refused = sum(call.outcome == "throttled" for call in cluster.cloud.log)
    natives = [sum(c.num_addresses for c in cluster.held(k)) for k in range(1, 21)]
    told = sum(cluster.record(k).cause.value == "quota" for k in range(1, 21))
    cluster.check()
    return [
        row(
            "fragmented subnets, 20 nodes: single addresses of a node",
            min(natives),
            "addresses",
            "27 (all that three interfaces of nine hold)",
            peer="Cilium: the node stays so; VPC CNI: pods wait",
            ok=min(natives) == 27,
        ),
        row("nodes that say why further pods are on the overlay", told, "nodes", "20", peer="", ok=told == 20),
        row("calls that the bucket refused", refused, "calls", "0", peer="", ok=refused == 0),
    ]


def at_once(room: Room, *, fragment: bool = False, nodes: int = NODES) -> PoolCluster:
    """Start all nodes and all their pods in one moment."""
    cluster = PoolCluster(Settings(), subnets=SUBNETS, size=20, room=room)
    if fragment:
        for j in range(1, SUBNETS + 1):
            cluster.space.fragment(f"subnet-{j}")
    cluster.run(1)
    for k in range(1, nodes + 1):
        cluster.join(k, k % SUBNETS + 1)
        for p in range(PODS):
            cluster.start_pod(k, f"p{k}-{p}")
    return cluster


def fewest_writes(room: Room) -> int:
    """Return the changes that no plan can do without: one a node, as one request takes all its prefixes."""
    prefixes = math.ceil(PODS / 16)
    return NODES * math.ceil(prefixes / 9) if room.interfaces else 0


def run_until_native(cluster: PoolCluster) -> float:
    """Let time pass until every node could give each of its pods a native address; return when that was."""
    until = cluster.clock.now() + DEEP_ENOUGH
    while cluster.clock.now() < until:
        cluster.run(0.1)
        if all(sum(b.num_addresses for b in cluster.blocks(k)) >= PODS for k in range(1, NODES + 1)):
            return cluster.clock.now()
    return math.inf


def row(name: str, value: float, unit: str, target: str, *, peer: str, ok: bool) -> dict[str, object]:
    return {"name": name, "value": value, "unit": unit, "target": target, "peer": peer, "ok": ok}
