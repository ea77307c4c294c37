"""Who may do what: service accounts, and the least that agent and controller need of the API. Pure.

Agents write blocks, handles and affinities (any node may take a free block), annotations of nodes and pods by their
``status``, and their own report. They never delete a pod, read a secret or change what runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cloudnet.manifests.crds import OLDER
from cloudnet.manifests.objects import Json, meta
from cloudnet.manifests.options import Options, Overlay

READ: Final = ("get", "list", "watch")
_CALICO: Final = ("projectcalico.org", OLDER.partition("/")[0])
_READ_OF_CALICO: Final = (
    "bgpconfigurations",
    "bgpfilters",
    "bgppeers",
    "clusterinformations",
    "felixconfigurations",
    "globalnetworkpolicies",
    "globalnetworksets",
    "hostendpoints",
    "ipamconfigs",
    "ipamconfigurations",
    "ippools",
    "ipreservations",
    "kubecontrollersconfigurations",
    "networkpolicies",
    "networksets",
    "stagedglobalnetworkpolicies",
    "stagedkubernetesnetworkpolicies",
    "stagednetworkpolicies",
    "tiers",
)
_ADDRESSES: Final = ("blockaffinities", "ipamblocks", "ipamhandles")


_EVENTS: Final = (("events.k8s.io",), ("events",), ("create", "patch"))


def _rule(groups: Sequence[str], resources: Sequence[str], verbs: Sequence[str]) -> Json:
    return {"apiGroups": list(groups), "resources": list(resources), "verbs": list(verbs)}


_TAKEOVER: Final = ("ipamconfigs", "ipamconfigurations", "ippools", "ipreservations")


def agent_rules(*, takeover: bool = False) -> list[Json]:
    more = [_rule(_CALICO, _TAKEOVER, ["create", "update", "delete"])] if takeover else []
    return [
        _rule([""], ["nodes", "pods", "namespaces", "serviceaccounts"], READ),
        _rule([""], ["nodes/status", "pods/status"], ["patch"]),
        _rule(["networking.k8s.io"], ["networkpolicies"], READ),
        _rule(["policy.networking.k8s.io"], ["clusternetworkpolicies"], READ),
        _rule(["discovery.k8s.io"], ["endpointslices"], READ),
        _rule(_CALICO, _READ_OF_CALICO, READ),
        _rule(_CALICO, _ADDRESSES, [*READ, "create", "update", "delete"]),
        _rule(["cloudnet.io"], ["cloudaddresses", "cloudnodes", "cloudroutes"], READ),
        _rule(["cloudnet.io"], ["agentreports"], ["get", "list", "watch", "create", "update"]),
        *more,
        _rule(*_EVENTS),
    ]


def controller_rules() -> list[Json]:
    everything = [*READ, "create", "update", "delete"]
    return [
        _rule([""], ["nodes", "pods", "namespaces", "serviceaccounts"], READ),
        _rule([""], ["nodes/status"], ["patch"]),
        _rule(_CALICO, _READ_OF_CALICO, READ),
        _rule(_CALICO, _ADDRESSES, everything),
        _rule(_CALICO, ["ippools"], ["create", "update", "delete"]),
        _rule(["cloudnet.io"], ["cloudaddresses", "cloudnodes", "cloudroutes", "nodeconditions"], everything),
        _rule(["cloudnet.io"], ["agentreports"], [*READ, "delete"]),
        _rule(*_EVENTS),
    ]


def lease_rules() -> list[Json]:
    """The lease is created under any name, RBAC knows none of it then; it is changed under its own."""
    return [_rule(["coordination.k8s.io"], ["leases"], ["get", "list", "watch", "create", "update"])]


def documents(options: Options, overlay: Overlay) -> list[Json]:
    identity = {overlay.identity: options.identity} if overlay.identity and options.identity else {}
    return [
        _account("cloudnet-agent", options, {}),
        _account("cloudnet-controller", options, identity),
        *_cluster_role("cloudnet-agent", options, agent_rules(takeover=options.takeover)),
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
