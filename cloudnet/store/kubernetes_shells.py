"""How objects of a Kubernetes API wrap our documents: opened when read, closed when written. Pure.

| shell | what it opens |
|---|---|
| ``Plain`` | an object that is the document: our kinds, ``projectcalico.org/v3``, Kubernetes' own |
| ``Older`` | ``crd.projectcalico.org/v1``: labels, annotations and a policy's name stand in an annotation |
| ``Leases`` | ``coordination.k8s.io/v1`` Lease, so that ``kubectl get leases`` shows who leads |
| ``Nodes`` | core/v1 Node with Calico's annotations (``model/kubernetes_nodes.py``) |

The API gives every object a uid of its own. One that our caller chose is kept in the annotation ``UID``, and is the
one that is shown. Sources: Calico ``libcalico-go/lib/backend/k8s/resources/resources.go``, Kubernetes
``api/coordination/v1/types.go``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from cloudnet.errors import BadInput
from cloudnet.model import kubernetes_nodes
from cloudnet.model.wire import Json

UID: Final = "cloudnet.io/uid"
METADATA: Final = "projectcalico.org/metadata"
LEASE: Final = "cloudnet.io/lease"

_LEASE_HEADER: Final = {"apiVersion": "cloudnet.io/v1", "kind": "Lease"}
_UID_MARK: Final = UID.encode()
_to_json = msgspec.json.Encoder().encode
_from_json = msgspec.json.Decoder(dict[str, Any]).decode  # Any: JSON that somebody else checks


class Shell(Protocol):
    """One way to wrap a document."""

    def open(self, raw: bytes) -> bytes:
        """Return the document in an object.

        Raises:
            BadInput: there is none.
        """

    def close(self, document: Json, onto: Json | None) -> Json:
        """Return the object for a document; with ``onto``, the one that it replaces, all else of that one stays."""


class Plain:
    """The object is the document."""

    def __init__(self, version: str, word: str) -> None:
        self._version = version
        self._word = word

    def open(self, raw: bytes) -> bytes:
        return show_uid(raw)

    def close(self, document: Json, onto: Json | None) -> Json:
        return hide_uid({**document, "apiVersion": self._version, "kind": self._word}, onto)


class Older:
    """Group ``crd.projectcalico.org/v1``."""

    _OWN = ("projectcalico.org/", "operator.tigera.io/")  # keys that stay outside as well

    def __init__(self, word: str, *, version: str, inner: str, tiered: bool) -> None:
        self._word = word
        self._version = version
        self._inner = inner
        self._tiered = tiered

    def open(self, raw: bytes) -> bytes:
        document = _from_json(raw)
        meta = document["metadata"]
        annotations = dict(meta.get("annotations") or {})
        inside = self._inside(annotations.pop(METADATA, "{}"))
        if self._tiered and inside.get("name"):
            meta["name"] = inside["name"]
        meta["labels"] = (meta.get("labels") or {}) | (inside.get("labels") or {})
        meta["annotations"] = annotations | (inside.get("annotations") or {})
        return show_uid(_to_json({**document, "apiVersion": "projectcalico.org/v3", "kind": self._inner}))

    def _inside(self, text: str) -> Json:
        try:
            return _from_json(text)
        except msgspec.MsgspecError as error:
            raise BadInput(f"makes no sense: {error}", path=f"metadata.annotations[{METADATA}]") from error

    def close(self, document: Json, onto: Json | None) -> Json:
        closed = hide_uid({**document, "apiVersion": self._version, "kind": self._word}, onto)
        meta = dict(closed["metadata"])
        labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
        before = (onto or {}).get("metadata", {}).get("annotations") or {}
        inside = self._inside(before.get(METADATA, '{"creationTimestamp":null}'))
        inside |= {"labels": labels, "annotations": annotations}
        if self._tiered:
            inside["name"] = meta["name"]
            meta["name"] = tiered_name(meta["name"])
        meta["labels"] = {key: value for key, value in labels.items() if self._is_own(key)}
        meta["annotations"] = {key: value for key, value in annotations.items() if self._is_own(key)}
        meta["annotations"][METADATA] = _to_json(inside).decode()
        if self._word == "BlockAffinity":
            spec = closed["spec"]
            closed["spec"] = {**spec, "deleted": "true" if spec.get("deleted") in (True, "true") else "false"}
        return {**closed, "metadata": meta}

    def _is_own(self, key: str) -> bool:
        return any(part in key for part in self._OWN)


def tiered_name(name: str) -> str:
    """Return what the older group calls a policy's object: with its tier in front (``names.TieredPolicyName``)."""
    return name if "." in name else f"default.{name}"


