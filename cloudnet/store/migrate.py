"""A store copied into another: resumable after a kill at any point, verified, and refused while either is written.

1. The source is locked as Calico's tools do it (ClusterInformation, ``datastoreReady: false``). Whoever honours the
   lock stops writing; whoever does not is found out.
2. The target must be empty. Our mark goes in first: its ClusterInformation, locked, with the migration's id, which is
   the uid of the source's. Only a target with this mark is ever changed again, so that a copy that was killed goes on
   and a store with a life of its own is never touched.
3. Kind by kind, what is missing is created, what differs replaced, what the source has no longer removed, and all of
   it read back and compared.
4. Both sides are read once more. A revision that is not the one that was copied or written means that somebody wrote:
   refused, and to be run again.
5. The target is unlocked, which is the last write. The source stays locked: nobody shall go on with it by mistake.

What a target makes itself is left to it: Kubernetes has its own nodes, pods, namespaces and what follows from them.

An AgentReport's ``observed`` is a revision of the source, and is the one thing that is not carried over: in the
target it would say that an agent had seen withdrawals that are yet to come.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

from cloudnet.errors import BadDocument, BadInput
from cloudnet.model import kinds, wire
from cloudnet.model.calico_cluster import ClusterInformation
from cloudnet.model.kubernetes import Namespace, Pod, ServiceAccount
from cloudnet.model.kubernetes_services import EndpointSlice
from cloudnet.model.resources import (
    AgentReport,
    BlockAffinity,
    IPAMBlock,
    IPAMConfiguration,
    IPAMHandle,
    Metadata,
    Resource,
)
from cloudnet.store import documents, lock, records
from cloudnet.store.api import (
    Create,
    Delete,
    Listing,
    NotFound,
    Revision,
    Store,
    Stored,
    StoreDamaged,
    StoreError,
    Update,
    Write,
)

R = TypeVar("R", bound=Resource)

FROM: Final = "cloudnet.io/migrating-from"  # annotation of the target while it is filled: the migration's id
DONE: Final = "cloudnet.io/migrated-from"  # the same when it is whole
_BATCH: Final = 64  # writes of one request: etcd takes 128
_BARE = (IPAMBlock, BlockAffinity, IPAMHandle, IPAMConfiguration)  # have no metadata in etcd, and names of their own
_KINDS = tuple(kind for kind in kinds.ALL if kind.type is not ClusterInformation)
_RAW = frozenset({Pod, Namespace, ServiceAccount, EndpointSlice})  # what only Kubernetes itself can tell


class MigrationRefused(StoreError):
    """A store cannot be copied now: the target is not empty, or somebody writes to one of the two."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What became of one kind; ``source`` is how many there are."""

    kind: str
    source: int
    created: int = 0
    replaced: int = 0
    removed: int = 0

    @property
    def equal(self) -> int:
        return self.source - self.created - self.replaced


@dataclass(frozen=True, slots=True)
class Difference:
    """What has to be written to make the target's resources of a kind those of the source; pure."""

    create: tuple[Resource, ...]
    replace: tuple[tuple[Resource, Revision], ...]
    remove: tuple[Stored[Resource], ...]

    def writes(self) -> Iterator[Write]:
        for gone in self.remove:
            meta = gone.value.meta
            yield Delete(type(gone.value), meta.name, meta.namespace, gone.revision)
        for value, revision in self.replace:
            yield Update(value, revision)
        for value in self.create:
            yield Create(value)

    def __bool__(self) -> bool:
        return bool(self.create or self.replace or self.remove)


def difference(
    source: Sequence[Stored[Resource]], target: Sequence[Stored[Resource]], *, adds: bool = False
) -> Difference:
    """Return what makes the target equal to the source. What a target gives itself does not count: uid, time.

    ``adds``: the target fills in what documents leave out.
    """
    there = {records.key(stored.value): stored for stored in target}
    wanted = {records.key(stored.value): carried(stored.value) for stored in source}
    return Difference(
        create=tuple(value for key, value in wanted.items() if key not in there),
        replace=tuple(
            (_with_uid_of(there[key].value, value), there[key].revision)
            for key, value in wanted.items()
            if key in there and not same(value, there[key].value, adds=adds)
        ),
        remove=tuple(stored for key, stored in there.items() if key not in wanted),
    )


def carried(value: Resource) -> Resource:
    """Return what of a resource belongs into another store."""
    return replace(value, observed=0) if isinstance(value, AgentReport) else value


