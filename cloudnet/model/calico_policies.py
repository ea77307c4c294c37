"""Calico's spelling of policies, staged policies and tiers, and what Calico refuses of them.

Sources: Calico ``api/pkg/apis/projectcalico/v3/{networkpolicy,globalnetworkpolicy,staged*,tier}.go`` with their CEL
rules, and ``libcalico-go/lib/validator/v3/validator.go`` for what stands in code alone. The rules in policies have a
file of their own, ``calico_rules.py``. Everything wrong with a document is told at once. A namespaced document that
names no namespace is meant for ``default``, as for kubectl and calicoctl.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, Literal

import msgspec

from cloudnet.model import names, wire
from cloudnet.model.calico import API_VERSION
from cloudnet.model.calico_rules import RuleDocument, check_selector, each, read_rules, write_rules
from cloudnet.model.policies import (
    BUILT_IN_TIERS,
    DEFAULT_TIER,
    Action,
    GlobalNetworkPolicy,
    NetworkPolicy,
    PolicySpec,
    PolicyType,
    StagedAction,
    StagedGlobalNetworkPolicy,
    StagedNetworkPolicy,
    Tier,
)
from cloudnet.model.problems import Problems
from cloudnet.model.resources import Metadata

DEFAULT_NAMESPACE: Final = "default"

_HINT = "AssumeNeededOnEveryNode"


# --- what all kinds share -----------------------------------------------------------------------------------


def read_metadata(document: wire.Meta, problems: Problems, *, namespaced: bool = False) -> Metadata:
    """Return the metadata, and note what Kubernetes and Calico refuse of it."""
    if not names.is_subdomain(document.name):
        problems.add("metadata.name", wire.bad_name(document.name))
    labels, annotations = document.labels or {}, document.annotations or {}
    names.check_labels(labels, "metadata.labels", problems)
    names.check_annotations(annotations, "metadata.annotations", problems)
    namespace = document.namespace or (DEFAULT_NAMESPACE if namespaced else "")
    if namespaced and not names.is_label(namespace):
        problems.add("metadata.namespace", f"expected the name of a namespace, found {wire.shown(namespace)}")
    return Metadata(document.name, namespace, document.uid, labels, annotations)


def _check_policy_name(name: str, *, namespaced: bool, problems: Problems) -> None:
    """Note a name that has more than one dot. Those that begin with knp.default. or ossg.default. may have more."""
    allowed = names.NETWORK_POLICY if namespaced else names.GLOBAL_NETWORK_POLICY
    if names.is_subdomain(name) and not allowed.fullmatch(name):
        problems.add("metadata.name", f"expected one dot at most, found {name!r}")


# --- policies -----------------------------------------------------------------------------------------------


class _Spec(msgspec.Struct, rename="camel", omit_defaults=True):
    tier: str | None = None
    order: float | None = None
    ingress: list[RuleDocument] | None = None
    egress: list[RuleDocument] | None = None
    selector: str | None = None
    types: list[str] | None = None
    service_account_selector: str | None = None
    performance_hints: list[str] | None = None


class _StagedSpec(_Spec, rename="camel", omit_defaults=True):
    staged_action: str | None = None


class _GlobalSpec(_Spec, rename="camel", omit_defaults=True):
    do_not_track: bool | None = None
    pre_dnat: bool | None = msgspec.field(name="preDNAT", default=None)
    apply_on_forward: bool | None = None
    namespace_selector: str | None = None


class _StagedGlobalSpec(_GlobalSpec, rename="camel", omit_defaults=True):
    staged_action: str | None = None


class NetworkPolicyDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """A NetworkPolicy as Calico writes it."""

    metadata: wire.Meta
    spec: _Spec = msgspec.field(default_factory=_Spec)
    api_version: Literal["projectcalico.org/v3"] | None = None
    kind: Literal["NetworkPolicy"] | None = None


class GlobalNetworkPolicyDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """A GlobalNetworkPolicy as Calico writes it."""

    metadata: wire.Meta
    spec: _GlobalSpec = msgspec.field(default_factory=_GlobalSpec)
    api_version: Literal["projectcalico.org/v3"] | None = None
    kind: Literal["GlobalNetworkPolicy"] | None = None


class StagedNetworkPolicyDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """A StagedNetworkPolicy as Calico writes it."""

    metadata: wire.Meta
    spec: _StagedSpec = msgspec.field(default_factory=_StagedSpec)
    api_version: Literal["projectcalico.org/v3"] | None = None
    kind: Literal["StagedNetworkPolicy"] | None = None


class StagedGlobalNetworkPolicyDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """A StagedGlobalNetworkPolicy as Calico writes it."""

    metadata: wire.Meta
    spec: _StagedGlobalSpec = msgspec.field(default_factory=_StagedGlobalSpec)
    api_version: Literal["projectcalico.org/v3"] | None = None
    kind: Literal["StagedGlobalNetworkPolicy"] | None = None


_TYPES = {type_.value: type_ for type_ in PolicyType}
_STAGED_ACTIONS = {"": StagedAction.SET, **{action.value: action for action in StagedAction}}


def read_network_policy(document: NetworkPolicyDocument) -> NetworkPolicy:
    problems = Problems()
    meta = read_metadata(document.metadata, problems, namespaced=True)
    _check_policy_name(meta.name, namespaced=True, problems=problems)
    spec = _read_spec(document.spec, problems)
    problems.raise_any()
    return NetworkPolicy(meta, spec)


def read_global_network_policy(document: GlobalNetworkPolicyDocument) -> GlobalNetworkPolicy:
    problems = Problems()
    meta = read_metadata(document.metadata, problems)
    _check_policy_name(meta.name, namespaced=False, problems=problems)
    spec = _read_global_spec(document.spec, problems)
    problems.raise_any()
    return GlobalNetworkPolicy(meta, spec)


def read_staged_network_policy(document: StagedNetworkPolicyDocument) -> StagedNetworkPolicy:
    problems = Problems()
    meta = read_metadata(document.metadata, problems, namespaced=True)
    _check_policy_name(meta.name, namespaced=True, problems=problems)
    action = read_staged_action(document.spec.staged_action, problems)
    spec = _read_spec(document.spec, problems)
    if action is StagedAction.DELETE:
        _check_deletes(document.spec, problems)
    problems.raise_any()
    return StagedNetworkPolicy(meta, spec, action)


def read_staged_global_network_policy(document: StagedGlobalNetworkPolicyDocument) -> StagedGlobalNetworkPolicy:
    problems = Problems()
    meta = read_metadata(document.metadata, problems)
    _check_policy_name(meta.name, namespaced=False, problems=problems)
    action = read_staged_action(document.spec.staged_action, problems)
    spec = _read_global_spec(document.spec, problems)
    if action is StagedAction.DELETE:
        _check_deletes(document.spec, problems)
    problems.raise_any()
    return StagedGlobalNetworkPolicy(meta, spec, action)


def read_staged_action(text: str | None, problems: Problems) -> StagedAction:
    def read(word: str, path: str) -> StagedAction:
        return wire.choice(word, _STAGED_ACTIONS, path)

    return problems.read(read, text or "", "spec.stagedAction") or StagedAction.SET


def _check_deletes(spec: _Spec, problems: Problems) -> None:
    """Note the fields that a policy has which is to be deleted: all but its tier."""
    for field in msgspec.structs.fields(spec):
        if field.name not in {"tier", "staged_action"} and getattr(spec, field.name) not in (None, "", [], False):
            problems.add(f"spec.{field.encode_name}", "expected nothing, for spec.stagedAction is Delete")


def _read_spec(spec: _Spec, problems: Problems) -> PolicySpec:
    tier = spec.tier or DEFAULT_TIER
    if not names.is_subdomain(tier):
        problems.add("spec.tier", f"expected the name of a tier, found {wire.shown(tier)}")
    check_selector(spec.selector or "", "spec.selector", problems)
    check_selector(spec.service_account_selector or "", "spec.serviceAccountSelector", problems)
    return PolicySpec(
        tier=tier,
        order=spec.order,
        selector=spec.selector or "",
        types=_read_types(spec.types or [], "spec.types", problems),
        ingress=read_rules(spec.ingress, "spec.ingress", problems, direction=PolicyType.INGRESS),
        egress=read_rules(spec.egress, "spec.egress", problems, direction=PolicyType.EGRESS),
        service_account_selector=spec.service_account_selector or "",
        performance_hints=_read_hints(spec.performance_hints or [], problems),
    )


def _read_types(words: list[str], path: str, problems: Problems) -> tuple[PolicyType, ...]:
    def read(word: str, at: str) -> PolicyType:
        return wire.choice(word, _TYPES, at)

    types = each(read, words, path, problems, most=len(words))
    if len(set(types)) < len(types):
        problems.add(path, f"expected each type once, found {wire.shown(words)}")
    return types


def _read_hints(words: list[str], problems: Problems) -> tuple[str, ...]:
    path = "spec.performanceHints"
    for i, word in enumerate(words):
        if word != _HINT:
            problems.add(f"{path}[{i}]", f"expected {_HINT!r}, found {wire.shown(word)}")
    if len(set(words)) < len(words):
        problems.add(path, "expected each hint once")
    return tuple(words)


def _read_global_spec(document: _GlobalSpec, problems: Problems) -> PolicySpec:
    spec = replace(
        _read_spec(document, problems),
        namespace_selector=document.namespace_selector or "",
        do_not_track=document.do_not_track or False,
        pre_dnat=document.pre_dnat or False,
        apply_on_forward=document.apply_on_forward or False,
    )
    check_selector(spec.namespace_selector, "spec.namespaceSelector", problems)
    _check_stages(spec, problems)
    _check_service_namespaces(spec, problems)
    return spec


def _check_stages(spec: PolicySpec, problems: Problems) -> None:
    """Note what preDNAT and doNotTrack do not go with."""
    if spec.pre_dnat and spec.do_not_track:
        problems.add("spec.preDNAT", "cannot be true while spec.doNotTrack is")
    if spec.pre_dnat and spec.egress:
        problems.add("spec.egress", "expected no rules, for spec.preDNAT is true")
    if spec.pre_dnat and PolicyType.EGRESS in spec.types:
        problems.add("spec.types", "expected no 'Egress', for spec.preDNAT is true")
    if (spec.pre_dnat or spec.do_not_track) and not spec.apply_on_forward:
        field = "preDNAT" if spec.pre_dnat else "doNotTrack"
        problems.add("spec.applyOnForward", f"expected true, for spec.{field} is")


def _check_service_namespaces(spec: PolicySpec, problems: Problems) -> None:
    """Note services without a namespace: a global policy has none that they could be of."""
    for path, services in (
        *((f"spec.ingress[{i}].source", rule.source.services) for i, rule in enumerate(spec.ingress)),
        *((f"spec.egress[{i}].destination", rule.destination.services) for i, rule in enumerate(spec.egress)),
    ):
        if services and not services.namespace:
            problems.add(f"{path}.services.namespace", wire.MISSING)


def write_network_policy(policy: NetworkPolicy) -> NetworkPolicyDocument:
    return NetworkPolicyDocument(wire.meta(policy.meta), _Spec(**_fields(policy.spec)), API_VERSION, "NetworkPolicy")


def write_global_network_policy(policy: GlobalNetworkPolicy) -> GlobalNetworkPolicyDocument:
    spec = _GlobalSpec(**_fields(policy.spec), **_global_fields(policy.spec))
    return GlobalNetworkPolicyDocument(wire.meta(policy.meta), spec, API_VERSION, "GlobalNetworkPolicy")


def write_staged_network_policy(policy: StagedNetworkPolicy) -> StagedNetworkPolicyDocument:
    spec = _StagedSpec(**_fields(policy.spec), staged_action=policy.action.value)
    return StagedNetworkPolicyDocument(wire.meta(policy.meta), spec, API_VERSION, "StagedNetworkPolicy")


def write_staged_global_network_policy(policy: StagedGlobalNetworkPolicy) -> StagedGlobalNetworkPolicyDocument:
    spec = _StagedGlobalSpec(**_fields(policy.spec), **_global_fields(policy.spec), staged_action=policy.action.value)
    return StagedGlobalNetworkPolicyDocument(wire.meta(policy.meta), spec, API_VERSION, "StagedGlobalNetworkPolicy")


# Any: the fields of _Spec, and of _GlobalSpec beside them.
def _fields(spec: PolicySpec) -> dict[str, Any]:
    return {
        "tier": spec.tier,
        "order": spec.order,
        "ingress": write_rules(spec.ingress),
        "egress": write_rules(spec.egress),
        "selector": spec.selector or None,
        "types": [type_.value for type_ in spec.types] or None,
        "service_account_selector": spec.service_account_selector or None,
        "performance_hints": list(spec.performance_hints) or None,
    }


def _global_fields(spec: PolicySpec) -> dict[str, Any]:
    return {
        "do_not_track": spec.do_not_track or None,
        "pre_dnat": spec.pre_dnat or None,
        "apply_on_forward": spec.apply_on_forward or None,
        "namespace_selector": spec.namespace_selector or None,
    }


# --- Tier ---------------------------------------------------------------------------------------------------


class _TierSpec(msgspec.Struct, rename="camel", omit_defaults=True):
    order: float | None = None
    default_action: str | None = None


class TierDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """A Tier as Calico writes it."""

    metadata: wire.Meta
    spec: _TierSpec = msgspec.field(default_factory=_TierSpec)
    api_version: Literal["projectcalico.org/v3"] | None = None
    kind: Literal["Tier"] | None = None


_DEFAULT_ACTIONS = {"": Action.DENY, "Deny": Action.DENY, "Pass": Action.PASS}
_BUILT_IN = {tier.meta.name: tier for tier in BUILT_IN_TIERS}


def read_tier(document: TierDocument) -> Tier:
    problems = Problems()
    meta = read_metadata(document.metadata, problems)
    if names.is_subdomain(meta.name) and not names.is_label(meta.name):
        problems.add(
            "metadata.name", f"expected {names.LABEL_LENGTH} letters at most and no dot, found {meta.name!r}"
        )

    def read(word: str, path: str) -> Action:
        return wire.choice(word, _DEFAULT_ACTIONS, path)

    action = problems.read(read, document.spec.default_action or "", "spec.defaultAction") or Action.DENY
    tier = Tier(meta, document.spec.order, action)
    if built_in := _BUILT_IN.get(meta.name):
        _check_built_in(tier, built_in, problems)
    problems.raise_any()
    return tier


def _check_built_in(tier: Tier, built_in: Tier, problems: Problems) -> None:
    name = tier.meta.name
    if tier.order != built_in.order:
        problems.add("spec.order", f"expected {built_in.order:g} for tier {name!r}, found {_number(tier.order)}")
    if tier.default_action is not built_in.default_action:
        wanted, found = built_in.default_action.value, tier.default_action.value
        problems.add("spec.defaultAction", f"expected {wanted!r} for tier {name!r}, found {found!r}")


def _number(order: float | None) -> str:
    return "none" if order is None else f"{order:g}"


def write_tier(tier: Tier) -> TierDocument:
    spec = _TierSpec(tier.order, tier.default_action.value)
    return TierDocument(wire.meta(tier.meta), spec, API_VERSION, "Tier")
