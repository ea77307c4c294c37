"""Hypothesis strategies for small clusters under policy, in its evaluation form, and for packets in them.

Few names, labels, addresses and ports, so that selectors meet labels, rules meet packets, and members overlap: two
pods may share an address, prefixes lie in each other, a named port has different numbers, tiers are named that nobody
made, and a policy may select nothing at all. A cluster reads like a sentence when a test fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Any, Final, TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from cloudnet.model.addresses import Address, Family, Network, NodeName
from cloudnet.policy import rules
from cloudnet.policy.membership import Port, Slice
from cloudnet.policy.packets import ConnectionState, Packet
from cloudnet.policy.rules import (
    ANYONE,
    ICMP,
    ICMPV6,
    SCTP,
    TCP,
    UDP,
    Action,
    Direction,
    Endpoint,
    EndpointId,
    Icmp,
    Peer,
    Policy,
    PolicyKey,
    PortRange,
    Profile,
    Rule,
    Tier,
)
from cloudnet.policy.selectors import parse
from cloudnet.policy.sources import Selected, SelectedPort, ServiceEndpoints, Source, set_id
from cloudnet.testing.clusters import (
    Cluster,
    ClusterNode,
    Labelled,
    NamedSlice,
    NetworkSet,
    SourcedPolicy,
    SourcedProfile,
    Thing,
    name_of,
)

NAMESPACES: Final = ("blue", "green")
PODS: Final = tuple(EndpointId(f"{namespace}/{name}") for namespace in NAMESPACES for name in ("a", "b", "c"))
ADDRESSES: Final[Mapping[EndpointId, tuple[Network, ...]]] = {
    pod: (ip_network(f"10.65.0.{i}"), ip_network(f"fd00:65::{i}")) for i, pod in enumerate(PODS, start=1)
}
"""Where a pod usually is; another one may take its address, as when a pod's successor comes before it has gone."""

HOST: Final = EndpointId("node-eth0")
HOST_ADDRESS: Final = ip_network("10.0.0.1")

OUTSIDE: Final[tuple[Address, ...]] = tuple(map(ip_address, ("192.0.2.1", "192.0.2.200", "2001:db8::1")))
PREFIXES: Final[tuple[Network, ...]] = tuple(
    map(ip_network, ("192.0.2.0/24", "192.0.2.128/25", "192.0.2.1", "10.65.0.0/30", "2001:db8::/32", "fd00:65::2"))
)
NUMBERS: Final = (53, 80, 8080)
RANGES: Final = (PortRange(53, 53), PortRange(80, 80), PortRange(79, 8080))
WITH_PORTS: Final = (TCP, UDP, SCTP)

SELECTORS: Final = tuple(
    parse(text).canonical()
    for text in (
        "all()",
        "app == 'web'",
        "app == 'db' && projectcalico.org/namespace == 'blue'",
        "app in {'web', 'cache'} || !has(app)",
        "projectcalico.org/namespace == 'green'",
        "pcns.team == 'red'",
        "pcns.team != 'red' && has(projectcalico.org/namespace)",
        "app == 'nobody'",
    )
)

_APPS = st.sampled_from(("web", "db", "cache"))
_TEAMS = st.sampled_from(("red", "gold"))
_SELECTORS = st.sampled_from((*SELECTORS[:1] * 3, *SELECTORS[1:]))  # half of what is drawn should apply
_PREFIXES = st.sampled_from(PREFIXES)
_TIERS = ("security", "default", "nobody's")


# --- strategies for things ----------------------------------------------------------------------------------


@st.composite
def pods(draw: st.DrawFn) -> Labelled:
    """Pods, seven of eight local, most with their usual addresses; the interface is the pod's own."""
    pod = draw(st.sampled_from(PODS))
    namespace, _, name = pod.partition("/")
    addresses = ADDRESSES[draw(st.sampled_from((pod, pod, pod, *PODS)))]
    own = {"projectcalico.org/namespace": namespace}
    own |= draw(st.sampled_from(({"app": "web"}, {"app": "db"}, {"app": "web"}, {"app": "cache"}, {})))
    return Labelled(
        Endpoint(
            pod,
            f"cali{namespace}{name}",
            draw(st.sampled_from((addresses, addresses, addresses[:1], addresses[1:]))),
            draw(st.sampled_from(((f"kns.{namespace}",),) * 3 + ((f"kns.{namespace}", "extra"), ()))),
        ),
        own,
        draw(_ports()),
        draw(st.sampled_from((True,) * 7 + (False,))),
    )


