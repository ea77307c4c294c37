"""Firewall rules of a network as rules of addresses. Pure.

A source tag or service account means the addresses of those machines' interfaces and never their pods': a rule among
tagged nodes lets VXLAN through and drops native packets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from ipaddress import ip_network

from cloudnet.model.addresses import Family, Network, NodeName
from cloudnet.provider.findings import Machines
from cloudnet.provider.firewall import ANY, EVERY_PORT, EVERYWHERE, Guard, Rule, of_family
from cloudnet_gcp import wire

_PROTOCOLS = {"all": ANY, "6": "tcp", "17": "udp"}
_ICMP: Mapping[str, Family] = {"icmp": Family.IPV4, "1": Family.IPV4, "58": Family.IPV6}

Marks = frozenset[str]


def marks(machine: wire.Machine) -> Marks:
    """Return what rules may name a machine by: its tags and its service accounts."""
    return frozenset((*machine.tags, *machine.accounts))


def guards(known: Sequence[wire.Firewall], found: Machines, marked: Mapping[NodeName, Marks]) -> tuple[Guard, ...]:
    """Return one guard for each set of rules that nodes have; its id is what all of these nodes are marked with.

    What no rule speaks of is dropped on the way in, and let out.
    """
    members: dict[str, list[Network]] = defaultdict(list)
    nodes: dict[tuple[str, ...], list[NodeName]] = defaultdict(list)
    for name, own in marked.items():
        nodes[tuple(sorted(each.name for each in known if applies(each, own)))].append(name)
        for mark in own:
            members[mark] += [ip_network(address) for address in found[name].addresses]
    return tuple(
        Guard(
            f"firewall rules {', '.join(names)}" if names else "no firewall rule",
            tuple(sorted(guarded)),
            tuple(rule for each in known if each.name in names for rule in rules(each, members)),
            id=min(frozenset.intersection(*(marked[name] for name in guarded)), key=_tags_first, default=""),
            lets_out=True,
            addresses=tuple(ip_network(address) for name in guarded for address in found[name].addresses),
        )
        for names, guarded in sorted(nodes.items())
    )


def _tags_first(mark: str) -> tuple[bool, str]:
    return "@" in mark, mark


def applies(firewall: wire.Firewall, own: Marks) -> bool:
    return not firewall.disabled and (not firewall.targets or bool(firewall.targets & own))


def rules(firewall: wire.Firewall, members: Mapping[str, Collection[Network]]) -> Iterator[Rule]:
    """Yield what a firewall rule lets through or drops, given the addresses of each tag and service account."""
    remotes = _remotes(firewall, members)
    here = tuple(map(ip_network, firewall.locals)) or EVERYWHERE
    for traffic in firewall.traffic:
        version = _ICMP.get(traffic.protocol)
        protocol = "icmp" if version else _PROTOCOLS.get(traffic.protocol, traffic.protocol)
        spoken_of = of_family(remotes, version) if version else remotes
        for ports in map(_range, traffic.ports) if traffic.ports else (EVERY_PORT,):
            yield Rule(firewall.inbound, spoken_of, protocol, ports, firewall.allow, firewall.priority, here)


def _remotes(firewall: wire.Firewall, members: Mapping[str, Collection[Network]]) -> tuple[Network, ...]:
    """Return the other side's addresses; a rule that names nobody means all of IPv4."""
    if not firewall.remotes and not firewall.sources:
        return EVERYWHERE[:1]
    named = [network for mark in sorted(firewall.sources) for network in members.get(mark, ())]
    return (*map(ip_network, firewall.remotes), *named)


def _range(ports: str) -> tuple[int, int]:
    first, _, last = ports.partition("-")
    return int(first), int(last or first)
