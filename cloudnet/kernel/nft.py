"""The door to nftables: transactions of rules and sets, all or nothing, and what stands in a table.

Tables are the mark of ownership: ``inet cloudnet`` (policy) and ``inet cloudnet_nat`` (NAT) are ours with all that
is in them, every other table is somebody else's and never touched. ``cloudnet.testing.nft`` holds the suite that
the real door and its in-memory twin pass.

There are two ways in. ``run`` takes text, for chains, rules, new sets and the elements they begin with. ``change``
takes elements out of sets and puts others in, in one step, and costs the same beside sets of any size. What belongs
together goes together: a pod's chains and its entry in a map are one ``run``; taking the entry out is a ``change``,
after which nothing leads to the chains and a ``run`` may delete them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from cloudnet.kernel import ruleset
from cloudnet.kernel.api import KernelError
from cloudnet.kernel.ruleset import Element, Hook, Set, Table


class NftError(KernelError):
    """A transaction was refused, and nothing of it happened; ``line`` is the number of the line at fault, or 0."""

    def __init__(self, message: str, *, errno: int = 0, line: int = 0) -> None:
        super().__init__(message, errno=errno)
        self.line = line


@dataclass(frozen=True, slots=True)
class Include:
    """Put elements into a set; that they are in already is success."""

    into: Set
    elements: tuple[Element, ...]


@dataclass(frozen=True, slots=True)
class Exclude:
    """Take elements out of a set; that they are not in is success. Verdicts are not looked at."""

    out_of: Set
    elements: tuple[Element, ...]


ElementChange: TypeAlias = Include | Exclude


@dataclass(frozen=True, slots=True)
class StandingRule:
    """A rule as it stands. ``body`` is for comparing with what the same door read before, not for reading."""

    body: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class StandingChain:
    """A chain as it stands; ``hook`` of base chains only."""

    rules: tuple[StandingRule, ...] = ()
    hook: Hook | None = None


@dataclass(frozen=True, slots=True)
class StandingSet:
    """A set as it stands; ``strange`` counts elements that we could not have put there, e.g. with a timeout."""

    set: Set
    elements: frozenset[Element] = frozenset()
    strange: int = 0


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a counter counted since it was made."""

    packets: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands in a table: chains and sets by name."""

    chains: Mapping[str, StandingChain] = field(default_factory=dict)
    sets: Mapping[str, StandingSet] = field(default_factory=dict)


class Nft(Protocol):
    """nftables in the network namespace the door was opened in. Use it from one thread at a time."""

    def run(self, script: str) -> None:
        """Carry out nft commands (``cloudnet.kernel.ruleset`` writes them), one a line, as one transaction.

        Raises:
            NftError: nothing was done; the message names the line that was refused and why.
        """

    def change(self, changes: Sequence[ElementChange]) -> None:
        """Change the elements of sets in one transaction, in order; the same key may go out and come in again.

        Raises:
            NftError: nothing was done; the message names the set.
        """

    def tables(self) -> frozenset[Table]:
        """Return every table there is, anybody's."""

    def list(self, table: Table, *, elements: bool = True) -> Standing | None:
        """Return what stands in a table, ``None`` if there is none; on demand without the elements of its sets."""

    def counters(self, table: Table) -> Mapping[str, Traffic]:
        """Return what the named counters of a table say, none if there is no such table."""

    def close(self) -> None: ...


def remove(nft: Nft, table: Table) -> None:
    """Remove a table, whether there is one or not; packets meet all of it or nothing.

    Two transactions. In one, the kernel empties maps of verdicts while packets still meet the rules that ask them:
    for 100 to 300 µs what they would have let through is dropped (docs/decisions/switch-in-three-steps.md).

    Raises:
        NftError: it could not be; without its rules it stops nobody, and the next call goes on.
    """
    nft.run(f"{ruleset.flush_table(table)}\n")
    nft.run(f"{ruleset.delete_table(table)}\n")
