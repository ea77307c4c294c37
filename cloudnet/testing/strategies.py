"""Hypothesis strategies for the values of this program, for our tests and for plugin authors.

Everything drawn here is valid: a store takes it and gives it back equal.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_interface, ip_network

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from cloudnet.model import calico, calico_ipam
from cloudnet.model.addresses import (
    Address,
    Family,
    InstanceId,
    Interface,
    InterfaceId,
    Network,
    NodeName,
    SubnetId,
    TableId,
)
from cloudnet.model.calico_bgp import BGPConfiguration, BGPConfigurationSpec, BGPPeer, BGPPeerSpec
from cloudnet.model.calico_bgp_filter import BGPFilter
from cloudnet.model.calico_cluster import (
    CalicoNodeStatus,
    CalicoNodeStatusSpec,
    ClusterInformation,
    ClusterInformationSpec,
    FelixConfiguration,
    FelixConfigurationSpec,
    KubeControllersConfiguration,
)
from cloudnet.model.cloud_addresses import CloudAddresses, CloudInterface, CloudPrefix, PrefixState
from cloudnet.model.kubernetes import Namespace, Pod, ServiceAccount
from cloudnet.model.resources import (
    Affinity,
    AffinityState,
    AgentReport,
    AllocationAttribute,
    AllowedUse,
    AssignmentMode,
    BlockAffinity,
    Cause,
    CloudNode,
    CloudRoute,
    EncapMode,
    IPAMBlock,
    IPAMConfiguration,
    IPAMHandle,
    IPPool,
    IPReservation,
    Lease,
    Metadata,
    NextHop,
    Node,
    NodeCondition,
    Resource,
    RouteState,
    TableStatus,
    Vtep,
)
from cloudnet.model.workloads import EndpointPort, FloatingAddress, WorkloadEndpoint
from cloudnet.testing import policy_strategies

_EDGE = string.ascii_lowercase + string.digits
_INT64 = 2**63 - 1  # what schemas of Kubernetes call int64
_WORD = st.text(string.ascii_letters + string.digits + "-", min_size=1, max_size=12)
_TEXT = st.text(max_size=20)
_KEY = st.from_regex(r"([a-z]{1,4}\.io/)?[A-Za-z0-9]([-_.A-Za-z0-9]{0,8}[A-Za-z0-9])?", fullmatch=True)
_VALUE = st.from_regex(r"([A-Za-z0-9]([-_.A-Za-z0-9]{0,8}[A-Za-z0-9])?)?", fullmatch=True)
_NAMESPACE = st.from_regex(r"[a-z]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True)
_SECONDS = st.floats(min_value=0, max_value=4e9, allow_nan=False)


def names() -> SearchStrategy[str]:
    """Names of resources: RFC 1123 subdomains."""
    label = st.builds(
        "{}{}{}".format,
        st.sampled_from(_EDGE),
        st.text(_EDGE + "-", max_size=10),
        st.sampled_from(_EDGE),
    )
    return st.lists(label, min_size=1, max_size=3).map(".".join)


def node_names() -> SearchStrategy[NodeName]:
    return names().map(NodeName)


def labels() -> SearchStrategy[Mapping[str, str]]:
    """Labels as Kubernetes allows them."""
    return st.dictionaries(_KEY, _VALUE, max_size=2)


def metadata(*, namespaced: bool = False) -> SearchStrategy[Metadata]:
    return st.builds(
        Metadata,
        name=names(),
        namespace=_NAMESPACE if namespaced else st.just(""),
        uid=st.uuids().map(str),
        labels=labels(),
        annotations=st.dictionaries(_KEY, _TEXT, max_size=2),
    )


# --- addresses ----------------------------------------------------------------------------------------------


def families() -> SearchStrategy[Family]:
    return st.sampled_from(Family)


def addresses(of: Family | None = None) -> SearchStrategy[Address]:
    if of is None:
        return families().flatmap(addresses)
    return st.ip_addresses(v=4 if of is Family.IPV4 else 6)


def interfaces(of: Family) -> SearchStrategy[Interface]:
    """Addresses with the prefix length of their subnet."""
    lengths = st.integers(8, 32 if of is Family.IPV4 else 128)
    return st.builds(lambda address, length: ip_interface((address, length)), addresses(of), lengths)


def networks(of: Family | None = None, *, shortest: int = 8, longest: int | None = None) -> SearchStrategy[Network]:
    """Prefixes without host bits."""
    if of is None:
        return families().flatmap(lambda drawn: networks(drawn, shortest=shortest, longest=longest))
    lengths = st.integers(shortest, (32 if of is Family.IPV4 else 128) if longest is None else longest)
    return st.builds(lambda address, length: ip_network((address, length), strict=False), addresses(of), lengths)


def macs() -> SearchStrategy[str]:
    return st.binary(min_size=5, max_size=5).map(lambda tail: ":".join(f"{byte:02x}" for byte in b"\x66" + tail))


# --- Calico's kinds -----------------------------------------------------------------------------------------


def nodes() -> SearchStrategy[Node]:
    vteps = {of: st.builds(Vtep, address=addresses(of), mac=macs() | st.just("")) for of in Family}
    return st.builds(
        Node,
        meta=metadata(),
        addresses=_one_a_family({of: interfaces(of) for of in Family}),
        vteps=_one_a_family(vteps),
        pod_cidrs=_one_a_family({of: networks(of) for of in Family}),
        provider_id=st.just("") | st.builds("aws:///eu-west-1a/i-{}".format, _WORD),
        as_number=st.none() | st.integers(0, 2**32 - 1),
        route_reflector=st.none() | st.ip_addresses(v=4),
    )


def _one_a_family(each: Mapping[Family, SearchStrategy[object]]) -> SearchStrategy[tuple[object, ...]]:
    maybe = [st.none() | each[of] for of in Family]
    return st.tuples(*maybe).map(lambda drawn: tuple(one for one in drawn if one is not None))


_POOLS = {Family.IPV4: ("10.0.0.0/8", 20, 32), Family.IPV6: ("fd00::/8", 116, 128)}


_USUAL = {AllowedUse.WORKLOAD, AllowedUse.TUNNEL}
_SELECTORS = st.sampled_from(["all()", "zone == 'a'", "has(gpu)"])


@st.composite
def ip_pools(draw: st.DrawFn) -> IPPool:
    of = draw(families())
    within, smallest, largest = _POOLS[of]
    block_size = draw(st.integers(smallest, largest))
    cidr = draw(subnets(ip_network(within), longest=block_size))
    vxlan, ipip = draw(st.sampled_from(EncapMode)), EncapMode.NEVER
    if of is Family.IPV4 and vxlan is EncapMode.NEVER:
        ipip = draw(st.sampled_from(EncapMode))
    uses = draw(st.sampled_from([_USUAL, _USUAL, *({use} for use in AllowedUse)]))
    if AllowedUse.LOAD_BALANCER in uses:
        return IPPool(draw(metadata()), cidr, block_size=block_size, allowed_uses=frozenset(uses))
    return IPPool(
        draw(metadata()),
        cidr,
        vxlan,
        ipip,
        draw(st.booleans()),
        draw(st.booleans()),
        block_size,
        node_selector=draw(_SELECTORS),
        namespace_selector="" if AllowedUse.TUNNEL in uses else draw(_SELECTORS | st.just("")),
        allowed_uses=frozenset(uses),
        assignment_mode=draw(st.sampled_from(AssignmentMode)),
        disable_bgp_export=draw(st.booleans()),
    )


@st.composite
def subnets(draw: st.DrawFn, within: Network, *, longest: int) -> Network:
    """Prefixes inside another one."""
    length = draw(st.integers(within.prefixlen, longest))
    index = draw(st.integers(0, 2 ** (length - within.prefixlen) - 1))
    first = int(within.network_address) + (index << (within.max_prefixlen - length))
    return IPv4Network((first, length)) if isinstance(within, IPv4Network) else IPv6Network((first, length))


@st.composite
def block_affinities(draw: st.DrawFn) -> BlockAffinity:
    """Affinities with the name and the labels that Calico gives them: an etcd can hold no others."""
    owner, cidr = draw(affinities()), draw(networks())
    return BlockAffinity(
        Metadata(calico.affinity_name(owner.host, cidr), labels=calico.affinity_labels(owner, cidr)),
        owner.host,
        cidr,
        draw(st.sampled_from(AffinityState)),
        owner.type,
        draw(st.booleans()),
    )


# --- Calico's kinds for address management ------------------------------------------------------------------

_OWNERS = st.dictionaries(st.sampled_from(["pod", "namespace", "node", "type"]), _WORD, max_size=2)


def times() -> SearchStrategy[datetime]:
    """Moments in UTC."""
    return st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - so it asks


def allocation_attributes() -> SearchStrategy[AllocationAttribute]:
    """Attributes of somebody's addresses, or of addresses that cool down."""
    return st.builds(
        AllocationAttribute, handle=st.none() | names(), owner=_OWNERS, alternate_owner=_OWNERS
    ) | st.builds(AllocationAttribute, released_at=times())


