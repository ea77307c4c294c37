"""How many requests a pod's address takes on each store, its endpoint included: of a node that has given some before.

They are counted where they leave: calls of a sqlite store, HTTP requests of an etcd and of a Kubernetes client.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Network, ip_network
from pathlib import Path

from bench_cni import Counting as CountingStore
from bench_etcd import opened as opened_etcd

from cloudnet.agent.addresses import SharedLeases
from cloudnet.ipam.allocator import Request
from cloudnet.ipam.known import KINDS
from cloudnet.ipam.warm import Warm
from cloudnet.manifests import crds
from cloudnet.model.addresses import Address, Family, NodeName
from cloudnet.model.kubernetes import Pod
from cloudnet.model.resources import IPPool, Metadata
from cloudnet.model.workloads import WorkloadEndpoint
from cloudnet.policy.selectors import Matches
from cloudnet.store.api import Create, Delete, Event, EventType, Store, Write
from cloudnet.store.kubernetes import KubernetesStore
from cloudnet.store.kubernetes_client import Client
from cloudnet.store.registry import open_store
from cloudnet.testing.etcd import EtcdServer
from cloudnet.testing.kube.server import ApiServer

NODE, NAMESPACE = NodeName("n0"), "default"
WARM_UP = 3


@dataclass
class Books:
    """A store, how many requests it has taken so far, and how a pod comes to be."""

    store: Store
    requests: Callable[[], int]
    make: Callable[[str], object] = lambda _name: None
    read: Callable[[str], object] = lambda _name: None  # what the plugin asks about the pod before all else


def measure() -> list[dict[str, object]]:
    """Return the rows, in a few seconds."""
    sides: dict[str, tuple[Callable[[], AbstractContextManager[Books]], int]] = {
        "sqlite": (sqlite, 2),
        "etcd": (etcd, 2),
        "Kubernetes": (kubernetes, 4),
    }
    return [row for name, (opened, most) in sides.items() for row in rows(name, opened, most)]


def rows(name: str, opened: Callable[[], AbstractContextManager[Books]], most: int) -> Iterator[dict[str, object]]:
    with opened() as books:
        add, delete = counted(books)
    for verb, found in (("ADD", add), ("DEL", delete)):
        yield {
            "name": f"requests of a warm {verb} on {name}, endpoint included",
            "value": found,
            "unit": "requests",
            "target": f"at most {most}",
            "ok": found <= most,
        }


def counted(books: Books) -> tuple[int, int]:
    """Return the requests of an ADD and of a DEL."""
    store = books.store
    store.create(IPPool(Metadata("default"), IPv4Network("10.65.0.0/16")))
    leases = SharedLeases(Warm(store, NODE, now=now, matches=Matches()))
    items = [item for kind in KINDS for item in store.list(kind).items]
    leases.heard([Event(EventType.PUT, item.value, item.revision) for item in items], synced=True)
    leases.top_up(Request(NODE))
    for number in range(WARM_UP):
        add(books, leases, f"before-{number}")
    books.make("pod")
    before = books.requests()
    add(books, leases, "pod", made=True)
    between = books.requests()
    leases.give_back("net.pod", [Delete(WorkloadEndpoint, endpoint_name("pod"), NAMESPACE)])
    return between - before, books.requests() - between


def add(books: Books, leases: SharedLeases, pod: str, *, made: bool = False) -> None:
    if not made:
        books.make(pod)
    books.read(pod)
    leases.take([Family.IPV4], [Request(NODE, f"net.{pod}")], lambda addresses: [endpoint(pod, addresses[0])])


def endpoint(pod: str, address: Address) -> Write:
    meta = Metadata(endpoint_name(pod), NAMESPACE)
    return Create(WorkloadEndpoint(meta, NODE, "k8s", "eth0", pod=pod, networks=(ip_network(address),)))


def endpoint_name(pod: str) -> str:
    return f"{NODE}-k8s-{pod.replace('-', '--')}-eth0"


def now() -> datetime:
    return datetime.now(tz=UTC)


# --- stores -------------------------------------------------------------------------------------------------


@contextmanager
def sqlite() -> Iterator[Books]:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite://{folder}/store.sqlite")
        try:
            counting = CountingStore(store)
            yield Books(counting, lambda: counting.requests)  # type: ignore[arg-type]  # it is a store
        finally:
            store.close()


@contextmanager
def etcd() -> Iterator[Books]:
    with (
        tempfile.TemporaryDirectory() as folder,
        EtcdServer(Path(folder)) as server,
        opened_etcd(server.url) as (store, client),
    ):
        yield Books(store, lambda: client.requests)


@contextmanager
def kubernetes() -> Iterator[Books]:
    with ApiServer() as api:
        api.install([*crds.own_crds(), *crds.calico_crds()])
        store = KubernetesStore(Client(api.settings()))

        def make(name: str) -> None:
            meta = {"name": name, "namespace": NAMESPACE}
            api.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"nodeName": NODE}})

        try:
            yield Books(store, lambda: len(api.seen), make, lambda name: store.get(Pod, name, NAMESPACE))
        finally:
            store.close()
