"""Calico's kinds for the cluster as a whole: ClusterInformation, FelixConfiguration and the like.

Nothing in cloudnet acts on them but for ClusterInformation's ``datastoreReady``, which is set and honoured
(``store/guard.py``) as Calico does it. They are checked and kept, so that whoever comes from Calico and goes back to
it finds them as they were. Of Felix's two hundred parameters those that concern routing, encapsulation, NAT and
policy are checked; others are kept as they are written. Sources: Calico
``api/pkg/apis/projectcalico/v3/{clusterinfo,felixconfig, kubecontrollersconfig,caliconodestatus}.go``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from cloudnet.model import wire
from cloudnet.model.calico_bgp import API_VERSION, Spec, check_range
from cloudnet.model.calico_policies import read_metadata
from cloudnet.model.durations import check_durations
from cloudnet.model.problems import Problems
from cloudnet.model.resources import Metadata

# --- ClusterInformation -------------------------------------------------------------------------------------


class ClusterInformationSpec(Spec, frozen=True, kw_only=True):
    """Calico ``ClusterInformationSpec``."""

    cluster_guid: str | None = None
    cluster_type: str | None = None
    calico_version: str | None = None
    datastore_ready: bool | None = None
    variant: str | None = None


@dataclass(frozen=True, slots=True)
class ClusterInformation:
    """What is true of the cluster, the one named ``default``; while ``datastoreReady`` is false nobody may write."""

    meta: Metadata
    spec: ClusterInformationSpec = field(default_factory=ClusterInformationSpec)


class ClusterInformationDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """A ClusterInformation as Calico writes it."""

    metadata: wire.Meta
    spec: ClusterInformationSpec = msgspec.field(default_factory=ClusterInformationSpec)
    api_version: Literal["projectcalico.org/v3"] | None = None
    kind: Literal["ClusterInformation"] | None = None


_ONLY_NAME: Final = "default"


def read_cluster_information(document: ClusterInformationDocument) -> ClusterInformation:
    problems = Problems()
    meta = read_metadata(document.metadata, problems)
    if meta.name != _ONLY_NAME:
        problems.add("metadata.name", f"expected {_ONLY_NAME!r}, for there is just one, found {meta.name!r}")
    problems.raise_any()
    return ClusterInformation(meta, document.spec)


def write_cluster_information(value: ClusterInformation) -> ClusterInformationDocument:
    return ClusterInformationDocument(wire.meta(value.meta), value.spec, API_VERSION, "ClusterInformation")


# --- FelixConfiguration -------------------------------------------------------------------------------------

_Switch = Literal["Enabled", "Disabled"] | None


class _Failsafe(Spec, frozen=True, kw_only=True):
    protocol: str
    port: int
    net: str | None = None


class FelixConfigurationSpec(Spec, frozen=True, kw_only=True):
    """Part of Calico ``FelixConfigurationSpec``."""

    interface_prefix: str | None = None
    interface_exclude: str | None = None
    ipv6_support: bool | None = None
    ip_forwarding: _Switch = None
    external_nodes_list: tuple[str, ...] = ()
    mtu_iface_pattern: str | None = None
    vxlan_enabled: bool | None = None
    vxlan_vni: int | None = None
    vxlan_port: int | None = None
    vxlan_mtu: int | None = None
    vxlan_mtu_v6: int | None = None
    ipip_enabled: bool | None = None
    ipip_mtu: int | None = None
    allow_vxlan_packets_from_workloads: bool | None = None
    allow_ipip_packets_from_workloads: bool | None = None
    program_cluster_routes: Literal["Enabled", "Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly"] | None = None
    route_source: Literal["CalicoIPAM", "WorkloadIPs"] | None = None
    route_sync_disabled: bool | None = None
    route_refresh_interval: str | None = None
    iptables_refresh_interval: str | None = None
    netlink_timeout: str | None = None
    reporting_interval: str | None = None
    remove_external_routes: bool | None = None
    device_route_protocol: int | None = None
    ipv4_normal_route_priority: int | None = None
    ipv6_normal_route_priority: int | None = None
    nat_outgoing_address: str | None = None
    nat_port_range: int | str | None = None
    nat_outgoing_exclusions: Literal["IPPoolsOnly", "IPPoolsAndHostIPs"] | None = None
    floating_ips: _Switch = None
    service_loop_prevention: Literal["Drop", "Reject", "Disabled"] | None = None
    aws_src_dst_check: Literal["DoNothing", "Enable", "Disable"] | None = None
    default_endpoint_to_host_action: Literal["Drop", "Return", "Accept"] | None = None
    iptables_filter_allow_action: Literal["Accept", "Return"] | None = None
    iptables_filter_deny_action: Literal["Drop", "Reject"] | None = None
    iptables_mangle_allow_action: Literal["Accept", "Return"] | None = None
    chain_insert_mode: Literal["Insert", "Append", "insert", "append"] | None = None
    workload_source_spoofing: Literal["Disabled", "Any"] | None = None
    log_prefix: str | None = None
    log_severity_screen: str | None = None
    log_severity_file: str | None = None
    log_severity_sys: str | None = None
    failsafe_inbound_host_ports: tuple[_Failsafe, ...] | None = None
    failsafe_outbound_host_ports: tuple[_Failsafe, ...] | None = None
    nftables_mode: Literal["Auto", "Enabled", "Disabled"] | None = None
    iptables_backend: Literal["Auto", "NFT", "Legacy", "auto", "nft", "legacy"] | None = None
    bpf_enabled: bool | None = None
    wireguard_enabled: bool | None = None
    wireguard_enabled_v6: bool | None = None
    health_enabled: bool | None = None
    health_host: str | None = None
    health_port: int | None = None
    prometheus_metrics_enabled: bool | None = None
    prometheus_metrics_host: str | None = None
    prometheus_metrics_port: int | None = None


@dataclass(frozen=True, slots=True)
class FelixConfiguration:
    """How Calico's agent works: ``default`` for all nodes, ``node.NAME`` for one. Calico ``FelixConfiguration``."""

    meta: Metadata
    spec: FelixConfigurationSpec = field(default_factory=FelixConfigurationSpec)


class FelixConfigurationDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """A FelixConfiguration as Calico writes it."""

    metadata: wire.Meta
    spec: FelixConfigurationSpec = msgspec.field(default_factory=FelixConfigurationSpec)
    api_version: Literal["projectcalico.org/v3"] | None = None
    kind: Literal["FelixConfiguration"] | None = None


_PORT: Final = (1, 65535)
_RANGES: Final[Mapping[str, tuple[int, int]]] = {
    "vxlanVNI": (1, 2**24 - 1),
    "vxlanPort": _PORT,
    "vxlanMTU": (0, 65535),
    "vxlanMTUV6": (0, 65535),
    "ipipMTU": (0, 65535),
    "deviceRouteProtocol": (0, 255),
    "ipv4NormalRoutePriority": (1, 2**31 - 2),
    "ipv6NormalRoutePriority": (1, 2**31 - 2),
    "healthPort": (0, 65535),
    "prometheusMetricsPort": (0, 65535),
}
_DURATIONS: Final = ("routeRefreshInterval", "iptablesRefreshInterval", "netlinkTimeout", "reportingInterval")


def read_felix_configuration(document: FelixConfigurationDocument) -> FelixConfiguration:
    problems, spec = Problems(), document.spec
    meta = read_metadata(document.metadata, problems)
    said = msgspec.to_builtins(spec)
    for name, bounds in _RANGES.items():
        check_range(said.get(name), bounds, f"spec.{name}", problems)
    check_durations(said, _DURATIONS, "spec", problems)
    for i, text in enumerate(spec.external_nodes_list):
        problems.read(wire.loose_network, text, f"spec.externalNodesList[{i}]")
    if spec.nat_outgoing_address:
        problems.read(wire.address, spec.nat_outgoing_address, "spec.natOutgoingAddress")
    for name, ports in (
        ("failsafeInboundHostPorts", spec.failsafe_inbound_host_ports),
        ("failsafeOutboundHostPorts", spec.failsafe_outbound_host_ports),
    ):
        for i, one in enumerate(ports or ()):
            check_range(one.port, (0, 65535), f"spec.{name}[{i}].port", problems)
            if one.net:
                problems.read(wire.loose_network, one.net, f"spec.{name}[{i}].net")
    problems.raise_any()
    return FelixConfiguration(meta, spec)


def write_felix_configuration(value: FelixConfiguration) -> FelixConfigurationDocument:
    return FelixConfigurationDocument(wire.meta(value.meta), value.spec, API_VERSION, "FelixConfiguration")


# --- KubeControllersConfiguration ---------------------------------------------------------------------------


class _HostEndpoints(Spec, frozen=True, kw_only=True):
    auto_create: _Switch = None