def affinities() -> SearchStrategy[Affinity]:
    return st.builds(Affinity, host=node_names(), type=st.sampled_from(["host", "virtual"]))


@st.composite
def ipam_blocks(draw: st.DrawFn) -> IPAMBlock:
    """Blocks of 1 to 16 addresses, each of them free or somebody's; the queue in any order; no labels, as in etcd."""
    of = draw(families())
    longest = 32 if of is Family.IPV4 else 128
    cidr = draw(
        networks(of, shortest=longest - 4).filter(lambda cidr: not str(cidr).startswith(":"))
    )  # no name is "--1"
    attributes = tuple(draw(st.lists(allocation_attributes(), min_size=1, max_size=3)))
    index = st.none() | st.integers(0, len(attributes) - 1)
    allocations = tuple(draw(st.lists(index, min_size=cidr.num_addresses, max_size=cidr.num_addresses)))
    taken = [ordinal for ordinal, found in enumerate(allocations) if found is not None]
    free = [ordinal for ordinal, found in enumerate(allocations) if found is None]
    return IPAMBlock(
        Metadata(calico.cidr_name(cidr)),
        cidr,
        affinity=draw(st.none() | affinities()),
        claimed_at=draw(st.none() | times()),
        allocations=allocations,
        unallocated=tuple(draw(st.permutations(free))),
        attributes=attributes,
        sequence_number=draw(st.integers(0, _INT64)),
        sequence_numbers={ordinal: draw(st.integers(0, _INT64)) for ordinal in taken},
        deleted=draw(st.booleans()),
    )


