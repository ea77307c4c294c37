"""What kubelet, IPAM and CNI would write into the store of a real cluster: nodes, pool, blocks, pods wired by hand.

Blocks and addresses go through address management, so that everybody else's go with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network

from cloudnet.ipam import affinity, native
from cloudnet.ipam.affinity import Moment
from cloudnet.ipam.allocator import Allocator, Request
from cloudnet.ipam.block import Release, free
from cloudnet.lab import spec, state
from cloudnet.lab.errors import LabError
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.calico import cidr_name
from cloudnet.model.cloud_addresses import CloudAddresses
from cloudnet.model.resources import (
    Affinity,
    AllowedUse,
    BlockAffinity,
    EncapMode,
    IPAMBlock,
    IPPool,
    Metadata,
    Node,
    Vtep,
)
from cloudnet.model.workloads import CNI, EndpointId, WorkloadEndpoint, endpoint_labels, endpoint_name
from cloudnet.overlay import vxlan
from cloudnet.policy.selectors import Matches
from cloudnet.store import api, registry

NAMESPACE = "lab"
OPEN_PROFILE = "projectcalico-default-allow"  # Calico's own: a lab without policies lets everybody talk


def url(lab: str) -> str:
    return f"sqlite://{state.directory(lab) / 'store.sqlite'}"


def open_store(lab: str) -> api.Store:
    """Open the lab's store; the caller closes it."""
    return registry.open_store(url(lab))


@contextmanager
def opened(lab: str) -> Iterator[api.Store]:
    """Open the lab's store for a few calls."""
    store = open_store(lab)
    try:
        yield store
    finally:
        store.close()


def pool(*, overlay: bool = False) -> IPPool:
    """Return the lab's pool: native routes wanted, VXLAN as ground; or an ``overlay`` that asks the cloud nothing."""
    mode = EncapMode.ALWAYS if overlay else EncapMode.NEVER
    return IPPool(Metadata("default"), spec.POOL, vxlan_mode=mode, block_size=spec.BLOCK_LENGTH)


def join(store: api.Store, record: state.NodeRecord, *, provider_id: str) -> None:
    """Write a node with its blocks and its tunnel's address, the first one of the first block."""
    for block in record.blocks:
        give_block(store, record.name, block)
    tunnel = record.blocks[0].network_address
    handle = f"vxlan-tunnel-addr-{record.name}"
    owner = {"node": record.name, "type": "vxlanTunnelAddress"}
    wanted = Request(NodeName(record.name), handle, owner, use=AllowedUse.TUNNEL)
    _allocator(store).assign_ip(tunnel, wanted)
    store.create(
        Node(
            Metadata(record.name),
            addresses=(record.address,),
            vteps=(Vtep(tunnel, vxlan.mac_of(NodeName(record.name), Family.IPV4)),),
            provider_id=provider_id,
        )
    )


def leave(store: api.Store, record: state.NodeRecord) -> None:
    """Take away what the store has of a node."""
    allocator = _allocator(store)
    for pod in record.pods:
        store.delete(WorkloadEndpoint, endpoint(record.name, pod).meta.name, NAMESPACE)
        allocator.release_by_handle(_handle(record.name, pod))
    allocator.release_by_handle(f"vxlan-tunnel-addr-{record.name}")
    for item in store.list(WorkloadEndpoint).items:
        if item.value.node == record.name:  # of pods that came through CNI
            with suppress(api.NotFound):
                store.delete(WorkloadEndpoint, item.value.meta.name, item.value.meta.namespace)
    for block in record.blocks:
        allocator.release_block(NodeName(record.name), block, in_use=True)
    store.delete(Node, record.name)


def give_block(store: api.Store, node: str, block: IPv4Network) -> None:
    """Make a block the node's, as IPAM does when one is full."""
    now = _now()
    affinity.claim(store, Affinity(NodeName(node)), block, Moment(now, int(now.timestamp() * 1_000_000_000)))


def add_pod(store: api.Store, node: str, pod: state.PodRecord) -> None:
    """Write a pod that was wired by hand."""
    owner = {"pod": pod.name, "namespace": NAMESPACE, "node": node}
    _allocator(store).assign_ip(pod.address, Request(NodeName(node), _handle(node, pod), owner))
    store.create(endpoint(node, pod))


