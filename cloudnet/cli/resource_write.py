"""What becomes of each document: created, replaced, left as it is, or refused; one failure stops no other."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from cloudnet.cli import exits
from cloudnet.cli.resource_input import Bad, Given
from cloudnet.errors import BadInput, CloudnetError
from cloudnet.model import kinds, wire
from cloudnet.model.resources import IPPool, Resource
from cloudnet.store import documents, records
from cloudnet.store.api import AlreadyExists, Conflict, NotFound, Store, Stored

_TRIES = 10  # writers that may come between reading and writing when the document names no revision


class Verb(enum.StrEnum):
    """What a command wants."""

    APPLY = "apply"
    CREATE = "create"
    REPLACE = "replace"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one document; ``code`` is the exit code that its error alone would have given."""

    resource: str
    result: str
    message: str = ""
    code: int = 0

    @property
    def failed(self) -> bool:
        return self.code != 0


@dataclass(frozen=True, slots=True)
class Way:
    """How a command goes about it. ``skip``: create passes over what exists, delete over what does not."""

    verb: Verb
    dry: bool = False
    skip: bool = False


def carry_out(store: Store, given: Iterable[Given | Bad], way: Way) -> Iterator[Result]:
    """Yield what becomes of each document, in their order."""
    for one in given:
        if isinstance(one, Bad):
            yield failed(one.title, one.error)
            continue
        try:
            yield Result(one.title, _DO[way.verb](store, one, way), "; ".join(one.odd))
        except CloudnetError as error:
            yield failed(one.title, error)


def failed(title: str, error: CloudnetError) -> Result:
    return Result(title, "failed", str(error), exits.code(error))


# --- the verbs --------------------------------------------------------------------------------------------------


def _apply(store: Store, given: Given, way: Way) -> str:
    for attempt in range(_TRIES):
        found = _find(store, given)
        try:
            if found is not None:
                return _update(store, given, found, way)
            return _create(store, given, way)
        except (AlreadyExists, Conflict, NotFound):
            if given.expected is not None or attempt == _TRIES - 1:
                raise
    raise AssertionError  # the loop returns or raises


def _create(store: Store, given: Given, way: Way) -> str:
    if given.expected is not None and way.verb is Verb.APPLY:
        raise Conflict(f"{given.title} was deleted since: leave out metadata.resourceVersion to create it anew")
    if way.skip and _find(store, given) is not None:
        return "skipped, for it exists"
    if isinstance(given.value, IPPool):
        _check_overlap(given.value, store)
    if not way.dry:
        store.create(given.value)
    elif _find(store, given) is not None:
        raise AlreadyExists(f"{given.title} exists already: replace it, or delete it first")
    return "created"


def _replace(store: Store, given: Given, way: Way) -> str:
    for attempt in range(_TRIES):
        found = _find(store, given)
        if found is None:
            raise NotFound(f"there is no {given.title}: create it first, or apply it")
        try:
            return _update(store, given, found, way)
        except Conflict:
            if given.expected is not None or attempt == _TRIES - 1:
                raise
    raise AssertionError  # the same


def _update(store: Store, given: Given, found: Stored[Resource], way: Way) -> str:
    if isinstance(given.value, IPPool) and isinstance(found.value, IPPool):
        _check_pool(found.value, given.value)
    expected = found.revision if given.expected is None else given.expected
    if expected != found.revision:
        raise Conflict(
            f"{given.title} has revision {found.revision}, not {expected}: get it again and change it again"
        )
    if _same(found.value, given.value):
        return "unchanged"
    if not way.dry:
        store.update(given.value, expected=expected)
    return "replaced"


def _delete(store: Store, given: Given, way: Way) -> str:
    meta = given.value.meta
    found = _find(store, given)
    if found is None and way.skip:
        return "skipped, for there is none"
    if found is None:
        raise NotFound(f"there is no {given.title}")
    if not way.dry:
        store.delete(type(given.value), meta.name, meta.namespace, expected=given.expected)
    return "deleted"


_DO: dict[Verb, Callable[[Store, Given, Way], str]] = {
    Verb.APPLY: _apply,
    Verb.CREATE: _create,
    Verb.REPLACE: _replace,
    Verb.DELETE: _delete,
}


def change(
    store: Store, kind: type[Resource], name: str, edit: Callable[[Resource], Resource], *, namespace: str, dry: bool
) -> str:
    """Edit one resource and its document; again when another writer was first. ``edit`` must be pure.

    Raises:
        NotFound: there is none.
        Conflict: too many writers were faster.
    """
    for attempt in range(_TRIES):
        seen = documents.get(store, kind, name, namespace)
        changed = edit(seen.value)
        if _same(seen.value, changed):
            return "unchanged"
        if isinstance(changed, IPPool) and isinstance(seen.value, IPPool):
            _check_pool(seen.value, changed)
        if dry:
            break
        try:
            store.update(changed, expected=seen.revision)
            break
        except Conflict:
            if attempt == _TRIES - 1:
                raise
    return "changed"


# --- rules between documents ------------------------------------------------------------------------------------


def _find(store: Store, given: Given) -> Stored[Resource] | None:
    meta = given.value.meta
    try:
        return documents.get(store, type(given.value), meta.name, meta.namespace)
    except NotFound:
        return None


def _same(stored: Resource, given: Resource) -> bool:
    """Tell whether a document would change anything; what only the store and observers know does not count.

    A status counts as far as it is part of what the resource is to us: Kubernetes keeps no other from a document.
    """
    before, after = json.loads(stored.meta.document), json.loads(given.meta.document)
    left = kinds.of(type(given)).decode(json.dumps(wire.observed(after, before)).encode())
    if records.with_uid(left, "") != records.with_uid(stored, ""):
        return False
    return _spoken(before) == _spoken(after)


# Any: documents.
def _spoken(document: dict[str, Any]) -> dict[str, Any]:
    """Return what of a document its author says."""
    metadata = {k: v for k, v in document["metadata"].items() if k not in wire.MARKS and v not in ({}, None)}
    return {**document, "metadata": metadata, "status": None}


def _check_pool(before: IPPool, after: IPPool) -> None:
    """Refuse what would leave blocks outside their pool, or of another size than it. Calico refuses it, too."""
    for field, old, new in (
        ("cidr", before.cidr, after.cidr),
        ("blockSize", before.block_size, after.block_size),
    ):
        if old != new:
            raise BadInput(f"expected {old} as it was, for it cannot change, found {new}", path=f"spec.{field}")


def _check_overlap(pool: IPPool, store: Store) -> None:
    for other in (stored.value for stored in store.list(IPPool).items):
        if other.meta.name != pool.meta.name and other.cidr.overlaps(pool.cidr):
            raise BadInput(f"{pool.cidr} overlaps pool {other.meta.name!r} ({other.cidr})", path="spec.cidr")