@st.composite
def ipam_handles(draw: st.DrawFn) -> IPAMHandle:
    handle = draw(names())
    counts = draw(st.dictionaries(networks(), st.integers(1, 4096), max_size=3))
    return IPAMHandle(Metadata(calico_ipam.handle_name(handle)), handle, counts, draw(st.booleans()))


@st.composite
def ipam_configurations(draw: st.DrawFn) -> IPAMConfiguration:
    strict = draw(st.booleans())
    return IPAMConfiguration(
        Metadata(calico_ipam.CONFIGURATION),
        strict_affinity=strict,
        auto_allocate_blocks=not strict or draw(st.booleans()),
        max_blocks_per_host=draw(st.integers(0, 1_000_000)),
        cooldown=draw(st.integers(0, 1200)),
    )


def ip_reservations() -> SearchStrategy[IPReservation]:
    return st.builds(IPReservation, meta=metadata(), cidrs=st.lists(networks(), max_size=3).map(tuple))


# --- our own kinds ------------------------------------------------------------------------------------------


def tables() -> SearchStrategy[TableId]:
    return _WORD.map(lambda word: TableId(f"rtb-{word}"))


def instances() -> SearchStrategy[InstanceId]:
    return _WORD.map(lambda word: InstanceId(f"i-{word}"))


def cloud_interfaces() -> SearchStrategy[InterfaceId]:
    return _WORD.map(lambda word: InterfaceId(f"eni-{word}"))


