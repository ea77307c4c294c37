"""The datastore door: what every store promises, whatever it is made of.

* Every write gives the resource a new ``Revision``; revisions of one store only grow.
* ``update`` and ``delete`` compare and swap on the revision that the caller saw.
* ``write`` carries several writes out in one request, all or none where the store is ``atomic``.
* ``list`` gives the revision to start a watch from; a watch delivers every later change once, in order,
  or says with ``Compacted`` that it cannot, and then the caller lists again.
* A document that makes no sense hides no other: a list names it, and a watch that meets one asks to list again.

``cloudnet.testing.store`` holds the suite that every implementation passes.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType, TracebackType
from typing import Generic, NewType, Protocol, Self, TypeAlias, TypeVar

from cloudnet.errors import CloudnetError
from cloudnet.model.resources import Resource

Revision = NewType("Revision", int)

R = TypeVar("R", bound=Resource)
R_co = TypeVar("R_co", bound=Resource, covariant=True)


class StoreError(CloudnetError):
    """Base of the store's errors."""


class NotFound(StoreError):
    """No resource has that kind and name."""


class AlreadyExists(StoreError):
    """A resource of that kind and name is there already."""


class Conflict(StoreError):
    """Somebody else wrote first: read again and decide again."""


class Compacted(StoreError):
    """The watch cannot resume from so far back: list again."""


class StoreUnavailable(StoreError):
    """The store does not answer now."""

    retry = True


class StoreDamaged(StoreError):
    """The stored form is corrupt, or newer than this program understands; the message says which file."""


@dataclass(frozen=True, slots=True)
class Stored(Generic[R_co]):
    """A resource as the store holds it."""

    value: R_co
    revision: Revision


@dataclass(frozen=True, slots=True)
class Listing(Generic[R_co]):
    """All resources of a kind at one moment, by name; ``revision`` is where a watch goes on.

    ``unreadable`` are those whose document makes no sense, and why: {(namespace, name): problem}.
    """

    items: tuple[Stored[R_co], ...]
    revision: Revision
    unreadable: Mapping[tuple[str, str], str] = field(default_factory=lambda: MappingProxyType({}), hash=False)


# --- writing several at once --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Create:
    """Store a new resource, as ``Store.create`` does."""

    value: Resource


@dataclass(frozen=True, slots=True)
class Update:
    """Replace a resource that still has the expected revision, as ``Store.update`` does."""

    value: Resource
    expected: Revision


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a resource, with ``expected`` only while it has that revision, as ``Store.delete`` does."""

    kind: type[Resource]
    name: str
    namespace: str = ""
    expected: Revision | None = None


Write: TypeAlias = Create | Update | Delete


# --- watching -----------------------------------------------------------------------------------------------


class EventType(enum.Enum):
    """What happened to a resource."""

    PUT = "put"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Event(Generic[R_co]):
    """One change; ``value`` is the resource after a put, and as it was last before a delete."""

    type: EventType
    value: R_co
    revision: Revision


class Watch(Protocol):
    """A stream of changes; close it, or use it as a context manager."""

    def next(self, timeout: float) -> tuple[Event[Resource], ...]:
        """Return the changes since the last call, waiting up to ``timeout`` seconds for the first.

        Raises:
            Compacted: the changes are gone, or one of them cannot be read; list again.
            StoreUnavailable: the store does not answer; the watch may be called again.
        """

    def close(self) -> None:
        """End the watch; a ``next`` that waits in another thread returns soon."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class Store(Protocol):
    """A datastore. Calls may come from any thread."""

    @property
    def atomic(self) -> bool:
        """Whether ``write`` is one transaction; if not, it may stop, or be killed, between two of its writes."""

    def get(self, kind: type[R], name: str, namespace: str = "") -> Stored[R]:
        """Return one resource.

        Raises:
            NotFound: there is none.
        """

    def list(
        self, kind: type[R], namespace: str | None = None, *, view: Callable[[R], R] | None = None
    ) -> Listing[R]:
        """Return all resources of a kind in the order of namespace and name; ``None`` means every namespace.

        ``view`` makes less of each value as soon as it is read, so that thousands need little memory.
        """

    def create(self, value: R) -> Stored[R]:
        """Store a new resource; gives it a ``uid`` when it has none.

        Raises:
            AlreadyExists: kind and name are taken.
        """

    def update(self, value: R, *, expected: Revision) -> Stored[R]:
        """Replace a resource that still has the expected revision.

        Raises:
            NotFound: it is gone.
            Conflict: it has another revision.
        """

    def delete(
        self, kind: type[Resource], name: str, namespace: str = "", *, expected: Revision | None = None
    ) -> None:
        """Remove a resource; with ``expected``, only while it has that revision.

        Raises:
            NotFound: it is gone already.
            Conflict: it has another revision.
        """

    def write(self, writes: Sequence[Write]) -> Sequence[Stored[Resource] | None]:
        """Carry out all writes in one request, or none; return what each stored, nothing for a delete.

        No resource may be written twice. Watches see the changes in this order, with revisions that may be equal.
        A store that is not ``atomic`` carries the writes out one by one, and stops at the first that fails: put
        them in an order that is safe to stop in.

        Raises:
            NotFound, AlreadyExists, Conflict: as the single writes do, about the first that fails.
            ValueError: a resource stands here twice.
        """

    def watch(self, kinds: Collection[type[Resource]], *, since: Revision) -> Watch:
        """Return the stream of changes to these kinds after ``since``."""

    def close(self) -> None:
        """Let go of files and connections; watches end."""


def change(  # the one compare-and-swap loop of the program
    store: Store,
    kind: type[R],
    name: str,
    edit: Callable[[R], R | None],
    *,
    namespace: str = "",
    tries: int = 20,
) -> Stored[R]:
    """Read, edit, write back; again when another writer was first.

    ``edit`` must be pure; returning ``None`` or an equal value leaves the resource alone.

    Raises:
        NotFound: the resource is gone.
        Conflict: ``tries`` writers were faster.
    """
    for attempt in range(tries):
        seen = store.get(kind, name, namespace)
        edited = edit(seen.value)
        if edited is None or edited == seen.value:
            return seen
        try:
            return store.update(edited, expected=seen.revision)
        except Conflict:
            if attempt == tries - 1:
                raise
    raise Conflict(f"{kind.__name__} {name!r}: no tries were allowed")
