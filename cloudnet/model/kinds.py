"""The kinds that a store can hold: their names, and the way from value to document and back.

kinds.of(Node).encode(node)        value → JSON bytes
kinds.of(Node).decode(document)    JSON bytes → value
kinds.decode(document)             the same, the kind taken from the document itself
kinds.named("blockaffinities")     what a person typed → the kind
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Generic, TypeVar

import msgspec

from cloudnet.errors import BadInput
from cloudnet.model import (
    calico,
    calico_bgp,
    calico_bgp_filter,
    calico_cluster,
    calico_ipam,
    calico_policies,
    calico_sets,
    calico_workloads,
    cluster_policies,
    kubernetes,
    kubernetes_policies,
    kubernetes_services,
    own,
    own_addresses,
    shape,
    wire,
)
from cloudnet.model.calico_bgp import BGPConfiguration, BGPPeer
from cloudnet.model.calico_bgp_filter import BGPFilter
from cloudnet.model.calico_cluster import (
    CalicoNodeStatus,
    ClusterInformation,
    FelixConfiguration,
    KubeControllersConfiguration,
)
from cloudnet.model.cloud_addresses import CloudAddresses
from cloudnet.model.cluster_policies import ClusterNetworkPolicy
from cloudnet.model.kubernetes import Namespace, Pod, ServiceAccount
from cloudnet.model.kubernetes_policies import KubernetesNetworkPolicy, StagedKubernetesNetworkPolicy
from cloudnet.model.kubernetes_services import EndpointSlice
from cloudnet.model.policies import (
    GlobalNetworkPolicy,
    GlobalNetworkSet,
    HostEndpoint,
    NetworkPolicy,
    NetworkSet,
    Profile,
    StagedGlobalNetworkPolicy,
    StagedNetworkPolicy,
    Tier,
)
from cloudnet.model.problems import Problems, problems_of
from cloudnet.model.resources import (
    AgentReport,
    BlockAffinity,
    CloudNode,
    CloudRoute,
    IPAMBlock,
    IPAMConfiguration,
    IPAMHandle,
    IPPool,
    IPReservation,
    Lease,
    Node,
    NodeCondition,
    Resource,
)
from cloudnet.model.workloads import WorkloadEndpoint

R = TypeVar("R", bound=Resource)
D = TypeVar("D", bound=msgspec.Struct)

_to_json = msgspec.json.Encoder().encode


class Kind(Generic[R]):
    """One kind: what it is called, and its codec."""

    __slots__ = (
        "_faults",
        "_read",
        "_write",
        "api_version",
        "document",
        "name",
        "namespaced",
        "plural",
        "type",
        "word",
    )

    def __init__(
        self,
        type_: type[R],
        plural: str,
        api_version: str,
        *,
        document: type[D],
        read: Callable[[D], R],
        write: Callable[[R], D],
        namespaced: bool = False,
        word: str = "",
    ) -> None:
        decoder = msgspec.json.Decoder(document)
        self.type = type_
        self.name = type_.__name__
        self.word = word or self.name  # what a document calls it; two groups may use one word
        self.plural = plural
        self.api_version = api_version
        self.namespaced = namespaced
        self.document = document
        self._read: Callable[[bytes], R] = lambda data: read(wire.decode(decoder, data))
        self._faults: Callable[[bytes], Problems] = lambda data: _faults(data, document, read)
        self._write: Callable[[R], msgspec.Struct] = write

    def decode(self, document: bytes) -> R:
        """Return the value in a document.

        Raises:
            BadInput: it is not JSON, or breaks a rule of its kind; ``path`` names the field.
            BadDocument: fields are wrong, all of which are named.
        """
        try:
            value = self._read(document)
        except wire.WrongShape as error:
            self._faults(document).raise_any()
            raise BadInput(f"expected a {self.name}: {error}") from error
        self._check_namespace(value)
        return value

    def unknown(self, document: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
        """Return path and message of each field of ``spec`` that we do not know: of a newer version, or mistyped."""
        return tuple(
            (path, message)
            for path, message in shape.unknown(document, self.document)
            if path.startswith("spec.") or path == "spec"
        )

    def encode(self, value: R, *, onto: bytes | None = None) -> bytes:
        """Return the document of a value.

        With ``onto``, the stored document that the value replaces, only the fields that differ are changed in
        it: what somebody else wrote, and what a newer program knows, stays. A value that brings its own document
        takes the whole place of the stored one, except for what only the store and observers know.

        Raises:
            BadInput: the value, or ``onto``, is none that the kind allows.
        """
        wire.check_name(value.meta.name)
        self._check_namespace(value)
        document = self._write(value)
        brought = value.meta.document or onto
        if not brought:
            return _to_json(document)
        before = msgspec.to_builtins(self._write(self.decode(brought)))
        merged = wire.overlay(msgspec.json.decode(brought), before, msgspec.to_builtins(document))
        if value.meta.document and onto:
            merged = wire.observed(merged, msgspec.json.decode(onto))
        return _to_json(merged)

    def _check_namespace(self, value: R) -> None:
        if value.meta.namespace and not self.namespaced:
            raise BadInput(
                f"expected nothing, for a {self.name} belongs to the whole cluster, found {value.meta.namespace!r}",
                path="metadata.namespace",
            )


def _faults(data: bytes, document: type[D], read: Callable[[D], Resource]) -> Problems:
    """Return all that is wrong with a document whose types are."""
    problems = Problems()
    repaired = shape.repair(wire.parse_untyped(data), document, problems)
    try:
        read(msgspec.convert(repaired, document))
    except BadInput as error:
        problems.merge(problems_of(error))
    return problems


# Any: the rows differ in their type; `of` gives each caller the right one.
ALL: tuple[Kind[Any], ...] = (
    Kind(
        Node,
        "nodes",
        calico.API_VERSION,
        document=calico.NodeDocument,
        read=calico.read_node,
        write=calico.write_node,
    ),
    Kind(
        IPPool,
        "ippools",
        calico.API_VERSION,
        document=calico.IPPoolDocument,
        read=calico.read_ippool,
        write=calico.write_ippool,
    ),
    Kind(
        BlockAffinity,
        "blockaffinities",
        calico.API_VERSION,
        document=calico.BlockAffinityDocument,
        read=calico.read_block_affinity,
        write=calico.write_block_affinity,
    ),
    Kind(
        IPAMBlock,
        "ipamblocks",
        calico.API_VERSION,
        document=calico_ipam.IPAMBlockDocument,
        read=calico_ipam.read_block,
        write=calico_ipam.write_block,
    ),
    Kind(
        IPAMHandle,
        "ipamhandles",
        calico.API_VERSION,
        document=calico_ipam.IPAMHandleDocument,
        read=calico_ipam.read_handle,
        write=calico_ipam.write_handle,
    ),
    Kind(
        IPAMConfiguration,
        "ipamconfigurations",
        calico.API_VERSION,
        document=calico_ipam.IPAMConfigurationDocument,
        read=calico_ipam.read_configuration,
        write=calico_ipam.write_configuration,
    ),
    Kind(
        IPReservation,
        "ipreservations",
        calico.API_VERSION,
        document=calico_ipam.IPReservationDocument,
        read=calico_ipam.read_reservation,
        write=calico_ipam.write_reservation,
    ),
    Kind(
        CloudNode,
        "cloudnodes",
        own.API_VERSION,
        document=own.CloudNodeDocument,
        read=own.read_cloud_node,
        write=own.write_cloud_node,
    ),
    Kind(
        CloudRoute,
        "cloudroutes",
        own.API_VERSION,
        document=own.CloudRouteDocument,
        read=own.read_cloud_route,
        write=own.write_cloud_route,
    ),
    Kind(
        CloudAddresses,
        "cloudaddresses",
        own.API_VERSION,
        document=own_addresses.CloudAddressesDocument,
        read=own_addresses.read_cloud_addresses,
        write=own_addresses.write_cloud_addresses,
    ),
    Kind(
        AgentReport,
        "agentreports",
        own.API_VERSION,
        document=own.AgentReportDocument,
        read=own.read_agent_report,
        write=own.write_agent_report,
    ),
    Kind(
        Lease,
        "leases",
        own.API_VERSION,
        document=own.LeaseDocument,
        read=own.read_lease,
        write=own.write_lease,
    ),
    Kind(
        NodeCondition,
        "nodeconditions",
        own.API_VERSION,
        document=own.NodeConditionDocument,
        read=own.read_node_condition,
        write=own.write_node_condition,
    ),
    Kind(
        NetworkPolicy,
        "networkpolicies",
        calico.API_VERSION,
        document=calico_policies.NetworkPolicyDocument,
        read=calico_policies.read_network_policy,
        write=calico_policies.write_network_policy,
        namespaced=True,
    ),
    Kind(
        GlobalNetworkPolicy,
        "globalnetworkpolicies",
        calico.API_VERSION,
        document=calico_policies.GlobalNetworkPolicyDocument,
        read=calico_policies.read_global_network_policy,
        write=calico_policies.write_global_network_policy,
    ),
    Kind(
        StagedNetworkPolicy,
        "stagednetworkpolicies",
        calico.API_VERSION,
        document=calico_policies.StagedNetworkPolicyDocument,
        read=calico_policies.read_staged_network_policy,
        write=calico_policies.write_staged_network_policy,
        namespaced=True,
    ),
    Kind(
        StagedGlobalNetworkPolicy,
        "stagedglobalnetworkpolicies",
        calico.API_VERSION,
        document=calico_policies.StagedGlobalNetworkPolicyDocument,
        read=calico_policies.read_staged_global_network_policy,
        write=calico_policies.write_staged_global_network_policy,
    ),
    Kind(
        StagedKubernetesNetworkPolicy,
        "stagedkubernetesnetworkpolicies",
        calico.API_VERSION,
        document=kubernetes_policies.StagedKubernetesNetworkPolicyDocument,
        read=kubernetes_policies.read_staged_kubernetes_policy,
        write=kubernetes_policies.write_staged_kubernetes_policy,
        namespaced=True,
    ),
    Kind(
        Tier,
        "tiers",
        calico.API_VERSION,
        document=calico_policies.TierDocument,
        read=calico_policies.read_tier,
        write=calico_policies.write_tier,
    ),
    Kind(
        NetworkSet,
        "networksets",
        calico.API_VERSION,
        document=calico_sets.NetworkSetDocument,
        read=calico_sets.read_network_set,
        write=calico_sets.write_network_set,
        namespaced=True,
    ),
    Kind(
        GlobalNetworkSet,
        "globalnetworksets",
        calico.API_VERSION,
        document=calico_sets.GlobalNetworkSetDocument,
        read=calico_sets.read_global_network_set,
        write=calico_sets.write_global_network_set,
    ),
    Kind(
        Profile,
        "profiles",
        calico.API_VERSION,
        document=calico_sets.ProfileDocument,
        read=calico_sets.read_profile,
        write=calico_sets.write_profile,
    ),
    Kind(
        HostEndpoint,
        "hostendpoints",
        calico.API_VERSION,
        document=calico_sets.HostEndpointDocument,
        read=calico_sets.read_host_endpoint,
        write=calico_sets.write_host_endpoint,
    ),
    Kind(
        KubernetesNetworkPolicy,
        "kubernetesnetworkpolicies",
        kubernetes_policies.API_VERSION,
        document=kubernetes_policies.KubernetesNetworkPolicyDocument,
        read=kubernetes_policies.read_kubernetes_policy,
        write=kubernetes_policies.write_kubernetes_policy,
        namespaced=True,
        word="NetworkPolicy",
    ),
    Kind(
        ClusterNetworkPolicy,
        "clusternetworkpolicies",
        cluster_policies.API_VERSION,
        document=cluster_policies.ClusterNetworkPolicyDocument,
        read=cluster_policies.read_cluster_policy,
        write=cluster_policies.write_cluster_policy,
    ),
    Kind(
        EndpointSlice,
        "endpointslices",
        kubernetes_services.API_VERSION,
        document=kubernetes_services.EndpointSliceDocument,
        read=kubernetes_services.read_slice,
        write=kubernetes_services.write_slice,
        namespaced=True,
    ),
    Kind(
        WorkloadEndpoint,
        "workloadendpoints",
        calico.API_VERSION,
        document=calico_workloads.WorkloadEndpointDocument,
        read=calico_workloads.read_endpoint,
        write=calico_workloads.write_endpoint,
        namespaced=True,
    ),
    Kind(
        Namespace,
        "namespaces",
        kubernetes.API_VERSION,
        document=kubernetes.NamespaceDocument,
        read=kubernetes.read_namespace,
        write=kubernetes.write_namespace,
    ),
    Kind(
        Pod,
        "pods",
        kubernetes.API_VERSION,
        document=kubernetes.PodDocument,
        read=kubernetes.read_pod,
        write=kubernetes.write_pod,
        namespaced=True,
    ),
    Kind(
        ServiceAccount,
        "serviceaccounts",
        kubernetes.API_VERSION,
        document=kubernetes.ServiceAccountDocument,
        read=kubernetes.read_service_account,
        write=kubernetes.write_service_account,
        namespaced=True,
    ),
    Kind(
        BGPConfiguration,
        "bgpconfigurations",
        calico.API_VERSION,
        document=calico_bgp.BGPConfigurationDocument,
        read=calico_bgp.read_bgp_configuration,
        write=calico_bgp.write_bgp_configuration,
    ),
    Kind(
        BGPPeer,
        "bgppeers",
        calico.API_VERSION,
        document=calico_bgp.BGPPeerDocument,
        read=calico_bgp.read_bgp_peer,
        write=calico_bgp.write_bgp_peer,
    ),
    Kind(
        BGPFilter,
        "bgpfilters",
        calico.API_VERSION,
        document=calico_bgp_filter.BGPFilterDocument,
        read=calico_bgp_filter.read_bgp_filter,
        write=calico_bgp_filter.write_bgp_filter,
    ),
    Kind(
        ClusterInformation,
        "clusterinformations",
        calico.API_VERSION,
        document=calico_cluster.ClusterInformationDocument,
        read=calico_cluster.read_cluster_information,
        write=calico_cluster.write_cluster_information,
    ),
    Kind(
        FelixConfiguration,
        "felixconfigurations",
        calico.API_VERSION,
        document=calico_cluster.FelixConfigurationDocument,
        read=calico_cluster.read_felix_configuration,
        write=calico_cluster.write_felix_configuration,
    ),
    Kind(
        KubeControllersConfiguration,
        "kubecontrollersconfigurations",
        calico.API_VERSION,
        document=calico_cluster.KubeControllersConfigurationDocument,
        read=calico_cluster.read_kube_controllers_configuration,
        write=calico_cluster.write_kube_controllers_configuration,
    ),
    Kind(
        CalicoNodeStatus,
        "caliconodestatuses",
        calico.API_VERSION,
        document=calico_cluster.CalicoNodeStatusDocument,
        read=calico_cluster.read_calico_node_status,
        write=calico_cluster.write_calico_node_status,
    ),
)

_BY_TYPE = {kind.type: kind for kind in ALL}
_BY_NAME = {kind.name: kind for kind in ALL}
_BY_WORD = {word: kind for kind in ALL for word in (kind.name.lower(), kind.plural)}


def of(type_: type[R]) -> Kind[R]:
    """Return the kind of a class of resources."""
    return _BY_TYPE[type_]


def named(word: str) -> Kind[Any]:
    """Return the kind that a person means: its name or plural, in any case.

    Raises:
        BadInput: there is none such.
    """
    try:
        return _BY_WORD[word.lower()]
    except KeyError:
        raise BadInput(f"unknown kind {word!r}: use one of {', '.join(_BY_NAME)}") from None


def keeping(value: R, document: bytes) -> R:
    """Return the value with the document that it was read from, so that all of it is written again."""
    # replace() knows dataclasses, and the protocol cannot say that every resource is one.
    return replace(value, meta=replace(value.meta, document=document))  # type: ignore[type-var]


def encode(value: Resource) -> bytes:
    """Return the document of any resource."""
    return of(type(value)).encode(value)


class _Header(msgspec.Struct, rename="camel"):
    kind: str
    api_version: str


_header = msgspec.json.Decoder(_Header)
_WORDS = {kind.word: kind.word for kind in ALL}


def find(word: str, api_version: str) -> Kind[Any] | None:
    """Return the kind that a document may be of; nothing where we know none such, in this group or any version of it.

    A version that we do not know of a group that we do is a document of ours, which its own check refuses.
    """
    group = api_version.rpartition("/")[0]
    among = [kind for kind in ALL if kind.word == word]
    return next((kind for kind in among if kind.api_version.rpartition("/")[0] == group), None)


def of_document(word: str, api_version: str) -> Kind[Any]:
    """Return the kind that a document says it is.

    Raises:
        BadInput: there is none such; ``path`` names the field.
    """
    wire.choice(word, _WORDS, "kind")
    versions = {kind.api_version: kind for kind in ALL if kind.word == word}
    if len(versions) == 1:
        return next(iter(versions.values()))  # its own check speaks of the version, beside all else that is wrong
    return wire.choice(api_version, versions, "apiVersion")


def decode(document: bytes) -> Resource:
    """Return the resource in a document that says itself what it is.

    Raises:
        BadInput: it is no document of a kind we know.
        BadDocument: fields are wrong, all of which are named.
    """
    header = wire.parse(_header, document)
    value: Resource = of_document(header.kind, header.api_version).decode(document)
    return value
