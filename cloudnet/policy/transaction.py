"""From what the trackers of a compiler have pending to transactions of nft, and back when they were carried out.

First everything new, with nothing that leads there, then the switch, then what nothing leads to any more is taken
away. One alone would not do. The kernel turns all chains over at one moment, and publishes sets of
intervals (``nft_set_pipapo``) only behind it, each when its turn comes: a rule that looks something up in a set as
new as itself finds it empty for as long as the commit takes, hundreds of packets long if it is a large one. Chains
that are new are empty, and sets that go are, for packets that were on their way. Sets that stand already answer as
before until replaced. A switch that changes rules and leads interfaces elsewhere as well has two more steps around
it (``detours.py``). And what a map of points gives up at the turn, for a map of ranges that is published behind
it, stands in the latter for the time between: as the point that it was, with the verdict that it had.

Within a transaction, what is new is declared before anything leads to it; what goes is emptied before it is deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from cloudnet.policy import detours, table
from cloudnet.policy.compile import Compiler
from cloudnet.policy.detours import Detours, Move
from cloudnet.policy.hooks import WAYS
from cloudnet.policy.merging import map_of_ranges
from cloudnet.policy.table import TABLE, Chain, Counter, Set


@dataclass(frozen=True, slots=True)
class Step:
    """One transaction as text, empty if there is nothing to do, and what its success says to the trackers."""

    text: str
    record: Callable[[Compiler], None]


@dataclass(frozen=True, slots=True)
class Transaction:
    """What is left to do: new and other values by name, and names to go."""

    counters: dict[str, Counter]
    chains: dict[str, Chain]
    sets: dict[str, Set]
    elements: dict[str, dict[str, str]]
    no_counters: tuple[str, ...]
    no_chains: tuple[str, ...]
    no_sets: tuple[str, ...]
    no_elements: dict[str, tuple[str, ...]]
    standing_chains: frozenset[str]  # those that are there already
    declarations: dict[str, Set]  # of every set that is named here
    detours: Detours
    stand_ins: dict[str, dict[str, str]]  # what maps of ranges say of points until their own elements are published

    def __bool__(self) -> bool:
        return any(
            (
                self.counters,
                self.chains,
                self.sets,
                self.elements,
                self.no_counters,
                self.no_chains,
                self.no_sets,
                self.no_elements,
                self.detours,
            )
        )

    @property
    def only_elements(self) -> bool:
        """Whether elements of sets that stand come and go, and nothing else."""
        others = (self.counters, self.chains, self.sets, self.no_counters, self.no_chains, self.no_sets)
        return not any((*others, self.stand_ins))

    def steps(self) -> Iterator[Step]:
        """Yield the transactions in their order, each to be recorded before the next."""
        yield Step(_text(self._new()), self._made)
        if self.detours:
            yield Step(_text(self._lead(self.detours.entering)), self._entered)
        yield Step(_text(self._switch()), self.switched)
        if self.detours:
            yield Step(_text(self._lead(self.detours.leaving)), self._left)
        yield Step(_text(self._clear()), self._cleared)

    def is_new(self, chain: Chain) -> bool:
        return chain.name not in self.standing_chains and not chain.hook

    def _new(self) -> Iterator[str]:
        """Yield what makes counters, chains and sets that are not there yet; chains on hooks are not among them."""
        new = [*(chain for chain in self.chains.values() if self.is_new(chain)), *self.detours.before]
        yield from map(table.add_counter, self.counters.values())
        yield from map(table.add_chain, new)
        for name, one in self.sets.items():
            yield table.add_set(one, self.elements.get(name, {}))
        for name, verdicts in self.stand_ins.items():
            yield table.add_set(self.declarations[name], verdicts)
        for chain in new:
            yield from table.add_rules(chain)

    def _switch(self) -> Iterator[str]:
        """Yield what changes chains and sets that stand, and hangs chains up."""
        changed = [*(chain for chain in self.chains.values() if not self.is_new(chain)), *self.detours.after]
        for chain in changed:
            standing = not chain.hook or chain.name in self.standing_chains
            yield f"flush chain {TABLE} {chain.name}" if standing else table.add_chain(chain)
        for name, keys in self.no_elements.items():
            yield table.delete_elements(name, keys)
        for name, elements in self.elements.items():
            if name not in self.sets:
                yield table.add_set(self.declarations[name], elements)
        for chain in changed:
            yield from table.add_rules(chain)

    def _lead(self, elements: Mapping[str, dict[str, str]]) -> Iterator[str]:
        """Yield what leads elements of maps that stand elsewhere."""
        for name, verdicts in elements.items():
            yield table.delete_elements(name, verdicts)
            yield table.add_set(self.declarations[name], verdicts)

    def _clear(self) -> Iterator[str]:
        chains = (*self.no_chains, *(chain.name for chain in self.detours.after))
        for name in chains:
            yield f"flush chain {TABLE} {name}"
        for name in self.no_sets:
            yield f"delete set {TABLE} {name}"
        for name in chains:
            yield f"delete chain {TABLE} {name}"
        for name in self.no_counters:
            yield f"delete counter {TABLE} {name}"

    # --- what was carried out ------------------------------------------------------------------------------------

    def _made(self, of: Compiler) -> None:
        for name, counter in self.counters.items():
            of.counters.saw(name, counter)
        for chain in self.chains.values():
            if self.is_new(chain):
                of.chains.saw(chain.name, chain)
        for chain in self.detours.before:
            of.chains.saw(chain.name, chain)
        for name, one in self.sets.items():
            of.sets.saw(name, one)
            _saw_elements(of, {name: self.elements.get(name, {})})
        _saw_elements(of, self.stand_ins)

    def _entered(self, of: Compiler) -> None:
        _saw_elements(of, self.detours.entering)

    def switched(self, of: Compiler) -> None:
        """Record that the switch was carried out."""
        for chain in (*self.chains.values(), *self.detours.after):
            of.chains.saw(chain.name, chain)
        for name, keys in self.no_elements.items():
            for key in keys:
                of.elements.lost((name, key))
        _saw_elements(of, self.elements)

    def _left(self, of: Compiler) -> None:
        _saw_elements(of, self.detours.leaving)

    def _cleared(self, of: Compiler) -> None:
        for name in self.no_counters:
            of.counters.lost(name)
        for name in (*self.no_chains, *(chain.name for chain in self.detours.after)):
            of.chains.lost(name)
        _sets_gone(of, self.no_sets)


def pending(of: Compiler) -> Transaction:
    """Return what is left to do."""
    gone_sets = dict(of.sets.deletions())
    chains, sets = dict(of.chains.updates()), dict(of.sets.updates())
    turns = detours.plan(_moves(of) if chains.keys() & of.chains.actual.keys() else ())
    elements: dict[str, dict[str, str]] = {}
    no_elements: dict[str, list[str]] = {}
    stand_ins: dict[str, dict[str, str]] = {}
    for (name, key), verdict in of.elements.updates():
        if key in turns.leaving.get(name, ()):
            continue
        elements.setdefault(name, {})[key] = verdict
        if (name, key) in of.elements.actual:
            no_elements.setdefault(name, []).append(key)  # it leads elsewhere now
    for (name, key), _ in of.elements.deletions():
        if name not in gone_sets:
            no_elements.setdefault(name, []).append(key)
        ranges = map_of_ranges(name)
        if ranges in elements and ranges not in sets:
            stand_ins.setdefault(ranges, {})[key] = of.elements.actual[name, key]
    for name, verdicts in stand_ins.items():
        no_elements.setdefault(name, []).extend(verdicts)
    return Transaction(
        dict(of.counters.updates()),
        chains,
        sets,
        elements,
        tuple(name for name, _ in of.counters.deletions()),
        tuple(name for name, _ in of.chains.deletions()),
        tuple(gone_sets),
        {name: tuple(keys) for name, keys in no_elements.items()},
        frozenset(of.chains.actual),
        {name: of.sets.desired[name] for name in (*sets, *elements, *no_elements, *turns.leaving)},
        turns,
        stand_ins,
    )


def _moves(of: Compiler) -> Iterator[Move]:
    """Yield the interfaces that are led elsewhere."""
    for (name, key), verdict in of.elements.updates():
        if name in WAYS and (name, key) in of.elements.actual:
            yield Move(name, key, of.elements.actual[name, key], verdict)


def _text(lines: Iterable[str]) -> str:
    lines = [f"{line}\n" for line in lines]
    return "".join((f"add table {TABLE}\n", *lines)) if lines else ""


def _saw_elements(of: Compiler, elements: Mapping[str, Mapping[str, str]]) -> None:
    for name, verdicts in elements.items():
        for key, verdict in verdicts.items():
            of.elements.saw((name, key), verdict)


def _sets_gone(of: Compiler, names: tuple[str, ...]) -> None:
    """Record that sets went with all their elements."""
    if names:
        gone = frozenset(names)
        for name in gone:
            of.sets.lost(name)
        for key in [key for key, _ in of.elements.deletions() if key[0] in gone]:
            of.elements.lost(key)
