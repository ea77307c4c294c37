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

from cloudnet.clock import Clock
from cloudnet.cni import release, repair
from cloudnet.cni.addresses import AllocatorLeases
from cloudnet.cni.gate import Gate
from cloudnet.cni.handler import Handler
from cloudnet.cni.journal import Journal
from cloudnet.cni.server import CniServer, Observe
from cloudnet.cni.site import Site
from cloudnet.config import AgentConfig
from cloudnet.errors import BadInput, CloudnetError
from cloudnet.ipam.allocator import Allocator
from cloudnet.ipam.choose import Matches
from cloudnet.kernel.pod_links import PodLinks
from cloudnet.kernel.pods import Pods
from cloudnet.model.addresses import Network, NodeName
from cloudnet.model.kubernetes import Namespace, Pod
from cloudnet.model.resources import IPPool, Node, Resource
from cloudnet.model.workloads import WorkloadEndpoint
from cloudnet.store.api import Event, EventType, NotFound, Store

log = logging.getLogger(__name__)

R = TypeVar("R", bound=Resource)

KINDS: tuple[type[Resource], ...] = (Node, IPPool, Namespace)
"""What the cache of the cluster is told of. Pods are read one by one: a node starts a few of thousands."""

_CATCH_UP = 5.0  # seconds between two looks at the journal
_PREFIX = re.compile(r"[a-zA-Z0-9_.\-]{1,4}")  # eleven letters come behind it, and a name has fifteen


class CachedCluster:
    """The cluster as the informer tells it. Told on one thread, asked from any; each change is one assignment."""

    def __init__(self, node: str, store: Store) -> None:
        self._node = node
        self._store = store
        self._namespaces: dict[str, Namespace] = {}
        self._pools: dict[str, IPPool] = {}
        self._own: Node | None = None

    def hear(self, events: Sequence[Event[Resource]]) -> None:
        for event in events:
            value, there = event.value, event.type is EventType.PUT
            if isinstance(value, Namespace):
                _keep(self._namespaces, value.meta.name, value if there else None)
            elif isinstance(value, IPPool):
                _keep(self._pools, value.meta.name, value if there else None)
            elif isinstance(value, Node) and value.name == self._node:
                self._own = value if there else None

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

    def node_labels(self) -> Mapping[str, str]:
        return self._own.meta.labels if self._own else {}

    def pod_cidrs(self) -> Sequence[Network]:
        return self._own.pod_cidrs if self._own else ()


def _keep(kept: dict[str, R], name: str, value: R | None) -> None:
    if value is None:
        kept.pop(name, None)
    else:
        kept[name] = value


class Caretaker:
    """Catches up with the journal, and repairs links; on a thread of its own, a moment at a time."""

    def __init__(self, site: Site, resync: float) -> None:
        self._site = site
        self._resync = resync
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
            if self._ending.wait(_CATCH_UP):
                return

    def look(self) -> None:
        """Do what is due."""
        try:
            release.finish_all(self._site)
            if self._site.clock.now() >= self._due:
                self._repair()
                self._due = self._site.clock.now() + self._resync
        except CloudnetError as e:
            log.debug("cannot look after links yet reason=%r", str(e))

    def _repair(self) -> None:
        site = self._site
        links = site.pods.read()
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


def build_site(
    config: AgentConfig,
    store: Store,
    clock: Clock,
    *,
    pods: Pods,
    cluster: CachedCluster,
    gate: Gate,
    matches: Matches,
    mtu: Callable[[], int],
    not_ready: Callable[[], str],
) -> Site:
    """Put together what answering requests needs."""
    if not _PREFIX.fullmatch(config.interface_prefix):
        raise BadInput(
            f"expected one to four letters, digits, '_', '.' or '-', found {config.interface_prefix!r}",
            path="interface_prefix",
        )
    allocator = Allocator(store, now=lambda: datetime.fromtimestamp(clock.wall(), UTC), matches=matches)
    return Site(
        node=NodeName(config.node),
        store=store,
        pods=pods,
        leases=AllocatorLeases(allocator, store),
        cluster=cluster,
        journal=Journal(Path(config.cni_state)),
        clock=clock,
        gate=gate,
        mtu=mtu,
        not_ready=not_ready,
        prefix=config.interface_prefix,
        new_mac=new_mac,
    )


def new_mac() -> str:
    """Return a MAC for a pod's interface: random, of one device, locally administered (IEEE 802c)."""
    return (b"\x02" + os.urandom(5)).hex(":")


@contextmanager
def serving(config: AgentConfig, site: Callable[[Pods], Site], *, observe: Observe) -> Iterator[None]:
    """Answer the CNI plugin until the block ends; does nothing when the configuration names no socket."""
    if not config.cni_socket:
        yield
        return
    with ExitStack() as stack:
        pods = PodLinks(allow_host_network=config.allow_host_network)
        stack.callback(pods.close)
        built = site(pods)
        caretaker = Caretaker(built, config.resync_seconds)
        server = CniServer(config.cni_socket, Handler(built), observe=observe)
        stack.callback(server.close)
        caretaker.start()
        stack.callback(caretaker.close)
        yield
