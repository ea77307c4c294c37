"""Every store of this repository keeps the contract of ``cloudnet.testing.store``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudnet.model.resources import Lease
from cloudnet.store.api import Store
from cloudnet.store.memory import MemoryData, MemoryStore
from cloudnet.store.registry import open_store
from cloudnet.store.sqlite import SqliteStore
from cloudnet.testing.documents import DocumentsContract
from cloudnet.testing.etcd import EtcdServer
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