def _ports() -> SearchStrategy[tuple[Port, ...]]:
    port = st.builds(Port, st.sampled_from(("http", "dns")), st.sampled_from(WITH_PORTS), st.sampled_from(NUMBERS))
    return st.lists(port, max_size=2).map(tuple)


def host_endpoints() -> SearchStrategy[Labelled]:
    endpoint = st.builds(
        Endpoint,
        st.just(HOST),
        st.sampled_from(("eth0", rules.ANY_INTERFACE)),
        st.sampled_from(((HOST_ADDRESS,), ())),
        st.sampled_from(((), (rules.ALLOW_ALL.name,))),
        is_host=st.just(value=True),
    )
    return st.builds(Labelled, endpoint, st.fixed_dictionaries({}, optional={"app": _APPS}), _ports())


def network_sets() -> SearchStrategy[NetworkSet]:
    names = st.sampled_from(("partners", "blue/office"))
    return st.builds(
        NetworkSet,
        names,
        st.fixed_dictionaries({}, optional={"app": _APPS, "pcns.team": _TEAMS}),
        st.lists(_PREFIXES, max_size=3).map(tuple),
    )


def slices() -> SearchStrategy[NamedSlice]:
    address = st.sampled_from([address for pod in PODS for address in ADDRESSES[pod]])
    slice_ = st.builds(
        Slice, st.just("blue"), st.sampled_from(("web", "db")), st.lists(address, max_size=3).map(tuple), _ports()
    )
    return st.builds(NamedSlice, st.sampled_from(("blue/web-1", "blue/web-2")), slice_)


def tiers() -> SearchStrategy[Tier]:
    return st.builds(
        Tier,
        st.sampled_from(_TIERS[:2]),
        st.sampled_from((None, 1.0, 1_000_000.0)),
        st.sampled_from((Action.DENY, Action.PASS)),
    )


def nodes() -> SearchStrategy[ClusterNode]:
    """Nodes, of which two may have one address for a while."""
    addresses = st.frozensets(st.sampled_from((*OUTSIDE, HOST_ADDRESS.network_address)), max_size=2)
    return st.builds(ClusterNode, st.sampled_from(("n1", "n2", "n3")).map(NodeName), addresses)


@st.composite
def profiles(draw: st.DrawFn) -> SourcedProfile:
    """Profiles of namespaces, which usually allow everything, and one more that pods may name."""
    name = draw(st.sampled_from((*(f"kns.{namespace}" for namespace in NAMESPACES), "extra")))
    labels = draw(st.fixed_dictionaries({}, optional={"pcns.team": _TEAMS}))
    allow = Rule(Action.ALLOW)
    if draw(st.sampled_from((True, True, False))):
        return SourcedProfile(Profile(name, (allow,), (allow,), labels))
    ingress, egress, sources = draw(_both_directions())
    return SourcedProfile(Profile(name, ingress, egress, labels), sources)


@st.composite
def policies(draw: st.DrawFn, *, for_hosts: bool = False) -> SourcedPolicy:
    """Policies of three tiers; ``for_hosts``: some that only host endpoints know, too."""
    ingress, egress, sources = draw(_both_directions())
    kind = draw(st.sampled_from(("plain",) * 3 + (("forward", "untracked", "pre-dnat") if for_hosts else ())))
    key = PolicyKey("GlobalNetworkPolicy", "", draw(st.sampled_from(("one", "two", "three", "four"))))
    types = draw(st.sampled_from((*({d} for d in Direction), set(Direction))).map(frozenset))
    policy = Policy(
        key,
        draw(st.sampled_from(_TIERS)),
        draw(_SELECTORS),
        frozenset({Direction.INGRESS}) if kind == "pre-dnat" else types,
        draw(st.sampled_from((None, 1.0, 2.0))),
        ingress,
        () if kind == "pre-dnat" else egress,
        staged=draw(st.sampled_from((False,) * 7 + (True,))),
        do_not_track=kind == "untracked",
        pre_dnat=kind == "pre-dnat",
        apply_on_forward=kind != "plain",
    )
    return SourcedPolicy(policy, sources)


