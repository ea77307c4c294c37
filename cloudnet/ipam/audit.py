"""Where the books of address management disagree with each other or with the pods: ``cloudnet ipam check``.

A problem is something that a person should know of. Several of them mend themselves in time, and ``collect.py`` sees
to that; here everything is told as it stands.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from cloudnet.ipam import block as blocks
from cloudnet.ipam import choose, native
from cloudnet.ipam import picture as pictures
from cloudnet.ipam.picture import Allocation, Picture, Standing
from cloudnet.model.addresses import Address, Network, order
from cloudnet.model.resources import AffinityState, IPAMBlock


class Trouble(enum.Enum):
    """What is wrong; the value is what the command prints."""

    LEAKED = "leaked"
    TWO_OWNERS = "two owners"
    NOT_ALLOCATED = "in use, not allocated"
    NO_POOL = "in no pool"
    EMPTY_HANDLE = "handle without addresses"
    MISSING_HANDLE = "handle missing"
    LOW_COUNT = "handle counts too few"
    HIGH_COUNT = "handle counts too many"
    NO_AFFINITY = "block without affinity"
    NO_BLOCK = "affinity without block"
    TWO_AFFINITIES = "block of two nodes"
    OVERLAP = "blocks overlap"
    LOST = "addresses lost"


MEANINGS: dict[Trouble, str] = {
    Trouble.LEAKED: "whoever had it is gone; the controller takes it back after a grace period",
    Trouble.TWO_OWNERS: "two endpoints have it: one of them must be made anew",
    Trouble.NOT_ALLOCATED: "an endpoint has an address of a pool that was not given to it",
    Trouble.NO_POOL: "no pool holds it, so nobody routes or translates it as pods' addresses are",
    Trouble.EMPTY_HANDLE: "it holds nothing; the controller takes it away after a grace period",
    Trouble.MISSING_HANDLE: "addresses have it, and releasing by it would find none of them",
    Trouble.LOW_COUNT: "releasing by it may leave addresses behind",
    Trouble.HIGH_COUNT: "a crash left it so, and the next release mends it",
    Trouble.NO_AFFINITY: "a node owns the block, and no confirmed affinity says so: nobody routes it",
    Trouble.NO_BLOCK: "a node is said to have the block, and it is another's or not there",
    Trouble.TWO_AFFINITIES: "two nodes are said to have it: nobody routes it",
    Trouble.OVERLAP: "the same addresses may be given twice: the pool's block size was changed by hand",
    Trouble.LOST: "they are neither given nor in the queue of free ones, and nobody gets them",
}
"""{trouble: what it means for pods, and what becomes of it}."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One disagreement. ``subject`` is an address, a handle or a block; the rest is for ``ipam release``."""

    trouble: Trouble
    subject: str
    detail: str = ""
    address: Address | None = None
    handle: str = ""
    sequence: int | None = None


def problems(picture: Picture) -> tuple[Problem, ...]:
    """Return every disagreement, address by address, then handles, then blocks."""
    return (*_addresses(picture), *_endpoints(picture), *_handles(picture), *_affinities(picture), *_blocks(picture))


def _addresses(picture: Picture) -> Iterator[Problem]:
    owners = picture.owners
    clouds = {item.value.cidr for item in picture.affinities if native.is_native(item.value)}
    for found in picture.allocations():
        standing = owners.standing(found)
        if standing is not Standing.VALID:
            yield _of_address(Trouble.LEAKED, found, f"{standing.value}: {described(found)}")
        if found.block not in clouds and choose.pool_with(picture.pools, found.address) is None:
            yield _of_address(Trouble.NO_POOL, found, described(found))


def _of_address(trouble: Trouble, found: Allocation, detail: str) -> Problem:
    return Problem(trouble, str(found.address), detail, found.address, found.handle, found.sequence)


def described(found: Allocation) -> str:
    """Return who has an address, in a few words."""
    owner = found.attribute.owner
    if pod := owner.get(pictures.POD):
        return f"pod {owner.get(pictures.NAMESPACE, '')}/{pod} on {found.node or 'an unknown node'}"
    if found.is_tunnel:
        return f"{owner[pictures.TYPE]} of {found.node}"
    return f"handle {found.handle!r}" if found.handle else "nobody said who"


def _endpoints(picture: Picture) -> Iterator[Problem]:
    given = {found.address for found in picture.allocations()}
    users: defaultdict[Address, list[str]] = defaultdict(list)
    for endpoint in picture.endpoints:
        for network in endpoint.networks:
            users[network.network_address].append(f"{endpoint.meta.namespace}/{endpoint.meta.name}")
    for address, names in users.items():
        if len(names) > 1:
            yield Problem(Trouble.TWO_OWNERS, str(address), " and ".join(names), address)
        managed = choose.pool_with(picture.pools, address)
        if managed is not None and not managed.disabled and address not in given:
            yield Problem(Trouble.NOT_ALLOCATED, str(address), names[0], address)


def _handles(picture: Picture) -> Iterator[Problem]:
    held = pictures.held(picture)
    known = {item.value.handle: item.value.blocks for item in picture.handles}
    for handle, counts in known.items():
        if handle not in held:
            yield Problem(Trouble.EMPTY_HANDLE, handle, handle=handle)
            continue
        for block in sorted({*counts, *held[handle]}, key=order):
            said, has = counts.get(block, 0), held[handle].get(block, 0)
            if said != has:
                trouble = Trouble.LOW_COUNT if said < has else Trouble.HIGH_COUNT
                yield Problem(trouble, handle, f"{said} said, {has} in block {block}", handle=handle)
    for handle in sorted(held.keys() - known.keys()):
        if handle.lower() != blocks.WINDOWS_HANDLE:
            yield Problem(Trouble.MISSING_HANDLE, handle, f"in {', '.join(map(str, held[handle]))}", handle=handle)


def _affinities(picture: Picture) -> Iterator[Problem]:
    said: defaultdict[Network, set[str]] = defaultdict(set)
    for item in picture.affinities:
        if item.value.state is AffinityState.CONFIRMED:
            said[item.value.cidr].add(f"{item.value.type}:{item.value.node}")
    owned = {block.cidr: str(block.affinity) for block in picture.blocks if block.affinity}
    for cidr, owner in owned.items():
        if owner not in said[cidr]:
            yield Problem(Trouble.NO_AFFINITY, str(cidr), owner)
    for cidr, hosts in said.items():
        if len(hosts) > 1:
            yield Problem(Trouble.TWO_AFFINITIES, str(cidr), " and ".join(sorted(hosts)))
        for host in sorted(hosts - {owned.get(cidr, "")}):
            yield Problem(Trouble.NO_BLOCK, str(cidr), host)


def _blocks(picture: Picture) -> Iterator[Problem]:
    before: IPAMBlock | None = None
    for block in sorted(picture.blocks, key=lambda found: order(found.cidr)):
        if before is not None and before.cidr.version == block.cidr.version and before.cidr.overlaps(block.cidr):
            yield Problem(Trouble.OVERLAP, str(block.cidr), str(before.cidr))
        lost = sum(index is None for index in block.allocations) - len(block.unallocated)
        if lost:
            yield Problem(Trouble.LOST, str(block.cidr), f"{lost} of {block.cidr.num_addresses}")
        before = block
