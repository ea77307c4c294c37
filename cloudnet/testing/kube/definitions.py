"""What an API server refuses of a CustomResourceDefinition, before it serves what it defines.

Sources: ``apiextensions-apiserver/pkg/apis/apiextensions/validation`` and, for structural schemas,
``pkg/apiserver/schema`` (``structural.go``, ``complete.go``, ``validation.go``); Kubernetes KEP-2337 for groups that
need an approval.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from cloudnet.model import names
from cloudnet.testing.kube import schema as values

Json = dict[str, Any]
Fault = tuple[str, str]

_TYPES: Final = frozenset({"object", "array", "string", "boolean", "integer", "number"})
_COLUMN_TYPES: Final = frozenset({"integer", "number", "string", "boolean", "date"})
_FORBIDDEN: Final = frozenset(
    {"$ref", "definitions", "dependencies", "deprecated", "discriminator", "id", "patternProperties", "readOnly"}
    | {"writeOnly", "xml"}
)
_KNOWN: Final = frozenset(
    {"additionalProperties", "allOf", "anyOf", "default", "description", "enum", "example", "exclusiveMaximum"}
    | {"exclusiveMinimum", "externalDocs", "format", "items", "maxItems", "maxLength", "maxProperties", "maximum"}
    | {"minItems", "minLength", "minProperties", "minimum", "multipleOf", "not", "nullable", "oneOf", "pattern"}
    | {"properties", "required", "title", "type", "uniqueItems", "x-kubernetes-embedded-resource"}
    | {"x-kubernetes-int-or-string", "x-kubernetes-list-map-keys", "x-kubernetes-list-type"}
    | {"x-kubernetes-map-type", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations"}
)
_JUNCTORS: Final = ("allOf", "anyOf", "oneOf")
_EITHER: Final = [{"type": "integer"}, {"type": "string"}]  # the one place where types may stand inside
_OUTSIDE_ONLY: Final = ("additionalProperties", "default", "description", "nullable", "title", "type")
_NOT_RE2: Final = re.compile(r"\(\?[=!<]|\\[1-9]|[*+?}]\+")  # look-around, back references, possessive quantifiers
_PROTECTED: Final = (".k8s.io", ".kubernetes.io")
_APPROVED: Final = "api-approved.kubernetes.io"
_COLUMN_PATH: Final = re.compile(r"(\.[A-Za-z_][\w\\./-]*|\[[^\]]+\])+")


def faults(definition: Json) -> Iterator[Fault]:
    """Give path and message of each thing that is wrong."""
    spec, meta = definition["spec"], definition["metadata"]
    group, called = spec.get("group", ""), spec.get("names", {})
    if meta["name"] != f"{called.get('plural')}.{group}":
        yield "metadata.name", f"must be spec.names.plural+'.'+spec.group, {called.get('plural')}.{group}"
    if f".{group}".endswith(_PROTECTED) and not meta.get("annotations", {}).get(_APPROVED):
        yield f"metadata.annotations[{_APPROVED}]", "protected groups must have approval annotation"
    yield from _names(called)
    if spec.get("scope") not in {"Cluster", "Namespaced"}:
        yield "spec.scope", "must be Cluster or Namespaced"
    if spec.get("preserveUnknownFields"):
        yield "spec.preserveUnknownFields", "must be false"
    versions = spec.get("versions", [])
    if sum(version.get("storage", False) for version in versions) != 1:
        yield "spec.versions", "must have exactly one version marked as storage version"
    for k, version in enumerate(versions):
        yield from _version(version, f"spec.versions[{k}]")


def _names(called: Json) -> Iterator[Fault]:
    for field in ("plural", "singular", "kind", "listKind"):
        if not names.is_label(called.get(field, "").lower()):
            yield f"spec.names.{field}", "must be a DNS-1035 label"
    if called.get("kind") == called.get("listKind"):
        yield "spec.names.listKind", "kind and listKind may not be the same"


def _version(version: Json, path: str) -> Iterator[Fault]:
    for field in ("served", "storage"):
        if not isinstance(version.get(field), bool):
            yield f"{path}.{field}", "Required value"
    root = version.get("schema", {}).get("openAPIV3Schema")
    if not root:
        yield f"{path}.schema.openAPIV3Schema", "Required value: schemas are required"
        return
    if root.get("type") != "object":
        yield f"{path}.schema.openAPIV3Schema.type", "must be object at the root"
    yield from _schema(root, f"{path}.schema.openAPIV3Schema")
    yield from _metadata(root, f"{path}.schema.openAPIV3Schema.properties[metadata]")
    for k, column in enumerate(version.get("additionalPrinterColumns", ())):
        if column.get("type") not in _COLUMN_TYPES:
            yield f"{path}.additionalPrinterColumns[{k}].type", f"must be one of {', '.join(sorted(_COLUMN_TYPES))}"
        if not _COLUMN_PATH.fullmatch(column.get("jsonPath", "")):
            yield f"{path}.additionalPrinterColumns[{k}].jsonPath", "must be a simple json path"


def _metadata(root: Json, path: str) -> Iterator[Fault]:
    known = root.get("properties", {}).get("metadata", {})
    if extra := set(known) - {"type", "properties", "description"}:
        yield path, f"must not specify anything other than name and generateName, but {min(extra)} is set"
    if set(known.get("properties", {})) - {"name", "generateName"}:
        yield path, "must not specify anything other than name and generateName"


def _schema(node: Json, path: str) -> Iterator[Fault]:
    """Give what keeps a schema from being structural, here and below."""
    yield from _keywords(node, path)
    yield from _typed(node, path)
    for name, inner in node.get("properties", {}).items():
        yield from _schema(inner, f"{path}.properties[{name}]")
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            yield from _schema(node[key], f"{path}.{key}")
    for key in _JUNCTORS:
        for k, inner in enumerate(node.get(key, ())):
            if not (key == "anyOf" and node.get("x-kubernetes-int-or-string") and node[key] == _EITHER):
                yield from _inside_junctor(inner, f"{path}.{key}[{k}]")
    if "not" in node:
        yield from _inside_junctor(node["not"], f"{path}.not")


def _keywords(node: Json, path: str) -> Iterator[Fault]:
    for key in node:
        if key in _FORBIDDEN:
            yield f"{path}.{key}", "Forbidden: must not be used"
        elif key not in _KNOWN:
            yield f"{path}.{key}", "unknown field"
    if node.get("uniqueItems"):
        yield f"{path}.uniqueItems", "Forbidden: uniqueItems cannot be set to true: its complexity is quadratic"
    if node.get("additionalProperties") is False:
        yield f"{path}.additionalProperties", "Forbidden: additionalProperties cannot be set to false"
    if "additionalProperties" in node and "properties" in node:
        yield f"{path}.additionalProperties", "Forbidden: properties and additionalProperties exclude each other"
    yield from _pattern(node, path)
    if "default" in node and list(values.faults(node["default"], node)):
        yield f"{path}.default", "Invalid value: the default must suit its own schema"


def _pattern(node: Json, path: str) -> Iterator[Fault]:
    if (text := node.get("pattern")) is None:
        return
    try:
        re.compile(text)
    except re.error as error:
        yield f"{path}.pattern", f"Invalid value: {error}"
    if _NOT_RE2.search(text):
        yield f"{path}.pattern", "Invalid value: Go's regular expressions have no such thing"


def _typed(node: Json, path: str) -> Iterator[Fault]:
    either, free = node.get("x-kubernetes-int-or-string"), node.get("x-kubernetes-preserve-unknown-fields")
    kind = node.get("type")
    if either and kind:
        yield f"{path}.type", "must be empty if x-kubernetes-int-or-string is true"
    elif not kind and not either and not free:
        yield f"{path}.type", "Required value: must not be empty for specified object fields"
    elif kind is not None and kind not in _TYPES:
        yield f"{path}.type", f"Unsupported value: {kind!r}"
    if free is False:
        yield f"{path}.x-kubernetes-preserve-unknown-fields", "must be true or undefined"
    if free and kind not in {None, "object"}:
        yield f"{path}.type", "must be object if x-kubernetes-preserve-unknown-fields is true"
    if kind == "array" and "items" not in node:
        yield f"{path}.items", "Required value: must be specified"
    if kind != "array" and "items" in node:
        yield f"{path}.items", "Forbidden: only arrays have items"
    if kind != "object" and {"properties", "additionalProperties"} & set(node):
        yield f"{path}.properties", "Forbidden: only objects have properties"
    yield from _list_type(node, path)


def _list_type(node: Json, path: str) -> Iterator[Fault]:
    keys = node.get("x-kubernetes-list-map-keys")
    if node.get("x-kubernetes-list-type") == "map":
        inner = node.get("items", {})
        for key in keys or ():
            if key not in inner.get("required", ()) and "default" not in inner.get("properties", {}).get(key, {}):
                yield f"{path}.items.properties[{key}]", "must be required, or have a default, for it is a map's key"
    if (node.get("x-kubernetes-list-type") == "map") is not bool(keys):
        yield f"{path}.x-kubernetes-list-map-keys", "Required value for a list that is a map, and for no other"


def _inside_junctor(node: Json, path: str) -> Iterator[Fault]:
    """Inside ``anyOf`` and its like a schema only narrows: what a field is stands outside."""
    for key in _OUTSIDE_ONLY:
        if key in node:
            yield f"{path}.{key}", "Forbidden: must be empty to be structural"
    for inner in (*node.get("properties", {}).values(), *(node.get(k) for k in ("items", "not") if k in node)):
        yield from _inside_junctor(inner, path)
