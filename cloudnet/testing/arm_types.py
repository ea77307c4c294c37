"""Holds bodies of Azure Resource Manager against Microsoft's type descriptions (bicep-types), for tests.

A description is a list of types that refer to each other by their place: ``{"$ref": "#/12"}``. A property's flags are
bits: 1 required, 2 read-only, 4 write-only, 8 a constant of the deployment. Enumerations are described as open (any
string besides the listed ones); here they are closed, because a simulator has no business inventing values.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

REQUIRED, READ_ONLY, WRITE_ONLY = 1, 2, 4
_IN_THE_PATH = frozenset({"name", "type", "apiVersion"})  # of a resource: ARM takes them from the URL

Json = Any  # JSON as it comes


class Types:
    """One description."""

    def __init__(self, path: Path) -> None:
        self._types: list[Mapping[str, Any]] = json.loads(path.read_text())
        self._resources = {
            t["name"].partition("@")[0].lower(): _place(t["body"])
            for t in self._types
            if t["$type"] == "ResourceType"
        }

    def check(self, resource: str, body: Json, *, request: bool) -> list[str]:
        """Return what is wrong with a resource's body, each with its path; ``KeyError`` for an unknown type."""
        return list(self._check(self._resources[resource.lower()], body, "", request=request))

    def _check(self, place: int, value: Json, path: str, *, request: bool) -> Iterator[str]:
        described = self._types[place]
        match described["$type"]:
            case "ObjectType":
                yield from self._object(described, value, path, request=request)
            case "DiscriminatedObjectType":
                base = {"properties": described["baseProperties"], "additionalProperties": {"$ref": "#/0"}}
                yield from self._object(base, value, path, request=request)
            case "ArrayType":
                if not isinstance(value, list):
                    yield f"{path}: expected a list, found {value!r}"
                    return
                for at, item in enumerate(value):
                    yield from self._check(_place(described["itemType"]), item, f"{path}[{at}]", request=request)
            case "UnionType":
                yield from self._union(described, value, path, request=request)
            case "StringLiteralType":
                if str(value).lower() != described["value"].lower():
                    yield f"{path}: expected {described['value']!r}, found {value!r}"
            case kind if kind in _SCALARS and not _is(value, _SCALARS[kind]):
                yield f"{path}: expected {kind}, found {value!r}"

    def _object(self, described: Mapping[str, Any], value: Json, path: str, *, request: bool) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{path}: expected an object, found {value!r}"
            return
        known = described["properties"]
        for name, item in value.items():
            where = f"{path}.{name}" if path else name
            if name in known:
                flags = known[name]["flags"]
                if request and flags & READ_ONLY:
                    yield f"{where}: is read-only"
                if not request and flags & WRITE_ONLY:
                    yield f"{where}: is never shown"
                yield from self._check(_place(known[name]["type"]), item, where, request=request)
            elif "additionalProperties" not in described:
                yield f"{where}: is unknown"
        for name, each in known.items():
            wanted = each["flags"] & REQUIRED and not (request and not path and name in _IN_THE_PATH)
            if wanted and name not in value:
                yield f"{path}.{name}: is missing" if path else f"{name}: is missing"

    def _union(self, described: Mapping[str, Any], value: Json, path: str, *, request: bool) -> Iterator[str]:
        elements = [_place(each) for each in described["elements"]]
        literals = [self._types[e]["value"] for e in elements if self._types[e]["$type"] == "StringLiteralType"]
        if literals:
            if value not in literals:
                yield f"{path}: expected one of {', '.join(literals)}, found {value!r}"
        elif all(list(self._check(e, value, path, request=request)) for e in elements):
            yield f"{path}: fits none of its kinds: {value!r}"


_SCALARS = {"StringType": str, "IntegerType": int, "BooleanType": bool}


def _is(value: Json, kind: type) -> bool:
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _place(reference: Mapping[str, str]) -> int:
    return int(reference["$ref"].removeprefix("#/"))
