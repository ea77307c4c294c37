"""Calico's older spelling of its IPAM kinds, which an etcd holds to this day.

In etcd these four are not objects with metadata but bare values, and part of what they say stands in the key.
Each is turned here into the ``spec`` of the newer document and back, so that ``kinds.Kind`` reads, checks and
writes them as any other; fields that we do not know pass through both ways.

Sources: Calico ``libcalico-go/lib/backend/model/{block,block_affinity,ipam_handle,ipam_config}.go``. Go leaves a
field out of the JSON only where it says ``omitempty``; what is written here follows that.
"""

from __future__ import annotations

from collections.abc import Mapping

from cloudnet.model.wire import Json

_BLOCK = {"affinity_claim_time": "affinityClaimTime"}
_CONFIG = {"strict_affinity": "strictAffinity", "auto_allocate_blocks": "autoAllocateBlocks"}
_CONFIG_OMITS_ZERO = ("strict_affinity", "auto_allocate_blocks", "maxBlocksPerHost", "ipCooldownSeconds")


def read_block(value: Json) -> Json:
    """``hostAffinity`` is how releases before 3.0 named the owner."""
    spec = _renamed(value, _BLOCK)
    if (host := spec.pop("hostAffinity", None)) and not spec.get("affinity"):
        spec["affinity"] = f"host:{host}"
    return spec


def write_block(spec: Json) -> Json:
    value: Json = {"affinity": None, "sequenceNumber": 0, "sequenceNumberForAllocation": {}, "deleted": False}
    value |= _renamed(spec, {new: old for old, new in _BLOCK.items()})
    value.pop("strictAffinity", None)  # only the schema of the Kubernetes resource wants it
    return value


def read_affinity(value: Json, *, node: str, cidr: str, type_: str) -> Json:
    return {**value, "node": node, "cidr": cidr, "type": type_}


def write_affinity(spec: Json) -> Json:
    kept = _without(spec, "node", "cidr", "type")
    return {"deleted": False, **kept, "state": kept.get("state") or "confirmed"}


def read_handle(value: Json, *, handle: str) -> Json:
    return {**value, "handleID": handle}


def write_handle(spec: Json) -> Json:
    return {"block": {}, "deleted": False, **_without(spec, "handleID")}


def read_configuration(value: Json) -> Json:
    """What is left out is false here; only a configuration that is not there at all means the defaults."""
    return {"autoAllocateBlocks": False, **_renamed(value, _CONFIG)}


def write_configuration(spec: Json) -> Json:
    value = _renamed(spec, {new: old for old, new in _CONFIG.items()})
    return {key: found for key, found in value.items() if found or key not in _CONFIG_OMITS_ZERO}


def _renamed(found: Json, names: Mapping[str, str]) -> Json:
    return {names.get(key, key): value for key, value in found.items()}


def _without(found: Json, *names: str) -> Json:
    return {key: value for key, value in found.items() if key not in names}
