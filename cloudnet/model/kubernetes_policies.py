"""Kubernetes' NetworkPolicy, and Calico's staged form of it: values and spelling.

Sources: Kubernetes ``api/networking/v1/types.go`` and ``pkg/apis/networking/validation/validation.go``, Calico
``api/pkg/apis/projectcalico/v3/stagedkubernetesnetworkpolicy.go``. What the API server refuses is refused here, and
so is a field of a rule that nobody knows: passing over what a rule asks for would let it match more. Calico's own
NetworkPolicy is another kind, with the same name on the wire, see ``policies.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from cloudnet.errors import BadInput
from cloudnet.model import calico, names, wire
from cloudnet.model.addresses import Network
from cloudnet.model.calico_policies import read_metadata, read_staged_action
from cloudnet.model.calico_rules import each
from cloudnet.model.kubernetes_labels import (
    EVERYTHING,
    LabelSelector,
    LabelSelectorDocument,
    maybe_selector,
    maybe_written,
    read_selector,
    write_selector,
)
from cloudnet.model.policies import NUMBERS, PolicyType, Protocol, StagedAction
from cloudnet.model.problems import Problems
from cloudnet.model.resources import Metadata

API_VERSION: Final = "networking.k8s.io/v1"

TCP: Final = Protocol(NUMBERS["TCP"], "TCP")

_HIGHEST_PORT = 65535
_NO_LIMIT = 1_000_000  # entries of a list; Kubernetes limits the size of the document instead


@dataclass(frozen=True, slots=True)
class KubernetesPort:
    """A port of a protocol: by number, up to ``last`` if there is one, or by name; without both, every port."""

    protocol: Protocol = TCP
    first: int | None = None
    last: int | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class IPBlock:
    """Addresses of a prefix, except those of some prefixes inside it."""

    cidr: Network
    excepted: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class KubernetesPeer:
    """The other end: a block of addresses, or pods; without a namespace selector, pods of the policy's own."""

    pods: LabelSelector | None = None
    namespaces: LabelSelector | None = None
    block: IPBlock | None = None


@dataclass(frozen=True, slots=True)
class KubernetesRule:
    """Traffic that is allowed: with any of the peers (all, if none), at any of the ports (all, if none)."""

    peers: tuple[KubernetesPeer, ...] = ()
    ports: tuple[KubernetesPort, ...] = ()


@dataclass(frozen=True, slots=True)
class KubernetesPolicySpec:
    """The body of a policy. No ``types`` means Ingress, and Egress too where there are egress rules."""

    pods: LabelSelector = EVERYTHING
    ingress: tuple[KubernetesRule, ...] = ()
    egress: tuple[KubernetesRule, ...] = ()
    types: tuple[PolicyType, ...] = ()

    @property
    def directions(self) -> frozenset[PolicyType]:
        if self.types:
            return frozenset(self.types)
        return frozenset(PolicyType) if self.egress else frozenset({PolicyType.INGRESS})


@dataclass(frozen=True, slots=True)
class KubernetesNetworkPolicy:
    """Kubernetes' own policy: what it selects is isolated but for what its rules allow."""

    meta: Metadata
    spec: KubernetesPolicySpec = KubernetesPolicySpec()


@dataclass(frozen=True, slots=True)
class StagedKubernetesNetworkPolicy:
    """What a Kubernetes NetworkPolicy may become: it is counted, and decides nothing."""

    meta: Metadata
    spec: KubernetesPolicySpec = KubernetesPolicySpec()
    action: StagedAction = StagedAction.SET


# --- the spelling -------------------------------------------------------------------------------------------


