"""Every wrong type in a document at once: msgspec stops at the first, which is fast, and all that most readers need.

Used only when msgspec has refused a document already. The check walks the document along the types of the struct it
should be, and leaves to msgspec what a single value may be. It also gives the document back with something harmless
in each wrong place, so that the rest of it can be read, and whatever else is wrong found.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from cloudnet.errors import BadInput
from cloudnet.model import wire
from cloudnet.model.problems import Problems

_LISTS = frozenset({list, tuple})  # a tuple here is one of any length


def repair(document: object, wanted: type[msgspec.Struct], problems: Problems) -> object:
    """Note what has the wrong type or is missing, and return the document with all that put right."""
    return _walk(document, wanted, "", problems)


def unknown(document: object, wanted: type[msgspec.Struct]) -> Iterator[tuple[str, str]]:
    """Yield path and message of each field that the struct has no place for, at any depth."""
    yield from _unknown(document, wanted, "")


# Any: the same as below.
def _unknown(value: object, wanted: Any, path: str) -> Iterator[tuple[str, str]]:
    wanted, _ = _without_none(wanted)
    if isinstance(value, dict) and isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
        fields = _fields(wanted)
        for key, found in value.items():
            if key in fields:
                yield from _unknown(found, fields[key].type, _join(path, key))
            else:
                yield _join(path, str(key)), wire.unknown(fields)
    elif isinstance(value, list) and get_origin(wanted) in _LISTS:
        for i, found in enumerate(value):
            yield from _unknown(found, get_args(wanted)[0], f"{path}[{i}]")


# Any: types of annotations, and JSON of a shape that nobody checked yet.
def _walk(value: object, wanted: Any, path: str, problems: Problems) -> object:
    wanted, optional = _without_none(wanted)
    if value is None and optional:
        return None
    origin = get_origin(wanted)
    if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
        return _walk_struct(value, wanted, path, problems)
    if origin in _LISTS:
        return _walk_list(value, get_args(wanted)[0], path, problems)
    if origin is dict:
        return _walk_dict(value, get_args(wanted)[1], path, problems)
    try:
        msgspec.convert(value, wanted)
    except msgspec.ValidationError as error:
        _note(str(error), value, path, problems)
        return None if optional else _harmless(wanted)
    return value


def _walk_struct(value: object, wanted: type[msgspec.Struct], path: str, problems: Problems) -> object:
    if not isinstance(value, dict):
        problems.add(path, f"expected an object, found {wire.shown(value)}")
        return {key: _harmless(field.type) for key, field in _fields(wanted).items() if field.required}
    fields = _fields(wanted)
    repaired: dict[str, object] = {}
    for key, found in value.items():
        if key in fields:
            repaired[key] = _walk(found, fields[key].type, _join(path, key), problems)
        elif wanted.__struct_config__.forbid_unknown_fields:
            problems.add(_join(path, key), wire.unknown(fields))
    for key, field in fields.items():
        if field.required and key not in value:
            problems.add(_join(path, key), wire.MISSING)
            repaired[key] = _harmless(field.type)
    return repaired


def _walk_list(value: object, wanted: Any, path: str, problems: Problems) -> object:
    if not isinstance(value, list):
        problems.add(path, f"expected a list, found {wire.shown(value)}")
        return []
    return [_walk(found, wanted, f"{path}[{i}]", problems) for i, found in enumerate(value)]


def _walk_dict(value: object, wanted: Any, path: str, problems: Problems) -> object:
    if not isinstance(value, dict):
        problems.add(path, f"expected an object, found {wire.shown(value)}")
        return {}
    return {key: _walk(found, wanted, f"{path}[{key!r}]", problems) for key, found in value.items()}


def _note(error: str, value: object, path: str, problems: Problems) -> None:
    explained = wire.explain(error, value)
    problems.add(path, str(explained).removeprefix(f"{explained.path}: ") if explained.path else str(explained))


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


@dataclass(frozen=True, slots=True)
class _Field:
    type: Any
    required: bool


@cache
def _fields(struct: type[msgspec.Struct]) -> dict[str, _Field]:
    """Return the fields of a struct: ``{name on the wire: field}``."""
    hints = get_type_hints(struct, include_extras=True)
    return {f.encode_name: _Field(hints[f.name], f.required) for f in msgspec.structs.fields(struct)}


@cache
def _without_none(wanted: Any) -> tuple[Any, bool]:
    if get_origin(wanted) not in {Union, types.UnionType}:
        return wanted, False
    others = tuple(arg for arg in get_args(wanted) if arg is not types.NoneType)
    optional = len(others) < len(get_args(wanted))
    return (others[0] if len(others) == 1 else Union[others]), optional  # noqa: UP007 - made of a tuple at run time


def _harmless(wanted: Any) -> object:
    """Return a value that the type takes; what is said of it later is not passed on."""
    candidates: tuple[object, ...] = (None, "", 0, False, [], {})
    for candidate in candidates:
        try:
            msgspec.convert(candidate, wanted)
        except msgspec.ValidationError:
            continue
        return candidate
    if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
        return _walk_struct({}, wanted, "", Problems())
    if isinstance(wanted, type) and issubclass(wanted, enum.Enum):
        return next(iter(wanted)).value
    choices = get_args(wanted)  # a Literal
    if not choices:
        raise BadInput(f"nothing harmless to put where {wanted} stands")
    return choices[0]
