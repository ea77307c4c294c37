"""What kubelet, IPAM and CNI would write into the store of a real cluster: nodes, pool, blocks, pods wired by hand.

Blocks and addresses go through address management, so that everybody else's go with them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network
from typing import TypeVar

from cloudnet.ipam import affinity, native
from cloudnet.ipam.affinity import Moment
from cloudnet.ipam.allocator import Allocator, Request
from cloudnet.ipam.block import Release, free
from cloudnet.kernel import netns
from cloudnet.lab import kubelet, spec, state
from cloudnet.lab.errors import LabError
from cloudnet.lab.kubelet import Kubelet
from cloudnet.lab.results import Rights
from cloudnet.lab.stores import StoreKind
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.calico import cidr_name
from cloudnet.model.cloud_addresses import CloudAddresses
from cloudnet.model.resources import (
    Affinity,
    AllowedUse,
    BlockAffinity,
    Cause,
    EncapMode,
    IPAMBlock,
    IPPool,
    Lease,
    Metadata,
    Node,
    Vtep,
)
from cloudnet.model.workloads import (
    CNI,
    KUBERNETES,
    EndpointId,
    WorkloadEndpoint,
    endpoint_labels,
    endpoint_name,
    kubernetes_profiles,
)
from cloudnet.overlay import vxlan
from cloudnet.policy.selectors import Matches
from cloudnet.store import api, kubernetes_settings, registry
from cloudnet.store.kubernetes_client import Client

NAMESPACE = kubelet.NAMESPACE
OPEN_PROFILE = "projectcalico-default-allow"  # Calico's own: a lab without policies lets everybody talk
_ALL_OF_A_NODE = 256  # addresses: enough to find one of each block among them

R = TypeVar("R")


def url(lab: str, kind: StoreKind) -> str:
    return kind.url(state.directory(lab))


def open_store(lab: str, kind: StoreKind) -> api.Store:
    """Open the lab's store; the caller closes it."""
    return registry.open_store(url(lab, kind), {})


def within(lab: str, kind: StoreKind, work: Callable[[Cluster], R]) -> R:
    """Return what ``work`` returns for the lab's cluster; where a server is reached, if the store is one."""

    def done() -> R:
        cluster = _open(lab, kind)
        try:
            return work(cluster)
        finally:
            cluster.close()

    return done() if kind.command is None else netns.run_inside(spec.cloud_namespace(lab), done)


def _open(lab: str, kind: StoreKind) -> Cluster:
    if not kind.has_accounts:
        return Cluster(open_store(lab, kind))
    settings = kubernetes_settings.parse(url(lab, kind), {})
    return Cluster(open_store(lab, kind), Kubelet(Client(settings), older=kind.older))


