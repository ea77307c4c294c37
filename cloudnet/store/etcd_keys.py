"""Where each kind lies in etcd and what its value looks like: Calico's layout, and ours beside it. Pure.

| kind | key |
|---|---|
| Calico's | ``/calico/resources/v3/projectcalico.org/<plural>/[<namespace>/]<name>`` |
| IPAMBlock | ``/calico/ipam/v2/assignment/ipv{4,6}/block/<address>-<length>`` |
| BlockAffinity | ``/calico/ipam/v2/{host,virtual}/<node>/ipv{4,6}/block/<address>-<length>`` |
| IPAMHandle | ``/calico/ipam/v2/handle/<handle>`` |
| IPAMConfiguration | ``/calico/ipam/v2/config`` |
| ours, Kubernetes' | ``/cloudnet/resources/<version>/<group>/<plural>/[<namespace>/]<name>``; no group: ``core`` |

The four IPAM kinds have no metadata in etcd. Their names follow from the key, a block affinity's labels from its
node, and the ``uid`` is the revision that the key was created with: like any uid it is another one when the key
is deleted and created anew. A uid that the caller brings for one of them is not kept, and labels or annotations
that cannot be kept are refused.

Sources: Calico ``libcalico-go/lib/backend/model/*.go``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_network
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec

from cloudnet.errors import BadInput
from cloudnet.model import calico, calico_etcd, calico_ipam, kinds, wire
from cloudnet.model.addresses import Network, NodeName
from cloudnet.model.resources import (
    Affinity,
    BlockAffinity,
    IPAMBlock,
    IPAMConfiguration,
    IPAMHandle,
    Metadata,
    Resource,
)
from cloudnet.model.wire import Json
from cloudnet.store import records
from cloudnet.store.api import Revision

R = TypeVar("R", bound=Resource)
R_contra = TypeVar("R_contra", bound=Resource, contravariant=True)

_IPAM: Final = "/calico/ipam/v2"
_to_json = msgspec.json.Encoder().encode
_from_json = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class Range:
    """Keys from ``first`` up to, not including, ``end``; just ``first`` where ``end`` is empty."""

    first: str
    end: str = ""


def prefix(text: str) -> Range:
    """Return the range of all keys that begin so."""
    return Range(text, text[:-1] + chr(ord(text[-1]) + 1))


@dataclass(frozen=True, slots=True)
class Entry:
    """A key and its value as etcd holds them, with the revisions it was created and last written at."""

    key: str
    value: bytes
    created: Revision
    modified: Revision


class Layout(Protocol[R]):
    """Where one kind lies, and how it is written there."""

    kind: kinds.Kind[R]

    def ranges(self, namespace: str | None) -> tuple[Range, ...]:
        """Return where all of the kind lie, or those of one namespace."""

    def key(self, value: R) -> str:
        """Return where a value belongs.

        Raises:
            BadInput: its name is not the one that etcd gives it.
        """

    def keys(self, name: str, namespace: str) -> tuple[str, ...]:
        """Return where a name may be found, the likeliest first."""

    def holds(self, key: str) -> bool:
        """Tell whether a key in the ranges is one of the kind."""

    def encode(self, value: R, uid: str, onto: Entry | None, now: str) -> bytes:
        """Return what to store; with ``onto``, only what differs is changed in it."""

    def decode(self, entry: Entry) -> R:
        """Return the value of an entry.

        Raises:
            BadInput: it makes no sense.
        """


# --- documents ----------------------------------------------------------------------------------------------


class Documents(Generic[R]):
    """A kind whose whole document is the value."""

    def __init__(self, kind: kinds.Kind[R]) -> None:
        self.kind = kind
        group, _, version = kind.api_version.rpartition("/")
        root = "/calico" if kind.api_version == calico.API_VERSION else "/cloudnet"
        self._prefix = f"{root}/resources/{version}/{group or 'core'}/{kind.plural}/"

    def ranges(self, namespace: str | None) -> tuple[Range, ...]:
        if namespace and self.kind.namespaced:
            return (prefix(f"{self._prefix}{namespace}/"),)
        return (prefix(self._prefix),)

    def key(self, value: R) -> str:
        return self._key(value.meta.name, value.meta.namespace)

    def keys(self, name: str, namespace: str) -> tuple[str, ...]:
        return (self._key(name, namespace),)

    def _key(self, name: str, namespace: str) -> str:
        return f"{self._prefix}{namespace}/{name}" if self.kind.namespaced else f"{self._prefix}{name}"

    def holds(self, key: str) -> bool:
        return key.startswith(self._prefix) and key.count("/", len(self._prefix)) == self.kind.namespaced

    def encode(self, value: R, uid: str, onto: Entry | None, now: str) -> bytes:
        """Calico notes when an object was created (``clientv3/resources.go`` Create); so do we."""
        document = self.kind.encode(records.with_uid(value, uid), onto=onto.value if onto else None)
        if onto:
            return document
        found = _from_json(document)
        found["metadata"]["creationTimestamp"] = now
        return _to_json(found)

    def decode(self, entry: Entry) -> R:
        value = self.kind.decode(entry.value)
        if (found := self.key(value)) != entry.key:
            raise BadInput(f"is that of {found}, not of the key {entry.key}", path="metadata.name")
        return value


# --- Calico's IPAM kinds ------------------------------------------------------------------------------------


class Form(Protocol[R_contra]):
    """What is particular to one of the IPAM kinds."""

    def ranges(self) -> tuple[Range, ...]: ...

    def key(self, value: R_contra) -> str:
        """Return where a value belongs."""

    def keys(self, name: str) -> tuple[str, ...]:
        """Return where a name may be found."""

    def read(self, key: str, value: Json) -> tuple[Metadata, Json] | None:
        """Return metadata and ``spec`` of the document that key and value stand for; nothing for another key."""

    def write(self, spec: Json) -> Json:
        """Return the value for a ``spec``."""


class Ipam(Generic[R]):
    """A kind that is a bare value in etcd."""

    def __init__(self, kind: kinds.Kind[R], form: Form[R]) -> None:
        self.kind = kind
        self._form = form

    def ranges(self, namespace: str | None) -> tuple[Range, ...]:
        return () if namespace else self._form.ranges()

    def key(self, value: R) -> str:
        key = self._form.key(value)
        read = self._form.read(key, {})
        if read is None or read[0].name != value.meta.name:
            raise BadInput(
                f"expected {read[0].name if read else 'a name'!r}, as etcd can hold no other for it, "
                f"found {value.meta.name!r}",
                path="metadata.name",
            )
        for field, found, kept in (
            ("labels", value.meta.labels, read[0].labels),
            ("annotations", value.meta.annotations, read[0].annotations),
        ):
            if found and found != kept:
                raise BadInput(
                    f"expected {dict(kept) or 'none'}, for etcd can hold no others", path=f"metadata.{field}"
                )
        return key

    def keys(self, name: str, namespace: str) -> tuple[str, ...]:
        return () if namespace else self._form.keys(name)

    def holds(self, key: str) -> bool:
        return self._form.read(key, {}) is not None

    def encode(self, value: R, uid: str, onto: Entry | None, now: str) -> bytes:  # noqa: ARG002 - nowhere to note them
        document = self.kind.encode(value, onto=self._document(onto) if onto else None)
        return _to_json(self._form.write(_from_json(document)["spec"]))

    def decode(self, entry: Entry) -> R:
        value = self.kind.decode(self._document(entry))
        if (found := self._form.key(value)) != entry.key:
            raise BadInput(f"is that of {found}, not of the key {entry.key}", path="spec.cidr")
        return value

    def _document(self, entry: Entry) -> bytes:
        """Return the newer form of an entry; an empty value is an old way to write an empty object."""
        try:
            found = self._form.read(entry.key, _from_json(entry.value) if entry.value else {})
        except msgspec.MsgspecError as error:
            raise BadInput(f"expected a JSON object: {error}") from error
        if found is None:
            raise BadInput(f"{entry.key} is no key of a {self.kind.name}")
        meta, spec = found
        named = Metadata(meta.name, "", f"etcd-{entry.created}", meta.labels)
        return _to_json({"metadata": wire.meta(named), "spec": spec})


_CIDR = r"ipv(?P<version>[46])/block/(?P<address>[^/]+)-(?P<length>\d+)"


def _block_path(cidr: Network) -> str:
    return f"ipv{cidr.version}/block/{cidr.network_address}-{cidr.prefixlen}"


def _cidr(match: re.Match[str]) -> Network | None:
    """Return the block that a key is about; nothing when it is none."""
    try:
        cidr = ip_network(f"{match['address']}/{match['length']}")
    except ValueError:
        return None
    return cidr if str(cidr.version) == match["version"] else None


def _named_cidr(name: str) -> Network | None:
    """Return the prefix that ``calico.cidr_name`` calls so; nothing when it calls none so."""
    address, _, length = name.rpartition("-")
    for separator in ".:":
        try:
            cidr = ip_network(f"{address.replace('-', separator)}/{length}")
        except ValueError:
            continue
        if calico.cidr_name(cidr) == name:
            return cidr
    return None


class Blocks:
    """``IPAMBlock``."""

    _KEY = re.compile(rf"{_IPAM}/assignment/{_CIDR}")

    def ranges(self) -> tuple[Range, ...]:
        return (prefix(f"{_IPAM}/assignment/"),)

    def key(self, value: IPAMBlock) -> str:
        return f"{_IPAM}/assignment/{_block_path(value.cidr)}"

    def keys(self, name: str) -> tuple[str, ...]:
        cidr = _named_cidr(name)
        return (f"{_IPAM}/assignment/{_block_path(cidr)}",) if cidr else ()

    def read(self, key: str, value: Json) -> tuple[Metadata, Json] | None:
        match = self._KEY.fullmatch(key)
        cidr = match and _cidr(match)
        if not cidr:
            return None
        return Metadata(calico.cidr_name(cidr)), calico_etcd.read_block(value)

    def write(self, spec: Json) -> Json:
        return calico_etcd.write_block(spec)


class Affinities:
    """``BlockAffinity``. Hosts with a bare key and no value are markers of old releases, and none of these."""

    _TYPES = ("host", "virtual")
    _KEY = re.compile(rf"{_IPAM}/(?P<type>host|virtual)/(?P<node>[^/]+)/{_CIDR}")

    def ranges(self) -> tuple[Range, ...]:
        return tuple(prefix(f"{_IPAM}/{type_}/") for type_ in self._TYPES)

    def key(self, value: BlockAffinity) -> str:
        return f"{_IPAM}/{value.type}/{value.node}/{_block_path(value.cidr)}"

    def keys(self, name: str) -> tuple[str, ...]:
        """A name is ``<node>-<block>``, and where the node's ends is not said; a name cut short is not found."""
        found = []
        for dash in re.finditer("-", name):
            node, cidr = name[: dash.start()], _named_cidr(name[dash.end() :])
            if node and cidr:
                found += [f"{_IPAM}/{type_}/{node}/{_block_path(cidr)}" for type_ in self._TYPES]
        return tuple(found)

    def read(self, key: str, value: Json) -> tuple[Metadata, Json] | None:
        match = self._KEY.fullmatch(key)
        cidr = match and _cidr(match)
        if not match or not cidr:
            return None
        owner = Affinity(NodeName(match["node"]), match["type"])
        meta = Metadata(calico.affinity_name(owner.host, cidr), labels=calico.affinity_labels(owner, cidr))
        return meta, calico_etcd.read_affinity(value, node=owner.host, cidr=str(cidr), type_=owner.type)

    def write(self, spec: Json) -> Json:
        return calico_etcd.write_affinity(spec)


