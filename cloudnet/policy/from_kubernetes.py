"""Kubernetes' policies said in Calico's words, the first half of their way to the evaluation form.

Follows Calico ``libcalico-go/lib/backend/k8s/conversion`` (conversion.go, clusternetworkpolicy.go). A rule of a
ClusterNetworkPolicy that uses what we do not know is closed, as its API asks: an Accept of it accepts nothing, a Deny
or Pass of it denies all. Calico passes over an unknown kind of protocol; here it closes the rule as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from cloudnet.model.cluster_policies import (
    ClusterAction,
    ClusterNetworkPolicy,
    ClusterPeer,
    ClusterProtocol,
    ClusterRule,
    ClusterTier,
)
from cloudnet.model.kubernetes_labels import LabelSelector, Operator
from cloudnet.model.kubernetes_policies import KubernetesPeer, KubernetesPolicySpec, KubernetesRule
from cloudnet.model.policies import (
    ADMIN_TIER,
    ANYONE,
    BASELINE_TIER,
    Action,
    EntityRule,
    PolicySpec,
    PolicyType,
    Port,
    Protocol,
    Rule,
)
from cloudnet.model.workloads import KUBERNETES, ORCHESTRATOR_LABEL

ORDER: Final = 1000.0
"""The order of all NetworkPolicies of Kubernetes, in tier ``default``."""

RULE_NAME: Final = "name"
"""Annotation with the name of a ClusterNetworkPolicy's rule."""

_PODS = f"{ORCHESTRATOR_LABEL} == '{KUBERNETES}'"


@dataclass(frozen=True, slots=True)
class Said:
    """A policy in Calico's words, and what could not be said; these rules are closed."""

    spec: PolicySpec
    problems: tuple[str, ...] = ()


# --- NetworkPolicy ------------------------------------------------------------------------------------------


def network_policy(spec: KubernetesPolicySpec) -> PolicySpec:
    """Return a NetworkPolicy's body: what it selects is isolated in its directions but for what its rules allow."""
    directions = spec.directions
    return PolicySpec(
        order=ORDER,
        selector=pods_selector(spec.pods),
        types=tuple(type_ for type_ in PolicyType if type_ in directions),
        ingress=tuple(rule for one in spec.ingress for rule in _allow(one, PolicyType.INGRESS)),
        egress=tuple(rule for one in spec.egress for rule in _allow(one, PolicyType.EGRESS)),
    )


def _allow(rule: KubernetesRule, direction: PolicyType) -> Iterable[Rule]:
    asked: dict[Protocol | None, list[Port] | None] = {} if rule.ports else {None: None}
    for port in rule.ports:
        if port.first is not None:
            _add(asked, port.protocol, Port(port.first, port.last or port.first))
        else:
            _add(asked, port.protocol, Port(name=port.name) if port.name else None)
    peers = [_peer(peer) for peer in rule.peers] or [ANYONE]
    return _rules(Action.ALLOW, asked, peers, direction)


def _peer(peer: KubernetesPeer) -> EntityRule:
    if peer.block:
        return EntityRule(nets=(peer.block.cidr,), not_nets=peer.block.excepted)
    namespaces = "" if peer.namespaces is None else namespaces_selector(peer.namespaces)
    return EntityRule(selector=pods_selector(peer.pods), namespace_selector=namespaces)


# --- ClusterNetworkPolicy -----------------------------------------------------------------------------------

_TIERS = {ClusterTier.ADMIN: ADMIN_TIER, ClusterTier.BASELINE: BASELINE_TIER}
_ACTIONS = {
    ClusterAction.ACCEPT: Action.ALLOW,
    ClusterAction.DENY: Action.DENY,
    ClusterAction.PASS: Action.PASS,
}


def cluster_policy(policy: ClusterNetworkPolicy) -> Said:
    """Return a ClusterNetworkPolicy's body. A direction without rules is none of its own."""
    problems: list[str] = []
    ingress = _cluster_rules(policy.ingress, PolicyType.INGRESS, problems)
    egress = _cluster_rules(policy.egress, PolicyType.EGRESS, problems)
    if policy.pods is None:
        selector, namespaces = pods_selector(None), namespaces_selector(policy.namespaces or LabelSelector())
    else:
        selector, namespaces = pods_selector(policy.pods.pods), namespaces_selector(policy.pods.namespaces)
    filled = ((PolicyType.INGRESS, ingress), (PolicyType.EGRESS, egress))
    spec = PolicySpec(
        tier=_TIERS[policy.tier],
        order=float(policy.priority),
        selector=selector,
        types=tuple(type_ for type_, rules in filled if rules),
        ingress=ingress,
        egress=egress,
        namespace_selector=namespaces,
    )
    return Said(spec, tuple(problems))


