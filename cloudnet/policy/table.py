"""The nftables table as values: chains, sets, maps and counters by name, and the text that changes one into another.

Everything is in one table, ``inet cloudnet``. Names are words of ours with a hash behind them, never a user's text;
what a user called a thing stands in comments, reduced to harmless letters.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeAlias

TABLE: Final = "inet cloudnet"


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain and its rules, in order. ``hook`` is what a base chain hangs on: ``type filter hook ...``."""

    name: str
    rules: tuple[str, ...]
    hook: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Set:
    """A set, or a map to verdicts. ``key`` is made of nft's type names: ``ipv4_addr . inet_proto``.

    Intervals always stand beside another field in the key: single-field interval sets are trees that ``nft`` reads
    whole before it changes one element, while concatenations (``nft_set_pipapo``) take an element for itself. Where
    there is no second field by nature, the protocol is one, from 0 to 255.
    """

    name: str
    key: str
    is_interval: bool = False
    is_map: bool = False
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Counter:
    name: str
    comment: str = ""


Elements: TypeAlias = Mapping[str, str]
"""``{element: verdict}`` of a map; of a set, every verdict is empty."""

_NONE: Elements = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Part:
    """Some objects of the table that belong together, with the elements of their sets: ``{set name: elements}``."""

    chains: tuple[Chain, ...] = ()
    sets: tuple[Set, ...] = ()
    counters: tuple[Counter, ...] = ()
    elements: Mapping[str, Elements] = field(default_factory=lambda: MappingProxyType({}), hash=False)


def join(parts: Iterable[Part]) -> Part:
    """Return all parts as one; what several of them have is there once."""
    chains: dict[str, Chain] = {}
    sets: dict[str, Set] = {}
    counters: dict[str, Counter] = {}
    elements: dict[str, Elements] = {}
    for part in parts:
        chains |= {chain.name: chain for chain in part.chains}
        sets |= {one.name: one for one in part.sets}
        counters |= {counter.name: counter for counter in part.counters}
        elements |= part.elements
    return Part(tuple(chains.values()), tuple(sets.values()), tuple(counters.values()), elements)


def digest(*words: object) -> str:
    """Return a short name for what the words say: 12 hexadecimal digits."""
    text = "\x00".join(map(str, words))
    return hashlib.blake2s(text.encode(), digest_size=6).hexdigest()


def harmless(text: str) -> str:
    """Return a user's text as it may stand in a comment: without anything that means something to nft."""
    return re.sub(r"[^A-Za-z0-9 ._/:-]", "?", text)[:100]


# --- text ---------------------------------------------------------------------------------------------------


def rule_mark(rule: str) -> str:
    """Return the comment that a rule carries, by which it is known again when the table is read."""
    return digest(rule)[:8]


def add_chain(chain: Chain) -> str:
    inside = f" {chain.hook};" if chain.hook else ""
    inside += f' comment "{chain.comment}";' if chain.comment else ""
    return f"add chain {TABLE} {chain.name}" + (f" {{{inside} }}" if inside else "")


def add_rules(chain: Chain) -> list[str]:
    return [f'add rule {TABLE} {chain.name} {rule} comment "{rule_mark(rule)}"' for rule in chain.rules]


def add_set(one: Set, elements: Elements = _NONE) -> str:
    """Return the line that declares a set with these elements, or adds them to the set that is there.

    Not ``add element``: libnftables reads every interval set of the host before it adds one.
    """
    kind = "map" if one.is_map else "set"
    inside = f" type {one.key}" + (" : verdict;" if one.is_map else ";")
    inside += " flags interval;" if one.is_interval else ""
    inside += f' comment "{one.comment}";' if one.comment else ""
    if elements:
        text = ", ".join(f"{key} : {verdict}" if verdict else key for key, verdict in elements.items())
        inside += f" elements = {{ {text} }};"
    return f"add {kind} {TABLE} {one.name} {{{inside} }}"


def add_counter(counter: Counter) -> str:
    inside = f' {{ comment "{counter.comment}"; }}' if counter.comment else ""
    return f"add counter {TABLE} {counter.name}{inside}"


def delete_elements(name: str, keys: Iterable[str]) -> str:
    return f"delete element {TABLE} {name} {{ {', '.join(keys)} }}"


def script(part: Part) -> str:
    """Return what makes the whole table anew, in one transaction; equal tables have equal texts."""
    lines = [f"add table {TABLE}", f"delete table {TABLE}", f"add table {TABLE}"]
    chains = sorted(part.chains, key=lambda chain: chain.name)
    lines += [add_counter(counter) for counter in sorted(part.counters, key=lambda counter: counter.name)]
    lines += [add_chain(chain) for chain in chains]
    for one in sorted(part.sets, key=lambda one: one.name):
        lines.append(add_set(one, dict(sorted(part.elements.get(one.name, _NONE).items()))))
    lines += [line for chain in chains for line in add_rules(chain)]
    return "\n".join(lines) + "\n"
