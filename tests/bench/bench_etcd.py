"""What etcd costs: one request, and addresses for 20 nodes at once, each node a process of its own.

The server is etcd as Debian has it, alone on the loopback, flushing to the disk as in production. Every node
allocates one address after another, each for a handle of its own, and all begin together. Afterwards no address
may have been given twice, and the books must agree.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path

from cloudnet.ipam.allocator import Allocator, Request
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.resources import IPAMBlock, IPAMHandle, IPPool, Lease, Metadata
from cloudnet.store import etcd_settings
from cloudnet.store.api import Store
from cloudnet.store.etcd import EtcdStore
from cloudnet.store.etcd_client import Client
from cloudnet.store.etcd_wire import Json
from cloudnet.testing.etcd import EtcdServer

NODES = 20
ADDRESSES = 50  # for each node: fewer than a block has, so that the first claims and the others find it warm
ROUNDS = 1000


class Counting(Client):
    """Counts its requests."""

    def __init__(self, settings: etcd_settings.Settings) -> None:
        super().__init__(settings)
        self.requests = 0

    def call(self, path: str, message: Json, *, repeatable: bool = True) -> Json:
        self.requests += 1
        return super().call(path, message, repeatable=repeatable)


def measure() -> list[dict[str, object]]:
    """Return the rows, in about twenty seconds."""
    with tempfile.TemporaryDirectory() as folder, EtcdServer(Path(folder)) as etcd, opened(etcd.url) as (store, _):
        return [*requests(store), *nodes(store, etcd.url)]


@contextmanager
def opened(url: str) -> Iterator[tuple[Store, Counting]]:
    client = Counting(etcd_settings.parse(url, {}))
    store = EtcdStore(client)
    try:
        yield store, client
    finally:
        store.close()


def requests(store: Store) -> list[dict[str, object]]:
    seen = store.create(Lease(Metadata("bench")))

    def write() -> None:
        nonlocal seen
        seen = store.update(seen.value, expected=seen.revision)

    return [
        {
            "name": "etcd: a read, median",
            "value": median_ms(lambda: store.get(Lease, "bench")),
            "unit": "ms",
            "ok": True,
        },
        {"name": "etcd: a write, median", "value": median_ms(write), "unit": "ms", "ok": True},
    ]


def median_ms(do: Callable[[], object]) -> float:
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        do()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def nodes(store: Store, url: str) -> list[dict[str, object]]:
    store.create(IPPool(Metadata("bench"), ip_network("10.65.0.0/16")))
    workers = [Worker(url, f"n{i}") for i in range(NODES)]
    for worker in workers:
        worker.wait_until_ready()
    began = time.monotonic()
    for worker in workers:
        worker.go()
    answers = [worker.answer() for worker in workers]
    seconds = time.monotonic() - began
    given = [text for _, addresses in answers for text in addresses]
    sound = len(given) == len(set(given)) == NODES * ADDRESSES and books_agree(store)
    return [
        {
            "name": f"etcd: addresses a second, {NODES} nodes at once",
            "value": len(given) / seconds,
            "unit": "/s",
            "ok": sound,
        },
        {
            "name": "etcd: store requests an address, allocator without a cache",
            "value": sum(asked for asked, _ in answers) / len(given),
            "unit": "",
            "ok": sound,
        },
    ]


def books_agree(store: Store) -> bool:
    """Tell whether handles and blocks count the same addresses."""
    blocks = [item.value for item in store.list(IPAMBlock).items]
    taken = sum(index is not None for block in blocks for index in block.allocations)
    counted = sum(count for item in store.list(IPAMHandle).items for count in item.value.blocks.values())
    return taken == counted == NODES * ADDRESSES


class Worker:
    """A node, in a process of its own."""

    def __init__(self, url: str, node: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, url, node], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def wait_until_ready(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def answer(self) -> tuple[int, list[str]]:
        """Return how many requests it made, and the addresses it got."""
        asked, *addresses = self._process.communicate()[0].split()
        return int(asked), addresses


def work(url: str, node: str) -> None:
    """Be one node."""
    with opened(url) as (store, client):
        ipam = Allocator(store, now=lambda: datetime.now(tz=UTC), matches=lambda *_: True)
        say("ready")
        sys.stdin.readline()
        found = []
        for i in range(ADDRESSES):
            request = Request(NodeName(node), f"k8s-pod-network.{node}-{i}", {"pod": f"p{i}", "node": node})
            found += ipam.auto_assign(Family.IPV4, 1, request)
        say(client.requests, *(address.ip for address in found))


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    work(*sys.argv[1:])
