"""How a document is read and written: what ``calico.py`` and ``own.py`` share, and nothing of any kind.

A document is JSON with ``apiVersion``, ``kind``, ``metadata`` and the kind's own fields. It is read into a
msgspec struct first (types, in C) and then into our frozen values (addresses, rules). Whatever is wrong leaves
as ``BadInput`` whose ``path`` names the field, e.g. ``spec.blockSize``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, TypeVar

import msgspec

from cloudnet.errors import BadInput
from cloudnet.model.addresses import Address, Interface, Network
from cloudnet.model.resources import Metadata

# Any stands here for parsed JSON of a shape that nobody checked yet.
Json = dict[str, Any]

S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T")

NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")  # RFC 1123 subdomain
NAME_LENGTH = 253  # Kubernetes' limit for the name of a resource


MARKS = frozenset(
    {"uid", "creationTimestamp", "resourceVersion", "generation", "managedFields", "selfLink", "ownerReferences"}
)
"""What of ``metadata`` is a store's own: another store gives its own, or none."""


class Meta(msgspec.Struct, rename="camel", omit_defaults=True, gc=False):
    """``metadata`` of any document."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


# --- reading ------------------------------------------------------------------------------------------------


class WrongShape(Exception):
    """A field of a document has the wrong type, as msgspec says it; never leaves the model."""


def decode(decoder: msgspec.json.Decoder[S], document: bytes) -> S:
    """Return the struct in a document.

    Raises:
        WrongShape: a field has the wrong type, or is missing.
        BadInput: it is not JSON.
    """
    try:
        return decoder.decode(document)
    except msgspec.ValidationError as error:
        raise WrongShape(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _not_json(error) from error


def parse(decoder: msgspec.json.Decoder[S], document: bytes) -> S:
    """Return the struct in a document; only the first wrong field is named.

    Raises:
        BadInput: it is not JSON, or a field has the wrong type.
    """
    try:
        return decode(decoder, document)
    except WrongShape as error:
        problem = str(error)
    raise explain(problem, parse_untyped(document))


def parse_untyped(document: bytes) -> object:
    """Return what a document holds; a wrong type is noticed before wrong JSON after it is."""
    try:
        return msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _not_json(error) from error


def _not_json(error: Exception) -> BadInput:
    return BadInput(f"expected a JSON document: {str(error).removeprefix('JSON is malformed: ')}")


_EXPECTED = re.compile(r"Expected `(?P<want>[^`]*)`(?:, got `[^`]*`)?")
_MISSING = re.compile(r"Object missing required field `(?P<field>[^`]*)`")
_INVALID = re.compile(r"Invalid enum value (?P<found>.*)")
_AT = re.compile(r" - at `(?P<place>(?:key in )?\$[^`]*)`$")
_WORDS = {
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
}


MISSING = "missing, and needed"


def unknown(known: Iterable[str]) -> str:
    """Say that nobody knows a field, where passing over it would change what the document means."""
    return f"unknown field: expected one of {words(known)}"


def explain(message: str, document: object) -> BadInput:
    """Turn msgspec's account of a wrong document into ours: the field, what it should be, what it is."""
    at = _AT.search(message)
    text = message[: at.start()] if at else message
    path = at["place"].removeprefix("key in ").removeprefix("$").removeprefix(".") if at else ""
    if missing := _MISSING.fullmatch(text):
        return BadInput(MISSING, path=f"{path}.{missing['field']}".lstrip("."))
    if expected := _EXPECTED.fullmatch(text):
        want = " or ".join(_WORDS.get(word, word) for word in expected["want"].split(" | ") if word != "null")
        return BadInput(f"expected {want}, found {_found(document, path)}", path=path)
    if _INVALID.fullmatch(text):
        return BadInput(f"has no meaning here, found {_found(document, path)}", path=path)
    return BadInput(text[:1].lower() + text[1:], path=path)


def _found(document: object, path: str) -> str:
    """Return what stands at a path, cut short; ``[...]`` in msgspec's paths names no one key."""
    here = document
    for step in re.findall(r"[^.\[\]]+", path):
        if isinstance(here, dict) and step in here:
            here = here[step]
        elif isinstance(here, list) and step.isdigit() and int(step) < len(here):
            here = here[int(step)]
        else:
            return "something else"
    return shown(here)