class Handles:
    """``IPAMHandle``. A handle with capitals is named, but not found, by its name in lower case."""

    _ROOT = f"{_IPAM}/handle/"

    def ranges(self) -> tuple[Range, ...]:
        return (prefix(self._ROOT),)

    def key(self, value: IPAMHandle) -> str:
        return self._ROOT + value.handle

    def keys(self, name: str) -> tuple[str, ...]:
        return (self._ROOT + name,)

    def read(self, key: str, value: Json) -> tuple[Metadata, Json] | None:
        handle = key.removeprefix(self._ROOT)
        if not handle or "/" in handle:
            return None
        return Metadata(calico_ipam.handle_name(handle)), calico_etcd.read_handle(value, handle=handle)

    def write(self, spec: Json) -> Json:
        return calico_etcd.write_handle(spec)


class Configurations:
    """``IPAMConfiguration``, of which there is one."""

    _KEY = f"{_IPAM}/config"

    def ranges(self) -> tuple[Range, ...]:
        return (Range(self._KEY),)

    def key(self, value: IPAMConfiguration) -> str:  # noqa: ARG002 - there is one
        return self._KEY

    def keys(self, name: str) -> tuple[str, ...]:
        return (self._KEY,) if name == calico_ipam.CONFIGURATION else ()

    def read(self, key: str, value: Json) -> tuple[Metadata, Json] | None:
        if key != self._KEY:
            return None
        return Metadata(calico_ipam.CONFIGURATION), calico_etcd.read_configuration(value)

    def write(self, spec: Json) -> Json:
        return calico_etcd.write_configuration(spec)


# Any: the rows differ in their type; `of` gives each caller the right one.
_FORMS: Mapping[type[Resource], Callable[[], Form[Any]]] = {
    IPAMBlock: Blocks,
    BlockAffinity: Affinities,
    IPAMHandle: Handles,
    IPAMConfiguration: Configurations,
}


def of(type_: type[R]) -> Layout[R]:
    """Return the layout of a class of resources."""
    # Any: the cache forgets the type that it was asked for.
    layout: Layout[Any] = _layout(type_)
    return layout


@cache
def _layout(type_: type[Resource]) -> Layout[Any]:
    form = _FORMS.get(type_)
    return Ipam(kinds.of(type_), form()) if form else Documents(kinds.of(type_))
