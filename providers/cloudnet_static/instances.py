"""Nodes as machines of a plain network: each is where its address is. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cloudnet.model.addresses import InstanceId, Interface, InterfaceId, NodeName, SubnetId
from cloudnet.model.resources import Node
from cloudnet.provider.api import Instance
from cloudnet_static.config import StaticConfig, Subnet


def find(config: StaticConfig, nodes: Iterable[Node]) -> Mapping[NodeName, Instance]:
    """Return ``{node name: its machine}``; nodes without an address in a declared subnet are left out."""
    placed = ((node, place(config, node)) for node in nodes)
    return {node.name: _instance(node, subnet) for node, subnet in placed if subnet is not None}


def place(config: StaticConfig, node: Node) -> Subnet | None:
    """Return the subnet of the node's first address that is in one, IPv4 before IPv6."""
    found = (_subnet(config, a) for a in sorted(node.addresses, key=lambda a: a.version))
    return next((subnet for subnet in found if subnet is not None), None)


def _subnet(config: StaticConfig, address: Interface) -> Subnet | None:
    if not config.subnets:
        return Subnet(address.network, str(address.network), mtu=config.mtu)
    return next((s for s in config.subnets if address.ip in s.cidr), None)


def _instance(node: Node, subnet: Subnet) -> Instance:
    addresses = tuple(a.ip for a in sorted(node.addresses, key=lambda a: a.version))
    return Instance(
        id=InstanceId(node.name),
        interface=InterfaceId(f"{node.name}/{addresses[0]}"),
        subnet=SubnetId(subnet.name),
        zone=subnet.zone,
        addresses=addresses,
        forwarding=True,  # no machine in the middle looks at a packet's source
        mtu=subnet.mtu,
    )