def shown(value: object) -> str:
    """Return what a person is shown of a wrong value, cut short."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004 - a line on a terminal


def metadata(meta: Meta) -> Metadata:
    check_name(meta.name)
    if not (meta.labels or meta.annotations):
        return Metadata(name=meta.name, namespace=meta.namespace, uid=meta.uid)
    return Metadata(
        name=meta.name,
        namespace=meta.namespace,
        uid=meta.uid,
        labels=meta.labels or {},
        annotations=meta.annotations or {},
    )


def check_name(name: str) -> None:
    if len(name) > NAME_LENGTH or not NAME.fullmatch(name):
        raise BadInput(bad_name(name), path="metadata.name")


def bad_name(name: str) -> str:
    return f"expected lower-case letters, digits, '-' and '.', {NAME_LENGTH} at most, found {name!r}"


def network(text: str, path: str) -> Network:
    try:
        return ip_network(text)
    except ValueError:
        raise BadInput(_not_a_network(text), path=path) from None


def loose_network(text: str, path: str) -> Network:
    """Return the prefix that an address stands in: host bits are dropped, and an address alone is itself."""
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise BadInput(_not_a_network(text), path=path) from None


def _not_a_network(text: str) -> str:
    try:
        loose = ip_network(text, strict=False)
    except ValueError:
        return f"expected a prefix such as 10.65.0.0/16, found {text!r}"
    return f"expected a prefix without host bits, found {text!r}: write {loose}"


def interface(text: str, path: str) -> Interface:
    return _parsed(ip_interface, text, path, "an address with its prefix length such as 10.0.1.11/24")


def address(text: str, path: str) -> Address:
    return _parsed(ip_address, text, path, "an address such as 10.65.1.0")


def _parsed(parser: Callable[[str], T], text: str, path: str, wanted: str) -> T:
    try:
        return parser(text)
    except ValueError:
        raise BadInput(f"expected {wanted}, found {text!r}", path=path) from None


def choice(text: str, choices: dict[str, T], path: str) -> T:
    """Return what a word stands for."""
    try:
        return choices[text]
    except KeyError:
        raise BadInput(f"expected one of {words(choices)}, found {text!r}", path=path) from None


def words(choices: Iterable[str]) -> str:
    return ", ".join(repr(word) for word in choices if word)


# --- writing ------------------------------------------------------------------------------------------------


def meta(value: Metadata) -> Meta:
    return Meta(
        name=value.name,
        namespace=value.namespace,
        uid=value.uid,
        labels=dict(value.labels) or None,
        annotations=dict(value.annotations) or None,
    )


def overlay(document: Json, before: Json, after: Json) -> Json:
    """Return ``document`` with just the difference between ``before`` and ``after`` applied to it.

    ``before`` is what we understood of the document. Fields that we do not understand, and fields that we did
    not change, stay as somebody else wrote them. Lists are replaced whole.
    """
    merged = dict(document)
    for key in before.keys() | after.keys():
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if isinstance(old, dict) or isinstance(new, dict):
            _overlay_object(merged, key, old or {}, new)
        elif new is None:
            merged.pop(key, None)
        else:
            merged[key] = new
    return merged


def _overlay_object(merged: Json, key: str, old: Json, new: Json | None) -> None:
    """Go one level down; an object that was to go stays only for what somebody else has in it.

    An empty one may mean something (a selector of everything) or be refused (Calico's ``spec.bgp``): it is written
    where the value has it.
    """
    inner = overlay(merged.get(key) or {}, old, new or {})
    if inner or new is not None:
        merged[key] = inner
    else:
        merged.pop(key, None)


def observed(document: Json, stored: Json) -> Json:
    """Return a document that takes the place of a stored one, with what its author cannot know of it.

    That is when it was created, and its status unless the document has one.
    """
    metadata, known = document.get("metadata") or {}, stored.get("metadata") or {}
    created = known.get("creationTimestamp")
    whole = {**document, "metadata": {**metadata, **({"creationTimestamp": created} if created else {})}}
    if "status" in stored and "status" not in document:
        whole["status"] = stored["status"]
    return whole
