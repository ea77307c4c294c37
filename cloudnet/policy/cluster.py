"""A whole cluster at one moment, in the evaluation form: what the command line asks its questions of.

Unlike an agent it holds every endpoint at once. Pods that nobody gave an address yet get one that no network has
(240.0.0.0/4), so that policies can be tried before a cluster is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Final

from cloudnet.errors import BadInput
from cloudnet.model.addresses import Address, Family, Network, NodeName
from cloudnet.model.kubernetes import Namespace, Pod
from cloudnet.model.policies import HostEndpoint, NetworkSet
from cloudnet.model.resources import Metadata, Resource
from cloudnet.model.workloads import KUBERNETES, WorkloadEndpoint, endpoint_labels, kubernetes_profiles
from cloudnet.policy import convert
from cloudnet.policy.calculate import Calculation
from cloudnet.policy.feed import Feed, host_ports, workload_ports
from cloudnet.policy.membership import Port
from cloudnet.policy.rules import (
    ALLOW_ALL,
    EndpointChanged,
    EndpointId,
    Policy,
    PolicyKey,
    Profile,
    SetId,
    State,
    Tier,
)
from cloudnet.policy.sources import Source, set_id

POD_INTERFACE: Final = "cali"
HOST_INTERFACE: Final = "host"
UPLINK: Final = "uplink"
"""The interface by which a node's packets leave, where no host endpoint names one."""

_NOWHERE: Final = int(IPv4Address("240.0.0.0"))