class _NodeController(Spec, frozen=True, kw_only=True):
    reconciler_period: str | None = None
    sync_labels: _Switch = None
    leak_grace_period: str | None = None
    host_endpoint: _HostEndpoints | None = None


class _Controller(Spec, frozen=True, kw_only=True):
    reconciler_period: str | None = None


class _LoadBalancer(Spec, frozen=True, kw_only=True):
    assign_ips: Literal["AllServices", "RequestedServicesOnly"] | None = None


class _Controllers(Spec, frozen=True, kw_only=True):
    node: _NodeController | None = None
    policy: _Controller | None = None
    workload_endpoint: _Controller | None = None
    service_account: _Controller | None = None
    namespace: _Controller | None = None
    load_balancer: _LoadBalancer | None = None


class KubeControllersConfigurationSpec(Spec, frozen=True, kw_only=True):
    """Calico ``KubeControllersConfigurationSpec``."""

    log_severity_screen: str | None = None
    health_checks: _Switch = None
    etcd_v3_compaction_period: str | None = None
    prometheus_metrics_port: int | None = None
    debug_profile_port: int | None = None
    controllers: _Controllers | None = None


@dataclass(frozen=True, slots=True)
class KubeControllersConfiguration:
    """How Calico's controllers work, the one named ``default``. Calico ``KubeControllersConfiguration``."""

    meta: Metadata
    spec: KubeControllersConfigurationSpec = field(default_factory=KubeControllersConfigurationSpec)


class KubeControllersConfigurationDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """A KubeControllersConfiguration as Calico writes it."""

    metadata: wire.Meta
    spec: KubeControllersConfigurationSpec = msgspec.field(default_factory=KubeControllersConfigurationSpec)
    api_version: Literal["projectcalico.org/v3"] | None = None
    kind: Literal["KubeControllersConfiguration"] | None = None


def read_kube_controllers_configuration(
    document: KubeControllersConfigurationDocument,
) -> KubeControllersConfiguration:
    problems, spec = Problems(), document.spec
    meta = read_metadata(document.metadata, problems)
    said = msgspec.to_builtins(spec)
    check_durations(said, ("etcdV3CompactionPeriod",), "spec", problems)
    for name, controller in said.get("controllers", {}).items():
        check_durations(controller, ("reconcilerPeriod", "leakGracePeriod"), f"spec.controllers.{name}", problems)
    check_range(spec.prometheus_metrics_port, (0, 65535), "spec.prometheusMetricsPort", problems)
    problems.raise_any()
    return KubeControllersConfiguration(meta, spec)


def write_kube_controllers_configuration(
    value: KubeControllersConfiguration,
) -> KubeControllersConfigurationDocument:
    return KubeControllersConfigurationDocument(
        wire.meta(value.meta), value.spec, API_VERSION, "KubeControllersConfiguration"
    )


# --- CalicoNodeStatus ---------------------------------------------------------------------------------------


class CalicoNodeStatusSpec(Spec, frozen=True, kw_only=True):
    """Calico ``CalicoNodeStatusSpec``."""

    node: str | None = None
    classes: tuple[Literal["Agent", "BGP", "Routes"], ...] = ()
    update_period_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class CalicoNodeStatus:
    """What somebody wants to be told of one node's BGP. Calico ``CalicoNodeStatus``."""

    meta: Metadata
    spec: CalicoNodeStatusSpec = field(default_factory=CalicoNodeStatusSpec)


class CalicoNodeStatusDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """A CalicoNodeStatus as Calico writes it."""

    metadata: wire.Meta
    spec: CalicoNodeStatusSpec = msgspec.field(default_factory=CalicoNodeStatusSpec)
    api_version: Literal["projectcalico.org/v3"] | None = None
    kind: Literal["CalicoNodeStatus"] | None = None


def read_calico_node_status(document: CalicoNodeStatusDocument) -> CalicoNodeStatus:
    problems = Problems()
    meta = read_metadata(document.metadata, problems)
    check_range(document.spec.update_period_seconds, (0, 86400), "spec.updatePeriodSeconds", problems)
    problems.raise_any()
    return CalicoNodeStatus(meta, document.spec)


def write_calico_node_status(value: CalicoNodeStatus) -> CalicoNodeStatusDocument:
    return CalicoNodeStatusDocument(wire.meta(value.meta), value.spec, API_VERSION, "CalicoNodeStatus")
