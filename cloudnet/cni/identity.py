"""Who a request is about, and what its endpoint, its link and its addresses are called. Pure.

Rules follow Calico ``cni-plugin/internal/pkg/utils/utils.go`` and ``libcalico-go/lib/backend/k8s/conversion``.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from cloudnet.cni.wire import Environment
from cloudnet.kernel.pods import Owner
from cloudnet.model.workloads import CNI, KUBERNETES, EndpointId, endpoint_name

_FIRST = "eth0"  # the interface that every pod has; only further ones need names that say which
_DIGITS = 11  # of a hash, or of a container's id, behind the prefix
_RANDOM = re.compile(r"[0-9a-f]{12,}")  # an id of which eleven letters tell it from all others of a host
_DEFAULT_NAMESPACE = "default"


@dataclass(frozen=True, slots=True)
class Identity:
    """One interface of one container. ``name`` is its endpoint's, ``link`` its host end's.

    ``handle`` holds its addresses.
    """

    orchestrator: str
    namespace: str
    pod: str
    owner: Owner
    name: str
    link: str
    handle: str


def identify(environment: Environment, network: str, *, node: str, prefix: str) -> Identity:
    """Return who a request is about: a pod of Kubernetes when the runtime names one, else a container."""
    pod = environment.args.get("K8S_POD_NAME", "")
    namespace = environment.args.get("K8S_POD_NAMESPACE", "")
    known = bool(pod and namespace)
    orchestrator = KUBERNETES if known else CNI
    owner = Owner(network, environment.container, environment.interface)
    workload = pod if known else environment.container
    return Identity(
        orchestrator=orchestrator,
        namespace=namespace if known else _DEFAULT_NAMESPACE,
        pod=pod if known else "",
        owner=owner,
        name=endpoint_name(EndpointId(node, orchestrator, workload, environment.interface)),
        link=prefix + (_hash(f"{namespace}.{pod}", owner) if known else _of_container(owner)),
        handle=handle(owner),
    )


def handle(owner: Owner) -> str:
    """Return the handle of a container's addresses; Calico's form for the first interface, so that both know it."""
    first = f"{owner.network}.{owner.container}"
    return first if owner.interface == _FIRST else f"{first}.{owner.interface}"


def _hash(text: str, owner: Owner) -> str:
    whole = text if owner.interface == _FIRST else f"{text}.{owner.interface}"
    return hashlib.sha1(whole.encode(), usedforsecurity=False).hexdigest()[:_DIGITS]


def _of_container(owner: Owner) -> str:
    """Calico takes the id's first letters; ids that begin alike, such as ``cnitool-...``, would share a device."""
    if _RANDOM.fullmatch(owner.container) and owner.interface == _FIRST:
        return owner.container[:_DIGITS]
    return _hash(owner.container, owner)
