"""An agent among 1,000 nodes, 10,000 pods and 500 policies: its cold start, and how fast the kernel follows.

The agent is the real program in a network namespace of its own, with the real kernel. Its store is either the
stand-in for a Kubernetes API server, in a process of its own, or a real etcd; both hold the same cluster. On two
cores the server takes its share of the same time, so its seconds of CPU stand beside the agent's.

A start is over when the agent says that it is ready and that policy is in force; then the kernel is looked at,
whether that is true. Afterwards one thing at a time is changed in the store, and the kernel's own notices tell when
it had it: from before the write, so the store's part of the time is in it.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from pathlib import Path

import large_cluster
from large_cluster import PODS_A_NODE, POLICIES
from servers import Etcd, Kubernetes, Side, cpu, memory

from cloudnet.kernel import netns
from cloudnet.model.policies import NetworkPolicy
from cloudnet.model.resources import BlockAffinity
from cloudnet.store.api import Store, change
from cloudnet.store.registry import open_store

NODES = 1000
START, MEMORY = 5.0, 250.0  # seconds and MiB that a cold start may take
CHANGES, PROMPT = 200, 0.100  # of each kind; seconds
PATIENCE = 120.0  # seconds until a start, or a change, has failed


def measure() -> list[dict[str, object]]:
    """Return the rows, in about four minutes."""
    rows: list[dict[str, object]] = []
    for side in (Kubernetes(), Etcd()):
        with netns.temporary(f"cn-agent-{os.getpid()}") as name:
            rows += netns.run_inside(name, lambda side=side: list(measured(side)))  # type: ignore[misc]  # called at once
    return rows


# --- the agent ----------------------------------------------------------------------------------------------


def lay_a_wire() -> None:
    """Give this namespace an underlay."""
    for line in (
        "link add eth0 type veth peer name eth0-peer",
        "link set eth0-peer up",
        "link set eth0 up",
        "address add 10.0.0.1/16 dev eth0",
        "route add default via 10.0.0.254",
    ):
        subprocess.run(["ip", *line.split()], check=True)


def measured(side: Side) -> Iterator[dict[str, object]]:
    lay_a_wire()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(side.serving(folder, NODES))
        before, carried = cpu(side.pid), loopback_bytes()
        agent = stack.enter_context(running(folder, url, NODES))
        yield from started(side, agent, cpu(side.pid) - before, NODES)
        yield load(side, "carried at its start", (loopback_bytes() - carried) / 2**20, "MiB")
        yield from followed(side, url)
        yield load(side, "connections that it holds", connections(side.port), "of one agent")
        yield from rested(side, agent)


@dataclass(frozen=True)
class Running:
    pid: int
    seconds: float  # that the start took
    cpu: float
    mebibytes: float


@contextmanager
def running(folder: Path, url: str, nodes: int) -> Iterator[Running]:
    """Start an agent and wait until the kernel has everything of a cluster of so many nodes."""
    flags = {
        "node": "node-0",
        "store": url,
        "socket": folder / "agent.sock",
        "cni-socket": folder / "cni.sock",
        "cni-state": folder / "cni",
        "state": folder / "state",
        "resync-seconds": 3600,  # nothing but what is measured writes to the kernel
    }
    words = [str(word) for flag, value in flags.items() for word in (f"--{flag}", value)]
    log = folder / "log"
    began = time.perf_counter()
    with log.open("wb") as file:
        agent = subprocess.Popen([sys.executable, "-m", "cloudnet", "agent", *words], stdout=file, stderr=file)
    try:
        wait_until_in_sync(folder, agent)
        seconds = time.perf_counter() - began
        taken, peak = cpu(agent.pid), memory(agent.pid, "VmHWM")
        check_kernel(nodes)
        yield Running(agent.pid, seconds, taken, peak)
    finally:
        agent.terminate()
        agent.wait()


def wait_until_in_sync(folder: Path, agent: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not (is_ready(folder / "agent.sock") and b"policy is in force" in (folder / "log").read_bytes()):
        if agent.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the agent did not come into sync: {(folder / 'log').read_text()[-2000:]}")
        time.sleep(0.02)


def is_ready(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as asking:
        try:
            asking.connect(str(path))
        except OSError:
            return False
        asking.sendall(b'{"verb": "status"}\n')
        with asking.makefile("rb") as answer:
            return bool(json.loads(answer.readline())["ready"])


def check_kernel(nodes: int) -> None:
    """Fail unless the ground of every other node and the policy of every own pod are in the kernel."""
    routes = subprocess.run(
        ["ip", "route", "show", "dev", "vxlan.calico"], capture_output=True, check=True, text=True
    )
    found = sum(" via " in line for line in routes.stdout.splitlines())
    if found != nodes - 1:
        raise RuntimeError(f"expected routes to {nodes - 1} blocks, found {found}")
    tables = subprocess.run(["nft", "list", "ruleset"], capture_output=True, check=True, text=True).stdout
    missing = [pod for pod in range(PODS_A_NODE) if large_cluster.interface(pod) not in tables]
    if missing:
        raise RuntimeError(f"no policy is in force for pods {missing}")
    if str(peer := large_cluster.address_of(large_cluster.PEER)) not in tables:
        raise RuntimeError(f"{peer} is a peer of pods of this node, and is not in the kernel")


# --- rows ---------------------------------------------------------------------------------------------------


def started(
    side: Side, agent: Running, server: float, nodes: int, *, most: tuple[float, float] = (START, MEMORY)
) -> Iterator[dict[str, object]]:
    what = f"agent on {side.name}, {nodes:,} nodes, {nodes * PODS_A_NODE:,} pods, {POLICIES} policies"
    seconds, mebibytes = most
    beside = f"CPU: agent {agent.cpu:.1f} s, server {server:.1f} s"
    yield row(f"{what}: cold start until in sync", agent.seconds, "s", seconds, peer=beside)
    yield row(f"{what}: most memory while starting", agent.mebibytes, "MiB", mebibytes)


def row(name: str, value: float, unit: str, most: float, *, peer: str | None = None) -> dict[str, object]:
    target = f"< {most:g}"
    return {"name": name, "value": value, "unit": unit, "target": target, "peer": peer, "ok": value < most}


def rested(side: Side, agent: Running) -> Iterator[dict[str, object]]:
    before, began, carried = cpu(agent.pid), time.perf_counter(), loopback_bytes()
    time.sleep(side.quiet)
    share = (cpu(agent.pid) - before) / (time.perf_counter() - began)
    yield {
        "name": f"agent on {side.name}, the same, nothing changes: of one core",
        "value": 100 * share,
        "unit": "%",
        "target": "reported",
        "peer": f"resident {memory(agent.pid, 'VmRSS'):.0f} MiB",
        "ok": True,
    }
    hours = (time.perf_counter() - began) / 3600
    yield load(
        side, "carried in an hour in which nothing changes", (loopback_bytes() - carried) / 2**20 / hours, "MiB"
    )


# --- what the server has to carry ---------------------------------------------------------------------------


def load(side: Side, what: str, value: float, unit: str) -> dict[str, object]:
    return {"name": f"agent on {side.name}: {what}", "value": value, "unit": unit, "target": "reported", "ok": True}


def loopback_bytes() -> int:
    """Return what has gone over this namespace's loopback; the agent and its store are alone on it."""
    lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
    return next(int(line.split(":")[1].split()[0]) for line in lines if line.strip().startswith("lo:"))


