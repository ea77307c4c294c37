"""Take addresses back, so that no handle ever counts too few: read the handle, write the block, write the handle.

``handles.py`` says why this order makes the count exact. ``refresh`` puts addresses that have cooled down back into
the queue of their block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from cloudnet.ipam import block as blocks
from cloudnet.ipam import handles, records
from cloudnet.ipam.block import Release, Released
from cloudnet.model.addresses import Address, Network
from cloudnet.model.calico import cidr_name
from cloudnet.model.calico_ipam import handle_name
from cloudnet.model.resources import IPAMBlock, IPAMHandle
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
        if handles.take(store, _handles_of(store, released), [(seen, refresh(released.block))]):
            return released.unallocated
    raise Conflict(f"block {cidr}: {records.TRIES} writers were faster")


def _handles_of(store: Store, released: Released) -> list[Stored[IPAMHandle]]:
    by_name = {handle_name(handle): handle for handle in released.handles}
    found = (handles.find(store, handle) for handle in by_name.values())
    return [seen for seen in found if seen is not None]


def by_handle(store: Store, handle: str, *, refresh: Refresh, now: datetime) -> tuple[Address, ...]:
    """Take back all that a handle has, and delete it; return what it had.

    Every block that it counts is written, also where it has nothing: see ``handles``.

    Raises:
        Conflict: too many others wrote at the same time.
    """
    freed: dict[Address, None] = {}
    for _ in range(records.TRIES):
        seen = handles.find(store, handle)
        if seen is None:
            return tuple(freed)
        found = {cidr: records.find(store, IPAMBlock, cidr_name(cidr)) for cidr in seen.value.blocks}
        there = [block for block in found.values() if block is not None]
        released = [blocks.release_by_handle(refresh(block.value), handle, now=now) for block in there]
        taken = dict.fromkeys(a for one in released for a in one.addresses)
        changed = [(block, refresh(one.block)) for block, one in zip(there, released, strict=True)]
        if handles.take(store, [seen], changed, gone=[cidr for cidr, block in found.items() if block is None]):
            return tuple(freed | taken)
        if not store.atomic:
            freed |= taken  # some of them may be free now, and are not found again
    raise Conflict(f"handle {handle!r}: {records.TRIES} writers were faster")
