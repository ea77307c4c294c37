"""One node's addresses kept ready in memory: a pod gets or gives back its own with one request to the store.

    taking, giving_back ──▶ jobs ──carry_out──▶ planned on the blocks in memory, one write for all of them

Memory is never trusted: every write compares and swaps on the revisions that were planned with. Whoever loses reads
again and plans again, alone, so that none suffers from another; what memory cannot answer (no free address at hand, a
handle of unknown blocks) goes the long way through ``ColdLeases``. A store without transactions gets the same writes
one by one, in the order of ``handles.py``: a handle before its block, an endpoint last; the endpoint is the caller's
to write, after its turn. So the invariants are those of ``allocator.py``, whoever else writes. Not for several
threads at once: ``cloudnet/agent/addresses.py`` takes turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_interface
from typing import TypeAlias

from cloudnet.ipam import block as blocks
from cloudnet.ipam import choose, handles, records
from cloudnet.ipam.allocator import Allocator, Request
from cloudnet.ipam.choose import Matches
from cloudnet.ipam.errors import AddressTaken, NoPool
from cloudnet.ipam.known import Known
from cloudnet.ipam.leases import ColdLeases, Extra
from cloudnet.model.addresses import Address, Family, Interface, Network, NodeName, family
from cloudnet.model.calico_ipam import handle_name
from cloudnet.model.resources import Affinity, IPAMBlock, IPAMHandle, Resource
from cloudnet.store.api import AlreadyExists, Conflict, Delete, Event, NotFound, Store, Stored, Update, Write

_LOST = (AlreadyExists, Conflict, NotFound)
"""What tells that somebody else wrote first, or that a write of the caller's own cannot be."""


class _NotAtHand(Exception):
    """Memory has no answer."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a job changes: blocks as they are to be, its handle, and others; ``given`` is the caller's answer."""

    blocks: Mapping[Network, IPAMBlock]
    handle: Write | None
    others: tuple[Write, ...]
    given: tuple[Interface, ...] = ()

    @property
    def writes(self) -> tuple[Write, ...]:
        """Everything but the blocks."""
        return self.others if self.handle is None else (self.handle, *self.others)


@dataclass(slots=True, eq=False)
class Job:
    """One call on its way. ``plan`` is asked again with newer blocks when somebody was faster."""

    handle: str
    plan: Callable[[Mapping[Network, IPAMBlock]], Plan]
    fetch: Callable[[], bool]  # what the plan misses; tells whether there is something new to plan with
    the_long_way: Callable[[], Sequence[Interface]]
    cold: bool = False  # the caller goes the long way, or what is left of it, and holds up nobody
    done: bool = False
    given: Sequence[Interface] = ()
    error: BaseException | None = None


_Found: TypeAlias = tuple[IPAMBlock, Address]  # a block after the address is given, and the address


