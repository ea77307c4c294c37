"""All that answering a request needs of this node, put together once by the agent: doors, settings, knowledge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cloudnet.clock import Clock
from cloudnet.cni.addresses import Blocks, Source
from cloudnet.cni.delegate import Delegate
from cloudnet.cni.gate import Gate
from cloudnet.cni.identity import Identity, identify
from cloudnet.cni.journal import Journal
from cloudnet.cni.locks import Locks
from cloudnet.cni.netconf import NetConf
from cloudnet.cni.wire import CniError, Code, Environment
from cloudnet.ipam.leases import Leases
from cloudnet.kernel.pods import Pods
from cloudnet.model.addresses import Network, NodeName
from cloudnet.model.cluster_events import Record, ignore
from cloudnet.model.kubernetes import Namespace, Pod
from cloudnet.model.resources import IPPool
from cloudnet.model.workloads import WorkloadEndpoint
from cloudnet.store.api import Store


class Cluster(Protocol):
    """What is known of the cluster, from a cache that may be a moment behind."""

    def pod(self, namespace: str, name: str) -> Pod | None: ...

    def namespace(self, name: str) -> Namespace | None: ...

    def pools(self) -> Sequence[IPPool]: ...

    def node_labels(self) -> Mapping[str, str]: ...

    def pod_cidrs(self) -> Sequence[Network]: ...

    def endpoints(self) -> Sequence[WorkloadEndpoint] | None:
        """Return this node's endpoints; nothing while they are not known."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read. ``namespace`` is an open file of the container's; whoever read the request closes it."""

    environment: Environment
    conf: NetConf
    namespace: int | None = None

    def open_namespace(self) -> int:
        """Return the container's namespace.

        Raises:
            CniError: it could not be opened (code 3: there is no such container).
        """
        if self.namespace is None:
            raise CniError(
                Code.UNKNOWN_CONTAINER,
                f"CNI_NETNS {self.environment.netns[:200]!r} cannot be opened: the container is gone, or never was",
            )
        return self.namespace


@dataclass(frozen=True)
class Site:
    """This node. ``mtu`` is that of pods, 0 while nobody knows.

    ``not_ready`` says why no pod can be added now, ``impaired`` what pods that run already may have to do without.
    ``on_kubernetes`` is whether the store is Kubernetes itself, so that its Pods are the kubelet's, by uid too.
    """

    node: NodeName
    store: Store
    pods: Pods
    leases: Leases
    cluster: Cluster
    journal: Journal
    clock: Clock
    gate: Gate
    mtu: Callable[[], int]
    not_ready: Callable[[], str] = str
    impaired: Callable[[], str] = str
    prefix: str = "cali"
    on_kubernetes: bool = False
    new_mac: Callable[[], str] = field(default=lambda: "")
    locks: Locks = field(default_factory=Locks)
    record: Record = ignore

    def identify(self, request: Request) -> Identity:
        """Return who a request is about.

        Raises:
            CniError: the configuration is another node's (code 7).
        """
        if request.conf.node not in {"", self.node}:
            raise CniError(
                Code.INVALID_CONFIGURATION,
                f"nodename: expected {self.node!r}, which this node's agent runs as, found {request.conf.node!r}",
            )
        return identify(request.environment, request.conf.name, node=self.node, prefix=self.prefix)

    def blocks(self) -> Blocks:
        return Blocks(self.leases, self.cluster.pools)

    def source(self, conf: NetConf, environment: Environment) -> Source:
        """Return where this request's addresses come from."""
        if conf.ipam.delegated:
            return Delegate(conf, environment, self.store, self.cluster.pod_cidrs)
        return self.blocks()
