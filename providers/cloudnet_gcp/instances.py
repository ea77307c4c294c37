"""Find the machines of nodes, in bulk: one list over all zones tells interfaces, subnets, state and forwarding."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from ipaddress import ip_address

from cloudnet.model.addresses import Address, InstanceId, NodeName
from cloudnet.model.resources import Node
from cloudnet.provider.api import Instance
from cloudnet_gcp import names, wire
from cloudnet_gcp.client import Client
from cloudnet_gcp.config import GcpConfig

NAMES_A_FILTER = 50  # more nodes than that are cheaper found in the list of the whole project
RUNNING = frozenset({"PENDING", "PROVISIONING", "STAGING", "RUNNING", "REPAIRING"})


def find(client: Client, nodes: Iterable[Node], config: GcpConfig) -> Mapping[NodeName, Instance]:
    """Return ``{node name: its machine}``; nodes whose machine is gone are left out."""
    by_id = {i: n for n in nodes if (i := names.from_provider_id(n.provider_id))}
    by_address = {a.ip: n for n in nodes if not n.provider_id for a in n.addresses}
    found: dict[NodeName, Instance] = {}
    for machine in describe(client, by_id, by_address):
        nics = [nic for nic in machine.nics if names.last(nic.network) == config.network]
        node = by_id.get(instance_id(machine)) or next(
            (by_address[a] for nic in nics for a in addresses(nic) if a in by_address), None
        )
        if node and nics:
            found[node.name] = parse(machine, choose(nics, node), mtu=config.mtu)
    return found


def describe(
    client: Client, by_id: Collection[InstanceId], by_address: Collection[Address] = ()
) -> list[wire.Machine]:
    """Return the machines that may be meant, with as few calls as the filters allow; addresses have no filter."""
    if not by_id and not by_address:
        return []
    if by_address or len(by_id) > NAMES_A_FILTER:
        return client.machines()
    return client.machines(sorted({names.last(i) for i in by_id}))


def instance_id(machine: wire.Machine) -> InstanceId:
    return InstanceId(f"{machine.zone}/{machine.name}")


def parse(machine: wire.Machine, nic: wire.Nic, *, mtu: int) -> Instance:
    return Instance(
        id=instance_id(machine),
        interface=names.interface_id(instance_id(machine), nic.name),
        subnet=names.subnet_id(nic.subnetwork),
        zone=machine.zone,
        addresses=addresses(nic),
        running=machine.status in RUNNING,
        forwarding=machine.can_ip_forward,
        mtu=mtu,
        type=machine.type,
    )


def choose(nics: list[wire.Nic], node: Node) -> wire.Nic:
    """Return the interface that carries the node's address; the first one in the network when none does."""
    own = {a.ip for a in node.addresses}
    return next((nic for nic in nics if own & set(addresses(nic))), nics[0])


def addresses(nic: wire.Nic) -> tuple[Address, ...]:
    """Return the interface's own addresses, IPv4 first."""
    return tuple(sorted((ip_address(a) for a in nic.addresses), key=lambda a: a.version))
