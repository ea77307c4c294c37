"""Kubernetes' EndpointSlice, as far as policy needs it: which addresses and ports stand behind a service.

Source: Kubernetes ``api/discovery/v1/types.go``. Conditions are not read: Calico lets traffic to and from all
endpoints of a service pass, ready or not, so that a pod in its last seconds is not cut off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from cloudnet.errors import BadInput
from cloudnet.model import wire
from cloudnet.model.addresses import Address
from cloudnet.model.calico_policies import read_metadata
from cloudnet.model.calico_rules import each
from cloudnet.model.policies import NUMBERS, Protocol
from cloudnet.model.problems import Problems
from cloudnet.model.resources import Metadata

API_VERSION: Final = "discovery.k8s.io/v1"

SERVICE_LABEL: Final = "kubernetes.io/service-name"

_HIGHEST_PORT = 65535
_NO_LIMIT = 1_000_000  # Kubernetes limits slices to 1000 endpoints by a setting


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port that the endpoints of a slice listen on; without a number, every port."""

    protocol: Protocol
    port: int | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class EndpointSlice:
    """A part of a service's endpoints. A slice of domain names (``FQDN``) has no ``addresses``."""

    meta: Metadata
    address_type: str = "IPv4"
    addresses: tuple[Address, ...] = ()
    ports: tuple[ServicePort, ...] = ()

    @property
    def service(self) -> str:
        """The name of the service in the slice's namespace; empty for a slice of none."""
        return self.meta.labels.get(SERVICE_LABEL, "")


class _Endpoint(msgspec.Struct, omit_defaults=True):
    addresses: list[str] | None = None


class _Port(msgspec.Struct, omit_defaults=True):
    name: str | None = None
    protocol: str | None = None
    port: int | None = None


class EndpointSliceDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """An EndpointSlice as Kubernetes writes it."""

    metadata: wire.Meta
    address_type: str
    endpoints: list[_Endpoint] | None = None
    ports: list[_Port] | None = None
    api_version: Literal["discovery.k8s.io/v1"] | None = None
    kind: Literal["EndpointSlice"] | None = None


_TYPES = {"IPv4": 4, "IPv6": 6, "FQDN": 0}
_PROTOCOLS = {name: Protocol(NUMBERS[name], name) for name in ("TCP", "UDP", "SCTP")}


def read_slice(document: EndpointSliceDocument) -> EndpointSlice:
    problems = Problems()
    meta = read_metadata(document.metadata, problems, namespaced=True)
    version = _TYPES.get(document.address_type)
    if version is None:
        problems.add(
            "addressType", f"expected one of {wire.words(_TYPES)}, found {wire.shown(document.address_type)}"
        )
    addresses: list[Address] = []
    for i, endpoint in enumerate(document.endpoints or () if version else ()):
        path = f"endpoints[{i}].addresses"
        addresses += each(wire.address, endpoint.addresses, path, problems, most=_NO_LIMIT)
    ports = each(_read_port, document.ports, "ports", problems, most=_NO_LIMIT)
    problems.raise_any()
    return EndpointSlice(meta, document.address_type, tuple(addresses), ports)


def _read_port(port: _Port, path: str) -> ServicePort:
    protocol = wire.choice(port.protocol or "TCP", _PROTOCOLS, f"{path}.protocol")
    if port.port is not None and not 1 <= port.port <= _HIGHEST_PORT:
        raise BadInput(f"expected an integer from 1 to {_HIGHEST_PORT}, found {port.port}", path=f"{path}.port")
    return ServicePort(protocol, port.port, port.name or "")


def write_slice(value: EndpointSlice) -> EndpointSliceDocument:
    return EndpointSliceDocument(
        metadata=wire.meta(value.meta),
        address_type=value.address_type,
        endpoints=[_Endpoint([str(address)]) for address in value.addresses] or None,
        ports=[_Port(port.name or None, port.protocol.name, port.port) for port in value.ports] or None,
        api_version=API_VERSION,
        kind="EndpointSlice",
    )