class _Strict(msgspec.Struct, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """What all parts of a rule are."""


class _Port(_Strict):
    protocol: str | None = None
    port: int | str | None = None
    end_port: int | None = None


class _Block(_Strict):
    cidr: str
    excepted: list[str] | None = msgspec.field(name="except", default=None)


class _Peer(_Strict):
    pod_selector: LabelSelectorDocument | None = None
    namespace_selector: LabelSelectorDocument | None = None
    ip_block: _Block | None = None


class _Ingress(_Strict):
    ports: list[_Port] | None = None
    peers: list[_Peer] | None = msgspec.field(name="from", default=None)


class _Egress(_Strict):
    ports: list[_Port] | None = None
    peers: list[_Peer] | None = msgspec.field(name="to", default=None)


class _Spec(msgspec.Struct, rename="camel", omit_defaults=True):
    pod_selector: LabelSelectorDocument | None = None
    ingress: list[_Ingress] | None = None
    egress: list[_Egress] | None = None
    policy_types: list[str] | None = None


class _StagedSpec(_Spec, rename="camel", omit_defaults=True):
    staged_action: str | None = None


class KubernetesNetworkPolicyDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """A NetworkPolicy as Kubernetes writes it."""

    metadata: wire.Meta
    spec: _Spec = msgspec.field(default_factory=_Spec)
    api_version: Literal["networking.k8s.io/v1"] | None = None
    kind: Literal["NetworkPolicy"] | None = None


class StagedKubernetesNetworkPolicyDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """A StagedKubernetesNetworkPolicy as Calico writes it."""

    metadata: wire.Meta
    spec: _StagedSpec = msgspec.field(default_factory=_StagedSpec)
    api_version: Literal["projectcalico.org/v3"] | None = None
    kind: Literal["StagedKubernetesNetworkPolicy"] | None = None


# --- reading ------------------------------------------------------------------------------------------------

_PROTOCOLS = {name: Protocol(NUMBERS[name], name) for name in ("TCP", "UDP", "SCTP")}
_TYPES = {type_.value: type_ for type_ in PolicyType}


def read_kubernetes_policy(document: KubernetesNetworkPolicyDocument) -> KubernetesNetworkPolicy:
    problems = Problems()
    meta = read_metadata(document.metadata, problems, namespaced=True)
    spec = _read_spec(document.spec, problems)
    problems.raise_any()
    return KubernetesNetworkPolicy(meta, spec)


def read_staged_kubernetes_policy(document: StagedKubernetesNetworkPolicyDocument) -> StagedKubernetesNetworkPolicy:
    problems = Problems()
    meta = read_metadata(document.metadata, problems, namespaced=True)
    action = read_staged_action(document.spec.staged_action, problems)
    spec = _read_spec(document.spec, problems)
    if action is StagedAction.DELETE:
        for field, found in (
            ("podSelector", spec.pods),
            ("ingress", spec.ingress),
            ("egress", spec.egress),
            ("policyTypes", spec.types),
        ):
            if found:
                problems.add(f"spec.{field}", "expected nothing, for spec.stagedAction is Delete")
    problems.raise_any()
    return StagedKubernetesNetworkPolicy(meta, spec, action)


def _read_spec(spec: _Spec, problems: Problems) -> KubernetesPolicySpec:
    def read_type(word: str, path: str) -> PolicyType:
        return wire.choice(word, _TYPES, path)

    def read_rule(rule: _Ingress | _Egress, path: str) -> KubernetesRule:
        peers = f"{path}.{'from' if isinstance(rule, _Ingress) else 'to'}"
        return KubernetesRule(
            each(lambda peer, at: _read_peer(peer, at, problems), rule.peers, peers, problems, most=_NO_LIMIT),
            each(_read_port, rule.ports, f"{path}.ports", problems, most=_NO_LIMIT),
        )

    selector = spec.pod_selector or LabelSelectorDocument()
    return KubernetesPolicySpec(
        pods=read_selector(selector, "spec.podSelector", problems),
        ingress=each(read_rule, spec.ingress, "spec.ingress", problems, most=_NO_LIMIT),
        egress=each(read_rule, spec.egress, "spec.egress", problems, most=_NO_LIMIT),
        types=each(read_type, spec.policy_types, "spec.policyTypes", problems, most=len(_TYPES)),
    )


def _read_peer(peer: _Peer, path: str, problems: Problems) -> KubernetesPeer:
    if peer.ip_block is None and peer.pod_selector is None and peer.namespace_selector is None:
        raise BadInput("expected podSelector, namespaceSelector or ipBlock", path=path)
    if peer.ip_block and (peer.pod_selector or peer.namespace_selector):
        raise BadInput("expected nothing beside ipBlock", path=path)
    return KubernetesPeer(
        maybe_selector(peer.pod_selector, f"{path}.podSelector", problems),
        maybe_selector(peer.namespace_selector, f"{path}.namespaceSelector", problems),
        _read_block(peer.ip_block, f"{path}.ipBlock", problems) if peer.ip_block else None,
    )


def _read_block(block: _Block, path: str, problems: Problems) -> IPBlock:
    """Return the block; its prefixes may have host bits, which count for nothing, as in Kubernetes."""
    cidr = read_prefix(block.cidr, f"{path}.cidr")

    def read(text: str, at: str) -> Network:
        net = read_prefix(text, at)
        if net.version != cidr.version or net.prefixlen <= cidr.prefixlen or not net.overlaps(cidr):
            raise BadInput(f"expected a part of {cidr}, found {text!r}", path=at)
        return net

    return IPBlock(cidr, each(read, block.excepted, f"{path}.except", problems, most=_NO_LIMIT))


def read_prefix(text: str, path: str) -> Network:
    net = wire.loose_network(text, path)
    if "/" not in text:
        raise BadInput(f"expected a prefix, found {text!r}: write {net}", path=path)
    return net


def _read_port(port: _Port, path: str) -> KubernetesPort:
    protocol = wire.choice(port.protocol or "TCP", _PROTOCOLS, f"{path}.protocol")
    if isinstance(port.port, str):
        if not names.is_service_port(port.port):
            raise BadInput(
                f"expected an integer from 1 to {_HIGHEST_PORT} or a port's name, found {wire.shown(port.port)}",
                path=f"{path}.port",
            )
        if port.end_port is not None:
            raise BadInput("expected nothing beside a port's name", path=f"{path}.endPort")
        return KubernetesPort(protocol, name=port.port)
    if port.port is None:
        if port.end_port is not None:
            raise BadInput("expected nothing without port", path=f"{path}.endPort")
        return KubernetesPort(protocol)
    _check_number(port.port, 1, f"{path}.port")
    if port.end_port is not None:
        _check_number(port.end_port, port.port, f"{path}.endPort")
    return KubernetesPort(protocol, port.port, port.end_port)


def _check_number(found: int, lowest: int, path: str) -> None:
    if not lowest <= found <= _HIGHEST_PORT:
        raise BadInput(f"expected an integer from {lowest} to {_HIGHEST_PORT}, found {found}", path=path)


# --- writing ------------------------------------------------------------------------------------------------


def write_kubernetes_policy(policy: KubernetesNetworkPolicy) -> KubernetesNetworkPolicyDocument:
    spec = policy.spec
    return KubernetesNetworkPolicyDocument(
        wire.meta(policy.meta),
        _Spec(write_selector(spec.pods), _write_ingress(spec), _write_egress(spec), _write_types(spec)),
        API_VERSION,
        "NetworkPolicy",
    )


def write_staged_kubernetes_policy(policy: StagedKubernetesNetworkPolicy) -> StagedKubernetesNetworkPolicyDocument:
    spec = policy.spec
    return StagedKubernetesNetworkPolicyDocument(
        wire.meta(policy.meta),
        _StagedSpec(
            write_selector(spec.pods),
            _write_ingress(spec),
            _write_egress(spec),
            _write_types(spec),
            policy.action.value,
        ),
        calico.API_VERSION,
        "StagedKubernetesNetworkPolicy",
    )


def _write_ingress(spec: KubernetesPolicySpec) -> list[_Ingress] | None:
    return [_Ingress(_write_ports(rule), _write_peers(rule)) for rule in spec.ingress] or None


def _write_egress(spec: KubernetesPolicySpec) -> list[_Egress] | None:
    return [_Egress(_write_ports(rule), _write_peers(rule)) for rule in spec.egress] or None


def _write_types(spec: KubernetesPolicySpec) -> list[str] | None:
    return [type_.value for type_ in spec.types] or None


def _write_ports(rule: KubernetesRule) -> list[_Port] | None:
    return [_Port(port.protocol.name, port.name or port.first, port.last) for port in rule.ports] or None


def _write_peers(rule: KubernetesRule) -> list[_Peer] | None:
    return [
        _Peer(maybe_written(peer.pods), maybe_written(peer.namespaces), _write_block(peer.block))
        for peer in rule.peers
    ] or None


def _write_block(block: IPBlock | None) -> _Block | None:
    return _Block(str(block.cidr), [str(net) for net in block.excepted] or None) if block else None
