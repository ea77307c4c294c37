"""The twin of the nftables door: it keeps what ``cloudnet.kernel.ruleset`` writes, and refuses what Linux would.

It understands those lines and no others. Rules are text to it, except that the chains and sets they name must
exist. ``scripts`` holds every transaction that was carried out.
"""

from __future__ import annotations

import copy
import errno
import os
import re
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from cloudnet.kernel.nft import (
    ElementChange,
    Include,
    NftError,
    Standing,
    StandingChain,
    StandingRule,
    StandingSet,
    Traffic,
)
from cloudnet.kernel.ruleset import Element, Fate, Hook, KeyType, Part, Set, Span, Table, Verdict

_JUMPS = re.compile(r'\b(?:jump|goto) ([^\s"]+)')
_COUNTERS = re.compile(r'\bcounter name ([^\s"]+)')
_LOOKUPS = re.compile(r"@(?!th,)([^\s,}]+)")
_QUOTED = re.compile(r'"[^"]*"')
_COMMENT = re.compile(r'(?P<body>.*?) comment "(?P<comment>[^"]*)"')
_HOOK = re.compile(r"\{ type (\S+) hook (\S+) priority (-?\d+); policy (\S+); \}")
_SET = re.compile(
    r"\{ type (?P<key>[\w .]+?)(?P<map> : verdict)?;(?P<flags> flags interval;)?"
    r'(?: comment "[^"]*";)?'
    r"(?: elements = \{ (?P<elements>.*) \};)? \}"
)


@dataclass(slots=True)
class _Table:
    chains: dict[str, Hook | None] = field(default_factory=dict)
    rules: dict[str, list[StandingRule]] = field(default_factory=dict)
    sets: dict[str, Set] = field(default_factory=dict)
    counters: dict[str, Traffic] = field(default_factory=dict)
    elements: dict[str, dict[tuple[Part, ...], Element]] = field(default_factory=dict)


class MemoryNft:
    """nftables without a kernel."""

    def __init__(self) -> None:
        self._tables: dict[Table, _Table] = {}
        self.scripts: list[str] = []
        self.changes: list[Sequence[ElementChange]] = []
        self.refuse: Callable[[str], str | None] = lambda _: None
        """Asked about each line; a text refuses it, as a kernel in trouble would."""

    def close(self) -> None:
        return

    def run(self, script: str) -> None:
        before = copy.deepcopy(self._tables)
        try:
            for number, line in enumerate(script.splitlines(), start=1):
                try:
                    self._command(line)
                except _Refused as e:
                    raise NftError(
                        f"nftables refused line {number}, {line!r}: {e}", errno=e.errno, line=number
                    ) from e
            self._check()
        except NftError:
            self._tables = before
            raise
        self.scripts.append(script)

    def change(self, changes: Sequence[ElementChange]) -> None:
        before = copy.deepcopy(self._tables)
        try:
            for one in changes:
                if isinstance(one, Include):
                    self._add_elements(one.into, one.elements)
                else:
                    table = self._tables.get(one.out_of.table, _Table())
                    for element in one.elements:
                        table.elements.get(one.out_of.name, {}).pop(element.key, None)
        except _Refused as e:
            self._tables = before
            raise NftError(f"set {e.about}: {e}", errno=e.errno) from e
        self.changes.append(changes)

    def tables(self) -> frozenset[Table]:
        return frozenset(self._tables)

    def list(self, table: Table, *, elements: bool = True) -> Standing | None:
        there = self._tables.get(table)
        if there is None:
            return None
        chains = {name: StandingChain(tuple(there.rules[name]), hook) for name, hook in there.chains.items()}
        sets = {
            name: StandingSet(one, frozenset(there.elements[name].values()) if elements else frozenset())
            for name, one in there.sets.items()
        }
        return Standing(chains, sets)

    def counters(self, table: Table) -> Mapping[str, Traffic]:
        return dict(self._tables.get(table, _Table()).counters)

    def count(self, table: Table, counter: str, traffic: Traffic) -> None:
        """Let a counter say this, as if packets had come by."""
        self._tables[table].counters[counter] = traffic

    # --- one line -----------------------------------------------------------------------------------------

    def _command(self, line: str) -> None:
        if why := self.refuse(line):
            raise _Refused(errno.ENOMEM, line, why)
        words = line.split(" ", 4)
        if len(words) < 4:  # noqa: PLR2004 - verb, object, family, table
            raise _Refused(errno.EINVAL, line, "syntax error")
        verb, what, family, name = words[:4]
        rest = words[4] if len(words) > 4 else ""  # noqa: PLR2004 - the same
        table = Table(name, family)
        if (verb, what) == ("add", "table"):
            self._tables.setdefault(table, _Table())
            return
        if table not in self._tables:
            raise _Refused(errno.ENOENT, line)
        if (verb, what) == ("flush", "table"):
            self._tables[table].rules = {chain: [] for chain in self._tables[table].rules}
            return
        if (verb, what) == ("delete", "table"):
            del self._tables[table]
            return
        self._inside(table, verb, "set" if what == "map" else what, rest)

    def _inside(self, table: Table, verb: str, what: str, rest: str) -> None:
        there = self._tables[table]
        name, _, rest = rest.partition(" ")
        kinds: dict[str, Container[str]] = {"set": there.sets, "element": there.sets, "counter": there.counters}
        if (verb, what) in {("add", "chain"), ("add", "set"), ("add", "counter")}:
            self._declare(table, what, name, rest)
            return
        if name not in kinds.get(what, there.chains):
            raise _Refused(errno.ENOENT, name)
        match verb, what:
            case "add", "rule":
                there.rules[name].append(_rule(rest))
            case "flush", "chain":
                there.rules[name].clear()
            case "flush", "set":
                there.elements[name].clear()
            case "delete", _:
                self._delete(there, what, name, rest)
            case _:
                raise _Refused(errno.EINVAL, name, "syntax error")

    def _declare(self, table: Table, what: str, name: str, rest: str) -> None:
        there = self._tables[table]
        match what:
            case "chain":
                there.chains.setdefault(name, _hook(rest))
                there.rules.setdefault(name, [])
            case "counter":
                there.counters.setdefault(name, Traffic())
            case _:
                self._add_set(table, name, rest)

    def _delete(self, there: _Table, what: str, name: str, rest: str) -> None:
        match what:
            case "chain":
                del there.chains[name], there.rules[name]
            case "set":
                del there.sets[name], there.elements[name]
            case "counter":
                del there.counters[name]
            case "element":
                self._delete_elements(there, name, rest)
            case _:
                raise _Refused(errno.EINVAL, name, "syntax error")

    def _add_set(self, table: Table, name: str, rest: str) -> None:
        found = _SET.fullmatch(rest)
        if not found:
            raise _Refused(errno.EINVAL, name, "syntax error")
        key = tuple(KeyType(kind) for kind in found["key"].split(" . "))
        made = Set(table, name, key, interval=bool(found["flags"]), verdicts=bool(found["map"]))
        there = self._tables[table]
        if there.sets.setdefault(name, made) != made:
            raise _Refused(errno.EEXIST, name)
        there.elements.setdefault(name, {})
        listed = found["elements"].split(", ") if found["elements"] else ()
        self._add_elements(made, tuple(_element(made, text) for text in listed))

    def _delete_elements(self, there: _Table, name: str, rest: str) -> None:
        for text in rest.strip("{} ").split(", "):
            key = _element(there.sets[name], text).key
            if key not in there.elements[name]:
                raise _Refused(errno.ENOENT, text)
            del there.elements[name][key]

    def _add_elements(self, members: Set, elements: Sequence[Element]) -> None:
        there = self._tables.get(members.table, _Table())
        if there.sets.get(members.name) != members:
            raise _Refused(errno.ENOENT, str(members))
        held = there.elements[members.name]
        for element in elements:
            if not members.interval and any(not isinstance(one, _SINGLE) for one in element.key):
                raise _Refused(errno.EINVAL, str(members))
            if element.verdict and element.verdict.chain and element.verdict.chain not in there.chains:
                raise _Refused(errno.ENOENT, element.verdict.chain)
            if held.get(element.key, element) != element:
                raise _Refused(errno.EEXIST, str(members))
            if (
                members.interval
                and element.key not in held
                and any(_overlap(element, other) for other in held.values())
            ):
                raise _Refused(errno.EEXIST, str(members))
            held[element.key] = element

    def _check(self) -> None:
        """What is named must be there once the transaction is through."""
        for table, there in self._tables.items():
            for rule in (rule for rules in there.rules.values() for rule in rules):
                _require(rule, table, _JUMPS, there.chains)
                _require(rule, table, _LOOKUPS, there.sets)
                _require(rule, table, _COUNTERS, there.counters)
            for element in (one for held in there.elements.values() for one in held.values()):
                if element.verdict and element.verdict.chain and element.verdict.chain not in there.chains:
                    raise NftError(f"nftables refused: chain {element.verdict.chain} is in use", errno=errno.EBUSY)


