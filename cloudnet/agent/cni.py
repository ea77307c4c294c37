"""The agent's part for the CNI plugin: the socket, what it needs to know, and a thread that repairs and catches up.

runtime ─▶ shim ─▶ socket ─▶ worker ─▶ store (addresses, endpoint) ─▶ kernel (link) ─▶ gate (policy) ─▶ answer
                                ▲
store ── informer ── cluster ───┘          every few seconds: the journal; every resync: routes and orphans
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from cloudnet.agent.addresses import SharedLeases
from cloudnet.clock import Clock
from cloudnet.cni import release, repair
from cloudnet.cni.gate import Gate
from cloudnet.cni.handler import Handler
from cloudnet.cni.journal import Journal
from cloudnet.cni.server import CniServer, Observe
from cloudnet.cni.site import Site
from cloudnet.config import AgentConfig
from cloudnet.errors import BadInput, CloudnetError
from cloudnet.ipam import known
from cloudnet.ipam.allocator import Request
from cloudnet.ipam.choose import Matches
from cloudnet.ipam.warm import Warm
from cloudnet.kernel.pod_links import PodLinks
from cloudnet.kernel.pods import Pods
from cloudnet.model.addresses import Network, NodeName
from cloudnet.model.cluster_events import Record, ignore
from cloudnet.model.kubernetes import Namespace, Pod
from cloudnet.model.resources import IPPool, Node, Resource
from cloudnet.model.workloads import WorkloadEndpoint
from cloudnet.store.api import Event, EventType, NotFound, Store

log = logging.getLogger(__name__)

R = TypeVar("R", bound=Resource)

KINDS: tuple[type[Resource], ...] = (Node, IPPool, Namespace, WorkloadEndpoint, *known.KINDS)
"""What the cache of the cluster is told of. Pods are read one by one: a node starts a few of thousands."""

_CATCH_UP = 5.0  # seconds between two looks at the journal, and whether enough addresses are at hand
_SOON = 0.1  # seconds between such looks until the store has told of the pools
_EXHAUSTED = 60.0  # seconds until a node that may have no more blocks asks for one again
_PREFIX = re.compile(r"[a-zA-Z0-9_.\-]{1,4}")  # eleven letters come behind it, and a name has fifteen


class CachedCluster:
    """The cluster as the informer tells it. Told on one thread, asked from any; each change is one assignment."""

    def __init__(self, node: str, store: Store) -> None:
        self._node = node
        self._store = store
        self._namespaces: dict[str, Namespace] = {}
        self._pools: dict[str, IPPool] = {}
        self._endpoints: dict[str, WorkloadEndpoint] = {}  # of this node, by namespace and name
        self._synced = False
        self._own: Node | None = None

    def hear(self, events: Sequence[Event[Resource]], *, synced: bool) -> None:
        for event in events:
            value, there = event.value, event.type is EventType.PUT
            if isinstance(value, Namespace):
                _keep(self._namespaces, value.meta.name, value if there else None)
            elif isinstance(value, IPPool):
                _keep(self._pools, value.meta.name, value if there else None)
            elif isinstance(value, WorkloadEndpoint):
                here = there and value.node == self._node
                _keep(self._endpoints, f"{value.meta.namespace}/{value.meta.name}", value if here else None)
            elif isinstance(value, Node) and value.name == self._node:
                self._own = value if there else None
        self._synced = self._synced or synced

    def pod(self, namespace: str, name: str) -> Pod | None:
        try:
            return self._store.get(Pod, name, namespace).value
        except NotFound:
            return None

    def namespace(self, name: str) -> Namespace | None:
        found = self._namespaces.get(name)
        if found is not None:
            return found
        try:  # it may have come a moment ago
            return self._store.get(Namespace, name).value
        except NotFound:
            return None

    def pools(self) -> Sequence[IPPool]:
        return tuple(self._pools.values())

    def own(self) -> Node | None:
        return self._own

    def node_labels(self) -> Mapping[str, str]:
        return self._own.meta.labels if self._own else {}

    def pod_cidrs(self) -> Sequence[Network]:
        return self._own.pod_cidrs if self._own else ()

    def endpoints(self) -> Sequence[WorkloadEndpoint] | None:
        return tuple(self._endpoints.copy().values()) if self._synced else None


def _keep(kept: dict[str, R], name: str, value: R | None) -> None:
    if value is None:
        kept.pop(name, None)
    else:
        kept[name] = value


class Caretaker:
    """Keeps addresses at hand, catches up with the journal, repairs links; on a thread of its own, bit by bit."""

    def __init__(self, site: Site, leases: SharedLeases, resync: float) -> None:
        self._site = site
        self._leases = leases
        self._resync = resync
        self._top_up_due = 0.0
        self._since: Mapping[str, float] = {}
        self._due = 0.0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="caretaker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self.look()
            if self._ending.wait(_CATCH_UP if self._leases.is_warm else _SOON):
                return

    def look(self) -> None:
        """Do what is due."""
        try:
            self._top_up()
            release.finish_all(self._site)
            now = self._site.clock.now()
            if now >= self._due and (endpoints := self._site.cluster.endpoints()) is not None:
                self._repair(endpoints)
                self._due = now + self._resync
        except CloudnetError as e:
            log.debug("cannot look after links yet reason=%r", str(e))

    def _top_up(self) -> None:
        now = self._site.clock.now()
        if self._leases.is_warm and now >= self._top_up_due:
            enough = self._leases.top_up(Request(self._site.node, node_labels=self._site.cluster.node_labels()))
            self._top_up_due = now + (0 if enough else _EXHAUSTED)

    def _repair(self, endpoints: Sequence[WorkloadEndpoint]) -> None:
        """Mend links, by what the cache says; before one goes, the store itself is asked."""
        site = self._site
        links = site.pods.read()
        planned = repair.plan(links, endpoints, self._since, site.clock.now())
        if planned.orphans:
            endpoints = [i.value for i in site.store.list(WorkloadEndpoint).items if i.value.node == site.node]
            planned = repair.plan(links, endpoints, self._since, site.clock.now())
        self._since = planned.since
        for mend in planned.mends:
            with site.locks.holding(mend.link):
                if site.pods.find(mend.link) is not None:
                    site.pods.mend(mend.link, mend.addresses, unwanted=mend.unwanted)
                    log.info("repaired routes of a pod link=%s", mend.link)
        for orphan in planned.orphans:
            with site.locks.holding(orphan.name):
                if site.pods.cut(orphan.name, orphan.owner):
                    log.warning(
                        "removed a link that no endpoint owns link=%s container=%s", orphan.name, orphan.owner
                    )


def warm_leases(config: AgentConfig, store: Store, clock: Clock, matches: Matches) -> SharedLeases:
    """Return the node's addresses; they are warm once they have been told of the pools."""
    return SharedLeases(Warm(store, NodeName(config.node), now=time_of(clock), matches=matches))


