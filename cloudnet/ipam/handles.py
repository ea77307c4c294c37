"""How many addresses a handle may hold in which block: never fewer than it holds.

Where the store is atomic, a block and its handle are written together, and the count is exact.

Elsewhere a count is raised before the block is written and lowered after, so a crash leaves it too high, never too
low. Lowering must not lose what another writer has just raised: so the handle is read first, then the block is
written, and then the handle is written only if nobody has touched it since. Whoever raised it before we read it
had seen the block earlier still, and fails on our write of the block; whoever raises it later makes our write of
the handle fail. The count written is therefore exact, also where it had been too high. Calico writes so on every
store, and for its sake we write a block whose count we lower, whether it changes or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cloudnet.ipam import block as blocks
from cloudnet.ipam import records
from cloudnet.model.addresses import Network
from cloudnet.model.calico import cidr_name
from cloudnet.model.calico_ipam import handle_name
from cloudnet.model.resources import IPAMBlock, IPAMHandle, Metadata
from cloudnet.store.api import Conflict, Create, Delete, Revision, Store, Stored, Update, Write


@dataclass(frozen=True, slots=True)
class Promise:
    """A count that was raised for a write to come: the handle before it, if there was one, and what it is now."""

    handle: str
    before: IPAMHandle | None
    now: Revision


def find(store: Store, handle: str) -> Stored[IPAMHandle] | None:
    return records.find(store, IPAMHandle, handle_name(handle))


def held(block: IPAMBlock, handle: str) -> int:
    """Return how many addresses of a block count for a handle; handles that differ in case share a document."""
    name = handle_name(handle)
    return sum(count for found, count in blocks.held(block).items() if handle_name(found) == name)


# --- what to write ------------------------------------------------------------------------------------------


def raising(seen: Stored[IPAMHandle] | None, handle: str, counts: Mapping[Network, int]) -> Create | Update:
    """Return the write that raises a handle's counts by so many."""
    if seen is None:
        return Create(IPAMHandle(Metadata(handle_name(handle)), handle, dict(counts)))
    raised = {cidr: seen.value.blocks.get(cidr, 0) + count for cidr, count in counts.items()}
    return Update(replace(seen.value, blocks={**seen.value.blocks, **raised}), seen.revision)


def settling(seen: Stored[IPAMHandle], left: Mapping[Network, int]) -> Update | Delete | None:
    """Return the write that notes what a handle has left in some blocks; nothing when it says so already."""
    counts = {cidr: count for cidr, count in {**seen.value.blocks, **left}.items() if count}
    if not counts:
        return Delete(IPAMHandle, seen.value.meta.name, expected=seen.revision)
    if counts == seen.value.blocks:
        return None
    return Update(replace(seen.value, blocks=counts), seen.revision)


def writing(seen: Stored[IPAMBlock], after: IPAMBlock) -> Update | Delete:
    """Return the write of a block after a change; one that is nobody's goes with its last address."""
    if after.affinity is None and blocks.is_empty(after):
        return Delete(IPAMBlock, seen.value.meta.name, expected=seen.revision)
    return Update(blocks.written(after), seen.revision)


# --- blocks and handles together ----------------------------------------------------------------------------


def give(store: Store, handle: str, seen: Stored[IPAMBlock], after: IPAMBlock, *, count: int) -> bool:
    """Write a block in which a handle has ``count`` more, and the handle; tell whether nobody else was first."""
    block = Update(blocks.written(after), seen.revision)
    if not handle:
        return records.write(store, [block]) is not None
    if store.atomic:
        return records.write(store, [raising(find(store, handle), handle, {after.cidr: count}), block]) is not None
    made = _promise(store, handle, after.cidr, count)
    if records.write(store, [block]):
        return True
    withdraw(store, made)
    return False


def take(
    store: Store,
    known: Iterable[Stored[IPAMHandle]],
    changed: Sequence[tuple[Stored[IPAMBlock], IPAMBlock]],
    *,
    gone: Iterable[Network] = (),
) -> bool:
    """Write blocks in which handles have less, and these handles as they were read *before* the blocks.

    Tells whether nobody else was first. Where the store is not atomic, some blocks may have been written then.
    ``gone`` are blocks that were not there when the handles were.
    """
    nothing = dict.fromkeys(gone, 0)
    seen_and_left = [
        (seen, nothing | {after.cidr: held(after, seen.value.handle) for _, after in changed}) for seen in known
    ]
    lowered = [write for seen, left in seen_and_left if (write := settling(seen, left))]
    writes: list[Write] = [writing(seen, after) for seen, after in changed]
    if store.atomic:
        return records.write(store, [*writes, *lowered]) is not None
    for block in writes:
        if records.write(store, [block]) is None:
            return False
    for seen, left in seen_and_left:
        write = settling(seen, left)
        if write is not None and records.write(store, [write]) is None:
            for cidr in left:
                _mend(store, cidr, seen.value.handle)
    return True


# --- on stores that are not atomic --------------------------------------------------------------------------


def _promise(store: Store, handle: str, cidr: Network, count: int) -> Promise:
    """Raise a count, before the block is written."""
    for _ in range(records.TRIES):
        seen = find(store, handle)
        stored = records.write(store, [raising(seen, handle, {cidr: count})])
        if stored and stored[0]:
            return Promise(handle, seen.value if seen else None, stored[0].revision)
    raise Conflict(f"handle {handle!r}: {records.TRIES} writers were faster")


def withdraw(store: Store, made: Promise) -> None:
    """Take a promise back, when the block was *certainly* not written and nobody has written the handle since."""
    if made.before is None:
        records.write(store, [Delete(IPAMHandle, handle_name(made.handle), expected=made.now)])
    else:
        records.write(store, [Update(made.before, made.now)])


def _mend(store: Store, cidr: Network, handle: str) -> None:
    """Make a handle's count exact; the write of the block stops whoever is about to use a count raised before."""
    for _ in range(records.TRIES):
        before = find(store, handle)
        if before is None:
            return
        seen = records.find(store, IPAMBlock, cidr_name(cidr))
        if seen is not None and records.write(store, [writing(seen, seen.value)]) is None:
            continue
        write = settling(before, {cidr: 0 if seen is None else held(seen.value, handle)})
        if write is None or records.write(store, [write]) is not None:
            return
    raise Conflict(f"handle {handle!r}: {records.TRIES} writers were faster")
