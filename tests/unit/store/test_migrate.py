import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudnet.errors import BadDocument
from cloudnet.ipam.allocator import Allocator, Request
from cloudnet.manifests import crds
from cloudnet.model import kinds
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.calico_bgp import BGPPeer
from cloudnet.model.calico_cluster import ClusterInformation, ClusterInformationSpec
from cloudnet.model.kubernetes import Namespace
from cloudnet.model.policies import NetworkPolicy
from cloudnet.model.resources import AgentReport, BlockAffinity, IPAMBlock, IPAMHandle, IPPool, Lease, Metadata, Node
from cloudnet.policy.selectors import Matches
from cloudnet.store import documents, lock, migrate, records
from cloudnet.store.api import StoreDamaged
from cloudnet.store.kubernetes import KubernetesStore
from cloudnet.store.kubernetes_client import Client
from cloudnet.store.memory import MemoryStore
from cloudnet.store.registry import open_store
from cloudnet.testing import strategies
from cloudnet.testing.documents import NODE, whole
from cloudnet.testing.etcd import EtcdServer
from cloudnet.testing.kube.server import ApiServer

ACCEPTED = Path(__file__).parents[2] / "cases" / "documents" / "accepted.yaml"
RESOURCES = st.lists(strategies.resources(), max_size=12, unique_by=records.key)


def filled(values):
    store = MemoryStore()
    for value in values:
        store.create(value)
    return store


def contents(store):
    """Return everything that a store holds but what a migration itself writes."""
    found = [
        stored.value
        for kind in kinds.ALL
        for stored in store.list(kind.type).items
        if kind.type is not ClusterInformation
    ]
    return [replace(value, observed=0) if isinstance(value, AgentReport) else value for value in found]


class Killed(BaseException):
    """The end of a process, in the middle of whatever it did."""


class Mortal(MemoryStore):
    """A store whose client is killed after a number of writes."""

    def __init__(self, data, *, lives, atomic):
        super().__init__(data, atomic=atomic)
        self.lives = lives

    def _carry_out(self, writes):
        if not self.lives:
            raise Killed
        self.lives -= 1
        return super()._carry_out(writes)


@given(RESOURCES)
@settings(deadline=None, max_examples=50)
def test_any_content_is_the_same_afterwards(values):
    source, target = filled(values), MemoryStore()

    migrate.migrate(source, target)

    assert contents(target) == contents(source)
    assert not any(one.created or one.replaced or one.removed for one in migrate.compare(source, target))


@given(RESOURCES, st.integers(0, 16), st.integers(0, 16), st.booleans())
@settings(deadline=None, max_examples=50)
def test_a_copy_that_is_killed_between_any_two_writes_goes_on(values, first, second, atomic):
    source, data = filled(values), MemoryStore().data
    for lives in (first, second):
        try:
            migrate.migrate(source, Mortal(data, lives=lives, atomic=atomic))
        except Killed:
            assert lock.set_ready(source, ready=False).spec.datastore_ready is False

    target = MemoryStore(data)
    migrate.migrate(source, target)

    assert contents(target) == contents(source)
    assert target.get(ClusterInformation, "default").value.spec.datastore_ready is True


def test_what_a_killed_copy_left_is_mended_when_the_source_has_changed_since():
    source, data = filled([Node(Metadata(f"n{i}")) for i in range(4)]), MemoryStore().data
    with pytest.raises(Killed):
        migrate.migrate(source, Mortal(data, lives=4, atomic=False))
    source.delete(Node, "n0")
    source.update(Node(Metadata("n1", labels={"new": "one"})), expected=source.get(Node, "n1").revision)

    done = migrate.migrate(source, target := MemoryStore(data))

    (nodes,) = [one for one in done if one.kind == "Node"]
    assert (nodes.created, nodes.replaced, nodes.removed) == (1, 1, 1)
    assert contents(target) == contents(source)


