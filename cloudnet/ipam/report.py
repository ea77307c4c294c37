"""How full pools and blocks are, and who has an address: ``cloudnet ipam show``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cloudnet.ipam import block as blocks
from cloudnet.ipam import choose
from cloudnet.ipam import picture as pictures
from cloudnet.ipam.audit import described
from cloudnet.ipam.picture import Picture
from cloudnet.model.addresses import Address, Network, family, order
from cloudnet.model.resources import IPAMBlock


@dataclass(frozen=True, slots=True)
class Usage:
    """How many addresses of a pool or block are taken; what cools down is in use, as nobody can have it."""

    grouping: str
    cidr: Network
    node: str
    total: int
    in_use: int
    reserved: int
    free: int


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has one address."""

    address: Address
    block: Network
    block_of: str
    node: str
    owner: str
    handle: str
    attributes: tuple[tuple[str, str], ...] = ()


def usage(picture: Picture, *, each_block: bool = False) -> tuple[Usage, ...]:
    """Return each pool's usage in the order of addresses, each block's after its pool's when asked for.

    Blocks of no pool come last. A pool counts all its addresses, those of blocks that nobody made yet as well.
    """
    found: list[Usage] = []
    seen: set[Network] = set()
    reserved = [cidr for reservation in picture.reservations for cidr in reservation.cidrs]
    for pool in sorted(picture.pools, key=lambda one: order(one.cidr)):
        own = [block for block in picture.blocks if choose.pool_of([pool], block.cidr)]
        rows = [_block_usage(block, reserved) for block in own]
        seen |= {block.cidr for block in own}
        in_use = sum(row.in_use for row in rows)
        kept = _covered(pool.cidr, reserved) - sum(_reserved_in_use(block, reserved) for block in own)
        total = pool.cidr.num_addresses
        found.append(Usage(f"pool {pool.meta.name}", pool.cidr, "", total, in_use, kept, total - in_use - kept))
        found += rows if each_block else ()
    found += [_block_usage(block, reserved) for block in picture.blocks if block.cidr not in seen]
    return tuple(found)


def _block_usage(block: IPAMBlock, reserved: Iterable[Network]) -> Usage:
    total = len(block.allocations)
    in_use = sum(index is not None for index in block.allocations)
    kept = len(blocks.reserved(block, reserved)) - _reserved_in_use(block, reserved)
    owner = block.affinity.host if block.affinity else ""
    return Usage("block", block.cidr, owner, total, in_use, kept, total - in_use - kept)


def _reserved_in_use(block: IPAMBlock, reserved: Iterable[Network]) -> int:
    return sum(1 for ordinal in blocks.reserved(block, reserved) if block.allocations[ordinal] is not None)


def _covered(inside: Network, cidrs: Iterable[Network]) -> int:
    """Return how many addresses of a prefix others cover, each counted once."""
    first, last = int(inside.network_address), int(inside.broadcast_address)
    total, end = 0, first - 1
    same = (cidr for cidr in cidrs if family(cidr) is family(inside))
    for cidr in sorted(same, key=order):
        low = max(int(cidr.network_address), end + 1)
        high = min(int(cidr.broadcast_address), last)
        if low <= high:
            total += high - low + 1
            end = high
    return total


def holders(picture: Picture, wanted: Iterable[Address]) -> tuple[Holder, ...]:
    """Return who has which of these addresses."""
    asked = frozenset(wanted)
    owner_of = {block.cidr: str(block.affinity or "") for block in picture.blocks}
    return tuple(
        Holder(
            found.address,
            found.block,
            owner_of[found.block],
            found.node,
            described(found),
            found.handle,
            tuple(sorted(found.attribute.owner.items())),
        )
        for found in picture.allocations()
        if found.address in asked
    )


def borrowers(picture: Picture) -> tuple[Holder, ...]:
    """Return the addresses that nodes have from blocks of others, or of nobody."""
    return holders(picture, (allocation.address for allocation, _ in pictures.borrowed(picture)))
