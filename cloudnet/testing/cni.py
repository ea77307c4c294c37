"""A node without a kernel, and its runtime: the real handler of CNI requests over a store and links in memory.

For our tests, and for those who enforce policy behind a gate of their own.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec

from cloudnet.clock import ManualClock
from cloudnet.cni.handler import Handler
from cloudnet.cni.journal import Journal
from cloudnet.cni.site import Site
from cloudnet.ipam.allocator import Allocator
from cloudnet.ipam.leases import ColdLeases
from cloudnet.kernel.pods_memory import MemoryPods
from cloudnet.model.addresses import Network, NodeName
from cloudnet.model.kubernetes import Namespace, Pod
from cloudnet.model.resources import IPAMBlock, IPAMHandle, IPPool, Metadata
from cloudnet.model.workloads import WorkloadEndpoint
from cloudnet.policy.selectors import Matches
from cloudnet.store.api import NotFound, Store
from cloudnet.store.guard import Guard
from cloudnet.store.memory import MemoryData, MemoryStore

Json = dict[str, Any]  # Any: what a runtime sends and gets

POD = "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web"
"""CNI_ARGS of a pod of Kubernetes."""

CONFIGURATION: Mapping[str, object] = {"cniVersion": "1.1.0", "name": "net", "type": "cloudnet"}


class Notes:
    """A gate that remembers whom it let through; ``problem`` is raised to whoever comes."""

    def __init__(self) -> None:
        self.admitted: list[WorkloadEndpoint] = []
        self.problem: BaseException | None = None
        self._lock = threading.Lock()

    def admit(self, endpoint: WorkloadEndpoint) -> None:
        if self.problem is not None:
            raise self.problem
        with self._lock:
            self.admitted.append(endpoint)

    def dismiss(self, endpoint: WorkloadEndpoint) -> None:
        with self._lock:
            self.admitted = [one for one in self.admitted if one.meta.name != endpoint.meta.name]


class StoredCluster:
    """The cluster as the store holds it, read anew each time; ``behind`` are endpoints that it has not heard of."""

    def __init__(self, store: Store, node: str) -> None:
        self._store = store
        self._node = node
        self.behind: frozenset[str] = frozenset()
        self.cidrs: tuple[Network, ...] = ()

    def pod(self, namespace: str, name: str) -> Pod | None:
        try:
            return self._store.get(Pod, name, namespace).value
        except NotFound:
            return None

    def namespace(self, name: str) -> Namespace | None:
        try:
            return self._store.get(Namespace, name).value
        except NotFound:
            return None

    def pools(self) -> Sequence[IPPool]:
        return [item.value for item in self._store.list(IPPool).items]

    def node_labels(self) -> Mapping[str, str]:
        return {}

    def pod_cidrs(self) -> Sequence[Network]:
        return self.cidrs

    def endpoints(self) -> Sequence[WorkloadEndpoint]:
        found = (item.value for item in self._store.list(WorkloadEndpoint).items)
        return [one for one in found if one.node == self._node and one.meta.name not in self.behind]


class CniNode:
    """One node, what it has given out, and the means to take things from it. ``problem`` is why it is not ready.

    ``impairment`` is what its pods have to do without. The store is in memory, or Kubernetes when one is given.
    """

    def __init__(self, journal: Path, stack: ExitStack, kubernetes: Store | None = None) -> None:
        self._stack = stack
        self.data = MemoryData()
        self.store = Guard(kubernetes or MemoryStore(self.data))
        self.pods = MemoryPods()
        self.gate = Notes()
        self.clock = ManualClock()
        self.cluster = StoredCluster(self.store, "n1")
        self.problem = self.impairment = ""
        allocator = Allocator(self.store, now=self._now, matches=Matches())
        self.site = Site(
            node=NodeName("n1"),
            store=self.store,
            pods=self.pods,
            leases=ColdLeases(allocator, self.store),
            cluster=self.cluster,
            journal=Journal(journal),
            clock=self.clock,
            gate=self.gate,
            mtu=lambda: 1400,
            not_ready=lambda: self.problem or self.store.problem,
            impaired=lambda: self.impairment,
            on_kubernetes=kubernetes is not None,
            new_mac=lambda: "02:00:00:00:00:01",
        )
        self.handler = Handler(self.site)
        self.store.create(IPPool(Metadata("default"), ip_network("10.65.0.0/24")))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.wall(), UTC)

    def namespace(self) -> int:
        """Return an open file that stands for a new pod's namespace, until the stack closes."""
        return self._stack.enter_context(tempfile.TemporaryFile()).fileno()

    def ask(
        self,
        command: str,
        namespace: int | None = None,
        *,
        container: str = "c1",
        interface: str = "eth0",
        args: str = "",
        path: str = "",
        **keys: object,
    ) -> tuple[int, Json]:
        """Return the code, 0 for success, and the answer; ``keys`` go into the configuration."""
        variables = {"CNI_CONTAINERID": container, "CNI_NETNS": "/run/netns/x", "CNI_IFNAME": interface}
        variables |= {"CNI_ARGS": args, "CNI_PATH": path}
        answer = self.handler.answer(command, variables, msgspec.json.encode({**CONFIGURATION, **keys}), namespace)
        return answer.code, msgspec.json.decode(answer.output or b"{}")

    def add(
        self, namespace: int | None = None, *, container: str = "c1", args: str = "", **more: Any
    ) -> tuple[int, Json]:  # Any: as ``ask``
        """Add a container, in a new namespace unless it is said in which."""
        place = self.namespace() if namespace is None else namespace
        return self.ask("ADD", place, container=container, args=args, **more)

    # --- what is there ----------------------------------------------------------------------------------

    def endpoints(self) -> Mapping[str, WorkloadEndpoint]:
        return {item.value.meta.name: item.value for item in self.store.list(WorkloadEndpoint).items}

    def addresses(self) -> Mapping[str, int]:
        """Return {handle: number of addresses} of what is given out."""
        found: dict[str, int] = {}
        for item in self.store.list(IPAMBlock).items:
            for index in item.value.allocations:
                if index is not None and (handle := item.value.attributes[index].handle):
                    found[handle] = found.get(handle, 0) + 1
        return found

    def is_empty(self) -> bool:
        """Tell whether nobody has anything."""
        return not (
            self.endpoints()
            or self.addresses()
            or self.pods.wired
            or self.gate.admitted
            or self.store.list(IPAMHandle).items
            or self.site.journal.all()
        )
