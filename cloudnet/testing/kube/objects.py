"""What the API server holds: objects of types, one count of revisions over all, and the changes that watches read.

Facts: all types share one etcd, and so one count of revisions (Kubernetes KEP-5504). A write that changes nothing is
none: no new revision, no event (``apiserver/pkg/storage/etcd3/store.go`` GuaranteedUpdate). A deletion's event has
the deletion's revision (``etcd3/watcher.go``).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Type:
    """One resource of the API. ``status`` tells whether it has that subresource.

    ``schema``, ``short`` names and ``columns`` of a table are a custom one's.
    """

    version: str
    plural: str
    kind: str
    namespaced: bool = False
    status: bool = False
    schema: Mapping[str, Any] | None = None
    short: tuple[str, ...] = ()
    columns: tuple[Mapping[str, Any], ...] = ()

    @property
    def what(self) -> str:
        group = self.version.rpartition("/")[0]
        return f"{self.plural}.{group}" if group else self.plural

    @property
    def key(self) -> tuple[str, str]:
        return self.version, self.plural


BUILT_IN = (
    Type("v1", "nodes", "Node", status=True),
    Type("v1", "namespaces", "Namespace", status=True),
    Type("v1", "pods", "Pod", namespaced=True, status=True),
    Type("v1", "serviceaccounts", "ServiceAccount", namespaced=True),
    Type("v1", "configmaps", "ConfigMap", namespaced=True),
    Type("v1", "secrets", "Secret", namespaced=True),
    Type("apps/v1", "daemonsets", "DaemonSet", namespaced=True, status=True),
    Type("apps/v1", "deployments", "Deployment", namespaced=True, status=True),
    Type("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", namespaced=True, status=True),
    Type("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole"),
    Type("rbac.authorization.k8s.io/v1", "clusterrolebindings", "ClusterRoleBinding"),
    Type("rbac.authorization.k8s.io/v1", "roles", "Role", namespaced=True),
    Type("rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding", namespaced=True),
    Type("coordination.k8s.io/v1", "leases", "Lease", namespaced=True),
    Type("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", namespaced=True),
    Type("discovery.k8s.io/v1", "endpointslices", "EndpointSlice", namespaced=True),
    Type("events.k8s.io/v1", "events", "Event", namespaced=True),
    Type("apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition", status=True),
)


@dataclass(frozen=True)
class Change:
    """One event of the log: ``ADDED``, ``MODIFIED`` or ``DELETED``."""

    word: str
    type: tuple[str, str]
    object: Json
    revision: int


@dataclass
class Objects:
    """The state behind the API. ``keep`` is how many changes watches can still read."""

    keep: int = 10_000
    revision: int = 0
    oldest: int = 0  # watches can begin here and later
    types: dict[tuple[str, str], Type] = field(default_factory=lambda: {one.key: one for one in BUILT_IN})
    items: dict[tuple[str, str], dict[tuple[str, str], Json]] = field(default_factory=dict)
    changes: deque[Change] = field(default_factory=deque)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def of(self, type_: Type) -> dict[tuple[str, str], Json]:
        return self.items.setdefault(type_.key, {})

    def put(self, type_: Type, document: Json, *, word: str) -> Json:
        """Store an object under the next revision."""
        with self.changed:
            self.revision += 1
            document["metadata"]["resourceVersion"] = str(self.revision)
            self.of(type_)[self.key(type_, document)] = document
            self._note(Change(word, type_.key, document, self.revision))
        return document

    def drop(self, type_: Type, document: Json) -> Json:
        with self.changed:
            self.revision += 1
            del self.of(type_)[self.key(type_, document)]
            last = {**document, "metadata": {**document["metadata"], "resourceVersion": str(self.revision)}}
            self._note(Change("DELETED", type_.key, last, self.revision))
        return last

    def key(self, type_: Type, document: Json) -> tuple[str, str]:
        meta = document["metadata"]
        return (meta.get("namespace", "") if type_.namespaced else "", meta["name"])

    def compact(self, *, keep: int = 0) -> None:
        """Forget all but the newest changes: watches that need older ones get 410."""
        with self.changed:
            while len(self.changes) > keep:
                self.oldest = self.changes.popleft().revision

    def since(self, type_: Type, revision: int) -> list[Change]:
        found: deque[Change] = deque()
        for change in reversed(self.changes):
            if change.revision <= revision:
                break
            if change.type == type_.key:
                found.appendleft(change)
        return list(found)

    def _note(self, change: Change) -> None:
        self.changes.append(change)
        self.compact(keep=self.keep)
        self.changed.notify_all()
