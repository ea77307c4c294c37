"""Who may do what: service accounts, and the least that agent and controller need of the API. Pure.

Agents write blocks, handles and affinities (any node may take a free block), annotations of nodes and pods by their
``status``, and their own report. They never delete a pod, read a secret or change what runs. Whoever updates or
deletes may ``get``, too: a write that somebody else was faster than is read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cloudnet.manifests.crds import OLDER
from cloudnet.manifests.objects import Json, meta
from cloudnet.manifests.options import Options, Overlay

_SEE: Final = ("list", "watch")
_READ: Final = ("get", *_SEE)
_WRITE: Final = ("create", "update", "delete")

_NEWER, _OLDER = "projectcalico.org", OLDER.partition("/")[0]
_CALICO: Final = (_NEWER, _OLDER)
_POLICY: Final = (
    "globalnetworkpolicies",
    "globalnetworksets",
    "hostendpoints",
    "networkpolicies",
    "networksets",
    "stagedglobalnetworkpolicies",
    "stagedkubernetesnetworkpolicies",
    "stagednetworkpolicies",
    "tiers",
)
_BGP: Final = ("bgpconfigurations", "bgpfilters", "bgppeers")
_LOCK: Final = "clusterinformations"


def _rule(groups: Sequence[str], resources: Sequence[str], verbs: Sequence[str]) -> Json:
    return {"apiGroups": list(groups), "resources": list(resources), "verbs": list(verbs)}


def _ipam_settings(verbs: Sequence[str]) -> list[Json]:
    """The two groups have each a word of their own for them."""
    return [_rule([_NEWER], ["ipamconfigurations"], verbs), _rule([_OLDER], ["ipamconfigs"], verbs)]


_EVENTS: Final = (("events.k8s.io",), ("events",), ("create", "patch"))


def agent_rules(*, takeover: bool = False, bgp: bool = False) -> list[Json]:
    more = [
        *_ipam_settings(_WRITE),
        _rule(_CALICO, ["ippools"], ["get", "create", "delete"]),
        _rule(_CALICO, ["ipreservations"], ["create", "delete"]),
    ]
    return [
        _rule([""], ["nodes", "pods", "namespaces"], _READ),
        _rule([""], ["serviceaccounts"], _SEE),
        _rule([""], ["nodes/status", "pods/status"], ["patch"]),
        _rule(["networking.k8s.io"], ["networkpolicies"], _SEE),
        _rule(["policy.networking.k8s.io"], ["clusternetworkpolicies"], _SEE),
        _rule(["discovery.k8s.io"], ["endpointslices"], _SEE),
        _rule(_CALICO, [*_POLICY, "ippools", "ipreservations", _LOCK], _SEE),
        *_ipam_settings(_READ),
        _rule(_CALICO, ["blockaffinities", "ipamblocks"], [*_READ, *_WRITE]),
        _rule(_CALICO, ["ipamhandles"], ["get", *_WRITE]),
        _rule(["cloudnet.io"], ["cloudaddresses", "cloudnodes", "cloudroutes"], _SEE),
        _rule(["cloudnet.io"], ["agentreports"], ["get", "create", "update"]),
        *([_rule(_CALICO, _BGP, _SEE)] if bgp else ()),
        *(more if takeover else ()),
        _rule(*_EVENTS),
    ]


def controller_rules() -> list[Json]:
    return [
        _rule([""], ["nodes"], _SEE),
        _rule([""], ["pods"], ["list"]),
        _rule([""], ["nodes/status"], ["patch"]),
        _rule(_CALICO, ["ippools", _LOCK], _SEE),
        _rule(_CALICO, ["ipreservations"], ["list"]),
        *_ipam_settings(["get"]),
        _rule(_CALICO, ["blockaffinities", "ipamblocks"], [*_READ, *_WRITE]),
        _rule(_CALICO, ["ipamhandles"], ["get", "list", "update", "delete"]),
        _rule(["cloudnet.io"], ["cloudaddresses", "cloudnodes", "cloudroutes", "nodeconditions"], [*_READ, *_WRITE]),
        _rule(["cloudnet.io"], ["agentreports"], [*_READ, "delete"]),
        _rule(*_EVENTS),
    ]


def lease_rules() -> list[Json]:
    """The lease is created under any name, RBAC knows none of it then; it is changed under its own."""
    return [_rule(["coordination.k8s.io"], ["leases"], [*_READ, "create", "update"])]


def documents(options: Options, overlay: Overlay) -> list[Json]:
    identity = {overlay.identity: options.identity} if overlay.identity and options.identity else {}
    return [
        _account("cloudnet-agent", options, {}),
        _account("cloudnet-controller", options, identity),
        *_cluster_role("cloudnet-agent", options, agent_rules(takeover=options.takeover, bgp=options.bgp)),
        *_cluster_role("cloudnet-controller", options, controller_rules()),
        *_role("cloudnet-controller", options, lease_rules()),
    ]


def _account(name: str, options: Options, annotations: dict[str, str]) -> Json:
    metadata = meta(name, options.namespace)
    if annotations:
        metadata["annotations"] = annotations
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


_GROUP: Final = "rbac.authorization.k8s.io"


def _cluster_role(name: str, options: Options, rules: list[Json]) -> list[Json]:
    role = {"apiVersion": f"{_GROUP}/v1", "kind": "ClusterRole", "metadata": meta(name), "rules": rules}
    return [role, _binding("ClusterRole", meta(name), name, options)]


def _role(name: str, options: Options, rules: list[Json]) -> list[Json]:
    where = meta(name, options.namespace)
    role = {"apiVersion": f"{_GROUP}/v1", "kind": "Role", "metadata": where, "rules": rules}
    return [role, _binding("Role", where, name, options)]


def _binding(kind: str, where: Json, name: str, options: Options) -> Json:
    return {
        "apiVersion": f"{_GROUP}/v1",
        "kind": f"{kind}Binding",
        "metadata": where,
        "roleRef": {"apiGroup": _GROUP, "kind": kind, "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": options.namespace}],
    }
