"""Find the machines of nodes, in bulk: one DescribeInstances tells interfaces, subnets, state and source checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING

from cloudnet.model.addresses import Address, Family, InstanceId, InterfaceId, NodeName, SubnetId, family
from cloudnet.model.resources import Node
from cloudnet.provider.api import Instance
from cloudnet_aws.client import Client

if TYPE_CHECKING:  # stubs, which exist only where the code is checked
    from mypy_boto3_ec2.type_defs import InstanceNetworkInterfaceTypeDef, InstanceTypeDef

VALUES_A_FILTER = 200  # EC2's limit; more nodes than that are cheaper found in the list of the whole VPC
RUNNING = frozenset({"pending", "running"})


def find(client: Client, nodes: Iterable[Node], *, mtu: int) -> Mapping[NodeName, Instance]:
    """Return ``{node name: its machine}``; nodes whose machine is gone are left out."""
    nodes = tuple(nodes)
    by_id = {i: n for n in nodes if (i := instance_id(n))}
    by_address = {a.ip: n for n in nodes if not n.provider_id for a in n.addresses}
    found: dict[NodeName, Instance] = {}
    for answer in describe(client, frozenset(by_id), frozenset(by_address)):
        node = by_id.get(answer["InstanceId"]) or next(
            (by_address[a] for e in answer.get("NetworkInterfaces", []) for a in addresses(e) if a in by_address),
            None,
        )
        instance = parse(answer, node, mtu) if node else None
        if node and instance:
            found[node.name] = instance
    return found


def describe(client: Client, ids: frozenset[str], wanted: frozenset[Address]) -> list[InstanceTypeDef]:
    """Return the answers for these ids and addresses, with as few calls as the filters allow."""
    four = sorted(str(a) for a in wanted if family(a) is Family.IPV4)
    if max(len(ids), len(four)) > VALUES_A_FILTER or (wanted and not four):
        return client.instances()
    answers = client.instances("instance-id", sorted(ids)) if ids else []
    return answers + (client.instances("private-ip-address", four) if four else [])


def with_ids(client: Client, ids: Iterable[str]) -> list[InstanceTypeDef]:
    """Return the answers for these instances."""
    return describe(client, frozenset(ids), frozenset())


def instance_id(node: Node) -> str:
    """Return the id in the node's provider id (``aws:///eu-west-1a/i-0abc``), '' when it names no EC2 instance."""
    last = node.provider_id.rpartition("/")[2]
    return last if last.startswith("i-") else ""


def parse(answer: InstanceTypeDef, node: Node, mtu: int) -> Instance | None:
    """Return the node's machine; ``None`` when it is terminated (EC2 lists it for an hour) or has no interface."""
    interface = choose(answer.get("NetworkInterfaces", []), node)
    state = answer.get("State", {}).get("Name")
    if interface is None or state == "terminated":
        return None
    return Instance(
        id=InstanceId(answer["InstanceId"]),
        interface=InterfaceId(interface["NetworkInterfaceId"]),
        subnet=SubnetId(interface.get("SubnetId", "")),
        zone=answer.get("Placement", {}).get("AvailabilityZone", ""),
        addresses=addresses(interface),
        running=state in RUNNING,
        forwarding=not interface.get("SourceDestCheck", True),
        mtu=mtu,
        type=answer.get("InstanceType", ""),
    )


def choose(
    interfaces: Iterable[InstanceNetworkInterfaceTypeDef], node: Node
) -> InstanceNetworkInterfaceTypeDef | None:
    """Return the interface that carries the node's address, IPv4 before IPv6; the first one when none does."""
    sorted_ = sorted(interfaces, key=lambda e: e.get("Attachment", {}).get("DeviceIndex", 0))
    for own in sorted(node.addresses, key=lambda a: a.version):
        for interface in sorted_:
            if own.ip in addresses(interface):
                return interface
    return sorted_[0] if sorted_ else None


def addresses(interface: InstanceNetworkInterfaceTypeDef) -> tuple[Address, ...]:
    """Return the interface's addresses, IPv4 first and among those the primary one."""
    four = sorted(interface.get("PrivateIpAddresses", []), key=lambda a: not a.get("Primary", False))
    six = interface.get("Ipv6Addresses", [])
    return tuple(ip_address(a["PrivateIpAddress"]) for a in four) + tuple(ip_address(a["Ipv6Address"]) for a in six)
