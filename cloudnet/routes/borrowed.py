"""Addresses that are not where their block is: pods that borrowed one from another node's block. Pure.

A node that has no address left takes one from somebody else's block, and a block that its node gave up keeps the
addresses of pods until they go. Such an address needs a route of its own. Follows Calico ``l3_route_resolver.go``:
one exact route for every allocation whose attribute ``node`` is another than the block's host.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_network
from types import MappingProxyType

from cloudnet.model.addresses import Network, NodeName
from cloudnet.model.resources import AllocationAttribute, IPAMBlock, Metadata

NODE = "node"  # the attribute's key, Calico ``ipam.AttributeNode``


def strays(block: IPAMBlock) -> Mapping[Network, NodeName]:
    """Return the block's addresses that another node than its own has: {/32 or /128: node}."""
    first, length = int(block.cidr.network_address), block.cidr.max_prefixlen
    return {
        ip_network((type(block.cidr.network_address)(first + ordinal), length)): node
        for ordinal, node in _strays(block)
    }


def lean(block: IPAMBlock) -> IPAMBlock:
    """Return the block with nothing in it but its strays: one of thousands of blocks has any."""
    found = dict(_strays(block))
    nodes = sorted(set(found.values()))
    allocations = (
        tuple(nodes.index(found[n]) if n in found else None for n in range(len(block.allocations))) if found else ()
    )
    return replace(
        block,
        meta=Metadata(block.meta.name),
        claimed_at=None,
        allocations=allocations,
        unallocated=(),
        attributes=tuple(AllocationAttribute(owner=MappingProxyType({NODE: node})) for node in nodes),
        sequence_number=0,
        sequence_numbers=_NONE,
    )


_NONE: Mapping[int, int] = MappingProxyType({})


def _strays(block: IPAMBlock) -> Iterator[tuple[int, NodeName]]:
    if block.deleted:
        return
    home = block.affinity.host if block.affinity else ""
    away = {
        index: NodeName(node)
        for index, attribute in enumerate(block.attributes)
        if attribute.released_at is None and (node := attribute.owner.get(NODE, "")) and node != home
    }
    if away:
        yield from ((n, away[index]) for n, index in enumerate(block.allocations) if index in away)