def test_the_source_stays_locked_and_the_target_is_free():
    source = filled([ClusterInformation(Metadata("default"), ClusterInformationSpec(cluster_guid="g"))])

    migrate.migrate(source, target := MemoryStore())

    assert source.get(ClusterInformation, "default").value.spec.datastore_ready is False
    assert target.get(ClusterInformation, "default").value.spec == ClusterInformationSpec(
        cluster_guid="g", datastore_ready=True
    )


def test_migrating_again_changes_nothing_and_never_touches_a_target_that_lives():
    source, target = filled([Node(Metadata("n1"))]), MemoryStore()
    migrate.migrate(source, target)
    revision = target.data.revision

    migrate.migrate(source, target)

    assert target.data.revision == revision
    target.create(Node(Metadata("n2")))
    with pytest.raises(migrate.MigrationRefused, match="its Nodes have been written since"):
        migrate.migrate(source, target)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Node(Metadata("theirs")), "the target holds 1 nodes already"),
        (ClusterInformation(Metadata("default")), "a ClusterInformation of another cluster"),
    ],
)
def test_a_target_with_a_life_of_its_own_is_refused_untouched(value, message):
    source, target = filled([Node(Metadata("n1"))]), filled([value])
    revision = target.data.revision

    with pytest.raises(migrate.MigrationRefused, match=message):
        migrate.migrate(source, target)

    assert target.data.revision == revision


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("what", ["create", "update", "delete"])
def test_a_write_on_either_side_during_the_copy_is_found_and_then_carried_over(side, what):
    source, target = filled([Lease(Metadata("a")), Node(Metadata("n1"))]), MemoryStore()
    written = {"source": source, "target": target}[side]

    def meddle(copied):
        if copied.kind == "Lease":
            if what == "create":
                written.create(Node(Metadata("n2")))
            elif what == "update":
                seen = written.get(Node, "n1")
                written.update(Node(Metadata("n1", labels={"x": "y"})), expected=seen.revision)
            else:
                written.delete(Node, "n1")

    with pytest.raises(migrate.MigrationRefused, match=f"Node 'n[12]' was written in the {side} meanwhile"):
        migrate.migrate(source, target, say=meddle)

    assert target.get(ClusterInformation, "default").value.spec.datastore_ready is False
    migrate.migrate(source, target)
    assert contents(target) == contents(source)


def test_what_an_agent_has_seen_of_the_source_it_has_not_seen_of_the_target():
    source, target = filled([AgentReport(Metadata("n1"), ready=True, observed=4711)]), MemoryStore()

    migrate.migrate(source, target)

    assert target.get(AgentReport, "n1").value.observed == 0


def test_a_check_writes_nothing_on_either_side():
    source, target = filled([Node(Metadata("n1"))]), MemoryStore()

    (nodes,) = [one for one in migrate.compare(source, target) if one.kind == "Node"]

    assert (nodes.source, nodes.created, nodes.equal) == (1, 1, 0)
    assert (source.data.revision, target.data.revision) == (1, 0)


# --- real stores ------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path):
    return f"sqlite://{tmp_path}/source.sqlite"


@pytest.fixture
def source(file):
    """Return a store with every document that users write, and with addresses that somebody has."""
    store = open_store(file)
    for document in yaml.safe_load_all(ACCEPTED.read_text()):
        value = whole(document)
        if not isinstance(value, ClusterInformation):
            store.create(value)
    store.create(whole(NODE))
    store.create(IPPool(Metadata("pods"), ip_network("10.65.0.0/24"), block_size=28))
    ipam = Allocator(store, now=lambda: datetime.now(tz=UTC), matches=Matches())
    ipam.auto_assign(Family.IPV4, 20, Request(NodeName("n1"), "net.web", {"pod": "web", "node": "n1"}))
    yield store
    store.close()


