"""CustomResourceDefinitions of our kinds and Calico's, made from the very structs that read and write them. Pure.

Ours have full schemas: what they do not know is dropped. Calico's are described as far as we read them and keep the
rest, so that a cluster without Calico can hold them, and Calico's own may take their place at any time.

There is no status subresource: our kinds are written by machines alone, spec and status in one request, and with a
subresource a new object would be there without its status first (docs/decisions/no-status-subresource.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import inspect

from cloudnet.model import calico, cluster_policies, kinds, own
from cloudnet.model.cloud_addresses import CloudAddresses
from cloudnet.model.kinds import Kind
from cloudnet.model.policies import Profile
from cloudnet.model.resources import (
    AgentReport,
    CloudNode,
    CloudRoute,
    IPAMConfiguration,
    Lease,
    Node,
    NodeCondition,
    Resource,
)
from cloudnet.model.wire import Json
from cloudnet.model.workloads import WorkloadEndpoint

KIND: Final = "CustomResourceDefinition"
OLDER: Final = "crd.projectcalico.org/v1"

_NOT_CUSTOM: Final = frozenset({Node, WorkloadEndpoint, Profile, Lease})
"""Kinds that Kubernetes has something of its own for."""

_COLUMNS: Final[Mapping[type[Resource], Sequence[tuple[str, str, str]]]] = {
    CloudNode: (
        ("Instance", "string", ".spec.instance"),
        ("Subnet", "string", ".spec.subnet"),
        ("Zone", "string", ".spec.zone"),
        ("Forwarding", "boolean", ".status.forwarding"),
        ("Problem", "string", ".status.problem"),
    ),
    CloudRoute: (
        ("CIDR", "string", ".spec.cidr"),
        ("Node", "string", ".spec.node"),
        ("Tables", "string", ".status.summary"),
    ),
    CloudAddresses: (
        ("Capacity", "integer", ".status.capacity.ipv4"),
        ("Prefixes", "string", ".status.summary"),
        ("Cause", "string", ".status.cause"),
        ("Detail", "string", ".status.detail"),
    ),
    AgentReport: (
        ("Ready", "boolean", ".status.ready"),
        ("Observed", "integer", ".status.observed"),
        ("Lost", "string", ".status.lost"),
        ("Message", "string", ".status.message"),
    ),
    NodeCondition: (
        ("Ready", "boolean", ".status.ready"),
        ("Reason", "string", ".status.reason"),
        ("Message", "string", ".status.message"),
    ),
}
"""{kind: (title, type, path) of what ``kubectl get`` shows beside name and age}."""

_OLDER_WORDS: Final[Mapping[type[Resource], tuple[str, str]]] = {IPAMConfiguration: ("ipamconfigs", "IPAMConfig")}


def own_crds() -> list[Json]:
    """Return the definitions of our own kinds."""
    return [_crd(kind, kind.api_version) for kind in _custom(own.API_VERSION)]


def calico_crds(*, older: bool = False) -> list[Json]:
    """Return the definitions of Calico's kinds, for a cluster that has none of Calico's."""
    version = OLDER if older else calico.API_VERSION
    return [_crd(kind, version) for kind in _custom(calico.API_VERSION)]


def policy_crds() -> list[Json]:
    """Return the definition of ClusterNetworkPolicy, as far as we read it, for tests and for clusters without one.

    Its group is Kubernetes' own, where a definition has to say who approved it (KEP-2337): nobody has approved ours.
    """
    made = [_crd(kind, kind.api_version) for kind in _custom(cluster_policies.API_VERSION)]
    for definition in made:
        definition["metadata"]["annotations"] = {
            "api-approved.kubernetes.io": "unapproved, the part that cloudnet reads"
        }
    return made


def _custom(version: str) -> list[Kind[Any]]:
    found = [kind for kind in kinds.ALL if kind.api_version == version and kind.type not in _NOT_CUSTOM]
    return sorted(found, key=lambda kind: kind.plural)


def _crd(kind: Kind[Any], version: str) -> Json:
    group, _, name = version.partition("/")
    plural, word = (
        (kind.plural, kind.word) if version != OLDER else _OLDER_WORDS.get(kind.type, (kind.plural, kind.word))
    )
    columns = [{"name": title, "type": type_, "jsonPath": path} for title, type_, path in _COLUMNS.get(kind.type, ())]
    columns.append({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"})
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": KIND,
        "metadata": {"name": f"{plural}.{group}", "labels": {"app.kubernetes.io/part-of": "cloudnet"}},
        "spec": {
            "group": group,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "names": {"kind": word, "listKind": f"{word}List", "plural": plural, "singular": word.lower()},
            "versions": [
                {
                    "name": name,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": columns,
                    "schema": {"openAPIV3Schema": schema(kind, older=version == OLDER)},
                }
            ],
        },
    }


# --- schemas ------------------------------------------------------------------------------------------------


def schema(kind: Kind[Any], *, older: bool = False) -> Json:
    """Return the structural schema of a kind's documents."""
    found = _Schemas(open_=kind.api_version != own.API_VERSION, older=older).of(inspect.type_info(kind.document))
    properties = found["properties"]
    properties |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
    required = [name for name in found.get("required", ()) if name != "metadata"]
    found.pop("required", None)
    found.pop("x-kubernetes-preserve-unknown-fields", None)
    if found_required := {"required": required} if required else {}:
        found |= found_required
    return {"description": (kind.type.__doc__ or kind.name).split("\n")[0], **found}