class _Refused(Exception):
    def __init__(self, number: int, about: str, why: str = "") -> None:
        super().__init__(why or os.strerror(number))
        self.errno, self.about = number, about


_SINGLE = (int, str, IPv4Address, IPv6Address)


def _require(rule: StandingRule, table: Table, pattern: re.Pattern[str], there: Container[str]) -> None:
    for name in pattern.findall(_QUOTED.sub('""', rule.body)):
        if name not in there:
            raise NftError(f"nftables refused: {rule.body!r} in {table} names {name}", errno=errno.ENOENT)


def _hook(rest: str) -> Hook | None:
    found = _HOOK.fullmatch(rest)
    return Hook(found[1], found[2], int(found[3]), found[4]) if found else None


def _rule(body: str) -> StandingRule:
    found = _COMMENT.fullmatch(body)
    return StandingRule(found["body"], found["comment"]) if found else StandingRule(body)


def _element(members: Set, text: str) -> Element:
    key, _, verdict = text.partition(" : ")
    fields = tuple(_part(kind, one) for kind, one in zip(members.key, key.split(" . "), strict=True))
    fate, _, chain = verdict.partition(" ")
    return Element(fields, Verdict(Fate(fate), chain) if verdict else None)


def _part(kind: KeyType, text: str) -> Part:
    if kind is KeyType.DEVICE:
        return text.strip('"')
    if kind is KeyType.MAC:
        return text
    if "/" in text:
        return ip_network(text)
    read: Callable[[str], Part] = ip_address if kind in {KeyType.IPV4, KeyType.IPV6} else int
    if "-" in text:
        first, last = text.split("-")
        return Span(read(first), read(last))  # type: ignore[arg-type]  # addresses and numbers are Parts
    return read(text)


def _overlap(one: Element, other: Element) -> bool:
    return all(_meet(a, b) for a, b in zip(map(_span, one.key), map(_span, other.key), strict=True))


def _meet(a: tuple[int, int] | str, b: tuple[int, int] | str) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    return a[0] <= b[1] and b[0] <= a[1]


def _span(field: Part) -> tuple[int, int] | str:
    if isinstance(field, str):
        return field
    if isinstance(field, Span):
        return int(field.first), int(field.last)
    if isinstance(field, _SINGLE):
        return int(field), int(field)
    return int(field.network_address), int(field.broadcast_address)