def add_native_pod(store: api.Store, node: str, name: str, block: IPv4Network) -> state.PodRecord:
    """Write a pod with an address of one native block, wired by hand."""
    owner = {"pod": name, "namespace": NAMESPACE, "node": node}
    allocator, unplaced = _allocator(store), state.PodRecord(name, block.network_address, block)
    wanted = Request(NodeName(node), _handle(node, unplaced), owner, native=True)
    given = [i.ip for i in allocator.auto_assign(Family.IPV4, _ALL_OF_A_NODE, wanted)]
    inside = [ip for ip in given if isinstance(ip, IPv4Address) and ip in block]
    allocator.release_ips(Release(ip) for ip in given if ip not in inside[:1])
    if not inside:
        raise LabError(f"block {block} of node {node!r} has no free address")
    pod = state.PodRecord(name, inside[0], block)
    store.create(endpoint(node, pod))
    return pod


def start_pod(store: api.Store, node: str, name: str) -> state.PodRecord:
    """Write a pod with the address that is at hand: a native one, and one of the pool where there is none."""
    owner = {"pod": name, "namespace": NAMESPACE, "node": node}
    unplaced = state.PodRecord(name, spec.POOL.network_address, spec.POOL)
    wanted = Request(NodeName(node), _handle(node, unplaced), owner, native=True)
    (given,) = _allocator(store).auto_assign(Family.IPV4, 1, wanted)
    pod = state.PodRecord(name, IPv4Address(given.ip), IPv4Network(given.network))
    store.create(endpoint(node, pod))
    return pod


def crowd(store: api.Store, node: str) -> None:
    """Take every native address that the node has at hand, as so many pods would."""
    owner = {"pod": "crowd", "namespace": NAMESPACE, "node": node}
    wanted = Request(NodeName(node), _crowd(node), owner, native=True)
    if number := at_hand(store, node):
        _allocator(store).auto_assign(Family.IPV4, number, wanted)


def disperse(store: api.Store, node: str) -> None:
    """Give back what ``crowd`` took."""
    _allocator(store).release_by_handle(_crowd(node))


def _crowd(node: str) -> str:
    return f"lab.crowd-{node}"


def at_hand(store: api.Store, node: str) -> int:
    """Return how many native addresses pods of a node can be given now."""
    affinities = (item.value for item in store.list(BlockAffinity).items)
    cidrs = {cidr_name(c) for c in native.blocks_of(affinities, Affinity(NodeName(node)), Family.IPV4)}
    blocks = (item.value for item in store.list(IPAMBlock).items)
    return sum(len(free(each)) for each in blocks if cidr_name(each.cidr) in cidrs)


def addresses(store: api.Store, node: str) -> CloudAddresses:
    """Return what the controller has recorded of a node's native addresses; nothing held before it has."""
    try:
        return store.get(CloudAddresses, node).value
    except api.NotFound:
        return CloudAddresses(Metadata(node))


_ALL_OF_A_NODE = 256  # addresses: enough to find one of each block among them


def endpoint(node: str, pod: state.PodRecord) -> WorkloadEndpoint:
    """Return a pod's endpoint, open to everybody until somebody writes a policy."""
    name = endpoint_name(EndpointId(node, CNI, f"{node}-{pod.name}", "eth0"))
    labels = endpoint_labels({"node": node, "pod": pod.name}, namespace=NAMESPACE, orchestrator=CNI)
    return WorkloadEndpoint(
        Metadata(name, NAMESPACE, labels=labels),
        NodeName(node),
        CNI,
        "eth0",
        container_id=f"{node}-{pod.name}",
        pod=pod.name,
        networks=(IPv4Network(pod.address),),
        profiles=(OPEN_PROFILE,),
        interface=spec.workload_device(f"{node}-{pod.name}"),
    )


def _handle(node: str, pod: state.PodRecord) -> str:
    return f"lab.{node}-{pod.name}"


def _allocator(store: api.Store) -> Allocator:
    return Allocator(store, now=_now, matches=Matches())


def _now() -> datetime:
    return datetime.now(tz=UTC)
