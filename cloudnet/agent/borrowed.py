"""Which node has an address that lies in another node's block, kept up to date one block at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cloudnet.model.addresses import Network, NodeName
from cloudnet.model.resources import IPAMBlock
from cloudnet.routes import borrowed


class Borrowed:
    """Stray addresses by block, by address and by node; blocks without any take no room."""

    def __init__(self) -> None:
        self._by_block: dict[str, Mapping[Network, NodeName]] = {}
        self._owners: dict[Network, NodeName] = {}
        self._by_node: dict[NodeName, dict[Network, None]] = {}

    def heard(self, block: IPAMBlock, *, gone: bool) -> set[Network]:
        """Take a block in; return the addresses whose owner changed."""
        name = block.meta.name
        after: Mapping[Network, NodeName] = {} if gone else borrowed.strays(block)
        before = self._by_block.pop(name, {})
        if after:
            self._by_block[name] = after
        touched = {address for address, node in before.items() if after.get(address) != node}
        for address in touched:
            self._forget(address)
        for address, node in after.items():
            if before.get(address) != node:
                touched.add(address)
                self._owners[address] = node
                self._by_node.setdefault(node, {})[address] = None
        return touched

    def owner(self, address: Network) -> NodeName | None:
        return self._owners.get(address)

    def of(self, node: NodeName) -> tuple[Network, ...]:
        """Return the addresses that the node has from others' blocks."""
        return tuple(self._by_node.get(node, ()))

    def __iter__(self) -> Iterator[Network]:
        return iter(self._owners)

    def _forget(self, address: Network) -> None:
        node = self._owners.pop(address)
        del self._by_node[node][address]
        if not self._by_node[node]:
            del self._by_node[node]
