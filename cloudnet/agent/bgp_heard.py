"""What the store has said of the things that BGP is decided on. Pure.

Kept apart from what the path manager hears: the two are on threads of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from cloudnet.agent.blocks import NO_BLOCKS, Blocks
from cloudnet.agent.borrowed import Borrowed
from cloudnet.bgp.picture import Picture
from cloudnet.model.addresses import NodeName
from cloudnet.model.calico_bgp import BGPConfiguration, BGPPeer
from cloudnet.model.calico_bgp_filter import BGPFilter
from cloudnet.model.resources import BlockAffinity, IPAMBlock, IPPool, Node, Resource
from cloudnet.routes.claims import counts, pool_of
from cloudnet.store.api import Event, EventType

K = TypeVar("K")
V = TypeVar("V")

KINDS: tuple[type[Resource], ...] = (Node, IPPool, BlockAffinity, BGPConfiguration, BGPPeer, BGPFilter)
"""What must be watched for this; strays come apart."""


class BgpHeard:
    """Resources as one node sees them. Hearing answers whether anything is different now: most news is none."""

    def __init__(self, name: NodeName) -> None:
        self._name = name
        self._nodes: dict[NodeName, Node] = {}
        self._pools: dict[str, IPPool] = {}
        self._blocks, self._borrowed = Blocks(), Borrowed()
        self._configurations: dict[str, BGPConfiguration] = {}
        self._peers: dict[str, BGPPeer] = {}
        self._filters: dict[str, BGPFilter] = {}
        self._synced = self._strays_known = False

    @property
    def is_complete(self) -> bool:
        """Whether everything that is in the store has been heard, this node's own Node included."""
        return self._synced and self._strays_known and self._name in self._nodes

    def resources(self, events: Iterable[Event[Resource]], *, synced: bool) -> bool:
        """Take in events of ``KINDS``."""
        different = [self._take(event.value, gone=event.type is EventType.DELETED) for event in events]
        first, self._synced = synced and not self._synced, self._synced or synced
        return first or any(different)

    def blocks(self, events: Iterable[Event[Resource]], *, synced: bool) -> bool:
        """Take in blocks, of which only the strays matter: one that a pod of this node comes to changes nothing."""
        different = [
            bool(self._borrowed.heard(event.value, gone=event.type is EventType.DELETED))
            for event in events
            if isinstance(event.value, IPAMBlock)
        ]
        first, self._strays_known = synced and not self._strays_known, self._strays_known or synced
        return first or any(different)

    def _take(self, value: Resource, *, gone: bool) -> bool:
        match value:
            case Node():
                cidrs = NO_BLOCKS if gone else frozenset(value.pod_cidrs)
                touched = self._blocks.claim(("node", value.name), value.name, cidrs)
                return _put(self._nodes, value.name, value, gone=gone) or bool(touched)
            case BlockAffinity():
                blocks = frozenset({value.cidr}) if counts(value) and not gone else NO_BLOCKS
                return bool(self._blocks.claim(("affinity", value.meta.name), value.node, blocks))
        return self._take_named(value, gone=gone)

    def _take_named(self, value: Resource, *, gone: bool) -> bool:
        match value:
            case IPPool():
                return _put(self._pools, value.meta.name, value, gone=gone)
            case BGPConfiguration():
                return _put(self._configurations, value.meta.name, value, gone=gone)
            case BGPPeer():
                return _put(self._peers, value.meta.name, value, gone=gone)
            case BGPFilter():
                return _put(self._filters, value.meta.name, value, gone=gone)
        return False

    def picture(self) -> Picture:
        """Return what BGP is decided on; only where all ``is_complete``."""
        pools = tuple(self._pools.values())
        mine = {block for block in self._blocks.of(self._name) if self._blocks.owner(block) == self._name}
        strays = {stray for stray in self._borrowed.of(self._name) if self._blocks.owner(stray) is None}
        return Picture(
            node=self._nodes[self._name],
            nodes=self._nodes,
            pools=pools,
            blocks=frozenset(mine | strays),
            outside=frozenset(block for block in self._blocks if pool_of(block, pools) is None),
            configurations=self._configurations,
            peers=self._peers,
            filters=self._filters,
        )


def _put(where: dict[K, V], key: K, value: V, *, gone: bool) -> bool:
    before = where.get(key)
    if gone:
        where.pop(key, None)
        return before is not None
    where[key] = value
    return before != value
