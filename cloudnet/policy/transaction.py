"""From what the trackers of a compiler have pending to one transaction of nft, and back when it was carried out.

Order in a transaction: what is new is declared before anything leads to it; what goes is emptied before it is
deleted. The kernel lets no packet see anything in between: it switches from all the old to all the new.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cloudnet.policy import table
from cloudnet.policy.compile import Compiler
from cloudnet.policy.table import TABLE, Chain, Counter, Set


@dataclass(frozen=True, slots=True)
class Transaction:
    """What one transaction changes: new and other values by name, and names to go."""

    counters: dict[str, Counter]
    chains: dict[str, Chain]
    sets: dict[str, Set]
    elements: dict[str, dict[str, str]]
    no_counters: tuple[str, ...]
    no_chains: tuple[str, ...]
    no_sets: tuple[str, ...]
    no_elements: dict[str, tuple[str, ...]]
    standing_chains: frozenset[str]  # those that are there already
    declarations: dict[str, Set]  # of every set that is named above

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
            )
        )

    @property
    def only_elements(self) -> bool:
        """Whether elements of sets that stand come and go, and nothing else."""
        others = (self.counters, self.chains, self.sets, self.no_counters, self.no_chains, self.no_sets)
        return not any(others)

    def text(self) -> str:
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"add table {TABLE}"
        yield from map(table.add_counter, self.counters.values())
        for chain in self.chains.values():
            standing = chain.name in self.standing_chains
            yield f"flush chain {TABLE} {chain.name}" if standing else table.add_chain(chain)
        for name in self.no_chains:
            yield f"flush chain {TABLE} {name}"
        for name, keys in self.no_elements.items():
            yield table.delete_elements(name, keys)
        for name, one in self.declarations.items():
            if name in self.sets or name in self.elements:
                yield table.add_set(one, self.elements.get(name, {}))
        for chain in self.chains.values():
            yield from table.add_rules(chain)
        for name in self.no_sets:
            yield f"delete set {TABLE} {name}"
        for name in self.no_chains:
            yield f"delete chain {TABLE} {name}"
        for name in self.no_counters:
            yield f"delete counter {TABLE} {name}"


def pending(of: Compiler) -> Transaction:
    """Return what is left to do."""
    gone_sets = dict(of.sets.deletions())
    elements: dict[str, dict[str, str]] = {}
    no_elements: dict[str, list[str]] = {}
    for (name, key), verdict in of.elements.updates():
        elements.setdefault(name, {})[key] = verdict
        if (name, key) in of.elements.actual:
            no_elements.setdefault(name, []).append(key)  # it leads elsewhere now
    for (name, key), _ in of.elements.deletions():
        if name not in gone_sets:
            no_elements.setdefault(name, []).append(key)
    sets = dict(of.sets.updates())
    return Transaction(
        dict(of.counters.updates()),
        dict(of.chains.updates()),
        sets,
        elements,
        tuple(name for name, _ in of.counters.deletions()),
        tuple(name for name, _ in of.chains.deletions()),
        tuple(gone_sets),
        {name: tuple(keys) for name, keys in no_elements.items()},
        frozenset(of.chains.actual),
        {name: of.sets.desired[name] for name in (*sets, *elements, *no_elements)},
    )


def done(of: Compiler, transaction: Transaction) -> None:
    """Record that the kernel has carried a transaction out, in full."""
    for name, counter in transaction.counters.items():
        of.counters.saw(name, counter)
    for name, chain in transaction.chains.items():
        of.chains.saw(name, chain)
    for name, one in transaction.sets.items():
        of.sets.saw(name, one)
    for name, keys in transaction.no_elements.items():
        for key in keys:
            of.elements.lost((name, key))
    for name, elements in transaction.elements.items():
        for key, verdict in elements.items():
            of.elements.saw((name, key), verdict)
    for name in transaction.no_counters:
        of.counters.lost(name)
    for name in transaction.no_chains:
        of.chains.lost(name)
    _sets_gone(of, transaction.no_sets)


def _sets_gone(of: Compiler, names: tuple[str, ...]) -> None:
    """Record that sets went with all their elements."""
    if names:
        gone = frozenset(names)
        for name in gone:
            of.sets.lost(name)
        for key in [key for key, _ in of.elements.deletions() if key[0] in gone]:
            of.elements.lost(key)
