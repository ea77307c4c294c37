"""Calico's spelling of WorkloadEndpoint, as it stands in etcd and in ``calicoctl get -o yaml``.

Source: Calico ``libcalico-go/lib/apis/internalapi/workloadendpoint.go``. ``qosControls`` is not listed here;
``kinds.Kind.encode(..., onto=...)`` keeps it when we write a document back.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from cloudnet.errors import BadInput
from cloudnet.model import wire
from cloudnet.model.addresses import Address, Network, NodeName
from cloudnet.model.calico import API_VERSION
from cloudnet.model.workloads import EndpointPort, FloatingAddress, WorkloadEndpoint

_PORTS = 65535
_PROTOCOLS = 255
_KNOWN = {name.lower(): name for name in ("TCP", "UDP", "ICMP", "ICMPv6", "SCTP", "UDPLite")}  # numorstring.Protocol


class _Port(msgspec.Struct, omit_defaults=True, gc=False):
    name: str = ""
    protocol: int | str = ""
    port: int = 0
    host_port: int = msgspec.field(name="hostPort", default=0)
    host_ip: str = msgspec.field(name="hostIP", default="")


class _Nat(msgspec.Struct, gc=False):
    internal: str = msgspec.field(name="internalIP")
    external: str = msgspec.field(name="externalIP")


class _Spec(msgspec.Struct, rename="camel", omit_defaults=True):
    orchestrator: str = ""
    workload: str = ""
    node: str = ""
    container_id: str = msgspec.field(name="containerID", default="")
    pod: str = ""
    endpoint: str = ""
    service_account_name: str = ""
    ip_networks: list[str] | None = msgspec.field(name="ipNetworks", default=None)
    ip_nats: list[_Nat] | None = msgspec.field(name="ipNATs", default=None)
    ipv4_gateway: str = ""
    ipv6_gateway: str = ""
    profiles: list[str] | None = None
    interface_name: str = ""
    mac: str = ""
    ports: list[_Port] | None = None
    allowed_sources: list[str] | None = msgspec.field(name="allowSpoofedSourcePrefixes", default=None)


class WorkloadEndpointDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """A WorkloadEndpoint as Calico writes it."""

    metadata: wire.Meta
    spec: _Spec
    api_version: Literal["projectcalico.org/v3"] | None = None
    kind: Literal["WorkloadEndpoint"] | None = None


def read_endpoint(document: WorkloadEndpointDocument) -> WorkloadEndpoint:
    spec = document.spec
    return WorkloadEndpoint(
        meta=wire.metadata(document.metadata),
        node=NodeName(spec.node),
        orchestrator=spec.orchestrator,
        endpoint=spec.endpoint,
        container_id=spec.container_id,
        pod=spec.pod,
        workload=spec.workload,
        service_account=spec.service_account_name,
        networks=tuple(_host(text, f"spec.ipNetworks[{i}]") for i, text in enumerate(spec.ip_networks or ())),
        floating=tuple(_floating(nat, f"spec.ipNATs[{i}]") for i, nat in enumerate(spec.ip_nats or ())),
        ipv4_gateway=_maybe(spec.ipv4_gateway, "spec.ipv4Gateway"),
        ipv6_gateway=_maybe(spec.ipv6_gateway, "spec.ipv6Gateway"),
        profiles=tuple(spec.profiles or ()),
        interface=spec.interface_name,
        mac=spec.mac,
        ports=tuple(_port(port, f"spec.ports[{i}]") for i, port in enumerate(spec.ports or ())),
        allowed_sources=tuple(
            wire.network(text, f"spec.allowSpoofedSourcePrefixes[{i}]")
            for i, text in enumerate(spec.allowed_sources or ())
        ),
    )


def _host(text: str, path: str) -> Network:
    found = wire.network(text, path)
    if found.num_addresses != 1:
        raise BadInput(
            f"expected one address, {found.network_address}/{found.max_prefixlen}, found {text!r}", path=path
        )
    return found


def _floating(nat: _Nat, path: str) -> FloatingAddress:
    return FloatingAddress(
        wire.address(nat.internal, f"{path}.internalIP"), wire.address(nat.external, f"{path}.externalIP")
    )


def _maybe(text: str, path: str) -> Address | None:
    return wire.address(text, path) if text else None


def _port(port: _Port, path: str) -> EndpointPort:
    for field, number in (("port", port.port), ("hostPort", port.host_port)):
        if not 0 <= number <= _PORTS:
            raise BadInput(f"expected an integer from 0 to {_PORTS}, found {number}", path=f"{path}.{field}")
    protocol = read_protocol(port.protocol, f"{path}.protocol")
    return EndpointPort(port.name, protocol, port.port, port.host_port, _maybe(port.host_ip, f"{path}.hostIP"))


def read_protocol(found: int | str, path: str) -> str:
    """Return a protocol as Calico spells it, whatever its case: ``TCP``, or a number as text."""
    text = str(found)
    if text.isascii() and text.isdigit() and int(text) <= _PROTOCOLS:
        return str(int(text))
    known = _KNOWN.get(text.lower())
    if known is None:
        raise BadInput(
            f"expected one of {wire.words(_KNOWN.values())} or a number up to {_PROTOCOLS}, found {text!r}", path=path
        )
    return known


def write_endpoint(endpoint: WorkloadEndpoint) -> WorkloadEndpointDocument:
    return WorkloadEndpointDocument(
        metadata=wire.meta(endpoint.meta),
        spec=_Spec(
            orchestrator=endpoint.orchestrator,
            workload=endpoint.workload,
            node=endpoint.node,
            container_id=endpoint.container_id,
            pod=endpoint.pod,
            endpoint=endpoint.endpoint,
            service_account_name=endpoint.service_account,
            ip_networks=[str(network) for network in endpoint.networks] or None,
            ip_nats=[_Nat(str(nat.internal), str(nat.external)) for nat in endpoint.floating] or None,
            ipv4_gateway=str(endpoint.ipv4_gateway or ""),
            ipv6_gateway=str(endpoint.ipv6_gateway or ""),
            profiles=list(endpoint.profiles) or None,
            interface_name=endpoint.interface,
            mac=endpoint.mac,
            ports=[_spelt_port(port) for port in endpoint.ports] or None,
            allowed_sources=[str(network) for network in endpoint.allowed_sources] or None,
        ),
        api_version=API_VERSION,
        kind="WorkloadEndpoint",
    )


def _spelt_port(port: EndpointPort) -> _Port:
    protocol = int(port.protocol) if port.protocol.isdigit() else port.protocol
    return _Port(port.name, protocol, port.port, port.host_port, str(port.host_address or ""))
