"""Which store a URL means. The only place that knows the implementations by name."""

from __future__ import annotations

from pathlib import Path

from cloudnet.errors import BadInput
from cloudnet.store.api import Store
from cloudnet.store.memory import MemoryStore
from cloudnet.store.sqlite import SqliteStore


def open_store(url: str) -> Store:
    """Return the store of a URL: ``sqlite:///var/lib/cloudnet/store.sqlite`` or ``memory://``.

    Raises:
        BadInput: no store is called that.
        StoreUnavailable: the file cannot be opened; the message says why.
        StoreDamaged: the file is corrupt, of another program, or of a newer one.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "memory" and not rest:
        return MemoryStore()
    if separator and scheme == "sqlite" and rest.startswith("/"):
        return SqliteStore(Path(rest))
    raise BadInput(f"expected sqlite:///ABSOLUTE/PATH or memory://, found {url!r}", path="store")
