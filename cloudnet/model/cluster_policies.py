"""Kubernetes' ClusterNetworkPolicy: values and spelling.

Source: ``sigs.k8s.io/network-policy-api/apis/v1alpha2``. The kind is young and will gain new kinds of peers and
protocols. One that we do not know stays in the value as one that says nothing, and the conversion then closes the
rule, as the API asks: an Accept of it accepts nothing, a Deny or Pass of it denies all.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from cloudnet.errors import BadInput
from cloudnet.model import names, wire
from cloudnet.model.addresses import Network
from cloudnet.model.calico_policies import read_metadata
from cloudnet.model.calico_rules import each
from cloudnet.model.kubernetes_labels import (
    LabelSelector,
    LabelSelectorDocument,
    maybe_selector,
    maybe_written,
    read_selector,
    write_selector,
)
from cloudnet.model.kubernetes_policies import read_prefix
from cloudnet.model.policies import NUMBERS, Port, Protocol
from cloudnet.model.problems import Problems
from cloudnet.model.resources import Metadata

API_VERSION: Final = "policy.networking.k8s.io/v1alpha2"

_MOST_RULES = 25
_MOST_PEERS = 25
_LOWEST_PRECEDENCE = 1000
_LONGEST_NAME = 100
_HIGHEST_PORT = 65535


class ClusterTier(enum.Enum):
    """Whether a policy stands before all NetworkPolicies, or behind them."""

    ADMIN = "Admin"
    BASELINE = "Baseline"


class ClusterAction(enum.Enum):
    """What a rule does; ``Pass`` goes on with the next tier."""

    ACCEPT = "Accept"
    DENY = "Deny"
    PASS = "Pass"  # noqa: S105 - the word of the field


@dataclass(frozen=True, slots=True)
class NamespacedPods:
    """Pods that ``pods`` selects, in namespaces that ``namespaces`` selects."""

    namespaces: LabelSelector
    pods: LabelSelector


@dataclass(frozen=True, slots=True)
class ClusterPeer:
    """The other end, one of the three; nothing of them is a kind of peer that we do not know."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPods | None = None
    networks: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class ClusterProtocol:
    """A protocol with a port or range, or the name of a port alone; neither is a kind that we do not know."""

    protocol: Protocol | None = None
    port: Port | None = None


@dataclass(frozen=True, slots=True)
class ClusterRule:
    """Traffic with any of the peers, of any of the protocols (all, if none)."""

    action: ClusterAction
    peers: tuple[ClusterPeer, ...]
    protocols: tuple[ClusterProtocol, ...] = ()
    name: str = ""


@dataclass(frozen=True, slots=True)
class ClusterNetworkPolicy:
    """An administrator's policy for pods of the whole cluster. The subject is namespaces or pods.

    Lower ``priority`` comes first. A direction without rules is left alone.
    """

    meta: Metadata
    tier: ClusterTier
    priority: int
    namespaces: LabelSelector | None = None
    pods: NamespacedPods | None = None
    ingress: tuple[ClusterRule, ...] = ()
    egress: tuple[ClusterRule, ...] = ()


# --- the spelling -------------------------------------------------------------------------------------------


