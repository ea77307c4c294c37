"""Rules in words, for people: what a rule asks, with its sets told by what they are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cloudnet.policy.rules import PROTOCOLS, Icmp, Peer, PortRange, Rule, SetId
from cloudnet.policy.sources import Selected, SelectedPort, ServiceEndpoints, Source

_NAMES = {number: name for name, number in PROTOCOLS.items()}


def protocol(number: int) -> str:
    """Return a protocol's name, or its number where it has none."""
    return _NAMES.get(number, f"protocol {number}")


def rule(of: Rule, sources: Mapping[SetId, Source]) -> str:
    """Return a rule in one line: ``allow tcp from <app == "web"> to ports 80,443``."""
    parts = [f"IPv{of.family}" if of.family else "", of.action.value]
    if of.protocol is not None:
        parts.append(protocol(of.protocol))
    if of.not_protocol is not None:
        parts.append(f"not {protocol(of.not_protocol)}")
    if of.icmp:
        parts.append(f"type {_icmp(of.icmp)}")
    if of.not_icmp:
        parts.append(f"not type {_icmp(of.not_icmp)}")
    for end, peer in (("from", of.source), ("to", of.destination)):
        if said := _peer(peer, sources):
            parts.append(f"{end} {said}")
    return " ".join(part for part in parts if part)


def _icmp(icmp: Icmp) -> str:
    return str(icmp.type) if icmp.code is None else f"{icmp.type}/{icmp.code}"


def _peer(peer: Peer, sources: Mapping[SetId, Source]) -> str:
    def named(names: Iterable[SetId]) -> list[str]:
        return [source(sources.get(name)) for name in names]

    parts = [
        ",".join(str(net) for net in peer.nets),
        " and ".join(named((*peer.sets, *peer.services))),
        _not([*(str(net) for net in peer.not_nets), *named(peer.not_sets)]),
        _ports("ports", [*_numbers(peer.ports), *named(peer.named_ports)]),
        _ports("not ports", [*_numbers(peer.not_ports), *named(peer.not_named_ports)]),
    ]
    return " ".join(part for part in parts if part)


def _not(things: list[str]) -> str:
    return f"not {','.join(things)}" if things else ""


def _ports(word: str, ports: list[str]) -> str:
    return f"{word} {','.join(ports)}" if ports else ""


def _numbers(ranges: Iterable[PortRange]) -> list[str]:
    return [ports(one.first, one.last) for one in ranges]


def ports(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def source(of: Source | None) -> str:
    """Return what a set is made of."""
    match of:
        case Selected(selector):
            return f"<{selector}>"
        case SelectedPort(selector, name, number):
            kind = "" if number is None else f"{protocol(number)} "
            return f"<{kind}{name} of {selector}>"
        case ServiceEndpoints(namespace, name, with_ports):
            return f"<{'ports' if with_ports else 'addresses'} of service {namespace}/{name}>"
        case None:
            return "<a set nobody knows>"
