"""One node's addresses kept ready in memory: a pod gets or gives back its own with one request to the store.

    take, give_back ──▶ queue ──▶ leader: plans on the blocks in memory, one write for all, keeps what was stored
    store ── informer ──▶ heard: pools, reservations, configuration
    top_up: claims the next block while the last ones still have a block's worth of free addresses

Memory is never trusted: every write compares and swaps on the revisions that were planned with. Whoever loses reads
again and plans again; what memory cannot answer (no free address at hand, a handle of unknown blocks, a store without
transactions) goes the long way through ``ColdLeases``. So the invariants are those of ``allocator.py``, whoever else
writes. Callers on many threads share a write: whoever is in turn carries out what all others wait for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_interface
from typing import TypeAlias, TypeVar

from cloudnet.ipam import block as blocks
from cloudnet.ipam import choose, handles, records
from cloudnet.ipam.allocator import Allocator, Request
from cloudnet.ipam.choose import Matches
from cloudnet.ipam.errors import NoPool
from cloudnet.ipam.leases import ColdLeases, Extra
from cloudnet.model.addresses import Address, Family, Interface, Network, NodeName, family, order
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
from cloudnet.store.api import (
    AlreadyExists,
    Conflict,
    Delete,
    Event,
    EventType,
    NotFound,
    Store,
    Stored,
    Update,
    Write,
)

KINDS: tuple[type[Resource], ...] = (IPPool, IPReservation, IPAMConfiguration)
"""What has to be heard."""

_LOST = (AlreadyExists, Conflict, NotFound)
"""What tells that somebody else wrote first, or that a write of the caller's own cannot be."""


class _NotAtHand(Exception):
    """Memory has no answer: go the long way."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a job changes: blocks as they are to be, and its other writes; ``given`` is the caller's answer."""

    blocks: Mapping[Network, IPAMBlock]
    writes: tuple[Write, ...]
    given: tuple[Interface, ...] = ()


_Planner: TypeAlias = Callable[[Mapping[Network, IPAMBlock]], _Plan]


@dataclass(slots=True, eq=False)
class _Job:
    """One call on its way. ``plan`` is asked again with newer blocks when somebody was faster."""

    handle: str
    plan: _Planner
    fetch: Callable[[], bool]  # what the plan misses; tells whether there is something new to plan with
    the_long_way: Callable[[], Sequence[Interface]]
    done: bool = False
    given: Sequence[Interface] = ()
    error: BaseException | None = None


@dataclass(slots=True)
class _Known:
    """What memory holds of the store."""

    blocks: dict[Network, Stored[IPAMBlock]] = field(default_factory=dict)
    handles: dict[str, Stored[IPAMHandle]] = field(default_factory=dict)  # by document name
    pools: dict[str, IPPool] = field(default_factory=dict)
    reservations: dict[str, IPReservation] = field(default_factory=dict)
    configuration: IPAMConfiguration = field(default_factory=lambda: IPAMConfiguration(Metadata(CONFIGURATION)))
    synced: bool = False
    read: bool = False  # the node's own blocks have been


