"""What is probably wrong with policies that are valid: rules and policies that nothing reaches, selectors of nobody.

A finding is a warning about something that has no effect, or another one than it looks like. What is told must be so:
a rule is unreachable only if every packet that it could match is decided before.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cloudnet.model.addresses import Network
from cloudnet.model.cluster_policies import ClusterNetworkPolicy
from cloudnet.model.kubernetes_policies import KubernetesNetworkPolicy, StagedKubernetesNetworkPolicy
from cloudnet.model.policies import PolicyType, StagedAction
from cloudnet.policy import convert
from cloudnet.policy.cluster import Cluster
from cloudnet.policy.rules import Action, Direction, Peer, Policy, PolicyKey, PortRange, Rule, policy_order
from cloudnet.policy.sources import Selected, SelectedPort, ServiceEndpoints


class Severity(enum.Enum):
    """``ERROR``: it does not do what it says. ``WARNING``: some of it has no effect."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong where: ``field`` is empty where the whole policy is meant."""

    severity: Severity
    policy: PolicyKey
    field: str
    message: str


def lint(cluster: Cluster) -> tuple[Finding, ...]:
    """Return the findings of all policies, by policy.

    Without endpoints nothing is said of selectors: they may be meant for pods that others keep elsewhere.
    """
    found: list[Finding] = []
    for key, document in cluster.documents.items():
        for problem in cluster.problems.get(key, ()):
            field, _, message = problem.partition(": ")
            found.append(Finding(Severity.ERROR, key, field, f"{message}: the rule accepts nothing, or denies all"))
        found += _of_document(key, document)
    for policy in cluster.policies.values():
        found += _of_policy(policy, cluster)
    found += _shadowed(cluster)
    return tuple(sorted(found, key=lambda one: (str(one.policy), one.field, one.message)))


# --- one document alone -------------------------------------------------------------------------------------


def _of_document(key: PolicyKey, document: convert.Document) -> Iterator[Finding]:
    if isinstance(document, ClusterNetworkPolicy):
        return
    action = getattr(document, "action", StagedAction.SET)
    if action is not StagedAction.SET:
        return
    spec = document.spec
    kubernetes = isinstance(document, KubernetesNetworkPolicy | StagedKubernetesNetworkPolicy)
    field = "spec.policyTypes" if kubernetes else "spec.types"
    for type_, rules in ((PolicyType.INGRESS, spec.ingress), (PolicyType.EGRESS, spec.egress)):
        if rules and type_ not in spec.directions:
            word = type_.value.lower()
            yield Finding(
                Severity.ERROR, key, f"spec.{word}", f"these rules have no effect: {field} has no {type_.value!r}"
            )
    if not isinstance(document, KubernetesNetworkPolicy | StagedKubernetesNetworkPolicy):
        for i, rule in enumerate(document.spec.ingress):
            if rule.http:
                message = "nothing here reads requests: the rule allows every request of its connections"
                yield Finding(Severity.WARNING, key, f"spec.ingress[{i}].http", message)


# --- one policy among others --------------------------------------------------------------------------------


def _of_policy(policy: Policy, cluster: Cluster) -> Iterator[Finding]:
    key = policy.key
    if policy.tier not in cluster.tiers:
        yield Finding(
            Severity.ERROR,
            key,
            "spec.tier",
            f"there is no tier {policy.tier!r}: it comes last, and denies by default",
        )
    for direction in sorted(policy.types, key=lambda one: one.value):
        yield from _unreachable(policy, direction)
    if not cluster.members:
        return
    if not any(key in tier.policies for entry in cluster.state.endpoints.values() for tier in entry.tiers):
        yield Finding(Severity.WARNING, key, "", f"selects no endpoint: <{policy.selector}>")
        return
    for direction in sorted(policy.types, key=lambda one: one.value):
        for i, rule in enumerate(policy.rules(direction)):
            yield from _of_nobody(rule, f"{direction.value} rule {i}", key, cluster)


def _of_nobody(rule: Rule, where: str, key: PolicyKey, cluster: Cluster) -> Iterator[Finding]:
    """Yield the sets of a rule that have no member. Of negated ones nothing is said: they are often empty."""
    for peer in (rule.source, rule.destination):
        for name in (*peer.sets, *peer.services, *peer.named_ports):
            if cluster.state.address_sets.get(name) or cluster.state.port_sets.get(name):
                continue
            match cluster.sources.get(name):
                case Selected(selector):
                    message = f"selects nothing: <{selector}>"
                case SelectedPort(selector, port):
                    message = f"no endpoint of <{selector}> names a port {port!r}"
                case ServiceEndpoints(namespace, service):
                    message = f"service {namespace}/{service} has no endpoints"
                case _:
                    continue
            yield Finding(Severity.WARNING, key, where, message)


