"""Hold calls against an API's published description in Google's discovery format. Pure; the document is an argument.

``Description(document).judge`` is a ``Judge`` of the lab's simulators: what it returns is what is wrong with a
request or its answer, each with the place (``body.networkInterfaces[0].aliasIpRanges``). It checks the path and its
variables, the query, and both bodies: unknown keys, types, formats, patterns, enums, keys that the method requires
and keys that only the server may write. What a schema cannot say (when a key is there) it cannot find.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from cloudnet.lab.clouds.simulator import Answer, Request

Schema: TypeAlias = Mapping[str, Any]  # JSON schema as discovery documents write it

_OK = 300  # below: an answer of the method's own kind
_ERROR: Schema = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "code": {"type": "integer"},
                "message": {"type": "string"},
                "status": {"type": "string"},
                "errors": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {name: {"type": "string"} for name in ("message", "domain", "reason")},
                    },
                },
            },
        }
    },
}
"""The body of every refusal, as recordings show it; the description leaves it out."""


class Description:
    """One API's description."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._base = "/" + document["servicePath"]
        self._schemas: Mapping[str, Schema] = document["schemas"]
        self._common: Mapping[str, Schema] = document["parameters"]
        self.methods = {method["id"]: method for method in _methods(document)}

    def judge(self, request: Request, answer: Answer) -> list[str]:
        """Return what is wrong with a call; empty when nothing is."""
        method = self.methods.get(request.call)
        if method is None:
            return [f"{request.call} is no method of the description"]
        return [*self._request(method, request), *self._answer(method, answer)]

    def answer(self, call: str, body: object) -> list[str]:
        """Return what is wrong with the body of a good answer."""
        return list(self._answer(self.methods[call], Answer(200, body)))

    def _request(self, method: Mapping[str, Any], request: Request) -> Iterator[str]:
        if method["httpMethod"] != request.method:
            yield f"method: {request.method}, the description says {method['httpMethod']}"
        known: Mapping[str, Schema] = method.get("parameters", {})
        path = re.sub(r"\{(\w+)\}", lambda m: str(request.parameters.get(m[1], m[0])), self._base + method["path"])
        if path != request.path:
            yield f"path: {request.path}, the description says {path}"
        for name, value in (*request.parameters.items(), *request.query.items()):
            schema = known.get(name) or self._common.get(name)
            yield from ([f"query.{name}: unknown"] if schema is None else self._text(name, value, schema))
        given = {*request.parameters, *request.query}
        yield from (f"query.{n}: missing" for n, s in known.items() if s.get("required") and n not in given)
        if wanted := method.get("request"):
            yield from self._value("body", request.body, wanted, writer=method["id"])
        elif request.body is not None:
            yield "body: the method takes none"

    def _answer(self, method: Mapping[str, Any], answer: Answer) -> Iterator[str]:
        schema = method.get("response", {"type": "object"}) if answer.status < _OK else _ERROR
        yield from self._value("answer", answer.body, schema)

    def _text(self, name: str, value: str, schema: Schema) -> Iterator[str]:
        """Check a value of the path or the query, where everything is text."""
        kind = schema["type"]
        if kind == "integer" and value.isdecimal():
            yield from self._number(name, int(value), schema)
        elif kind == "boolean" and value in {"true", "false"}:
            return
        elif kind == "string":
            yield from self._string(name, value, schema)
        else:
            yield f"{name}: expected {kind}, found {value!r}"

    def _value(self, at: str, value: Any, schema: Schema, *, writer: str = "") -> Iterator[str]:
        """Check a value against a schema; with ``writer``, the method that it is sent to."""
        schema = self._schemas[schema["$ref"]] if "$ref" in schema else schema
        kind = schema.get("type", "any")
        if kind == "any":
            return
        if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
            yield f"{at}: expected {kind}, found {value!r}"
        elif isinstance(value, dict):
            yield from self._object(at, value, schema, writer=writer)
        elif isinstance(value, list):
            for index, each in enumerate(value):
                yield from self._value(f"{at}[{index}]", each, schema["items"], writer=writer)
        elif isinstance(value, str):
            yield from self._string(at, value, schema)
        elif isinstance(value, int) and kind == "integer":
            yield from self._number(at, value, schema)

    def _object(self, at: str, value: Mapping[str, Any], schema: Schema, *, writer: str) -> Iterator[str]:
        known: Mapping[str, Schema] = schema.get("properties", {})
        others = schema.get("additionalProperties")
        for name, each in value.items():
            if name in known and writer and known[name].get("readOnly"):
                yield f"{at}.{name}: only the server writes it"
            elif name in known:
                yield from self._value(f"{at}.{name}", each, known[name], writer=writer)
            elif others is not None:
                yield from self._value(f"{at}.{name}", each, others, writer=writer)
            else:
                yield f"{at}.{name}: unknown"
        for name, of in known.items():
            if writer in of.get("annotations", {}).get("required", ()) and name not in value:
                yield f"{at}.{name}: missing"

    def _string(self, at: str, value: str, schema: Schema) -> Iterator[str]:
        if (pattern := schema.get("pattern")) and not re.fullmatch(pattern, value):
            yield f"{at}: {value!r} does not match {pattern}"
        if (allowed := schema.get("enum")) and value not in allowed:
            yield f"{at}: {value!r} is none of {', '.join(allowed)}"
        if (form := schema.get("format")) in _FORMATS and not _FORMATS[form](value):
            yield f"{at}: {value!r} is no {form}"

    def _number(self, at: str, value: int, schema: Schema) -> Iterator[str]:
        low, high = _RANGES.get(schema.get("format", ""), (-(2**63), 2**64))
        low, high = int(schema.get("minimum", low)), int(schema.get("maximum", high))
        if not low <= value <= high:
            yield f"{at}: {value} is not from {low} to {high}"


def _methods(resource: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from resource.get("methods", {}).values()
    for each in resource.get("resources", {}).values():
        yield from _methods(each)


def _is_base64(value: str) -> bool:
    try:
        base64.urlsafe_b64decode(value)
    except (binascii.Error, ValueError):
        return False
    return True


def _is_number(value: str) -> bool:
    return re.fullmatch(r"-?\d+", value) is not None


def keys(value: object, at: str = "") -> Iterable[str]:
    """Yield the place of every key of a document, list items alike: ``error.errors[].reason``."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            place = f"{at}.{name}" if at else name
            yield place
            yield from keys(each, place)
    elif isinstance(value, list):
        for each in value:
            yield from keys(each, f"{at}[]")


_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}
_FORMATS = {"byte": _is_base64, "uint64": str.isdecimal, "int64": _is_number}
_RANGES = {"int32": (-(2**31), 2**31 - 1), "uint32": (0, 2**32 - 1)}
