"""Which pools a request may use, and which block a node takes next. Nothing here reads or writes anything.

Blocks of one node lie together, so that few cloud routes lead to it: the next block is the free one that shares
the longest prefix with a block the node has already, and a node's first block begins an aligned run of free ones
that it can grow into. Where it begins is a hash of the node's name, as with Calico, so that nodes seldom want the
same one and a node that tries again wants the same as before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from cloudnet.ipam.errors import NoPool
from cloudnet.model.addresses import Address, Family, Network, NodeName, family
from cloudnet.model.resources import AllowedUse, AssignmentMode, IPPool

Matches = Callable[[str, Mapping[str, str]], bool]
"""Tells whether a Calico selector selects what has these labels."""

RUN: Final = 4
"""A node's first block begins a free run of 2**RUN blocks where there is one: 16, close to the usual limit of 20."""

SPARE: Final = 1 / 4
"""Nobody claims ahead of need when no more than this part of the blocks is free: nodes yet to come need one each."""


def ready(block: int) -> int:
    """Return how many free addresses a node keeps at hand, of blocks with so many addresses: a quarter of one.

    Not a whole one: nearly every node would have a second block then, and a second route in every cloud table.
    """
    return max(1, block // 4)


# --- pools --------------------------------------------------------------------------------------------------


def pools_for(
    pools: Iterable[IPPool],
    of: Family,
    *,
    node: NodeName,
    use: AllowedUse,
    named: Sequence[Network],
    selects: Callable[[IPPool], bool],
) -> tuple[IPPool, ...]:
    """Return the pools that a request may use, by name.

    Pools that the request names are used whatever their selectors say. Calico ``ipam.go`` determinePools.

    Raises:
        NoPool: there is none; the message says why.
    """
    enabled = [pool for pool in pools if not pool.disabled and family(pool.cidr) is of]
    if named:
        chosen = _named(enabled, [cidr for cidr in named if family(cidr) is of])
    else:
        chosen = [p for p in enabled if p.assignment_mode is AssignmentMode.AUTOMATIC and selects(p)]
        if not chosen:
            raise NoPool(
                f"no IPv{of} pool selects node {node!r} and its pod's namespace: there are "
                f"{_list(enabled) or 'none enabled'}; see their nodeSelector, namespaceSelector and assignmentMode"
            )
    usable = tuple(sorted((p for p in chosen if use in p.allowed_uses), key=lambda p: p.meta.name))
    if not usable:
        raise NoPool(f"no IPv{of} pool of {_list(chosen)} allows {use.value!r}: see spec.allowedUses")
    return usable


def selects(
    pool: IPPool, matches: Matches, node_labels: Mapping[str, str], namespace_labels: Mapping[str, str]
) -> bool:
    """Tell whether a pool is for this node and namespace."""
    return matches(pool.node_selector, node_labels) and (
        not pool.namespace_selector or matches(pool.namespace_selector, namespace_labels)
    )


def _named(enabled: Iterable[IPPool], named: Sequence[Network]) -> list[IPPool]:
    by_cidr = {pool.cidr: pool for pool in enabled}
    for cidr in named:
        if cidr not in by_cidr:
            raise NoPool(f"there is no enabled pool {cidr}: there are {', '.join(map(str, by_cidr)) or 'none'}")
    return [by_cidr[cidr] for cidr in named]


def _list(pools: Iterable[IPPool]) -> str:
    return ", ".join(f"{pool.meta.name!r} ({pool.cidr})" for pool in pools)


def pool_of(pools: Iterable[IPPool], inside: Network) -> IPPool | None:
    """Return the pool that a block or an address lies in."""
    return next((p for p in pools if p.cidr.version == inside.version and _contains(p.cidr, inside)), None)


def pool_with(pools: Iterable[IPPool], address: Address) -> IPPool | None:
    """Return the pool that an address lies in."""
    return next((p for p in pools if p.cidr.version == address.version and address in p.cidr), None)


def _contains(outer: Network, inner: Network) -> bool:
    start, end = _interval(outer)
    first, last = _interval(inner)
    return start <= first and last <= end


def _interval(prefix: Network) -> tuple[int, int]:
    return int(prefix.network_address), int(prefix.broadcast_address)


def block_of(pool: IPPool, address: Address) -> Network:
    """Return the block of a pool that an address belongs to."""
    return _block(pool, (int(address) - int(pool.cidr.network_address)) // _size(pool))


# --- blocks -------------------------------------------------------------------------------------------------


def _size(pool: IPPool) -> int:
    return 1 << (pool.cidr.max_prefixlen - pool.block_size)


def _block(pool: IPPool, index: int) -> Network:
    first = int(pool.cidr.network_address) + index * _size(pool)
    if isinstance(pool.cidr, IPv4Network):
        return IPv4Network((first, pool.block_size))
    return IPv6Network((first, pool.block_size))


def next_block(
    pool: IPPool, host: NodeName, *, own: Iterable[Network], taken: Iterable[Network], reserved: Iterable[Network]
) -> Network | None:
    """Return the free block of a pool that a node takes next; nothing when there is none.

    ``taken`` are all blocks there are, the node's ``own`` among them; ``reserved`` covers addresses, and a block
    counts as taken when all of it is reserved.
    """
    gone = _merged([*_indices(pool, taken, partly=True), *_indices(pool, reserved, partly=False)])
    mine = [first for first, _ in _indices(pool, own, partly=True)]
    index = _beside(pool, mine, gone)
    return None if index is None and (index := _apart(pool, host, gone)) is None else _block(pool, index)


def _beside(pool: IPPool, mine: Sequence[int], gone: Sequence[tuple[int, int]]) -> int | None:
    """Return the lowest free index among those that share the longest prefix with one of ours."""
    for level in range(1, min(RUN, pool.block_size - pool.cidr.prefixlen) + 1):
        for group in sorted({index >> level for index in mine}):
            first = group << level
            index = _gap(gone, first, first + (1 << level))
            if index is not None:
                return index
    return None


def _apart(pool: IPPool, host: NodeName, gone: Sequence[tuple[int, int]]) -> int | None:
    """Return the first index of a free aligned run, as long as there is one, from the host's own place on."""
    bits = pool.block_size - pool.cidr.prefixlen
    for level in range(min(RUN, bits), -1, -1):
        groups = 1 << (bits - level)
        taken = _merged([(first >> level, last >> level) for first, last in gone])
        start = fnv1(host) % groups
        group = _gap(taken, start, groups)
        if group is None:
            group = _gap(taken, 0, start)
        if group is not None:
            return group << level
    return None


def plenty(pools: Iterable[IPPool], taken: Sequence[Network]) -> bool:
    """Tell whether so many blocks of some pools are free that a node may claim one before it needs it."""
    total = gone = 0
    for pool in pools:
        total += 1 << (pool.block_size - pool.cidr.prefixlen)
        gone += sum(last - first + 1 for first, last in _merged(_indices(pool, taken, partly=True)))
    return total - gone > total * SPARE


def rotated(pool: IPPool, host: NodeName, existing: Iterable[Network]) -> list[Network]:
    """Return the blocks of a pool that exist, from the host's own place on, wrapping around."""
    start = fnv1(host) % (1 << (pool.block_size - pool.cidr.prefixlen))
    inside = [(first, cidr) for cidr in existing for first, _ in _indices(pool, [cidr], partly=True)]
    return [cidr for _, cidr in sorted(inside, key=lambda item: (item[0] < start, item[0]))]


def fnv1(text: str) -> int:
    """Return FNV-1, 32 bits, as Calico takes it of a host name (Go ``hash/fnv`` New32)."""
    value = 0x811C9DC5
    for byte in text.encode():
        value = (value * 0x01000193) & 0xFFFFFFFF ^ byte
    return value


def _indices(pool: IPPool, prefixes: Iterable[Network], *, partly: bool) -> list[tuple[int, int]]:
    """Return which blocks prefixes cover, partly or wholly, as (first, last) counted from the pool's start."""
    start, end = _interval(pool.cidr)
    size, found = _size(pool), []
    for prefix in prefixes:
        first, last = _interval(prefix)
        if prefix.version != pool.cidr.version or last < start or first > end:
            continue
        first, last = max(first, start) - start, min(last, end) - start
        low, high = (first // size, last // size) if partly else (-(-first // size), (last + 1) // size - 1)
        if low <= high:
            found.append((low, high))
    return found


def _merged(intervals: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the same numbers as intervals in order, none touching another."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(intervals):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged


def _gap(taken: Sequence[tuple[int, int]], start: int, end: int) -> int | None:
    """Return the first number from ``start`` on, below ``end``, that no interval holds; they are merged."""
    for first, last in taken:
        if last < start:
            continue
        if first > start:
            break
        start = last + 1
    return start if start < end else None