def cloud_nodes() -> SearchStrategy[CloudNode]:
    return st.builds(
        CloudNode,
        meta=metadata(),
        instance=instances(),
        interface=cloud_interfaces(),
        subnet=_WORD.map(lambda word: SubnetId(f"subnet-{word}")),
        zone=_TEXT,
        tables=st.lists(tables(), max_size=3).map(tuple),
        forwarding=st.booleans(),
        l2_adjacent=st.booleans(),
        mtu=st.integers(576, 9216),
        problem=_TEXT,
    )


def cloud_addresses() -> SearchStrategy[CloudAddresses]:
    interfaces_of = st.builds(
        CloudInterface,
        id=cloud_interfaces(),
        number=st.integers(0, 15),
        mac=_TEXT,
        subnet=_WORD.map(lambda word: SubnetId(f"subnet-{word}")),
        addresses=st.lists(st.one_of(interfaces(Family.IPV4), interfaces(Family.IPV6)), max_size=2).map(tuple),
    )
    prefixes = st.builds(
        CloudPrefix,
        cidr=networks(),
        interface=cloud_interfaces(),
        state=st.sampled_from(PrefixState),
        since=st.sampled_from([0.0, 1.5, 1_800_000_000.25]),
    )
    return st.builds(
        CloudAddresses,
        meta=metadata(),
        interfaces=st.lists(interfaces_of, max_size=3).map(tuple),
        prefixes=st.lists(prefixes, max_size=4).map(tuple),
        capacity=st.dictionaries(st.sampled_from(Family), st.integers(1, 1000)),
        cause=st.sampled_from(Cause),
        detail=_TEXT,
    )


def next_hops() -> SearchStrategy[NextHop]:
    return st.builds(
        NextHop,
        interface=st.none() | cloud_interfaces(),
        instance=st.none() | instances(),
        address=st.none() | addresses(),
    )


def table_statuses() -> SearchStrategy[TableStatus]:
    return st.builds(
        TableStatus,
        table=tables(),
        state=st.sampled_from(RouteState),
        cause=st.sampled_from(Cause),
        detail=_TEXT,
        next_hop=st.none() | next_hops(),
        since=_SECONDS,
    )


def cloud_routes() -> SearchStrategy[CloudRoute]:
    return st.builds(
        CloudRoute,
        meta=metadata(),
        cidr=networks(),
        node=node_names(),
        tables=st.lists(table_statuses(), max_size=3, unique_by=lambda status: status.table).map(tuple),
    )


def agent_reports() -> SearchStrategy[AgentReport]:
    return st.builds(
        AgentReport,
        meta=metadata(),
        ready=st.booleans(),
        observed=st.integers(0, 2**53),
        lost=st.lists(networks(), max_size=2).map(tuple),
        message=_TEXT,
    )


def leases() -> SearchStrategy[Lease]:
    return st.builds(
        Lease,
        meta=metadata(),
        holder=_TEXT,
        duration=st.floats(min_value=0.125, max_value=3600),
        renewals=st.integers(0, 2**53),
    )


def node_conditions() -> SearchStrategy[NodeCondition]:
    return st.builds(NodeCondition, meta=metadata(), ready=st.booleans(), reason=_TEXT, message=_TEXT, since=_SECONDS)


# --- pods ---------------------------------------------------------------------------------------------------


def endpoint_ports() -> SearchStrategy[EndpointPort]:
    return st.builds(
        EndpointPort,
        name=names(),
        protocol=st.sampled_from(["TCP", "UDP", "SCTP", "132"]),
        port=st.integers(1, 65535),
        host_port=st.integers(0, 65535),
        host_address=st.none() | addresses(),
    )


