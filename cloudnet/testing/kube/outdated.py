"""Definitions as an older release had them: one that does not know a field, one that does not take a value. Pure."""

from __future__ import annotations

import copy
from collections.abc import Iterable

from cloudnet.testing.kube.objects import Json


def without(definition: Json, path: str) -> Json:
    """Return the definition as it was before a field such as ``status.tables.nextHop``: an API server drops it."""
    found = copy.deepcopy(definition)
    *outer, field = path.split(".")
    node = _node(found, outer)
    del node["properties"][field]
    node["required"] = [name for name in node.get("required", ()) if name != field]
    node.pop("x-kubernetes-preserve-unknown-fields", None)
    return found


def taking(definition: Json, path: str, schema: Json) -> Json:
    """Return the definition with another schema of a field: what does not suit it is refused."""
    found = copy.deepcopy(definition)
    *outer, field = path.split(".")
    _node(found, outer)["properties"][field] = schema
    return found


def _node(definition: Json, steps: Iterable[str]) -> Json:
    """Return the schema of a field; of a list that of its items."""
    node: Json = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for step in steps:
        node = node["properties"][step]
        node = node.get("items", node)
    return node
