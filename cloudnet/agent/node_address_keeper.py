"""Sees to it that the Node says which address this node has: at start, and whenever the host or Kubernetes changes.

What cannot be found is left as it is: a device that is down for a moment must not take the node out of the cluster.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from typing import Final

from cloudnet.agent import node_address
from cloudnet.agent.node_address import Found, Host, Method, Missing, Outcome, Way
from cloudnet.clock import Clock
from cloudnet.config import AgentConfig
from cloudnet.errors import CloudnetError
from cloudnet.keeping import keeping
from cloudnet.kernel.api import Link
from cloudnet.kernel.netlink import NetlinkKernel
from cloudnet.kernel.source import source_address
from cloudnet.model import cluster_events as events
from cloudnet.model.addresses import Address, Family, NodeName
from cloudnet.model.cluster_events import Tell
from cloudnet.model.resources import Metadata, Node
from cloudnet.store import api
from cloudnet.store.api import AlreadyExists, Store

log = logging.getLogger(__name__)

_SOON: Final = 0.1  # seconds until the node is known
_LOOK: Final = 1.0  # whether the Node has changed
_AGAIN: Final = 5.0  # after nothing was found, or the store did not take it
_HOST: Final = 60.0  # the host's devices, as often as Calico looks

Links = Callable[[], Sequence[Link]]
Reach = Callable[[str, Family], Address | None]


def methods(config: AgentConfig) -> Mapping[Family, Method]:
    """Return the methods that are to be used, by family.

    Raises:
        BadInput: one makes no sense.
    """
    said = {
        Family.IPV4: (config.ip_autodetection_method, "ip_autodetection_method"),
        Family.IPV6: (config.ip6_autodetection_method, "ip6_autodetection_method"),
    }
    found = {of: node_address.parse(text, path) for of, (text, path) in said.items()}
    return {of: method for of, method in found.items() if method.way is not Way.NONE}


class NodeAddressKeeper:
    """Looks whether anything has changed, and only then at the host.

    ``own`` is the Node as the informer knows it. With ``registers``, a Node that is not there is made.
    """

    def __init__(
        self,
        store: Store,
        node: NodeName,
        wanted: Mapping[Family, Method],
        *,
        own: Callable[[], Node | None],
        links: Links,
        reach: Reach,
        tell: Tell,
        registers: bool = False,
    ) -> None:
        self.found: Mapping[Family, Outcome] = {}  # replaced whole; any thread may look
        self.wanted = wanted
        self._store, self._node = store, node
        self._own, self._links, self._reach, self._tell = own, links, reach, tell
        self._to_register = registers
        self._seen: Node | None = None
        self._host_due = 0.0
        self._told = ""

    def look(self, now: float) -> float:
        """Do what is to be done; return the seconds until the next look."""
        node = self._own()
        if node is None:
            return self._register(now) if self._to_register else _SOON
        if node == self._seen and now < self._host_due:
            return _LOOK
        self._host_due = now + _HOST
        try:
            self.found = self._find(node)
            self._seen = self._settle(node)
        except CloudnetError as error:
            return self._failed(f"its address cannot be recorded, trying again by itself: {error}", now)
        if problem := self.problem():
            return self._failed(problem, now)
        self._told = ""
        return _LOOK

    def _register(self, now: float) -> float:
        """Make the Node, if it is not there; the informer will say so."""
        try:
            self._store.create(Node(Metadata(self._node)))
            log.info("this node was not known: it is now")
        except AlreadyExists:
            log.debug("this node is known, and will be heard of")
        except CloudnetError as error:
            return self._failed(f"its Node cannot be made, trying again by itself: {error}", now)
        self._to_register = False
        return _SOON

    def problem(self) -> str:
        """Return why the node has no address at all; empty while it has one. Any thread may ask."""
        found = self.found.values()
        if any(isinstance(one, Found) for one in found) or (self._seen is not None and self._seen.addresses):
            return ""
        return "; ".join(one.why for one in found if isinstance(one, Missing))

    def words(self) -> Mapping[str, str]:
        """Return what a person should see of each family: the address, how it was found and where. Any thread."""
        return {
            f"IPv{int(of)}": one.why
            if isinstance(one, Missing)
            else f"{one.address} on {one.device} by {self.wanted[of].text}"
            for of, one in self.found.items()
        }

    def _find(self, node: Node) -> Mapping[Family, Outcome]:
        links = self._links()
        found: dict[Family, Outcome] = {}
        for of, method in self.wanted.items():
            source = self._reach(method.destination, of) if method.way is Way.CAN_REACH else None
            host = Host(links, node.internal_addresses(), source)
            found[of] = node_address.find(method, host, of, current=node.address(of))
        return found

    def _settle(self, node: Node) -> Node:
        """Make the Node say what was found; return it as it is then."""
        ours = {of: one.address for of, one in self.found.items() if isinstance(one, Found)}
        if all(node.address(of) == address for of, address in ours.items()):
            return node

        def edit(seen: Node) -> Node:
            kept = {of: address for of in Family if (address := seen.address(of)) is not None}
            merged = {**kept, **ours}
            return replace(seen, addresses=tuple(merged[of] for of in Family if of in merged))

        after = api.change(self._store, Node, self._node, edit).value
        log.info("this node's addresses=%s", ",".join(map(str, after.addresses)))
        return after

    def _failed(self, problem: str, now: float) -> float:
        if problem != self._told:
            log.warning("this node has no address yet, trying again by itself reason=%r", problem)
            self._tell(events.NODE_WITHOUT_ADDRESS, problem)
        self._told = problem
        self._host_due = now
        return _AGAIN


def links_of_host(config: AgentConfig) -> Sequence[Link]:
    """Return the host's devices, by a door for the calling thread alone."""
    with closing(NetlinkKernel(allow_host_network=config.allow_host_network)) as kernel:
        return tuple(kernel.links().values())


def made(config: AgentConfig, store: Store, own: Callable[[], Node | None], tell: Tell) -> NodeAddressKeeper:
    """Return the keeper with the doors of this host.

    Raises:
        BadInput: a method makes no sense.
    """
    return NodeAddressKeeper(
        store,
        NodeName(config.node),
        methods(config),
        own=own,
        links=lambda: links_of_host(config),
        reach=source_address,
        tell=tell,
        registers=not config.on_kubernetes,  # there the kubelet makes it
    )


def keeping_addresses(keeper: NodeAddressKeeper, clock: Clock) -> AbstractContextManager[None]:
    """Keep the node's addresses, on a thread of its own; without a method its Node says them, and stays as it is."""
    return keeping("node address", lambda: keeper.look(clock.now())) if keeper.wanted else nullcontext()
