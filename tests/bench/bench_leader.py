"""How long nobody leads after the leader was killed with SIGKILL, on each store that processes can share.

Two processes contend with the controller's own rules: what is measured is when somebody may write again. Besides, a
lab on each store loses its leading controller under traffic, with a cluster's lease, and packets are counted.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from cloudnet.cli.demo import play
from cloudnet.lab import scenarios
from cloudnet.lab.spec import LabSpec
from cloudnet.testing.contenders import contending
from cloudnet.testing.etcd import EtcdServer
from cloudnet.testing.kube.server import ApiServer

LEASE = 3.0
ROUNDS = 5
NODES = 4
SUBNETS = 2
STORES = ("sqlite", "etcd", "kubernetes")


def measure() -> list[dict[str, object]]:
    """Return the rows, in about three minutes."""
    times = [row(name, opened) for name, opened in (("sqlite", sqlite), ("etcd", etcd), ("kubernetes", kubernetes))]
    return [*times, *(lost(store) for store in STORES)]


def lost(store: str) -> dict[str, object]:
    wanted = LabSpec("handover", NODES, SUBNETS, controller=False, store=store)
    steps = scenarios.story(NODES, SUBNETS, only=["leader-kill"])
    result = play(wanted, steps, lambda line: sys.stderr.write(line + "\n")).result()
    step = next(step for step in result.steps if step.fault == "leader-kill")
    return {
        "name": f"leader hand-over after kill -9, {store}, lease of 15 s: packets lost between {NODES} nodes",
        "value": step.lost,
        "unit": "packets",
        "target": "0",
        "peer": f"of {step.sent}",
        "ok": result.ok,
    }


def row(name: str, opened: Callable[[], AbstractContextManager[str]]) -> dict[str, object]:
    waited, overlaps = [], 0
    for _ in range(ROUNDS):
        with opened() as url, contending(url, 2, duration=LEASE) as contenders:
            killed_at = contenders.leader().kill()
            contenders.leader()
            waited.append(time.monotonic() - killed_at)
            overlaps += len(contenders.overlaps())
    return {
        "name": f"leader hand-over after kill -9, {name}, lease of {LEASE:.0f} s: slowest of {ROUNDS}",
        "value": max(waited),
        "unit": "s",
        "target": f"< {LEASE + 1:.0f}",
        "peer": f"median {statistics.median(waited):.2f} s",
        "ok": max(waited) < LEASE + 1 and not overlaps,
    }


@contextmanager
def sqlite() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite://{folder}/store.sqlite"


@contextmanager
def etcd() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder, EtcdServer(Path(folder)) as server:
        yield server.url


@contextmanager
def kubernetes() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder, ApiServer() as api:
        file = Path(folder) / "config"
        cluster = f'{{name: c, cluster: {{server: "http://127.0.0.1:{api.port}"}}}}'
        file.write_text(
            f"current-context: c\nclusters: [{cluster}]\ncontexts: [{{name: c, context: {{cluster: c}}}}]\n"
        )
        yield f"kubernetes://{file}"
