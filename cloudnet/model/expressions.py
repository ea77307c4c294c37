"""What a selector says, as a tree; how it is written, asked and indexed. ``selectors.py`` reads the text.

The nodes are values. Nothing here calls itself: a tree may be as deep as its text is long, which Python's stack is
not. Semantics and canonical form follow Calico ``libcalico-go/lib/selector/parser/ast.go``. One thing differs: Calico
writes ``!(!has(a))`` as ``!!has(a)``, which it reads back as ``has(a)``; here both are ``has(a)``, so that a
canonical text always stands for itself.
"""

from __future__ import annotations

import enum
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeAlias


class Operator(enum.Enum):
    """How a label is compared; the value is its canonical spelling."""

    EQUAL = "=="
    NOT_EQUAL = "!="
    IN = "in"
    NOT_IN = "not in"
    CONTAINS = "contains"
    STARTS_WITH = "starts with"
    ENDS_WITH = "ends with"


SETS: Final = frozenset({Operator.IN, Operator.NOT_IN})
NEGATIVE: Final = frozenset({Operator.NOT_EQUAL, Operator.NOT_IN})
"""True for a label that is absent."""


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """A label against a value, or against several, sorted, each once."""

    label: str
    operator: Operator
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Has:
    label: str


@dataclass(frozen=True, slots=True, eq=False)
class Always:
    """``all()`` or ``global()``; what the latter means beyond "true" belongs to conversion."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Not:
    operand: Node


@dataclass(frozen=True, slots=True, eq=False)
class And:
    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Or:
    operands: tuple[Node, ...]


Leaf: TypeAlias = Comparison | Has | Always
Node: TypeAlias = Leaf | Not | And | Or


def negated(node: Node) -> Node:
    """Return the opposite; two negations are none."""
    return node.operand if isinstance(node, Not) else Not(node)


# --- how it is written --------------------------------------------------------------------------------------


def canonical(root: Node) -> str:
    """Return the text that all selectors of the same tree share."""
    written: list[str] = []
    left: list[Node | str] = [root]  # what is still to be written; what comes next stands last
    while left:
        match left.pop():
            case str(text):
                written.append(text)
            case Not(operand):
                left += (operand, "!")
            case And(operands):
                left += _joined(operands, " && ")
            case Or(operands):
                left += _joined(operands, " || ")
            case leaf:
                written.append(_leaf(leaf))
    return "".join(written)


def _joined(operands: tuple[Node, ...], between: str) -> Iterator[Node | str]:
    yield ")"
    for operand in reversed(operands[1:]):
        yield operand
        yield between
    yield operands[0]
    yield "("


def _leaf(leaf: Leaf) -> str:
    match leaf:
        case Always(name):
            return f"{name}()"
        case Has(label):
            return f"has({label})"
        case Comparison(label, operator, values) if operator in SETS:
            return f"{label} {operator.value} {{{', '.join(map(quoted, values))}}}"
        case Comparison(label, operator, values):
            return f"{label} {operator.value} {quoted(values[0])}"


def quoted(value: str) -> str:
    """Return a value as a selector writes it: there are no escapes, and no value holds both quotes."""
    return f"'{value}'" if '"' in value else f'"{value}"'


# --- how it is asked ----------------------------------------------------------------------------------------

Step: TypeAlias = "tuple[str, Container[str | None], Step, Step] | bool"
"""Look a label up; go on with the third if the second contains its value (None: no such label), else with the fourth.

