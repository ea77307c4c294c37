"""Strategies for selectors and labels, and an evaluator so plain that its truth can be seen.

Few labels and few values, so that selectors and labels meet often.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from cloudnet.model.expressions import SETS, Always, And, Comparison, Has, Node, Not, Operator, Or, quoted

LABELS: Final = ("a", "b", "app.kubernetes.io/name", "in", "has", "all")
"""Names that are words of the grammar are among them."""

VALUES: Final = ("", "x", "y", "xy", "x'y", 'x"y', "é\n")

NAMES: Final = st.sampled_from(LABELS)
TEXTS: Final = st.sampled_from(VALUES)


def labels() -> SearchStrategy[dict[str, str]]:
    return st.dictionaries(NAMES, TEXTS, max_size=4)


def comparisons() -> SearchStrategy[Comparison]:
    single = [operator for operator in Operator if operator not in SETS]
    several = st.sets(TEXTS, max_size=3).map(sorted).map(tuple)
    return st.builds(Comparison, NAMES, st.sampled_from(single), st.tuples(TEXTS)) | st.builds(
        Comparison, NAMES, st.sampled_from(sorted(SETS, key=str)), several
    )


def expressions() -> SearchStrategy[Node]:
    """Trees as nobody would write them, negations of negations among them."""
    leaves = comparisons() | st.builds(Has, NAMES) | st.builds(Always, st.sampled_from(("all", "global")))
    return st.recursive(
        leaves,
        lambda inner: (
            st.builds(Not, inner)
            | st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple))
            | st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple))
        ),
        max_leaves=8,
    )


def spelt(node: Node, blank: str = " ") -> str:
    """Return a node as text, with every parenthesis that could be wanted and ``blank`` wherever it may stand."""
    match node:
        case Always(name):
            return f"{name}({blank})"
        case Has(label):
            return f"has({blank}{label}{blank})"
        case Comparison(label, operator, values):
            wanted = f"{blank},{blank}".join(quoted(value) for value in values)
            right = f"{{{blank}{wanted}{blank}}}" if operator in SETS else wanted
            return f"{label} {operator.value.replace(' ', blank)}{blank}{right}"
        case Not(operand):
            return f"!{blank}({blank}{spelt(operand, blank)}{blank})"
        case And(operands):
            return f"({blank}{f'{blank}&&{blank}'.join(spelt(operand, blank) for operand in operands)}{blank})"
        case Or(operands):
            return f"({blank}{f'{blank}||{blank}'.join(spelt(operand, blank) for operand in operands)}{blank})"


def selects(node: Node, of: Mapping[str, str]) -> bool:
    """Tell whether a tree selects labels, word by word as Calico's documentation says it."""
    match node:
        case Always():
            return True
        case Has(label):
            return label in of
        case Not(operand):
            return not selects(operand, of)
        case And(operands):
            return all(selects(operand, of) for operand in operands)
        case Or(operands):
            return any(selects(operand, of) for operand in operands)
        case Comparison(label, operator, values):
            return _compares(of, label, operator, values)


def _compares(of: Mapping[str, str], label: str, operator: Operator, values: tuple[str, ...]) -> bool:
    there = label in of
    value = of.get(label, "")
    return {
        Operator.EQUAL: there and values[:1] == (value,),
        Operator.NOT_EQUAL: not there or values[:1] != (value,),
        Operator.IN: there and value in values,
        Operator.NOT_IN: not there or value not in values,
        Operator.CONTAINS: there and "".join(values) in value,
        Operator.STARTS_WITH: there and value.startswith("".join(values)),
        Operator.ENDS_WITH: there and value.endswith("".join(values)),
    }[operator]