class Leases:
    """Kubernetes' Lease. Its seconds are whole and it counts no renewals; ours stand in an annotation beside it."""

    def __init__(self, now: Callable[[], str]) -> None:
        self._now = now

    def open(self, raw: bytes) -> bytes:
        document = _from_json(raw)
        meta, spec = document["metadata"], document.get("spec") or {}
        annotations = dict(meta.get("annotations") or {})
        own = self._own(annotations.pop(LEASE, "{}"))
        seconds = spec.get("leaseDurationSeconds") or 1
        if math.ceil(own.get("duration", 0.0)) != seconds:
            own = {"duration": float(seconds), "renewals": spec.get("leaseTransitions") or 0}
        meta["annotations"] = annotations
        meta.pop("namespace", None)
        return show_uid(
            _to_json({**_LEASE_HEADER, "metadata": meta, "spec": {"holder": spec.get("holderIdentity") or "", **own}})
        )

    def _own(self, text: str) -> Json:
        try:
            return _from_json(text)
        except msgspec.MsgspecError as error:
            raise BadInput(f"makes no sense: {error}", path=f"metadata.annotations[{LEASE}]") from error

    def close(self, document: Json, onto: Json | None) -> Json:
        closed = hide_uid(document, onto)
        wanted, spec = closed.get("spec") or {}, dict((onto or {}).get("spec") or {})
        duration, holder = wanted.get("duration", 15.0), wanted.get("holder") or None
        if holder != spec.get("holderIdentity"):
            spec["leaseTransitions"] = (spec.get("leaseTransitions") or 0) + (onto is not None)
            spec["acquireTime"] = self._now()
        spec |= {"leaseDurationSeconds": math.ceil(duration), "renewTime": self._now()}
        spec.pop("holderIdentity", None)
        if holder:
            spec["holderIdentity"] = holder
        own = {"duration": duration, "renewals": wanted.get("renewals", 0)}
        meta = dict(closed["metadata"])
        meta["annotations"] = {**(meta.get("annotations") or {}), LEASE: _to_json(own).decode()}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}


class Nodes:
    """Kubernetes' Node."""

    def open(self, raw: bytes) -> bytes:
        return show_uid(_to_json(kubernetes_nodes.to_calico(raw)))

    def close(self, document: Json, onto: Json | None) -> Json:
        return kubernetes_nodes.to_kubernetes(hide_uid(document, onto), onto)


# --- uids ---------------------------------------------------------------------------------------------------


def show_uid(raw: bytes) -> bytes:
    """Return a document with the uid that its creator chose; most did not choose any."""
    if _UID_MARK not in raw:
        return raw
    document = _from_json(raw)
    meta = document["metadata"]
    annotations = dict(meta.get("annotations") or {})
    if chosen := annotations.pop(UID, ""):
        meta |= {"uid": chosen, "annotations": annotations}
    return _to_json(document)


def hide_uid(document: Json, onto: Json | None) -> Json:
    """Undo ``show_uid``: a uid that was chosen when the object is created, or what the replaced object has."""
    meta = dict(document["metadata"])
    chosen = meta.pop("uid", "")
    if onto is not None:
        inside = onto["metadata"].get("annotations") or {}
        chosen = inside.get(UID, "") or _older_uid(inside)
        meta["uid"] = onto["metadata"]["uid"]
    if chosen:
        meta["annotations"] = {**(meta.get("annotations") or {}), UID: chosen}
    return {**document, "metadata": meta}


def _older_uid(annotations: Json) -> str:
    """Return the chosen uid of an object of the older group, where it stands inside with all other annotations."""
    inside = annotations.get(METADATA)
    return (_from_json(inside).get("annotations") or {}).get(UID, "") if inside else ""