class Cluster:
    """A lab's cluster as its store knows it. ``kubelet`` is there where nodes and pods are Kubernetes' own."""

    def __init__(self, store: api.Store, kubelet: Kubelet | None = None) -> None:
        self.store = store
        self._kubelet = kubelet
        self._allocator = Allocator(store, now=_now, matches=Matches())

    def close(self) -> None:
        self.store.close()
        if self._kubelet:
            self._kubelet.close()

    def found(self, *, overlay: bool = False) -> None:
        """Make what a cluster begins with: a pool that wants native routes, or an ``overlay`` that asks for none."""
        if self._kubelet:
            self._kubelet.install()
        meta = Metadata("default")
        mode = EncapMode.ALWAYS if overlay else EncapMode.NEVER
        self.store.create(IPPool(meta, spec.POOL, vxlan_mode=mode, block_size=spec.BLOCK_LENGTH))

    def join(self, record: state.NodeRecord, *, provider_id: str) -> None:
        """Write a node with its blocks and its tunnel's address, the first one of the first block."""
        for block in record.blocks:
            self.give_block(record.name, block)
        tunnel = record.blocks[0].network_address
        owner = {"node": record.name, "type": "vxlanTunnelAddress"}
        wanted = Request(NodeName(record.name), _tunnel_handle(record.name), owner, use=AllowedUse.TUNNEL)
        self._allocator.assign_ip(tunnel, wanted)
        node = Node(
            Metadata(record.name),
            addresses=(record.address,),
            vteps=(Vtep(tunnel, vxlan.mac_of(NodeName(record.name), Family.IPV4)),),
            provider_id=provider_id,
        )
        if self._kubelet is None:
            self.store.create(node)
            return
        self._kubelet.register(record, provider_id=provider_id)
        api.change(self.store, Node, record.name, lambda seen: replace(node, meta=seen.meta))

    def leave(self, record: state.NodeRecord) -> None:
        """Take away what the store has of a node."""
        for pod in record.pods:
            self._remove_pod(record.name, pod)
        self._allocator.release_by_handle(_tunnel_handle(record.name))
        for item in self.store.list(WorkloadEndpoint).items:
            if item.value.node == record.name:  # of pods that came through CNI
                with suppress(api.NotFound):
                    self.store.delete(WorkloadEndpoint, item.value.meta.name, item.value.meta.namespace)
        for block in record.blocks:
            self._allocator.release_block(NodeName(record.name), block, in_use=True)
        if self._kubelet:
            self._kubelet.forget(record.name)
        else:
            self.store.delete(Node, record.name)

    def give_block(self, node: str, block: IPv4Network) -> None:
        """Make a block the node's, as IPAM does when one is full."""
        now = _now()
        moment = Moment(now, int(now.timestamp() * 1_000_000_000))
        affinity.claim(self.store, Affinity(NodeName(node)), block, moment)

    def add_pod(self, node: str, pod: state.PodRecord) -> None:
        """Write a pod that was wired by hand."""
        owner = {"pod": pod.name, "namespace": NAMESPACE, "node": node}
        self._allocator.assign_ip(pod.address, Request(NodeName(node), _handle(node, pod), owner))
        self._create_endpoint(node, pod)

    def add_native_pod(self, node: str, name: str, block: IPv4Network) -> state.PodRecord:
        """Write a pod with an address of one native block, wired by hand.

        Raises:
            LabError: the block has no free address.
        """
        owner = {"pod": name, "namespace": NAMESPACE, "node": node}
        unplaced = state.PodRecord(name, block.network_address, block)
        wanted = Request(NodeName(node), _handle(node, unplaced), owner, native=True)
        given = [i.ip for i in self._allocator.auto_assign(Family.IPV4, _ALL_OF_A_NODE, wanted)]
        inside = [ip for ip in given if isinstance(ip, IPv4Address) and ip in block]
        self._allocator.release_ips(Release(ip) for ip in given if ip not in inside[:1])
        if not inside:
            raise LabError(f"block {block} of node {node!r} has no free address")
        pod = state.PodRecord(name, inside[0], block)
        self._create_endpoint(node, pod)
        return pod

    def start_pod(self, node: str, name: str) -> state.PodRecord:
        """Write a pod with the address that is at hand: a native one, and one of the pool where there is none."""
        owner = {"pod": name, "namespace": NAMESPACE, "node": node}
        unplaced = state.PodRecord(name, spec.POOL.network_address, spec.POOL)
        wanted = Request(NodeName(node), _handle(node, unplaced), owner, native=True)
        (given,) = self._allocator.auto_assign(Family.IPV4, 1, wanted)
        pod = state.PodRecord(name, IPv4Address(given.ip), IPv4Network(given.network))
        self._create_endpoint(node, pod)
        return pod

    def crowd(self, node: str) -> None:
        """Take every native address that the node has at hand, as so many pods would."""
        owner = {"pod": "crowd", "namespace": NAMESPACE, "node": node}
        wanted = Request(NodeName(node), _crowd(node), owner, native=True)
        if number := self.at_hand(node):
            self._allocator.auto_assign(Family.IPV4, number, wanted)

    def disperse(self, node: str) -> None:
        """Give back what ``crowd`` took."""
        self._allocator.release_by_handle(_crowd(node))

    def at_hand(self, node: str) -> int:
        """Return how many native addresses pods of a node can be given now."""
        affinities = (item.value for item in self.store.list(BlockAffinity).items)
        cidrs = {cidr_name(c) for c in native.blocks_of(affinities, Affinity(NodeName(node)), Family.IPV4)}
        blocks = (item.value for item in self.store.list(IPAMBlock).items)
        return sum(len(free(each)) for each in blocks if cidr_name(each.cidr) in cidrs)

    def shortage(self, node: str) -> Cause:
        """Return why the controller gets a node no more native addresses."""
        try:
            return self.store.get(CloudAddresses, node).value.cause
        except api.NotFound:
            return Cause.NONE

    def rights(self) -> Rights | None:
        return self._kubelet.rights() if self._kubelet else None

    def leader(self) -> str:
        """Return which controller leads; empty when none has led yet."""
        return next((item.value.holder for item in self.store.list(Lease).items), "")

    def _create_endpoint(self, node: str, pod: state.PodRecord) -> None:
        if self._kubelet:
            self._kubelet.start(_pod_name(node, pod), node=node, labels=_labels(node, pod))
        self.store.create(endpoint(node, pod, orchestrator=KUBERNETES if self._kubelet else CNI))

    def _remove_pod(self, node: str, pod: state.PodRecord) -> None:
        gone = endpoint(node, pod, orchestrator=KUBERNETES if self._kubelet else CNI)
        self.store.delete(WorkloadEndpoint, gone.meta.name, NAMESPACE)
        self._allocator.release_by_handle(_handle(node, pod))
        if self._kubelet:
            self._kubelet.end(_pod_name(node, pod))


def _crowd(node: str) -> str:
    return f"lab.crowd-{node}"


def endpoint(node: str, pod: state.PodRecord, *, orchestrator: str) -> WorkloadEndpoint:
    """Return a pod's endpoint, open to everybody until somebody writes a policy."""
    is_kubernetes = orchestrator == KUBERNETES
    account = kubelet.ACCOUNT if is_kubernetes else ""
    name = endpoint_name(EndpointId(node, orchestrator, _pod_name(node, pod), "eth0"))
    labels = endpoint_labels(
        _labels(node, pod), namespace=NAMESPACE, orchestrator=orchestrator, service_account=account
    )
    return WorkloadEndpoint(
        Metadata(name, NAMESPACE, labels=labels),
        NodeName(node),
        orchestrator,
        "eth0",
        container_id=_pod_name(node, pod),
        pod=_pod_name(node, pod) if is_kubernetes else pod.name,
        service_account=account,
        networks=(IPv4Network(pod.address),),
        profiles=tuple(kubernetes_profiles(NAMESPACE, account)) if is_kubernetes else (OPEN_PROFILE,),
        interface=spec.workload_device(_pod_name(node, pod)),
    )


def _pod_name(node: str, pod: state.PodRecord) -> str:
    return f"{node}-{pod.name}"


def _labels(node: str, pod: state.PodRecord) -> dict[str, str]:
    return {"node": node, "pod": pod.name}


def _handle(node: str, pod: state.PodRecord) -> str:
    return f"lab.{_pod_name(node, pod)}"


def _tunnel_handle(node: str) -> str:
    return f"vxlan-tunnel-addr-{node}"


def _now() -> datetime:
    return datetime.now(tz=UTC)