class _Pods(msgspec.Struct, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    pod_selector: LabelSelectorDocument
    namespace_selector: LabelSelectorDocument | None = None


class _Subject(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    namespaces: LabelSelectorDocument | None = None
    pods: _Pods | None = None


class _Peer(msgspec.Struct, omit_defaults=True):
    namespaces: LabelSelectorDocument | None = None
    pods: _Pods | None = None
    networks: list[str] | None = None


class _Range(msgspec.Struct, omit_defaults=True):
    start: int
    end: int


class _Port(msgspec.Struct, omit_defaults=True):
    number: int | None = None
    range: _Range | None = None


class _Ported(msgspec.Struct, rename="camel", omit_defaults=True):
    destination_port: _Port | None = None


class _Protocol(msgspec.Struct, rename="camel", omit_defaults=True):
    tcp: _Ported | None = None
    udp: _Ported | None = None
    sctp: _Ported | None = None
    destination_named_port: str | None = None


class _Ingress(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    action: str
    name: str | None = None
    peers: list[_Peer] | None = msgspec.field(name="from", default=None)
    protocols: list[_Protocol] | None = None


class _Egress(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    action: str
    name: str | None = None
    peers: list[_Peer] | None = msgspec.field(name="to", default=None)
    protocols: list[_Protocol] | None = None


class _Spec(msgspec.Struct, omit_defaults=True):
    tier: str
    priority: int
    subject: _Subject
    ingress: list[_Ingress] | None = None
    egress: list[_Egress] | None = None


class ClusterNetworkPolicyDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """A ClusterNetworkPolicy as Kubernetes writes it."""

    metadata: wire.Meta
    spec: _Spec
    api_version: Literal["policy.networking.k8s.io/v1alpha2"] | None = None
    kind: Literal["ClusterNetworkPolicy"] | None = None


# --- reading ------------------------------------------------------------------------------------------------

_TIERS = {tier.value: tier for tier in ClusterTier}
_ACTIONS = {action.value: action for action in ClusterAction}


def _read_tier(text: str, path: str) -> ClusterTier:
    return wire.choice(text, _TIERS, path)


def _read_action(text: str, path: str) -> ClusterAction:
    return wire.choice(text, _ACTIONS, path)


def read_cluster_policy(document: ClusterNetworkPolicyDocument) -> ClusterNetworkPolicy:
    problems, spec = Problems(), document.spec
    meta = read_metadata(document.metadata, problems)
    tier = problems.read(_read_tier, spec.tier, "spec.tier") or ClusterTier.ADMIN
    if not 0 <= spec.priority <= _LOWEST_PRECEDENCE:
        problems.add("spec.priority", f"expected an integer from 0 to {_LOWEST_PRECEDENCE}, found {spec.priority}")
    if (spec.subject.namespaces is None) is (spec.subject.pods is None):
        problems.add("spec.subject", "expected either namespaces or pods")
    policy = ClusterNetworkPolicy(
        meta=meta,
        tier=tier,
        priority=spec.priority,
        namespaces=maybe_selector(spec.subject.namespaces, "spec.subject.namespaces", problems),
        pods=_read_pods(spec.subject.pods, "spec.subject.pods", problems),
        ingress=_read_rules(spec.ingress, "spec.ingress", "from", problems),
        egress=_read_rules(spec.egress, "spec.egress", "to", problems),
    )
    problems.raise_any()
    return policy


def _read_rules(
    rules: list[_Ingress] | list[_Egress] | None, path: str, field: str, problems: Problems
) -> tuple[ClusterRule, ...]:
    def read(rule: _Ingress | _Egress, at: str) -> ClusterRule:
        peers, protocols = f"{at}.{field}", f"{at}.protocols"
        if not rule.peers:
            problems.add(peers, "expected one peer at least")
        if len(rule.name or "") > _LONGEST_NAME:
            problems.add(f"{at}.name", f"expected {_LONGEST_NAME} characters at most, found {len(rule.name or '')}")
        return ClusterRule(
            problems.read(_read_action, rule.action, f"{at}.action") or ClusterAction.DENY,
            each(lambda peer, p: _read_peer(peer, p, field, problems), rule.peers, peers, problems, most=_MOST_PEERS),
            each(_read_protocol, rule.protocols, protocols, problems, most=_MOST_PEERS),
            rule.name or "",
        )

    some: list[_Ingress | _Egress] = [*(rules or ())]
    return each(read, some, path, problems, most=_MOST_RULES)


def _read_peer(peer: _Peer, path: str, field: str, problems: Problems) -> ClusterPeer:
    found = [name for name in ("namespaces", "pods", "networks") if getattr(peer, name) is not None]
    if len(found) > 1:
        raise BadInput(f"expected one of them only, found {wire.words(found)}", path=path)
    if peer.networks is not None and field == "from":
        raise BadInput("expected nothing in an ingress rule", path=f"{path}.networks")
    return ClusterPeer(
        maybe_selector(peer.namespaces, f"{path}.namespaces", problems),
        _read_pods(peer.pods, f"{path}.pods", problems),
        each(read_prefix, peer.networks, f"{path}.networks", problems, most=_MOST_PEERS),
    )


def _read_pods(pods: _Pods | None, path: str, problems: Problems) -> NamespacedPods | None:
    if pods is None:
        return None
    return NamespacedPods(
        read_selector(pods.namespace_selector or LabelSelectorDocument(), f"{path}.namespaceSelector", problems),
        read_selector(pods.pod_selector, f"{path}.podSelector", problems),
    )


def _read_protocol(protocol: _Protocol, path: str) -> ClusterProtocol:
    found = [name for name in ("tcp", "udp", "sctp") if getattr(protocol, name) is not None]
    if len(found) + (protocol.destination_named_port is not None) > 1:
        raise BadInput("expected one protocol, or the name of a port", path=path)
    if protocol.destination_named_port is not None:
        if not names.is_service_port(protocol.destination_named_port):
            raise BadInput(
                f"expected a port's name, found {wire.shown(protocol.destination_named_port)}",
                path=f"{path}.destinationNamedPort",
            )
        return ClusterProtocol(port=Port(name=protocol.destination_named_port))
    for name in found:
        port = getattr(protocol, name).destination_port
        if port is not None:
            known = Protocol(NUMBERS[name.upper()], name.upper())
            return ClusterProtocol(known, _read_port(port, f"{path}.{name}.destinationPort"))
    return ClusterProtocol()


def _read_port(port: _Port, path: str) -> Port:
    if (port.number is None) is (port.range is None):
        raise BadInput("expected either number or range", path=path)
    if port.range is None:
        _check_number(port.number or 0, 1, f"{path}.number")
        return Port(port.number or 0, port.number or 0)
    _check_number(port.range.start, 1, f"{path}.range.start")
    _check_number(port.range.end, port.range.start, f"{path}.range.end")
    return Port(port.range.start, port.range.end)


def _check_number(found: int, lowest: int, path: str) -> None:
    if not lowest <= found <= _HIGHEST_PORT:
        raise BadInput(f"expected an integer from {lowest} to {_HIGHEST_PORT}, found {found}", path=path)


# --- writing ------------------------------------------------------------------------------------------------


def write_cluster_policy(policy: ClusterNetworkPolicy) -> ClusterNetworkPolicyDocument:
    spec = _Spec(
        tier=policy.tier.value,
        priority=policy.priority,
        subject=_Subject(maybe_written(policy.namespaces), _write_pods(policy.pods)),
        ingress=[_Ingress(*_write_rule(rule)) for rule in policy.ingress] or None,
        egress=[_Egress(*_write_rule(rule)) for rule in policy.egress] or None,
    )
    return ClusterNetworkPolicyDocument(wire.meta(policy.meta), spec, API_VERSION, "ClusterNetworkPolicy")


def _write_rule(rule: ClusterRule) -> tuple[str, str | None, list[_Peer], list[_Protocol] | None]:
    peers = [
        _Peer(maybe_written(peer.namespaces), _write_pods(peer.pods), [str(net) for net in peer.networks] or None)
        for peer in rule.peers
    ]
    return rule.action.value, rule.name or None, peers, [_write_protocol(p) for p in rule.protocols] or None


def _write_pods(pods: NamespacedPods | None) -> _Pods | None:
    return _Pods(write_selector(pods.pods), write_selector(pods.namespaces)) if pods else None


def _write_protocol(protocol: ClusterProtocol) -> _Protocol:
    port = protocol.port
    if port is None:
        return _Protocol()
    if protocol.protocol is None:
        return _Protocol(destination_named_port=port.name)
    alone, name = port.first == port.last, protocol.protocol.name
    ported = _Ported(_Port(port.first) if alone else _Port(range=_Range(port.first, port.last)))
    return _Protocol(
        tcp=ported if name == "TCP" else None,
        udp=ported if name == "UDP" else None,
        sctp=ported if name == "SCTP" else None,
    )
