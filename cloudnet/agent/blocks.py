"""Which node owns which block of pod addresses, kept up to date one claim at a time.

A claim is one BlockAffinity or one ``pod_cidrs`` entry. A block that two nodes claim, or that overlaps a block of
another node, is refused to all of them: whoever guesses sends somebody's packets to the wrong machine. The answer is
that of ``routes.claims`` over all resources; here one change costs one look around, not a scan.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterator

from cloudnet.model.addresses import Network, NodeName, order

Source = tuple[str, str]
"""Who claims: kind and name of the resource."""

NO_BLOCKS: frozenset[Network] = frozenset()


class Blocks:
    """Claims by block. Changes answer with every block whose ownership may have changed."""

    def __init__(self) -> None:
        self._claims: dict[Network, dict[Source, NodeName]] = {}
        self._by_source: dict[Source, tuple[NodeName, frozenset[Network]]] = {}
        self._by_node: dict[NodeName, dict[Network, None]] = {}
        self._sorted: list[tuple[int, int, int]] = []  # ``order`` of each claimed block
        self._lengths: Counter[tuple[int, int]] = Counter()  # (version, prefix length) -> claimed blocks

    def claim(self, source: Source, node: NodeName, blocks: frozenset[Network]) -> set[Network]:
        """Let ``source`` claim exactly these blocks for a node, instead of whatever it claimed before."""
        if not blocks and source not in self._by_source:
            return set()
        before_node, before = self._by_source.get(source, (node, NO_BLOCKS))
        if (before_node, before) == (node, blocks):
            return set()
        touched: set[Network] = set()
        for block in before:
            self._remove(source, block)
            touched |= {block, *self._overlapping(block)}
        for block in blocks:
            self._add(source, node, block)
            touched.add(block)
            touched.update(self._overlapping(block))
        if blocks:
            self._by_source[source] = (node, blocks)
        else:
            self._by_source.pop(source, None)
        return touched

    def owner(self, block: Network) -> NodeName | None:
        """Return whose block it is: ``None`` when nobody claims it, or when it is refused."""
        claimants = self.claimants(block)
        return claimants[0] if len(claimants) == 1 else None

    def claimants(self, block: Network) -> tuple[NodeName, ...]:
        """Return every node that claims the block or one that overlaps it, in order; empty when nobody claims it."""
        claims = self._claims.get(block)
        if claims is None:
            return ()
        names = set(claims.values())
        for other in self._overlapping(block):
            names |= set(self._claims[other].values())
        return tuple(sorted(names))

    def conflict(self, block: Network) -> str:
        """Return a sentence naming the nodes and blocks in each other's way, or nothing when there is no conflict."""
        if len(self.claimants(block)) <= 1:
            return ""
        rivals = (other for other in self._overlapping(block) if self._disputed(block, other))
        involved = sorted({block, *rivals}, key=order)
        claims = [
            f"{other} of node {name!r}" for other in involved for name in sorted(set(self._claims[other].values()))
        ]
        return f"{' and '.join(claims)} overlap: take the block from all nodes but one"

    def of(self, node: NodeName) -> tuple[Network, ...]:
        """Return every block that the node claims, its own conflicts included."""
        return tuple(self._by_node.get(node, ()))

    def __iter__(self) -> Iterator[Network]:
        return iter(self._claims)

    def __len__(self) -> int:
        return len(self._claims)

    def _add(self, source: Source, node: NodeName, block: Network) -> None:
        claims = self._claims.get(block)
        if claims is None:
            claims = self._claims[block] = {}
            bisect.insort(self._sorted, order(block))
            self._lengths[block.version, block.prefixlen] += 1
        claims[source] = node
        self._by_node.setdefault(node, {})[block] = None

    def _remove(self, source: Source, block: Network) -> None:
        claims = self._claims[block]
        node = claims.pop(source)
        if node not in claims.values():
            del self._by_node[node][block]
            if not self._by_node[node]:
                del self._by_node[node]
        if claims:
            return
        del self._claims[block]
        del self._sorted[bisect.bisect_left(self._sorted, order(block))]
        size = (block.version, block.prefixlen)
        self._lengths[size] -= 1
        if not self._lengths[size]:
            del self._lengths[size]

    def _disputed(self, block: Network, other: Network) -> bool:
        mine, theirs = set(self._claims[block].values()), set(self._claims[other].values())
        return mine != theirs or len(mine) > 1

    def _overlapping(self, block: Network) -> Iterator[Network]:
        """Yield the claimed blocks, other than this one, that contain it or lie within it."""
        if len(self._lengths) == 1 and (block.version, block.prefixlen) in self._lengths:
            return  # blocks of one size are equal or apart
        for version, length in self._lengths:
            if version == block.version and length < block.prefixlen:
                wider = block.supernet(new_prefix=length)
                if wider in self._claims:
                    yield wider
        first = int(block.network_address)
        last = first | ((1 << (block.max_prefixlen - block.prefixlen)) - 1)
        at = bisect.bisect_left(self._sorted, (block.version, first, block.prefixlen + 1))
        while at < len(self._sorted):
            version, address, length = self._sorted[at]
            if version != block.version or address > last:
                return
            if length > block.prefixlen:
                yield type(block)((address, length))
            at += 1
