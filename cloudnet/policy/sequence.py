"""A sequence of policy rules as rules of nftables: neighbours share a look-up if they can, others stand alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from cloudnet.policy.matching import compile_rule, literal_elements
from cloudnet.policy.members import Spans
from cloudnet.policy.merging import Merged, is_simple, merge, peer_of, simple
from cloudnet.policy.rules import Direction, Rule, SetId
from cloudnet.policy.table import Elements, Part, Set

FEW: Final = 8
"""Up to so many rules, or policies of a tier, stand one after the other; more are merged into look-ups."""

LARGEST: Final = 1024
"""A set with more members is looked up itself and never copied into a map."""


class SetsAtHand(Protocol):
    """What a compiler must know of sets."""

    def shape(self, name: SetId) -> frozenset[str]:
        """Return which of ``members.PARTS`` hold something."""

    def size(self, name: SetId) -> int: ...

    def spans(self, name: SetId) -> Spans:
        """Return its networks as intervals."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A rule of a policy, the verdict or statement for packets that match, and whether it ``may_merge``."""

    rule: Rule
    then: str
    merges: bool


@dataclass(frozen=True, slots=True)
class Plain:
    """A rule in the words of nft."""

    text: str


Entry: TypeAlias = Decided | Plain


def may_merge(rule: Rule, direction: Direction, sets: SetsAtHand) -> bool:
    """Tell whether a rule may be part of a merged run; the answer depends on how large its set is."""
    return is_simple(rule, direction) and all(sets.size(name) <= LARGEST for name in peer_of(rule, direction).sets)


@dataclass(slots=True)
class Sequence:
    """Rules of one chain in the making, with the sets that they bring and those that they depend on.

    ``shapes``: sets whose parts or size matter, ``contents``: sets whose every member does, ``lookups``: sets that
    packets are looked up in.
    """

    name: str
    direction: Direction
    sets: SetsAtHand
    memory: dict[str, Merged]  # what the runs of this chain came to the last time
    rules: list[str] = field(default_factory=list)
    literals: dict[str, Set] = field(default_factory=dict)
    elements: dict[str, Elements] = field(default_factory=dict)
    shapes: set[SetId] = field(default_factory=set)
    contents: set[SetId] = field(default_factory=set)
    lookups: set[SetId] = field(default_factory=set)
    _maps: int = 0

    def extend(self, entries: Iterable[Entry]) -> None:
        for run in _runs(entries):
            if len(run) > FEW:
                self._merge(run)
                continue
            for entry in run:
                self._stand(entry)

    def part(self) -> Part:
        """Return the sets that the rules bring along."""
        return Part(sets=tuple(self.literals.values()), elements=self.elements)

    def _stand(self, entry: Entry) -> None:
        if isinstance(entry, Plain):
            self.rules.append(entry.text)
            return
        matches = compile_rule(entry.rule, self.sets.shape)
        self.rules += [" ".join(filter(None, (match, entry.then))) for match in matches.alternatives]
        self.literals |= {name: one for name, (one, _) in matches.literals.items()}
        self.elements |= literal_elements(matches)
        for end in (entry.rule.source, entry.rule.destination):
            self.shapes.update(end.address_sets(), end.port_sets())
            self.lookups.update(end.address_sets(), end.port_sets())

    def _merge(self, run: list[Entry]) -> None:
        entries = [
            simple(entry.rule, self.direction, entry.then, self.sets.spans)
            for entry in run
            if isinstance(entry, Decided)
        ]
        for lookup in merge(entries, self.direction, f"{self.name}-{self._maps}", self.memory):
            self.rules.append(lookup.rule)
            self.literals[lookup.map.name] = lookup.map
            self.elements[lookup.map.name] = lookup.elements
        self._maps += 1
        for entry in entries:
            self.contents.update(peer_of(entry.rule, self.direction).sets)


def _runs(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Yield neighbours that may be merged together, and all others alone."""
    run: list[Entry] = []
    for entry in entries:
        if isinstance(entry, Decided) and entry.merges:
            run.append(entry)
            continue
        if run:
            yield run
        yield [entry]
        run = []
    if run:
        yield run
