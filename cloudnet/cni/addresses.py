"""Where a pod's addresses come from: our own blocks, addresses asked for by name, or an IPAM plugin that we run.

Whoever gives addresses is handed, with the wish, what else has to be written once they are known: the pod's endpoint.
A source that writes both in one request leaves nothing to undo when the agent dies in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any, Protocol, TypeAlias

from cloudnet.cni.identity import Identity
from cloudnet.cni.netconf import NetConf
from cloudnet.cni.wire import CniError, Code, Environment, short
from cloudnet.ipam.allocator import Allocator, Request
from cloudnet.ipam.block import Release
from cloudnet.model.addresses import Address, Family, Interface, Network, NodeName, family
from cloudnet.model.resources import IPPool
from cloudnet.store.api import Store, Write

Extra: TypeAlias = Callable[[Sequence[Address]], Sequence[Write]]
"""What to write together with addresses, once these are known."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Which addresses a container is to get. ``named`` ones count before everything else; else one a family.

    ``pools`` are {family: ranges}; a family without an entry may use every pool that selects it.
    """

    identity: Identity
    environment: Environment
    conf: NetConf
    node: NodeName
    families: tuple[Family, ...]
    named: tuple[Address, ...] = ()
    pools: Mapping[Family, tuple[Network, ...]] = field(default_factory=dict)
    owner: Mapping[str, str] = field(default_factory=dict)
    node_labels: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Given:
    """What a container got; ``routes`` are empty when the source has no opinion on them."""

    addresses: tuple[Address, ...]
    routes: tuple[Network, ...] = ()
    dns: Mapping[str, Any] = field(default_factory=dict)  # Any: DNS settings of another plugin, handed on


class Source(Protocol):
    """Gives addresses and takes them back."""

    def give(self, wish: Wish, extra: Extra) -> Given:
        """Return addresses that nobody else has, stored for good together with ``extra``; or nothing is.

        Raises:
            AlreadyExists, Conflict: of what ``extra`` wanted to write.
            CloudnetError: there is none to give.
        """

    def take_back(self, identity: Identity, writes: Sequence[Write]) -> None:
        """Free all that a container has, and carry out the writes; what is free or gone already is success."""


class Leases(Protocol):
    """Addresses out of the node's blocks: what address management offers to whoever starts pods."""

    def take(self, families: Sequence[Family], requests: Sequence[Request], extra: Extra) -> Sequence[Interface]:
        """Return one address a family, stored together with ``extra``."""

    def take_named(self, addresses: Sequence[Address], request: Request, extra: Extra) -> Sequence[Interface]:
        """Return just these addresses, stored together with ``extra``."""

    def give_back(self, handle: str, writes: Sequence[Write]) -> None:
        """Free all that a handle has, and carry out the writes."""


class Blocks:
    """Addresses from our own blocks."""

    def __init__(self, leases: Leases, pools: Callable[[], Sequence[IPPool]]) -> None:
        self._leases = leases
        self._pools = pools

    def give(self, wish: Wish, extra: Extra) -> Given:
        if wish.named:
            request = _request(wish, ())
            taken = self._leases.take_named(wish.named, request, extra)
        else:
            requests = [_request(wish, wish.pools.get(of, ())) for of in wish.families]
            taken = self._leases.take(wish.families, requests, extra)
        return Given(tuple(interface.ip for interface in taken))

    def take_back(self, identity: Identity, writes: Sequence[Write]) -> None:
        self._leases.give_back(identity.handle, writes)

    def ranges(self, of: Family, words: Sequence[str]) -> tuple[Network, ...]:
        """Return the ranges of pools that a configuration or annotation names, by name or range.

        Raises:
            CniError: there is no such pool of the family (code 7).
        """
        return tuple(self._range(of, word) for word in words)

    def _range(self, of: Family, word: str) -> Network:
        pools = [pool for pool in self._pools() if family(pool.cidr) is of]
        for pool in pools:
            if word == pool.meta.name or _same(word, pool.cidr):
                return pool.cidr
        known = ", ".join(f"{pool.meta.name!r} ({pool.cidr})" for pool in pools) or "none"
        raise CniError(
            Code.INVALID_CONFIGURATION,
            f"there is no IPv{of:d} pool {short(word)}: there are {known}; make it, or name one",
        )


def _same(word: str, cidr: Network) -> bool:
    try:
        return ip_network(word, strict=False) == cidr
    except ValueError:
        return False


def _request(wish: Wish, pools: tuple[Network, ...]) -> Request:
    return Request(
        wish.node,
        handle=wish.identity.handle,
        owner=wish.owner,
        node_labels=wish.node_labels,
        namespace_labels=wish.namespace_labels,
        pools=pools,
    )


class AllocatorLeases:
    """Leases from an allocator that keeps nothing ready: addresses first, then the rest; undone when that fails."""

    def __init__(self, allocator: Allocator, store: Store) -> None:
        self._allocator = allocator
        self._store = store

    def take(self, families: Sequence[Family], requests: Sequence[Request], extra: Extra) -> Sequence[Interface]:
        def each() -> Iterator[Interface]:
            for of, request in zip(families, requests, strict=True):
                yield from self._allocator.auto_assign(of, 1, request)

        return self._take(each(), requests[0].handle, extra)

    def take_named(self, addresses: Sequence[Address], request: Request, extra: Extra) -> Sequence[Interface]:
        return self._take(
            (self._allocator.assign_ip(address, request) for address in addresses), request.handle, extra
        )

    def _take(self, assigning: Iterator[Interface], handle: str, extra: Extra) -> Sequence[Interface]:
        """All or nothing: one family without the other, or addresses without their endpoint, would be a leak."""
        taken: list[Interface] = []
        try:
            taken.extend(assigning)
            self._store.write(extra([interface.ip for interface in taken]))
        except BaseException:
            # One by one: the handle may have others, of a container that is well and has the same id.
            self._allocator.release_ips([Release(interface.ip, handle=handle) for interface in taken])
            raise
        return taken

    def give_back(self, handle: str, writes: Sequence[Write]) -> None:
        """Writes come first: an address may be another's as soon as it is free, so nobody may think it ours then."""
        if writes:
            self._store.write(writes)
        self._allocator.release_by_handle(handle)
