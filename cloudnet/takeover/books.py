"""The store's side of a handover: what host-local gave becomes what our books say, and back.

Addresses that pods have already go into the block in the very write that makes it the node's, so that there is no
moment in which one could be given twice. They keep the container's name, so that the DEL of such a pod, which comes
to us once the node is taken, frees its address. The attribute ``TAKEN_IN`` tells them from those that we gave.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

from cloudnet.cni.identity import handle
from cloudnet.ipam import affinity, handles, records, tunnel
from cloudnet.ipam import block as blocks
from cloudnet.ipam import picture as pictures
from cloudnet.ipam.affinity import Moment
from cloudnet.ipam.allocator import Allocator
from cloudnet.ipam.picture import Allocation
from cloudnet.kernel.pods import Owner
from cloudnet.model.addresses import Address, Family, Network, NodeName
from cloudnet.model.calico import affinity_name, cidr_name
from cloudnet.model.resources import (
    Affinity,
    AllocationAttribute,
    BlockAffinity,
    IPAMBlock,
)
from cloudnet.model.workloads import WorkloadEndpoint
from cloudnet.store import api
from cloudnet.store.api import NotFound, Store
from cloudnet.takeover.facts import LABEL, Held
from cloudnet.takeover.hostlocal import OURS
from cloudnet.takeover.steps import ClaimBlock, Reserve

TAKEN_IN: Final = "takeover"
"""Attribute of an address that the predecessor gave; its value is the predecessor."""


def claim(store: Store, step: ClaimBlock, held: Iterable[Held], tunnel_end: Address | None, moment: Moment) -> None:
    """Make the range the node's block, with all addresses that are given already, and the one of its VXLAN device.

    Raises:
        ClaimLost: another node has the range.
        Conflict: too many others wrote at the same time.
    """
    given = dict(_given(store, step, held, tunnel_end))
    for attribute in given.values():
        _count(store, attribute.handle or "", step.block)
    _take_up(store, step, moment)
    affinity.claim(store, Affinity(step.node), step.block, moment, filled=lambda block: _filled(block, given))
    api.change(store, BlockAffinity, affinity_name(step.node, step.block), lambda seen: _labelled(seen, step.kind))


def _given(
    store: Store, step: ClaimBlock, held: Iterable[Held], tunnel_end: Address | None
) -> Iterator[tuple[Address, AllocationAttribute]]:
    pods = _pods(store, step.node)
    for one in held:
        if one.address in step.block:
            owner = {"node": step.node, TAKEN_IN: step.kind, **pods.get(one.address, {})}
            yield one.address, AllocationAttribute(handle(Owner(step.network, one.container, one.interface)), owner)
    if tunnel_end is not None:
        owner = {"node": step.node, "type": "vxlanTunnelAddress"}
        yield tunnel_end, AllocationAttribute(tunnel.handle(step.node, Family.IPV4), owner)


def _pods(store: Store, node: NodeName) -> Mapping[Address, Mapping[str, str]]:
    """Return whose an address is, where the store knows: then it is collected when the pod has gone unheard."""
    return {
        network.network_address: {"pod": item.value.pod, "namespace": item.value.meta.namespace}
        for item in store.list(WorkloadEndpoint).items
        if item.value.node == node
        for network in item.value.networks
    }


def _count(store: Store, name: str, block: Network) -> None:
    """See to it that a handle counts one address here: before the block says so, and never twice."""
    for _ in range(records.TRIES):
        seen = handles.find(store, name)
        if seen is not None and seen.value.blocks.get(block):
            return
        if records.write(store, [handles.raising(seen, name, {block: 1})]) is not None:
            return
    raise api.Conflict(f"handle {name!r}: {records.TRIES} writers were faster")


def _take_up(store: Store, step: ClaimBlock, moment: Moment) -> None:
    """Make a block that an earlier way back left without an owner ours again, if nobody but this node is in it."""
    seen = records.find(store, IPAMBlock, cidr_name(step.block))
    if seen is None or seen.value.affinity is not None:
        return
    if all(one.node == step.node for one in pictures.allocations(seen.value)):
        ours = replace(seen.value, affinity=Affinity(step.node), claimed_at=moment.now)
        records.replace(store, seen, blocks.written(ours))


def _filled(block: IPAMBlock, given: Mapping[Address, AllocationAttribute]) -> IPAMBlock:
    for address, attribute in given.items():
        found = blocks.attribute(block, address)
        if found is None or found.handle != attribute.handle:
            block = blocks.assign(block, address, attribute)
    return block


def _labelled(seen: BlockAffinity, kind: str) -> BlockAffinity:
    return replace(seen, meta=replace(seen.meta, labels={**seen.meta.labels, LABEL: kind}))


# --- looking, and the way back ------------------------------------------------------------------------------


def allocations(store: Store, block: Network) -> Mapping[Address, Allocation]:
    """Return what the books say of a block: {address: whose}."""
    seen = records.find(store, IPAMBlock, cidr_name(block))
    return {one.address: one for one in pictures.allocations(seen.value)} if seen else {}


def is_taken_in(one: Allocation) -> bool:
    return TAKEN_IN in one.attribute.owner


def ours(store: Store, node: NodeName, block: Network | None) -> tuple[Allocation, ...]:
    """Return the addresses that pods of a node have from us, of one block or of any."""
    if block is not None:
        found = list(allocations(store, block).values())
    else:
        found = [one for item in store.list(IPAMBlock).items for one in pictures.allocations(item.value)]
    return tuple(one for one in found if one.node == node and not one.is_tunnel and not is_taken_in(one))


def container(one: Allocation, network: str) -> Held:
    """Return an address as host-local would have it."""
    name, _, interface = one.handle.removeprefix(f"{network}.").partition(".")
    return Held(one.address, name, interface or "eth0")


def owner_after(
    there: Mapping[Address, Allocation], network: str, *, switched: bool, keep_tunnel: bool
) -> Callable[[Held | None, Address], Held | None]:
    """Return whose each address is for host-local once it gives addresses again.

    What a pod has from us is that pod's. What host-local gave stays, unless we have heard since that its pod ended:
    that can only be once pods were ours (``switched``), and then our books do not have the address any more.
    """

    def owner(before: Held | None, address: Address) -> Held | None:
        one = there.get(address)
        marked = before is not None and before.container == OURS
        if one is None:
            return None if marked or switched else before
        if one.is_tunnel:
            return before if keep_tunnel else None
        return before if is_taken_in(one) and not marked else container(one, network)

    return owner


def forget(store: Store, step: Reserve, held: Iterable[Held], allocator: Allocator) -> None:
    """Take what came from host-local out of the books, handles too that were counted and then nothing more."""
    there = allocations(store, step.block).values()
    taken = {one.handle for one in there if is_taken_in(one)}
    counted = {handle(Owner(step.network, one.container, one.interface)) for one in held}
    for name in taken | counted - {one.handle for one in there}:
        allocator.release_by_handle(name)


def let_go(store: Store, one: Allocation, network: str, allocator: Allocator) -> None:
    """Take a pod of ours that has ended out of the books, its endpoint first."""
    name = container(one, network).container
    for item in store.list(WorkloadEndpoint).items:
        if item.value.node == one.node and item.value.container_id == name:
            with suppress(NotFound):
                store.delete(WorkloadEndpoint, item.value.meta.name, item.value.meta.namespace)
    allocator.release_by_handle(one.handle)


def others(store: Store, node: NodeName) -> bool:
    """Tell whether other nodes have been taken over."""
    found = (item.value for item in store.list(BlockAffinity).items)
    return any(LABEL in one.meta.labels and one.node != node for one in found)


def addresses(block: IPAMBlock) -> frozenset[Address]:
    """Return the addresses of a block that somebody has."""
    return frozenset(one.address for one in pictures.allocations(block))
