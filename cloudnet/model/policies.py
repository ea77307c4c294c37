"""Network policy as Calico's users write it: policies in tiers, network sets, profiles, host endpoints.

Values only. Their spelling on the wire, and what Calico refuses of it, belongs to ``calico_policies.py``; what a
policy means to a packet is decided on the evaluation form, which ``cloudnet.policy.convert`` makes of these.
Selectors stand here as their authors wrote them. Sources: Calico ``api/pkg/apis/projectcalico/v3/*.go``.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from cloudnet.model.addresses import Address, Family, Network, NodeName
from cloudnet.model.resources import Metadata

DEFAULT_TIER: Final = "default"
ADMIN_TIER: Final = "kube-admin"
BASELINE_TIER: Final = "kube-baseline"

_NOTHING: Mapping[str, str] = MappingProxyType({})


class Action(enum.Enum):
    """What a rule does with the packets that it matches; ``Pass`` leaves the tier, ``Log`` decides nothing."""

    ALLOW = "Allow"
    DENY = "Deny"
    LOG = "Log"
    PASS = "Pass"  # noqa: S105 - the word of the field


class PolicyType(enum.Enum):
    """A direction, as the endpoint that the policy selects sees it."""

    INGRESS = "Ingress"
    EGRESS = "Egress"


class StagedAction(enum.Enum):
    """What would happen to the enforced policy of the same name; ``Learn`` and ``Ignore`` are for other tools."""

    SET = "Set"
    DELETE = "Delete"
    LEARN = "Learn"
    IGNORE = "Ignore"


NUMBERS: Final[Mapping[str, int]] = MappingProxyType(
    {"TCP": 6, "UDP": 17, "ICMP": 1, "ICMPv6": 58, "SCTP": 132, "UDPLite": 136}
)
"""``{name: IANA's number}`` of the protocols that have a name in Calico. ``api/pkg/lib/numorstring/protocol.go``."""

_WITH_PORTS = frozenset({6, 17, 132})


@dataclass(frozen=True, slots=True)
class Protocol:
    """An IP protocol, spelt as its author did: one of ``NUMBERS``, or a number from 1 to 255 with an empty name."""

    number: int
    name: str = ""

    @property
    def has_ports(self) -> bool:
        """Whether rules may ask for its ports: TCP, UDP and SCTP."""
        return self.number in _WITH_PORTS

    def __str__(self) -> str:
        return self.name or str(self.number)


@dataclass(frozen=True, slots=True)
class Port:
    """A port, a range of ports from ``first`` to ``last``, or the name that endpoints give to one of theirs."""

    first: int = 0
    last: int = 0
    name: str = ""

    def __str__(self) -> str:
        return self.name or (str(self.first) if self.first == self.last else f"{self.first}:{self.last}")


@dataclass(frozen=True, slots=True)
class ICMP:
    """An ICMP type, and its code unless all are meant; without either, every ICMP packet."""

    type: int | None = None
    code: int | None = None


@dataclass(frozen=True, slots=True)
class ServiceAccountMatch:
    """Pods that run as one of the accounts ``names`` (any, if none), whose account ``selector`` selects."""

    names: tuple[str, ...] = ()
    selector: str = ""


@dataclass(frozen=True, slots=True)
class ServiceMatch:
    """The endpoints of a Kubernetes Service; an empty namespace is the policy's own."""

    name: str
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class EntityRule:
    """What a rule asks of one end of a packet. All filled fields must hold; an empty one asks nothing.

    ``not_selector`` also matches addresses that nobody knows, which a ``!`` inside ``selector`` does not.
    """

    nets: tuple[Network, ...] = ()
    not_nets: tuple[Network, ...] = ()
    selector: str = ""
    not_selector: str = ""
    namespace_selector: str = ""
    ports: tuple[Port, ...] = ()
    not_ports: tuple[Port, ...] = ()
    service_accounts: ServiceAccountMatch | None = None
    services: ServiceMatch | None = None


ANYONE: Final = EntityRule()


@dataclass(frozen=True, slots=True)
class HTTPPath:
    """A path of a request: all of it, or how it begins."""

    exact: str = ""
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class HTTPMatch:
    """What a rule asks of a request. Nothing in the kernel reads it: the rule counts without it, as in Calico."""

    methods: tuple[str, ...] = ()
    paths: tuple[HTTPPath, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """What to do with the packets of one kind. Calico ``Rule`` (``policy_common.go``)."""

    action: Action
    ip_version: Family | None = None
    protocol: Protocol | None = None
    not_protocol: Protocol | None = None
    icmp: ICMP | None = None
    not_icmp: ICMP | None = None
    source: EntityRule = ANYONE
    destination: EntityRule = ANYONE
    http: HTTPMatch | None = None
    annotations: Mapping[str, str] = field(default_factory=lambda: _NOTHING, hash=False)


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """The body of a policy, whichever kind holds it.

    No ``order`` is last. No ``types`` means that they follow from the rules, see ``directions``. The fields from
    ``namespace_selector`` on belong to global policies, in others they keep their defaults.
    """

    tier: str = DEFAULT_TIER
    order: float | None = None
    selector: str = ""
    types: tuple[PolicyType, ...] = ()
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()
    service_account_selector: str = ""
    performance_hints: tuple[str, ...] = ()
    namespace_selector: str = ""
    do_not_track: bool = False
    pre_dnat: bool = False
    apply_on_forward: bool = False

    @property
    def directions(self) -> frozenset[PolicyType]:
        """The types said, or those that Calico fills in (``api/pkg/defaults/networkpolicy.go``)."""
        if self.types:
            return frozenset(self.types)
        if not self.egress:
            return frozenset({PolicyType.INGRESS})
        return frozenset(PolicyType) if self.ingress else frozenset({PolicyType.EGRESS})


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """A policy for the pods of its namespace. Calico ``NetworkPolicy``."""

    meta: Metadata
    spec: PolicySpec = PolicySpec()


@dataclass(frozen=True, slots=True)
class GlobalNetworkPolicy:
    """A policy for pods of every namespace and for host endpoints. Calico ``GlobalNetworkPolicy``."""

    meta: Metadata
    spec: PolicySpec = PolicySpec()


@dataclass(frozen=True, slots=True)
class StagedNetworkPolicy:
    """What a NetworkPolicy may become: it is counted, and decides nothing. Calico ``StagedNetworkPolicy``."""

    meta: Metadata
    spec: PolicySpec = PolicySpec()
    action: StagedAction = StagedAction.SET


@dataclass(frozen=True, slots=True)
class StagedGlobalNetworkPolicy:
    """What a GlobalNetworkPolicy may become. Calico ``StagedGlobalNetworkPolicy``."""

    meta: Metadata
    spec: PolicySpec = PolicySpec()
    action: StagedAction = StagedAction.SET


@dataclass(frozen=True, slots=True)
class Tier:
    """A stage of evaluation. ``default_action`` is for packets that its policies apply to and none decided.

    No ``order`` is last. Calico ``Tier``.
    """

    meta: Metadata
    order: float | None = None
    default_action: Action = Action.DENY


BUILT_IN_TIERS: Final = (
    Tier(Metadata(ADMIN_TIER), 1_000, Action.PASS),
    Tier(Metadata(DEFAULT_TIER), 1_000_000, Action.DENY),
    Tier(Metadata(BASELINE_TIER), 10_000_000, Action.PASS),
)
"""Always there; a document may name them, but not change their order or action. ``api/.../v3/tier.go``."""


@dataclass(frozen=True, slots=True)
class NetworkSet:
    """Addresses outside that selectors of its namespace find by its labels. Calico ``NetworkSet``."""

    meta: Metadata
    nets: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class GlobalNetworkSet:
    """Addresses outside that every selector finds by its labels. Calico ``GlobalNetworkSet``."""

    meta: Metadata
    nets: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """Rules and labels that endpoints take over by naming it; the rules count where no tier decided.

    An endpoint names profiles, a profile names nothing: there are no chains of them. Calico ``Profile``.
    """

    meta: Metadata
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()
    labels_to_apply: Mapping[str, str] = field(default_factory=lambda: _NOTHING, hash=False)


@dataclass(frozen=True, slots=True)
class NamedPort:
    """A port of an endpoint that rules may name."""

    name: str
    protocol: Protocol
    port: int


@dataclass(frozen=True, slots=True)
class HostEndpoint:
    """An interface of a node that policy is enforced on, ``*`` for all of them. Calico ``HostEndpoint``.

    Without ``interface`` it is the one that has one of ``expected_addresses``; selectors know it by these.
    """

    meta: Metadata
    node: NodeName
    interface: str = ""
    expected_addresses: tuple[Address, ...] = ()
    profiles: tuple[str, ...] = ()
    ports: tuple[NamedPort, ...] = ()