class Warm:
    """The addresses of one node."""

    def __init__(self, store: Store, node: NodeName, *, now: Callable[[], datetime], matches: Matches) -> None:
        self._store = store
        self._now = now
        self._allocator = Allocator(store, now=now, matches=matches)
        self._cold = ColdLeases(self._allocator, store)
        self._known = Known(store, Affinity(node), now=now, matches=matches)

    @property
    def is_warm(self) -> bool:
        """Whether memory may be used: the store has told of its pools."""
        return self._known.synced

    def heard(self, events: Iterable[Event[Resource]], *, synced: bool) -> None:
        """Take in changes of ``known.KINDS``; ``synced`` once everything has been told."""
        self._known.hear(events, synced=synced)

    # --- what callers want ------------------------------------------------------------------------------

    def taking(self, families: Sequence[Family], requests: Sequence[Request], extra: Extra) -> Job:
        """Return the job of ``Leases.take``."""
        wanted = list(zip(families, requests, strict=True))
        return Job(
            requests[0].handle,
            plan=lambda at_hand: self._giving(
                requests[0], [self._next(of, request, at_hand) for of, request in wanted], extra
            ),
            fetch=lambda: self._claim_for(wanted),
            the_long_way=lambda: self._cold.take(families, requests, extra),
        )

    def taking_named(self, addresses: Sequence[Address], request: Request, extra: Extra) -> Job:
        """Return the job of ``Leases.take_named``."""

        def plan(at_hand: Mapping[Network, IPAMBlock]) -> Plan:
            edited, found = dict(at_hand), []
            for address in addresses:
                after = self._named(address, request, edited)
                edited[after.cidr] = after
                found.append((after, address))
            return self._giving(request, found, extra)

        return Job(
            request.handle,
            plan,
            fetch=lambda: False,
            the_long_way=lambda: self._cold.take_named(addresses, request, extra),
        )

    def giving_back(self, handle: str, writes: Sequence[Write]) -> Job:
        """Return the job of ``Leases.give_back``."""

        def plan(at_hand: Mapping[Network, IPAMBlock]) -> Plan:
            seen = self._known.handles.get(handle_name(handle))
            if seen is None or any(cidr not in at_hand for cidr in seen.value.blocks):
                raise _NotAtHand
            freed = {
                cidr: self._known.refresh(blocks.release_by_handle(at_hand[cidr], handle, now=self._now()).block)
                for cidr in seen.value.blocks
            }
            return Plan(freed, Delete(IPAMHandle, seen.value.meta.name, expected=seen.revision), tuple(writes))

        def the_long_way() -> Sequence[Interface]:
            self._cold.give_back(handle, writes)
            return ()

        return Job(handle, plan, fetch=lambda: self._known.find(handle), the_long_way=the_long_way)

    # --- keeping enough at hand ---------------------------------------------------------------------------

    def lacking(self, request: Request) -> tuple[Family, ...]:
        """Return the families of which fewer addresses are free than ``choose.ready`` says."""
        self._known.read()
        return tuple(of for of in Family if self._lacks(of, request))

    def _lacks(self, of: Family, request: Request) -> bool:
        try:
            pools = self._known.usable(of, request)
        except NoPool:
            return False
        own = [block for cidr, block in self._known.at_hand().items() if choose.pool_of(pools, cidr)]
        size = 1 << (pools[0].cidr.max_prefixlen - pools[0].block_size)
        return sum(len(blocks.free(block, self._known.reserved(block))) for block in own) < choose.ready(size)

    def claim(self, of: Family, request: Request) -> Stored[IPAMBlock] | None:
        """Claim the next block for ``keep``; this touches no memory, so it needs no turn.

        Blocks of others stay theirs, even empty ones: those are for who has no address at all.
        """
        return self._allocator.claim_block(of, request, reclaim=False)

    def keep(self, claimed: Stored[IPAMBlock]) -> None:
        self._known.keep(claimed)

    def _claim_for(self, wanted: Iterable[tuple[Family, Request]]) -> bool:
        """Claim a block for each family that has no free address at hand; tell whether that brought something."""
        fetched = False
        for of, request in wanted:
            try:
                self._next(of, request, self._known.at_hand())
            except _NotAtHand:
                claimed = self._allocator.claim_block(of, request, reclaim=True)
                if claimed is None:
                    return False
                self._known.keep(claimed)
                fetched = True
        return fetched

    # --- planning ---------------------------------------------------------------------------------------

    def _next(self, of: Family, request: Request, at_hand: Mapping[Network, IPAMBlock]) -> _Found:
        for cidr in self._candidates(of, request, at_hand):
            block = at_hand[cidr]
            reserved = self._known.reserved(block)
            after, given = blocks.auto_assign(block, 1, request.attribute, reserved=reserved)
            if given:
                return after, given[0]
        raise _NotAtHand

    def _candidates(self, of: Family, request: Request, at_hand: Iterable[Network]) -> list[Network]:
        natives = [cidr for cidr in at_hand if request.native and family(cidr) is of and cidr in self._known.natives]
        try:
            pools = self._known.usable(of, request)
        except NoPool:
            if natives:
                return natives
            raise _NotAtHand from None  # the store may know of one that we have not heard of yet
        return natives + [c for c in at_hand if family(c) is of and choose.pool_of(pools, c) is not None]

    def _named(self, address: Address, request: Request, at_hand: Mapping[Network, IPAMBlock]) -> IPAMBlock:
        pool = choose.pool_with(self._known.pools, address)
        block = at_hand.get(choose.block_of(pool, address)) if pool else None
        if pool is None or block is None or pool.disabled or request.use not in pool.allowed_uses:
            raise _NotAtHand  # the long way knows what to do, or the words for it
        try:
            return blocks.assign(block, address, request.attribute)
        except AddressTaken:
            raise _NotAtHand from None  # as far as we know; it may be free by now

    def _giving(self, request: Request, found: Sequence[_Found], extra: Extra) -> Plan:
        counts: dict[Network, int] = {}
        for after, _ in found:
            counts[after.cidr] = counts.get(after.cidr, 0) + 1
        seen = self._known.handles.get(handle_name(request.handle))
        raised = handles.raising(seen, request.handle, counts) if request.handle else None
        given = tuple(ip_interface((address, after.cidr.prefixlen)) for after, address in found)
        return Plan({b.cidr: b for b, _ in found}, raised, tuple(extra([a for _, a in found])), given)

    # --- carrying out -----------------------------------------------------------------------------------

    def carry_out(self, jobs: Sequence[Job]) -> None:
        """Do all jobs, in one write if possible; each is done then, with its answer or its error, or ``cold``."""
        for job in self._together(jobs) if len(jobs) > 1 and self.is_warm and self._store.atomic else jobs:
            try:
                job.given = self._alone(job)
            except BaseException as e:  # noqa: BLE001 - raised again in the caller's own thread
                job.error = e
            job.done = True

    def _together(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """Carry jobs out in one write; return those that have to go alone, all of them when it was lost."""
        at_hand, changed = self._known.at_hand(), dict[Network, IPAMBlock]()
        planned: list[tuple[Job, Plan]] = []
        alone, keys = list[Job](), set[tuple[object, ...]]()
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
        try:
            self._write(changed, [write for _, plan in planned for write in plan.writes])
        except Exception:  # noqa: BLE001 - the same
            return jobs
        for job, plan in planned:
            job.given, job.done = plan.given, True
        return alone

    def _alone(self, job: Job) -> Sequence[Interface]:
        """Carry one job out, whatever it takes."""
        if not self.is_warm:
            return self._leave(job)
        self._known.read()
        for _ in range(records.TRIES):
            try:
                plan = job.plan(self._known.at_hand())
            except _NotAtHand:
                if not job.fetch():
                    return self._leave(job)
                continue
            try:
                if self._store.atomic:
                    self._write(plan.blocks, plan.writes)
                else:
                    self._write_one_by_one(job, plan)
            except _LOST:
                if not self._known.look_again(plan.blocks, job.handle):
                    raise  # nothing of ours had changed: it was a write of the caller's own
                continue
            return plan.given
        raise Conflict(f"handle {job.handle!r}: {records.TRIES} writers were faster")

    def _write(self, changed: Mapping[Network, IPAMBlock], others: Sequence[Write]) -> None:
        known = self._known
        updates = [Update(blocks.written(after), known.blocks[cidr].revision) for cidr, after in changed.items()]
        writes: list[Write] = [*others, *updates]
        if not writes:
            return
        for write, stored in zip(writes, self._store.write(writes), strict=True):
            if isinstance(write, Delete) and write.kind is IPAMHandle:
                known.handles.pop(write.name, None)
            elif stored is not None and isinstance(stored.value, IPAMHandle):
                known.handles[stored.value.meta.name] = Stored(stored.value, stored.revision)
            elif stored is not None and isinstance(stored.value, IPAMBlock):
                known.blocks[stored.value.cidr] = Stored(stored.value, stored.revision)

    # --- on stores that are not atomic --------------------------------------------------------------------

    def _write_one_by_one(self, job: Job, plan: Plan) -> None:
        """Carry a plan out in an order that is safe to stop in; new addresses' endpoint is left to the caller."""
        if not plan.given:
            self._free(job, plan)
            return
        given = list[Interface]()
        try:
            for cidr, after in plan.blocks.items():
                inside = [one for one in plan.given if one.ip in cidr]
                self._give(job.handle, after, len(inside))
                given += inside
        except BaseException:
            self._cold.undo(given, job.handle)  # one family without the other would be a leak
            raise
        job.cold = True
        job.the_long_way = lambda: self._cold.complete(plan.given, job.handle, plan.others)

    def _give(self, handle: str, after: IPAMBlock, count: int) -> None:
        """Raise the handle's count, then write the block; take the count back if somebody else was first there."""
        name = handle_name(handle)
        before = self._known.handles.get(name)
        if handle:
            self._write({}, [handles.raising(before, handle, {after.cidr: count})])
        try:
            self._write({after.cidr: after}, ())
        except _LOST:
            if handle:
                now = self._known.handles[name].revision
                handles.withdraw(self._store, handles.Promise(handle, before.value if before else None, now))
            raise

    def _free(self, job: Job, plan: Plan) -> None:
        """Write what the caller wants, then the blocks, then the handle that memory had before them.

        Once the caller's writes are done they cannot be lost any more: the long way does the rest.
        """
        if plan.others:
            self._store.write(plan.others)
        try:
            for cidr, after in plan.blocks.items():
                self._write({cidr: after}, ())
            self._write({}, [plan.handle] if plan.handle else ())
        except _LOST:
            self._leave(job)
            job.the_long_way = lambda: self._freed(job.handle)

    def _freed(self, handle: str) -> Sequence[Interface]:
        self._cold.give_back(handle, ())
        return ()

    def _leave(self, job: Job) -> Sequence[Interface]:
        """Leave a job to ``the_long_way``: it takes many requests, and its caller goes it while others have turns."""
        self._known.forget(job.handle)
        job.cold = True
        return ()


def _key(write: Write) -> tuple[object, ...]:
    if isinstance(write, Delete):
        return write.kind, write.namespace, write.name
    return type(write.value), write.value.meta.namespace, write.value.meta.name
