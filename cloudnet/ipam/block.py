"""One block of addresses: who has which, and the queue of those that are free. Values in, values out.

block.assign(before, address, attribute)    → the block after it; the caller compares and swaps it in

Nothing here reads a clock or a store, and nothing writes ``sequence_number`` but ``written``, which every write
to a store goes through. Follows Calico ``libcalico-go/lib/ipam/ipam_block.go``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address

from cloudnet.ipam.errors import AddressTaken, StaleRelease
from cloudnet.model.addresses import Address, Network
from cloudnet.model.calico import cidr_name
from cloudnet.model.resources import Affinity, AllocationAttribute, IPAMBlock, Metadata

WINDOWS_HANDLE = "windows-reserved-ipam-handle"
"""Calico's handle for the addresses of a block that Windows needs itself; they belong to no pod."""


def new(cidr: Network, affinity: Affinity, *, now: datetime, sequence: int) -> IPAMBlock:
    """Return a block with every address free, lowest first.

    ``sequence`` is the time in nanoseconds: a block that is deleted and made again must not repeat numbers, or a
    late release would take an address from its next owner.
    """
    size = cidr.num_addresses
    return IPAMBlock(
        Metadata(cidr_name(cidr)),
        cidr,
        affinity=affinity,
        claimed_at=now,
        allocations=(None,) * size,
        unallocated=tuple(range(size)),
        sequence_number=sequence,
    )


def written(block: IPAMBlock) -> IPAMBlock:
    """Return the block as it goes into the store: every write has a sequence number of its own."""
    return replace(block, sequence_number=block.sequence_number + 1)


# --- looking ------------------------------------------------------------------------------------------------


def address(block: IPAMBlock, ordinal: int) -> Address:
    first = block.cidr.network_address
    # Not first + ordinal: mypy cannot tell that adding keeps the family, and the class is as fast.
    return IPv4Address(int(first) + ordinal) if isinstance(first, IPv4Address) else IPv6Address(int(first) + ordinal)


def ordinal(block: IPAMBlock, address: Address) -> int:
    """Return an address's distance from the block's first; the address must be inside."""
    if address not in block.cidr:
        raise ValueError(f"{address} is not in block {block.cidr}")
    return int(address) - int(block.cidr.network_address)


def attribute(block: IPAMBlock, address: Address) -> AllocationAttribute | None:
    """Return whose an address is; nothing when it is free or cools down."""
    index = block.allocations[ordinal(block, address)]
    found = None if index is None else block.attributes[index]
    return None if found is None or found.released_at else found


def sequence(block: IPAMBlock, address: Address) -> int:
    """Return the number to release an address with; 0 where Calico never noted one."""
    return block.sequence_numbers.get(ordinal(block, address), 0)


def is_empty(block: IPAMBlock) -> bool:
    """Tell whether nobody has an address here and none cools down; what Windows keeps for itself does not count."""
    return all(
        index is None or (handle_of(block.attributes[index]) or "").lower() == WINDOWS_HANDLE
        for index in block.allocations
    )


def free(block: IPAMBlock, reserved: Collection[int] = ()) -> tuple[int, ...]:
    """Return the ordinals that can be given, the next one first."""
    return tuple(o for o in block.unallocated if o not in reserved)


def handle_of(attribute: AllocationAttribute) -> str | None:
    r"""Return the handle; what follows a ``\r`` is old damage (projectcalico/cni-plugin issue 821)."""
    return None if attribute.handle is None else attribute.handle.split("\r", 1)[0]


def held(block: IPAMBlock) -> Mapping[str, int]:
    """Return how many addresses each handle has here: {handle: count}."""
    handles = [handle_of(block.attributes[index]) for index in block.allocations if index is not None]
    return Counter(handle for handle in handles if handle is not None)


def addresses_of(block: IPAMBlock, handle: str) -> tuple[Address, ...]:
    """Return what a handle has here, lowest first."""
    wanted = {i for i, found in enumerate(block.attributes) if handle_of(found) == handle}
    return tuple(address(block, o) for o, index in enumerate(block.allocations) if index in wanted)


# --- giving -------------------------------------------------------------------------------------------------


def auto_assign(
    block: IPAMBlock, count: int, attribute: AllocationAttribute, *, reserved: Collection[int] = ()
) -> tuple[IPAMBlock, tuple[Address, ...]]:
    """Give away the next free addresses; fewer than asked when the block is full.

    Reserved ordinals are passed over and keep their place in the queue.
    """
    taken = free(block, reserved)[:count]
    return _give(block, taken, attribute), tuple(address(block, o) for o in taken)


def assign(block: IPAMBlock, wanted: Address, attribute: AllocationAttribute) -> IPAMBlock:
    """Give away one address.

    Raises:
        AddressTaken: somebody has it, or it cools down.
    """
    at = ordinal(block, wanted)
    index = block.allocations[at]
    if index is not None:
        found = block.attributes[index]
        if found.released_at:
            raise AddressTaken(f"address {wanted} cools down since {found.released_at}: try again later")
        raise AddressTaken(f"address {wanted} belongs to handle {handle_of(found)!r}: release it first")
    return _give(block, (at,), attribute)