def connections(port: int) -> int:
    """Return the connections to a port that are established, counted at their far end."""
    rows = (line.split() for line in Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:])
    return sum(remote.endswith(f":{port:04X}") and state == "01" for _, _, remote, state, *_ in rows)


# --- from the store to the kernel ---------------------------------------------------------------------------

_ROUTES, _NFTABLES = (socket.NETLINK_ROUTE, 1 << 6), (12, 1 << 6)
"""Protocol and groups of the kernel's notices: RTMGRP_IPV4_ROUTE; NFNLGRP_NFTABLES (7) of NETLINK_NETFILTER (12)."""


def followed(side: Side, url: str) -> Iterator[dict[str, object]]:
    store = open_store(url)
    changes: Sequence[tuple[str, tuple[int, int], Callable[[int], object]]] = (
        ("a policy's rule changes", _NFTABLES, lambda number: change_policy(store, number)),
        ("a pod elsewhere becomes a peer, or none any more", _NFTABLES, lambda number: relabel(side, store, number)),
        ("a block elsewhere comes, or goes", _ROUTES, lambda number: change_route(store, number)),
    )
    try:
        for what, notices, make in changes:
            taken = sorted(times(notices, make))
            p50, p99 = taken[CHANGES // 2], taken[int(CHANGES * 0.99)]
            name = f"{side.name}: {what}, from the write to the kernel, p99 of {CHANGES}"
            yield row(name, p99 * 1000, "ms", PROMPT * 1000, peer=f"p50 {p50 * 1000:.1f} ms")
    finally:
        store.close()


def times(notices: tuple[int, int], make: Callable[[int], object]) -> Iterator[float]:
    protocol, groups = notices
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as kernel:
        kernel.bind((0, groups))
        for number in range(CHANGES):
            began = time.perf_counter()
            make(number)
            if not heard(kernel, PATIENCE):
                raise RuntimeError(f"change {number} did not reach the kernel")
            yield time.perf_counter() - began
            while heard(kernel, 0.05):
                pass  # the rest of the same change


def heard(kernel: socket.socket, timeout: float) -> bool:
    ready, _, _ = select.select([kernel], [], [], timeout)
    if ready:
        kernel.recv(1 << 20)
    return bool(ready)


def change_policy(store: Store, number: int) -> None:
    """Give a policy of a pod of this node another port."""
    wanted = large_cluster.policy(large_cluster.LOCAL_POLICY, port=1000 + 2 * number)
    change(
        store,
        NetworkPolicy,
        wanted.meta.name,
        lambda seen: replace(seen, spec=wanted.spec),
        namespace=wanted.meta.namespace,
    )


def relabel(side: Side, store: Store, number: int) -> None:
    """Let a pod elsewhere become a peer of that policy, and take it back."""
    side.relabel(store, large_cluster.NEAR_PEER, ("app-2", "app-3")[number % 2])


def change_route(store: Store, number: int) -> None:
    further = IPv4Network((int(large_cluster.POOL.network_address) + 64 * NODES, 26))
    value = large_cluster.affinity(NODES // 2, further)
    if number % 2:
        store.delete(BlockAffinity, value.meta.name)
    else:
        store.create(value)
