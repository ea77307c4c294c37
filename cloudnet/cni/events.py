"""What is told at a pod that got no network. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from cloudnet.cni import wire
from cloudnet.cni.wire import CniError, Command
from cloudnet.model import cluster_events as events
from cloudnet.model.cluster_events import ClusterEvent, Subject


def of_failure(command: str, variables: Mapping[str, str], problem: CniError) -> ClusterEvent | None:
    """Return what to tell of a request that failed: nothing, unless a pod of Kubernetes was to be added."""
    if command != Command.ADD.value:
        return None
    try:
        known = wire.arguments(variables.get("CNI_ARGS", ""))
    except CniError:
        return None  # the answer says so; whose pod it is nobody knows
    name, namespace = known.get("K8S_POD_NAME", ""), known.get("K8S_POD_NAMESPACE", "")
    if not (name and namespace):
        return None
    about = Subject("Pod", name, namespace, known.get("K8S_POD_UID", ""))
    note = f"no network for the pod, the kubelet tries again: {problem} (CNI code {int(problem.code)})"
    return ClusterEvent(events.POD_NETWORK_FAILED, about, note)
