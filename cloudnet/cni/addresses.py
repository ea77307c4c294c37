"""Where a pod's addresses come from: our own blocks, addresses asked for by name, or an IPAM plugin that we run.

Whoever gives addresses is handed, with the wish, what else has to be written once they are known: the pod's endpoint.
A source that writes both in one request leaves nothing to undo when the agent dies in between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any, Protocol

from cloudnet.cni.identity import Identity
from cloudnet.cni.netconf import NetConf
from cloudnet.cni.wire import CniError, Code, Environment, short
from cloudnet.ipam.allocator import Request
from cloudnet.ipam.leases import Extra, Leases
from cloudnet.model.addresses import Address, Family, Network, NodeName, family
from cloudnet.model.resources import IPPool
from cloudnet.model.workloads import KUBERNETES
from cloudnet.store.api import Write


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
        if identity.orchestrator == KUBERNETES:  # as Calico called it once; a pod of those days may end today
            self._leases.give_back(f"{identity.namespace}.{identity.pod}", ())

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
        native=wish.conf.ipam.native,
    )
