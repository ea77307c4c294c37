"""Workload endpoints: the pods of this cluster as policy and routing see them, and Calico's rules for their names.

A WorkloadEndpoint is one interface of one pod, with its addresses, labels and profiles. Its spelling on the wire
belongs to ``calico_workloads.py``. Rules follow Calico ``libcalico-go/lib/names/workloadendpoint.go`` and
``libcalico-go/lib/backend/k8s/conversion``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cloudnet.errors import BadInput
from cloudnet.model.addresses import Address, Network, NodeName
from cloudnet.model.resources import Metadata

KUBERNETES: Final = "k8s"
CNI: Final = "cni"
"""Orchestrators: pods that Kubernetes knows, and containers of which a runtime told us no more than an id."""

NAMESPACE_LABEL: Final = "projectcalico.org/namespace"
ORCHESTRATOR_LABEL: Final = "projectcalico.org/orchestrator"
SERVICE_ACCOUNT_LABEL: Final = "projectcalico.org/serviceaccount"

_LABEL_VALUE = 63  # Kubernetes' limit; Calico leaves a service account of that length unlabelled (conversion.go)
_NAME = 253  # Kubernetes' limit for the name of a resource
_SEGMENTS = 4
_SEGMENT = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_DIGEST = 20  # hex digits that stand for a segment which no name may hold


@dataclass(frozen=True, slots=True)
class EndpointPort:
    """A port that a pod names or that the host forwards. ``protocol`` is ``TCP``, ``UDP``, ``SCTP`` or a number."""

    name: str
    protocol: str
    port: int
    host_port: int = 0
    host_address: Address | None = None


@dataclass(frozen=True, slots=True)
class FloatingAddress:
    """An address outside (``external``) that is translated to one of the endpoint's own. Calico ``IPNAT``."""

    internal: Address
    external: Address


@dataclass(frozen=True, slots=True)
class WorkloadEndpoint:
    """One interface of one pod. Calico ``WorkloadEndpoint`` (``internalapi/workloadendpoint.go``).

    ``networks`` are the pod's addresses, /32 and /128 each. ``interface`` is the host's end of the pod's link,
    ``endpoint`` the pod's, ``mac`` the pod's. ``workload`` is set for orchestrators other than Kubernetes.
    """

    meta: Metadata
    node: NodeName
    orchestrator: str
    endpoint: str
    container_id: str = ""
    pod: str = ""
    workload: str = ""
    service_account: str = ""
    networks: tuple[Network, ...] = ()
    floating: tuple[FloatingAddress, ...] = ()
    ipv4_gateway: Address | None = None
    ipv6_gateway: Address | None = None
    profiles: tuple[str, ...] = ()
    interface: str = ""
    mac: str = ""
    ports: tuple[EndpointPort, ...] = ()
    allowed_sources: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class EndpointId:
    """What an endpoint's name says: ``workload`` is the pod of Kubernetes, or the container of a bare runtime."""

    node: str
    orchestrator: str
    workload: str
    endpoint: str


def endpoint_name(of: EndpointId) -> str:
    """Return the name of a workload endpoint: ``node1-k8s-my--pod-eth0``.

    A ``-`` inside a segment is doubled, and segments are joined with one. What no resource may be called (capitals or
    ``_`` in a container's id, or more than 253 letters in all) Calico refuses; here a digest stands in its place,
    while the resource itself still says the whole.
    """
    segments = [_segment(part) for part in (of.node, of.orchestrator, of.workload, of.endpoint)]
    name = _join(segments)
    if len(name) > _NAME:
        name = _join([segments[0], segments[1], _digest(of.workload), segments[3]])
    if len(name) > _NAME:
        name = _join([_digest(of.node), segments[1], _digest(of.workload), segments[3]])
    return name


def endpoint_id(name: str) -> EndpointId:
    """Return what the name of a workload endpoint says; the inverse of ``endpoint_name``.

    Raises:
        BadInput: no workload endpoint is called so.
    """
    segments = [part.replace("\0", "-") for part in name.replace("--", "\0").split("-")]
    if len(segments) != _SEGMENTS or not all(_SEGMENT.fullmatch(part) for part in segments):
        raise BadInput(
            f"expected node, orchestrator, workload and endpoint, joined with '-', found {name!r}",
            path="metadata.name",
        )
    return EndpointId(*segments)


def endpoint_labels(
    labels: Mapping[str, str], *, namespace: str, orchestrator: str, service_account: str = ""
) -> Mapping[str, str]:
    """Return a pod's labels with those by which policy finds its namespace, orchestrator and service account.

    Labels that stand for a namespace's or service account's own (``pcns.``, ``pcsa.``) nobody may give himself.
    """
    kept = {key: value for key, value in labels.items() if not key.startswith(("pcns.", "pcsa."))}
    kept[NAMESPACE_LABEL] = namespace
    kept[ORCHESTRATOR_LABEL] = orchestrator
    kept.pop(SERVICE_ACCOUNT_LABEL, None)
    if service_account and len(service_account) < _LABEL_VALUE:
        kept[SERVICE_ACCOUNT_LABEL] = service_account
    return kept


def kubernetes_profiles(namespace: str, service_account: str = "") -> tuple[str, ...]:
    """Return the profiles of a pod of Kubernetes: its namespace's, and its service account's."""
    of_namespace = f"kns.{namespace}"
    return (of_namespace, f"ksa.{namespace}.{service_account}") if service_account else (of_namespace,)


def _join(segments: list[str]) -> str:
    return "-".join(segment.replace("-", "--") for segment in segments)


def _segment(text: str) -> str:
    return text if _SEGMENT.fullmatch(text) else _digest(text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST]
