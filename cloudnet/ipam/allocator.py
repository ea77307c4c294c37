"""Give addresses to pods and tunnels, and take them back: Calico's IPAM on any store.

ipam = Allocator(store, now=clock, matches=selects)
ipam.auto_assign(Family.IPV4, 1, Request(node, handle="k8s-pod-network.abc", owner={"pod": "web"}))
ipam.release_by_handle("k8s-pod-network.abc")

Any number of allocators may work on one store, in any process, and be killed at any moment: docs/design/ipam.md
says what holds all the same. Whoever is not sure whether a call succeeded releases by handle and calls again.
Follows Calico ``libcalico-go/lib/ipam/ipam.go``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from ipaddress import ip_interface
from typing import Final

from cloudnet.ipam import affinity, choose, handles, native, records, release
from cloudnet.ipam import block as blocks
from cloudnet.ipam.affinity import Moment
from cloudnet.ipam.block import Release
from cloudnet.ipam.choose import Matches
from cloudnet.ipam.errors import BlockLimit, ClaimLost, IpamError, NoFreeAddress, NoPool, NotOurBlock
from cloudnet.ipam.release import Refresh
from cloudnet.model.addresses import Address, Family, Interface, Network, NodeName, family, order
from cloudnet.model.calico import affinity_name, cidr_name
from cloudnet.model.calico_ipam import CONFIGURATION
from cloudnet.model.resources import (
    Affinity,
    AffinityState,
    AllocationAttribute,
    AllowedUse,
    BlockAffinity,
    IPAMBlock,
    IPAMConfiguration,
    IPPool,
    IPReservation,
    Metadata,
)
from cloudnet.store.api import Conflict, NotFound, Store, Stored

MAX_BLOCKS: Final = 20
"""Blocks that a host may have when nobody says otherwise. Calico ``ipam.go``."""

RECLAIM_AGE: Final = timedelta(minutes=1)
"""How long an empty block stays its owner's when others need it. Calico EmptyBlockMinReclaimAge."""


@dataclass(frozen=True, slots=True)
class Request:
    """For whom an address is: it decides which pools and blocks may be used, and is noted beside the address.

    ``pools`` names the ranges to use, whatever their selectors say; ``max_blocks`` of 0 sets no limit of its own.
    ``native`` asks for addresses that the cloud gave the node first, see ``native.py``, and for those of pools only
    where these are out. Nobody else gets the cloud's.
    Addresses without a handle can be released one by one only.
    """

    node: NodeName
    handle: str = ""
    owner: Mapping[str, str] = field(default_factory=dict, hash=False)
    use: AllowedUse = AllowedUse.WORKLOAD
    node_labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    namespace_labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    pools: tuple[Network, ...] = ()
    max_blocks: int = 0
    native: bool = False

    @property
    def host(self) -> Affinity:
        return Affinity(self.node)

    @property
    def attribute(self) -> AllocationAttribute:
        return AllocationAttribute(self.handle or None, self.owner)


@dataclass(frozen=True, slots=True)
class _Rules:
    """What holds for one request: read once, at its beginning. ``pools`` are those that it may use."""

    configuration: IPAMConfiguration
    every_pool: tuple[IPPool, ...]
    pools: tuple[IPPool, ...]
    reserved: tuple[Network, ...]
    refresh: Refresh


_Edit = Callable[[IPAMBlock], tuple[IPAMBlock, tuple[Address, ...]]]


