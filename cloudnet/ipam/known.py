"""What one node remembers of the store, so that giving an address needs no look at it: blocks, handles, rules.

It may be wrong at any moment; whoever writes compares and swaps on the revisions that stand here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TypeVar

from cloudnet.ipam import block as blocks
from cloudnet.ipam import choose, handles, native, records
from cloudnet.ipam.allocator import Request
from cloudnet.ipam.choose import Matches
from cloudnet.model.addresses import Family, Network, order
from cloudnet.model.calico import cidr_name
from cloudnet.model.calico_ipam import CONFIGURATION, handle_name
from cloudnet.model.resources import (
    Affinity,
    AffinityState,
    BlockAffinity,
    IPAMBlock,
    IPAMConfiguration,
    IPAMHandle,
    IPPool,
    IPReservation,
    Metadata,
    Resource,
)
from cloudnet.store.api import Event, EventType, Store, Stored

V = TypeVar("V")

KINDS: tuple[type[Resource], ...] = (IPPool, IPReservation, IPAMConfiguration, BlockAffinity)
"""What has to be heard."""


class Known:
    """The memory of one node's address management."""

    def __init__(self, store: Store, owner: Affinity, *, now: Callable[[], datetime], matches: Matches) -> None:
        self.owner = owner
        self.synced = False  # the store has told of its pools
        self.blocks: dict[Network, Stored[IPAMBlock]] = {}  # the node's own, by address
        self.handles: dict[str, Stored[IPAMHandle]] = {}  # by document name
        self.natives: set[Network] = set()  # those of the blocks that the cloud chose
        self._read = False  # whether `blocks` is all that the node has
        self._store, self._now, self._matches = store, now, matches
        self._pools: dict[str, IPPool] = {}
        self._reservations: dict[str, IPReservation] = {}
        self._configuration = IPAMConfiguration(Metadata(CONFIGURATION))

    # --- rules ------------------------------------------------------------------------------------------

    def hear(self, events: Iterable[Event[Resource]], *, synced: bool) -> None:
        """Take in changes; ``synced`` once everything has been told."""
        for event in events:
            value, gone = event.value, event.type is EventType.DELETED
            match value:
                case IPPool():
                    _put(self._pools, value.meta.name, None if gone else value)
                case IPReservation():
                    _put(self._reservations, value.meta.name, None if gone else value)
                case IPAMConfiguration() if value.meta.name == CONFIGURATION:
                    self._configuration = IPAMConfiguration(Metadata(CONFIGURATION)) if gone else value
                case BlockAffinity() if Affinity(value.node, value.type) == self.owner:
                    self._affinity(value, gone=gone)
        self.synced = self.synced or synced

    def _affinity(self, affinity: BlockAffinity, *, gone: bool) -> None:
        """Somebody gave the node a block or took one: look when addresses are asked for the next time."""
        if gone:
            self.blocks.pop(affinity.cidr, None)
        elif affinity.state is AffinityState.PENDING_DELETION:
            self._read = False  # whoever lets it go may be killed halfway, and nobody routes it then: see claim_block
        elif affinity.cidr not in self.blocks or native.is_native(affinity) != (affinity.cidr in self.natives):
            self._read = False

    @property
    def pools(self) -> Iterable[IPPool]:
        return self._pools.values()

    def usable(self, of: Family, request: Request) -> tuple[IPPool, ...]:
        """Return the pools that a request may use.

        Raises:
            NoPool: there is none.
        """
        return choose.pools_for(
            self._pools.values(),
            of,
            node=request.node,
            use=request.use,
            named=request.pools,
            selects=lambda pool: choose.selects(pool, self._matches, request.node_labels, request.namespace_labels),
        )

    def reserved(self, block: IPAMBlock) -> frozenset[int]:
        """Return the ordinals of a block that nobody may be given."""
        cidrs = (cidr for item in self._reservations.values() for cidr in item.cidrs)
        return frozenset(blocks.reserved(block, cidrs)) if self._reservations else frozenset()

    def refresh(self, block: IPAMBlock) -> IPAMBlock:
        """Put back into the queue what has cooled down."""
        return blocks.collect(block, now=self._now(), cooldown=self._configuration.cooldown)

    # --- blocks and handles -----------------------------------------------------------------------------

    def at_hand(self) -> dict[Network, IPAMBlock]:
        """Return the node's blocks as they would be used now, in the order of their addresses."""
        return {cidr: self.refresh(seen.value) for cidr, seen in self.blocks.items()}

    def keep(self, seen: Stored[IPAMBlock]) -> None:
        """Remember one more block of the node."""
        kept = self.blocks | {seen.value.cidr: seen}
        self.blocks = dict(sorted(kept.items(), key=lambda item: order(item[0])))

    def read(self) -> None:
        """Read the node's blocks, unless they are known."""
        if self._read:
            return
        found = (item.value for item in self._store.list(BlockAffinity).items)
        mine = [a for a in found if Affinity(a.node, a.type) == self.owner and a.state is AffinityState.CONFIRMED]
        self.blocks.clear()
        self.natives = {a.cidr for a in mine if native.is_native(a)}
        for affinity in sorted(mine, key=lambda a: order(a.cidr)):
            self._read_block(affinity.cidr)
        self._read = True

    def forget(self, handle: str) -> None:
        """Somebody else changes blocks and this handle: read again before they are used."""
        self.handles.pop(handle_name(handle), None)
        self._read = False

    def find(self, handle: str) -> bool:
        """Look for a handle that is not known; tell whether there is one, of blocks that are."""
        name = handle_name(handle)
        seen = None if name in self.handles else handles.find(self._store, handle)
        if seen is None or any(cidr not in self.blocks for cidr in seen.value.blocks):
            return False
        self.handles[name] = seen
        return True

    def look_again(self, touched: Iterable[Network], handle: str) -> bool:
        """Read again what a lost write was planned with; tell whether any of it had changed."""
        name = handle_name(handle)
        before = {cidr: self.blocks.get(cidr) for cidr in touched}
        handle_before = self.handles.get(name)
        for cidr in before:
            self._read_block(cidr)
        _put(self.handles, name, handles.find(self._store, handle) if handle else None)
        same = all(self.blocks.get(cidr) == seen for cidr, seen in before.items())
        return not same or self.handles.get(name) != handle_before

    def _read_block(self, cidr: Network) -> None:
        seen = records.find(self._store, IPAMBlock, cidr_name(cidr))
        _put(self.blocks, cidr, seen if seen is not None and seen.value.affinity == self.owner else None)


K = TypeVar("K")


def _put(where: dict[K, V], key: K, value: V | None) -> None:
    if value is None:
        where.pop(key, None)
    else:
        where[key] = value
