"""How many addresses a handle may hold in which block: never fewer than it holds.

A count is raised before the block is written and lowered after, so a crash leaves it too high, never too low.
Lowering must not lose what another writer has just raised: so the handle is read first, then the block is
written, and then the handle is written only if nobody has touched it since. Whoever raised it before we read it
had seen the block earlier still, and fails on our write of the block; whoever raises it later makes our write of
the handle fail. The count written is therefore exact, also where it had been too high.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cloudnet.ipam import records
from cloudnet.model.addresses import Network
from cloudnet.model.calico_ipam import handle_name
from cloudnet.model.resources import IPAMHandle, Metadata
from cloudnet.store.api import AlreadyExists, Conflict, Store, Stored


@dataclass(frozen=True, slots=True)
class Promise:
    """A count that was raised for a write to come: the handle before it, if there was one, and after it."""

    before: IPAMHandle | None
    after: Stored[IPAMHandle]


def find(store: Store, handle: str) -> Stored[IPAMHandle] | None:
    return records.find(store, IPAMHandle, handle_name(handle))


def promise(store: Store, handle: str, cidr: Network, count: int) -> Promise:
    """Raise a count, before the block is written.

    Raises:
        Conflict: too many others wrote at the same time.
    """
    for _ in range(records.TRIES):
        seen = find(store, handle)
        if seen is None:
            try:
                return Promise(None, store.create(IPAMHandle(Metadata(handle_name(handle)), handle, {cidr: count})))
            except AlreadyExists:
                continue
        counts = {**seen.value.blocks, cidr: seen.value.blocks.get(cidr, 0) + count}
        after = records.replace(store, seen, replace(seen.value, blocks=counts))
        if after is not None:
            return Promise(seen.value, after)
    raise Conflict(f"handle {handle!r}: {records.TRIES} writers were faster")


def withdraw(store: Store, made: Promise) -> None:
    """Take a promise back, when the block was *certainly* not written and nobody has written the handle since."""
    if made.before is None:
        records.remove(store, made.after)
    else:
        records.replace(store, made.after, made.before)


def settle(store: Store, seen: Stored[IPAMHandle], left: Mapping[Network, int]) -> bool:
    """Write what a handle has left in some blocks, as it was seen before they were written; tell whether it went."""
    counts = {cidr: count for cidr, count in {**seen.value.blocks, **left}.items() if count}
    if counts == seen.value.blocks:
        return True
    if not counts:
        return records.remove(store, seen)
    return records.replace(store, seen, replace(seen.value, blocks=counts)) is not None
