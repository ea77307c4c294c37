"""How a block becomes a node's own and stops being so.

Two documents say whose a block is: the block itself, of which there is one, and the node's affinity for it.
The block decides. An affinity is written before its block and confirmed after it; it is marked before the block
is let go and deleted after. So whatever is killed in between, a confirmed affinity without its block is the worst
that is left, and ``claim`` mends that. Follows Calico ``ipam_block_reader_writer.go``; see docs/design/ipam.md.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Final

from cloudnet.ipam import block as blocks
from cloudnet.ipam import records
from cloudnet.ipam.errors import ClaimLost
from cloudnet.model.addresses import Network
from cloudnet.model.calico import affinity_labels, affinity_name, cidr_name
from cloudnet.model.resources import Affinity, AffinityState, BlockAffinity, IPAMBlock, Metadata
from cloudnet.store.api import AlreadyExists, Conflict, Store, Stored


class Step(enum.Enum):
    """What one does to an affinity; each is one compare-and-swap."""

    CLAIM = "claim"
    CONFIRM = "confirm"
    LET_GO = "let go"
    FORGET = "forget"


ABSENT: Final = None

STEPS = MappingProxyType(
    {
        (ABSENT, Step.CLAIM): AffinityState.PENDING,
        (AffinityState.PENDING, Step.CLAIM): AffinityState.PENDING,
        (AffinityState.PENDING_DELETION, Step.CLAIM): AffinityState.PENDING,
        (AffinityState.CONFIRMED, Step.CLAIM): AffinityState.PENDING,  # its block is missing, or not looked at yet
        (AffinityState.PENDING, Step.CONFIRM): AffinityState.CONFIRMED,
        (AffinityState.PENDING, Step.LET_GO): AffinityState.PENDING_DELETION,
        (AffinityState.CONFIRMED, Step.LET_GO): AffinityState.PENDING_DELETION,
        (AffinityState.PENDING_DELETION, Step.LET_GO): AffinityState.PENDING_DELETION,
        (AffinityState.PENDING, Step.FORGET): ABSENT,  # the claim is lost
        (AffinityState.PENDING_DELETION, Step.FORGET): ABSENT,
    }
)
"""{(state, step): next state}. What is not here must not happen: above all, nobody forgets a confirmed affinity."""


def after(state: AffinityState | None, step: Step) -> AffinityState | None:
    """Return the state after a step.

    Raises:
        ValueError: the step has no place there.
    """
    try:
        return STEPS[state, step]
    except KeyError:
        raise ValueError(f"cannot {step.value} an affinity that is {state.value if state else 'absent'}") from None


@dataclass(frozen=True, slots=True)
class Moment:
    """What a new block is stamped with: the time, and the same in nanoseconds as its first sequence number."""

    now: datetime
    sequence: int


# --- becoming a node's own ----------------------------------------------------------------------------------


def _as_it_is(block: IPAMBlock) -> IPAMBlock:
    return block


def claim(
    store: Store,
    owner: Affinity,
    cidr: Network,
    moment: Moment,
    *,
    filled: Callable[[IPAMBlock], IPAMBlock] = _as_it_is,
) -> Stored[IPAMBlock]:
    """Make a block the owner's, or find that it is; return it as it stands in the store.

    ``filled`` gives addresses that somebody has already: they go in with the block, so that nobody gets one before.

    Raises:
        ClaimLost: it is somebody else's.
        Conflict: too many others wrote at the same time.
    """
    for _ in range(records.TRIES):
        pending = _pend(store, owner, cidr)
        if pending is None:
            continue
        block = _take(store, owner, cidr, moment, filled)
        if block is None:
            continue
        if block.value.affinity != owner:
            records.remove(store, pending)
            raise ClaimLost(f"block {cidr} belongs to {block.value.affinity or 'nobody, but has addresses in use'}")
        if _move(store, pending, Step.CONFIRM):
            return block
    raise Conflict(f"block {cidr}: {records.TRIES} writers were faster than {owner}")


def _pend(store: Store, owner: Affinity, cidr: Network) -> Stored[BlockAffinity] | None:
    seen = records.find(store, BlockAffinity, affinity_name(owner.host, cidr))
    if seen is not None:
        return _move(store, seen, Step.CLAIM)
    meta = Metadata(affinity_name(owner.host, cidr), labels=affinity_labels(owner, cidr))
    try:
        return store.create(BlockAffinity(meta, owner.host, cidr, AffinityState.PENDING, owner.type))
    except AlreadyExists:
        return None


def _move(store: Store, seen: Stored[BlockAffinity], step: Step) -> Stored[BlockAffinity] | None:
    """Take a step that leaves an affinity; nothing when somebody else was first."""
    state = after(seen.value.state, step)
    if state is ABSENT:
        raise ValueError(f"to {step.value} is to remove")
    return records.replace(store, seen, replace(seen.value, state=state))


def _take(
    store: Store, owner: Affinity, cidr: Network, moment: Moment, filled: Callable[[IPAMBlock], IPAMBlock]
) -> Stored[IPAMBlock] | None:
    """Create the block, or write our own anew, so that whoever is about to let it go starts over."""
    seen = records.find(store, IPAMBlock, cidr_name(cidr))
    if seen is None:
        try:
            return store.create(filled(blocks.new(cidr, owner, now=moment.now, sequence=moment.sequence)))
        except AlreadyExists:
            return None
    if seen.value.affinity != owner:
        return seen
    return records.replace(store, seen, blocks.written(filled(seen.value)))


# --- being let go -------------------------------------------------------------------------------------------


def let_go(
    store: Store,
    owner: Affinity,
    cidr: Network,
    moment: Moment,
    *,
    refresh: Callable[[IPAMBlock], IPAMBlock],
    may_go: Callable[[IPAMBlock], bool] = blocks.is_empty,
) -> bool:
    """Take a block from its owner, if it may go; tell whether it did. ``refresh`` frees what has cooled down.

    An empty block is deleted; one with addresses in use stays as nobody's until the last of them is released.
    The affinity is read before the block, and both before the mark: an owner that claims again in between changes
    one of the two, and then nothing here succeeds.
    """
    for _ in range(records.TRIES):
        affinity = records.find(store, BlockAffinity, affinity_name(owner.host, cidr))
        block = records.find(store, IPAMBlock, cidr_name(cidr))
        if affinity is None and records.find(store, BlockAffinity, affinity_name(owner.host, cidr)) is not None:
            continue  # claimed between the two readings, and the mark that would have told us is not made
        if block is not None and block.value.affinity == owner and not may_go(refresh(block.value)):
            if affinity is not None and affinity.value.state is AffinityState.PENDING_DELETION:
                claim(store, owner, cidr, moment)  # somebody began to let it go, and then it was used
            return False
        if _let_go_once(store, owner, affinity, block, refresh):
            return True
    raise Conflict(f"block {cidr}: {records.TRIES} writers were faster")


def _let_go_once(
    store: Store,
    owner: Affinity,
    affinity: Stored[BlockAffinity] | None,
    block: Stored[IPAMBlock] | None,
    refresh: Callable[[IPAMBlock], IPAMBlock],
) -> bool:
    marked = affinity and _move(store, affinity, Step.LET_GO)
    if affinity is not None and marked is None:
        return False
    if block is not None and block.value.affinity == owner and not _drop(store, block, refresh(block.value)):
        return False
    if marked is not None:
        after(marked.value.state, Step.FORGET)
        records.remove(store, marked)  # not removed when the owner claimed again: then it is the owner's
    return True


def _drop(store: Store, seen: Stored[IPAMBlock], block: IPAMBlock) -> bool:
    if blocks.is_empty(block):
        return records.remove(store, seen)
    ownerless = replace(block, affinity=None, claimed_at=None)
    return records.replace(store, seen, blocks.written(ownerless)) is not None