def time_of(clock: Clock) -> Callable[[], datetime]:
    """Return what tells address management the time of day."""
    return lambda: datetime.fromtimestamp(clock.wall(), UTC)


def build_site(
    config: AgentConfig,
    store: Store,
    clock: Clock,
    *,
    pods: Pods,
    cluster: CachedCluster,
    gate: Gate,
    leases: SharedLeases,
    mtu: Callable[[], int],
    not_ready: Callable[[], str],
    impaired: Callable[[], str],
    record: Record = ignore,
) -> Site:
    """Put together what answering requests needs."""
    if not _PREFIX.fullmatch(config.interface_prefix):
        raise BadInput(
            f"expected one to four letters, digits, '_', '.' or '-', found {config.interface_prefix!r}",
            path="interface_prefix",
        )
    return Site(
        node=NodeName(config.node),
        store=store,
        pods=pods,
        leases=leases,
        cluster=cluster,
        journal=Journal(Path(config.cni_state)),
        clock=clock,
        gate=gate,
        mtu=mtu,
        not_ready=not_ready,
        impaired=impaired,
        prefix=config.interface_prefix,
        on_kubernetes=config.on_kubernetes,
        new_mac=new_mac,
        record=record,
    )


def new_mac() -> str:
    """Return a MAC for a pod's interface: random, of one device, locally administered (IEEE 802c)."""
    return (b"\x02" + os.urandom(5)).hex(":")


@contextmanager
def serving(
    config: AgentConfig, site: Callable[[Pods], Site], leases: SharedLeases, *, observe: Observe
) -> Iterator[None]:
    """Answer the CNI plugin until the block ends; does nothing when the configuration names no socket."""
    if not config.cni_socket:
        yield
        return
    with ExitStack() as stack:
        pods = PodLinks(allow_host_network=config.allow_host_network)
        stack.callback(pods.close)
        built = site(pods)
        caretaker = Caretaker(built, leases, config.resync_seconds)
        server = CniServer(config.cni_socket, Handler(built), observe=observe)
        stack.callback(server.close)
        caretaker.start()
        stack.callback(caretaker.close)
        yield
