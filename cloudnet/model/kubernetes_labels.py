"""Kubernetes' label selectors: how its policies say which pods and namespaces they mean.

Values and spelling. Source: Kubernetes ``apimachinery/pkg/apis/meta/v1`` (types.go, validation/validation.go). A
field that nobody knows is refused: without it a selector would select more.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import msgspec

from cloudnet.errors import BadInput
from cloudnet.model import names, wire
from cloudnet.model.problems import Problems

_NOTHING: Mapping[str, str] = MappingProxyType({})


class Operator(enum.Enum):
    """What an expression asks of the label with its key; ``NotIn`` and ``DoesNotExist`` hold where there is none."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


@dataclass(frozen=True, slots=True)
class Expression:
    """One condition on a label; ``values`` are for ``In`` and ``NotIn``."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """All conditions must hold; without any it selects everything."""

    match_labels: Mapping[str, str] = field(default_factory=lambda: _NOTHING, hash=False)
    match_expressions: tuple[Expression, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.match_labels or self.match_expressions)


EVERYTHING: Final = LabelSelector()


class _Expression(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    key: str
    operator: str
    values: list[str] | None = None


class LabelSelectorDocument(msgspec.Struct, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """A LabelSelector as Kubernetes writes it."""

    match_labels: dict[str, str] | None = None
    match_expressions: list[_Expression] | None = None


_OPERATORS = {operator.value: operator for operator in Operator}


def read_selector(document: LabelSelectorDocument, path: str, problems: Problems) -> LabelSelector:
    labels = document.match_labels or {}
    names.check_labels(labels, f"{path}.matchLabels", problems)
    expressions = []
    for i, expression in enumerate(document.match_expressions or ()):
        try:
            expressions.append(_read_expression(expression, f"{path}.matchExpressions[{i}]"))
        except BadInput as error:
            problems.note(error)
    return LabelSelector(labels, tuple(expressions))


def _read_expression(document: _Expression, path: str) -> Expression:
    operator = wire.choice(document.operator, _OPERATORS, f"{path}.operator")
    if not names.is_key(document.key):
        raise BadInput(
            f"expected a key such as 'app' or 'example.com/app', found {wire.shown(document.key)}", path=f"{path}.key"
        )
    values, wanted = document.values or [], operator in {Operator.IN, Operator.NOT_IN}
    if wanted and not values:
        raise BadInput(f"expected values, for the operator is {operator.value}", path=f"{path}.values")
    if values and not wanted:
        raise BadInput(f"expected nothing, for the operator is {operator.value}", path=f"{path}.values")
    for i, value in enumerate(values):
        if not names.is_value(value):
            raise BadInput(f"expected the value of a label, found {wire.shown(value)}", path=f"{path}.values[{i}]")
    return Expression(document.key, operator, tuple(values))


def maybe_selector(document: LabelSelectorDocument | None, path: str, problems: Problems) -> LabelSelector | None:
    return None if document is None else read_selector(document, path, problems)


def write_selector(selector: LabelSelector) -> LabelSelectorDocument:
    expressions = [
        _Expression(one.key, one.operator.value, list(one.values) or None) for one in selector.match_expressions
    ]
    return LabelSelectorDocument(dict(selector.match_labels) or None, expressions or None)


def maybe_written(selector: LabelSelector | None) -> LabelSelectorDocument | None:
    return None if selector is None else write_selector(selector)
