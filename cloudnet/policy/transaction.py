"""From what the trackers of a compiler have pending to transactions of nft, and back when they were carried out.

Up to three: first everything new, with nothing that leads there, then the switch, then what nothing leads to any
more is taken away. One alone would not do. The kernel turns all chains over at one moment, and publishes sets of
intervals (``nft_set_pipapo``) only behind it, each when its turn comes: a rule that looks something up in a set as
new as itself finds it empty for as long as the commit takes, hundreds of packets long if it is a large one. Chains
that are new are empty, and sets that go are, for packets that were on their way. Sets that stand already answer as
before until replaced.

Within a transaction, what is new is declared before anything leads to it; what goes is emptied before it is deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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

    def first(self) -> str:
        """Return the transaction that makes what is new; empty if nothing is."""
        return _text(self._new())

    def second(self) -> str:
        """Return the transaction that switches to it; empty if nothing stands that changes."""
        return _text(self._switch())

    def third(self) -> str:
        """Return the transaction that takes away what is not wanted; empty if nothing is."""
        return _text(self._clear())

    def is_new(self, chain: Chain) -> bool:
        return chain.name not in self.standing_chains and not chain.hook

    def _new(self) -> Iterator[str]:
        """Yield what makes counters, chains and sets that are not there yet; chains on hooks are not among them."""
        new = [chain for chain in self.chains.values() if self.is_new(chain)]
        yield from map(table.add_counter, self.counters.values())
        yield from map(table.add_chain, new)
        for name, one in self.sets.items():
            yield table.add_set(one, self.elements.get(name, {}))
        for chain in new:
            yield from table.add_rules(chain)

    def _switch(self) -> Iterator[str]:
        """Yield what changes chains and sets that stand, and hangs chains up."""
        changed = [chain for chain in self.chains.values() if not self.is_new(chain)]
        for chain in changed:
            standing = chain.name in self.standing_chains
            yield f"flush chain {TABLE} {chain.name}" if standing else table.add_chain(chain)
        for name, keys in self.no_elements.items():
            yield table.delete_elements(name, keys)
        for name, elements in self.elements.items():
            if name not in self.sets:
                yield table.add_set(self.declarations[name], elements)
        for chain in changed:
            yield from table.add_rules(chain)

    def _clear(self) -> Iterator[str]:
        for name in self.no_chains:
            yield f"flush chain {TABLE} {name}"
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


def _text(lines: Iterable[str]) -> str:
    lines = [f"{line}\n" for line in lines]
    return "".join((f"add table {TABLE}\n", *lines)) if lines else ""


def made(of: Compiler, transaction: Transaction) -> None:
    """Record that the first part was carried out."""
    for name, counter in transaction.counters.items():
        of.counters.saw(name, counter)
    for name, chain in transaction.chains.items():
        if transaction.is_new(chain):
            of.chains.saw(name, chain)
    for name, one in transaction.sets.items():
        of.sets.saw(name, one)
        for key, verdict in transaction.elements.get(name, {}).items():
            of.elements.saw((name, key), verdict)


def switched(of: Compiler, transaction: Transaction) -> None:
    """Record that the second part was carried out, behind the first."""
    for name, chain in transaction.chains.items():
        of.chains.saw(name, chain)
    for name, keys in transaction.no_elements.items():
        for key in keys:
            of.elements.lost((name, key))
    for name, elements in transaction.elements.items():
        for key, verdict in elements.items():
            of.elements.saw((name, key), verdict)


def cleared(of: Compiler, transaction: Transaction) -> None:
    """Record that the third part was carried out."""
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
