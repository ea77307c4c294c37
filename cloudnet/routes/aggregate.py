"""Fewer routes for the same blocks: the union of adjacent blocks that lead to one place. Pure.

A union is used only when it is exactly the blocks, so it can never cover an address of somebody else. The planner
asks for it when a table is too small for a route a block; see docs/design/controller.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network

from cloudnet.model.addresses import Network

V6 = 1 << 137  # above the highest IPv6 key without it


def key(prefix: Network) -> int:
    """Return the prefix as one integer; integers order as ``addresses.order`` does, and hash many times faster."""
    number = int(prefix.network_address) << 8 | prefix.prefixlen
    return number | V6 if prefix.version == 6 else number  # noqa: PLR2004  the version is its own name


def prefix(of: int) -> Network:
    """Return the prefix of a key."""
    if of >= V6:
        return IPv6Network(((of ^ V6) >> 8, of & 0xFF))
    return IPv4Network((of >> 8, of & 0xFF))


def widened(of: int, length: int) -> int:
    """Return the key of the prefix of that length around ``of``; ``length`` is not above its own."""
    bits = 128 if of >= V6 else 32
    return of >> (8 + bits - length) << (8 + bits - length) | length


def unions(blocks: Iterable[int]) -> Mapping[int, tuple[int, ...]]:
    """Return ``{union: the blocks it covers}``, all of one next hop; a block that meets no other is its own union."""
    members: dict[int, tuple[int, ...]] = {}
    for block in sorted(set(blocks)):
        inside = next((w for n in range(block & 0xFF) if (w := widened(block, n)) in members), None)
        if inside is None:
            members[block] = (block,)
        else:
            members[inside] += (block,)
    waiting = sorted(members, key=lambda m: -(m & 0xFF))  # the longest first, so that unions can meet again
    while waiting:
        one = waiting.pop(0)
        if one not in members or one & 0xFF == 0:
            continue
        parent = widened(one, (one & 0xFF) - 1)
        other = _sibling(one, parent)
        if other in members:
            members[parent] = tuple(sorted(members.pop(one) + members.pop(other)))
            waiting.insert(0, parent)
    return members


def _sibling(one: int, parent: int) -> int:
    """Return the other half of ``parent``."""
    bits = 128 if one >= V6 else 32
    half = 1 << (8 + bits - (one & 0xFF))
    low = parent - (parent & 0xFF) + (one & 0xFF)
    return low if one != low else low + half
