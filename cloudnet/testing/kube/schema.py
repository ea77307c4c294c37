"""What an API server does with a custom resource's schema: drop unknown fields, check the rest.

A part of OpenAPI v3 as structural schemas allow it (kubernetes.io/docs/tasks/extend-kubernetes/custom-resources,
``apiextensions-apiserver/pkg/apiserver/schema``): types, properties, required, enum, limits, patterns,
``additionalProperties``, ``nullable``, ``x-kubernetes-int-or-string`` and ``x-kubernetes-preserve-unknown-fields``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}
_INT64 = range(-(2**63), 2**63)
_ALWAYS = ("apiVersion", "kind", "metadata")


def prune(value: Any, schema: Any, *, root: bool = True) -> Any:
    """Return the value without the fields that its schema does not know."""
    if isinstance(value, list):
        items = schema.get("items", {})
        return [prune(item, items, root=False) for item in value]
    if not isinstance(value, dict):
        return value
    properties = schema.get("properties", {})
    additional = schema.get("additionalProperties")
    kept = {}
    for key, inner in value.items():
        if root and key in _ALWAYS:
            kept[key] = inner
        elif key in properties:
            kept[key] = prune(inner, properties[key], root=False)
        elif isinstance(additional, dict):
            kept[key] = prune(inner, additional, root=False)
        elif additional or schema.get("x-kubernetes-preserve-unknown-fields"):
            kept[key] = inner
    return kept


def unknown(value: Any, schema: Any, path: str = "") -> Iterator[str]:
    """Give the path of each field that its schema does not know."""
    kept = prune(value, schema, root=not path)
    if isinstance(value, list):
        for i, item in enumerate(value):
            yield from unknown(item, schema.get("items", {}), f"{path}[{i}]")
    if isinstance(value, dict):
        properties, additional = schema.get("properties", {}), schema.get("additionalProperties")
        for key, inner in value.items():
            here = f"{path}.{key}" if path else key
            if key not in kept:
                yield here
            elif key in properties and (path or key not in _ALWAYS):
                yield from unknown(inner, properties[key], here)
            elif isinstance(additional, dict):
                yield from unknown(inner, additional, here)


def faults(value: Any, schema: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Give path and message of each field that breaks its schema."""
    if value is None:
        if not schema.get("nullable"):
            yield path or "<nil>", "Invalid value: null"
        return
    wanted = schema.get("type")
    if schema.get("x-kubernetes-int-or-string"):
        if not isinstance(value, (int, str)) or isinstance(value, bool):
            yield path, f"Invalid value: {value!r}: must be an integer or a string"
        return
    if wanted and (not isinstance(value, _TYPES[wanted]) or (isinstance(value, bool) and wanted != "boolean")):
        yield path, f"Invalid value: {type(value).__name__!r}: {path} in body must be of type {wanted}"
        return
    yield from _scalar_faults(value, schema, path)
    if isinstance(value, dict):
        yield from _object_faults(value, schema, path)
    if isinstance(value, list):
        if "maxItems" in schema and len(value) > schema["maxItems"]:
            yield path, f"Too many: {len(value)}: must have at most {schema['maxItems']} items"
        for i, item in enumerate(value):
            yield from faults(item, schema.get("items", {}), f"{path}[{i}]")


def _scalar_faults(value: Any, schema: Any, path: str) -> Iterator[tuple[str, str]]:
    if "enum" in schema and value not in schema["enum"]:
        yield path, f"Unsupported value: {value!r}: supported values: {schema['enum']}"
    if isinstance(value, str):
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield path, f"Invalid value: {value!r}: {path} in body should match '{schema['pattern']}'"
        if "maxLength" in schema and len(value) > schema["maxLength"]:
            yield path, f"Too long: may not be more than {schema['maxLength']} bytes"
        if len(value) < schema.get("minLength", 0):
            yield path, f"Invalid value: {value!r}: should be at least {schema['minLength']} chars long"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if value < schema.get("minimum", value):
            yield path, f"Invalid value: {value}: should be greater than or equal to {schema['minimum']}"
        if value > schema.get("maximum", value):
            yield path, f"Invalid value: {value}: should be less than or equal to {schema['maximum']}"
        if schema.get("format") == "int64" and value not in _INT64:
            yield path, f"Invalid value: {value}: does not fit 64 bits"


def _object_faults(value: Any, schema: Any, path: str) -> Iterator[tuple[str, str]]:
    prefix = f"{path}." if path else ""
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{prefix}{name}", "Required value"
    properties, additional = schema.get("properties", {}), schema.get("additionalProperties")
    for key, inner in value.items():
        if key in properties:
            yield from faults(inner, properties[key], f"{prefix}{key}")
        elif isinstance(additional, dict):
            yield from faults(inner, additional, f"{prefix}{key}")
