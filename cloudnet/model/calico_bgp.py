"""Calico's kinds for BGP: BGPConfiguration and BGPPeer; what Calico refuses of them is refused.

The values are the documents' ``spec`` as they stand; ``cloudnet.bgp`` says what they mean. Sources: Calico
``api/pkg/apis/projectcalico/v3/{bgpconfig,bgppeer}.go`` and the CEL rules in their markers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final, Literal

import msgspec

from cloudnet.errors import BadInput
from cloudnet.model import as_numbers, wire
from cloudnet.model.addresses import Address
from cloudnet.model.calico_policies import read_metadata
from cloudnet.model.calico_rules import check_selector
from cloudnet.model.problems import Problems
from cloudnet.model.resources import Metadata
from cloudnet.model.spelling import camel

API_VERSION: Final = "projectcalico.org/v3"


class Spec(msgspec.Struct, rename=camel, omit_defaults=True, frozen=True, kw_only=True):
    """What the structs here have in common. Fields that are not said are ``None`` or empty."""


class _SecretKey(Spec, frozen=True, kw_only=True):
    name: str
    key: str


class Password(Spec, frozen=True, kw_only=True):
    secret_key_ref: _SecretKey | None = None


# --- BGPConfiguration ---------------------------------------------------------------------------------------


class _Block(Spec, frozen=True, kw_only=True):
    cidr: str


class _Community(Spec, frozen=True, kw_only=True):
    name: str
    value: str


class _Advertisement(Spec, frozen=True, kw_only=True):
    cidr: str
    communities: tuple[str, ...] = ()


class BGPConfigurationSpec(Spec, frozen=True, kw_only=True):
    """Calico ``BGPConfigurationSpec``."""

    log_severity_screen: str | None = None
    node_to_node_mesh_enabled: bool | None = None
    as_number: int | str | None = None
    service_cluster_ips: tuple[_Block, ...] = ()
    service_external_ips: tuple[_Block, ...] = ()
    service_load_balancer_ips: tuple[_Block, ...] = ()
    service_load_balancer_aggregation: Literal["Enabled", "Disabled"] | None = None
    communities: tuple[_Community, ...] = ()
    prefix_advertisements: tuple[_Advertisement, ...] = ()
    listen_port: int | None = None
    node_mesh_password: Password | None = None
    node_mesh_max_restart_time: str | None = None
    bind_mode: Literal["None", "NodeIP"] | None = None
    ignored_interfaces: tuple[str, ...] = ()
    local_workload_peering_ip_v4: str | None = None
    local_workload_peering_ip_v6: str | None = None
    program_cluster_routes: str | None = None
    ipv4_normal_route_priority: int | None = None
    ipv6_normal_route_priority: int | None = None


@dataclass(frozen=True, slots=True)
class BGPConfiguration:
    """How nodes speak BGP: the one named ``default`` for all, ``node.NAME`` for one. Calico ``BGPConfiguration``."""

    meta: Metadata
    spec: BGPConfigurationSpec = field(default_factory=BGPConfigurationSpec)


class BGPConfigurationDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """A BGPConfiguration as Calico writes it."""

    metadata: wire.Meta
    spec: BGPConfigurationSpec = msgspec.field(default_factory=BGPConfigurationSpec)
    api_version: Literal["projectcalico.org/v3"] | None = None
    kind: Literal["BGPConfiguration"] | None = None


_PORTS: Final = (1, 65535)
_PRIORITIES: Final = (1, 2**31 - 2)
_COMMUNITY: Final = re.compile(r"[0-9]+:[0-9]+(:[0-9]+)?")
_SHORT: Final = 2**16
_LONG: Final = 2**32
_PARTS: Final = 2


def read_bgp_configuration(document: BGPConfigurationDocument) -> BGPConfiguration:
    problems, spec = Problems(), document.spec
    meta = read_metadata(document.metadata, problems)
    check_as_number(spec.as_number, "spec.asNumber", problems)
    check_range(spec.listen_port, _PORTS, "spec.listenPort", problems)
    check_range(spec.ipv4_normal_route_priority, _PRIORITIES, "spec.ipv4NormalRoutePriority", problems)
    check_range(spec.ipv6_normal_route_priority, _PRIORITIES, "spec.ipv6NormalRoutePriority", problems)
    for name in ("serviceClusterIPs", "serviceExternalIPs", "serviceLoadBalancerIPs"):
        _check_cidrs(getattr(spec, _PYTHON[name]), f"spec.{name}", problems)
    _check_cidrs(spec.prefix_advertisements, "spec.prefixAdvertisements", problems)
    for i, community in enumerate(spec.communities):
        check_community(community.value, f"spec.communities[{i}].value", problems)
    if spec.communities and not spec.prefix_advertisements:
        problems.add("spec.prefixAdvertisements", "missing, and needed where there are communities")
    _check_mesh(meta.name, spec, problems)
    problems.raise_any()
    return BGPConfiguration(meta, spec)


_PYTHON: Final = {
    "serviceClusterIPs": "service_cluster_ips",
    "serviceExternalIPs": "service_external_ips",
    "serviceLoadBalancerIPs": "service_load_balancer_ips",
}


def _check_mesh(name: str, spec: BGPConfigurationSpec, problems: Problems) -> None:
    """The mesh's password and restart time are the whole mesh's, and there must be one."""
    for path, found in (
        ("spec.nodeMeshPassword", spec.node_mesh_password),
        ("spec.nodeMeshMaxRestartTime", spec.node_mesh_max_restart_time),
    ):
        if found is not None and name != "default":
            problems.add(path, "belongs to the configuration named 'default' alone")
        if found is not None and spec.node_to_node_mesh_enabled is False:
            problems.add(path, "has no meaning where spec.nodeToNodeMeshEnabled is false")


def _check_cidrs(found: Sequence[_Block | _Advertisement], path: str, problems: Problems) -> None:
    for i, one in enumerate(found):
        problems.read(wire.network, one.cidr, f"{path}[{i}].cidr")


def check_community(text: str, path: str, problems: Problems) -> None:
    parts = [int(part) for part in text.split(":")] if _COMMUNITY.fullmatch(text) else []
    if not parts or max(parts) >= (_SHORT if len(parts) == _PARTS else _LONG):
        problems.add(path, f"expected a community such as 64512:100 or 64512:100:1, found {text!r}")


def check_as_number(found: int | str | None, path: str, problems: Problems) -> None:
    try:
        as_numbers.read(0 if found is None else found)
    except ValueError:
        problems.add(path, f"expected {as_numbers.EXPECTED}, found {found!r}")


def check_range(found: int | None, bounds: tuple[int, int], path: str, problems: Problems) -> None:
    low, high = bounds
    if found is not None and not low <= found <= high:
        problems.add(path, f"expected an integer from {low} to {high}, found {found}")


def write_bgp_configuration(value: BGPConfiguration) -> BGPConfigurationDocument:
    return BGPConfigurationDocument(wire.meta(value.meta), value.spec, API_VERSION, "BGPConfiguration")


# --- BGPPeer ------------------------------------------------------------------------------------------------


class BGPPeerSpec(Spec, frozen=True, kw_only=True):
    """Calico ``BGPPeerSpec``."""

    node: str | None = None
    node_selector: str | None = None
    peer_ip: str | None = None
    peer_selector: str | None = None
    as_number: int | str | None = None
    local_as_number: int | str | None = None
    local_workload_selector: str | None = None
    keep_original_next_hop: bool | None = None
    next_hop_mode: Literal["Auto", "Self", "Keep"] | None = None
    password: Password | None = None
    source_address: Literal["UseNodeIP", "None"] | None = None
    max_restart_time: str | None = None
    keepalive_time: str | None = None
    num_allowed_local_as_numbers: int | None = None
    ttl_security: int | None = None
    reachable_by: str | None = None
    filters: tuple[str, ...] = ()
    reverse_peering: Literal["Auto", "Manual"] | None = None


@dataclass(frozen=True, slots=True)
class BGPPeer:
    """Whom nodes speak BGP with. Calico ``BGPPeer``."""

    meta: Metadata
    spec: BGPPeerSpec = field(default_factory=BGPPeerSpec)


class BGPPeerDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """A BGPPeer as Calico writes it."""

    metadata: wire.Meta
    spec: BGPPeerSpec = msgspec.field(default_factory=BGPPeerSpec)
    api_version: Literal["projectcalico.org/v3"] | None = None
    kind: Literal["BGPPeer"] | None = None


_BYTE: Final = (0, 255)
_TOGETHER: Final = (  # which fields exclude each other, and why
    ("node", "nodeSelector", "a peer is of one node, or of those that a selector finds"),
    ("peerIP", "peerSelector", "a peer has an address, or is found by a selector"),
    ("peerSelector", "asNumber", "nodes that a selector finds have numbers of their own"),
    ("localWorkloadSelector", "peerIP", "the peers are the workloads"),
    ("localWorkloadSelector", "peerSelector", "the peers are the workloads"),
    ("nextHopMode", "keepOriginalNextHop", "the newer field says all that the older one did"),
)


def read_bgp_peer(document: BGPPeerDocument) -> BGPPeer:
    problems, spec = Problems(), document.spec
    meta = read_metadata(document.metadata, problems)
    said = {name for name, value in msgspec.to_builtins(spec).items() if value}
    for one, other, why in _TOGETHER:
        if {one, other} <= said:
            problems.add(f"spec.{other}", f"cannot stand beside spec.{one}: {why}")
    if "localWorkloadSelector" in said and "asNumber" not in said:
        problems.add("spec.asNumber", "missing, and needed where spec.localWorkloadSelector is set")
    check_as_number(spec.as_number, "spec.asNumber", problems)
    check_as_number(spec.local_as_number, "spec.localASNumber", problems)
    for path, text in (
        ("spec.nodeSelector", spec.node_selector),
        ("spec.peerSelector", spec.peer_selector),
        ("spec.localWorkloadSelector", spec.local_workload_selector),
    ):
        check_selector(text or "", path, problems)
    check_range(spec.ttl_security, _BYTE, "spec.ttlSecurity", problems)
    peer = problems.read(_peer_address, spec.peer_ip, "spec.peerIP") if spec.peer_ip else None
    _check_gateway(spec, peer, problems)
    problems.raise_any()
    return BGPPeer(meta, spec)


_NO_PEER: Final = "expected an address, with a port if it is not 179, found {!r}"
_WITH_PORT: Final = re.compile(r"\[(?P<six>[^]]+)\]:(?P<port6>[0-9]+)|(?P<four>[0-9.]+):(?P<port4>[0-9]+)")


def _peer_address(text: str | None, path: str) -> int:
    """Return the family of a peer's address."""
    return read_peer_address(text or "", path=path)[0].version


