"""What every implementation of a store says alike: its errors, and the rules of a write."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias, TypeVar
from uuid import uuid4

from cloudnet.errors import BadInput
from cloudnet.model import kinds
from cloudnet.model.resources import Resource
from cloudnet.store.api import (
    AlreadyExists,
    Compacted,
    Conflict,
    Create,
    Delete,
    NotFound,
    Revision,
    Store,
    Stored,
    StoreUnavailable,
    Update,
    Write,
)

log = logging.getLogger(__name__)

Key: TypeAlias = tuple[type[Resource], str, str]
"""Which resource: kind, namespace, name."""

R = TypeVar("R", bound=Resource)


def new_uid() -> str:
    return str(uuid4())


def with_uid(value: R, uid: str) -> R:
    """Return the resource with a uid; every resource is a dataclass with ``meta`` first."""
    # replace() knows dataclasses, and the protocol cannot say that every resource is one.
    return replace(value, meta=replace(value.meta, uid=uid))  # type: ignore[type-var]


def key(of: Resource | Delete) -> Key:
    if isinstance(of, Delete):
        return of.kind, of.namespace, of.name
    return type(of), of.meta.namespace, of.meta.name


def check_batch(writes: Sequence[Write]) -> None:
    """Refuse a batch that writes a resource twice: no store can compare both with what stands there."""
    counts = Counter(key(write if isinstance(write, Delete) else write.value) for write in writes)
    for (kind, namespace, name), count in counts.items():
        if count > 1:
            raise ValueError(f"{title(kinds.of(kind).name, name, namespace)} is written twice in one batch")


def one_by_one(store: Store, writes: Sequence[Write]) -> Sequence[Stored[Resource] | None]:
    """Carry out a batch on a store that has no transactions: in order, up to the first that fails."""
    check_batch(writes)
    return tuple([_write(store, write) for write in writes])


def _write(store: Store, write: Write) -> Stored[Resource] | None:
    match write:
        case Create():
            return store.create(write.value)
        case Update():
            return store.update(write.value, expected=write.expected)
        case Delete():
            store.delete(write.kind, write.name, write.namespace, expected=write.expected)
            return None


def title(kind: str, name: str, namespace: str) -> str:
    """Return how messages name a resource: ``Node 'n1'``."""
    return f"{kind} {title_name(name, namespace)!r}"


def title_name(name: str, namespace: str) -> str:
    return f"{namespace}/{name}" if namespace else name


def not_found(kind: str, name: str, namespace: str) -> NotFound:
    return NotFound(f"there is no {title(kind, name, namespace)}")


def already_exists(kind: str, name: str, namespace: str) -> AlreadyExists:
    return AlreadyExists(f"{title(kind, name, namespace)} exists already: update it, or delete it first")


def conflict(kind: str, name: str, namespace: str, *, expected: Revision, found: Revision) -> Conflict:
    return Conflict(
        f"{title(kind, name, namespace)} has revision {found}, not {expected}: read it again and decide again"
    )


def other_uid(kind: str, name: str, namespace: str) -> Conflict:
    return Conflict(f"{title(kind, name, namespace)} was deleted and created anew: read it again and decide again")


def closed(what: str) -> StoreUnavailable:
    return StoreUnavailable(f"the {what} is closed")


@contextlib.contextmanager
def tolerated(kind: str, namespace: str, name: str, into: dict[tuple[str, str], str]) -> Iterator[None]:
    """Leave out a document that makes no sense, note it in a listing's ``unreadable``, and say so."""
    try:
        yield
    except BadInput as error:
        into[namespace, name] = str(error)
        log.warning("cannot be read kind=%s name=%s problem=%r", kind, title_name(name, namespace), str(error))


@contextlib.contextmanager
def readable(kind: str, where: str) -> Iterator[None]:
    """Turn a change that makes no sense into ``Compacted``: a listing tells whose it is, and what else happened."""
    try:
        yield
    except BadInput as error:
        raise Compacted(f"a change of a {kind} cannot be read ({where}): {error}") from error
