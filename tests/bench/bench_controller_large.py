"""What the controller needs with 5,000 nodes and 50,000 pods: memory, and its share of a core, in rest and in churn.

The controller is the real program, with the plugin for a network without an API, so that no cloud's pace is in the
figures; its store is the stand-in for a Kubernetes API server, in a process of its own. Churn is what such a cluster
is never without: nodes whose status changes, and blocks that come and go.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path

import large_cluster
from servers import Kubernetes, cpu, memory

from cloudnet.model.resources import BlockAffinity, CloudRoute
from cloudnet.store.api import Store
from cloudnet.store.registry import open_store
from cloudnet.testing.etcd import free_port

NODES = 5000
MEMORY, SHARE = 500.0, 50.0  # MiB; per cent of one core: mostly idle
WATCHED, RATE = 20.0, 10  # seconds; changes a second
PATIENCE = 300.0  # seconds until the controller must have done its first work


def measure() -> list[dict[str, object]]:
    """Return the rows, in about two minutes."""
    side = Kubernetes()
    with (
        tempfile.TemporaryDirectory() as name,
        side.serving(Path(name), NODES) as url,
        running(Path(name), url) as pid,
    ):
        store = open_store(url)
        try:
            return list(measured(side, store, pid))
        finally:
            store.close()


@contextmanager
def running(folder: Path, url: str) -> Iterator[int]:
    """Run a controller, and return its process once it leads and has written a route for every block."""
    config, metrics = folder / "static.json", f"127.0.0.1:{free_port()}"
    config.write_text(json.dumps({"l2": False, "routed": [{"prefix": str(large_cluster.POOL)}]}))
    flags = {"store": url, "provider": "static", "provider-config": config, "metrics": metrics}
    words = [str(word) for flag, value in flags.items() for word in (f"--{flag}", value)]
    with (folder / "controller.log").open("wb") as log:
        controller = subprocess.Popen(
            [sys.executable, "-m", "cloudnet", "controller", *words], stdout=log, stderr=log
        )
    try:
        wait_until(lambda: is_ready(metrics) and is_settled(url), controller)
        yield controller.pid
    finally:
        controller.terminate()
        controller.wait()


def wait_until(done: Callable[[], bool], controller: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        if controller.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the controller did not do its first work")
        time.sleep(1.0)


def is_ready(metrics: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{metrics}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except urllib.error.URLError:
        return False


def is_settled(url: str) -> bool:
    """Tell whether every block's route has been looked at."""
    store = open_store(url)
    try:
        return all(route.value.tables for route in store.list(CloudRoute).items)
    finally:
        store.close()


def measured(side: Kubernetes, store: Store, pid: int) -> Iterator[dict[str, object]]:
    what = f"controller with {NODES:,} nodes, {NODES * large_cluster.PODS_A_NODE:,} pods"
    started = f"its start: {cpu(pid):.1f} s of CPU"
    rest = share(pid, lambda _number: None)
    churn = share(pid, lambda number: disturb(side, store, number))
    peak = memory(pid, "VmHWM")
    yield row(f"{what}: most memory", peak, "MiB", MEMORY, peer=started)
    yield row(f"{what}, nothing changes: of one core", rest, "%", SHARE)
    yield row(f"{what}, {RATE} changes a second: of one core", churn, "%", SHARE)


def row(name: str, value: float, unit: str, most: float, *, peer: str = "") -> dict[str, object]:
    return {"name": name, "value": value, "unit": unit, "target": f"< {most:g}", "peer": peer, "ok": value < most}


def share(pid: int, make: Callable[[int], None]) -> float:
    """Return the per cent of a core that a process takes while changes are made."""
    before, began = cpu(pid), time.perf_counter()
    for number in range(int(WATCHED * RATE)):
        make(number)
        time.sleep(max(0.0, began + (number + 1) / RATE - time.perf_counter()))
    return 100 * (cpu(pid) - before) / (time.perf_counter() - began)


def disturb(side: Kubernetes, store: Store, number: int) -> None:
    """Let a node's status change, or a block come or go."""
    if number % 2:
        side.patch(
            f"nodes/node-{number}/status", {"status": {"conditions": [{"type": "Ready", "status": str(number)}]}}
        )
        return
    further = IPv4Network((int(large_cluster.POOL.network_address) + 64 * (NODES + number // 4), 26))
    value = large_cluster.affinity(number // 4, further)
    if number % 4:
        store.delete(BlockAffinity, value.meta.name)
    else:
        store.create(value)
