"""Events as Kubernetes keeps them: ``events.k8s.io/v1``, written and counted up.

Facts (``pkg/apis/core/validation/events.go``): an event about an object without namespace lies in ``default``; a note
has at most 1024 bytes; a series counts from two; nothing but the series may change later.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from cloudnet.model.cluster_events import ClusterEvent, Subject
from cloudnet.model.wire import Json
from cloudnet.store import kubernetes_errors
from cloudnet.store.api import NotFound
from cloudnet.store.event_series import Series
from cloudnet.store.kubernetes_client import Client, Request
from cloudnet.store.kubernetes_errors import Refused

_VERSION: Final = "events.k8s.io/v1"
_WHAT: Final = "events.events.k8s.io"
_OF_CLUSTER: Final = "default"
_LONGEST_NOTE: Final = 1024  # bytes
_LONGEST_INSTANCE: Final = 128  # characters
_VERSIONS: Final = {"Node": "v1", "Pod": "v1"}


class KubernetesEvents:
    """Writes events of one cluster; ``now`` is the time of day with microseconds, as Kubernetes spells it."""

    def __init__(self, client: Client, *, now: Callable[[], str]) -> None:
        self._client, self._now = client, now

    def write(self, series: Series, *, instance: str) -> None:
        """Write an event when it is the first of its series, else count it up; ``instance`` is who we are.

        Raises:
            NotFound: there is nothing to count up any more.
            StoreError: Kubernetes does not take it.
        """
        namespace = series.event.about.namespace or _OF_CLUSTER
        path = f"/apis/{_VERSION}/namespaces/{namespace}/events"
        if series.count == 1:
            body = document(series.event, series.name, instance=instance, now=self._now())
            self._send(Request("create", _WHAT, path, body=json.dumps(body).encode()))
            return
        patch = {"series": {"count": series.count, "lastObservedTime": self._now()}}
        self._send(Request("patch", _WHAT, f"{path}/{series.name}", body=json.dumps(patch).encode()))

    def _send(self, request: Request) -> None:
        try:
            self._client.call(request)
        except Refused as refused:
            if refused.code == kubernetes_errors.NOT_FOUND:
                raise NotFound(refused.status.message) from refused
            raise kubernetes_errors.explain(refused, request.verb, request.what) from refused


def document(event: ClusterEvent, name: str, *, instance: str, now: str) -> Json:
    """Return a new event."""
    reason = event.reason
    return {
        "apiVersion": _VERSION,
        "kind": "Event",
        "metadata": {"name": name, "namespace": event.about.namespace or _OF_CLUSTER},
        "eventTime": now,
        "reportingController": reason.reporter.value,
        "reportingInstance": instance[:_LONGEST_INSTANCE],
        "action": reason.action,
        "reason": reason.name,
        "type": reason.severity.value,
        "note": shortened(event.note),
        "regarding": _reference(event.about),
    }


def _reference(about: Subject) -> Json:
    found: Json = {"apiVersion": _VERSIONS.get(about.kind, "v1"), "kind": about.kind, "name": about.name}
    if about.namespace:
        found["namespace"] = about.namespace
    if about.uid:
        found["uid"] = about.uid
    return found


def shortened(note: str) -> str:
    """Return a note that Kubernetes takes: at most 1024 bytes, cut between two characters."""
    data = note.encode()
    if len(data) <= _LONGEST_NOTE:
        return note
    return data[: _LONGEST_NOTE - 3].decode(errors="ignore") + "…"
