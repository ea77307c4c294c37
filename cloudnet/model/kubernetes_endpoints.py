"""Calico's WorkloadEndpoint and Profile as Kubernetes holds them: of Pods, Namespaces and ServiceAccounts. Pure.

A pod's endpoint follows from the pod and the annotations that the CNI plugin leaves on it. What Calico's annotations
have no room for (the pod's MAC, a link that is not named Calico's way) stands in one of ours. Sources: Calico
``libcalico-go/lib/backend/k8s/conversion/{conversion,workload_endpoint_default}.go``.
"""

from __future__ import annotations

import hashlib
from ipaddress import ip_network
from typing import Final

import msgspec

from cloudnet.errors import BadInput
from cloudnet.model import calico_workloads, wire
from cloudnet.model.calico_workloads import WorkloadEndpointDocument
from cloudnet.model.resources import Metadata
from cloudnet.model.wire import Json
from cloudnet.model.workloads import (
    KUBERNETES,
    EndpointId,
    WorkloadEndpoint,
    endpoint_labels,
    endpoint_name,
    kubernetes_profiles,
)

POD_IP: Final = "cni.projectcalico.org/podIP"
POD_IPS: Final = "cni.projectcalico.org/podIPs"
CONTAINER: Final = "cni.projectcalico.org/containerID"
AWS_POD_IPS: Final = "vpc.amazonaws.com/pod-ips"
OURS: Final = "cloudnet.io/endpoint"
"""Annotation of a pod: the part of its endpoint that nothing else says, as JSON."""

_ENDPOINT: Final = "eth0"
_ENDED: Final = frozenset({"Failed", "Succeeded", "Completed"})
_LINK_DIGITS: Final = 11


# --- what we read of a pod ----------------------------------------------------------------------------------


class _Port(msgspec.Struct, rename="camel", gc=False):
    container_port: int
    name: str = ""
    protocol: str = "TCP"
    host_port: int = 0
    host_ip: str = msgspec.field(name="hostIP", default="")


class _Container(msgspec.Struct):
    ports: list[_Port] | None = None


class _Spec(msgspec.Struct, rename="camel"):
    node_name: str = ""
    service_account_name: str = ""
    host_network: bool = False
    containers: list[_Container] = []
    init_containers: list[_Container] | None = None


class _Ip(msgspec.Struct, gc=False):
    ip: str = ""


class _Status(msgspec.Struct):
    phase: str = ""
    pod_ip: str = msgspec.field(name="podIP", default="")
    pod_ips: list[_Ip] | None = msgspec.field(name="podIPs", default=None)


