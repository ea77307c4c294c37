"""Where the policy commands read from: YAML files and folders, or the store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cloudnet.cli import ask, texts
from cloudnet.errors import BadDocument, BadInput
from cloudnet.model import kinds, manifests, wire
from cloudnet.model.addresses import Address
from cloudnet.model.kubernetes import Pod
from cloudnet.model.manifests import Manifest
from cloudnet.model.policies import GlobalNetworkSet, HostEndpoint, NetworkSet, Profile, Tier
from cloudnet.model.problems import problems_of
from cloudnet.model.resources import Resource
from cloudnet.policy import convert
from cloudnet.policy.feed import KINDS

_WHOLE = (Tier, NetworkSet, GlobalNetworkSet, Profile, HostEndpoint)
SOMEWHERE = "203.0.113.1"  # RFC 5737: no network has it, so it speaks for the world outside


@dataclass(frozen=True, slots=True)
class Broken:
    """A document that could not be read, with everything that is wrong with it."""

    manifest: Manifest
    error: BadInput


@dataclass(frozen=True, slots=True)
class Odd:
    """A field that nobody knows, in a document that is right otherwise: its author meant something with it."""

    manifest: Manifest
    path: str
    message: str


@dataclass(frozen=True, slots=True)
class Documents:
    """What stood in files: resources, what could not be read, fields that nobody knows in what could be read.

    ``passed``: titles of what has no meaning to policy.
    """

    resources: tuple[Resource, ...] = ()
    broken: tuple[Broken, ...] = ()
    odd: tuple[Odd, ...] = ()
    passed: tuple[str, ...] = ()


def read_files(names: Iterable[str], *, beside: Path | None = None) -> Documents:
    """Return what stands in files and folders; relative names are ``beside`` a folder, or here.

    Raises:
        BadInput: a file is not there or no YAML.
    """
    resources: list[Resource] = []
    broken: list[Broken] = []
    passed: list[str] = []
    odd: list[Odd] = []
    for origin, text in texts.each(names, beside=beside or Path()):
        for manifest in manifests.read(text, origin):
            try:
                found = manifests.resource(manifest)
            except BadInput as error:
                broken.append(Broken(manifest, error))
                continue
            if found is None:
                passed.append(f"{manifest.title} ({manifest.origin})")
            else:
                resources.append(found)
                odd += _odd(manifest, found)
    return Documents(tuple(resources), tuple(broken), tuple(odd), tuple(passed))


def _odd(manifest: Manifest, found: Resource) -> list[Odd]:
    """Return the fields of a policy document that nobody knows; of pods and the like we know a few on purpose."""
    if not isinstance(found, (*convert.POLICY_KINDS, *_WHOLE)):
        return []
    unknown = kinds.of(type(found)).unknown(manifest.document)
    return [Odd(manifest, path, message) for path, message in unknown]


def read_store(url: str) -> Documents:
    """Return what a store holds that has a meaning to policy."""
    with ask.store(url) as store:
        found: list[Resource] = []
        wanted: tuple[type[Resource], ...] = (Pod, *KINDS)
        for kind in wanted:
            found += [stored.value for stored in store.list(kind).items]
    return Documents(tuple(found))


def read(files: Sequence[str] | None, store: str) -> Documents:
    """Return what stands in files, or in the store; of both, what a file says of a resource counts.

    Raises:
        BadInput: neither is named.
    """
    if not files and not store:
        raise BadInput("name files with -f, or a store with --store")
    documents = read_files(files or ())
    if not store:
        return documents
    both = together(read_store(store).resources, documents.resources)
    return replace(documents, resources=both)


def together(before: Iterable[Resource], more: Iterable[Resource]) -> tuple[Resource, ...]:
    """Return resources with others applied to them: one of the same kind and name takes the place of the former."""
    found = {_identity(value): value for value in before}
    found |= {_identity(value): value for value in more}
    return tuple(found.values())


def minus(before: Iterable[Resource], less: Iterable[Resource]) -> tuple[Resource, ...]:
    """Return resources without those that others name."""
    gone = {_identity(value) for value in less}
    return tuple(value for value in before if _identity(value) not in gone)


def _identity(value: Resource) -> tuple[type[Resource], str, str]:
    return type(value), value.meta.namespace, value.meta.name


def without_broken(documents: Documents) -> tuple[Resource, ...]:
    """Return the resources of documents that could all be read.

    Raises:
        BadDocument: some could not; all that is wrong is told.
    """
    problems = [
        (f"{one.manifest.origin}: {one.manifest.title}: {path}".removesuffix(": "), message)
        for one in documents.broken
        for path, message in problems_of(one.error)
    ]
    if problems:
        raise BadDocument(problems)
    return documents.resources


def policies_of(resources: Iterable[Resource]) -> int:
    """Return how many policies there are."""
    return sum(isinstance(value, convert.POLICY_KINDS) for value in resources)


# Any: what YAML holds, before anybody checked it.
def load_one(path: Path) -> Any:
    """Return the one document of a file.

    Raises:
        BadInput: there is not one.
    """
    documents = manifests.load_all(texts.read(path), str(path))
    if len(documents) != 1:
        raise BadInput(f"expected one document, found {len(documents)}", path=str(path))
    return documents[0]


def addresses(names: Iterable[str] | None) -> list[Address]:
    """Return the addresses beyond the cluster to ask about: those said, or one that stands for the world.

    Raises:
        BadInput: one is none.
    """
    return [wire.address(name, "--outside") for name in names or [SOMEWHERE]]
