"""Hypothesis strategies for the kinds of policy; everything drawn is what Calico and Kubernetes accept.

``strategies.OF`` holds them beside those of the other kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_network

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from cloudnet.model.addresses import Family, Network, NodeName
from cloudnet.model.cluster_policies import (
    ClusterAction,
    ClusterNetworkPolicy,
    ClusterPeer,
    ClusterProtocol,
    ClusterRule,
    ClusterTier,
    NamespacedPods,
)
from cloudnet.model.kubernetes_labels import Expression, LabelSelector, Operator
from cloudnet.model.kubernetes_policies import (
    IPBlock,
    KubernetesNetworkPolicy,
    KubernetesPeer,
    KubernetesPolicySpec,
    KubernetesPort,
    KubernetesRule,
    StagedKubernetesNetworkPolicy,
)
from cloudnet.model.kubernetes_services import EndpointSlice, ServicePort
from cloudnet.model.policies import (
    ANYONE,
    BUILT_IN_TIERS,
    ICMP,
    NUMBERS,
    Action,
    EntityRule,
    GlobalNetworkPolicy,
    GlobalNetworkSet,
    HostEndpoint,
    HTTPMatch,
    HTTPPath,
    NamedPort,
    NetworkPolicy,
    NetworkSet,
    PolicySpec,
    PolicyType,
    Port,
    Profile,
    Protocol,
    Rule,
    ServiceAccountMatch,
    ServiceMatch,
    StagedAction,
    StagedGlobalNetworkPolicy,
    StagedNetworkPolicy,
    Tier,
)
from cloudnet.model.resources import Metadata, Resource

_NAMES = st.from_regex(r"[a-z][a-z0-9]{0,6}(-[a-z0-9]{1,3})?", fullmatch=True)
_KEYS = st.sampled_from(["app", "role", "zone", "example.com/team", "a_b.c"])
_VALUES = st.sampled_from(["", "web", "db", "1", "x-y_z.0", "A"])
_LABELS = st.dictionaries(_KEYS, _VALUES, max_size=3)
_SELECTORS = st.sampled_from(
    ["", "all()", "app == 'web'", "has(role)", "!has(role) || zone in {'a', 'b'}", "app starts with 'w' && has(zone)"]
)
_ORDERS = st.none() | st.floats(-1e6, 1e6, allow_nan=False) | st.integers(0, 10_000).map(float)
_KUBERNETES_PROTOCOLS = st.sampled_from([Protocol(NUMBERS[name], name) for name in ("TCP", "UDP", "SCTP")])
_TYPES = st.sampled_from([(), (PolicyType.INGRESS,), (PolicyType.EGRESS,), tuple(PolicyType)])


def _metadata(*, namespaced: bool) -> SearchStrategy[Metadata]:
    return st.builds(
        Metadata,
        name=_NAMES,
        namespace=_NAMES if namespaced else st.just(""),
        uid=st.uuids().map(str),
        labels=_LABELS,
        annotations=st.dictionaries(_KEYS, st.text(max_size=10), max_size=1),
    )


def _networks(of: Family, *, shortest: int = 0) -> SearchStrategy[Network]:
    longest = 32 if of is Family.IPV4 else 128
    return st.builds(
        lambda address, length: ip_network((address, length), strict=False),
        st.ip_addresses(v=4 if of is Family.IPV4 else 6),
        st.integers(shortest, longest),
    )


def protocols() -> SearchStrategy[Protocol]:
    return st.sampled_from([Protocol(number, name) for name, number in NUMBERS.items()]) | st.builds(
        Protocol, st.integers(1, 255)
    )


def ports() -> SearchStrategy[Port]:
    """Numbers, ranges and names."""
    ranges = st.tuples(st.integers(1, 65535), st.integers(1, 65535)).map(lambda ends: Port(min(ends), max(ends)))
    return (
        ranges | st.integers(1, 65535).map(lambda port: Port(port, port)) | _port_names().map(lambda n: Port(name=n))
    )


def _port_names() -> SearchStrategy[str]:
    return st.sampled_from(["http", "dns-tcp", "metrics"])


@st.composite
def _entities(draw: st.DrawFn, of: Family | None, protocol: Protocol | None, *, services: bool) -> EntityRule:
    """One end of a rule. ``of``: the family of its nets; no nets without it."""
    if services and draw(st.booleans()):
        return EntityRule(services=ServiceMatch(draw(_NAMES), draw(_NAMES)))
    nets = st.lists(_networks(of, shortest=1), max_size=2).map(tuple) if of else st.just(())
    if protocol is None:
        some = st.lists(_port_names().map(lambda name: Port(name=name)), max_size=2)
    else:
        some = st.lists(ports(), max_size=3) if protocol.has_ports else st.just([])
    accounts = st.builds(ServiceAccountMatch, st.lists(_NAMES, max_size=2).map(tuple), _SELECTORS)
    entity = EntityRule(
        nets=draw(nets),
        not_nets=draw(nets),
        selector=draw(_SELECTORS),
        not_selector=draw(_SELECTORS),
        namespace_selector=draw(_SELECTORS | st.just("global()")),
        ports=tuple(draw(some)),
        not_ports=tuple(draw(some)),
        service_accounts=draw(st.none() | accounts),
    )
    return draw(st.sampled_from([ANYONE, entity]))


@st.composite
def rules(draw: st.DrawFn, direction: PolicyType | None = None) -> Rule:
    """Rules of a policy in one direction; of a profile without one."""
    of = draw(st.none() | st.sampled_from(Family))
    protocol = draw(st.none() | protocols())
    not_protocol = draw(st.none() | protocols())
    version = draw(st.none() | st.just(of)) if of else None
    if version:
        other = {Family.IPV4: 58, Family.IPV6: 1}[version]
        protocol = None if protocol and protocol.number == other else protocol
        not_protocol = None if not_protocol and not_protocol.number == other else not_protocol
    is_icmp = protocol is not None and protocol.number in (1, 58)
    http = st.builds(
        HTTPMatch,
        st.lists(st.sampled_from(["GET", "PUT"]), max_size=2, unique=True).map(tuple),
        st.lists(st.sampled_from([HTTPPath("/a"), HTTPPath(prefix="/b")]), max_size=2).map(tuple),
    )
    may_http = direction is not PolicyType.EGRESS and (protocol is None or protocol.number == NUMBERS["TCP"])
    found = draw(st.none() | http) if may_http else None
    return Rule(
        action=Action.ALLOW if found else draw(st.sampled_from(Action)),
        ip_version=version,
        protocol=protocol,
        not_protocol=not_protocol,
        icmp=draw(st.none() | _icmps()) if is_icmp else None,
        not_icmp=draw(st.none() | _icmps()) if is_icmp else None,
        source=draw(_entities(of, protocol, services=direction is PolicyType.INGRESS)),
        destination=draw(_entities(of, protocol, services=direction is PolicyType.EGRESS)),
        http=found,
        annotations=draw(st.dictionaries(_KEYS, st.text(max_size=5), max_size=1)),
    )


def _icmps() -> SearchStrategy[ICMP]:
    return st.builds(ICMP, st.integers(0, 254), st.none() | st.integers(0, 255)) | st.just(ICMP())


@st.composite
def specs(draw: st.DrawFn) -> PolicySpec:
    """Bodies of namespaced policies."""
    return PolicySpec(
        tier=draw(st.just("default") | _NAMES),
        order=draw(_ORDERS),
        selector=draw(_SELECTORS),
        types=draw(_TYPES),
        ingress=tuple(draw(st.lists(rules(PolicyType.INGRESS), max_size=2))),
        egress=tuple(draw(st.lists(rules(PolicyType.EGRESS), max_size=2))),
        service_account_selector=draw(_SELECTORS),
        performance_hints=draw(st.sampled_from([(), ("AssumeNeededOnEveryNode",)])),
    )


@st.composite
def global_specs(draw: st.DrawFn) -> PolicySpec:
    """Bodies of global policies."""
    spec = replace(draw(specs()), namespace_selector=draw(_SELECTORS), apply_on_forward=draw(st.booleans()))
    stage = draw(st.sampled_from(["", "", "doNotTrack", "preDNAT"]))
    if stage == "doNotTrack":
        return replace(spec, do_not_track=True, apply_on_forward=True)
    if stage == "preDNAT":
        return replace(spec, pre_dnat=True, apply_on_forward=True, egress=(), types=())
    return spec


_ACTIONS = st.sampled_from([StagedAction.SET, StagedAction.LEARN, StagedAction.IGNORE])


def network_policies() -> SearchStrategy[NetworkPolicy]:
    return st.builds(NetworkPolicy, _metadata(namespaced=True), specs())


def global_network_policies() -> SearchStrategy[GlobalNetworkPolicy]:
    return st.builds(GlobalNetworkPolicy, _metadata(namespaced=False), global_specs())


def staged_network_policies() -> SearchStrategy[StagedNetworkPolicy]:
    meta = _metadata(namespaced=True)
    return st.builds(StagedNetworkPolicy, meta, specs(), _ACTIONS) | st.builds(
        StagedNetworkPolicy, meta, st.just(PolicySpec()), st.just(StagedAction.DELETE)
    )


def staged_global_network_policies() -> SearchStrategy[StagedGlobalNetworkPolicy]:
    return st.builds(StagedGlobalNetworkPolicy, _metadata(namespaced=False), global_specs(), _ACTIONS)


def tiers() -> SearchStrategy[Tier]:
    """Tiers of users and the built-in ones."""
    own = _metadata(namespaced=False).filter(
        lambda meta: meta.name not in {tier.meta.name for tier in BUILT_IN_TIERS}
    )
    actions = st.sampled_from([Action.DENY, Action.PASS])
    built_in = st.builds(
        lambda tier, uid: replace(tier, meta=replace(tier.meta, uid=str(uid))),
        st.sampled_from(BUILT_IN_TIERS),
        st.uuids(),
    )
    return st.builds(Tier, own, _ORDERS, actions) | built_in


def _any_networks() -> SearchStrategy[Network]:
    return st.sampled_from(Family).flatmap(_networks)


def network_sets() -> SearchStrategy[NetworkSet]:
    return st.builds(NetworkSet, _metadata(namespaced=True), st.lists(_any_networks(), max_size=3).map(tuple))


def global_network_sets() -> SearchStrategy[GlobalNetworkSet]:
    return st.builds(GlobalNetworkSet, _metadata(namespaced=False), st.lists(_any_networks(), max_size=3).map(tuple))


def profiles() -> SearchStrategy[Profile]:
    some = st.lists(rules(), max_size=2).map(tuple)
    return st.builds(Profile, _metadata(namespaced=False), some, some, _LABELS)


def host_endpoints() -> SearchStrategy[HostEndpoint]:
    named = st.builds(NamedPort, _port_names(), _KUBERNETES_PROTOCOLS, st.integers(1, 65535))
    return st.builds(
        HostEndpoint,
        _metadata(namespaced=False),
        _NAMES.map(NodeName),
        st.sampled_from(["*", "eth0", "bond0.7"]),
        st.lists(st.ip_addresses(), max_size=2).map(tuple),
        st.lists(_NAMES, max_size=2).map(tuple),
        st.lists(named, max_size=2).map(tuple),
    )


# --- Kubernetes ---------------------------------------------------------------------------------------------


def label_selectors() -> SearchStrategy[LabelSelector]:
    with_values = st.builds(
        Expression,
        _KEYS,
        st.sampled_from([Operator.IN, Operator.NOT_IN]),
        st.lists(_VALUES, min_size=1, max_size=2).map(tuple),
    )
    without = st.builds(Expression, _KEYS, st.sampled_from([Operator.EXISTS, Operator.DOES_NOT_EXIST]))
    return st.builds(LabelSelector, _LABELS, st.lists(with_values | without, max_size=2).map(tuple))


@st.composite
def _blocks(draw: st.DrawFn) -> IPBlock:
    cidr = draw(_any_networks())
    inside = list(cidr.subnets(new_prefix=min(cidr.prefixlen + 2, cidr.max_prefixlen)))
    if cidr.prefixlen == cidr.max_prefixlen:
        return IPBlock(cidr)
    return IPBlock(cidr, tuple(draw(st.lists(st.sampled_from(inside), max_size=2))))


def _kubernetes_ports() -> SearchStrategy[KubernetesPort]:
    pair = st.tuples(st.integers(1, 65535), st.integers(1, 65535)).map(sorted)
    return (
        st.builds(KubernetesPort, _KUBERNETES_PROTOCOLS)
        | st.builds(KubernetesPort, _KUBERNETES_PROTOCOLS, name=_port_names())
        | st.builds(lambda p, ends: KubernetesPort(p, ends[0], ends[1]), _KUBERNETES_PROTOCOLS, pair)
        | st.builds(KubernetesPort, _KUBERNETES_PROTOCOLS, st.integers(1, 65535))
    )


def kubernetes_rules() -> SearchStrategy[KubernetesRule]:
    peers = (
        st.builds(KubernetesPeer, pods=label_selectors())
        | st.builds(KubernetesPeer, namespaces=label_selectors())
        | st.builds(KubernetesPeer, pods=label_selectors(), namespaces=label_selectors())
        | st.builds(KubernetesPeer, block=_blocks())
    )
    return st.builds(
        KubernetesRule, st.lists(peers, max_size=2).map(tuple), st.lists(_kubernetes_ports(), max_size=3).map(tuple)
    )


def kubernetes_specs() -> SearchStrategy[KubernetesPolicySpec]:
    some = st.lists(kubernetes_rules(), max_size=2).map(tuple)
    return st.builds(KubernetesPolicySpec, label_selectors(), some, some, _TYPES)


def kubernetes_policies() -> SearchStrategy[KubernetesNetworkPolicy]:
    return st.builds(KubernetesNetworkPolicy, _metadata(namespaced=True), kubernetes_specs())


def staged_kubernetes_policies() -> SearchStrategy[StagedKubernetesNetworkPolicy]:
    return st.builds(StagedKubernetesNetworkPolicy, _metadata(namespaced=True), kubernetes_specs(), _ACTIONS)


def _namespaced_pods() -> SearchStrategy[NamespacedPods]:
    return st.builds(NamespacedPods, label_selectors(), label_selectors())


@st.composite
def _cluster_rules(draw: st.DrawFn, direction: PolicyType) -> ClusterRule:
    peers = st.builds(ClusterPeer, namespaces=label_selectors()) | st.builds(ClusterPeer, pods=_namespaced_pods())
    if direction is PolicyType.EGRESS:
        peers |= st.builds(ClusterPeer, networks=st.lists(_any_networks(), min_size=1, max_size=2).map(tuple))
    numbers = ports().filter(lambda port: not port.name)
    protocol = st.builds(ClusterProtocol, _KUBERNETES_PROTOCOLS, numbers) | st.builds(
        ClusterProtocol, port=_port_names().map(lambda name: Port(name=name))
    )
    return ClusterRule(
        draw(st.sampled_from(ClusterAction)),
        tuple(draw(st.lists(peers, min_size=1, max_size=2))),
        tuple(draw(st.lists(protocol, max_size=2))),
        draw(st.sampled_from(["", "a rule", "dns"])),
    )


@st.composite
def cluster_network_policies(draw: st.DrawFn) -> ClusterNetworkPolicy:
    of_pods = draw(st.booleans())
    return ClusterNetworkPolicy(
        draw(_metadata(namespaced=False)),
        draw(st.sampled_from(ClusterTier)),
        draw(st.integers(0, 1000)),
        None if of_pods else draw(label_selectors()),
        draw(_namespaced_pods()) if of_pods else None,
        tuple(draw(st.lists(_cluster_rules(PolicyType.INGRESS), max_size=2))),
        tuple(draw(st.lists(_cluster_rules(PolicyType.EGRESS), max_size=2))),
    )


@st.composite
def endpoint_slices(draw: st.DrawFn) -> EndpointSlice:
    of = draw(st.sampled_from(Family))
    addresses = st.lists(st.ip_addresses(v=4 if of is Family.IPV4 else 6), max_size=3)
    port = st.builds(
        ServicePort, _KUBERNETES_PROTOCOLS, st.none() | st.integers(1, 65535), st.sampled_from(["", "web"])
    )
    return EndpointSlice(
        draw(_metadata(namespaced=True)),
        f"IPv{int(of)}",
        tuple(draw(addresses)),
        tuple(draw(st.lists(port, max_size=2))),
    )


OF: Mapping[type[Resource], SearchStrategy[Resource]] = {
    NetworkPolicy: network_policies(),
    GlobalNetworkPolicy: global_network_policies(),
    StagedNetworkPolicy: staged_network_policies(),
    StagedGlobalNetworkPolicy: staged_global_network_policies(),
    StagedKubernetesNetworkPolicy: staged_kubernetes_policies(),
    Tier: tiers(),
    NetworkSet: network_sets(),
    GlobalNetworkSet: global_network_sets(),
    Profile: profiles(),
    HostEndpoint: host_endpoints(),
    KubernetesNetworkPolicy: kubernetes_policies(),
    ClusterNetworkPolicy: cluster_network_policies(),
    EndpointSlice: endpoint_slices(),
}
"""A strategy for each kind of policy."""