@dataclass(frozen=True, slots=True)
class Member:
    """An endpoint of the cluster as people call it: ``shop/web`` for a pod, ``host:n1-eth0`` for a host endpoint."""

    title: str
    id: EndpointId
    node: NodeName
    addresses: tuple[Address, ...]
    ports: tuple[Port, ...] = ()
    is_host: bool = False
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)

    def address(self, family: Family) -> Address | None:
        return next((address for address in self.addresses if address.version == family), None)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Everything that decides about packets. ``members``: {title: member}; ``problems``: {policy: what is closed}.

    ``hosts``: {node: its host endpoints}, of nodes with a name.
    ``documents`` are what policies were made of, ``sources`` what sets are made of, ``policies`` and ``profiles``
    all there are, also those that select nobody; ``tiers`` all that somebody made.
    """

    state: State
    members: Mapping[str, Member]
    policies: Mapping[PolicyKey, Policy]
    hosts: Mapping[NodeName, tuple[EndpointId, ...]]
    documents: Mapping[PolicyKey, convert.Document]
    profiles: Mapping[str, Profile]
    tiers: Mapping[str, Tier]
    sources: Mapping[SetId, Source]
    problems: Mapping[PolicyKey, tuple[str, ...]]

    def member(self, title: str) -> Member:
        """Return the endpoint that a person means: ``shop/web``, ``web`` of namespace default, or an address.

        Raises:
            BadInput: there is none such; it says what there is that is called alike.
        """
        for known in (title, f"default/{title}"):
            if known in self.members:
                return self.members[known]
        alike = [name for name in self.members if title.rpartition("/")[2] in name][:5]
        hint = f": is one of {', '.join(alike)} meant" if alike else ", nor any that is called alike"
        raise BadInput(f"there is no endpoint {title!r}{hint}")

    def owner(self, address: Address) -> Member | None:
        """Return the endpoint that has an address."""
        return next((member for member in self.members.values() if address in member.addresses), None)


def build(resources: Iterable[Resource]) -> Cluster:
    """Return the cluster that resources make; those that policy has no use for are passed over."""
    found = _Builder()
    for value in resources:
        found.add(value)
    return found.build()


class _Builder:
    def __init__(self) -> None:
        self._calculation = Calculation()
        self._feed = Feed(self._calculation)
        self._endpoints: dict[str, WorkloadEndpoint | HostEndpoint] = {}
        self._namespaces: set[str] = set()
        self._known_namespaces: set[str] = set()
        self._documents: dict[PolicyKey, convert.Document] = {}
        self._policies: dict[PolicyKey, Policy] = {}
        self._profiles: dict[str, Profile] = {ALLOW_ALL.name: ALLOW_ALL}
        self._tiers: dict[str, Tier] = {tier.name: tier for tier in convert.BUILT_IN_TIERS}
        self._sources: set[Source] = set()
        self._problems: dict[PolicyKey, tuple[str, ...]] = {}

    def add(self, value: Resource) -> None:
        if isinstance(value, Pod):
            if value.host_network or value.finished:
                return  # such a pod has no interface of its own, or none any more
            value = endpoint_of(value)
        if isinstance(value, WorkloadEndpoint):
            # The same pod may be told twice, by its own document and by its endpoint's: the endpoint knows more.
            title = f"{value.meta.namespace}/{value.pod or value.workload or value.meta.name}"
            if title not in self._endpoints or value.networks:
                self._endpoints[title] = value
            self._namespaces.add(value.meta.namespace)
        elif isinstance(value, HostEndpoint):
            self._endpoints[f"host:{value.meta.name}"] = value
        else:
            self._add_other(value)

    def _add_other(self, value: Resource) -> None:
        if isinstance(value, Namespace):
            self._known_namespaces.add(value.meta.name)
        elif isinstance(value, NetworkSet):
            self._namespaces.add(value.meta.namespace)
        problems = self._feed.put(value)
        if isinstance(value, convert.POLICY_KINDS):
            key = convert.key(value)
            self._documents[key] = value
            if problems:
                self._problems[key] = problems
            if converted := convert.policy(value):
                self._policies[key] = converted.policy
                self._sources |= converted.sources
        elif isinstance(value, convert.PROFILE_KINDS):
            found = convert.profile(value)
            self._profiles[found.profile.name] = found.profile
            self._sources |= found.sources
        elif isinstance(value, convert.TIER):
            self._tiers[value.meta.name] = convert.tier(value)

    def build(self) -> Cluster:
        for name in sorted(self._namespaces - self._known_namespaces):
            self._add_other(Namespace(Metadata(name)))  # its pods would be shut off without its profile
        members: dict[str, Member] = {}
        for number, (title, value) in enumerate(sorted(self._endpoints.items())):
            members[title] = self._put(title, value, number)
        self._calculation.flush()
        return Cluster(
            self._calculation.state(),
            members,
            self._policies,
            _hosts(members.values()),
            self._documents,
            self._profiles,
            self._tiers,
            {set_id(source): source for source in self._sources},
            self._problems,
        )

    def _put(self, title: str, value: WorkloadEndpoint | HostEndpoint, number: int) -> Member:
        if isinstance(value, HostEndpoint):
            # One that is known by its addresses alone gets a name here, too.
            self._feed.put(replace(value, interface=value.interface or f"{HOST_INTERFACE}{number}"))
            addresses = value.expected_addresses or (ip_address(_NOWHERE + number),)
            id_ = EndpointId(value.meta.name)
            ports, labels = host_ports(value), value.meta.labels
            return Member(title, id_, value.node, addresses, ports, is_host=True, labels=labels)
        networks = value.networks or (_made_up(number),)
        # Every pod has an interface of its own here, also where documents say nothing of it.
        self._feed.put(replace(value, networks=networks, interface=f"{POD_INTERFACE}{number}"))
        return Member(
            title,
            EndpointId(f"{value.meta.namespace}/{value.meta.name}"),
            value.node,
            tuple(network.network_address for network in networks),
            workload_ports(value.ports),
            labels=value.meta.labels,
        )


def _hosts(members: Iterable[Member]) -> Mapping[NodeName, tuple[EndpointId, ...]]:
    found: dict[NodeName, tuple[EndpointId, ...]] = {}
    for member in members:
        if member.is_host and member.node:
            found[member.node] = (*found.get(member.node, ()), member.id)
    return found


def _made_up(number: int) -> Network:
    return ip_network(_NOWHERE + number)


def endpoint_of(pod: Pod) -> WorkloadEndpoint:
    """Return the endpoint that a pod will have. Calico ``backend/k8s/conversion`` PodToWorkloadEndpoints."""
    account = pod.service_account or "default"
    namespace = pod.meta.namespace
    labels = endpoint_labels(pod.meta.labels, namespace=namespace, orchestrator=KUBERNETES, service_account=account)
    return WorkloadEndpoint(
        meta=Metadata(pod.meta.name, namespace, labels=labels),
        node=pod.node or NodeName(""),
        orchestrator=KUBERNETES,
        endpoint="eth0",
        pod=pod.meta.name,
        service_account=account,
        networks=tuple(ip_network(address) for address in pod.addresses),
        profiles=kubernetes_profiles(namespace, account),
        ports=pod.ports,
    )


def only(state: State, endpoints: Iterable[EndpointChanged]) -> State:
    """Return the same with these endpoints alone."""
    return replace(state, endpoints={each.endpoint.id: each for each in endpoints})
