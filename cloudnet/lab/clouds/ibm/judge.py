"""Holds what passes between plugin and simulator against the SDK's models: every key, every type, every word.

``from_dict`` of a model misses unknown keys and wrong scalars, so the models' own descriptions are read: each
parameter of the docstring is a key, its type is the key's, and what is not optional is required. A word that the
model knows in an enumeration must be one of those, though IBM reserves the right to add more.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from ibm_vpc import VpcV1, vpc_v1

from cloudnet.lab.clouds.simulator import Answer, Request

Json: TypeAlias = Any  # what came over the wire

ANSWERS: Mapping[str, str] = {
    "list_instances": "InstanceCollection",
    "list_virtual_network_interfaces": "VirtualNetworkInterfaceCollection",
    "list_instance_network_interfaces": "NetworkInterfaceUnpaginatedCollection",
    "list_subnets": "SubnetCollection",
    "list_security_groups": "SecurityGroupCollection",
    "list_vpc_routing_tables": "RoutingTableCollection",
    "list_vpc_routing_table_routes": "RouteCollection",
    "create_vpc_routing_table_route": "Route",
    "update_vpc_routing_table_route": "Route",
    "update_virtual_network_interface": "VirtualNetworkInterface",
    "update_instance_network_interface": "NetworkInterface",
}
"""The model of each answer, as the SDK's methods name it; a test compares."""

PATCHES: Mapping[str, str] = {
    "update_vpc_routing_table_route": "RoutePatch",
    "update_virtual_network_interface": "VirtualNetworkInterfacePatch",
    "update_instance_network_interface": "NetworkInterfacePatch",
}

_PARAMETER = re.compile(r"^ *:param ([\w\[\]]+)\s+(\w+):\s*(\(optional\))?", re.MULTILINE)
_SCALARS: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "dict": (dict,),
}
_NOT_IN_BODIES = frozenset({"headers", "vpc_id", "routing_table_id"})  # of a method: path and headers


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a model."""

    type: str
    required: bool


def judge(request: Request, answer: Answer) -> Iterator[str]:
    """Yield what the SDK's models find wrong with a call."""
    yield from _request(request)
    if answer.status >= 400:  # noqa: PLR2004 - HTTP's errors
        yield from _error(answer.body)
    elif request.call in ANSWERS:
        yield from check(ANSWERS[request.call], answer.body, "answer")
    elif answer.body is not None:
        yield f"answer: {request.call} has no body, found {answer.body!r}"


def _request(request: Request) -> Iterator[str]:
    if request.call in PATCHES:
        yield from check(PATCHES[request.call], request.body, "request")
    elif request.method == "POST":
        known = {n: f for n, f in fields_of(getattr(VpcV1, request.call)).items() if n not in _NOT_IN_BODIES}
        yield from _object(known, request.body, "request")


def _error(body: Json) -> Iterator[str]:
    """Yield what differs from the documented shape, which the SDK has no model of."""
    if not isinstance(body, dict) or set(body) != {"errors", "trace"}:
        yield f"answer: expected errors and trace, found {body!r}"
        return
    for i, one in enumerate(body["errors"]):
        if not {"code", "message"} <= set(one) <= {"code", "message", "more_info", "target"}:
            yield f"answer.errors[{i}]: expected code, message, more_info and target, found {sorted(one)}"


def check(model: str, body: Json, path: str) -> Iterator[str]:
    """Yield what is wrong with a body that should be of that model."""
    found = getattr(vpc_v1, model)
    kinds = [found, *found.__subclasses__()]
    if len(kinds) > 1:  # a family: it must be one of its members
        trials = [list(check(kind.__name__, body, path)) for kind in kinds[1:]]
        yield from min(trials, key=len)
        return
    yield from _object(fields_of(found), body, path)
    for name, words in words_of(found).items() if isinstance(body, dict) else ():
        said = body.get(name, [])
        for word in said if isinstance(said, list) else [said]:
            if word not in words:
                yield f"{path}.{name}: expected one of {sorted(words)}, found {word!r}"


def _object(known: Mapping[str, Field], body: Json, path: str) -> Iterator[str]:
    if not isinstance(body, dict):
        yield f"{path}: expected an object, found {body!r}"
        return
    for name in sorted(set(body) - set(known)):
        yield f"{path}.{name}: no such key"
    for name, field in known.items():
        if name in body:
            yield from _value(field.type, body[name], f"{path}.{name}")
        elif field.required:
            yield f"{path}.{name}: missing"


def _value(kind: str, value: Json, path: str) -> Iterator[str]:
    if kind.startswith("List["):
        if not isinstance(value, list):
            yield f"{path}: expected a list, found {value!r}"
            return
        for i, one in enumerate(value):
            yield from _value(kind[5:-1], one, f"{path}[{i}]")
    elif kind == "datetime":
        yield from _moment(value, path)
    elif kind in _SCALARS:
        wrong = not isinstance(value, _SCALARS[kind]) or (isinstance(value, bool) and kind != "bool")
        if wrong:
            yield f"{path}: expected {kind}, found {value!r}"
    else:
        yield from check(kind, value, path)


def _moment(value: Json, path: str) -> Iterator[str]:
    try:
        datetime.fromisoformat(str(value))
    except ValueError:
        yield f"{path}: expected a moment, found {value!r}"


@functools.cache
def fields_of(
    described: Any,  # a model or a method of the SDK, which ships no types
) -> Mapping[str, Field]:
    """Return the keys that a docstring names."""
    text = inspect.getdoc(described) or ""
    found = _PARAMETER.findall(text)
    return {name.rstrip("_"): Field(kind, not optional) for kind, name, optional in found}  # class_ is Python's


@functools.cache
def words_of(
    model: Any,  # a model of the SDK
) -> Mapping[str, frozenset[str]]:
    """Return the words of each key that has an enumeration: ``LifecycleStateEnum`` is ``lifecycle_state``'s."""
    found = {}
    for name, value in vars(model).items():
        if name.endswith("Enum") and isinstance(value, type):
            key = re.sub(r"(?<!^)(?=[A-Z])", "_", name.removesuffix("Enum")).lower().rstrip("_")
            found[key] = frozenset(member.value for member in value)  # type: ignore[attr-defined]  # an Enum
    return found
