"""Take back what a review found, unless it has an owner by now or has changed hands."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cloudnet.ipam import picture as pictures
from cloudnet.ipam.allocator import Allocator
from cloudnet.ipam.block import Release
from cloudnet.ipam.collect import EmptyHandle, IdleBlock, LeakedAddress, LoneAffinity, Suspect
from cloudnet.ipam.errors import StaleRelease
from cloudnet.ipam.picture import Allocation, Owners, Standing
from cloudnet.model.addresses import Address
from cloudnet.model.resources import IPAMBlock, Node
from cloudnet.model.workloads import WorkloadEndpoint
from cloudnet.store.api import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Swept:
    """What was taken back."""

    addresses: int = 0
    handles: int = 0
    blocks: int = 0


def sweep(store: Store, allocator: Allocator, due: Iterable[Suspect]) -> Swept:
    """Take back what may go; return how much of it really went.

    Raises:
        Conflict, StoreUnavailable: the rest waits for the next review.
    """
    found = list(due)
    leaked = [suspect for suspect in found if isinstance(suspect, LeakedAddress)]
    addresses = sum(_release(allocator, handle, some) for handle, some in _still_leaked(store, leaked).items())
    handles = 0
    for suspect in found:
        if isinstance(suspect, EmptyHandle):
            allocator.release_by_handle(suspect.handle)
            handles += 1
    let_go = [s for s in found if isinstance(s, IdleBlock | LoneAffinity)]
    gone = sum(allocator.release_block(suspect.node, suspect.block) for suspect in let_go)
    return Swept(addresses, handles, gone)


def _still_leaked(store: Store, leaked: list[LeakedAddress]) -> Mapping[str, list[LeakedAddress]]:
    """Return those that still have no owner: the picture may be old by now. {handle: its addresses}."""
    if not leaked:
        return {}
    wanted = {suspect.address: suspect for suspect in leaked}
    now: dict[Address, Allocation] = {}
    for item in store.list(IPAMBlock).items:
        now |= {a.address: a for a in pictures.allocations(item.value) if a.address in wanted}
    nodes = [item.value for item in store.list(Node).items]
    owners = Owners(nodes, (item.value for item in store.list(WorkloadEndpoint).items))
    still: dict[str, list[LeakedAddress]] = {}
    for address, suspect in wanted.items():
        if address in now and owners.standing(now[address]) is not Standing.VALID:
            still.setdefault(suspect.handle or str(address), []).append(suspect)
    return still


def _release(allocator: Allocator, handle: str, leaked: list[LeakedAddress]) -> int:
    try:
        missing = allocator.release_ips(Release(s.address, s.handle, s.sequence) for s in leaked)
    except StaleRelease as error:
        log.debug("not leaked any more handle=%s reason=%r", handle, str(error))
        return 0
    freed = [s.address for s in leaked if s.address not in missing]
    if freed:
        log.info("released leaked addresses handle=%s addresses=%s", handle, ",".join(map(str, freed)))
    return len(freed)