def _both_directions() -> SearchStrategy[tuple[tuple[Rule, ...], tuple[Rule, ...], frozenset[Source]]]:
    def joined(parts: list[list[tuple[Rule, frozenset[Source]]]]) -> object:
        ingress, egress = (tuple(rule for rule, _ in part) for part in parts)
        return ingress, egress, frozenset(source for part in parts for _, sources in part for source in sources)

    some = st.lists(sourced_rules(), min_size=1, max_size=4)
    return st.tuples(some, some).map(list).map(joined)  # type: ignore[arg-type]  # a list of two


@st.composite
def sourced_rules(draw: st.DrawFn) -> tuple[Rule, frozenset[Source]]:
    """Rules that their documents could have, with the sources of the sets that they name.

    One condition most often, seldom more than two: a rule that asks for much matches nothing.
    """
    protocol = draw(st.sampled_from((None, None, TCP, TCP, TCP, UDP, SCTP, ICMP, ICMPV6)))
    conditions = draw(st.lists(st.sampled_from(_CONDITIONS), max_size=2, unique=True))
    sources: set[Source] = set()
    ends: dict[str, dict[str, Any]] = {"source": {}, "destination": {}, "rule": {}}  # each field has its own kind
    for end, kind in conditions:
        value, source = draw(_condition(kind, protocol))
        if value is not None:
            ends[end][kind] = value
            sources |= {source} if source is not None else set()
    source_, destination = (Peer(**ends[end]) if ends[end] else ANYONE for end in _ENDS)
    action = draw(st.sampled_from((Action.ALLOW, Action.ALLOW, Action.DENY, Action.DENY, Action.PASS, Action.LOG)))
    rule = Rule(action, protocol=protocol, source=source_, destination=destination, **ends["rule"])
    return rule, frozenset(sources)


_ENDS = ("source", "destination")
_CONDITIONS = (
    *((end, kind) for end in _ENDS for kind in ("nets", "not_nets", "sets", "sets", "sets", "not_sets")),
    *(
        ("destination", kind)
        for kind in ("ports", "ports", "not_ports", "named_ports", "not_named_ports", "services")
    ),
    ("source", "ports"),
    ("source", "named_ports"),
    *(("rule", kind) for kind in ("family", "not_protocol", "icmp", "not_icmp")),
)


def _condition(kind: str, protocol: int | None) -> SearchStrategy[tuple[object, Source | None]]:
    """The value of a field, with the source of the set that it names; nothing where the protocol has no such."""
    values: SearchStrategy[object] = st.none()
    match kind:
        case "ports" | "not_ports" if protocol in WITH_PORTS:
            values = st.sampled_from(RANGES).map(lambda ports: (ports,))
        case "nets" | "not_nets":
            values = st.lists(_PREFIXES, min_size=1, max_size=2, unique=True).map(tuple)
        case "family":
            values = st.sampled_from(Family)
        case "not_protocol" if protocol is None:
            values = st.sampled_from((TCP, UDP))
        case "icmp" | "not_icmp" if protocol in {ICMP, ICMPV6}:
            values = st.sampled_from((Icmp(8), Icmp(8, 0), Icmp(128)))
        case "sets" | "not_sets" | "named_ports" | "not_named_ports" | "services":
            return _sources(kind, protocol).map(
                lambda source: ((set_id(source),), source) if source else (None, None)
            )
    return values.map(lambda value: (value, None))


def _sources(kind: str, protocol: int | None) -> SearchStrategy[Source | None]:
    if kind in {"sets", "not_sets"}:
        return st.builds(Selected, _SELECTORS) | st.just(ServiceEndpoints("blue", "web", ports=False))
    if kind == "services":
        return st.builds(ServiceEndpoints, st.just("blue"), st.sampled_from(("web", "db")), ports=st.just(value=True))
    if protocol is not None and protocol not in WITH_PORTS:
        return st.none()
    return st.builds(SelectedPort, _SELECTORS, st.sampled_from(("http", "dns")), st.just(protocol or TCP))


