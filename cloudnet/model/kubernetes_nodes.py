"""Calico's Node as Kubernetes holds it: core/v1 Node, with annotations for what Kubernetes has no field for.

Documents in, documents out; ``calico.py`` knows what they mean. Source: Calico
``libcalico-go/lib/backend/k8s/resources/node.go``.
"""

from __future__ import annotations

from typing import Final

import msgspec

from cloudnet.errors import BadInput
from cloudnet.model import calico, wire
from cloudnet.model.wire import Json

_PREFIX: Final = "projectcalico.org/"
_BGP: Final = {
    "ipv4Address": "IPv4Address",
    "ipv6Address": "IPv6Address",
    "asNumber": "ASNumber",
    "routeReflectorClusterID": "RouteReflectorClusterID",
    "ipv4IPIPTunnelAddr": "IPv4IPIPTunnelAddr",
}
_SPEC: Final = {
    "ipv4VXLANTunnelAddr": "IPv4VXLANTunnelAddr",
    "vxlanTunnelMACAddr": "VXLANTunnelMACAddr",
    "ipv6VXLANTunnelAddr": "IPv6VXLANTunnelAddr",
    "vxlanTunnelMACAddrV6": "VXLANTunnelMACAddrV6",
}
"""{field of Calico's Node: the annotation that holds it}."""

_LABELS: Final = "projectcalico.org/labels"
_SAID: Final = frozenset({"InternalIP", "ExternalIP"})
"""Kubernetes' types of addresses that Calico's Node has too; the others are names."""
_OURS: Final = frozenset(_PREFIX + name for name in (*_BGP.values(), *_SPEC.values())) | {_LABELS}


class _Spec(msgspec.Struct, rename="camel"):
    pod_cidr: str = msgspec.field(name="podCIDR", default="")
    pod_cidrs: list[str] | None = msgspec.field(name="podCIDRs", default=None)
    provider_id: str = msgspec.field(name="providerID", default="")


class _Address(msgspec.Struct):
    address: str = ""
    type: str = ""


class _Status(msgspec.Struct):
    addresses: list[_Address] | None = None


class _CoreNode(msgspec.Struct):
    metadata: wire.Meta
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)


_core = msgspec.json.Decoder(_CoreNode)
_labels = msgspec.json.Decoder(dict[str, str])


def to_calico(raw: bytes) -> Json:
    """Return Calico's Node for one of Kubernetes.

    Raises:
        BadInput: it is none.
    """
    node = wire.parse(_core, raw)
    found = node.metadata.annotations or {}
    annotations = {key: value for key, value in found.items() if key not in _OURS}
    if node.spec.provider_id:
        annotations[calico.PROVIDER_ID] = node.spec.provider_id
    spec: Json = {field: found[_PREFIX + name] for field, name in _SPEC.items() if found.get(_PREFIX + name)}
    if bgp := {field: found[_PREFIX + name] for field, name in _BGP.items() if found.get(_PREFIX + name)}:
        number = bgp.get("asNumber", "")
        spec["bgp"] = {**bgp, "asNumber": int(number)} if number.isdecimal() else bgp
    said = [{"address": one.address, "type": one.type} for one in node.status.addresses or () if one.type in _SAID]
    if said:
        spec["addresses"] = said
    cidrs = node.spec.pod_cidrs or ([node.spec.pod_cidr] if node.spec.pod_cidr else [])
    meta: Json = {"name": node.metadata.name, "uid": node.metadata.uid, "labels": _all_labels(node.metadata)}
    if annotations:
        meta["annotations"] = annotations
    header = {"apiVersion": calico.API_VERSION, "kind": "Node"}
    return {**header, "metadata": meta, "spec": spec, "status": {"podCIDRs": cidrs}}


def _all_labels(meta: wire.Meta) -> dict[str, str]:
    """Return Kubernetes' labels, and those that Calico keeps for itself in an annotation."""
    labels = dict(meta.labels or {})
    if text := (meta.annotations or {}).get(_LABELS):
        try:
            labels |= _labels.decode(text)
        except msgspec.MsgspecError as error:
            raise BadInput(
                f"expected an object of labels: {error}", path=f"metadata.annotations[{_LABELS}]"
            ) from error
    return labels


def to_kubernetes(node: Json, onto: Json | None) -> Json:
    """Return Kubernetes' Node for Calico's; with ``onto``, all else of that one stays."""
    before = onto or {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node["metadata"]["name"]}}
    annotations = dict(node["metadata"].get("annotations") or {})
    provider_id = annotations.pop(calico.PROVIDER_ID, "")
    bgp = node.get("spec", {}).get("bgp") or {}
    for fields, values in ((_BGP, bgp), (_SPEC, node.get("spec", {}))):
        said = {name: values.get(field) for field, name in fields.items()}
        annotations |= {_PREFIX + name: str(value) for name, value in said.items() if value not in {None, ""}}
    labels = node["metadata"].get("labels") or {}
    if own := before["metadata"].get("annotations", {}).get(_LABELS):
        # Calico's own stay Calico's, unless we were asked to drop or change them.
        kept = {key: value for key, value in _labels.decode(own).items() if labels.get(key) == value}
        annotations |= {_LABELS: msgspec.json.encode(kept).decode()} if kept else {}
        labels = {key: value for key, value in labels.items() if key not in kept}
    spec = dict(before.get("spec", {}))
    cidrs = node.get("status", {}).get("podCIDRs") or []
    if cidrs and cidrs != spec.get("podCIDRs"):
        spec |= {"podCIDR": cidrs[0], "podCIDRs": cidrs}
    if provider_id:
        spec["providerID"] = provider_id
    return {**before, "metadata": {**before["metadata"], "annotations": annotations, "labels": labels}, "spec": spec}