def _give(block: IPAMBlock, ordinals: tuple[int, ...], attribute: AllocationAttribute) -> IPAMBlock:
    if not ordinals:
        return block
    attributes, index = _with_attribute(block.attributes, attribute)
    gone = set(ordinals)
    return replace(
        block,
        allocations=tuple(index if o in gone else found for o, found in enumerate(block.allocations)),
        unallocated=tuple(o for o in block.unallocated if o not in gone),
        attributes=attributes,
        sequence_numbers={**block.sequence_numbers, **dict.fromkeys(ordinals, block.sequence_number)},
    )


def _with_attribute(
    attributes: tuple[AllocationAttribute, ...], attribute: AllocationAttribute
) -> tuple[tuple[AllocationAttribute, ...], int]:
    """Return the attributes with this one among them, and where it stands; equal ones are kept once."""
    if attribute in attributes:
        return attributes, attributes.index(attribute)
    return (*attributes, attribute), len(attributes)


# --- taking back --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Release:
    """One address to take back, and what the caller believes of it; what is left out is not compared."""

    address: Address
    handle: str = ""
    sequence: int | None = None


@dataclass(frozen=True, slots=True)
class Released:
    """A block after a release: what was taken back, what had been free before, and {handle: addresses it lost}."""

    block: IPAMBlock
    addresses: tuple[Address, ...] = ()
    unallocated: tuple[Address, ...] = ()
    handles: Mapping[str, int] = field(default_factory=dict, hash=False)


def release(block: IPAMBlock, releases: Iterable[Release], *, now: datetime) -> Released:
    """Take addresses back; they cool down until ``collect`` puts them into the queue.

    Raises:
        StaleRelease: one of them is not what the caller believes; then none is taken back.
    """
    once = {wanted.address: wanted for wanted in releases}
    for wanted in once.values():
        _check_sequence(block, wanted)
    owned = {a: found for a in once if (found := attribute(block, a)) is not None}
    for a, found in owned.items():
        _check_handle(once[a], handle_of(found))
    ordinals = frozenset(ordinal(block, a) for a in owned)
    handles = Counter(handle for found in owned.values() if (handle := handle_of(found)) is not None)
    return Released(_cool(block, ordinals, now), tuple(owned), tuple(a for a in once if a not in owned), handles)


def _check_sequence(block: IPAMBlock, wanted: Release) -> None:
    found = sequence(block, wanted.address)
    if wanted.sequence not in {None, found}:
        raise StaleRelease(
            f"address {wanted.address} was given with sequence number {found}, not {wanted.sequence}: look again"
        )


def _check_handle(wanted: Release, found: str | None) -> None:
    if wanted.handle and wanted.handle != found:
        raise StaleRelease(f"address {wanted.address} belongs to handle {found!r}, not {wanted.handle!r}: look again")


def release_by_handle(block: IPAMBlock, handle: str, *, now: datetime) -> Released:
    """Take back whatever a handle has here."""
    return release(block, (Release(a, handle) for a in addresses_of(block, handle)), now=now)


def _cool(block: IPAMBlock, ordinals: frozenset[int], now: datetime) -> IPAMBlock:
    """Take the owner from ordinals; a number of their own keeps a second, late release off the next owner."""
    if not ordinals:
        return block
    attributes, index = _with_attribute(block.attributes, AllocationAttribute(released_at=now))
    return _without_unused_attributes(
        replace(
            block,
            allocations=tuple(index if o in ordinals else found for o, found in enumerate(block.allocations)),
            attributes=attributes,
            sequence_numbers={**block.sequence_numbers, **dict.fromkeys(ordinals, block.sequence_number)},
        )
    )


def collect(block: IPAMBlock, *, now: datetime, cooldown: float) -> IPAMBlock:
    """Put addresses that were released ``cooldown`` seconds ago or earlier at the end of the queue."""
    due = now - timedelta(seconds=cooldown)
    ready = sorted(
        (released_at, o)
        for o, index in enumerate(block.allocations)
        if index is not None and (released_at := block.attributes[index].released_at) and released_at <= due
    )
    if not ready:
        return block
    ordinals = [o for _, o in ready]
    gone = set(ordinals)
    return _without_unused_attributes(
        replace(
            block,
            allocations=tuple(None if o in gone else index for o, index in enumerate(block.allocations)),
            unallocated=(*block.unallocated, *ordinals),
            sequence_numbers={o: number for o, number in block.sequence_numbers.items() if o not in gone},
        )
    )


def _without_unused_attributes(block: IPAMBlock) -> IPAMBlock:
    """Drop the attributes that no allocation points at, and count the others anew."""
    used = sorted({index for index in block.allocations if index is not None})
    if len(used) == len(block.attributes):
        return block
    moved = {old: new for new, old in enumerate(used)}
    return replace(
        block,
        allocations=tuple(None if index is None else moved[index] for index in block.allocations),
        attributes=tuple(block.attributes[index] for index in used),
    )


# --- reservations -------------------------------------------------------------------------------------------


def reserved(block: IPAMBlock, cidrs: Iterable[Network]) -> Collection[int]:
    """Return the ordinals that reservations cover."""
    first, size = int(block.cidr.network_address), block.cidr.num_addresses
    found: set[int] = set()
    for cidr in cidrs:
        if cidr.version == block.cidr.version and cidr.overlaps(block.cidr):
            start = max(int(cidr.network_address) - first, 0)
            end = min(int(cidr.broadcast_address) - first, size - 1)
            found.update(range(start, end + 1))
    return found
