"""This node's pods as policy last knew them, told by the CNI plugin and, later, by the store. Pure.

The plugin is ahead of the store: what a watch delivers after an ADD may still be about the last sandbox, or the last
pod, of that name. And whoever goes leaves addresses, which somebody else gets.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from cloudnet.model.addresses import Address, Network
from cloudnet.model.workloads import WorkloadEndpoint

_Key: TypeAlias = tuple[str, str]


class LocalPods:
    """What is known of a node's endpoints, by namespace and name."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._known: dict[_Key, WorkloadEndpoint] = {}
        self._ahead: set[_Key] = set()  # those that the plugin told of, and the store not yet
        self._left: set[Address] = set()

    def admitted(self, endpoint: WorkloadEndpoint) -> None:
        """Take in what the plugin added; nothing older counts from now on."""
        self._put(endpoint)
        self._ahead.add(_key(endpoint))

    def dismissed(self, endpoint: WorkloadEndpoint) -> None:
        """Take in that the plugin removed one."""
        self._drop(endpoint)

    def heard(self, value: WorkloadEndpoint, *, gone: bool) -> bool:
        """Take in what the store tells; return whether it is news, and not from before what the plugin told."""
        if value.node != self._node:
            return True
        key = _key(value)
        if key in self._ahead and value.container_id != self._known[key].container_id:
            return False
        if gone:
            self._drop(value)
        else:
            self._put(value)
            self._ahead.discard(key)
        return True

    def take_left(self) -> frozenset[Address]:
        """Return the addresses that somebody left since the last time."""
        left, self._left = frozenset(self._left), set()
        return left

    def _put(self, value: WorkloadEndpoint) -> None:
        key = _key(value)
        old = self._known.get(key)
        if old is not None:
            self._leave(set(old.networks) - (set(value.networks) if _is_same(old, value) else set()))
        self._known[key] = value

    def _drop(self, value: WorkloadEndpoint) -> None:
        key = _key(value)
        self._ahead.discard(key)
        old = self._known.pop(key, None)
        if old is not None:
            self._leave(old.networks)

    def _leave(self, networks: Iterable[Network]) -> None:
        self._left.update(network.network_address for network in networks)


def _key(value: WorkloadEndpoint) -> _Key:
    return value.meta.namespace, value.meta.name


def _is_same(one: WorkloadEndpoint, other: WorkloadEndpoint) -> bool:
    """Tell whether two are of one sandbox; not every store, and not every plugin, knows both marks of it."""
    marks = ((one.container_id, other.container_id), (one.meta.uid, other.meta.uid))
    return all(first == second for first, second in marks if first and second)
