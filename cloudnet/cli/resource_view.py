"""How resources are shown: as documents that can be applied again, or in columns."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from cloudnet.cli import columns, output
from cloudnet.errors import BadInput
from cloudnet.model import kinds, manifests, wire
from cloudnet.model.resources import Resource
from cloudnet.store.api import Stored

FORMATS = ("table", "wide", "yaml", "json", "name")
_CUSTOM = "custom-columns="
_FIRST = ("apiVersion", "kind", "metadata", "spec", "status")

# Any: JSON's types.
Document = dict[str, Any]


def check(form: str) -> str:
    """Return the form of output that a person asks for.

    Raises:
        BadInput: there is none such.
    """
    word = {"ps": "table"}.get(form, form)
    if word not in FORMATS and not word.startswith(_CUSTOM):
        choices = ", ".join([*FORMATS, f"{_CUSTOM}HEADING,..."])
        hint = ": take json and jq instead" if form.startswith(("go-template", "jsonpath")) else ""
        raise BadInput(f"expected one of {choices}, found {form!r}{hint}", path="--output")
    return word


def document(stored: Stored[Resource], *, export: bool = False) -> Document:
    """Return the document of a resource with its revision; ``export``: without what belongs to this store alone."""
    found: Document = json.loads(stored.value.meta.document)
    kind = kinds.of(type(stored.value))
    metadata = dict(found.get("metadata") or {})
    if export:
        metadata = {key: value for key, value in metadata.items() if key not in wire.MARKS}
        found.pop("status", None)
    else:
        metadata["resourceVersion"] = str(stored.revision)
    whole = {"apiVersion": kind.api_version, "kind": kind.word, **found, "metadata": metadata}
    return {key: whole[key] for key in (*_FIRST, *sorted(whole.keys() - set(_FIRST))) if key in whole}


def show(found: Sequence[Stored[Resource]], form: str, *, one: bool, namespaces: bool, export: bool) -> None:
    """Print resources; ``one``: a person asked for just this one, which then stands alone and not in a list."""
    if form in {"yaml", "json"}:
        shown = [document(stored, export=export) for stored in found]
        whole = shown[0] if one else _list_of(shown)
        sys.stdout.write(manifests.dump(whole) if form == "yaml" else json.dumps(whole, indent=2) + "\n")
    elif form == "name":
        for stored in found:
            sys.stdout.write(f"{kinds.of(type(stored.value)).name.lower()}/{stored.value.meta.name}\n")
    else:
        _print_tables(found, form, namespaces=namespaces)


def _list_of(shown: Sequence[Document]) -> Document:
    """Return a list as Kubernetes has them: of one kind, or of anything."""
    headers = {(one["apiVersion"], one["kind"]) for one in shown}
    version, kind = headers.pop() if len(headers) == 1 else ("v1", "")
    return {"apiVersion": version, "kind": f"{kind}List", "items": list(shown)}


def _print_tables(found: Sequence[Stored[Resource]], form: str, *, namespaces: bool) -> None:
    if not found:
        sys.stdout.write("none\n")
    for i, (type_, some) in enumerate(groupby(found, key=lambda stored: type(stored.value))):
        kind = kinds.of(type_)
        if i:
            sys.stdout.write("\n")
        heads = (
            columns.custom(form.removeprefix(_CUSTOM), kind.name)
            if form.startswith(_CUSTOM)
            else columns.usual(kind.name, namespaces=namespaces and kind.namespaced, wide=form == "wide")
        )
        rows = [[columns.cell(document(stored), column) for column in heads] for stored in some]
        output.print_table([column.heading for column in heads], rows)


def fields(found: Mapping[str, Any], *, depth: int = 0) -> list[str]:
    """Return an object as indented lines for people: lists of simple values on one line."""
    lines = []
    for key, value in found.items():
        pad = "  " * depth
        if isinstance(value, Mapping) and value:
            lines += [f"{pad}{key}:", *fields(value, depth=depth + 1)]
        elif isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
            lines.append(f"{pad}{key}:")
            for one in value:
                inner = fields(one, depth=depth + 2) if isinstance(one, Mapping) else [f"{pad}    {one}"]
                lines += [f"{pad}  - {inner[0].strip()}", *inner[1:]] if inner else []
        else:
            lines.append(f"{pad}{key}: {_simple(value)}")
    return lines


def _simple(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_simple(one) for one in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value in (None, "", {}) else str(value)
