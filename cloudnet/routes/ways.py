"""Ways that BGP peers told of, and which of them leads to a block: that of the longest prefix around it. Pure.

A router may tell of many blocks by one prefix; whether it really leads to each, probes say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cloudnet.kernel.api import Hop
from cloudnet.model.addresses import Family, Network, family


class Ways:
    """{prefix: way}, asked by block."""

    def __init__(self, learned: Mapping[Network, Hop] | None = None) -> None:
        self._learned = learned or {}
        lengths = {(family(prefix), prefix.prefixlen) for prefix in self._learned}
        self._lengths = {v: sorted((n for of, n in lengths if of is v), reverse=True) for v in Family}

    def to(self, block: Network) -> Hop | None:
        around = (n for n in self._lengths[family(block)] if n <= block.prefixlen)
        found = (self._learned.get(block.supernet(new_prefix=length)) for length in around)
        return next((way for way in found if way is not None), None)

    def differing(self, other: Ways) -> Iterator[Network]:
        """Yield the prefixes whose ways are not the same in both."""
        prefixes = self._learned.keys() | other._learned.keys()
        return (p for p in prefixes if self._learned.get(p) != other._learned.get(p))
