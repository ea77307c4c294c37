"""Every store of this repository keeps the contract of ``cloudnet.testing.store``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis.strategies import SearchStrategy

from cloudnet.manifests import crds
from cloudnet.model import kinds
from cloudnet.model.kubernetes import Pod
from cloudnet.model.policies import Profile
from cloudnet.model.resources import Lease, Resource
from cloudnet.store import kubernetes_forms
from cloudnet.store.api import Store
from cloudnet.store.kubernetes import KubernetesStore
from cloudnet.store.kubernetes_client import Client
from cloudnet.store.memory import MemoryData, MemoryStore
from cloudnet.store.registry import open_store
from cloudnet.store.sqlite import SqliteStore
from cloudnet.testing import keys, kubernetes_strategies, strategies
from cloudnet.testing.documents import DocumentsContract
from cloudnet.testing.etcd import EtcdServer
from cloudnet.testing.kube.server import ApiServer
from cloudnet.testing.kube.status import Refusal
from cloudnet.testing.store import Opener, StoreContract


class TestMemory(StoreContract, DocumentsContract):
    def opener(self, directory: Path, keep: int) -> Opener:  # noqa: ARG002 - it lives in memory
        data = MemoryData(keep=keep)
        return lambda: MemoryStore(data)


class TestMemoryWithoutTransactions(StoreContract):
    def opener(self, directory: Path, keep: int) -> Opener:  # noqa: ARG002 - the same
        data = MemoryData(keep=keep)
        return lambda: MemoryStore(data, atomic=False)


class TestSqlite(StoreContract, DocumentsContract):
    def opener(self, directory: Path, keep: int) -> Opener:
        return lambda: SqliteStore(directory / "store.sqlite", keep=keep)


@pytest.mark.server
class TestEtcd(StoreContract, DocumentsContract):
    @pytest.fixture(autouse=True)
    def server(self, tmp_path: Path) -> Iterator[EtcdServer]:
        with EtcdServer(tmp_path) as self.etcd:
            yield self.etcd

    def opener(self, directory: Path, keep: int) -> Opener:  # noqa: ARG002 - etcd forgets when it is told to
        return lambda: open_store(self.etcd.url, {})

    def forget(self, store: Store, keep: int) -> None:
        self.etcd.ask("/v3/kv/compaction", {"revision": str(store.list(Lease).revision - keep)})


class KubernetesContract(StoreContract):
    """What both of Calico's groups have in common."""

    group: str
    read_only = (Pod, Profile)

    @pytest.fixture(autouse=True)
    def server(self) -> Iterator[ApiServer]:
        with ApiServer() as self.api:
            self.install()
            yield self.api

    def install(self) -> None:
        self.api.install(crds.own_crds())
        self.api.install(crds.calico_crds(older=self.group == kubernetes_forms.OLDER))
        self.api.install(crds.policy_crds())

    def opener(self, directory: Path, keep: int) -> Opener:  # noqa: ARG002 - a server forgets when it is told to
        return lambda: KubernetesStore(Client(self.api.settings()))

    def forget(self, store: Store, keep: int) -> None:  # noqa: ARG002 - the server behind it does
        self.api.objects.compact(keep=keep)

    def values(self, kind: kinds.Kind[Resource]) -> SearchStrategy[Resource]:
        return kubernetes_strategies.OF.get(kind.type, strategies.OF[kind.type])

    def prepare(self, value: Resource) -> None:
        for document in kubernetes_strategies.grounds(value):
            if document["kind"] == "Namespace":
                with contextlib.suppress(Refusal):  # it is there from the example before
                    self.api.create(document)
            else:
                self.api.renew(document)


class TestKubernetes(KubernetesContract):
    group = kubernetes_forms.CALICO


class TestOlderKubernetes(KubernetesContract):
    group = kubernetes_forms.OLDER


class TestKubernetesOverHttp2(KubernetesContract):
    group = kubernetes_forms.CALICO

    @pytest.fixture(autouse=True)
    def server(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
        made = keys.make(tmp_path_factory.mktemp("keys"))
        with ApiServer(tls=made.server("h2"), ca=made.text("ca.pem")) as self.api:
            self.install()
            yield self.api
