"""What the store says of nodes and their native addresses, kept up to date one event at a time. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Final, TypeVar

from cloudnet.addresses import plan
from cloudnet.ipam import native
from cloudnet.model.addresses import Family, InterfaceId, Network, NodeName, family
from cloudnet.model.cloud_addresses import CloudAddresses, CloudPrefix, PrefixState
from cloudnet.model.resources import AffinityState, BlockAffinity, IPAMBlock, Node, Resource
from cloudnet.store.api import Event, EventType, Revision, Stored

K = TypeVar("K")
V = TypeVar("V")

KINDS: tuple[type[Resource], ...] = (Node, BlockAffinity, IPAMBlock, CloudAddresses)
"""What has to be heard."""

POD_LIMIT: Final = "cloudnet.io/pod-limit"
"""Annotation of a Node: how many pods it runs at most."""


class Books:
    """Nodes, the records of their native addresses, and their blocks with the pods in them."""

    def __init__(self) -> None:
        self.nodes: dict[NodeName, Node] = {}
        self.records: dict[NodeName, Stored[CloudAddresses]] = {}
        self._affinities: dict[NodeName, dict[Network, BlockAffinity]] = defaultdict(dict)
        self._pods: dict[NodeName, dict[Network, int]] = defaultdict(dict)  # {block: addresses of pods}
        self._host: dict[Network, NodeName] = {}  # whose a block is

    def names(self) -> Collection[NodeName]:
        """Return every node there is, or of which something is recorded."""
        return dict.fromkeys((*self.nodes, *self.records)).keys()

    # --- what is heard --------------------------------------------------------------------------------------

    def hear(self, event: Event[Resource]) -> Collection[NodeName]:
        """Take a change in; return the nodes that it matters to."""
        value, gone = event.value, event.type is EventType.DELETED
        match value:
            case Node():
                _put(self.nodes, value.name, None if gone else value)
                return (value.name,)
            case BlockAffinity() if value.type == "host":
                _put(self._affinities[value.node], value.cidr, None if gone else value)
                return (value.node,)
            case IPAMBlock():
                return self._block(value, gone=gone)
            case CloudAddresses():
                self.recorded(value, None if gone else event.revision)
                return (NodeName(value.meta.name),)
        return ()

    def recorded(self, value: CloudAddresses, revision: Revision | None) -> None:
        """Note what the store holds of a node's native addresses; without a revision, nothing any more."""
        record = None if revision is None else Stored(value, revision)
        _put(self.records, NodeName(value.meta.name), record)

    def _block(self, block: IPAMBlock, *, gone: bool) -> Collection[NodeName]:
        owner = block.affinity if block.affinity is not None and block.affinity.type == "host" else None
        host = owner.host if owner is not None and not gone else None
        touched = []
        before = self._host.get(block.cidr)
        if before is not None and before != host:
            self._pods[before].pop(block.cidr, None)
            touched.append(before)
        _put(self._host, block.cidr, host)
        if host is not None and self._pods[host].get(block.cidr) != (count := pods_of(block)):
            self._pods[host][block.cidr] = count
            touched.append(host)
        return touched

    # --- what is asked --------------------------------------------------------------------------------------

    def record(self, node: NodeName) -> CloudAddresses | None:
        stored = self.records.get(node)
        return stored.value if stored else None

    def leaving(self, node: NodeName) -> tuple[CloudPrefix, ...]:
        """Return the recorded prefixes that are on their way out."""
        record = self.record(node)
        return tuple(p for p in record.prefixes if p.state is PrefixState.LEAVING) if record else ()

    def pods(self, node: NodeName, of: Family) -> int:
        """Return how many addresses of a family the node's pods have, whichever block they are of."""
        return sum(count for block, count in self._pods.get(node, {}).items() if family(block) is of)

    def used(self, node: NodeName, cidrs: Iterable[Network]) -> Mapping[Network, int]:
        """Return ``{prefix: how many of its addresses pods have}``."""
        taken = self._pods.get(node, {})
        return {c: sum(taken[b] for b in plan.inside(taken, c)) for c in cidrs}

    def adopted(self, node: NodeName, block: Network, interface: InterfaceId) -> bool:
        """Tell whether a block is the node's, and native by this interface."""
        found = self._affinities.get(node, {}).get(block)
        if found is None or found.state is not AffinityState.CONFIRMED:
            return False
        return found.meta.labels.get(native.LABEL) == interface

    def blocks(self, node: NodeName, inside: Network) -> tuple[Network, ...]:
        """Return the node's blocks in a prefix, in whatever state."""
        return tuple(plan.inside(self._affinities.get(node, {}), inside))

    def speaks_of(self, interface: InterfaceId, cidrs: Collection[Network]) -> bool:
        """Tell whether a node's record has the interface, or anybody's block lies in what it delivers."""
        if any(s.value.interface(interface) for n, s in self.records.items() if n in self.nodes):
            return True
        return any(plan.inside(own, c) for own in self._affinities.values() for c in cidrs)

    def uid(self, node: NodeName) -> str:
        """Return the uid of a node, empty where there is no such node."""
        found = self.nodes.get(node)
        return found.meta.uid if found else ""

    def pod_limit(self, node: NodeName) -> str:
        """Return what the node says of its pod limit, if anything."""
        return self.nodes[node].meta.annotations.get(POD_LIMIT, "")


def pods_of(block: IPAMBlock) -> int:
    """Return how many addresses of a block pods have: tunnel ends and the like say their type."""
    attributes = block.attributes
    return sum(
        1
        for index in block.allocations
        if index is not None and attributes[index].released_at is None and "type" not in attributes[index].owner
    )


def _put(where: dict[K, V], key: K, value: V | None) -> None:
    if value is None:
        where.pop(key, None)
    else:
        where[key] = value
