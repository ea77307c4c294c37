"""What the store holds, put into the calculation: which kind goes where, and under which name.

An agent feeds what its store tells, a command line what it read from files. Kinds that policy has no use for are
passed over. Order does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from typing import Final

from cloudnet.model import policies as documents
from cloudnet.model.addresses import NodeName
from cloudnet.model.kubernetes import Namespace, ServiceAccount
from cloudnet.model.kubernetes_services import EndpointSlice
from cloudnet.model.policies import NUMBERS, HostEndpoint, NetworkSet
from cloudnet.model.resources import Node, Resource
from cloudnet.model.workloads import NAMESPACE_LABEL, EndpointPort, WorkloadEndpoint
from cloudnet.policy import convert
from cloudnet.policy.calculate import Calculation
from cloudnet.policy.membership import Port, Slice
from cloudnet.policy.rules import Endpoint, EndpointId, PolicyKey
from cloudnet.policy.selecting import ACCOUNT_PREFIX, NAMESPACE_PREFIX

KINDS: Final[tuple[type[Resource], ...]] = (
    WorkloadEndpoint,
    HostEndpoint,
    documents.NetworkSet,
    documents.GlobalNetworkSet,
    EndpointSlice,
    documents.Profile,
    Namespace,
    ServiceAccount,
    documents.Tier,
    Node,
    *convert.POLICY_KINDS,
)
"""The kinds that have a meaning for policy."""

_BUILT_IN = {tier.name: tier for tier in convert.BUILT_IN_TIERS}


class Feed:
    """Puts resources into a calculation. ``node``: whose endpoints are local; without it, all are."""

    def __init__(self, calculation: Calculation, node: NodeName | None = None) -> None:
        self._calculation = calculation
        self._node = node
        for tier in convert.BUILT_IN_TIERS:
            calculation.put_tier(tier)

    def put(self, value: Resource) -> tuple[str, ...]:
        """Add a resource or change it; returns what could not be carried out and is closed instead."""
        to = self._calculation
        match value:
            case WorkloadEndpoint():
                to.put_endpoint(
                    workload(value),
                    own_labels(value.meta.labels),
                    workload_ports(value.ports),
                    local=self._is_local(value.node),
                )
            case HostEndpoint():
                to.put_endpoint(
                    host(value), own_labels(value.meta.labels), host_ports(value), local=self._is_local(value.node)
                )
            case NetworkSet():
                labels = {**own_labels(value.meta.labels), NAMESPACE_LABEL: value.meta.namespace}
                to.put_network_set(_qualified(value), labels, value.nets, (f"kns.{value.meta.namespace}",))
            case documents.GlobalNetworkSet():
                to.put_network_set(value.meta.name, own_labels(value.meta.labels), value.nets)
            case EndpointSlice():
                to.put_slice(_qualified(value), _slice(value))
            case documents.Profile() | Namespace() | ServiceAccount():
                found = convert.profile(value)
                to.put_profile(found.profile, found.sources)
            case documents.Tier():
                to.put_tier(convert.tier(value))
            case Node():
                to.put_node(value.name, frozenset(address.ip for address in value.addresses))
            case _ if isinstance(value, convert.POLICY_KINDS):
                return self._put_policy(value)
            case _:
                pass
        return ()

    def _put_policy(self, value: convert.Document) -> tuple[str, ...]:
        converted = convert.policy(value)
        if converted is None:
            self._calculation.remove_policy(convert.key(value))
            return ()
        self._calculation.put_policy(converted.policy, converted.sources)
        return converted.problems

    def remove(self, kind: type[Resource], name: str, namespace: str = "") -> None:
        """Forget a resource; an unknown one is ignored."""
        to, qualified = self._calculation, f"{namespace}/{name}"
        if kind is WorkloadEndpoint:
            to.remove_endpoint(EndpointId(qualified))
        elif kind is HostEndpoint:
            to.remove_endpoint(EndpointId(name))
        elif kind is NetworkSet:
            to.remove_network_set(qualified)
        elif kind is documents.GlobalNetworkSet:
            to.remove_network_set(name)
        elif kind is EndpointSlice:
            to.remove_slice(qualified)
        elif kind in _PROFILES:
            to.remove_profile(_PROFILES[kind].format(name=name, namespace=namespace))
        elif kind is documents.Tier:
            self._remove_tier(name)
        elif kind is Node:
            to.remove_node(NodeName(name))
        elif kind in convert.POLICY_KINDS:
            to.remove_policy(PolicyKey(kind.__name__, namespace, name))

    def _remove_tier(self, name: str) -> None:
        """Forget a tier; a built-in one becomes as it always is."""
        if name in _BUILT_IN:
            self._calculation.put_tier(_BUILT_IN[name])
        else:
            self._calculation.remove_tier(name)

    def _is_local(self, node: NodeName) -> bool:
        return self._node is None or node == self._node


_PROFILES: Mapping[type[Resource], str] = {
    documents.Profile: "{name}",
    Namespace: "kns.{name}",
    ServiceAccount: "ksa.{namespace}.{name}",
}


def workload(value: WorkloadEndpoint) -> Endpoint:
    """Return a workload endpoint as policy sees it."""
    return Endpoint(
        id=EndpointId(_qualified(value)),
        interface=value.interface,
        addresses=value.networks,
        profiles=value.profiles,
        allowed_sources=value.allowed_sources,
    )


def host(value: HostEndpoint) -> Endpoint:
    """Return a host endpoint as policy sees it."""
    addresses = tuple(ip_network(address) for address in value.expected_addresses)
    return Endpoint(EndpointId(value.meta.name), value.interface, addresses, value.profiles, is_host=True)


def own_labels(labels: Mapping[str, str]) -> Mapping[str, str]:
    """Return the labels that an endpoint may give itself: none that stand for its namespace's or account's."""
    if not any(key.startswith((NAMESPACE_PREFIX, ACCOUNT_PREFIX)) for key in labels):
        return labels
    return {key: text for key, text in labels.items() if not key.startswith((NAMESPACE_PREFIX, ACCOUNT_PREFIX))}


def workload_ports(ports: Iterable[EndpointPort]) -> tuple[Port, ...]:
    """Return the ports that rules may name."""
    return tuple(Port(port.name, _number(port.protocol), port.port) for port in ports if port.name)


def host_ports(value: HostEndpoint) -> tuple[Port, ...]:
    return tuple(Port(port.name, port.protocol.number, port.port) for port in value.ports)


def _slice(value: EndpointSlice) -> Slice:
    return Slice(
        value.meta.namespace,
        value.service,
        tuple(ip_network(address) for address in value.addresses),
        tuple(Port(p.name, p.protocol.number, p.port) for p in value.ports if p.port is not None),
    )


def _number(protocol: str) -> int:
    return NUMBERS[protocol] if protocol in NUMBERS else int(protocol)


def _qualified(value: Resource) -> str:
    return f"{value.meta.namespace}/{value.meta.name}"
