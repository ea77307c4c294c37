"""What nobody needs any more: leaked addresses, empty handles, idle blocks, affinities without a block.

``review`` decides from one picture of the store and from when each suspect was first seen; ``sweep.py`` takes back
what a review found. Whatever has an owner that might only not be seen yet gets a grace period, and so does what hangs
on a node that was deleted while pods of it stand; what hangs on one that has gone with its pods does not.
A suspect that changed in between is another suspect. Follows Calico
``kube-controllers/pkg/controllers/node/ipam.go``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from cloudnet.ipam import block as blocks
from cloudnet.ipam import choose, native
from cloudnet.ipam import picture as pictures
from cloudnet.ipam.picture import Picture, Standing
from cloudnet.model.addresses import Address, Network, NodeName, order
from cloudnet.store.api import Revision


@dataclass(frozen=True, slots=True)
class LeakedAddress:
    """An address whose owner is not there."""

    address: Address
    handle: str
    sequence: int


@dataclass(frozen=True, slots=True)
class EmptyHandle:
    """A handle that has no address anywhere."""

    handle: str
    revision: Revision


@dataclass(frozen=True, slots=True)
class IdleBlock:
    """A block of a node in which nobody has an address."""

    node: NodeName
    block: Network
    sequence: int


@dataclass(frozen=True, slots=True)
class LoneAffinity:
    """A node's affinity for a block that is not its own, or not there."""

    node: NodeName
    block: Network
    revision: Revision


Suspect: TypeAlias = LeakedAddress | EmptyHandle | IdleBlock | LoneAffinity


@dataclass(frozen=True, slots=True)
class Review:
    """What was found: every suspect with when it was first seen, and those that may go now."""

    suspects: Mapping[Suspect, float] = field(default_factory=dict, hash=False)
    due: tuple[Suspect, ...] = ()


# --- deciding -----------------------------------------------------------------------------------------------


def review(picture: Picture, since: Mapping[Suspect, float], *, now: float, grace: float) -> Review:
    """Return who is suspect and who may go. Times are monotonic seconds; ``since`` is the last review's suspects."""
    at_once: set[Suspect] = set()
    found: list[Suspect] = []
    for suspect, node_gone in _suspects(picture):
        found.append(suspect)
        if node_gone:
            at_once.add(suspect)
    suspects = {suspect: since.get(suspect, now) for suspect in found}
    ripe = [s for s, first in suspects.items() if s in at_once or (s in since and now - first >= grace)]
    return Review(suspects, (*_whole_handles(picture, ripe), *_sparing_some(picture, ripe)))


def _suspects(picture: Picture) -> Iterator[tuple[Suspect, bool]]:
    """Yield each suspect, and whether its node has gone: then nobody can come back to it."""
    owners = picture.owners
    for allocation in picture.allocations():
        standing = owners.standing(allocation)
        if standing is not Standing.VALID:
            leaked = LeakedAddress(allocation.address, allocation.handle, allocation.sequence)
            yield leaked, standing is Standing.NODE_GONE
    held = pictures.held(picture)
    for handle in picture.handles:
        if handle.value.handle not in held:
            yield EmptyHandle(handle.value.handle, handle.revision), False
    own = {(b.affinity.host, b.cidr): b for b in picture.blocks if b.affinity and b.affinity.type == "host"}
    clouds = {(a.value.node, a.value.cidr) for a in picture.affinities if native.is_native(a.value)}
    for (node, cidr), block in own.items():
        if blocks.is_empty(block) and (node, cidr) not in clouds:
            yield IdleBlock(node, cidr, block.sequence_number), owners.is_gone(node)
    for affinity in picture.affinities:
        value = affinity.value
        if value.type == "host" and (value.node, value.cidr) not in own:
            yield LoneAffinity(value.node, value.cidr, affinity.revision), owners.is_gone(value.node)


def _whole_handles(picture: Picture, ripe: Iterable[Suspect]) -> Iterator[Suspect]:
    """Yield leaked addresses of which the whole handle has leaked: a pod is there with all its addresses or not."""
    leaked = [suspect for suspect in ripe if isinstance(suspect, LeakedAddress)]
    by_handle: defaultdict[str, set[Address]] = defaultdict(set)
    for suspect in leaked:
        by_handle[suspect.handle].add(suspect.address)
    if not leaked:
        return
    kept = {a.handle for a in picture.allocations() if a.handle and a.address not in by_handle.get(a.handle, ())}
    yield from (suspect for suspect in leaked if suspect.handle not in kept)


def _sparing_some(picture: Picture, ripe: Iterable[Suspect]) -> Iterator[Suspect]:
    """Yield all others, but leave a living node the free addresses that it keeps at hand."""
    owners = picture.owners
    free: defaultdict[tuple[NodeName, int], int] = defaultdict(int)
    clouds = {(a.value.node, a.value.cidr) for a in picture.affinities if native.is_native(a.value)}
    for block in picture.blocks:
        if block.affinity is not None and (block.affinity.host, block.cidr) not in clouds:
            free[block.affinity.host, block.cidr.version] += len(block.unallocated)
    idle = sorted((s for s in ripe if isinstance(s, IdleBlock)), key=lambda s: order(s.block), reverse=True)
    for suspect in idle:
        key, size = (suspect.node, suspect.block.version), suspect.block.num_addresses
        if free[key] - size >= choose.ready(size) or not owners.is_node(suspect.node):
            free[key] -= size
            yield suspect
    yield from (suspect for suspect in ripe if isinstance(suspect, EmptyHandle | LoneAffinity))
