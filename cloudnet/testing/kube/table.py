"""Custom resources as the table that kubectl prints, by the columns of their definition. Pure.

A column shows the first value that its path finds, and no other; a value of another type than the column's shows as
nothing (``apiextensions-apiserver/pkg/registry/customresource/tableconvertor/tableconvertor.go``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from cloudnet.testing.kube import status
from cloudnet.testing.kube.objects import Json, Type

ACCEPTED: Final = "as=Table"  # in Accept, by who wants one

_TYPES: Final[dict[str, tuple[type, ...]]] = {"integer": (int,), "number": (int, float), "boolean": (bool,)}
_STEP: Final = re.compile(r"\.([A-Za-z_]\w*)|\[(\*)\]")
_AGE: Final = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


def table(type_: Type, answer: Json, now: datetime) -> Json:
    """Return a list, or one object, as a table."""
    items = answer.get("items", [answer])
    columns = type_.columns or (_AGE,)
    headers = [{"name": "Name", "type": "string", "format": "name"}]
    headers += [{"name": one["name"], "type": one["type"], "format": one.get("format", "")} for one in columns]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": answer["metadata"].get("resourceVersion", "")},
        "columnDefinitions": [{"description": "", "priority": 0, **header} for header in headers],
        "rows": [_row(item, columns, now) for item in items],
    }


def _row(item: Json, columns: Any, now: datetime) -> Json:
    meta = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]}
    cells = [item["metadata"]["name"], *(_cell(item, column, now) for column in columns)]
    return {"cells": cells, "object": meta}


def _cell(item: Json, column: Any, now: datetime) -> Any:
    value = next(_found(item, _steps(column["jsonPath"])), None)
    match column["type"]:
        case "date":
            return _age(value, now) if isinstance(value, str) else None
        case "string":
            return None if value is None else str(value)
        case kind:
            return (
                value if isinstance(value, _TYPES[kind]) and isinstance(value, bool) == (kind == "boolean") else None
            )


def _steps(path: str) -> list[str]:
    """Return the steps of a path of names and ``[*]``; kubectl knows more, our definitions need no more."""
    if not re.fullmatch(f"({_STEP.pattern})+", path):
        raise status.Refusal(501, "NotImplemented", f"the stand-in reads no {path!r} in a column")
    return [name or star for name, star in _STEP.findall(path)]


def _found(value: Any, steps: list[str]) -> Iterator[Any]:
    if not steps:
        yield value
    elif steps[0] == "*":
        for item in value if isinstance(value, list) else ():
            yield from _found(item, steps[1:])
    elif isinstance(value, dict) and steps[0] in value:
        yield from _found(value[steps[0]], steps[1:])


def _age(text: str, now: datetime) -> str:
    return f"{int((now - datetime.strptime(text, '%Y-%m-%dT%H:%M:%SZ').replace(tzinfo=UTC)).total_seconds())}s"
