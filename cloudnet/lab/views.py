"""A lab's nodes and pods as others see them: values made from its state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from cloudnet.lab import spec, state
from cloudnet.lab.state import Fault, LabState, NodeRecord, PodRecord
from cloudnet.model.addresses import Address, Interface, Network, NodeName
from cloudnet.model.paths import Path as RoutePath
from cloudnet.model.paths import PathKind, Reason


@dataclass(frozen=True, slots=True)
class LabPod:
    """A pod of a lab node."""

    name: str
    namespace: str
    address: Address
    block: Network


@dataclass(frozen=True, slots=True)
class LabNode:
    """A node of a lab."""

    name: str
    namespace: str
    subnet: str
    addresses: tuple[Interface, ...]
    agent_socket: Path
    pods: tuple[LabPod, ...]
    blocks: tuple[Network, ...] = ()
    zone: str = ""

    @property
    def native(self) -> tuple[Network, ...]:
        """The blocks of its pods that the cloud gave, the first pod's first."""
        return tuple(dict.fromkeys(pod.block for pod in self.pods if pod.block not in self.blocks))


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A node as ``lab status`` shows it."""

    name: str
    namespace: str
    subnet: str
    zone: str
    addresses: tuple[Interface, ...]
    instance: str
    blocks: tuple[Network, ...]
    pods: tuple[LabPod, ...]
    agent: str


@dataclass(frozen=True, slots=True)
class LabStatus:
    """A lab as ``lab status`` shows it. ``calls`` counts the account's API calls by action; ``store`` is its URL."""

    name: str
    cloud: str
    directory: Path
    nodes: tuple[NodeStatus, ...]
    controller: str
    control_plane: str
    store: str
    store_server: str
    faults: tuple[Fault, ...]
    calls: Mapping[str, int]
    drops: Mapping[str, int]


def node(now: LabState, record: NodeRecord) -> LabNode:
    lab = now.spec.name
    return LabNode(
        name=record.name,
        namespace=spec.node_namespace(lab, record.name),
        subnet=record.subnet,
        addresses=(record.address,),
        agent_socket=agent_socket(lab, record.name),
        pods=tuple(pod(lab, record, each) for each in record.pods),
        blocks=record.blocks,
        zone=zone(now, record),
    )


def pod(lab: str, record: NodeRecord, each: PodRecord) -> LabPod:
    return LabPod(each.name, spec.pod_namespace(lab, record.name, each.name), each.address, each.block)


def node_status(now: LabState, record: NodeRecord) -> NodeStatus:
    seen = node(now, record)
    return NodeStatus(
        name=seen.name,
        namespace=seen.namespace,
        subnet=seen.subnet,
        zone=seen.zone,
        addresses=seen.addresses,
        instance=record.instance,
        blocks=record.blocks,
        pods=seen.pods,
        agent=life(now, agent_role(record.name)),
    )


def zone(now: LabState, record: NodeRecord) -> str:
    return next(plan.zone for plan in spec.subnets(now.spec) if plan.name == record.subnet)


def agent_socket(lab: str, node: str) -> Path:
    return state.directory(lab) / f"{node}.sock"


def agent_role(node: str) -> str:
    """Return what a node's agent is called among the lab's processes."""
    return f"agent {node}"


def life(now: LabState, role: str) -> str:
    """Return in words whether one of the lab's processes runs."""
    process = now.processes.get(role)
    if process is None:
        return "not started"
    return "running" if process.alive() else "dead"


def path(item: Mapping[str, Any]) -> RoutePath:  # JSON from the agent's socket
    return RoutePath(
        block=ip_network(item["block"]),
        node=NodeName(item["node"]),
        kind=PathKind(item["kind"]),
        reason=Reason(item["reason"]),
        next_hop=ip_address(item["next_hop"]) if item.get("next_hop") else None,
        mtu=item.get("mtu", 0),
        detail=item.get("detail", ""),
        since=item.get("since", 0.0),
    )