class Allocator:
    """Gives out and takes back the addresses of one store."""

    def __init__(self, store: Store, *, now: Callable[[], datetime], matches: Matches) -> None:
        self._store = store
        self._now = now
        self._matches = matches

    # --- giving -----------------------------------------------------------------------------------------

    def auto_assign(self, of: Family, count: int, request: Request) -> tuple[Interface, ...]:
        """Return addresses with the prefix length of their block; fewer than asked when there are no more.

        Raises:
            NoPool: no pool may be used.
            BlockLimit: the node's blocks are full, and it may have no more.
            NoFreeAddress: there is none at all.
            Conflict: too many others wrote at the same time.
        """
        if request.native:
            return self._native_first(of, count, request)
        rules = self._rules(of, request)
        mine = self._affinities(of, request)
        found: list[Interface] = []
        for cidr in self._usable(mine, request, rules):
            if len(found) < count:
                found += self._from_own(cidr, count - len(found), request, rules)
        owned, limit = len(mine), _limit(request, rules)
        while len(found) < count and owned < limit and rules.configuration.auto_allocate_blocks:
            claimed = self._claim_next(request, rules, reclaim=True)
            if claimed is None:
                break
            owned += 1
            found += self._from_own(claimed.value.cidr, count - len(found), request, rules, seen=claimed)
        if len(found) < count and owned < limit and not rules.configuration.strict_affinity:
            found += self._borrow(count - len(found), request, rules)
        if count and not found:
            raise _none_free(request, rules, owned, limit)
        return tuple(dict.fromkeys(found))  # somebody may release one before we are done, and then we get it again

    def _native_first(self, of: Family, count: int, request: Request) -> tuple[Interface, ...]:
        """Take from the blocks that the cloud chose for the node, and what they lack from pools: no pod waits."""
        found = self._natives(of, count, request)
        if len(found) == count:
            return found
        try:
            return (*found, *self.auto_assign(of, count - len(found), replace(request, native=False)))
        except NoPool as e:
            if found:
                return found
            raise NoFreeAddress(
                f"the cloud gave node {request.node!r} no IPv{of} address that is free: let it have another prefix; "
                f"and nothing takes its place: {e}"
            ) from e

    def _natives(self, of: Family, count: int, request: Request) -> tuple[Interface, ...]:
        configuration = self._configuration()
        rules = _Rules(configuration, (), (), (), self._refreshing(configuration))
        found: list[Interface] = []
        affinities = (item.value for item in self._store.list(BlockAffinity).items)
        for cidr in native.blocks_of(affinities, request.host, of):
            if len(found) < count:
                found += self._from_own(cidr, count - len(found), request, rules)
        return tuple(dict.fromkeys(found))

    def assign_ip(self, address: Address, request: Request) -> Interface:
        """Give one particular address.

        Raises:
            AddressTaken: somebody has it, or it cools down.
            NoPool: it lies in no enabled pool of the right use.
            NotOurBlock: its block belongs to another node, and affinity is strict.
            Conflict: too many others wrote at the same time.
        """
        rules = self._rules_for(address, request)
        cidr = choose.block_of(rules.pools[0], address)
        for _ in range(records.TRIES):
            seen = records.find(self._store, IPAMBlock, cidr_name(cidr)) or self._claim(cidr, request)
            if seen is not None and seen.value.affinity == request.host:
                seen = self._claimed(cidr, request)
            if seen is None:
                continue
            edit = partial(_assign, address, request, strict=rules.configuration.strict_affinity)
            if self._give(cidr, edit, request, rules, seen=seen):
                return _interface(address, cidr)
        raise Conflict(f"block {cidr}: {records.TRIES} writers were faster")

    def claim_block(self, of: Family, request: Request, *, reclaim: bool) -> Stored[IPAMBlock] | None:
        """Make one more block the node's; nothing when there is none, or the node may have no more.

        A block that is the node's already, but whose claim or release somebody left half done, is the first choice.
        ``reclaim``: an empty block that another node has had for a while will do as well. Without it nobody needs
        the block yet, and none is taken where few are left.

        Raises:
            NoPool: no pool may be used.
            Conflict: too many others wrote at the same time.
        """
        rules = self._rules(of, request)
        owned = self._affinities(of, request)
        for cidr, state in owned.items():
            if state is AffinityState.CONFIRMED or choose.pool_of(rules.pools, cidr) is None:
                continue
            found = self._claimed(cidr, request)
            if found is not None and blocks.free(found.value, blocks.reserved(found.value, rules.reserved)):
                return found
        if len(owned) >= _limit(request, rules) or not rules.configuration.auto_allocate_blocks:
            return None
        return self._claim_next(request, rules, reclaim=reclaim)

    # --- taking back ------------------------------------------------------------------------------------

    def release_ips(self, releases: Iterable[Release]) -> tuple[Address, ...]:
        """Take addresses back; return those that nobody had.

        Raises:
            StaleRelease: one is not what the caller believes; then none of its block is taken back.
            Conflict: too many others wrote at the same time.
        """
        pools, refresh = self._pools(), self._refreshing(self._configuration())
        by_block: dict[Network, list[Release]] = {}
        missing: list[Address] = []
        for wanted in releases:
            cidr = self._block_of(wanted.address, pools)
            if cidr is None:
                missing.append(wanted.address)
            else:
                by_block.setdefault(cidr, []).append(wanted)
        for cidr, some in by_block.items():
            missing += release.addresses(self._store, cidr, some, refresh=refresh, now=self._now())
        return tuple(missing)

    def release_by_handle(self, handle: str) -> tuple[Address, ...]:
        """Take back all that a handle has, and delete it; return what it had.

        Raises:
            Conflict: too many others wrote at the same time.
        """
        refresh = self._refreshing(self._configuration())
        return release.by_handle(self._store, handle, refresh=refresh, now=self._now())

    def release_block(self, node: NodeName, cidr: Network, *, in_use: bool = False) -> bool:
        """Let go of a node's block if it is empty, or also ``in_use``; tell whether it went.

        Raises:
            Conflict: too many others wrote at the same time.
        """
        refresh = self._refreshing(self._configuration())
        owner, moment = Affinity(node), self._moment()
        may_go = (lambda _: True) if in_use else blocks.is_empty
        return affinity.let_go(self._store, owner, cidr, moment, refresh=refresh, may_go=may_go)

    # --- what holds -------------------------------------------------------------------------------------

    def _rules(self, of: Family, request: Request) -> _Rules:
        configuration, every = self._configuration(), self._pools()
        usable = choose.pools_for(
            every,
            of,
            node=request.node,
            use=request.use,
            named=request.pools,
            selects=lambda pool: choose.selects(pool, self._matches, request.node_labels, request.namespace_labels),
        )
        reservations = self._store.list(IPReservation).items
        reserved = tuple(cidr for item in reservations for cidr in item.value.cidrs)
        return _Rules(configuration, every, usable, reserved, self._refreshing(configuration))

    def _rules_for(self, address: Address, request: Request) -> _Rules:
        """Return the rules for an address that is asked for by name: selectors and reservations do not hold."""
        configuration, every = self._configuration(), self._pools()
        pool = choose.pool_with(every, address)
        if pool is None:
            raise NoPool(
                f"address {address} lies in no pool: there are {', '.join(str(p.cidr) for p in every) or 'none'}"
            )
        if pool.disabled or request.use not in pool.allowed_uses:
            why = "is disabled" if pool.disabled else f"does not allow {request.use.value!r}: see spec.allowedUses"
            raise NoPool(f"address {address} lies in pool {pool.meta.name!r}, which {why}")
        return _Rules(configuration, every, (pool,), (), self._refreshing(configuration))

    def _configuration(self) -> IPAMConfiguration:
        try:
            return self._store.get(IPAMConfiguration, CONFIGURATION).value
        except NotFound:
            return IPAMConfiguration(Metadata(CONFIGURATION))

    def _pools(self) -> tuple[IPPool, ...]:
        return tuple(item.value for item in self._store.list(IPPool).items)

    def _affinities(self, of: Family, request: Request) -> dict[Network, AffinityState]:
        """Return the blocks that the node has, wants or lets go, in the order of their addresses; not the cloud's."""
        found = (item.value for item in self._store.list(BlockAffinity).items)
        whose = (a for a in found if Affinity(a.node, a.type) == request.host and not a.deleted)
        mine = (a for a in whose if not native.is_native(a))
        return {a.cidr: a.state for a in sorted(mine, key=lambda a: order(a.cidr)) if family(a.cidr) is of}

    def _usable(self, mine: Iterable[Network], request: Request, rules: _Rules) -> list[Network]:
        """Return the blocks in pools that may be used; let go of empty ones whose pool selects the node no more."""
        usable = []
        for cidr in mine:
            if choose.pool_of(rules.pools, cidr):
                usable.append(cidr)
                continue
            pool = choose.pool_of(rules.every_pool, cidr)
            if pool is not None and not self._matches(pool.node_selector, request.node_labels):
                affinity.let_go(self._store, request.host, cidr, self._moment(), refresh=rules.refresh)
        return usable

    # --- one block --------------------------------------------------------------------------------------

    def _from_own(
        self, cidr: Network, count: int, request: Request, rules: _Rules, *, seen: Stored[IPAMBlock] | None = None
    ) -> list[Interface]:
        """Take from a block that should be the node's; nothing when it turns out to be another's."""
        seen = seen or self._claimed(cidr, request)
        edit = partial(_auto_assign, count, request, rules.reserved, only_ours=True)
        return [_interface(a, cidr) for a in self._give(cidr, edit, request, rules, seen=seen)]

    def _claimed(self, cidr: Network, request: Request) -> Stored[IPAMBlock] | None:
        """Return the node's block; mend its affinity when the two do not agree."""
        mark = records.find(self._store, BlockAffinity, affinity_name(request.node, cidr))
        seen = records.find(self._store, IPAMBlock, cidr_name(cidr))
        confirmed = mark is not None and mark.value.state is AffinityState.CONFIRMED
        if seen is not None and seen.value.affinity == request.host and confirmed:
            return seen
        return self._claim(cidr, request)

    def _claim(self, cidr: Network, request: Request) -> Stored[IPAMBlock] | None:
        try:
            return affinity.claim(self._store, request.host, cidr, self._moment())
        except ClaimLost:
            return None

    def _give(
        self, cidr: Network, edit: _Edit, request: Request, rules: _Rules, *, seen: Stored[IPAMBlock] | None
    ) -> tuple[Address, ...]:
        """Give what an edit of a block gives."""
        for _ in range(records.TRIES):
            if seen is None:
                return ()
            after, given = edit(rules.refresh(seen.value))
            if not given:
                return ()
            if handles.give(self._store, request.handle, seen, after, count=len(given)):
                return given
            seen = records.find(self._store, IPAMBlock, cidr_name(cidr))
        raise Conflict(f"block {cidr}: {records.TRIES} writers were faster")

    # --- further blocks ---------------------------------------------------------------------------------

    def _claim_next(self, request: Request, rules: _Rules, *, reclaim: bool) -> Stored[IPAMBlock] | None:
        """Claim one more block; nothing when there is none to claim."""
        for _ in range(records.TRIES):
            existing = [item.value for item in self._store.list(IPAMBlock).items]
            if not reclaim and not choose.plenty(rules.pools, [block.cidr for block in existing]):
                return None
            cidr = _next_free(request, rules, existing)
            if cidr is None and reclaim:
                cidr = self._reclaim(request, rules, existing)
            if cidr is None:
                return None
            claimed = self._claim(cidr, request)
            if claimed is not None:
                return claimed
        raise Conflict(f"node {request.node!r}: {records.TRIES} others claimed the block that it wanted")

    def _reclaim(self, request: Request, rules: _Rules, existing: Iterable[IPAMBlock]) -> Network | None:
        """Free an empty block that another node has had for a while, and return it."""
        now = self._now()
        for block in existing:
            young = block.claimed_at is not None and now - block.claimed_at <= RECLAIM_AGE
            if young or block.affinity == request.host or not _fits(block, rules):
                continue
            if blocks.is_empty(rules.refresh(block)) and self._take_from(block, rules.refresh):
                return block.cidr
        return None

    def _take_from(self, block: IPAMBlock, refresh: Refresh) -> bool:
        if block.affinity is None:
            seen = records.find(self._store, IPAMBlock, cidr_name(block.cidr))
            return seen is not None and seen.value == block and records.remove(self._store, seen)
        unmoved = block.sequence_number
        return affinity.let_go(
            self._store,
            block.affinity,
            block.cidr,
            self._moment(),
            refresh=refresh,
            may_go=lambda found: found.sequence_number == unmoved and blocks.is_empty(found),
        )

    def _borrow(self, count: int, request: Request, rules: _Rules) -> list[Interface]:
        """Take from blocks of other nodes, and from those that are nobody's."""
        existing = [item.value.cidr for item in self._store.list(IPAMBlock).items if not item.value.deleted]
        found: list[Interface] = []
        for cidr in (c for pool in rules.pools for c in choose.rotated(pool, request.node, existing)):
            if len(found) >= count:
                break
            seen = records.find(self._store, IPAMBlock, cidr_name(cidr))
            edit = partial(_auto_assign, count - len(found), request, rules.reserved, only_ours=False)
            found += [_interface(a, cidr) for a in self._give(cidr, edit, request, rules, seen=seen)]
        return found

    # --- time, and where an address lies ----------------------------------------------------------------

    def _moment(self) -> Moment:
        now = self._now()
        return Moment(now, int(now.timestamp() * 1_000_000_000))

    def _refreshing(self, configuration: IPAMConfiguration) -> Refresh:
        return lambda block: blocks.collect(block, now=self._now(), cooldown=configuration.cooldown)

    def _block_of(self, address: Address, pools: Iterable[IPPool]) -> Network | None:
        """Return the block that an address lies in; an address of no pool is looked for in every block."""
        pool = choose.pool_with(pools, address)
        if pool is not None:
            return choose.block_of(pool, address)
        found = (item.value.cidr for item in self._store.list(IPAMBlock).items)
        return next((cidr for cidr in found if cidr.version == address.version and address in cidr), None)


