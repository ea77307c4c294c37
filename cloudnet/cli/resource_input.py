"""The documents that a command is given, each read for itself: one that is wrong stops no other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from cloudnet.cli import texts
from cloudnet.errors import BadInput, CloudnetError
from cloudnet.model import calico, kinds, manifests, wire
from cloudnet.model.manifests import Manifest
from cloudnet.model.resources import Resource
from cloudnet.store import records
from cloudnet.store.api import Revision

DEFAULT_NAMESPACE = "default"
_NOT_OURS = ("resourceVersion", "managedFields", "selfLink", "generation")  # of a store, not of the resource

# A field that nobody knows is told where we know all that Calico does: it is most likely mistyped.
_WHOLLY_KNOWN = frozenset(
    {"IPPool", "IPReservation", "BGPPeer", "BGPFilter", "Tier", "NetworkSet", "GlobalNetworkSet", "HostEndpoint"}
    | {"NetworkPolicy", "GlobalNetworkPolicy", "StagedNetworkPolicy", "StagedGlobalNetworkPolicy", "Profile"}
)


@dataclass(frozen=True, slots=True)
class Given:
    """One document: the resource in it, which brings its document, and the revision that its author saw, if any."""

    title: str
    value: Resource
    expected: Revision | None = None
    odd: tuple[str, ...] = ()

    @property
    def kind(self) -> kinds.Kind[Any]:  # Any: kinds.of says so
        return kinds.of(type(self.value))


@dataclass(frozen=True, slots=True)
class Bad:
    """One document that cannot be used, and why."""

    title: str
    error: CloudnetError


def read(files: Iterable[str], *, namespace: str = "") -> Iterator[Given | Bad]:
    """Yield what stands in files and folders, document by document.

    ``namespace`` is for namespaced resources that name none.
    """
    for name in files:
        try:
            for origin, text in texts.each([name], beside=Path()):
                yield from _documents(text, origin, namespace)
        except BadInput as error:  # the file itself; others may be right
            yield Bad(name, error)


def _documents(text: str, origin: str, namespace: str) -> Iterator[Given | Bad]:
    try:
        found = manifests.read(text, origin)
    except BadInput as error:
        yield Bad(origin, error)
        return
    for manifest in found:
        try:
            yield _given(manifest, namespace)
        except BadInput as error:
            yield Bad(f"{manifest.title} ({manifest.origin})", error)


def _given(manifest: Manifest, namespace: str) -> Given:
    document, expected = without_revision(manifest.document)
    document = in_namespace(document, namespace)
    value = parse(document)
    kind = kinds.of(type(value))
    odd = kind.unknown(document) if kind.name in _WHOLLY_KNOWN else ()
    return Given(title(value), value, expected, tuple(f"{path}: {message}" for path, message in odd))


# Any: documents that nobody checked yet.
def parse(document: dict[str, Any]) -> Resource:
    """Return the resource of a document, which it brings.

    Raises:
        BadInput: it is wrong, in all the ways that it says.
    """
    return kinds.keeping(calico.parse(document), msgspec.json.encode(document))


def without_revision(document: manifests.Document) -> tuple[dict[str, Any], Revision | None]:
    """Return a document without what belongs to a store, and the revision that its author saw.

    Raises:
        BadInput: the revision is none.
    """
    metadata = document.get("metadata")
    if not isinstance(metadata, dict):
        return dict(document), None
    text = metadata.get("resourceVersion")
    kept = {key: value for key, value in metadata.items() if key not in _NOT_OURS}
    if text in (None, ""):
        return {**document, "metadata": kept}, None
    try:
        return {**document, "metadata": kept}, Revision(int(str(text)))
    except ValueError:
        raise BadInput(
            f"expected a revision of this store, found {wire.shown(text)}", path="metadata.resourceVersion"
        ) from None


def in_namespace(document: dict[str, Any], namespace: str) -> dict[str, Any]:
    kind = kinds.find(str(document.get("kind", "")), str(document.get("apiVersion", "")))
    metadata = document.get("metadata")
    if kind is None or not kind.namespaced or not isinstance(metadata, dict) or metadata.get("namespace"):
        return document
    return {**document, "metadata": {**metadata, "namespace": namespace or DEFAULT_NAMESPACE}}


def title(value: Resource) -> str:
    """Return how a resource is named in results: ``ippool/default``, ``networkpolicy/db in shop``."""
    where = f" in {value.meta.namespace}" if value.meta.namespace else ""
    return f"{kinds.of(type(value)).name.lower()}/{value.meta.name}{where}"


def changed_to(value: Resource, document: dict[str, Any]) -> Resource:
    """Return the resource of a changed document; it must still be the same one.

    Raises:
        BadInput: the document is wrong, or another resource's.
    """
    changed = parse(document)
    if records.key(changed) != records.key(value):
        raise BadInput(f"makes another resource of it: kind and name of {title(value)} must stay", path="patch")
    return changed