def read_peer_address(text: str, *, path: str = "spec.peerIP") -> tuple[Address, int | None]:
    """Return address and port, where one is said: ``192.0.2.1``, ``192.0.2.1:1790``, ``[2001:db8::1]:1790``.

    Raises:
        BadInput: it is none.
    """
    found = _WITH_PORT.fullmatch(text)
    port = int(found["port4"] or found["port6"]) if found else None
    try:
        address = ip_address((found["four"] or found["six"]) if found else text)
    except ValueError:
        raise BadInput(_NO_PEER.format(text), path=path) from None
    if port is not None and not _PORTS[0] <= port <= _PORTS[1]:
        raise BadInput(_NO_PEER.format(text), path=path)
    return address, port


def _check_gateway(spec: BGPPeerSpec, peer: int | None, problems: Problems) -> None:
    if not spec.reachable_by:
        return
    gateway = problems.read(wire.address, spec.reachable_by, "spec.reachableBy")
    if not spec.peer_ip:
        problems.add("spec.peerIP", "missing, and needed where spec.reachableBy is set")
    elif gateway and peer and gateway.version != peer:
        problems.add("spec.reachableBy", f"expected an IPv{peer} address as spec.peerIP, found {spec.reachable_by!r}")


def write_bgp_peer(value: BGPPeer) -> BGPPeerDocument:
    return BGPPeerDocument(wire.meta(value.meta), value.spec, API_VERSION, "BGPPeer")
