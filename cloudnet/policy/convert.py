"""From documents to the evaluation form: what policies, tiers, profiles and endpoints mean, before anybody asks it.

Pure and one resource at a time: nothing here looks at another resource. Selectors become names of sets; the sets'
sources come along, see ``sources.py``. Follows Calico ``libcalico-go/lib/backend/syncersv1/updateprocessors``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from cloudnet.model import policies as documents
from cloudnet.model.addresses import Family
from cloudnet.model.cluster_policies import ClusterNetworkPolicy
from cloudnet.model.kubernetes import Namespace, ServiceAccount
from cloudnet.model.kubernetes_policies import KubernetesNetworkPolicy, StagedKubernetesNetworkPolicy
from cloudnet.model.policies import EntityRule, PolicySpec, PolicyType, Port, StagedAction
from cloudnet.model.resources import Metadata
from cloudnet.model.selectors import Selector
from cloudnet.policy import from_kubernetes, selecting
from cloudnet.policy.rules import (
    ICMP,
    ICMPV6,
    Action,
    Direction,
    Icmp,
    Peer,
    Policy,
    PolicyKey,
    PortRange,
    Profile,
    Rule,
    SetId,
    Tier,
)
from cloudnet.policy.selecting import ACCOUNT_PREFIX, NAMESPACE_PREFIX
from cloudnet.policy.sources import Selected, SelectedPort, ServiceEndpoints, Source, set_id

Document: TypeAlias = (
    documents.NetworkPolicy
    | documents.GlobalNetworkPolicy
    | documents.StagedNetworkPolicy
    | documents.StagedGlobalNetworkPolicy
    | KubernetesNetworkPolicy
    | StagedKubernetesNetworkPolicy
    | ClusterNetworkPolicy
)
"""A policy, in any of the kinds."""

POLICY_KINDS: Final = (
    documents.NetworkPolicy,
    documents.GlobalNetworkPolicy,
    documents.StagedNetworkPolicy,
    documents.StagedGlobalNetworkPolicy,
    KubernetesNetworkPolicy,
    StagedKubernetesNetworkPolicy,
    ClusterNetworkPolicy,
)

PROFILE_KINDS: Final = (documents.Profile, Namespace, ServiceAccount)
TIER: Final = documents.Tier


@dataclass(frozen=True, slots=True)
class Converted:
    """A policy in the evaluation form, with the sources of all sets that its rules name.

    ``problems``: rules that use what we do not know, and are closed.
    """

    policy: Policy
    sources: frozenset[Source] = frozenset()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConvertedProfile:
    """A profile in the evaluation form, with the sources of all sets that its rules name."""

    profile: Profile
    sources: frozenset[Source] = frozenset()


# --- policies -----------------------------------------------------------------------------------------------


def policy(document: Document) -> Converted | None:
    """Return what a policy means; nothing for a staged one that would delete, or is for other tools.

    A staged policy is one that is asked, and decides nothing.
    """
    match document:
        case documents.NetworkPolicy() | documents.GlobalNetworkPolicy():
            return _converted(document, document.spec)
        case KubernetesNetworkPolicy():
            return _converted(document, from_kubernetes.network_policy(document.spec))
        case ClusterNetworkPolicy():
            said = from_kubernetes.cluster_policy(document)
            return _converted(document, said.spec, problems=said.problems)
        case _ if document.action is not StagedAction.SET:
            return None
        case StagedKubernetesNetworkPolicy():
            return _converted(document, from_kubernetes.network_policy(document.spec), staged=True)
        case _:
            return _converted(document, document.spec, staged=True)


def key(document: Document) -> PolicyKey:
    """Return the identity of a policy."""
    return PolicyKey(type(document).__name__, document.meta.namespace, document.meta.name)


_DIRECTIONS = {PolicyType.INGRESS: Direction.INGRESS, PolicyType.EGRESS: Direction.EGRESS}


def _converted(
    document: Document, spec: PolicySpec, *, staged: bool = False, problems: tuple[str, ...] = ()
) -> Converted:
    namespace, sources = document.meta.namespace, _Sources()
    found = Policy(
        key=key(document),
        tier=spec.tier,
        selector=selecting.of_policy(spec, namespace).canonical(),
        types=frozenset(_DIRECTIONS[type_] for type_ in spec.directions),
        order=spec.order,
        ingress=tuple(rule for one in spec.ingress for rule in rules(one, namespace, sources)),
        egress=tuple(rule for one in spec.egress for rule in rules(one, namespace, sources)),
        staged=staged,
        do_not_track=spec.do_not_track,
        pre_dnat=spec.pre_dnat,
        apply_on_forward=spec.apply_on_forward,
    )
    return Converted(found, sources.all(), problems)


class _Sources:
    """The sources of the sets that one policy names."""

    def __init__(self) -> None:
        self._found: set[Source] = set()

    def all(self) -> frozenset[Source]:
        return frozenset(self._found)

    def selected(self, selector: Selector) -> SetId:
        self._found.add(Selected(selector.canonical()))
        return SetId(selector.uid())

    def name(self, source: Source) -> SetId:
        self._found.add(source)
        return set_id(source)


# --- rules --------------------------------------------------------------------------------------------------

_ACTIONS = {
    documents.Action.ALLOW: Action.ALLOW,
    documents.Action.DENY: Action.DENY,
    documents.Action.LOG: Action.LOG,
    documents.Action.PASS: Action.PASS,
}


def rules(rule: documents.Rule, namespace: str, sources: _Sources) -> Iterable[Rule]:
    """Return what one rule means: one rule, or several where ``notICMP`` stands without a protocol.

    What a rule asks of HTTP requests is nothing that the kernel could see: it counts without, as in Calico.
    """
    number = rule.protocol.number if rule.protocol else None
    found = Rule(
        action=_ACTIONS[rule.action],
        family=rule.ip_version,
        protocol=number,
        not_protocol=rule.not_protocol.number if rule.not_protocol else None,
        icmp=_icmp(rule.icmp),
        source=_peer(rule.source, number, namespace, sources, far_ports=False),
        destination=_peer(rule.destination, number, namespace, sources, far_ports=True),
        name=rule.annotations.get(from_kubernetes.RULE_NAME, ""),
    )
    not_icmp = _icmp(rule.not_icmp)
    if not_icmp is None or number not in {None, ICMP, ICMPV6}:
        return [found]  # what is no ICMP at all is not that ICMP either
    if number is not None:
        return [_with(found, found.family, number, not_icmp)]
    families = [rule.ip_version] if rule.ip_version else list(Family)
    return [one for family in families for one in _not_icmp(found, family, not_icmp)]


def _not_icmp(rule: Rule, family: Family, not_icmp: Icmp) -> Iterable[Rule]:
    """Return "not that ICMP" as two rules: another protocol, or ICMP of another kind."""
    icmp = ICMP if family is Family.IPV4 else ICMPV6
    yield Rule(
        rule.action,
        family,
        not_protocol=icmp,
        source=rule.source,
        destination=rule.destination,
        name=rule.name,
    )
    if not _asks_for_ports(rule):
        yield _with(rule, family, icmp, not_icmp)


def _asks_for_ports(rule: Rule) -> bool:
    return any(peer.named_ports or peer.services for peer in (rule.source, rule.destination))


def _with(rule: Rule, family: Family | None, protocol: int, not_icmp: Icmp) -> Rule:
    return Rule(
        rule.action,
        family,
        protocol,
        rule.not_protocol,
        rule.icmp,
        not_icmp,
        rule.source,
        rule.destination,
        rule.name,
    )


def _icmp(icmp: documents.ICMP | None) -> Icmp | None:
    return None if icmp is None or icmp.type is None else Icmp(icmp.type, icmp.code)


def _peer(entity: EntityRule, protocol: int | None, namespace: str, sources: _Sources, *, far_ports: bool) -> Peer:
    """Return what one end must be. ``far_ports``: the ports of a service count, as they do for a destination."""
    if entity == documents.ANYONE:
        return Peer()
    selector = selecting.of_entity(entity, namespace)
    sets = [sources.selected(selector)] if selector else []
    services: list[SetId] = []
    if entity.services:
        of, name = entity.services.namespace or namespace, entity.services.name
        if far_ports:
            services.append(sources.name(ServiceEndpoints(of, name, ports=True)))
        else:
            sets.append(sources.name(ServiceEndpoints(of, name, ports=False)))
    among = selector.canonical() if selector else "all()"
    return Peer(
        nets=tuple(dict.fromkeys(entity.nets)),
        not_nets=tuple(dict.fromkeys(entity.not_nets)),
        sets=tuple(sets),
        not_sets=(sources.selected(selecting.read(entity.not_selector)),) if entity.not_selector else (),
        ports=_ranges(entity.ports),
        named_ports=_named(entity.ports, among, protocol, sources),
        not_ports=_ranges(entity.not_ports),
        not_named_ports=_named(entity.not_ports, "all()", protocol, sources),
        services=tuple(services),
    )


def _ranges(ports: Iterable[Port]) -> tuple[PortRange, ...]:
    numbers = from_kubernetes.simplified(port for port in ports if not port.name)
    return tuple(PortRange(port.first, port.last) for port in numbers)


def _named(ports: Iterable[Port], among: str, protocol: int | None, sources: _Sources) -> tuple[SetId, ...]:
    names = dict.fromkeys(port.name for port in ports if port.name)
    return tuple(sources.name(SelectedPort(among, name, protocol)) for name in names)


# --- tiers and profiles -------------------------------------------------------------------------------------


def tier(document: documents.Tier) -> Tier:
    return Tier(document.meta.name, document.order, _ACTIONS[document.default_action])


BUILT_IN_TIERS: Final = tuple(tier(document) for document in documents.BUILT_IN_TIERS)


def profile(document: documents.Profile | Namespace | ServiceAccount) -> ConvertedProfile:
    """Return a profile: one that somebody wrote, or the one that a namespace or service account is to its pods.

    A namespace's allows all, which counts where no policy selects a pod. An account's brings labels only. Calico
    ``libcalico-go/lib/backend/k8s/conversion`` NamespaceToProfile, ServiceAccountToProfile.
    """
    match document:
        case Namespace(meta):
            labels = _prefixed(meta, NAMESPACE_PREFIX)
            allow = (Rule(Action.ALLOW),)
            return ConvertedProfile(Profile(f"kns.{meta.name}", allow, allow, labels))
        case ServiceAccount(meta):
            labels = _prefixed(meta, ACCOUNT_PREFIX)
            return ConvertedProfile(Profile(f"ksa.{meta.namespace}.{meta.name}", labels=labels))
        case _:
            sources = _Sources()
            found = Profile(
                document.meta.name,
                tuple(rule for one in document.ingress for rule in rules(one, "", sources)),
                tuple(rule for one in document.egress for rule in rules(one, "", sources)),
                document.labels_to_apply,
            )
            return ConvertedProfile(found, sources.all())


def _prefixed(meta: Metadata, prefix: str) -> dict[str, str]:
    return {f"{prefix}{key}": value for key, value in meta.labels.items()} | {
        f"{prefix}projectcalico.org/name": meta.name
    }
