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
node (our own, ``cloudnet.io/…``, stand in a field ``labels`` of the value), and the ``uid`` is the revision that the
key was created with: like any uid it is another one when the key is deleted and created anew. A uid that the caller
brings for one of them is not kept, and labels or annotations that cannot be kept are refused.

Sources: Calico ``libcalico-go/lib/backend/model/*.go``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from cloudnet.errors import BadInput
from cloudnet.model import calico, kinds, wire
from cloudnet.model.resources import BlockAffinity, IPAMBlock, IPAMConfiguration, IPAMHandle, Metadata, Resource
from cloudnet.store import records
from cloudnet.store.etcd_ipam import Affinities, Blocks, Configurations, Form, Handles
from cloudnet.store.etcd_wire import Entry, Range, prefix

R = TypeVar("R", bound=Resource)

_to_json = msgspec.json.Encoder().encode
_from_json = msgspec.json.Decoder(dict[str, Any]).decode


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

    def name(self, key: str) -> tuple[str, str]:
        """Return namespace and name of what a key of the kind holds."""

    def encode(self, value: R, uid: str, onto: Entry | None, now: str) -> bytes:
        """Return what to store; with ``onto``, only what differs is changed in it."""

    def decode(self, entry: Entry) -> R:
        """Return the value of an entry.

        Raises:
            BadInput: it makes no sense.
        """

    def document(self, entry: Entry) -> bytes:
        """Return the document of an entry, with all that we do not understand of it.

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

    def name(self, key: str) -> tuple[str, str]:
        namespace, _, name = key[len(self._prefix) :].rpartition("/")
        return namespace, name

    def encode(self, value: R, uid: str, onto: Entry | None, now: str) -> bytes:
        """Calico notes when an object was created (``clientv3/resources.go`` Create); so do we."""
        document = self.kind.encode(records.with_uid(value, uid), onto=onto.value if onto else None)
        if onto:
            return document
        found = _from_json(document)
        found["metadata"].setdefault("creationTimestamp", now)  # one that is copied from elsewhere has it
        return _to_json(found)

    def document(self, entry: Entry) -> bytes:
        return entry.value

    def decode(self, entry: Entry) -> R:
        value = self.kind.decode(entry.value)
        if (found := self.key(value)) != entry.key:
            raise BadInput(f"is that of {found}, not of the key {entry.key}", path="metadata.name")
        return value


# --- Calico's IPAM kinds ------------------------------------------------------------------------------------


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
            ("labels", _others(value.meta.labels), read[0].labels),
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

    def name(self, key: str) -> tuple[str, str]:
        read = self._form.read(key, {})
        assert read is not None, f"{key} is none of this kind"  # noqa: S101 - `holds` said that it is
        return "", read[0].name

    def encode(self, value: R, uid: str, onto: Entry | None, now: str) -> bytes:  # noqa: ARG002 - nowhere to note them
        document = _from_json(self.kind.encode(value, onto=self.document(onto) if onto else None))
        own = _ours(value.meta.labels)
        return _to_json(self._form.write(document["spec"]) | ({_LABELS: own} if own else {}))

    def decode(self, entry: Entry) -> R:
        value = self.kind.decode(self.document(entry))
        if (found := self._form.key(value)) != entry.key:
            raise BadInput(f"is that of {found}, not of the key {entry.key}", path="spec.cidr")
        return value

    def document(self, entry: Entry) -> bytes:
        """An empty value is an old way to write an empty object."""
        try:
            value = _from_json(entry.value) if entry.value else {}
            own = msgspec.convert(value.pop(_LABELS, {}), dict[str, str])
            found = self._form.read(entry.key, value)
        except msgspec.MsgspecError as error:
            raise BadInput(f"expected a JSON object: {error}") from error
        if found is None:
            raise BadInput(f"{entry.key} is no key of a {self.kind.name}")
        meta, spec = found
        named = Metadata(meta.name, "", f"etcd-{entry.created}", {**meta.labels, **own})
        header = {"apiVersion": self.kind.api_version, "kind": self.kind.word}
        return _to_json({**header, "metadata": wire.meta(named), "spec": spec})


_LABELS = "labels"  # a field of ours in Calico's bare values: Go passes over fields that it does not know
_OURS = "cloudnet.io/"


def _ours(labels: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in labels.items() if key.startswith(_OURS)}


def _others(labels: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in labels.items() if not key.startswith(_OURS)}


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