def things(*, hosts: bool = True) -> SearchStrategy[Thing]:
    """Anything that may be in a cluster."""
    kinds: list[SearchStrategy[Thing]] = [
        pods(),
        pods(),
        policies(for_hosts=hosts),
        policies(for_hosts=hosts),
        network_sets(),
        profiles(),
        tiers(),
        slices(),
        nodes(),
    ]
    return st.one_of(*kinds, host_endpoints()) if hosts else st.one_of(*kinds)


def clusters(*, hosts: bool = False) -> SearchStrategy[Cluster]:
    """Clusters with pods and policies, most often enough of both to be interesting."""
    some: SearchStrategy[list[Thing]] = st.tuples(
        _each_once(pods(), 3, 5),
        _each_once(policies(for_hosts=hosts), 2, 4),
        _each_once(st.one_of(network_sets(), profiles(), tiers(), slices(), nodes()), 0, 6),
        st.lists(host_endpoints(), max_size=1) if hosts else st.just([]),
    ).map(lambda parts: [thing for part in parts for thing in part])
    return some.map(_with_namespaces).map(Cluster)


def _with_namespaces(some: list[Thing]) -> tuple[Thing, ...]:
    """Return the things with the profile of each namespace among them; the usual one allows everything."""
    there = {name_of(thing) for thing in some}
    allow = (Rule(Action.ALLOW),)
    usual = [SourcedProfile(Profile(f"kns.{name}", allow, allow, {"pcns.team": "red"})) for name in NAMESPACES]
    return (*some, *(profile for profile in usual if name_of(profile) not in there))


T = TypeVar("T", Labelled, SourcedPolicy, Thing)


def _each_once(of: SearchStrategy[T], least: int, most: int) -> SearchStrategy[list[T]]:
    return st.lists(of, min_size=least, max_size=most, unique_by=name_of)


# --- strategies for packets ---------------------------------------------------------------------------------


@st.composite
def packets(draw: st.DrawFn, cluster: Cluster, *, states: bool = False) -> Packet:
    """Packets between a cluster's local pods, to and from outside; all new, unless ``states``.

    A packet leaves by the interface of the pod that it is for, else by ``eth0``.
    """
    version = draw(st.sampled_from(Family))
    local = [
        (network.network_address, thing.endpoint.interface)
        for thing in cluster.pods
        if thing.local
        for network in thing.endpoint.addresses
        if network.version == version
    ]
    away = [(address, "eth0") for address in OUTSIDE if address.version == version]
    source, enters = draw(st.sampled_from([*local, *local, *away]))
    others = [end for end in (*local, *local, *away) if end[1] != enters]
    destination, leaves = draw(st.sampled_from(others or [(away[0][0], "eth1")]))
    protocol = draw(st.sampled_from((TCP, TCP, UDP, SCTP, ICMP if version is Family.IPV4 else ICMPV6)))
    ports = protocol in WITH_PORTS
    return Packet(
        source,
        destination,
        protocol,
        draw(st.sampled_from((*NUMBERS, 40_000))) if ports else None,
        draw(st.sampled_from(NUMBERS)) if ports else None,
        None if ports else Icmp(8 if version is Family.IPV4 else 128, 0),
        enters,
        leaves,
        draw(st.sampled_from(ConnectionState)) if states else ConnectionState.NEW,
    )


def clusters_with_packets(
    *, number: int = 10, hosts: bool = False, states: bool = False
) -> SearchStrategy[tuple[Cluster, list[Packet]]]:
    """A cluster and up to ``number`` packets to try in it."""

    def with_packets(cluster: Cluster) -> SearchStrategy[tuple[Cluster, list[Packet]]]:
        some = st.lists(packets(cluster, states=states), min_size=1, max_size=number)
        return st.tuples(st.just(cluster), some)

    return clusters(hosts=hosts).flatmap(with_packets)