@pytest.mark.server
def test_documents_and_addresses_go_from_a_file_to_etcd_and_back_whole(source, tmp_path):
    back = open_store(f"sqlite://{tmp_path}/back.sqlite")
    with EtcdServer(tmp_path) as server:
        etcd = open_store(server.url, {})
        there = migrate.migrate(source, etcd)
        migrate.migrate(etcd, back)
        etcd.close()

    counts = {one.kind: one.created for one in there}
    assert (counts["IPAMBlock"], counts["BlockAffinity"], counts["IPAMHandle"]) == (2, 2, 1)
    for kind in kinds.ALL:
        if kind.type is not ClusterInformation:
            mine, theirs = (documents.list_all(store, kind.type).items for store in (source, back))
            assert not migrate.difference(mine, theirs), kind.name
            assert len(mine) == counts[kind.name]
    assert json.loads(documents.get(back, Node, "n1").value.meta.document)["spec"] == NODE["spec"]
    back.close()


@pytest.mark.server
def test_what_the_target_cannot_hold_is_named_and_the_rest_is_copied(file, tmp_path):
    source = open_store(file)
    source.create(IPAMHandle(Metadata("net.a", labels={"no": "place"}), "net.a", {}))
    source.create(Node(Metadata("n1")))

    with EtcdServer(tmp_path) as server:
        etcd = open_store(server.url, {})
        with pytest.raises(BadDocument, match=r"IPAMHandle 'net.a': metadata.labels: expected none"):
            migrate.migrate(source, etcd)

        assert [stored.value.meta.name for stored in etcd.list(Node).items] == ["n1"]
        assert etcd.get(ClusterInformation, "default").value.spec.datastore_ready is False
        etcd.close()
    source.close()


def test_a_document_that_makes_no_sense_is_not_left_out_in_silence(file, tmp_path):
    source = open_store(file)
    source.create(BlockAffinity(Metadata("a"), "n1", ip_network("10.0.0.0/26")))
    source.close()
    with sqlite3.connect(file.removeprefix("sqlite://")) as connection:
        connection.execute("UPDATE resources SET document = replace(document, '10.0.0.0/26', 'nonsense')")
    connection.close()
    source, target = open_store(file), MemoryStore()

    with pytest.raises(StoreDamaged, match="BlockAffinity 'a' makes no sense"):
        migrate.migrate(source, target)

    source.close()


def test_a_process_that_is_killed_in_the_middle_is_gone_on_with(file, tmp_path):
    source = open_store(file)
    for i in range(600):
        source.create(Node(Metadata(f"n{i}")))
    source.close()
    target = tmp_path / "target.sqlite"
    line = [sys.executable, "-m", "cloudnet", "store", "migrate", "--from", file, "--to", f"sqlite://{target}"]

    for _ in range(2):
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while not target.exists() and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(0.03)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    check = subprocess.run([*line, "--check"], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert check.returncode == 0
    assert ["Node", "600", "600", "0", "0", "0"] in [row.split() for row in check.stdout.splitlines()]


def test_kubernetes_keeps_its_own_and_takes_the_rest_from_a_file(source, tmp_path):
    back = open_store(f"sqlite://{tmp_path}/back.sqlite")
    with ApiServer(namespaces=("default", "shop", "staging", "cloudnet-system")) as api:
        for definitions in (crds.own_crds(), crds.calico_crds(), crds.policy_crds()):
            api.install(definitions)
        api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "theirs"}})
        cluster = KubernetesStore(Client(api.settings()))

        migrate.migrate(source, cluster)
        again = migrate.migrate(source, cluster)
        migrate.migrate(cluster, back)

        assert [stored.value.meta.name for stored in cluster.list(Node).items] == ["theirs"]
        assert not any(one.created or one.replaced or one.removed for one in again)
        cluster.close()
    assert not back.list(Namespace).items
    for kind in (IPPool, IPAMBlock, BlockAffinity, IPAMHandle, NetworkPolicy, BGPPeer):
        mine, theirs = (documents.list_all(store, kind).items for store in (source, back))
        assert mine
        assert not migrate.difference(mine, theirs, adds=True), kind.__name__
    back.close()
