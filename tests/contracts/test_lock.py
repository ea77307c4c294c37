"""On every store: while it is locked, agent, controller and CNI write nothing, and afterwards all is made good."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack, closing
from ipaddress import ip_network

import pytest

from cloudnet.cni import release
from cloudnet.cni.wire import Code
from cloudnet.manifests import crds
from cloudnet.model.resources import AgentReport, IPPool, Lease, Metadata, NodeCondition
from cloudnet.store import guard, lock
from cloudnet.store.guard import Guard, StoreLocked
from cloudnet.store.informer import Informer
from cloudnet.store.kubernetes import KubernetesStore
from cloudnet.store.kubernetes_client import Client
from cloudnet.store.memory import MemoryData, MemoryStore
from cloudnet.store.registry import open_store
from cloudnet.testing import programs
from cloudnet.testing.cni import CniNode
from cloudnet.testing.etcd import EtcdServer
from cloudnet.testing.kube.server import ApiServer

LEASE = 1.5  # seconds


@pytest.fixture
def memory():
    data = MemoryData()
    return lambda: MemoryStore(data)


@pytest.fixture
def sqlite(tmp_path):
    return lambda: open_store(f"sqlite://{tmp_path}/store.sqlite", {})


@pytest.fixture
def etcd(tmp_path):
    with EtcdServer(tmp_path) as server:
        yield lambda: open_store(server.url, {})


@pytest.fixture
def kubernetes():
    with ApiServer() as api:
        api.install([*crds.own_crds(), *crds.calico_crds()])
        yield lambda: KubernetesStore(Client(api.settings()))


every_store = pytest.mark.parametrize(
    "kind", ["memory", "sqlite", pytest.param("etcd", marks=pytest.mark.server), "kubernetes"]
)


@pytest.fixture
def opened(request, kind):
    """A function that opens one more client of the store, to be closed in the end."""
    with ExitStack() as stack:
        opener = request.getfixturevalue(kind)
        yield lambda: stack.enter_context(closing(opener()))


@every_store
def test_a_program_that_was_told_nothing_yet_asks_before_it_writes(opened):
    lock.set_ready(opened(), ready=False)
    guarded = Guard(opened())

    with pytest.raises(StoreLocked, match="let everybody go on with cloudnet store unlock"):
        guarded.create(Lease(Metadata("a"), "me", 1.0, 1))

    assert guarded.list(Lease).items == ()


def revisions(store):
    """What of the programs' own writes stands in the store."""
    return {
        (kind.__name__, item.value.meta.name): item.revision
        for kind in (AgentReport, NodeCondition, Lease)
        for item in store.list(kind).items
    }


@every_store
def test_agent_and_controller_leave_a_locked_store_and_the_data_path_alone_and_go_on_after(opened, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    people, cloud = opened(), programs.cloud_of(3)
    people.create(IPPool(Metadata("pool"), ip_network("10.65.0.0/16")))
    for number in (1, 2):
        programs.join(people, number)
    with (
        programs.running_controller(opened(), cloud, lease=LEASE) as controller,
        programs.running_agent(opened(), "n1", tmp_path) as agent,
    ):
        programs.eventually(lambda: programs.programmed(people) == 4 and bool(people.list(AgentReport).items))
        programs.eventually(lambda: agent.device_to(programs.block_of(2)) == "vxlan.calico")
        programs.eventually(lambda: not agent.agent.not_ready())

        lock.set_ready(people, ready=False)
        programs.eventually(lambda: bool(agent.agent.not_ready()) and bool(controller.not_ready()))
        time.sleep(0.3)  # writes that were under way
        before = revisions(people)
        programs.join(people, 3)
        programs.eventually(lambda: not controller.leads())
        programs.eventually(lambda: agent.device_to(programs.block_of(3)) == "vxlan.calico")
        calls = cloud.count("create_route")
        time.sleep(LEASE)

        assert "datastoreReady: false" in agent.agent.not_ready()
        assert "datastoreReady: false" in controller.not_ready()
        assert agent.device_to(programs.block_of(2)) == "vxlan.calico"
        assert revisions(people) == before
        assert (programs.programmed(people), cloud.count("create_route")) == (4, calls)
        lock.set_ready(people, ready=True)
        programs.eventually(lambda: programs.programmed(people) == 6)
        programs.eventually(lambda: not agent.agent.not_ready() and not controller.not_ready())

    told = [record.getMessage() for record in caplog.records]
    assert sum(line.startswith("going on without writing") for line in told) == 2, "each program says it once"
    assert sum(line.startswith("the store is unlocked") for line in told) == 2


@pytest.fixture
def node(tmp_path):
    with ExitStack() as stack:
        yield CniNode(tmp_path / "journal", stack)


def test_no_pod_is_added_while_the_store_is_locked_and_one_that_ends_is_released_after(node):
    people = MemoryStore(node.data)
    informer = Informer(node.store, guard.KINDS, lambda batch: node.store.hear(batch.events, synced=batch.synced))
    informer.step()
    assert node.add(container="c1")[0] == 0
    lock.set_ready(people, ready=False)
    informer.step()

    code, answer = node.add(container="c2")
    status, _ = node.ask("STATUS")
    ended, _ = node.ask("DEL", container="c1")
    release.finish_all(node.site)

    assert (code, status, ended) == (Code.TRY_AGAIN, Code.NOT_AVAILABLE, 0)
    assert "cloudnet store unlock" in answer["msg"]
    assert len(node.endpoints()) == len(node.addresses()) == len(node.site.journal.all()) == 1
    lock.set_ready(people, ready=True)
    informer.step()
    release.finish_all(node.site)
    assert node.is_empty()
    assert node.add(container="c2")[0] == 0
