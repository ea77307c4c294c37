"""Security groups as rules of addresses. Pure.

All groups of an interface act as one firewall that only allows. A rule that names a group means the interfaces' own
addresses in that group and never their pods': the usual self-reference lets VXLAN through and drops native packets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_network
from typing import TYPE_CHECKING

from cloudnet.model.addresses import Network, NodeName
from cloudnet.provider.api import Instance
from cloudnet.provider.findings import Machines
from cloudnet.provider.firewall import ANY, EVERY_PORT, Guard, Rule

if TYPE_CHECKING:  # stubs, which exist only where the code is checked
    from mypy_boto3_ec2.type_defs import InstanceTypeDef, IpPermissionOutputTypeDef, SecurityGroupTypeDef

_PROTOCOLS = {"-1": ANY, "6": "tcp", "17": "udp", "1": "icmp", "58": "icmp", "icmpv6": "icmp"}

Groups = tuple[str, ...]


def groups_of(answers: Iterable[InstanceTypeDef], found: Machines) -> Mapping[NodeName, Groups]:
    """Return the groups of each node's own interface: {node name: group ids}."""
    by_interface = {
        interface["NetworkInterfaceId"]: tuple(sorted(group["GroupId"] for group in interface.get("Groups", [])))
        for answer in answers
        for interface in answer.get("NetworkInterfaces", [])
    }
    return {name: by_interface.get(instance.interface, ()) for name, instance in found.items()}


def guards(
    groups: Mapping[NodeName, Groups], found: Machines, answers: Sequence[SecurityGroupTypeDef]
) -> tuple[Guard, ...]:
    """Return one guard for each set of groups that nodes have."""
    members: dict[str, list[Network]] = defaultdict(list)
    nodes: dict[Groups, list[NodeName]] = defaultdict(list)
    for name, ids in groups.items():
        nodes[ids].append(name)
        for group in ids:
            members[group] += _own(found[name])
    by_id = {answer["GroupId"]: answer for answer in answers}
    return tuple(
        Guard(
            f"security group {', '.join(ids)}" if ids else "no security group",
            tuple(sorted(names)),
            tuple(rule for group in ids if group in by_id for rule in rules(by_id[group], members)),
            id=ids[0] if ids else "",
        )
        for ids, names in sorted(nodes.items())
    )


def rules(group: SecurityGroupTypeDef, members: Mapping[str, Sequence[Network]]) -> Iterator[Rule]:
    """Yield what a group lets through, given the addresses that are in each group."""
    for inbound, permissions in ((True, group.get("IpPermissions")), (False, group.get("IpPermissionsEgress"))):
        for permission in permissions or ():
            protocol = permission.get("IpProtocol", "-1").lower()
            yield Rule(inbound, _remotes(permission, members), _PROTOCOLS.get(protocol, protocol), _ports(permission))


def _ports(permission: IpPermissionOutputTypeDef) -> tuple[int, int]:
    """Return the ports; -1 is every one, or every type of ICMP."""
    if permission.get("IpProtocol") == "-1" or permission.get("FromPort", -1) < 0:
        return EVERY_PORT
    return permission["FromPort"], permission.get("ToPort", permission["FromPort"])


def _remotes(permission: IpPermissionOutputTypeDef, members: Mapping[str, Sequence[Network]]) -> tuple[Network, ...]:
    four = [ip_network(r["CidrIp"]) for r in permission.get("IpRanges", []) if r.get("CidrIp")]
    six = [ip_network(r["CidrIpv6"]) for r in permission.get("Ipv6Ranges", []) if r.get("CidrIpv6")]
    named = [n for pair in permission.get("UserIdGroupPairs", []) for n in members.get(pair.get("GroupId", ""), ())]
    return (*four, *six, *named)


def _own(instance: Instance) -> list[Network]:
    return [ip_network(address) for address in instance.addresses]
