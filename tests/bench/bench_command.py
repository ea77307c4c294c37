"""What a person at a terminal waits for: the help, and a store copied into another."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

from cloudnet.model.resources import BlockAffinity, CloudRoute, Metadata, Node
from cloudnet.store import migrate
from cloudnet.store.api import Store
from cloudnet.store.registry import open_store
from cloudnet.testing.etcd import EtcdServer

STARTS = 20
HELP_MS = 150.0
NODES = 2500
COPY_SECONDS = 30.0


def measure() -> list[dict[str, object]]:
    """Return the rows, in about a minute."""
    with tempfile.TemporaryDirectory() as folder:
        return [*starts(), *copies(Path(folder))]


def starts() -> list[dict[str, object]]:
    """Return what it takes from start to end, and the processor's part of it, which others' work does not change."""
    begun = processor()
    spent = statistics.median(seconds(run_help) for _ in range(STARTS)) * 1000
    used = (processor() - begun) / STARTS * 1000
    bare = statistics.median(seconds(run_nothing) for _ in range(STARTS)) * 1000
    target = f"< {HELP_MS:g}"
    return [
        {
            "name": f"cloudnet --help, median of {STARTS}",
            "value": spent,
            "unit": "ms",
            "target": target,
            "peer": f"python -c pass: {bare:.0f} ms",
            "ok": spent < HELP_MS,
        },
        {
            "name": "cloudnet --help, processor time",
            "value": used,
            "unit": "ms",
            "target": target,
            "ok": used < HELP_MS,
        },
    ]


def processor() -> float:
    """Return the seconds of processor time that ended children have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_help() -> None:
    subprocess.run([sys.executable, "-m", "cloudnet", "--help"], check=True, stdout=subprocess.DEVNULL)


def run_nothing() -> None:
    subprocess.run([sys.executable, "-c", "pass"], check=True)


def copies(folder: Path) -> list[dict[str, object]]:
    source = open_store(f"sqlite://{folder}/source.sqlite")
    fill(source)
    with EtcdServer(folder) as server:
        rows = [
            copied("a file", source, open_store(f"sqlite://{folder}/target.sqlite")),
            copied("an etcd", source, open_store(server.url, {})),
        ]
    source.close()
    return rows


def fill(store: Store) -> None:
    blocks = ip_network("10.64.0.0/10").subnets(new_prefix=26)
    for i, block in zip(range(NODES), blocks, strict=False):
        name = f"n{i}"
        store.create(Node(Metadata(name)))
        store.create(BlockAffinity(Metadata(f"{name}-{str(block).replace('.', '-').replace('/', '-')}"), name, block))
        store.create(CloudRoute(Metadata(str(block).replace(".", "-").replace("/", "-")), block, name))


def copied(to: str, source: Store, target: Store) -> dict[str, object]:
    spent = seconds(lambda: migrate.migrate(source, target))
    whole = not any(one.created or one.replaced or one.removed for one in migrate.compare(source, target))
    target.close()
    return {
        "name": f"{3 * NODES:,} resources copied from a file to {to}, verified",
        "value": spent,
        "unit": "s",
        "target": f"< {COPY_SECONDS:g}",
        "ok": whole and spent < COPY_SECONDS,
    }


def seconds(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun
