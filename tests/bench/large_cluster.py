"""Large clusters, ten pods a node and 500 policies, as Kubernetes holds them and as every other store does.

Pods and nodes are documents of usual size; every other value follows from their numbers, so that both stores hold the
same cluster. Run as a program it is the API server of one with so many nodes, in a process of its own.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import bench_kubernetes
import msgspec

from cloudnet.ipam import block as blocks
from cloudnet.manifests import crds
from cloudnet.model.addresses import Network, NodeName
from cloudnet.model.calico import cidr_name
from cloudnet.model.kubernetes_endpoints import link_name
from cloudnet.model.policies import (
    Action,
    EntityRule,
    NetworkPolicy,
    PolicySpec,
    PolicyType,
    Port,
    Profile,
    Protocol,
    Rule,
)
from cloudnet.model.resources import (
    Affinity,
    AllocationAttribute,
    BlockAffinity,
    CloudNode,
    CloudRoute,
    InstanceId,
    InterfaceId,
    IPAMBlock,
    IPPool,
    Metadata,
    Node,
    Resource,
    SubnetId,
)
from cloudnet.model.workloads import WorkloadEndpoint
from cloudnet.store import kubernetes_forms
from cloudnet.testing import keys
from cloudnet.testing.kube.server import ApiServer

PODS_A_NODE, POLICIES, NAMESPACES, APPS = 10, 500, 50, 10
POOL = IPv4Network("10.64.0.0/12")
GROUP = "projectcalico.org/v3"
LOCAL_POLICY = NAMESPACES + 1  # selects pod 1, which node 0 has: app-1 of team-1
PEER = NAMESPACES + 1  # as app-2 of team-1, a peer of that policy
NEAR_PEER = 2 * NAMESPACES + 1  # a pod of team-1 on another node; as app-2 it is a peer of that policy

Json = dict[str, Any]


# --- what Kubernetes itself has ------------------------------------------------------------------------------


def namespaces() -> Iterator[Json]:
    for number in range(NAMESPACES):
        meta = {"name": f"team-{number}", "labels": {"team": str(number)}}
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}


def node(number: int) -> Json:
    """Return a node with its own address and tunnel address, where an agent would have put them."""
    made = bench_kubernetes.node(number)
    underlay, tunnel = IPv4Address("10.0.0.1") + number, IPv4Address("100.64.0.0") + number
    made["metadata"]["annotations"] = {
        "projectcalico.org/IPv4Address": f"{underlay}/16",
        "projectcalico.org/IPv4VXLANTunnelAddr": str(tunnel),
        "projectcalico.org/VXLANTunnelMACAddr": f"66:00:00:00:{number >> 8:02x}:{number & 255:02x}",
    }
    made["spec"].pop("podCIDRs")
    return {"apiVersion": "v1", "kind": "Node", **made}


def pod(number: int) -> Json:
    """Return a pod, with an address of its node's block."""
    made = bench_kubernetes.pod(number)
    meta, address = made["metadata"], address_of(number)
    meta["labels"] |= {"app": app(number)}
    meta["annotations"] |= {
        "cni.projectcalico.org/podIP": f"{address}/32",
        "cni.projectcalico.org/podIPs": f"{address}/32",
    }
    made["spec"]["nodeName"] = f"node-{number // PODS_A_NODE}"
    return {"apiVersion": "v1", "kind": "Pod", **made}


def interface(number: int) -> str:
    meta = pod(number)["metadata"]
    return link_name(meta["namespace"], meta["name"])


def app(number: int) -> str:
    """Return a pod's application: on each node and in each namespace there are pods of all of them."""
    return f"app-{(number + number // NAMESPACES) % APPS}"


def block_of(node: int) -> IPv4Network:
    return IPv4Network((int(POOL.network_address) + 64 * node, 26))


def address_of(pod: int) -> IPv4Address:
    return block_of(pod // PODS_A_NODE).network_address + pod % PODS_A_NODE


# --- what is stored alike everywhere -------------------------------------------------------------------------


def values(nodes: int) -> Iterator[Resource]:
    """Yield pools, blocks, routes and policies."""
    yield IPPool(Metadata("default"), POOL)
    for number in range(nodes):
        yield from of_node(number)
    for number in range(POLICIES):
        yield policy(number)


def of_node(number: int) -> Iterator[Resource]:
    name, block = NodeName(f"node-{number}"), block_of(number)
    yield affinity(number, block)
    yield filled(number, block)
    identity = InstanceId(f"i-{number}"), InterfaceId(f"eni-{number}"), SubnetId("subnet-1")
    yield CloudNode(Metadata(name), *identity, forwarding=True)
    yield CloudRoute(Metadata(cidr_name(block)), block, name)


def filled(number: int, block: IPv4Network) -> IPAMBlock:
    """Return a node's block, its first addresses given to its pods."""
    made = blocks.new(block, Affinity(NodeName(f"node-{number}")), now=datetime(2026, 1, 1, tzinfo=UTC), sequence=1)
    for pod in range(number * PODS_A_NODE, (number + 1) * PODS_A_NODE):
        owner = {
            "namespace": f"team-{pod % NAMESPACES}",
            "pod": f"web-6d4cf56db6-{pod:05d}",
            "node": f"node-{number}",
        }
        made, _ = blocks.auto_assign(made, 1, AllocationAttribute(f"k8s-pod-network.{pod:064x}", owner))
    return made


def affinity(node: int, block: Network) -> BlockAffinity:
    return BlockAffinity(Metadata(f"node-{node}-{cidr_name(block)}"), NodeName(f"node-{node}"), block)


def policy(number: int, port: int = 80) -> NetworkPolicy:
    """Return a policy: each namespace's first isolates all of its pods, the others let applications talk."""
    meta = Metadata(f"policy-{number // NAMESPACES}", f"team-{number % NAMESPACES}")
    which = number // NAMESPACES
    if not which:
        return NetworkPolicy(meta, PolicySpec(selector="all()", types=(PolicyType.INGRESS, PolicyType.EGRESS)))
    tcp = Protocol(6, "TCP")
    near = Rule(
        Action.ALLOW,
        protocol=tcp,
        source=EntityRule(selector=f"app == 'app-{(which + 1) % APPS}'"),
        destination=EntityRule(ports=(Port(port, port),)),
    )
    far = Rule(
        Action.ALLOW,
        protocol=tcp,
        source=EntityRule(
            selector=f"app == 'app-{which % APPS}'", namespace_selector=f"team == '{(number + 1) % NAMESPACES}'"
        ),
        destination=EntityRule(ports=(Port(port + 1, port + 1),)),
    )
    out = Rule(Action.ALLOW, destination=EntityRule(nets=(POOL,)))
    spec = PolicySpec(selector=f"app == 'app-{which % APPS}'", ingress=(near, far), egress=(out,))
    return NetworkPolicy(meta, spec)


# --- the same for other stores, and as an API server ---------------------------------------------------------


def resources(nodes: int) -> Iterator[Resource]:
    """Yield the whole cluster as values; what Kubernetes makes of its own objects comes with them."""
    for raw in namespaces():
        yield from read(Profile, raw)
    for number in range(nodes):
        yield from read(Node, node(number))
    for number in range(nodes * PODS_A_NODE):
        yield from read(WorkloadEndpoint, pod(number))
    yield from values(nodes)


def read(kind: type[Resource], document: Json) -> Iterator[Resource]:
    form = form_of(kind)
    value = form.read(form.collections[0], msgspec.json.encode(document))
    if value is not None:
        yield replace(value, meta=replace(value.meta, uid=""))


def form_of(kind: type[Resource]) -> kubernetes_forms.Form[Any]:
    return kubernetes_forms.form(kind, group=GROUP, namespace="cloudnet-system", now=lambda: "2026-01-01T00:00:00Z")


def documents(nodes: int) -> Iterator[Json]:
    """Yield the whole cluster as Kubernetes holds it."""
    yield from namespaces()
    yield from map(node, range(nodes))
    yield from map(pod, range(nodes * PODS_A_NODE))
    for value in values(nodes):
        yield form_of(type(value)).write(value, None)


def serve(nodes: int, folder: Path, protocol: str) -> None:
    """Be the cluster's API server until standard input ends; say the port once everything is there."""
    with ApiServer(tls=keys.Keys(folder).server(protocol)) as api:
        api.install([*crds.own_crds(), *crds.calico_crds(), *crds.policy_crds()])
        for document in documents(nodes):
            api.create(document)
        gc.collect()
        gc.freeze()  # what stands is never looked at again: the server's pauses would be the agent's
        print(api.port, flush=True)  # noqa: T201 - the other process reads it
        sys.stdin.read()


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
