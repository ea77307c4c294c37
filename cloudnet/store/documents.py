"""Resources with their whole documents: what others wrote, and what we do not understand, included.

Whoever shows a document to a person, lets him edit it or copies it elsewhere reads it here. A value that brings its
document is written whole by any store (``kinds.keeping``). A store that can show documents is a ``Documents``; of any
other one we see what we understand.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, TypeVar, runtime_checkable

from cloudnet.model import kinds
from cloudnet.model.resources import Resource
from cloudnet.store.api import Listing, Store, Stored

R = TypeVar("R", bound=Resource)


@runtime_checkable
class Documents(Protocol):
    """A store that shows resources as they stand in it: its values bring their documents."""

    def whole(self, kind: type[R], name: str, namespace: str = "") -> Stored[R]:
        """Return one resource, as ``Store.get`` does."""

    def all_whole(self, kind: type[R], namespace: str | None = None) -> Listing[R]:
        """Return all resources of a kind, as ``Store.list`` does."""


def get(store: Store, kind: type[R], name: str, namespace: str = "") -> Stored[R]:
    """Return one resource with its document.

    Raises:
        NotFound: there is none.
    """
    found = store.whole(kind, name, namespace) if isinstance(store, Documents) else store.get(kind, name, namespace)
    return _with_document(found)


def list_all(store: Store, kind: type[R], namespace: str | None = None) -> Listing[R]:
    """Return all resources of a kind with their documents, in the order of namespace and name."""
    found = store.all_whole(kind, namespace) if isinstance(store, Documents) else store.list(kind, namespace)
    return replace(found, items=tuple(_with_document(one) for one in found.items))


def _with_document(found: Stored[R]) -> Stored[R]:
    value = found.value
    return found if value.meta.document else Stored(kinds.keeping(value, kinds.encode(value)), found.revision)
