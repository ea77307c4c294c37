"""What every implementation of a store says alike: its errors, and the rules of a write."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar
from uuid import uuid4

from cloudnet.model.resources import Resource
from cloudnet.store.api import AlreadyExists, Conflict, NotFound, Revision, StoreUnavailable

R = TypeVar("R", bound=Resource)


def new_uid() -> str:
    return str(uuid4())


def with_uid(value: R, uid: str) -> R:
    """Return the resource with a uid; every resource is a dataclass with ``meta`` first."""
    # replace() knows dataclasses, and the protocol cannot say that every resource is one.
    return replace(value, meta=replace(value.meta, uid=uid))  # type: ignore[type-var]


def title(kind: str, name: str, namespace: str) -> str:
    """Return how messages name a resource: ``Node 'n1'``."""
    return f"{kind} {f'{namespace}/{name}' if namespace else name!r}"


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
