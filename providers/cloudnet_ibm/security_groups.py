"""Security groups as rules of addresses. Pure.

All groups of an interface act as one firewall that only allows. A rule that names a group means the interfaces' own
addresses in that group and never their pods': the default group lets VXLAN through and drops native packets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_network

from cloudnet.model.addresses import InterfaceId, Network, NodeName
from cloudnet.provider.findings import Machines
from cloudnet.provider.firewall import ANY, EVERY_PORT, Guard, Rule
from cloudnet_ibm import answers

_PROTOCOLS = {"all": (ANY,), "any": (ANY,), "icmp_tcp_udp": ("tcp", "udp", "icmp")}

Groups = tuple[str, ...]


def guards(
    found: Machines, groups: Mapping[InterfaceId, Groups], known: Sequence[answers.SecurityGroup]
) -> tuple[Guard, ...]:
    """Return one guard for each set of groups that nodes' interfaces have."""
    members: dict[str, list[Network]] = defaultdict(list)
    nodes: dict[Groups, list[NodeName]] = defaultdict(list)
    for name, instance in found.items():
        ids = groups.get(instance.interface, ())
        nodes[ids].append(name)
        for group in ids:
            members[group] += [ip_network(address) for address in instance.addresses]
    by_id = {group.id: group for group in known}
    return tuple(
        Guard(
            f"security group {', '.join(by_id[g].name for g in ids if g in by_id)}" if ids else "no security group",
            tuple(sorted(names)),
            tuple(rule for g in ids if g in by_id for rule in rules(by_id[g], members)),
            id=ids[0] if ids else "",
        )
        for ids, names in sorted(nodes.items())
    )


def rules(group: answers.SecurityGroup, members: Mapping[str, Sequence[Network]]) -> Iterator[Rule]:
    """Yield what a group lets through, given the addresses that are in each group."""
    for rule in group.rules:
        ports = EVERY_PORT if rule.port_min is None else (rule.port_min, rule.port_max or rule.port_min)
        for protocol in _PROTOCOLS.get(rule.protocol, (rule.protocol,)):
            yield Rule(rule.direction == "inbound", _remotes(rule.remote, members), protocol, ports)


def _remotes(remote: answers.Remote, members: Mapping[str, Sequence[Network]]) -> tuple[Network, ...]:
    text = remote.cidr_block or remote.address
    return (ip_network(text),) if text else tuple(members.get(remote.id, ()))
