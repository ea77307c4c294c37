"""Find the machines of nodes, in bulk: a list of interfaces tells machines, subnets, addresses and forwarding.

One call a resource group, and one a scale set whose machines are nodes: interfaces of uniform scale sets are in lists
of their own. Power states are not among what these lists tell: ``power`` has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address

from cloudnet.model.addresses import Address, InstanceId, NodeName
from cloudnet.model.resources import Node
from cloudnet.provider.api import Instance
from cloudnet_azure import ids
from cloudnet_azure.client import Client, Json
from cloudnet_azure.config import AzureConfig
from cloudnet_azure.configurations import MARK

_OF_A_SCALE_SET = 3  # names in the id of a scale set's machine


def find(client: Client, nodes: Iterable[Node], config: AzureConfig) -> Mapping[NodeName, Instance]:
    """Return ``{node name: its machine}``; nodes whose machine is gone are left out."""
    nodes = tuple(nodes)
    by_id = {i: n for n in nodes if (i := ids.machine(n.provider_id))}
    by_address = {a.ip: n for n in nodes if not n.provider_id for a in n.addresses}
    interfaces: dict[NodeName, list[Json]] = {}
    for interface in listed(client, by_id.keys(), config, more=bool(by_address)):
        machine = machine_of(interface)
        node = by_id.get(machine) if machine else None
        node = node or next((by_address[a] for a in addresses(interface) if a in by_address), None)
        if node and machine:
            interfaces.setdefault(node.name, []).append(interface)
    by_name = {node.name: node for node in nodes}
    return {name: parse(choose(found, by_name[name]), mtu=config.mtu) for name, found in sorted(interfaces.items())}


def listed(client: Client, wanted: Iterable[InstanceId], config: AzureConfig, *, more: bool) -> Iterator[Json]:
    """Yield the interfaces of all groups and scale sets of these machines; ``more``: of the configured ones too."""
    names = [ids.names(i) for i in wanted]
    groups = {n[0] for n in names if len(n) < _OF_A_SCALE_SET}
    scale_sets = {(n[0], n[1]) for n in names if len(n) == _OF_A_SCALE_SET}
    if more:
        groups.add(config.resource_group.lower())
        scale_sets |= {(config.resource_group.lower(), name.lower()) for name in config.scale_sets}
    for group in sorted(groups):
        yield from client.interfaces(group)
    for group, scale_set in sorted(scale_sets):
        yield from client.scale_set_interfaces(group, scale_set)


def machine_of(interface: Json) -> InstanceId | None:
    """Return the machine that the interface is attached to."""
    attached = interface.get("properties", {}).get("virtualMachine") or {}
    return ids.machine(attached.get("id", ""))


def choose(interfaces: list[Json], node: Node) -> Json:
    """Return the interface that carries the node's address, IPv4 before IPv6; the primary one when none does."""
    for own in sorted(node.addresses, key=lambda a: a.version):
        for interface in interfaces:
            if own.ip in addresses(interface):
                return interface
    return next((i for i in interfaces if i["properties"].get("primary")), interfaces[0])


def parse(interface: Json, *, mtu: int) -> Instance:
    machine = machine_of(interface)
    first = configurations(interface)
    subnet = (first[0].get("properties", {}).get("subnet") or {}).get("id", "") if first else ""
    return Instance(
        id=machine or InstanceId(""),
        interface=ids.interface(interface["id"]),
        subnet=ids.subnet(subnet),
        addresses=addresses(interface),
        running=machine is not None,
        forwarding=bool(interface["properties"].get("enableIPForwarding", False)),
        mtu=mtu,
    )


def configurations(interface: Json) -> list[Json]:
    """Return the interface's ip-configurations, the primary one first."""
    found = interface.get("properties", {}).get("ipConfigurations") or []
    return sorted(found, key=lambda c: not c.get("properties", {}).get("primary", False))


def addresses(interface: Json) -> tuple[Address, ...]:
    """Return the interface's addresses, IPv4 first and among those the primary one; prefixes are not among them."""
    found = [
        ip_address(text.partition("/")[0])
        for c in configurations(interface)
        if not str(c.get("name", "")).lower().startswith(MARK)  # for pods, of whatever cluster
        if (text := c.get("properties", {}).get("privateIPAddress"))
        and not c.get("properties", {}).get("privateIPAddressPrefixLength")
    ]
    return tuple(sorted(found, key=lambda a: a.version))
