"""Calico's spelling of what policies find by labels: network sets, profiles and host endpoints.

Sources: Calico ``api/pkg/apis/projectcalico/v3/{networkset,globalnetworkset,profile,hostendpoint}.go`` with their CEL
rules, and ``libcalico-go/lib/validator/v3/validator.go``. Everything wrong with a document is told at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from cloudnet.errors import BadInput
from cloudnet.model import calico_rules, names, wire
from cloudnet.model.addresses import Address, Network, NodeName
from cloudnet.model.calico import API_VERSION
from cloudnet.model.calico_policies import read_metadata
from cloudnet.model.calico_rules import RuleDocument, each, read_rules, write_rules
from cloudnet.model.policies import (
    GlobalNetworkSet,
    HostEndpoint,
    NamedPort,
    NetworkSet,
    Profile,
)
from cloudnet.model.problems import Problems

_NAMESPACE_LABEL = "projectcalico.org/namespace"
_NO_LIMIT = 1_000_000  # entries of lists for which Calico knows no limit; a document of more is an accident


# --- network sets -------------------------------------------------------------------------------------------


class _SetSpec(msgspec.Struct, omit_defaults=True):
    nets: list[str] | None = None


class NetworkSetDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """A NetworkSet as Calico writes it."""

    metadata: wire.Meta
    spec: _SetSpec = msgspec.field(default_factory=_SetSpec)
    api_version: Literal["projectcalico.org/v3"] | None = None
    kind: Literal["NetworkSet"] | None = None


class GlobalNetworkSetDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """A GlobalNetworkSet as Calico writes it."""

    metadata: wire.Meta
    spec: _SetSpec = msgspec.field(default_factory=_SetSpec)
    api_version: Literal["projectcalico.org/v3"] | None = None
    kind: Literal["GlobalNetworkSet"] | None = None


def read_network_set(document: NetworkSetDocument) -> NetworkSet:
    problems = Problems()
    meta = read_metadata(document.metadata, problems, namespaced=True)
    nets = _read_set(document.spec, meta.labels, problems)
    problems.raise_any()
    return NetworkSet(meta, nets)


def read_global_network_set(document: GlobalNetworkSetDocument) -> GlobalNetworkSet:
    problems = Problems()
    meta = read_metadata(document.metadata, problems)
    nets = _read_set(document.spec, meta.labels, problems)
    problems.raise_any()
    return GlobalNetworkSet(meta, nets)


def _read_set(spec: _SetSpec, labels: Mapping[str, str], problems: Problems) -> tuple[Network, ...]:
    """Return the prefixes. Here, unlike in rules, Calico takes host bits and lone addresses (``validate:"cidr"``)."""
    if _NAMESPACE_LABEL in labels:
        problems.add("metadata.labels", f"expected no {_NAMESPACE_LABEL!r}: that label follows from the namespace")
    return each(wire.loose_network, spec.nets, "spec.nets", problems, most=_NO_LIMIT)


def write_network_set(value: NetworkSet) -> NetworkSetDocument:
    return NetworkSetDocument(wire.meta(value.meta), _write_set(value.nets), API_VERSION, "NetworkSet")


def write_global_network_set(value: GlobalNetworkSet) -> GlobalNetworkSetDocument:
    return GlobalNetworkSetDocument(wire.meta(value.meta), _write_set(value.nets), API_VERSION, "GlobalNetworkSet")


def _write_set(nets: tuple[Network, ...]) -> _SetSpec:
    return _SetSpec([str(net) for net in nets] or None)


# --- Profile ------------------------------------------------------------------------------------------------


class _ProfileSpec(msgspec.Struct, rename="camel", omit_defaults=True):
    ingress: list[RuleDocument] | None = None
    egress: list[RuleDocument] | None = None
    labels_to_apply: dict[str, str] | None = None


class ProfileDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """A Profile as Calico writes it."""

    metadata: wire.Meta
    spec: _ProfileSpec = msgspec.field(default_factory=_ProfileSpec)
    api_version: Literal["projectcalico.org/v3"] | None = None
    kind: Literal["Profile"] | None = None


def read_profile(document: ProfileDocument) -> Profile:
    problems = Problems()
    meta = read_metadata(document.metadata, problems)
    labels = document.spec.labels_to_apply or {}
    names.check_labels(labels, "spec.labelsToApply", problems)
    ingress = read_rules(document.spec.ingress, "spec.ingress", problems)
    egress = read_rules(document.spec.egress, "spec.egress", problems)
    problems.raise_any()
    return Profile(meta, ingress, egress, labels)


def write_profile(profile: Profile) -> ProfileDocument:
    spec = _ProfileSpec(
        write_rules(profile.ingress), write_rules(profile.egress), dict(profile.labels_to_apply) or None
    )
    return ProfileDocument(wire.meta(profile.meta), spec, API_VERSION, "Profile")


# --- HostEndpoint -------------------------------------------------------------------------------------------


class _NamedPort(msgspec.Struct, omit_defaults=True):
    name: str
    protocol: int | str
    port: int


class _HostSpec(msgspec.Struct, rename="camel", omit_defaults=True):
    node: str | None = None
    interface_name: str | None = None
    expected_ips: list[str] | None = msgspec.field(name="expectedIPs", default=None)
    profiles: list[str] | None = None
    ports: list[_NamedPort] | None = None


class HostEndpointDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """A HostEndpoint as Calico writes it."""

    metadata: wire.Meta
    spec: _HostSpec = msgspec.field(default_factory=_HostSpec)
    api_version: Literal["projectcalico.org/v3"] | None = None
    kind: Literal["HostEndpoint"] | None = None


_HIGHEST_PORT = 65535


def read_host_endpoint(document: HostEndpointDocument) -> HostEndpoint:
    problems, spec = Problems(), document.spec
    meta = read_metadata(document.metadata, problems)
    node, interface = spec.node or "", spec.interface_name or ""
    if not node:
        problems.add("spec.node", wire.MISSING)
    elif not names.is_subdomain(node):
        problems.add("spec.node", wire.bad_name(node))
    if interface and interface != "*" and not names.INTERFACE.fullmatch(interface):
        problems.add("spec.interfaceName", f"expected the name of an interface or '*', found {wire.shown(interface)}")
    if not interface and not spec.expected_ips:
        problems.add("spec.interfaceName", "missing, and needed where spec.expectedIPs is empty")
    endpoint = HostEndpoint(
        meta=meta,
        node=NodeName(node),
        interface=interface,
        expected_addresses=each(_address, spec.expected_ips, "spec.expectedIPs", problems, most=_NO_LIMIT),
        profiles=each(_profile_name, spec.profiles, "spec.profiles", problems, most=_NO_LIMIT),
        ports=each(_named_port, spec.ports, "spec.ports", problems, most=_NO_LIMIT),
    )
    problems.raise_any()
    return endpoint


def _address(text: str, path: str) -> Address:
    return wire.address(text, path)


def _profile_name(text: str, path: str) -> str:
    if not names.is_subdomain(text):
        raise BadInput(wire.bad_name(text), path=path)
    return text


def _named_port(found: _NamedPort, path: str) -> NamedPort:
    problems = Problems()
    if not names.is_service_port(found.name):
        problems.add(f"{path}.name", f"expected a name such as 'http-admin', found {wire.shown(found.name)}")
    if not 1 <= found.port <= _HIGHEST_PORT:
        problems.add(f"{path}.port", f"expected an integer from 1 to {_HIGHEST_PORT}, found {found.port}")
    protocol = problems.read(calico_rules.read_protocol, found.protocol, f"{path}.protocol")
    if protocol and not protocol.has_ports:
        problems.add(f"{path}.protocol", f"expected TCP, UDP or SCTP, for {protocol} has no ports")
    problems.raise_any()
    assert protocol  # noqa: S101 - what could not be read has been raised
    return NamedPort(found.name, protocol, found.port)


def write_host_endpoint(endpoint: HostEndpoint) -> HostEndpointDocument:
    spec = _HostSpec(
        node=endpoint.node,
        interface_name=endpoint.interface or None,
        expected_ips=[str(address) for address in endpoint.expected_addresses] or None,
        profiles=list(endpoint.profiles) or None,
        ports=[_NamedPort(p.name, p.protocol.name or p.protocol.number, p.port) for p in endpoint.ports] or None,
    )
    return HostEndpointDocument(wire.meta(endpoint.meta), spec, API_VERSION, "HostEndpoint")
