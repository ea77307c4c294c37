"""How address management reads, writes and deletes its documents, and how often it tries.

Calico deletes in two steps where its store cannot compare and delete: first ``deleted: true``, then the object.
Whoever meets the first finishes the second. Our stores compare and delete in one, so we only finish what others
began.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

from cloudnet.model.resources import BlockAffinity, IPAMBlock, IPAMHandle, Resource
from cloudnet.store.api import AlreadyExists, Conflict, NotFound, Store, Stored, Write

T = TypeVar("T", IPAMBlock, IPAMHandle, BlockAffinity)

TRIES: Final = 100
"""How many writers may be faster before we give up. Calico ``ipam.go`` datastoreRetries."""


def find(store: Store, kind: type[T], name: str) -> Stored[T] | None:
    """Return a document, or nothing when there is none, or none any more."""
    try:
        seen = store.get(kind, name)
    except NotFound:
        return None
    if not seen.value.deleted:
        return seen
    remove(store, seen)
    return None


def remove(store: Store, seen: Stored[T]) -> bool:
    """Delete what was seen; tell whether it was still as seen, or gone already."""
    try:
        store.delete(type(seen.value), seen.value.meta.name, expected=seen.revision)
    except NotFound:
        return True
    except Conflict:
        return False
    return True


def replace(store: Store, seen: Stored[T], value: T) -> Stored[T] | None:
    """Write what replaces the document that was seen; nothing when somebody else was first."""
    try:
        return store.update(value, expected=seen.revision)
    except (Conflict, NotFound):
        return None


def write(store: Store, writes: Sequence[Write]) -> Sequence[Stored[Resource] | None] | None:
    """Carry writes out; nothing when somebody else was first with what one of them touches."""
    try:
        return store.write(writes)
    except (AlreadyExists, Conflict, NotFound):
        return None
