"""YAML files as Kubernetes' and Calico's users keep them: many documents in one, lists, workloads with a template.

Nothing but plain data comes out of the YAML: no objects, dates or base-60 numbers, so that ``22:23`` is a range of
ports. Two equal keys in one object are refused: one of them would be lost. Aliases are followed as long as what they
stand for stays small and shallow. The only user of the YAML library.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from cloudnet.errors import BadInput
from cloudnet.model import calico, kinds, wire
from cloudnet.model.resources import Resource

LONGEST: Final = 64 * 1024 * 1024  # characters of one text
MOST_NODES: Final = 5_000_000  # values in one text, those behind aliases counted each time
DEEPEST: Final = 64  # objects and lists in each other; a policy needs a dozen

# Any: documents that nobody checked yet.
Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Manifest:
    """One document and where it stands, for messages: ``shop.yaml, document 2``."""

    document: Document
    origin: str

    @property
    def title(self) -> str:
        """What it says it is: ``NetworkPolicy shop/db``."""
        metadata = self.document.get("metadata")
        named = metadata if isinstance(metadata, dict) else {}
        name = "/".join(str(named[key]) for key in ("namespace", "name") if named.get(key))
        return f"{self.document.get('kind', 'a document')} {name}".strip()


# --- text to documents --------------------------------------------------------------------------------------


def read(text: str, origin: str) -> list[Manifest]:
    """Return the documents of a text, those in lists each for itself; empty ones are left out.

    Raises:
        BadInput: it is no YAML, or not of the kind that documents are written in; it says where.
    """
    documents = load_all(text, origin)
    found: list[Manifest] = []
    for i, document in enumerate(documents):
        where = f"{origin}, document {i + 1}" if len(documents) > 1 else origin
        found += _flat(document, where)
    return found


# Any: the same.
def load_all(text: str, origin: str) -> list[Any]:
    """Return what stands in a text, one value a document.

    Raises:
        BadInput: as ``read``.
    """
    if len(text) > LONGEST:
        raise BadInput(f"expected {LONGEST} characters at most, found {len(text)}", path=origin)
    try:
        _check_size(text, origin)
        documents = list(yaml.load_all(text, Loader=_Loader))
    except yaml.YAMLError as error:
        raise BadInput(_account(error), path=origin) from error
    except (RecursionError, ValueError, LookupError, AttributeError, TypeError) as error:
        # The library trips over a value that does not fit the tag in front of it, such as `!!int ""`.
        raise BadInput(f"expected YAML: {str(error)[:80]}", path=origin) from error
    for document in documents:
        _check_aliases(document, origin)
    return documents


# Any: JSON's types.
def dump(document: Any) -> str:
    """Return a value as YAML, its keys in their order; ``load_all`` reads it back."""
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_LINE)
    return text


_LINE: Final = 10_000  # characters: a selector that is cut in two is hard to search for


def _flat(document: Any, where: str) -> Iterator[Manifest]:
    if document is None:
        return
    if not isinstance(document, dict):
        raise BadInput(f"expected an object with apiVersion and kind, found {type(document).__name__}", path=where)
    items = document.get("items")
    if str(document.get("kind", "")).endswith("List") and isinstance(items, list):
        for i, item in enumerate(items):
            yield from _flat(item, f"{where}, item {i + 1}")
    else:
        yield Manifest(document, where)


def _account(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "not readable"
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else f"expected YAML: {problem}"


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # chosen when it starts
    """The safe loader with the types of JSON, and each key once."""

    # Any: a node's value.
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - as inherited
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "expected text as a key", key.start_mark)
            if key.value in seen and key.tag != _MERGE:
                problem = f"the key {key.value!r} stands here twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        found = super().construct_mapping(node, deep=deep)
        return {str(key): value for key, value in found.items()}


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]  # the same
    """The safe dumper; two equal lists are written twice, and what only newer YAML takes for text is quoted."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - as inherited
        return True


_MERGE = "tag:yaml.org,2002:merge"
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)|0o?[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+")

# YAML 1.2's numbers in place of 1.1's, which know base 60 and dates; that is how Go's libraries read them too.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, known) for tag, known in resolvers if not tag.endswith((":int", ":float", ":timestamp"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _class in (_Loader, _Dumper):  # what is written is quoted where 1.1 or 1.2 would take it for a number
    for _tag, _pattern in (("int", _INT), ("float", _FLOAT)):
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern.pattern})\Z"), list("-+.0123456789")
        )


def _check_size(text: str, origin: str) -> None:
    """Refuse what is too deep to be read by a loader that calls itself, before it is."""
    depth, nodes = 0, 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        nodes += isinstance(event, yaml.NodeEvent)
        if depth > DEEPEST or nodes > MOST_NODES:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise BadInput(f"line {line}: too deep or too much for a document", path=origin)


def _check_aliases(document: object, origin: str) -> None:
    """Refuse what aliases make too big, too deep or endless; an object is looked at once, however often named."""
    if _size(document, {}, 0) > MOST_NODES:
        raise BadInput("aliases make it too big, or stand for themselves", path=origin)


def _size(value: object, known: dict[int, int], depth: int) -> int:
    if not isinstance(value, dict | list):
        return 1
    if id(value) in known:
        return known[id(value)]
    known[id(value)] = MOST_NODES + 1  # until we know: whoever comes back here on the way stands in itself
    if depth > DEEPEST:
        return MOST_NODES + 1
    inside = value.values() if isinstance(value, dict) else value
    known[id(value)] = 1 + sum(_size(one, known, depth + 1) for one in inside)
    return known[id(value)]


# --- documents to resources ---------------------------------------------------------------------------------

_TEMPLATES = {
    "Deployment": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
_DEFAULT_NAMESPACE = "default"


def resource(manifest: Manifest) -> Resource | None:
    """Return the resource of a document; nothing for kinds that have no meaning to networking.

    A workload with a template stands for one pod, named like it. Where a namespaced document names no namespace, it
    is meant for ``default``.

    Raises:
        BadInput: the document is wrong, in all the ways that it says.
    """
    document = dict(manifest.document)
    word = document.get("kind")
    if not isinstance(word, str):
        raise BadInput(f"expected a string, found {wire.shown(word)}", path="kind")
    if word in _TEMPLATES:
        document = _pod(document, _TEMPLATES[word])
        word = "Pod"
    kind = kinds.find(word, str(document.get("apiVersion", "")))
    if kind is None:
        return None
    metadata = document.get("metadata")
    if kind.namespaced and isinstance(metadata, dict) and not metadata.get("namespace"):
        document["metadata"] = {**metadata, "namespace": _DEFAULT_NAMESPACE}
    return calico.parse(document)


def _pod(document: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """Return the pod that a workload makes, as far as its template says."""
    template: Any = document
    for step in path:
        template = template.get(step) if isinstance(template, dict) else None
    if not isinstance(template, dict):
        raise BadInput("missing, and needed", path=".".join(path))
    outer, inner = document.get("metadata"), template.get("metadata")
    outer = outer if isinstance(outer, dict) else {}
    inner = inner if isinstance(inner, dict) else {}
    metadata = {key: outer[key] for key in ("name", "namespace") if key in outer}
    metadata |= {key: inner[key] for key in ("labels", "annotations") if key in inner}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template.get("spec") or {}}
