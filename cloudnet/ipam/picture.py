"""All of address management as a store holds it at one moment, and who stands behind each address. Decides nothing.

Blocks are read before the endpoints and nodes that must justify them: whoever has an address was there before he
got it, so what is missing later has really gone.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from cloudnet.ipam import block as blocks
from cloudnet.model.addresses import Address, Network, NodeName
from cloudnet.model.resources import (
    AllocationAttribute,
    BlockAffinity,
    IPAMBlock,
    IPAMHandle,
    IPPool,
    IPReservation,
    Node,
)
from cloudnet.model.workloads import WorkloadEndpoint
from cloudnet.store.api import Store, Stored

POD, NAMESPACE, NODE, TYPE = "pod", "namespace", "node", "type"
"""Keys of ``AllocationAttribute.owner``. Calico ``libcalico-go/lib/ipam/ipam.go``."""

TUNNELS: Final = frozenset(
    {
        "ipipTunnelAddress",
        "vxlanTunnelAddress",
        "vxlanV6TunnelAddress",
        "wireguardTunnelAddress",
        "wireguardV6TunnelAddress",
    }
)
"""Values of ``TYPE`` for addresses that a node's own devices have."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """One address that somebody has; ``sequence`` is the number to release it with."""

    address: Address
    block: Network
    attribute: AllocationAttribute
    sequence: int

    @property
    def handle(self) -> str:
        return blocks.handle_of(self.attribute) or ""

    @property
    def node(self) -> NodeName:
        return NodeName(self.attribute.owner.get(NODE, ""))

    @property
    def is_tunnel(self) -> bool:
        return self.attribute.owner.get(TYPE) in TUNNELS


class Standing(enum.Enum):
    """Whether somebody is there to have an address."""

    VALID = "valid"
    NODE_GONE = "node gone"
    NODE_AWAY = "node away"  # it has no Node, and still pods
    OWNER_GONE = "owner gone"


class Owners:
    """Who may have addresses: the nodes there are, and their endpoints. Follows Calico ``node/ipam.go``."""

    def __init__(self, nodes: Iterable[Node], endpoints: Iterable[WorkloadEndpoint]) -> None:
        self._nodes = {node.name for node in nodes}
        self._endpoints: dict[tuple[str, str], list[WorkloadEndpoint]] = {}
        self._inhabited: set[NodeName] = set()
        for endpoint in endpoints:
            if endpoint.networks:
                self._inhabited.add(endpoint.node)
            self._endpoints.setdefault((endpoint.meta.namespace, endpoint.pod), []).append(endpoint)

    def is_node(self, name: NodeName) -> bool:
        return name in self._nodes

    def is_gone(self, name: NodeName) -> bool:
        """Tell whether a node has gone for good: who deletes a Node may make it anew while its pods go on."""
        return name not in self._nodes and name not in self._inhabited

    def standing(self, of: Allocation) -> Standing:
        """Tell whether an address has its owner; one of which nobody noted the owner has."""
        owner = of.attribute.owner
        if of.handle.lower() == blocks.WINDOWS_HANDLE:
            return Standing.VALID
        if of.node and not self.is_node(of.node):
            return Standing.NODE_GONE if self.is_gone(of.node) else Standing.NODE_AWAY
        if of.is_tunnel or not owner.get(POD):
            return Standing.VALID
        found = self._endpoints.get((owner.get(NAMESPACE, ""), owner[POD]), ())
        has_it = any(e.node == of.node and _holds(e, of.address) for e in found)
        return Standing.VALID if has_it else Standing.OWNER_GONE


def _holds(endpoint: WorkloadEndpoint, address: Address) -> bool:
    return any(network.network_address == address for network in endpoint.networks)


@dataclass(frozen=True, slots=True)
class Picture:
    """What a store holds. What is about to be deleted is left out."""

    blocks: tuple[IPAMBlock, ...]
    affinities: tuple[Stored[BlockAffinity], ...]
    handles: tuple[Stored[IPAMHandle], ...]
    pools: tuple[IPPool, ...]
    reservations: tuple[IPReservation, ...]
    endpoints: tuple[WorkloadEndpoint, ...]
    nodes: tuple[Node, ...]

    @property
    def owners(self) -> Owners:
        return Owners(self.nodes, self.endpoints)

    def allocations(self) -> Iterator[Allocation]:
        for block in self.blocks:
            yield from allocations(block)


def take(store: Store) -> Picture:
    """Read a picture; the order is what the head of this file says."""
    found = [item.value for item in store.list(IPAMBlock).items]
    affinities = store.list(BlockAffinity).items
    handles = store.list(IPAMHandle).items
    return Picture(
        blocks=tuple(block for block in found if not block.deleted),
        affinities=tuple(item for item in affinities if not item.value.deleted),
        handles=tuple(item for item in handles if not item.value.deleted),
        pools=tuple(item.value for item in store.list(IPPool).items),
        reservations=tuple(item.value for item in store.list(IPReservation).items),
        endpoints=tuple(item.value for item in store.list(WorkloadEndpoint).items),
        nodes=tuple(item.value for item in store.list(Node).items),
    )


def allocations(block: IPAMBlock) -> Iterator[Allocation]:
    """Yield what somebody has of a block, lowest first; what cools down belongs to nobody."""
    for ordinal, index in enumerate(block.allocations):
        if index is not None and block.attributes[index].released_at is None:
            yield Allocation(
                blocks.address(block, ordinal),
                block.cidr,
                block.attributes[index],
                block.sequence_numbers.get(ordinal, 0),
            )


def borrowed(picture: Picture) -> Iterator[tuple[Allocation, IPAMBlock]]:
    """Yield the addresses whose node is not the one that their block belongs to."""
    for block in picture.blocks:
        host = block.affinity.host if block.affinity else None
        for allocation in allocations(block):
            if allocation.node and allocation.node != host:
                yield allocation, block


def held(picture: Picture) -> Mapping[str, Mapping[Network, int]]:
    """Return how many addresses each handle has: {handle: {block: count}}."""
    found: dict[str, dict[Network, int]] = {}
    for block in picture.blocks:
        for handle, count in blocks.held(block).items():
            found.setdefault(handle, {})[block.cidr] = count
    return found