def workload_endpoints() -> SearchStrategy[WorkloadEndpoint]:
    return st.builds(
        WorkloadEndpoint,
        meta=metadata(namespaced=True),
        node=node_names(),
        orchestrator=st.sampled_from(["k8s", "cni"]),
        endpoint=st.just("eth0"),
        container_id=_WORD,
        pod=st.just("") | names(),
        workload=st.just("") | _WORD,
        service_account=st.just("") | names(),
        networks=st.lists(addresses().map(ip_network), max_size=2).map(tuple),
        floating=st.lists(st.builds(FloatingAddress, addresses(), addresses()), max_size=1).map(tuple),
        ipv4_gateway=st.none() | addresses(Family.IPV4),
        ipv6_gateway=st.none() | addresses(Family.IPV6),
        profiles=st.lists(names(), max_size=2).map(tuple),
        interface=_WORD,
        mac=macs(),
        ports=st.lists(endpoint_ports(), max_size=2).map(tuple),
        allowed_sources=st.lists(networks(), max_size=2).map(tuple),
    )


def pods() -> SearchStrategy[Pod]:
    return st.builds(
        Pod,
        meta=metadata(namespaced=True),
        node=st.none() | node_names(),
        service_account=st.just("") | names(),
        host_network=st.booleans(),
        ports=st.lists(endpoint_ports(), max_size=2).map(tuple),
        phase=st.sampled_from(["", "Pending", "Running", "Succeeded", "Failed"]),
        addresses=st.lists(addresses(), max_size=2).map(tuple),
    )


_MAYBE = st.none() | st.booleans()
_AS_NUMBERS = st.none() | st.integers(0, 2**32 - 1) | st.just("1.10")


def _settings() -> dict[type[Resource], SearchStrategy[Resource]]:
    """Calico's kinds that are kept as they are written."""
    bgp = st.builds(BGPConfigurationSpec, as_number=_AS_NUMBERS, node_to_node_mesh_enabled=_MAYBE)
    peer = st.builds(BGPPeerSpec, node=st.none() | node_names(), peer_ip=addresses().map(str), as_number=_AS_NUMBERS)
    information = st.builds(ClusterInformationSpec, cluster_guid=st.none() | _WORD, datastore_ready=_MAYBE)
    felix = st.builds(FelixConfigurationSpec, bpf_enabled=_MAYBE, vxlan_vni=st.none() | st.integers(1, 2**24 - 1))
    plain = st.builds(Metadata, name=names(), uid=st.uuids().map(str))
    only = st.builds(Metadata, name=st.just("default"), uid=st.uuids().map(str))
    classes = st.lists(st.sampled_from(["Agent", "BGP", "Routes"]), max_size=2).map(tuple)
    return {
        BGPConfiguration: st.builds(BGPConfiguration, plain, bgp),
        BGPPeer: st.builds(BGPPeer, plain, peer),
        BGPFilter: st.builds(BGPFilter, plain),
        ClusterInformation: st.builds(ClusterInformation, only, information),
        FelixConfiguration: st.builds(FelixConfiguration, plain, felix),
        KubeControllersConfiguration: st.builds(KubeControllersConfiguration, plain),
        CalicoNodeStatus: st.builds(
            CalicoNodeStatus, plain, st.builds(CalicoNodeStatusSpec, node=node_names(), classes=classes)
        ),
    }


OF: Mapping[type[Resource], SearchStrategy[Resource]] = {
    Node: nodes(),
    IPPool: ip_pools(),
    BlockAffinity: block_affinities(),
    IPAMBlock: ipam_blocks(),
    IPAMHandle: ipam_handles(),
    IPAMConfiguration: ipam_configurations(),
    IPReservation: ip_reservations(),
    CloudNode: cloud_nodes(),
    CloudRoute: cloud_routes(),
    CloudAddresses: cloud_addresses(),
    AgentReport: agent_reports(),
    Lease: leases(),
    NodeCondition: node_conditions(),
    WorkloadEndpoint: workload_endpoints(),
    Namespace: st.builds(Namespace, metadata()),
    Pod: pods(),
    ServiceAccount: st.builds(ServiceAccount, metadata(namespaced=True)),
    **_settings(),
    **policy_strategies.OF,
}
"""A strategy for each kind that a store can hold."""


def resources() -> SearchStrategy[Resource]:
    return st.one_of(*OF.values())
