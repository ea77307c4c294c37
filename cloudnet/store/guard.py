"""A store that honours Calico's lock: while ``datastoreReady`` is false it is read and watched, and not written.

Agent and controller write through one of these, and tell it what their informer hears. To whoever writes, a lock is
an outage: he goes on with what he knows and tries again, and what is in kernels and clouds stays as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from typing import Final, TypeVar

from cloudnet.model.calico_cluster import ClusterInformation
from cloudnet.model.resources import Resource
from cloudnet.store import lock
from cloudnet.store.api import (
    Event,
    EventType,
    Listing,
    NotFound,
    Revision,
    Store,
    Stored,
    StoreUnavailable,
    Watch,
    Write,
)

log = logging.getLogger(__name__)

R = TypeVar("R", bound=Resource)

KINDS: Final[tuple[type[Resource], ...]] = (ClusterInformation,)
_PROBLEM: Final = (
    f"the store is locked (ClusterInformation {lock.NAME!r} says datastoreReady: false), so nothing is written: "
    f"wait for the migration, or let everybody go on with cloudnet store unlock"
)


class StoreLocked(StoreUnavailable):
    """Somebody has locked the store for everybody: nothing is written until it is unlocked."""


class Guard:
    """One program's store. Before it was told anything it asks once, when the first write comes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._locked: bool | None = None

    @property
    def problem(self) -> str:
        """Why nothing is written; empty when the store is not known to be locked. Any thread may ask."""
        return _PROBLEM if self._locked else ""

    def hear(self, events: Sequence[Event[Resource]], *, synced: bool) -> None:
        """Note what an informer of ``KINDS``, among others, delivered."""
        mine = [event for event in events if isinstance(event.value, ClusterInformation)]
        if mine:
            self._note(locked=_says_locked(mine[-1]))
        elif synced:
            self._note(locked=False)

    def _note(self, *, locked: bool) -> None:
        if locked and not self._locked:
            log.warning("going on without writing reason=%r", _PROBLEM)
        elif self._locked and not locked:
            log.info("the store is unlocked: writing again")
        self._locked = locked

    def _check(self) -> None:
        if self._locked is None:
            self._note(locked=self._ask())
        if self._locked:
            raise StoreLocked(_PROBLEM)

    def _ask(self) -> bool:
        try:
            return self._store.get(ClusterInformation, lock.NAME).value.spec.datastore_ready is False
        except NotFound:
            return False

    # --- the store ----------------------------------------------------------------------------------------

    @property
    def atomic(self) -> bool:
        return self._store.atomic

    def get(self, kind: type[R], name: str, namespace: str = "") -> Stored[R]:
        return self._store.get(kind, name, namespace)

    def list(
        self, kind: type[R], namespace: str | None = None, *, view: Callable[[R], R] | None = None
    ) -> Listing[R]:
        return self._store.list(kind, namespace, view=view)

    def create(self, value: R) -> Stored[R]:
        self._check()
        return self._store.create(value)

    def update(self, value: R, *, expected: Revision) -> Stored[R]:
        self._check()
        return self._store.update(value, expected=expected)

    def delete(
        self, kind: type[Resource], name: str, namespace: str = "", *, expected: Revision | None = None
    ) -> None:
        self._check()
        self._store.delete(kind, name, namespace, expected=expected)

    def write(self, writes: Sequence[Write]) -> Sequence[Stored[Resource] | None]:
        self._check()
        return self._store.write(writes)

    def watch(self, kinds: Collection[type[Resource]], *, since: Revision) -> Watch:
        return self._store.watch(kinds, since=since)

    def close(self) -> None:
        self._store.close()


def _says_locked(event: Event[Resource]) -> bool:
    value = event.value
    if event.type is EventType.DELETED or not isinstance(value, ClusterInformation):
        return False
    return value.meta.name == lock.NAME and value.spec.datastore_ready is False
