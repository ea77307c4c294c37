"""Which packets to ask about, so that the answers hold for all: one for each kind that some rule tells apart.

Rules cut the ports of a protocol into ranges within which all ports fare alike. One question for each range, each
ICMP type that is named and the others, each protocol that is named and the others, says everything.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from cloudnet.policy import words
from cloudnet.policy.reach import Wanted
from cloudnet.policy.rules import ICMP, ICMPV6, TCP, UDP, WITH_PORTS, Icmp, Rule

HIGHEST_PORT = 65535
_OTHERS = (253, 254, 252, 251)  # RFC 3692: 253 and 254 are for experiments, so seldom named
_OTHER_ICMP = (8, 0, 13, 15, 17)


@dataclass(frozen=True, slots=True)
class Question:
    """A packet to ask about, and the packets that it stands for: ports, a type, or all of a protocol."""

    wanted: Wanted
    first: int = 0
    last: int = 0
    others: bool = False


@dataclass(slots=True)
class Cuts:
    """Where rules tell packets apart."""

    ports: dict[int, set[int]] = field(default_factory=lambda: {TCP: set(), UDP: set()})
    types: set[Icmp] = field(default_factory=set)
    protocols: set[int] = field(default_factory=set)

    def add(self, rules: Iterable[Rule]) -> None:
        """Note what these rules tell apart; named ports and services aside."""
        for rule in rules:
            for number in (rule.protocol, rule.not_protocol):
                self._protocol(number)
            self.types |= {icmp for icmp in (rule.icmp, rule.not_icmp) if icmp}
            for one in (*rule.destination.ports, *rule.destination.not_ports):
                if rule.protocol is not None:
                    self.port(rule.protocol, one.first, one.last)

    def port(self, protocol: int, first: int, last: int) -> None:
        """Note that some rule tells these ports apart from others."""
        self.ports.setdefault(protocol, set()).update((first, last + 1))

    def merge(self, other: Cuts) -> None:
        """Note all that others do."""
        for protocol, ports in other.ports.items():
            self.ports.setdefault(protocol, set()).update(ports)
        self.types |= other.types
        self.protocols |= other.protocols

    def _protocol(self, number: int | None) -> None:
        if number is None or number in {ICMP, ICMPV6}:
            return
        if number in WITH_PORTS:
            self.ports.setdefault(number, set())
        else:
            self.protocols.add(number)

    def questions(self) -> Iterable[Question]:
        """Return a question for each kind of packet that is told apart."""
        for protocol in sorted(self.ports):
            starts = sorted({1, *(cut for cut in self.ports[protocol] if 1 <= cut <= HIGHEST_PORT)})
            for i, first in enumerate(starts):
                last = starts[i + 1] - 1 if i + 1 < len(starts) else HIGHEST_PORT
                yield Question(Wanted(protocol, first), first, last)
        if self.types:
            for icmp in sorted(self.types, key=lambda one: (one.type, one.code or 0)):
                yield Question(Wanted(ICMP, icmp=Icmp(icmp.type, icmp.code or 0)))
            named = {icmp.type for icmp in self.types}
            other = next((type_ for type_ in (*_OTHER_ICMP, *range(256)) if type_ not in named), None)
            if other is not None:
                yield Question(Wanted(ICMP, icmp=Icmp(other, 0)), others=True)
        else:
            yield Question(Wanted(ICMP))
        for protocol in sorted(self.protocols):
            yield Question(Wanted(protocol))
        yield Question(Wanted(next(number for number in _OTHERS if number not in self.protocols)), others=True)


def summary(asked: Iterable[tuple[Question, bool]]) -> str:
    """Return what is let through, in words: ``all``, ``none``, or ``tcp 80,443; udp 53; icmp``."""
    asked = list(asked)
    if all(allowed for _, allowed in asked):
        return "all"
    by_protocol: dict[str, list[tuple[Question, bool]]] = {}
    for question, allowed in asked:
        name = words.protocol(question.wanted.protocol)
        if question.others and question.wanted.icmp is None:
            name = "other protocols"
        by_protocol.setdefault(name, []).append((question, allowed))
    said = [_said(name, some) for name, some in by_protocol.items() if any(allowed for _, allowed in some)]
    return "; ".join(said) or "none"


def _said(name: str, asked: list[tuple[Question, bool]]) -> str:
    """Return what of one protocol is let through, some of it at least."""
    questions = [question for question, allowed in asked if allowed]
    if len(questions) == len(asked):
        return name
    if questions[0].wanted.icmp is not None:
        types = ["others" if q.others else _type(q.wanted.icmp) for q in questions]
        return f"{name} {','.join(types)}"
    ranges: list[tuple[int, int]] = []
    for question in questions:
        if ranges and ranges[-1][1] + 1 == question.first:
            ranges[-1] = (ranges[-1][0], question.last)
        else:
            ranges.append((question.first, question.last))
    return f"{name} {','.join(words.ports(first, last) for first, last in ranges)}"


def _type(icmp: Icmp | None) -> str:
    return str(icmp.type) if icmp else ""
