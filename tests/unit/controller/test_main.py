"""The wired program: threads, queue, lease and workers over a store and a cloud in memory."""

from __future__ import annotations

import queue
import threading
import time
from contextlib import closing, contextmanager
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from cloudnet.clock import SystemClock
from cloudnet.config import ControllerConfig
from cloudnet.controller.lease import NAME, Keeper
from cloudnet.controller.loop import KINDS, Loop
from cloudnet.controller.main import Controller, Stop, options
from cloudnet.controller.options import Options
from cloudnet.manifests import crds
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.cluster_events import ignore
from cloudnet.model.resources import BlockAffinity, CloudRoute, Lease, Metadata, Node, RouteState
from cloudnet.provider.memory import MemoryCloud, MemoryProvider
from cloudnet.store.event_recorder import recording
from cloudnet.store.informer import Informer
from cloudnet.store.kubernetes import KubernetesStore
from cloudnet.store.kubernetes_client import Client
from cloudnet.store.memory import MemoryData, MemoryStore
from cloudnet.testing.kube.server import ApiServer


@contextmanager
def controller(data: MemoryData, cloud: MemoryCloud, name: str):
    with running(MemoryStore(data), cloud, name) as made:
        yield made


@contextmanager
def running(store, cloud: MemoryCloud, name: str, record=ignore):
    clock, inbox = SystemClock(), queue.SimpleQueue()
    provider = MemoryProvider(cloud, clock)
    made = Controller(
        Loop(provider.capabilities, Options()),
        Keeper(name, 3.0),
        inbox,
        clock,
        provider=provider,
        store=store,
        record=record,
    )
    thread = threading.Thread(target=made.run)
    with Informer(store, (*KINDS, Lease), inbox.put):
        thread.start()
        try:
            yield made
        finally:
            inbox.put(Stop())
            thread.join(10)
            assert not thread.is_alive()


def eventually(true, seconds: float = 5.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture
def cloud() -> MemoryCloud:
    made = MemoryCloud(SystemClock())
    for i in range(2):
        made.add_table(f"rtb-{i}", subnets=[f"s{i}"])
        made.add_instance(f"i-{i}", f"s{i}", [ip_address(f"10.0.{i}.10")])
    return made


def join(store: MemoryStore, k: int) -> None:
    store.create(Node(Metadata(f"n{k}"), (ip_interface(f"10.0.{k}.10/24"),)))
    store.create(BlockAffinity(Metadata(f"n{k}-block"), NodeName(f"n{k}"), ip_network(f"10.65.{k}.0/26")))


def programmed(store: MemoryStore) -> int:
    return sum(s.state is RouteState.PROGRAMMED for r in store.list(CloudRoute).items for s in r.value.tables)


def test_a_node_that_joins_is_programmed_within_a_second(cloud) -> None:
    data = MemoryData()
    store = MemoryStore(data)
    with controller(data, cloud, "a") as running:
        eventually(running.leads)
        join(store, 0)
        join(store, 1)

        eventually(lambda: programmed(store) == 2, 1.5)

    assert store.get(Lease, NAME).value.holder == ""


def test_of_two_controllers_one_writes_and_the_other_takes_over_when_it_stops(cloud) -> None:
    data = MemoryData()
    store = MemoryStore(data)
    with controller(data, cloud, "b") as second:
        eventually(second.leads)
        with controller(data, cloud, "a") as first:
            join(store, 0)
            join(store, 1)
            eventually(lambda: programmed(store) == 2)
            assert not first.leads()
    assert cloud.count("create_route") == 2


def test_a_store_that_fails_for_a_while_does_not_end_the_program(cloud) -> None:
    data = MemoryData()
    store = MemoryStore(data)
    with controller(data, cloud, "a") as running:
        eventually(running.leads)
        data.outage = "the disk is full"
        time.sleep(0.3)
        data.outage = ""
        join(store, 0)
        join(store, 1)

        eventually(lambda: programmed(store) == 2, 10)


def test_a_refused_route_is_an_event_at_its_node_in_kubernetes() -> None:
    cloud = MemoryCloud(SystemClock(), limits=dict.fromkeys(Family, 1))
    for k in range(3):
        cloud.add_table(f"rtb-{k}", subnets=[f"s{k}"])
        cloud.add_instance(f"i-{k}", f"s{k}", [ip_address(f"10.0.{k}.10")])
    with ApiServer() as api, closing(KubernetesStore(Client(api.settings()))) as store:
        api.install((*crds.own_crds(), *crds.calico_crds()))
        for k in range(3):
            api.create(node_document(k))
            store.create(BlockAffinity(Metadata(f"n{k}-block"), NodeName(f"n{k}"), ip_network(f"10.65.{k}.0/26")))

        with recording(store, "a") as record, running(store, cloud, "a", record):
            eventually(lambda: refusals(api), 30.0)

        event = refusals(api)[0]
        node = api.find("v1", "nodes", event["regarding"]["name"])
        assert event["regarding"]["uid"] == node["metadata"]["uid"]
        assert "raise the quota of routes per table" in event["note"]


def node_document(k: int) -> dict:
    spec = {"providerID": f"x:///zone/i-{k}"}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"n{k}"}, "spec": spec}


def refusals(api: ApiServer) -> list[dict]:
    with api.objects.changed:
        events = list(api.objects.items.get(("events.k8s.io/v1", "events"), {}).values())
    return [event for event in events if event["reason"] == "RouteRefused"]


def test_the_settings_reach_the_loop() -> None:
    made = options(ControllerConfig(headroom=7, retry_first=2.0, retry_limit=1.0, resync_seconds=5.0))

    assert (made.headroom, made.retry_first, made.retry_limit, made.resync) == (7, 2.0, 2.0, 5.0)
