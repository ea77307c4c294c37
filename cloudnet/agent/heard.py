"""What the store has said of the cluster, and of which nodes and blocks it has said something new. Pure.

Whoever settles what is dirty takes the marks away; nothing else is decided here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from cloudnet.agent.actions import BlocksChanged
from cloudnet.agent.blocks import NO_BLOCKS, Blocks
from cloudnet.agent.borrowed import Borrowed
from cloudnet.ipam import native
from cloudnet.model.addresses import Network, NodeName
from cloudnet.model.cloud_addresses import CloudAddresses
from cloudnet.model.resources import (
    BlockAffinity,
    CloudNode,
    CloudRoute,
    IPAMBlock,
    IPPool,
    Node,
    Resource,
    RouteState,
)
from cloudnet.routes.claims import counts
from cloudnet.store.api import Event, EventType

K = TypeVar("K")
V = TypeVar("V")

KINDS: tuple[type[Resource], ...] = (Node, IPPool, BlockAffinity, CloudNode, CloudRoute, CloudAddresses)
"""What an agent watches; the contents of blocks come apart (``BlocksChanged``): the ground does not wait for them."""


class Heard:
    """Resources by name, and the marks: ``dirty_nodes``, ``dirty_blocks``, or all.

    ``look_due`` asks for a look around. ``natives`` are the blocks that the cloud delivers itself, {block: affinities
    that say so}; ``withdrawals`` those whose cloud route is to go, with the revision that says it. ``strays_known``:
    whether ``borrowed`` is complete.
    """

    def __init__(self, name: NodeName) -> None:
        self._name = name
        self.synced = False
        self.nodes: dict[NodeName, Node] = {}
        self.clouds: dict[NodeName, CloudNode] = {}
        self.routes: dict[Network, CloudRoute] = {}
        self.pools: dict[str, IPPool] = {}
        self.blocks = Blocks()
        self.borrowed = Borrowed()
        self.strays_known = False
        self.natives: dict[Network, set[str]] = {}
        self.addresses: CloudAddresses | None = None
        self.withdrawals: dict[Network, int] = {}
        self.dirty_blocks: dict[Network, None] = {}
        self.dirty_nodes: dict[NodeName, None] = {}
        self.all_dirty = True
        self.look_due = True

    @property
    def own_node(self) -> Node | None:
        return self.nodes.get(self._name)

    def resource(self, event: Event[Resource]) -> None:
        """Take in one event of ``KINDS``."""
        value, gone = event.value, event.type is EventType.DELETED
        match value:
            case Node():
                self._node(value, gone=gone)
            case BlockAffinity():
                blocks = frozenset({value.cidr}) if counts(value) and not gone else NO_BLOCKS
                self._delivery(value, gone=gone)
                self.touch(self.blocks.claim(("affinity", value.meta.name), value.node, blocks))
            case IPPool():
                _put(self.pools, value.meta.name, value, gone=gone)
                self.all_dirty = True
                self.look_due = True
            case CloudNode():
                name = NodeName(value.meta.name)
                _put(self.clouds, name, value, gone=gone)
                self.dirty_nodes[name] = None
                self.all_dirty = self.all_dirty or name == self._name
            case CloudRoute():
                self._cloud_route(value, event.revision, gone=gone)
            case CloudAddresses() if value.meta.name == self._name:
                self.addresses = None if gone else value
                self.look_due = True

    def contents(self, heard: BlocksChanged) -> None:
        """Take in what blocks contain."""
        for event in heard.events:
            if isinstance(event.value, IPAMBlock):
                self.touch(self.borrowed.heard(event.value, gone=event.type is EventType.DELETED))
        self.strays_known = self.strays_known or heard.synced

    def touch(self, blocks: Iterable[Network]) -> None:
        for block in blocks:
            self.dirty_blocks[block] = None

    def _node(self, node: Node, *, gone: bool) -> None:
        _put(self.nodes, node.name, node, gone=gone)
        pod_cidrs = NO_BLOCKS if gone else frozenset(node.pod_cidrs)
        self.touch(self.blocks.claim(("node", node.name), node.name, pod_cidrs))
        self.dirty_nodes[node.name] = None
        self.all_dirty = self.all_dirty or node.name == self._name

    def _delivery(self, affinity: BlockAffinity, *, gone: bool) -> None:
        """Note whether the cloud delivers the block itself; the first such block, and the last, concern all."""
        before = bool(self.natives)
        names, name = self.natives.get(affinity.cidr, set()), affinity.meta.name
        after = names | {name} if native.is_native(affinity) and not gone else names - {name}
        if bool(after) is not bool(names):
            self.touch([affinity.cidr])
        _put(self.natives, affinity.cidr, after, gone=not after)
        self.all_dirty = self.all_dirty or before is not bool(self.natives)

    def _cloud_route(self, route: CloudRoute, revision: int, *, gone: bool) -> None:
        self.dirty_blocks[route.cidr] = None
        if gone:
            if self.routes.get(route.cidr, route).meta.name == route.meta.name:
                self.routes.pop(route.cidr, None)
            self.withdrawals.pop(route.cidr, None)
            return
        self.routes[route.cidr] = route
        if any(status.state is RouteState.WITHDRAWING for status in route.tables):
            self.withdrawals[route.cidr] = revision
        else:
            self.withdrawals.pop(route.cidr, None)


def _put(where: dict[K, V], key: K, value: V, *, gone: bool) -> None:
    if gone:
        where.pop(key, None)
    else:
        where[key] = value