def _limit(request: Request, rules: _Rules) -> int:
    limits = [n for n in (request.max_blocks, rules.configuration.max_blocks_per_host) if n]
    return min(limits, default=MAX_BLOCKS)


def _none_free(request: Request, rules: _Rules, owned: int, limit: int) -> IpamError:
    pools = ", ".join(f"{pool.meta.name!r} ({pool.cidr})" for pool in rules.pools)
    if owned >= limit:
        return BlockLimit(
            f"node {request.node!r} has {owned} blocks of {limit} allowed, and no free address in those of {pools}: "
            "raise maxBlocksPerHost, or move pods away"
        )
    return NoFreeAddress(f"no free address for node {request.node!r} in {pools}: add a pool, or release addresses")


def _next_free(request: Request, rules: _Rules, existing: Iterable[IPAMBlock]) -> Network | None:
    taken = {block.cidr: block.affinity for block in existing}
    own = [cidr for cidr, owner in taken.items() if owner == request.host]
    for pool in rules.pools:
        cidr = choose.next_block(pool, request.node, own=own, taken=taken, reserved=rules.reserved)
        if cidr is not None:
            return cidr
    return None


def _fits(block: IPAMBlock, rules: _Rules) -> bool:
    """Tell whether a block could be one of the pools' own, and is not wholly reserved."""
    pool = choose.pool_of(rules.pools, block.cidr)
    if pool is None or pool.block_size != block.cidr.prefixlen:
        return False
    return len(blocks.reserved(block, rules.reserved)) < block.cidr.num_addresses


def _assign(
    address: Address, request: Request, block: IPAMBlock, *, strict: bool
) -> tuple[IPAMBlock, tuple[Address, ...]]:
    if strict and block.affinity != request.host:
        raise NotOurBlock(
            f"address {address} is in block {block.cidr} of {block.affinity or 'nobody'}, and affinity is strict"
        )
    return blocks.assign(block, address, request.attribute), (address,)


def _auto_assign(
    count: int, request: Request, reserved: Sequence[Network], block: IPAMBlock, *, only_ours: bool
) -> tuple[IPAMBlock, tuple[Address, ...]]:
    if only_ours and block.affinity != request.host:
        return block, ()
    return blocks.auto_assign(block, count, request.attribute, reserved=blocks.reserved(block, reserved))


def _interface(address: Address, block: Network) -> Interface:
    return ip_interface((address, block.prefixlen))
