"""Take addresses back, so that no handle ever counts too few: read the handle, write the block, write the handle.

``handles.py`` says why this order makes the count exact. ``refresh`` puts addresses that have cooled down back into
the queue of their block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from cloudnet.ipam import block as blocks
from cloudnet.ipam import handles, records
from cloudnet.ipam.block import Release
from cloudnet.model.addresses import Address, Network
from cloudnet.model.calico import cidr_name
from cloudnet.model.resources import IPAMBlock
from cloudnet.store.api import Conflict, Store, Stored

Refresh = Callable[[IPAMBlock], IPAMBlock]


def addresses(
    store: Store, cidr: Network, releases: Sequence[Release], *, refresh: Refresh, now: datetime
) -> tuple[Address, ...]:
    """Take back addresses of one block; return those that nobody had.

    Raises:
        StaleRelease: one is not what the caller believes; then none is taken back.
        Conflict: too many others wrote at the same time.
    """
    for _ in range(records.TRIES):
        seen = records.find(store, IPAMBlock, cidr_name(cidr))
        if seen is None:
            return tuple(wanted.address for wanted in releases)
        released = blocks.release(refresh(seen.value), releases, now=now)
        if not released.addresses:
            return released.unallocated
        known = {handle: handles.find(store, handle) for handle in released.handles}
        after = refresh(released.block)
        if not _put(store, seen, after):
            continue
        held = blocks.held(after)
        for handle, before in known.items():
            if before is not None and not handles.settle(store, before, {cidr: held.get(handle, 0)}):
                _mend(store, cidr, handle)
        return released.unallocated
    raise Conflict(f"block {cidr}: {records.TRIES} writers were faster")


def by_handle(store: Store, handle: str, *, refresh: Refresh, now: datetime) -> tuple[Address, ...]:
    """Take back all that a handle has, and delete it; return what it had.

    Raises:
        Conflict: too many others wrote at the same time.
    """
    freed: list[Address] = []
    for _ in range(records.TRIES):
        seen = handles.find(store, handle)
        if seen is None:
            return tuple(freed)
        for cidr in seen.value.blocks:
            freed += _all_of(store, cidr, handle, refresh=refresh, now=now)
        if handles.settle(store, seen, dict.fromkeys(seen.value.blocks, 0)):
            return tuple(freed)
    raise Conflict(f"handle {handle!r}: {records.TRIES} writers were faster")


def _all_of(store: Store, cidr: Network, handle: str, *, refresh: Refresh, now: datetime) -> tuple[Address, ...]:
    """Take back what a handle has in a block; the block is written in any case, as in ``_mend``."""
    for _ in range(records.TRIES):
        seen = records.find(store, IPAMBlock, cidr_name(cidr))
        if seen is None:
            return ()
        released = blocks.release_by_handle(refresh(seen.value), handle, now=now)
        if _put(store, seen, refresh(released.block)):
            return released.addresses
    raise Conflict(f"block {cidr}: {records.TRIES} writers were faster")


def _mend(store: Store, cidr: Network, handle: str) -> None:
    """Make a handle's count exact; the write of the block stops whoever is about to use a count raised before."""
    for _ in range(records.TRIES):
        before = handles.find(store, handle)
        if before is None:
            return
        seen = records.find(store, IPAMBlock, cidr_name(cidr))
        if seen is not None and not _put(store, seen, seen.value):
            continue
        held = 0 if seen is None else blocks.held(seen.value).get(handle, 0)
        if handles.settle(store, before, {cidr: held}):
            return
    raise Conflict(f"handle {handle!r}: {records.TRIES} writers were faster")


def _put(store: Store, seen: Stored[IPAMBlock], after: IPAMBlock) -> bool:
    """Write a block after a release; one that is nobody's goes with its last address."""
    if after.affinity is None and blocks.is_empty(after):
        return records.remove(store, seen)
    return records.replace(store, seen, blocks.written(after)) is not None