class _Schemas:
    """Makes schemas of msgspec types; ``open_``: what is unknown is kept."""

    def __init__(self, *, open_: bool, older: bool) -> None:
        self._open = open_
        self._older = older

    def of(self, type_: inspect.Type) -> Json:  # noqa: PLR0911 - a table
        match type_:
            case inspect.StructType():
                return self._struct(type_)
            case inspect.UnionType():
                return self._union(type_)
            case inspect.ListType() | inspect.VarTupleType():
                return {"type": "array", "items": self.of(type_.item_type)}
            case inspect.DictType():
                return {"type": "object", "additionalProperties": self.of(type_.value_type)}
            case inspect.LiteralType():
                return {"type": "string", "enum": list(type_.values)}
            case inspect.EnumType():
                return {"type": "string", "enum": [one.value for one in type_.cls]}
            case inspect.AnyType():
                return {"x-kubernetes-preserve-unknown-fields": True}
            case _:
                return self._scalar(type_)

    def _scalar(self, type_: inspect.Type) -> Json:
        match type_:
            case inspect.StrType():
                return {"type": "string"}
            case inspect.BoolType():
                return {"type": "boolean"}
            case inspect.IntType():
                return {"type": "integer", "format": "int64"}
            case inspect.FloatType():
                return {"type": "number"}
            case inspect.DateTimeType():
                return {"type": "string", "format": "date-time"}
            case _:
                raise TypeError(f"no schema is known for {type_}")

    def _struct(self, type_: inspect.StructType) -> Json:
        found: Json = {
            "type": "object",
            "properties": {field.encode_name: self.of(field.type) for field in type_.fields},
        }
        if required := [field.encode_name for field in type_.fields if field.required]:
            found["required"] = required
        if self._open:
            found["x-kubernetes-preserve-unknown-fields"] = True
        return found

    def _union(self, type_: inspect.UnionType) -> Json:
        some = [one for one in type_.types if not isinstance(one, inspect.NoneType)]
        nullable = {"nullable": True} if len(some) < len(type_.types) else {}
        if len(some) == 1:
            return {**self.of(some[0]), **nullable}
        names = {type(one) for one in some}
        if names == {inspect.BoolType, inspect.LiteralType}:
            # The older group says it in a word.
            return {"type": "string"} if self._older else {"type": "boolean"}
        if names == {inspect.IntType, inspect.StrType}:
            return {"x-kubernetes-int-or-string": True, **nullable}
        raise TypeError(f"no schema is known for {type_}")