class _PodMeta(msgspec.Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    deletion_timestamp: str = ""


class PodView(msgspec.Struct):
    """What of a Pod its endpoint follows from."""

    metadata: _PodMeta
    spec: _Spec
    status: _Status = msgspec.field(default_factory=_Status)


_pod = msgspec.json.Decoder(PodView)


class _Own(msgspec.Struct, omit_defaults=True):
    """The annotation ``OURS``; ``spec`` is part of Calico's document."""

    spec: Json = {}
    annotations: dict[str, str] = {}


_own = msgspec.json.Decoder(_Own)


def view(raw: bytes) -> PodView:
    """Return what we read of a pod.

    Raises:
        BadInput: it is none.
    """
    return wire.parse(_pod, raw)


def read_endpoint(pod: PodView) -> WorkloadEndpoint | None:
    """Return the endpoint of a pod; nothing while it has none: on the host's network, unscheduled, without address.

    Raises:
        BadInput: an address or one of our annotations makes no sense.
    """
    if pod.spec.host_network or not pod.spec.node_name:
        return None
    addresses = _addresses(pod)
    return _endpoint(pod, addresses) if addresses else None


def gone(pod: PodView) -> WorkloadEndpoint | None:
    """Return what a watch says of a pod that has no endpoint any more: its name, and no addresses."""
    if pod.spec.host_network or not pod.spec.node_name:
        return None
    return _endpoint(pod, [])


def _addresses(pod: PodView) -> list[str]:
    """Return the pod's addresses, the newest account of them.

    Calico asks the status first. The plugin's annotation is there seconds before the kubelet's status is, and when a
    pod gets another sandbox the status names the old address for as long; so it comes first here. An empty one says
    that the plugin has taken the address back.
    """
    annotations = pod.metadata.annotations or {}
    taken_back = annotations.get(POD_IP) == "" or (
        pod.metadata.deletion_timestamp and annotations.get(AWS_POD_IPS) == ""
    )
    if pod.status.phase in _ENDED or taken_back:
        return []
    for key in (POD_IPS, POD_IP):
        if text := annotations.get(key):
            return text.split(",")
    if pod.status.pod_ips:
        return [one.ip for one in pod.status.pod_ips if one.ip]
    if pod.status.pod_ip:
        return [pod.status.pod_ip]
    return [one for one in annotations.get(AWS_POD_IPS, "").split(",") if one]


def _endpoint(pod: PodView, addresses: list[str]) -> WorkloadEndpoint:
    meta, spec = pod.metadata, pod.spec
    own = _read_own(meta)
    endpoint = own.spec.get("endpoint", _ENDPOINT)
    name = endpoint_name(EndpointId(spec.node_name, KUBERNETES, meta.name, endpoint))
    document: Json = {
        "orchestrator": KUBERNETES,
        "node": spec.node_name,
        "pod": meta.name,
        "endpoint": endpoint,
        "containerID": (meta.annotations or {}).get(CONTAINER, ""),
        "serviceAccountName": spec.service_account_name,
        "ipNetworks": [one if "/" in one else _host(one) for one in addresses],
        "profiles": kubernetes_profiles(meta.namespace, spec.service_account_name),
        "interfaceName": link_name(meta.namespace, meta.name),
        "ports": _ports(spec),
        **own.spec,
    }
    labels = endpoint_labels(
        meta.labels or {},
        namespace=meta.namespace,
        orchestrator=KUBERNETES,
        service_account=spec.service_account_name,
    )
    written = wire.Meta(name, meta.namespace, meta.uid, dict(labels), own.annotations or None)
    try:
        return calico_workloads.read_endpoint(
            msgspec.convert({"metadata": msgspec.to_builtins(written), "spec": document}, WorkloadEndpointDocument)
        )
    except msgspec.ValidationError as error:
        raise BadInput(f"makes no sense: {error}", path=f"metadata.annotations[{OURS}]") from error


def _host(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError:
        raise BadInput(f"expected an address, found {text!r}", path="status.podIPs") from None


def link_name(namespace: str, pod: str) -> str:
    """Return what Calico calls the host's end of a pod's link (``VethNameForWorkload``)."""
    return "cali" + hashlib.sha1(f"{namespace}.{pod}".encode(), usedforsecurity=False).hexdigest()[:_LINK_DIGITS]


def _ports(spec: _Spec) -> list[Json]:
    return [
        {
            "name": port.name,
            "protocol": port.protocol,
            "port": port.container_port,
            "hostPort": port.host_port,
            "hostIP": port.host_ip,
        }
        for container in (*spec.containers, *(spec.init_containers or ()))
        for port in container.ports or ()
        if port.name or port.host_port
    ]


def _read_own(meta: _PodMeta) -> _Own:
    text = (meta.annotations or {}).get(OURS)
    if not text:
        return _Own()
    try:
        return _own.decode(text)
    except msgspec.MsgspecError as error:
        raise BadInput(f"makes no sense: {error}", path=f"metadata.annotations[{OURS}]") from error


# --- what we write to a pod ---------------------------------------------------------------------------------

_KEPT: Final = (
    "endpoint",
    "interfaceName",
    "mac",
    "ipNATs",
    "ipv4Gateway",
    "ipv6Gateway",
    "allowSpoofedSourcePrefixes",
    "profiles",
)


def written(endpoint: WorkloadEndpoint, pod: PodView) -> dict[str, str | None]:
    """Return the annotations by which a pod says that this is its endpoint; ``None`` removes one.

    Raises:
        BadInput: it is not the endpoint of this pod, or has no address.
    """
    if endpoint.pod != pod.metadata.name or endpoint.node != pod.spec.node_name:
        raise BadInput(
            f"expected the endpoint of pod {pod.metadata.name!r} on node {pod.spec.node_name!r}, "
            f"found one of {endpoint.pod!r} on {endpoint.node!r}",
            path="spec.pod",
        )
    if not endpoint.networks:
        raise BadInput("expected an address, for a pod's endpoint in Kubernetes has one", path="spec.ipNetworks")
    addresses = [str(network) for network in endpoint.networks]
    plain = msgspec.convert(msgspec.to_builtins(pod), PodView)
    plain.metadata.annotations = {POD_IPS: ",".join(addresses)}
    unsaid = _fields(_endpoint(plain, addresses))
    own = _Own(
        {key: value for key, value in _fields(endpoint).items() if unsaid.get(key) != value},
        dict(endpoint.meta.annotations),
    )
    return {
        POD_IP: addresses[0],
        POD_IPS: ",".join(addresses),
        CONTAINER: endpoint.container_id or None,
        OURS: msgspec.json.encode(own).decode() if own.spec or own.annotations else None,
    }


def _fields(endpoint: WorkloadEndpoint) -> Json:
    spec: Json = msgspec.to_builtins(calico_workloads.write_endpoint(endpoint))["spec"]
    return {key: spec[key] for key in _KEPT if key in spec}


TAKEN_BACK: Final[dict[str, str | None]] = {POD_IP: "", POD_IPS: "", OURS: None}
"""The annotations of a pod whose endpoint is gone; its container's id stays, as Calico leaves it."""


# --- profiles -----------------------------------------------------------------------------------------------

_OF_NAMESPACE: Final = "kns."
_OF_ACCOUNT: Final = "ksa."
_ALLOW: Final = ({"action": "Allow"},)


def namespace_profile(meta: Metadata) -> Json:
    """Return the document of a namespace's profile: it allows everything, and carries the namespace's labels."""
    labels = {f"pcns.{key}": value for key, value in meta.labels.items()}
    labels["pcns.projectcalico.org/name"] = meta.name
    return {
        "metadata": {"name": _OF_NAMESPACE + meta.name, "uid": meta.uid},
        "spec": {"ingress": _ALLOW, "egress": _ALLOW, "labelsToApply": labels},
    }


def account_profile(meta: Metadata) -> Json:
    """Return the document of a service account's profile: no rules, and the account's labels."""
    labels = {f"pcsa.{key}": value for key, value in meta.labels.items()}
    labels["pcsa.projectcalico.org/name"] = meta.name
    return {
        "metadata": {"name": f"{_OF_ACCOUNT}{meta.namespace}.{meta.name}", "uid": meta.uid},
        "spec": {"labelsToApply": labels},
    }


def profile_of(name: str) -> tuple[str, str] | None:
    """Return namespace and service account that a profile is of, the latter empty for the namespace's own."""
    if name.startswith(_OF_NAMESPACE):
        return name.removeprefix(_OF_NAMESPACE), ""
    namespace, dot, account = name.removeprefix(_OF_ACCOUNT).partition(".")
    return (namespace, account) if name.startswith(_OF_ACCOUNT) and dot else None
