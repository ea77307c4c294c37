"""Which pod of Kubernetes a sandbox is for. A name is not enough: a StatefulSet gives the next pod the last one's.

A kubelet names its pod by name and by UID. The sandbox of a pod that was deleted may still be under way when its
namesake is there already; what it asks for then would be taken from the other. Where the store is Kubernetes itself,
its Pods have the UIDs that kubelets know, and the two can be told apart; elsewhere they cannot.
"""

from __future__ import annotations

from cloudnet.cni.identity import Identity
from cloudnet.cni.site import Site
from cloudnet.cni.wire import CniError, Code, Environment
from cloudnet.model.kubernetes import Pod
from cloudnet.model.workloads import KUBERNETES


def pod_of(site: Site, identity: Identity, environment: Environment) -> Pod | None:
    """Return the pod that a sandbox is for; nothing where no pods are known, or the runtime named none.

    Raises:
        CniError: Kubernetes has no such pod, or another one of that name (code 11).
    """
    if identity.orchestrator != KUBERNETES:
        return None
    pod = site.cluster.pod(identity.namespace, identity.pod)
    if site.on_kubernetes:
        _check(pod, f"{identity.namespace}/{identity.pod}", environment.args.get("K8S_POD_UID", ""))
    return pod


def _check(pod: Pod | None, name: str, uid: str) -> None:
    if pod is None:
        raise CniError(
            Code.TRY_AGAIN,
            f"Kubernetes has no pod {name!r}: once it was deleted nothing is to be done, the kubelet removes this "
            f"sandbox; a static pod gets its network when the kubelet has made its mirror",
        )
    if uid and not pod.is_known_as(uid):
        raise CniError(
            Code.TRY_AGAIN,
            f"pod {name!r} was deleted and made anew, its UID is {pod.meta.uid!r} now and not {uid!r}: nothing is to "
            f"be done, the kubelet removes this sandbox",
        )
