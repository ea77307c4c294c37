"""The few of Kubernetes' own kinds that pods' networking needs: core/v1 Namespace, ServiceAccount and Pod.

Values and spelling stand together, for each has only the fields that we read: labels, annotations, and of a pod
where and as whom it runs. Source: Kubernetes ``staging/src/k8s.io/api/core/v1/types.go``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from cloudnet.model import wire
from cloudnet.model.addresses import Address, NodeName
from cloudnet.model.calico_workloads import read_protocol
from cloudnet.model.resources import Metadata
from cloudnet.model.workloads import EndpointPort

API_VERSION: Final = "v1"

_MIRROR = "kubernetes.io/config.mirror"  # annotation of a static pod's mirror: the hash that its kubelet calls it by


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace; its labels are what policies select it by."""

    meta: Metadata


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A service account; its labels are what policies select its pods by."""

    meta: Metadata


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod: where and as whom it runs, and how far it has come.

    ``ports`` are those that a container (or an init container) names or wants forwarded from the host;
    ``addresses`` are what the cluster was told, empty until then.
    """

    meta: Metadata
    node: NodeName | None = None
    service_account: str = ""
    host_network: bool = False
    ports: tuple[EndpointPort, ...] = ()
    phase: str = ""
    addresses: tuple[Address, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether all its containers have ended for good, so that its addresses may be somebody else's."""
        return self.phase in {"Succeeded", "Failed"}

    def is_known_as(self, uid: str) -> bool:
        """Whether a kubelet means this pod: by its uid, or as the static pod that it mirrors.

        A static pod's own uid is a hash of its file (Kubernetes ``pkg/kubelet/types/pod_update.go``).
        """
        return uid in {self.meta.uid, self.meta.annotations.get(_MIRROR)}


# --- the spelling -------------------------------------------------------------------------------------------


class NamespaceDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """A Namespace on the wire."""

    metadata: wire.Meta
    api_version: Literal["v1"] | None = None
    kind: Literal["Namespace"] | None = None


def read_namespace(document: NamespaceDocument) -> Namespace:
    return Namespace(wire.metadata(document.metadata))


def write_namespace(namespace: Namespace) -> NamespaceDocument:
    return NamespaceDocument(wire.meta(namespace.meta), API_VERSION, "Namespace")


class ServiceAccountDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """A ServiceAccount on the wire."""

    metadata: wire.Meta
    api_version: Literal["v1"] | None = None
    kind: Literal["ServiceAccount"] | None = None


def read_service_account(document: ServiceAccountDocument) -> ServiceAccount:
    return ServiceAccount(wire.metadata(document.metadata))


def write_service_account(account: ServiceAccount) -> ServiceAccountDocument:
    return ServiceAccountDocument(wire.meta(account.meta), API_VERSION, "ServiceAccount")


class _ContainerPort(msgspec.Struct, rename="camel", omit_defaults=True, gc=False):
    container_port: int
    name: str = ""
    protocol: str = ""
    host_port: int = 0
    host_ip: str = msgspec.field(name="hostIP", default="")


class _Container(msgspec.Struct, omit_defaults=True):
    name: str = ""
    ports: list[_ContainerPort] | None = None


class _PodSpec(msgspec.Struct, rename="camel", omit_defaults=True):
    node_name: str = ""
    service_account_name: str = ""
    host_network: bool = False
    containers: list[_Container] | None = None
    init_containers: list[_Container] | None = None


class _PodIP(msgspec.Struct, omit_defaults=True, gc=False):
    ip: str = ""


class _PodStatus(msgspec.Struct, rename="camel", omit_defaults=True):
    phase: str = ""
    pod_ip: str = msgspec.field(name="podIP", default="")
    pod_ips: list[_PodIP] | None = msgspec.field(name="podIPs", default=None)


class PodDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """A Pod on the wire."""

    metadata: wire.Meta
    spec: _PodSpec = msgspec.field(default_factory=_PodSpec)
    status: _PodStatus = msgspec.field(default_factory=_PodStatus)
    api_version: Literal["v1"] | None = None
    kind: Literal["Pod"] | None = None


_PORTS_OF = "ports"  # the one container that our own spelling has; real pods have their own names


def read_pod(document: PodDocument) -> Pod:
    spec, status = document.spec, document.status
    found = [entry.ip for entry in status.pod_ips or ()] or ([status.pod_ip] if status.pod_ip else [])
    return Pod(
        meta=wire.metadata(document.metadata),
        node=NodeName(spec.node_name) if spec.node_name else None,
        service_account=spec.service_account_name,
        host_network=spec.host_network,
        ports=(
            *_ports(spec.containers or [], "spec.containers"),
            *_ports(spec.init_containers or [], "spec.initContainers"),
        ),
        phase=status.phase,
        addresses=tuple(wire.address(text, f"status.podIPs[{i}].ip") for i, text in enumerate(found)),
    )


def _ports(containers: list[_Container], path: str) -> list[EndpointPort]:
    """Return the ports that policy or a host's forwarding can mean: with a name, or of the host."""
    return [
        EndpointPort(
            port.name,
            read_protocol(port.protocol or "TCP", f"{path}[{i}].ports[{j}].protocol"),
            port.container_port,
            port.host_port,
            wire.address(port.host_ip, f"{path}[{i}].ports[{j}].hostIP") if port.host_ip else None,
        )
        for i, container in enumerate(containers)
        for j, port in enumerate(container.ports or ())
        if port.name or port.host_port
    ]


def write_pod(pod: Pod) -> PodDocument:
    ports = [
        _ContainerPort(port.port, port.name, port.protocol, port.host_port, str(port.host_address or ""))
        for port in pod.ports
    ]
    addresses = [str(address) for address in pod.addresses]
    return PodDocument(
        metadata=wire.meta(pod.meta),
        spec=_PodSpec(
            pod.node or "", pod.service_account, pod.host_network, [_Container(_PORTS_OF, ports)] if ports else None
        ),
        status=_PodStatus(pod.phase, addresses[0] if addresses else "", [_PodIP(a) for a in addresses] or None),
        api_version=API_VERSION,
        kind="Pod",
    )