def _unreachable(policy: Policy, direction: Direction) -> Iterator[Finding]:
    rules = policy.rules(direction)
    for i, rule in enumerate(rules):
        before = next((j for j in range(i) if rules[j].action is not Action.LOG and covers(rules[j], rule)), None)
        if before is not None:
            message = f"never reached: rule {before} decides all of it"
            yield Finding(Severity.WARNING, policy.key, f"{direction.value} rule {i}", message)


def _shadowed(cluster: Cluster) -> Iterator[Finding]:
    """Yield policies that are never asked: one before them in their tier decides all, for all that they select."""
    selected: dict[PolicyKey, set[str]] = {}
    for entry in cluster.state.endpoints.values():
        for tier in entry.tiers:
            for key in tier.policies:
                selected.setdefault(key, set()).add(entry.endpoint.id)
    by_tier: dict[str, list[Policy]] = {}
    for policy in sorted(cluster.policies.values(), key=policy_order):
        by_tier.setdefault(policy.tier, []).append(policy)
    for policies in by_tier.values():
        for i, later in enumerate(policies):
            for direction in sorted(later.types, key=lambda one: one.value):
                first = next((p for p in policies[:i] if _hides(p, later, direction, selected)), None)
                if first is not None:
                    message = f"never asked: {first.key} decides everything before it, for all that it selects"
                    yield Finding(Severity.WARNING, later.key, direction.value, message)


def _hides(first: Policy, later: Policy, direction: Direction, selected: dict[PolicyKey, set[str]]) -> bool:
    stages = (first.do_not_track, first.pre_dnat) == (later.do_not_track, later.pre_dnat)
    forward = first.apply_on_forward or not later.apply_on_forward
    if first.staged or direction not in first.types or not (stages and forward):
        return False
    if not any(rule.action is not Action.LOG and covers(rule, Rule(Action.LOG)) for rule in first.rules(direction)):
        return False
    if first.selector in {later.selector, "all()"}:
        return True
    return later.key in selected and selected[later.key] <= selected.get(first.key, set())


# --- which rule covers which --------------------------------------------------------------------------------


def covers(wide: Rule, narrow: Rule) -> bool:
    """Tell whether every packet that ``narrow`` matches is matched by ``wide``. Says no where it is not sure."""
    return (
        wide.family in {None, narrow.family}
        and wide.protocol in {None, narrow.protocol}
        and (wide.not_protocol is None or _excludes(narrow, wide.not_protocol))
        and wide.icmp in {None, narrow.icmp}
        and wide.not_icmp in {None, narrow.not_icmp}
        and _peer_covers(wide.source, narrow.source)
        and _peer_covers(wide.destination, narrow.destination)
    )


def _excludes(rule: Rule, protocol: int) -> bool:
    return rule.not_protocol == protocol or rule.protocol not in {None, protocol}


def _peer_covers(wide: Peer, narrow: Peer) -> bool:
    return (
        (not wide.nets or _nets_cover(wide.nets, narrow.nets))
        and all(any(_inside(net, other) for other in narrow.not_nets) for net in wide.not_nets)
        and set(wide.sets) <= set(narrow.sets)
        and set(wide.not_sets) <= set(narrow.not_sets)
        and _ports_cover(wide, narrow)
        and _all_in(wide.not_ports, narrow.not_ports)
        and set(wide.not_named_ports) <= set(narrow.not_named_ports)
        and set(wide.services) <= set(narrow.services)
    )


def _nets_cover(wide: Sequence[Network], narrow: Sequence[Network]) -> bool:
    return bool(narrow) and all(any(_inside(net, other) for other in wide) for net in narrow)


def _inside(net: Network, other: Network) -> bool:
    same = net.version == other.version and net.prefixlen >= other.prefixlen
    return same and net.network_address in other


def _ports_cover(wide: Peer, narrow: Peer) -> bool:
    if not (wide.ports or wide.named_ports):
        return True
    if not (narrow.ports or narrow.named_ports):
        return False
    return _all_in(narrow.ports, wide.ports) and set(narrow.named_ports) <= set(wide.named_ports)


def _all_in(some: Iterable[PortRange], others: Sequence[PortRange]) -> bool:
    return all(any(o.first <= one.first and one.last <= o.last for o in others) for one in some)