class WarmLeases:
    """The leases of one node. Any thread may call anything."""

    def __init__(self, store: Store, node: NodeName, *, now: Callable[[], datetime], matches: Matches) -> None:
        self._store, self._owner = store, Affinity(node)
        self._now, self._matches = now, matches
        self._allocator = Allocator(store, now=now, matches=matches)
        self._cold = ColdLeases(self._allocator, store)
        self._known = _Known()
        self._waiting: list[_Job] = []
        self._queue = threading.Lock()  # guards _waiting
        self._turn = threading.Lock()  # held by whoever carries out; guards _known

    # --- hearing ----------------------------------------------------------------------------------------

    def heard(self, events: Iterable[Event[Resource]], *, synced: bool) -> None:
        """Take in changes of ``KINDS``; ``synced`` once everything has been told."""
        with self._turn:
            for event in events:
                self._hear(event.value, gone=event.type is EventType.DELETED)
            self._known.synced = self._known.synced or synced

    def _hear(self, value: Resource, *, gone: bool) -> None:
        match value:
            case IPPool():
                _put(self._known.pools, value.meta.name, None if gone else value)
            case IPReservation():
                _put(self._known.reservations, value.meta.name, None if gone else value)
            case IPAMConfiguration() if value.meta.name == CONFIGURATION:
                self._known.configuration = IPAMConfiguration(Metadata(CONFIGURATION)) if gone else value

    def _usable(self, of: Family, request: Request) -> tuple[IPPool, ...]:
        """Return the pools that a request may use, of those we have heard of.

        Raises:
            NoPool: there is none.
        """
        return choose.pools_for(
            self._known.pools.values(),
            of,
            node=request.node,
            use=request.use,
            named=request.pools,
            selects=lambda pool: choose.selects(pool, self._matches, request.node_labels, request.namespace_labels),
        )

    # --- what callers want ------------------------------------------------------------------------------

    def take(self, families: Sequence[Family], requests: Sequence[Request], extra: Extra) -> Sequence[Interface]:
        """Return one address a family, stored together with ``extra``; see ``Leases``."""

        def plan(at_hand: Mapping[Network, IPAMBlock]) -> _Plan:
            found = [self._next(of, request, at_hand) for of, request in zip(families, requests, strict=True)]
            return self._giving(requests[0], found, extra)

        wanted = list(zip(families, requests, strict=True))
        return self._carry(
            _Job(
                requests[0].handle,
                plan,
                fetch=lambda: self._claim(wanted),
                the_long_way=lambda: self._cold.take(families, requests, extra),
            )
        )

    def take_named(self, addresses: Sequence[Address], request: Request, extra: Extra) -> Sequence[Interface]:
        """Return just these addresses, stored together with ``extra``; see ``Leases``."""

        def plan(at_hand: Mapping[Network, IPAMBlock]) -> _Plan:
            edited = dict(at_hand)
            found = []
            for address in addresses:
                after = self._named(address, request, edited)
                edited[after.cidr] = after
                found.append((after, address))
            return self._giving(request, found, extra)

        return self._carry(
            _Job(
                request.handle,
                plan,
                fetch=lambda: False,
                the_long_way=lambda: self._cold.take_named(addresses, request, extra),
            )
        )

    def give_back(self, handle: str, writes: Sequence[Write]) -> None:
        """Free all that a handle has, and carry out the writes; see ``Leases``."""

        def plan(at_hand: Mapping[Network, IPAMBlock]) -> _Plan:
            seen = self._known.handles.get(handle_name(handle))
            if seen is None or any(cidr not in at_hand for cidr in seen.value.blocks):
                raise _NotAtHand
            freed = {
                cidr: self._refresh(blocks.release_by_handle(at_hand[cidr], handle, now=self._now()).block)
                for cidr in seen.value.blocks
            }
            return _Plan(freed, (Delete(IPAMHandle, seen.value.meta.name, expected=seen.revision), *writes))

        def the_long_way() -> Sequence[Interface]:
            self._cold.give_back(handle, writes)
            return ()

        self._carry(_Job(handle, plan, fetch=lambda: self._find(handle), the_long_way=the_long_way))

    def top_up(self, request: Request) -> bool:
        """Claim the next block of a family while less than a block's worth is free; tell whether that is so now.

        Blocks of others stay theirs, even empty ones: those are for who has no address at all.
        """
        if not self._is_warm():
            return False
        with self._turn:
            if not self._known.read:
                self._read()
            lacking = [of for of in Family if self._lacks(of, request)]
        for of in lacking:
            claimed = self._allocator.claim_block(of, request, reclaim=False)
            if claimed is None:
                return False
            with self._turn:
                self._keep(claimed)
        return True

    def _lacks(self, of: Family, request: Request) -> bool:
        try:
            pools = self._usable(of, request)
        except NoPool:
            return False
        own = [block for cidr, block in self._at_hand().items() if family(cidr) is of and choose.pool_of(pools, cidr)]
        worth = 1 << (pools[0].cidr.max_prefixlen - pools[0].block_size)
        return sum(len(blocks.free(block, blocks.reserved(block, self._reserved()))) for block in own) < worth

    # --- planning ---------------------------------------------------------------------------------------

    def _next(self, of: Family, request: Request, at_hand: Mapping[Network, IPAMBlock]) -> tuple[IPAMBlock, Address]:
        """Return the first block that has one after its next address is given, and the address."""
        try:
            pools = self._usable(of, request)
        except NoPool:
            raise _NotAtHand from None  # the store may know of one that we have not heard of yet
        for cidr, block in at_hand.items():
            if family(cidr) is not of or choose.pool_of(pools, cidr) is None:
                continue
            reserved = blocks.reserved(block, self._reserved())
            after, given = blocks.auto_assign(block, 1, request.attribute, reserved=reserved)
            if given:
                return after, given[0]
        raise _NotAtHand

    def _named(self, address: Address, request: Request, at_hand: Mapping[Network, IPAMBlock]) -> IPAMBlock:
        pool = choose.pool_with(self._known.pools.values(), address)
        if pool is None or pool.disabled or request.use not in pool.allowed_uses:
            raise _NotAtHand  # the long way knows the words for it
        block = at_hand.get(choose.block_of(pool, address))
        if block is None:
            raise _NotAtHand
        return blocks.assign(block, address, request.attribute)

    def _giving(self, request: Request, found: Sequence[tuple[IPAMBlock, Address]], extra: Extra) -> _Plan:
        counts: dict[Network, int] = {}
        for after, _ in found:
            counts[after.cidr] = counts.get(after.cidr, 0) + 1
        seen = self._known.handles.get(handle_name(request.handle))
        raised = (handles.raising(seen, request.handle, counts),) if request.handle else ()
        given = tuple(ip_interface((address, after.cidr.prefixlen)) for after, address in found)
        return _Plan({b.cidr: b for b, _ in found}, (*raised, *extra([a for _, a in found])), given)

    def _reserved(self) -> list[Network]:
        return [cidr for item in self._known.reservations.values() for cidr in item.cidrs]

    def _refresh(self, block: IPAMBlock) -> IPAMBlock:
        return blocks.collect(block, now=self._now(), cooldown=self._known.configuration.cooldown)

    def _at_hand(self) -> dict[Network, IPAMBlock]:
        return {cidr: self._refresh(seen.value) for cidr, seen in self._known.blocks.items()}

    # --- carrying out -----------------------------------------------------------------------------------

    def _carry(self, job: _Job) -> Sequence[Interface]:
        """Wait for the turn, do all that waits, and answer; often somebody else has done it meanwhile."""
        with self._queue:
            self._waiting.append(job)
        with self._turn:
            if not job.done:
                with self._queue:
                    jobs, self._waiting = self._waiting, []
                self._carry_out(jobs)
        if job.error is not None:
            raise job.error
        return job.given

    def _carry_out(self, jobs: Sequence[_Job]) -> None:
        alone = self._together(jobs) if len(jobs) > 1 and self._is_warm() else jobs
        for job in alone:
            try:
                job.given = self._alone(job)
            except BaseException as e:  # noqa: BLE001 - raised again in the caller's own thread
                job.error = e
            job.done = True

    def _is_warm(self) -> bool:
        return self._store.atomic and self._known.synced

    def _together(self, jobs: Sequence[_Job]) -> Sequence[_Job]:
        """Carry jobs out in one write; return those that have to go alone, all of them when it was lost."""
        at_hand, changed = self._at_hand(), dict[Network, IPAMBlock]()
        planned: list[tuple[_Job, _Plan]] = []
        alone, keys = [], set[tuple[object, ...]]()
        for job in jobs:
            try:
                plan = job.plan(at_hand)
            except Exception:  # noqa: BLE001 - it is asked again alone, and then its caller hears
                alone.append(job)
                continue
            own = [_key(write) for write in plan.writes]
            if keys.intersection(own):  # two for one container: one after the other
                alone.append(job)
                continue
            keys.update(own)
            at_hand |= plan.blocks
            changed |= plan.blocks
            planned.append((job, plan))
        if not planned or not self._write(changed, [write for _, plan in planned for write in plan.writes]):
            return jobs
        for job, plan in planned:
            job.given, job.done = plan.given, True
        return alone

    def _write(self, changed: Mapping[Network, IPAMBlock], others: Sequence[Write]) -> bool:
        try:
            self._store_all(changed, others)
        except _LOST:
            return False
        return True

    def _alone(self, job: _Job) -> Sequence[Interface]:
        """Carry one job out, whatever it takes."""
        if not self._is_warm():
            return self._go_the_long_way(job)
        if not self._known.read:
            self._read()
        for _ in range(records.TRIES):
            try:
                plan = job.plan(self._at_hand())
            except _NotAtHand:
                if not job.fetch():
                    return self._go_the_long_way(job)
                continue
            try:
                self._store_all(plan.blocks, plan.writes)
            except _LOST:
                if not self._look_again(plan.blocks, job.handle):
                    raise  # nothing of ours had changed: it was a write of the caller's own
                continue
            return plan.given
        raise Conflict(f"node {self._owner.host!r}: {records.TRIES} writers were faster")

    def _store_all(self, changed: Mapping[Network, IPAMBlock], others: Sequence[Write]) -> None:
        known = self._known
        updates = [Update(blocks.written(after), known.blocks[cidr].revision) for cidr, after in changed.items()]
        writes: list[Write] = [*others, *updates]
        for write, stored in zip(writes, self._store.write(writes), strict=True):
            if isinstance(write, Delete) and write.kind is IPAMHandle:
                known.handles.pop(write.name, None)
            elif stored is not None and isinstance(stored.value, IPAMHandle):
                known.handles[stored.value.meta.name] = Stored(stored.value, stored.revision)
            elif stored is not None and isinstance(stored.value, IPAMBlock):
                known.blocks[stored.value.cidr] = Stored(stored.value, stored.revision)

    def _go_the_long_way(self, job: _Job) -> Sequence[Interface]:
        """Do without memory; then memory knows less than before and reads again."""
        self._known.handles.pop(handle_name(job.handle), None)
        self._known.read = False
        return job.the_long_way()

    # --- reading ----------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Read the blocks that the node has."""
        found = (item.value for item in self._store.list(BlockAffinity).items)
        mine = [a for a in found if Affinity(a.node, a.type) == self._owner and a.state is AffinityState.CONFIRMED]
        self._known.blocks.clear()
        for affinity in sorted(mine, key=lambda a: order(a.cidr)):
            self._read_block(affinity.cidr)
        self._known.read = True

    def _read_block(self, cidr: Network) -> None:
        seen = records.find(self._store, IPAMBlock, cidr_name(cidr))
        if seen is not None and seen.value.affinity == self._owner:
            self._known.blocks[cidr] = seen
        else:
            self._known.blocks.pop(cidr, None)

    def _keep(self, seen: Stored[IPAMBlock]) -> None:
        kept = self._known.blocks | {seen.value.cidr: seen}
        self._known.blocks = dict(sorted(kept.items(), key=lambda item: order(item[0])))

    def _claim(self, wanted: Iterable[tuple[Family, Request]]) -> bool:
        """Claim a block for each family that has no free address at hand."""
        fetched = False
        for of, request in wanted:
            try:
                self._next(of, request, self._at_hand())
            except _NotAtHand:
                claimed = self._allocator.claim_block(of, request, reclaim=True)
                if claimed is None:
                    return False
                self._keep(claimed)
                fetched = True
        return fetched

    def _find(self, handle: str) -> bool:
        """Find a handle that was there before us."""
        name = handle_name(handle)
        seen = None if name in self._known.handles else handles.find(self._store, handle)
        if seen is None or any(cidr not in self._known.blocks for cidr in seen.value.blocks):
            return False
        self._known.handles[name] = seen
        return True

    def _look_again(self, touched: Iterable[Network], handle: str) -> bool:
        """Read again what a lost write was planned with; tell whether any of it had changed."""
        known, name = self._known, handle_name(handle)
        before = {cidr: known.blocks.get(cidr) for cidr in touched}
        handle_before = known.handles.get(name)
        for cidr in before:
            self._read_block(cidr)
        _put(known.handles, name, handles.find(self._store, handle) if handle else None)
        same = all(known.blocks.get(cidr) == seen for cidr, seen in before.items())
        return not same or known.handles.get(name) != handle_before


V = TypeVar("V")


def _put(where: dict[str, V], key: str, value: V | None) -> None:
    if value is None:
        where.pop(key, None)
    else:
        where[key] = value


def _key(write: Write) -> tuple[object, ...]:
    if isinstance(write, Delete):
        return write.kind, write.namespace, write.name
    return type(write.value), write.value.meta.namespace, write.value.meta.name