And, or and not are in the wiring alone, as in a binary decision diagram. The end is the answer.
"""


def steps(root: Node) -> Step:
    """Return the first step of a tree."""
    first: Step = True  # of what was wired last
    left: list[tuple[Node, Step | None, Step | None]] = [(root, True, False)]  # None: to what was wired last
    while left:
        node, then, otherwise = left.pop()
        yes = first if then is None else then
        no = first if otherwise is None else otherwise
        match node:
            case Not(operand):
                left.append((operand, no, yes))
            case And(operands):
                left += ((operand, None, no) for operand in operands[:-1])
                left.append((operands[-1], yes, no))
            case Or(operands):
                left += ((operand, yes, None) for operand in operands[:-1])
                left.append((operands[-1], yes, no))
            case Always():
                first = yes
            case Has(label):
                first = (label, _ANYTHING, yes, no)
            case Comparison(label, operator, _) if operator in NEGATIVE:
                first = (label, _values(node), no, yes)
            case Comparison(label, _, _):
                first = (label, _values(node), yes, no)
    return first


def holds(first: Step, labels: Mapping[str, str]) -> bool:
    """Tell whether labels fulfil what was wired."""
    step, get = first, labels.get
    while step is not True and step is not False:
        label, accepted, yes, no = step
        step = yes if get(label) in accepted else no
    return step


def _values(of: Comparison) -> Container[str | None]:
    text = of.values[0] if of.values else ""
    match of.operator:
        case Operator.CONTAINS:
            return _Containing(text)
        case Operator.STARTS_WITH:
            return _StartingWith(text)
        case Operator.ENDS_WITH:
            return _EndingWith(text)
        case _:
            return frozenset(of.values)


class _Anything:
    """Every value, for a label that is there."""

    __slots__ = ()

    def __contains__(self, value: object) -> bool:
        return value is not None


_ANYTHING: Final = _Anything()


@dataclass(frozen=True, slots=True, eq=False)
class _Containing:
    text: str

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) and self.text in value


@dataclass(frozen=True, slots=True, eq=False)
class _StartingWith:
    text: str

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) and value.startswith(self.text)


@dataclass(frozen=True, slots=True, eq=False)
class _EndingWith:
    text: str

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) and value.endswith(self.text)


# --- how it is found ----------------------------------------------------------------------------------------

Restrictions: TypeAlias = Mapping[str, frozenset[str] | None]
"""Labels that must be there: ``{label: the values it may have, or None for any}``; no values: nothing matches."""


def restrictions(root: Node) -> Restrictions:
    """Return what every match must have. It is necessary, not sufficient, and not always all that could be known.

    Negations are carried down to the leaves, so ``!(a != "x" || !has(b))`` asks for both labels.
    """
    order: list[tuple[Node, bool]] = []  # each node before its operands; is it negated?
    left = [(root, False)]
    while left:
        node, negative = left.pop()
        order.append((node, negative))
        left += ((operand, negative is not isinstance(node, Not)) for operand in _operands(node))
    done: list[_Found] = []
    for node, negative in reversed(order):
        match node:
            case Not():
                pass
            case And(operands) | Or(operands):
                parts, done[-len(operands) :] = done[-len(operands) :], []
                done.append(_all_of(parts) if isinstance(node, Or) is negative else _any_of(parts))
            case leaf:
                done.append(_of_leaf(leaf, negative=negative))
    return {label: None if values is None else frozenset(values) for label, values in done.pop().items()}


_Found: TypeAlias = dict[str, set[str] | None]


def _of_leaf(leaf: Leaf, *, negative: bool) -> _Found:
    match leaf:
        case Has(label) if not negative:
            return {label: None}
        case Comparison(label, operator, values) if (operator in NEGATIVE) is negative:
            exact = operator in SETS or operator in {Operator.EQUAL, Operator.NOT_EQUAL}
            return {label: set(values) if exact else None}
    return {}


def _all_of(parts: list[_Found]) -> _Found:
    """Return what holds when all do. The largest part grows, so that depth costs no copies."""
    parts.sort(key=len)
    found = parts.pop()
    for part in parts:
        for label, values in part.items():
            before = found.get(label)
            found[label] = before if values is None else values if before is None else values & before
    return found


def _any_of(parts: list[_Found]) -> _Found:
    """Return what holds when any does. The smallest part shrinks."""
    parts.sort(key=len)
    found = parts[0]
    for part in parts[1:]:
        for label, values in list(found.items()):
            if label not in part:
                del found[label]
            else:
                found[label] = _union(values, part[label])
    return found


def _union(one: set[str] | None, other: set[str] | None) -> set[str] | None:
    if one is None or other is None:
        return None
    if len(one) < len(other):
        one, other = other, one
    one |= other
    return one


# --- the same of other labels -------------------------------------------------------------------------------


def prefixed(root: Node, prefix: str) -> Node:
    """Return the tree with a prefix to every label's name: conversion makes ``pcns.app`` of a namespace's ``app``."""
    order: list[Node] = []
    left = [root]
    while left:
        order.append(node := left.pop())
        left += _operands(node)
    done: list[Node] = []
    for node in reversed(order):
        match node:
            case Not():
                done.append(Not(done.pop()))
            case And(operands) | Or(operands):
                parts, done[-len(operands) :] = done[-len(operands) :], []
                done.append(replace(node, operands=tuple(parts)))
            case Always():
                done.append(node)
            case leaf:
                done.append(replace(leaf, label=prefix + leaf.label))
    return done.pop()


def _operands(node: Node) -> tuple[Node, ...]:
    match node:
        case Not(operand):
            return (operand,)
        case And(operands) | Or(operands):
            return operands
    return ()


def labels(root: Node) -> frozenset[str]:
    """Return the names of all labels that a tree asks for."""
    found: set[str] = set()
    left = [root]
    while left:
        node = left.pop()
        left += _operands(node)
        if isinstance(node, Has | Comparison):
            found.add(node.label)
    return frozenset(found)
