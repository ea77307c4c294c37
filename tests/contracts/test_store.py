"""Every store of this repository keeps the contract of ``cloudnet.testing.store``."""

from __future__ import annotations

from pathlib import Path

from cloudnet.store.memory import MemoryData, MemoryStore
from cloudnet.store.sqlite import SqliteStore
from cloudnet.testing.store import Opener, StoreContract


class TestMemory(StoreContract):
    def opener(self, directory: Path, keep: int) -> Opener:  # noqa: ARG002 - it lives in memory
        data = MemoryData(keep=keep)
        return lambda: MemoryStore(data)


class TestMemoryWithoutTransactions(StoreContract):
    def opener(self, directory: Path, keep: int) -> Opener:  # noqa: ARG002 - the same
        data = MemoryData(keep=keep)
        return lambda: MemoryStore(data, atomic=False)


class TestSqlite(StoreContract):
    def opener(self, directory: Path, keep: int) -> Opener:
        return lambda: SqliteStore(directory / "store.sqlite", keep=keep)
