"""Whose block is it? One answer for the whole cluster, or a refusal that names everybody involved.

A node claims its confirmed block affinities and the pod CIDRs that Kubernetes gave it. Blocks of one node may
overlap; as soon as another node claims the same addresses, every block involved is refused to all of them:
whoever guesses sends somebody's packets to the wrong machine. Pools do not change whose a block is; they are looked
at for what an operator should be told, and for the pool that a block belongs to.

Pure: the answer depends on the resources, never on their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter

from cloudnet.model.addresses import Network, NodeName, order
from cloudnet.model.resources import AffinityState, BlockAffinity, IPPool, Node


@dataclass(frozen=True, slots=True)
class Claims:
    """Who owns which block.

    ``owner`` holds the undisputed blocks, ``refused`` the disputed ones with the sentence that says why;
    ``claimants`` names the nodes that claim a refused block itself; ``warnings`` are about the input as such.
    """

    owner: Mapping[Network, NodeName]
    refused: Mapping[Network, str]
    claimants: Mapping[Network, tuple[NodeName, ...]]
    warnings: tuple[str, ...] = ()


def claims(nodes: Iterable[Node], affinities: Iterable[BlockAffinity], pools: Iterable[IPPool] = ()) -> Claims:
    """Return the owner of each claimed block, and the blocks that nobody gets."""
    nodes, pools = tuple(nodes), tuple(pools)
    claimed = _claimed(nodes, affinities)
    rivals = _rivals(claimed)
    owner = {block: next(iter(names)) for block, names in claimed.items() if not rivals or block not in rivals}
    return Claims(
        owner=owner,
        refused={block: _sentence(block, others, claimed) for block, others in rivals.items()},
        claimants={block: tuple(sorted(claimed[block])) for block in rivals},
        warnings=(*_pool_overlaps(pools), *_strays(nodes, pools)),
    )


def counts(affinity: BlockAffinity) -> bool:
    """Tell whether the affinity gives its node a block: pending ones and those on their way out do not."""
    return affinity.state is AffinityState.CONFIRMED and not affinity.deleted and affinity.type == "host"


def pool_of(block: Network, pools: Iterable[IPPool]) -> IPPool | None:
    """Return the narrowest pool around the block; of two pools of one range the first by name."""
    around = [p for p in pools if p.cidr.version == block.version and _within(block, p.cidr)]
    return min(around, key=lambda p: (-p.cidr.prefixlen, p.meta.name), default=None)


def _claimed(nodes: Iterable[Node], affinities: Iterable[BlockAffinity]) -> Mapping[Network, set[NodeName]]:
    claimed: dict[Network, set[NodeName]] = {}
    for affinity in affinities:
        if counts(affinity):
            claimed.setdefault(affinity.cidr, set()).add(affinity.node)
    for node in nodes:
        for cidr in node.pod_cidrs:
            claimed.setdefault(cidr, set()).add(node.name)
    return claimed


def _rivals(claimed: Mapping[Network, set[NodeName]]) -> Mapping[Network, list[Network]]:
    """Return ``{disputed block: the claimed blocks that it overlaps, itself included}``.

    Blocks are walked by address, the wider first, so that those around the current one are a stack.
    """
    rivals: dict[Network, set[Network]] = {}
    around: list[tuple[int, int, Network, set[NodeName]]] = []  # version, last address, block, claimants
    ranked = sorted(((order(block), block, names) for block, names in claimed.items()), key=itemgetter(0))
    for (version, first, length), block, names in ranked:
        while around and (around[-1][0] != version or around[-1][1] < first):
            around.pop()
        if len(names) > 1:
            rivals.setdefault(block, set()).add(block)
        for _, _, wider, others in around:
            if others != names or len(names) > 1:
                rivals.setdefault(block, set()).update((block, wider))
                rivals.setdefault(wider, set()).update((block, wider))
        last = first + (1 << (block.max_prefixlen - length)) - 1
        around.append((version, last, block, names))
    return {block: sorted(others, key=order) for block, others in sorted(rivals.items(), key=lambda r: order(r[0]))}


def _sentence(block: Network, others: Iterable[Network], claimed: Mapping[Network, set[NodeName]]) -> str:
    involved = sorted({block, *others}, key=order)
    parts = [f"{other} of node {name!r}" for other in involved for name in sorted(claimed[other])]
    return f"{' and '.join(parts)} overlap: take the block from all nodes but one"


def _pool_overlaps(pools: Iterable[IPPool]) -> Iterator[str]:
    ranked = sorted(pools, key=lambda p: (order(p.cidr), p.meta.name))
    around: list[IPPool] = []
    for pool in ranked:
        while around and not (around[-1].cidr.version == pool.cidr.version and _within(pool.cidr, around[-1].cidr)):
            around.pop()
        if around:
            yield (
                f"pools {around[-1].meta.name!r} ({around[-1].cidr}) and {pool.meta.name!r} ({pool.cidr}) overlap: "
                f"the narrower one decides for its blocks; make them disjoint"
            )
        around.append(pool)


def _strays(nodes: Iterable[Node], pools: Iterable[IPPool]) -> Iterator[str]:
    """Name pod CIDRs that reach into a pool: IPAM may hand the same addresses to another node."""
    for node in sorted(nodes, key=lambda n: n.name):
        for cidr in node.pod_cidrs:
            for pool in sorted(pools, key=lambda p: p.meta.name):
                if not pool.disabled and cidr.version == pool.cidr.version and cidr.overlaps(pool.cidr):
                    yield (
                        f"node {node.name!r} has pod CIDR {cidr}, which overlaps pool {pool.meta.name!r} "
                        f"({pool.cidr}): give it a block from the pool or exclude it"
                    )


def _within(inner: Network, outer: Network) -> bool:
    """``subnet_of`` for two prefixes of one family."""
    return outer.prefixlen <= inner.prefixlen and inner.network_address in outer