def same(value: Resource, other: Resource, *, adds: bool = False) -> bool:
    """Tell whether two stores hold one resource, with all that we do not understand of its document.

    ``adds``: the other document may say more.
    """
    if isinstance(value, _BARE):
        return _plain(value) == _plain(other)
    mine, theirs = _document(value), _document(other)
    if records.with_uid(value, "") != records.with_uid(other, ""):
        return False
    return _within(mine, theirs) if adds else mine == theirs


# Any: JSON.
def _within(mine: Any, theirs: Any) -> bool:
    """Tell whether one document says all that another does."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return all(_within(value, theirs.get(key)) for key, value in mine.items() if key != "status")
    return bool(mine == theirs) or (theirs is None and mine in ({}, [], "", False, 0))


def kinds_between(source: Store, target: Store) -> tuple[kinds.Kind[Any], ...]:
    """Return the kinds that are copied: not those that a target makes itself, as Kubernetes makes its nodes."""
    theirs = _made_by(target) | (_RAW if _made_by(source) else frozenset())
    return tuple(kind for kind in _KINDS if kind.type not in theirs)


def _made_by(store: Store) -> frozenset[type[Resource]]:
    return store.made_itself if isinstance(store, SelfFilling) else frozenset()


def _plain(value: Resource) -> Resource:
    # replace() knows dataclasses, and the protocol cannot say that every resource is one.
    return replace(value, meta=Metadata(value.meta.name))  # type: ignore[type-var]


def _document(value: Resource) -> dict[str, Any]:  # Any: JSON
    found: dict[str, Any] = json.loads(kinds.encode(value))
    found["metadata"] = {k: v for k, v in found["metadata"].items() if k not in wire.MARKS and v not in ({}, None)}
    return found


def _with_uid_of(there: Resource, value: Resource) -> Resource:
    """An update never changes a uid."""
    return records.with_uid(value, there.meta.uid)


@runtime_checkable
class SelfFilling(Protocol):
    """A store that makes some resources itself, of what it knows."""

    @property
    def made_itself(self) -> frozenset[type[Resource]]: ...


# --- carrying it out --------------------------------------------------------------------------------------------

Say = Callable[[Copied], None]


def migrate(source: Store, target: Store, *, say: Say = lambda _: None) -> tuple[Copied, ...]:
    """Copy everything; run it again after whatever went wrong.

    Raises:
        MigrationRefused: the target is not empty, or somebody wrote to one of the two.
        BadDocument: the target cannot hold some resources; ``problems`` names them.
        StoreDamaged: the source holds a document that makes no sense.
    """
    origin = lock.set_ready(source, ready=False)
    if _is_whole(target, origin.meta.uid):
        return _still_equal(compare(source, target))
    chosen = kinds_between(source, target)
    _mark(target, origin, chosen)
    before = {kind.name: _all_of(source, kind) for kind in chosen}
    copied, written = [], {}
    problems: list[tuple[str, str]] = []
    for kind in chosen:
        done, unfit = _copy(kind, before[kind.name].items, target)
        problems += unfit
        copied.append(done)
        say(done)
        if not unfit:
            written[kind.name] = _verified(kind, before[kind.name].items, target)
    if problems:
        raise BadDocument(problems)
    _check_unwritten(source, before, "source")
    _check_unwritten(target, written, "target")
    _finish(target, origin)
    return tuple(copied)


def compare(source: Store, target: Store) -> tuple[Copied, ...]:
    """Return what a migration would write, kind by kind; nothing is written."""
    found = []
    for kind in kinds_between(source, target):
        mine = _all_of(source, kind).items
        todo = difference(mine, documents.list_all(target, kind.type).items, adds=bool(_made_by(target)))
        found.append(Copied(kind.name, len(mine), len(todo.create), len(todo.replace), len(todo.remove)))
    return tuple(found)


def _still_equal(found: tuple[Copied, ...]) -> tuple[Copied, ...]:
    """Refuse to touch a target that was whole once and has a life of its own since."""
    for one in found:
        if one.created or one.replaced or one.removed:
            raise MigrationRefused(
                f"the target was filled already, and its {one.kind}s have been written since: nothing is left to copy"
            )
    return found


def _all_of(source: Store, kind: kinds.Kind[Any]) -> Listing[Resource]:
    """Return all that the source has of a kind.

    Raises:
        StoreDamaged: one of them cannot be read: it would be left out in silence.
    """
    found: Listing[Resource] = documents.list_all(source, kind.type)
    for (namespace, name), problem in found.unreadable.items():
        title = records.title(kind.name, name, namespace)
        raise StoreDamaged(f"{title} makes no sense ({problem}): mend it, or delete it")
    return found


def _copy(
    kind: kinds.Kind[Any], mine: Sequence[Stored[Resource]], target: Store
) -> tuple[Copied, list[tuple[str, str]]]:
    todo = difference(mine, documents.list_all(target, kind.type).items, adds=bool(_made_by(target)))
    unfit: list[tuple[str, str]] = []
    writes = todo.writes()
    while some := tuple(islice(writes, _BATCH)):
        unfit += _write(target, some)
    return Copied(kind.name, len(mine), len(todo.create), len(todo.replace), len(todo.remove)), unfit


def _write(target: Store, some: Sequence[Write]) -> list[tuple[str, str]]:
    """Carry writes out together, or one by one where the target refuses one of them; return what it cannot hold."""
    with contextlib.suppress(BadInput):  # of one of them; it is named below
        target.write(some)
        return []
    unfit = []
    for one in some:
        try:
            target.write([one])
        except BadInput as error:
            kind, namespace, name = records.key(one if isinstance(one, Delete) else one.value)
            unfit.append((records.title(kinds.of(kind).name, name, namespace), str(error)))
    return unfit


def _verified(kind: kinds.Kind[Any], mine: Sequence[Stored[Resource]], target: Store) -> Listing[Resource]:
    """Return what the target holds now, read back and compared.

    Raises:
        MigrationRefused: it does not hold what was written.
    """
    found: Listing[Resource] = documents.list_all(target, kind.type)
    left = difference(mine, found.items, adds=bool(_made_by(target)))
    if left:
        wrong = next(left.writes())
        of, namespace, name = records.key(wrong if isinstance(wrong, Delete) else wrong.value)
        raise MigrationRefused(
            f"the target does not hold {records.title(kinds.of(of).name, name, namespace)} as the source has it: "
            f"stop whoever writes to it and run this again, or see which of its fields the target drops"
        )
    return found


def _check_unwritten(store: Store, before: Mapping[str, Listing[Any]], which: str) -> None:
    for kind in (kinds.named(name) for name in before):
        known = {records.key(stored.value): stored.revision for stored in before[kind.name].items}
        now = {records.key(s.value): s.revision for s in documents.list_all(store, kind.type).items}
        for key in known.keys() | now.keys():
            if known.get(key) != now.get(key):
                title = records.title(kind.name, key[2], key[1])
                raise MigrationRefused(
                    f"{title} was written in the {which} meanwhile: stop controllers and agents on it, "
                    f"and run this again; it goes on where it is"
                )


# --- the mark of the target -------------------------------------------------------------------------------------


def _information(store: Store) -> Stored[ClusterInformation] | None:
    try:
        return documents.get(store, ClusterInformation, lock.NAME)
    except NotFound:
        return None


def _is_whole(target: Store, migration: str) -> bool:
    found = _information(target)
    return found is not None and found.value.meta.annotations.get(DONE) == migration


def _mark(target: Store, origin: ClusterInformation, chosen: Sequence[kinds.Kind[Any]]) -> None:
    """Put our mark into an empty target, or find it there.

    Raises:
        MigrationRefused: the target is neither empty nor ours.
    """
    found = _information(target)
    if found is not None:
        if found.value.meta.annotations.get(FROM) == origin.meta.uid:
            return
        raise MigrationRefused("the target has a ClusterInformation of another cluster: name an empty one")
    for kind in chosen:
        if number := len(target.list(kind.type).items):
            raise MigrationRefused(f"the target holds {number} {kind.plural} already: name an empty one")
    target.create(_marked(origin, {FROM: origin.meta.uid}, ready=False))


def _finish(target: Store, origin: ClusterInformation) -> None:
    found = _information(target)
    if found is None:
        raise MigrationRefused("the target's ClusterInformation is gone: somebody else writes to it")
    whole = _marked(origin, {DONE: origin.meta.uid}, ready=True)
    target.update(records.with_uid(whole, found.value.meta.uid), expected=found.revision)


def _marked(origin: ClusterInformation, annotations: Mapping[str, str], *, ready: bool) -> ClusterInformation:
    kept = {key: value for key, value in origin.meta.annotations.items() if key not in {FROM, DONE}}
    return lock.with_ready(
        replace(origin, meta=replace(origin.meta, annotations={**kept, **annotations})), ready=ready
    )