def _cluster_rules(rules: Sequence[ClusterRule], direction: PolicyType, problems: list[str]) -> tuple[Rule, ...]:
    said: list[Rule] = []
    for i, rule in enumerate(rules):
        if problem := _unknown(rule):
            problems.append(f"spec.{direction.value.lower()}[{i}]: {problem}")
            said += [] if rule.action is ClusterAction.ACCEPT else [Rule(Action.DENY)]
        else:
            said += _cluster_rule(rule, direction)
    return tuple(said)


def _unknown(rule: ClusterRule) -> str:
    if any(peer == ClusterPeer() for peer in rule.peers):
        return "a kind of peer that is not known"
    if any(protocol == ClusterProtocol() for protocol in rule.protocols):
        return "a kind of protocol that is not known"
    return ""


def _cluster_rule(rule: ClusterRule, direction: PolicyType) -> Iterable[Rule]:
    asked: dict[Protocol | None, list[Port] | None] = {} if rule.protocols else {None: None}
    for one in rule.protocols:
        _add(asked, one.protocol, one.port)
    peers = [_cluster_peer(peer) for peer in rule.peers]
    annotations = {RULE_NAME: rule.name} if rule.name else {}
    return _rules(_ACTIONS[rule.action], asked, peers, direction, annotations)


def _cluster_peer(peer: ClusterPeer) -> EntityRule:
    if peer.networks:
        return EntityRule(nets=peer.networks)
    if peer.pods:
        return EntityRule(
            selector=pods_selector(peer.pods.pods), namespace_selector=namespaces_selector(peer.pods.namespaces)
        )
    return EntityRule(namespace_selector=namespaces_selector(peer.namespaces or LabelSelector()))


# --- what both share ----------------------------------------------------------------------------------------


def _add(asked: dict[Protocol | None, list[Port] | None], protocol: Protocol | None, port: Port | None) -> None:
    """Add a port to what is asked of a protocol; every port once, every port stays."""
    known = asked.get(protocol, [])
    asked[protocol] = None if port is None or known is None else [*known, port]


def _rules(
    action: Action,
    asked: dict[Protocol | None, list[Port] | None],
    peers: Sequence[EntityRule],
    direction: PolicyType,
    annotations: dict[str, str] | None = None,
) -> Iterable[Rule]:
    """Return a rule for each protocol, by name, and peer."""
    for protocol in sorted(asked, key=lambda one: str(one or "")):
        near = EntityRule(ports=simplified(asked[protocol] or ()))
        for peer in peers:
            if direction is PolicyType.INGRESS:
                yield Rule(action, protocol=protocol, source=peer, destination=near, annotations=annotations or {})
            else:
                far = EntityRule(
                    nets=peer.nets,
                    not_nets=peer.not_nets,
                    selector=peer.selector,
                    namespace_selector=peer.namespace_selector,
                    ports=near.ports,
                )
                yield Rule(action, protocol=protocol, destination=far, annotations=annotations or {})


def simplified(ports: Iterable[Port]) -> tuple[Port, ...]:
    """Return the same ports in as few ranges as possible, in order; names after them."""
    ports = list(ports)
    ranges: list[Port] = []
    for port in sorted((port for port in ports if not port.name), key=lambda port: (port.first, port.last)):
        if ranges and port.first <= ranges[-1].last + 1:
            ranges[-1] = Port(ranges[-1].first, max(ranges[-1].last, port.last))
        else:
            ranges.append(port)
    return (*ranges, *(Port(name=name) for name in sorted({port.name for port in ports if port.name})))


def pods_selector(selector: LabelSelector | None) -> str:
    """Return a selector of Kubernetes' pods: without it, network sets and host endpoints would be meant as well."""
    return " && ".join([_PODS, *_terms(selector or LabelSelector())])


def namespaces_selector(selector: LabelSelector) -> str:
    """Return a selector of namespaces; one that asks nothing means all."""
    return " && ".join(_terms(selector)) or "all()"


def _terms(selector: LabelSelector) -> Iterable[str]:
    for key in sorted(selector.match_labels):
        yield f"{key} == '{selector.match_labels[key]}'"
    for one in selector.match_expressions:
        values = ", ".join(f"'{value}'" for value in one.values)
        match one.operator:
            case Operator.IN:
                yield f"{one.key} in {{{values}}}"
            case Operator.NOT_IN:
                yield f"{one.key} not in {{{values}}}"
            case Operator.EXISTS:
                yield f"has({one.key})"
            case Operator.DOES_NOT_EXIST:
                yield f"!has({one.key})"
