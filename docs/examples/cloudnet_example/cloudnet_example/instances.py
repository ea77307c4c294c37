"""Find the machines of nodes, in bulk: one call for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from cloudnet.model.addresses import InstanceId, InterfaceId, NodeName, SubnetId
from cloudnet.model.resources import Node
from cloudnet.provider.api import Instance
from cloudnet_example.client import Client, Machine

SCHEME = "example://"  # of the node's provider id: example://shelf-1/m-17


def find(client: Client, nodes: Iterable[Node], *, mtu: int) -> Mapping[NodeName, Instance]:
    """Return ``{node name: its machine}``; nodes without one are left out, and no nodes cost no call."""
    wanted = tuple(nodes)
    if not wanted:
        return {}
    machines = [parse(machine, mtu=mtu) for machine in client.machines()]
    found = ((node.name, next((m for m in machines if is_of(m, node)), None)) for node in wanted)
    return {name: machine for name, machine in found if machine is not None}


def is_of(machine: Instance, node: Node) -> bool:
    """Tell whether the machine is the node's: by its provider id, else by its address."""
    if node.provider_id:
        return node.provider_id.startswith(SCHEME) and node.provider_id.rpartition("/")[2] == machine.id
    return any(address.ip in machine.addresses for address in node.addresses)


def parse(machine: Machine, *, mtu: int) -> Instance:
    return Instance(
        id=InstanceId(machine.name),
        interface=InterfaceId(machine.port),
        subnet=SubnetId(machine.segment),
        addresses=tuple(sorted((ip_address(a) for a in machine.addresses), key=lambda a: a.version)),
        running=machine.running,
        forwarding=machine.forwarding,
        mtu=mtu,
    )
