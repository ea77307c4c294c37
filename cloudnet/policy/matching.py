"""One rule as nftables matches: alternatives, of which any one is enough, each a conjunction in the text of nft.

nftables has no "or" between different fields, so a rule becomes the product of its alternatives: one a family, where
addresses matter, one for single addresses and one for prefixes of a set, one for numbers and one for names of ports.

What must *not* be is always written as an interval, even of one value: of two neighbouring fields that must each
differ from a value, nft 1.0.6 makes one of twice the width that must differ as a whole (``stmt_reduce``).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from cloudnet.model.addresses import Family, Network
from cloudnet.policy import members
from cloudnet.policy.rules import WITH_PORTS, Peer, PortRange, Rule, SetId
from cloudnet.policy.table import Elements, Set, digest

Shapes: TypeAlias = Callable[[SetId], frozenset[str]]
"""Which parts a set has, of ``members.PARTS``; none if it is empty or unknown."""

_PORTED: Final = "meta l4proto { " + ", ".join(map(str, sorted(WITH_PORTS))) + " }"
_PORTLESS: Final = _PORTED.replace("l4proto {", "l4proto != {")
_FEW: Final = 4  # so many comparisons cost no more than a set


@dataclass(slots=True)
class Matches:
    """Alternatives, and the sets of literal values that they look things up in: ``{name: (set, elements)}``."""

    alternatives: list[str]
    literals: dict[str, tuple[Set, Elements]] = field(default_factory=dict)


Clause: TypeAlias = Sequence[str]
"""Alternatives of one condition; the empty text is "always", no alternative at all is "never"."""


def compile_rule(rule: Rule, shapes: Shapes) -> Matches:
    """Return what a packet must match; no alternative at all if no packet can."""
    result = Matches([])
    for family in _families(rule):
        clauses: list[Clause] = [_family_clause(family), *_protocol_clauses(rule)]
        for peer, side, port in ((rule.source, "saddr", "sport"), (rule.destination, "daddr", "dport")):
            clauses += _Side(peer, rule.protocol, family, side, port, shapes, result.literals).clauses()
        result.alternatives += [" ".join(filter(None, chosen)) for chosen in itertools.product(*clauses)]
    return result


def _families(rule: Rule) -> Sequence[Family | None]:
    """Return the families to write the rule for; nothing in it for both at once."""
    ends = (rule.source, rule.destination)
    if not any(
        (*end.nets, *end.not_nets, *end.sets, *end.not_sets, *end.named_ports, *end.not_named_ports, *end.services)
        for end in ends
    ):
        return (rule.family,)
    return tuple(family for family in Family if rule.family in {None, family})


def _family_clause(family: Family | None) -> Clause:
    return ("",) if family is None else (f"meta nfproto ipv{family}",)


def _protocol_clauses(rule: Rule) -> Iterator[Clause]:
    if rule.protocol is not None:
        yield (f"meta l4proto {rule.protocol}",)
    if rule.not_protocol is not None:
        yield (f"meta l4proto != {rule.not_protocol}",)
    # By offset in the transport header (RFC 792, RFC 4443): nft's own words would add a condition on the family.
    for icmp, operator in ((rule.icmp, "=="), (rule.not_icmp, "!=")):
        if icmp is not None and icmp.code is None:
            yield (f"@th,0,8 {operator} {icmp.type}",)
        elif icmp is not None and icmp.code is not None:
            yield (f"@th,0,16 {operator} {icmp.type << 8 | icmp.code}",)


@dataclass(slots=True)
class _Side:
    """One end of a rule, for one family."""

    peer: Peer
    protocol: int | None
    family: Family | None
    side: str
    port: str
    shapes: Shapes
    literals: dict[str, tuple[Set, Elements]]

    def clauses(self) -> Iterator[Clause]:
        if self.peer.nets:
            yield self._nets(self.peer.nets)
        if self.peer.not_nets:
            yield self._not_nets(self.peer.not_nets)
        for name in self.peer.sets:
            yield [self._in_set(name, part) for part in self._parts(name)]
        for name in self.peer.not_sets:
            yield (" ".join(self._in_set(name, part, negated=True) for part in self._parts(name)),)
        if self._is_portless and (self.peer.named_ports or self.peer.services):
            yield ()  # never; and nft 1.0.6 cannot list a look-up of ports behind ``meta l4proto 4``: it aborts
            return
        if self.peer.ports or self.peer.named_ports:
            yield [*self._ports(), *(self._has_port(n, p) for n in self.peer.named_ports for p in self._parts(n))]
        if self.peer.not_ports:
            yield (" ".join(f"th {self.port} != {ports.first}-{ports.last}" for ports in self.peer.not_ports),)
        if self.peer.not_named_ports:
            yield self._not_named()
        for name in self.peer.services:
            yield [self._has_port(name, part) for part in self._parts(name)]

    @property
    def _is_portless(self) -> bool:
        return self.protocol is not None and self.protocol not in WITH_PORTS

    @property
    def _address(self) -> str:
        return f"{members.WORDS[self.family or Family.IPV4]} {self.side}"

    def _parts(self, name: SetId) -> list[str]:
        return sorted(part for part in self.shapes(name) if part[0] == str(self.family))

    def _in_set(self, name: SetId, part: str, *, negated: bool = False) -> str:
        field_ = self._address if part[1] == "h" else f"{self._address} . meta l4proto"
        return f"{field_} {'!= ' if negated else ''}@{members.name_of(name, part)}"

    def _has_port(self, name: SetId, part: str, *, negated: bool = False) -> str:
        field_ = f"{self._address} . meta l4proto . th {self.port}"
        return f"{field_} {'!= ' if negated else ''}@{members.name_of(name, part)}"

    def _nets(self, nets: Sequence[Network]) -> Clause:
        chosen = list(members.outermost(net for net in nets if net.version == self.family))
        if not chosen:
            return ()
        if any(net.prefixlen == 0 for net in chosen):
            return ("",)
        if len(chosen) == 1:
            return (f"{self._address} {chosen[0]}",)
        if all(net.prefixlen == net.max_prefixlen for net in chosen):
            return (f"{self._address} {{ {', '.join(str(net.network_address) for net in chosen)} }}",)
        return (f"{self._address} . meta l4proto @{self._literal_nets(chosen)}",)

    def _not_nets(self, nets: Sequence[Network]) -> Clause:
        chosen = list(members.outermost(net for net in nets if net.version == self.family))
        if any(net.prefixlen == 0 for net in chosen):
            return ()
        if len(chosen) <= _FEW:
            return (" ".join(f"{self._address} != {_interval(net)}" for net in chosen),)
        return (f"{self._address} . meta l4proto != @{self._literal_nets(chosen)}",)

    def _literal_nets(self, nets: Sequence[Network]) -> str:
        name = f"nets-{digest(*nets)}"
        one = Set(name, f"{members.TYPES[self.family or Family.IPV4]} . inet_proto", is_interval=True)
        self.literals[name] = (one, {members.net_element(net): "" for net in nets})
        return name

    def _ports(self) -> Iterator[str]:
        ranges = merge_ranges(self.peer.ports)
        if len(ranges) == 1:
            yield f"th {self.port} {_range(ranges[0])}"
        elif ranges and all(ports.first == ports.last for ports in ranges):
            yield f"th {self.port} {{ {', '.join(map(_range, ranges))} }}"
        elif ranges:
            name = f"ports-{digest(self.protocol, *ranges)}"
            elements = {f"{self.protocol} . {_range(ports)}": "" for ports in ranges}
            self.literals[name] = (Set(name, "inet_proto . inet_service", is_interval=True), elements)
            yield f"meta l4proto . th {self.port} @{name}"

    def _not_named(self) -> Clause:
        """A packet whose protocol has no ports matches; nft must not look for them in it."""
        absent = [
            self._has_port(name, part, negated=True)
            for name in self.peer.not_named_ports
            for part in self._parts(name)
        ]
        if not absent or self._is_portless:
            return ("",)
        if self.protocol in WITH_PORTS:
            return (" ".join(absent),)
        return (" ".join((_PORTED, *absent)), _PORTLESS)


def merge_ranges(ranges: Sequence[PortRange]) -> list[PortRange]:
    """Return the same ports as disjoint ranges that do not touch, in order."""
    merged: list[PortRange] = []
    for ports in sorted(ranges):
        if merged and ports.first <= merged[-1].last + 1:
            merged[-1] = PortRange(merged[-1].first, max(merged[-1].last, ports.last))
        else:
            merged.append(ports)
    return merged


def _range(ports: PortRange) -> str:
    return str(ports.first) if ports.first == ports.last else f"{ports.first}-{ports.last}"


def _interval(net: Network) -> str:
    return f"{net.network_address}-{net.broadcast_address}"


def literal_elements(matches: Matches) -> Mapping[str, Elements]:
    return {name: elements for name, (_, elements) in matches.literals.items()}
