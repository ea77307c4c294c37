"""The evaluation form of policy: what is left of Calico's and Kubernetes' documents once selectors are sets.

``convert.py`` makes it from resources, ``calculate.py`` keeps it up to date, ``evaluate.py`` gives verdicts on it and
``compile.py`` makes nftables of it. Here are its values and its order, and nothing that decides. Selectors have
become names of address sets; protocols are numbers; a namespace is part of a selector. Doors have checked everything:
a value here that cannot be carried out is a mistake in the program, so it raises ``ValueError``.

How a packet meets it (Calico ``felix/rules/endpoints.go``): for one endpoint and direction, tiers in order; in a tier
its policies in order, in a policy its rules in order; the first rule that matches and is not ``log`` decides.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NewType, TypeAlias

from cloudnet.model.addresses import Address, Family, Network

SetId = NewType("SetId", str)
"""Name of a set that ``calculate.py`` fills.

A selector's is its ``uid()``. Others say what they hold: ``n:`` a selector's named port, ``svc:`` and ``svcnoport:``
the endpoints of a service, with and without ports. To us the kind of members alone matters.
"""

EndpointId = NewType("EndpointId", str)
"""Name of a local endpoint: ``namespace/name`` of a WorkloadEndpoint, the name of a HostEndpoint."""

PROTOCOLS: Final[Mapping[str, int]] = MappingProxyType(
    {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132, "udplite": 136}
)
"""``{Calico's name in lower case: IANA's number}``."""

TCP: Final = PROTOCOLS["tcp"]
UDP: Final = PROTOCOLS["udp"]
SCTP: Final = PROTOCOLS["sctp"]
ICMP: Final = PROTOCOLS["icmp"]
ICMPV6: Final = PROTOCOLS["icmpv6"]
WITH_PORTS: Final = frozenset({TCP, UDP, SCTP})


class Action(enum.Enum):
    """What a rule does with a packet that it matches; ``PASS`` leaves the tier, ``LOG`` decides nothing."""

    ALLOW = "allow"
    DENY = "deny"
    LOG = "log"
    PASS = "pass"  # noqa: S105 - the word of the field


class Direction(enum.Enum):
    """As the endpoint sees it: what comes to it, what it sends."""

    INGRESS = "ingress"
    EGRESS = "egress"


@dataclass(frozen=True, slots=True, order=True)
class PortRange:
    """Ports from ``first`` to ``last``, both included; one port is both."""

    first: int
    last: int

    def __contains__(self, port: int) -> bool:
        return self.first <= port <= self.last


@dataclass(frozen=True, slots=True)
class Icmp:
    """An ICMP type, and the code unless every code is meant."""

    type: int
    code: int | None = None


@dataclass(frozen=True, slots=True)
class Peer:
    """What a rule asks of one end of a packet; every filled field must hold, an empty one asks nothing.

    ``nets``: the address is in one of them. ``not_nets``: in none. ``sets``: in each of these address sets;
    ``not_sets``: in none of them, so that an address nobody knows matches. ``ports`` and ``named_ports`` together:
    the port is in a range, *or* (address, protocol, port) in one of the port sets; ``not_ports`` and
    ``not_named_ports``: in none of them. ``services``: (address, protocol, port) is in each of these port sets.
    """

    nets: tuple[Network, ...] = ()
    not_nets: tuple[Network, ...] = ()
    sets: tuple[SetId, ...] = ()
    not_sets: tuple[SetId, ...] = ()
    ports: tuple[PortRange, ...] = ()
    named_ports: tuple[SetId, ...] = ()
    not_ports: tuple[PortRange, ...] = ()
    not_named_ports: tuple[SetId, ...] = ()
    services: tuple[SetId, ...] = ()

    def address_sets(self) -> Iterable[SetId]:
        """Return the sets of ``Network`` that this names."""
        return (*self.sets, *self.not_sets)

    def port_sets(self) -> Iterable[SetId]:
        """Return the sets of ``PortMember`` that this names."""
        return (*self.named_ports, *self.not_named_ports, *self.services)


ANYONE: Final = Peer()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; every field that is filled must hold for it to match.

    ``family`` also follows from ``nets``: an IPv4 packet is in no IPv6 net. ``icmp`` and ``not_icmp`` need
    ``protocol`` ICMP or ICMPv6, port ranges a protocol with ports; both are checked here.
    ``name`` is the user's own, for explanations only.
    """

    action: Action
    family: Family | None = None
    protocol: int | None = None
    not_protocol: int | None = None
    icmp: Icmp | None = None
    not_icmp: Icmp | None = None
    source: Peer = ANYONE
    destination: Peer = ANYONE
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        ranges = (*self.source.ports, *self.source.not_ports, *self.destination.ports, *self.destination.not_ports)
        if ranges and self.protocol not in WITH_PORTS:
            raise ValueError(f"a rule with port ranges needs protocol TCP, UDP or SCTP, not {self.protocol}")
        if (self.icmp or self.not_icmp) and self.protocol not in {ICMP, ICMPV6}:
            raise ValueError(f"a rule with an ICMP type needs protocol ICMP or ICMPv6, not {self.protocol}")


@dataclass(frozen=True, slots=True)
class PolicyKey:
    """Identity of a policy; the tier is no part of it. Calico v3.32 and later."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy, with its selector as canonical text: namespace and service account folded in.

    ``types`` holds the directions it applies in, never none. A ``staged`` policy counts what it would have done and
    decides nothing. ``do_not_track`` and ``pre_dnat`` policies are for host endpoints, and so is
    ``apply_on_forward``, which both imply: they apply to forwarded packets too.
    """

    key: PolicyKey
    tier: str
    selector: str
    types: frozenset[Direction]
    order: float | None = None
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()
    staged: bool = False
    do_not_track: bool = False
    pre_dnat: bool = False
    apply_on_forward: bool = False

    def rules(self, direction: Direction) -> tuple[Rule, ...]:
        return self.ingress if direction is Direction.INGRESS else self.egress


@dataclass(frozen=True, slots=True)
class Tier:
    """A stage of evaluation; ``default_action`` is ``DENY`` or ``PASS``, for packets that no policy of it decided.

    ``known``: somebody made the tier; one that is only named by policies denies by default and comes last.
    """

    name: str
    order: float | None = None
    default_action: Action = Action.DENY
    known: bool = True


@dataclass(frozen=True, slots=True)
class Profile:
    """What applies to its endpoints where no tier decided; ``labels`` are inherited by them."""

    name: str
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)

    def rules(self, direction: Direction) -> tuple[Rule, ...]:
        return self.ingress if direction is Direction.INGRESS else self.egress


ALLOW_ALL: Final = Profile("projectcalico-default-allow", (Rule(Action.ALLOW),), (Rule(Action.ALLOW),))
"""Always there. Calico ``LCG/resources/static.go``."""

ANY_INTERFACE: Final = "*"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A local interface that policy is enforced on: a pod's host side, or one of the node's own.

    ``addresses`` are the pod's own, or a host endpoint's expected ones. ``allowed_sources``: addresses besides, that
    a pod may send from. A host endpoint's ``interface`` may be ``*``: all of the node's interfaces that have no
    endpoint of their own, except those of pods and loopback.
    """

    id: EndpointId
    interface: str
    addresses: tuple[Network, ...] = ()
    profiles: tuple[str, ...] = ()
    allowed_sources: tuple[Network, ...] = ()
    is_host: bool = False


@dataclass(frozen=True, slots=True)
class TierPolicies:
    """The policies of one tier that select an endpoint, in order of evaluation; in none only if it has none."""

    tier: Tier
    policies: tuple[PolicyKey, ...]


@dataclass(frozen=True, slots=True)
class PortMember:
    """One member of a port set."""

    address: Network
    protocol: int
    port: int


Members: TypeAlias = frozenset[Network] | frozenset[PortMember]


# --- order (Calico felix/calc/policy_sorter.go) -----------------------------------------------------------------


def tier_order(tier: Tier) -> tuple[bool, float, str]:
    """Return a sort key: tiers that exist first, then by order, those without one last, then by name."""
    return not tier.known, _last(tier.order), tier.name


def policy_order(policy: Policy) -> tuple[float, str]:
    """Return a sort key for policies of one tier: by order, those without one last, then name, namespace, kind."""
    key = policy.key
    return _last(policy.order), f"{key.name}/{key.namespace}/{key.kind}"


def _last(order: float | None) -> float:
    return math.inf if order is None else order


def arrange(policies: Iterable[Policy], tiers: Mapping[str, Tier]) -> tuple[TierPolicies, ...]:
    """Return the policies that select one endpoint by tier, in order of evaluation. ``tiers``: ``{name: tier}``."""
    by_tier: dict[str, list[Policy]] = {}
    for policy in policies:
        by_tier.setdefault(policy.tier, []).append(policy)
    chosen = sorted((tiers.get(name, Tier(name, known=False)) for name in by_tier), key=tier_order)
    return tuple(
        TierPolicies(tier, tuple(policy.key for policy in sorted(by_tier[tier.name], key=policy_order)))
        for tier in chosen
    )


# --- what changes, from calculate.py to compile.py ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EndpointChanged:
    """A local endpoint is new or another one; with the policies that select it now."""

    endpoint: Endpoint
    tiers: tuple[TierPolicies, ...] = ()


@dataclass(frozen=True, slots=True)
class EndpointGone:
    id: EndpointId


@dataclass(frozen=True, slots=True)
class PolicyChanged:
    """A policy that selects a local endpoint is new or another one. Said before an endpoint names it."""

    policy: Policy


@dataclass(frozen=True, slots=True)
class PolicyGone:
    """No local endpoint is selected by it any more. Said after the last endpoint let go of it."""

    key: PolicyKey


@dataclass(frozen=True, slots=True)
class ProfileChanged:
    """A profile of a local endpoint is new or another one. A profile that is missing allows nothing."""

    profile: Profile


@dataclass(frozen=True, slots=True)
class ProfileGone:
    name: str


@dataclass(frozen=True, slots=True)
class SetChanged:
    """Members came to and went from a set that an active policy or profile names; the first one makes the set.

    ``of_ports`` tells which kind of members the set has, even if it has none. Said before a policy names the set.
    """

    id: SetId
    of_ports: bool
    added: Members = frozenset()
    removed: Members = frozenset()


@dataclass(frozen=True, slots=True)
class SetGone:
    """Nobody names the set any more. Said after the last policy let go of it."""

    id: SetId


@dataclass(frozen=True, slots=True)
class NodesChanged:
    """Nodes of the cluster came and went, this one among them: their own addresses, from which VXLAN may come."""

    added: frozenset[Address] = frozenset()
    removed: frozenset[Address] = frozenset()


Change: TypeAlias = (
    EndpointChanged
    | EndpointGone
    | PolicyChanged
    | PolicyGone
    | ProfileChanged
    | ProfileGone
    | SetChanged
    | SetGone
    | NodesChanged
)


@dataclass(frozen=True, slots=True)
class State:
    """All of it at one moment, for a node: what the evaluator and a compiler from cold need.

    Members of ``sets`` are all of one kind. ``nodes``: the own addresses of all nodes. Nobody changes the mappings.
    """

    endpoints: Mapping[EndpointId, EndpointChanged] = field(default_factory=dict)
    policies: Mapping[PolicyKey, Policy] = field(default_factory=dict)
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    address_sets: Mapping[SetId, frozenset[Network]] = field(default_factory=dict)
    port_sets: Mapping[SetId, frozenset[PortMember]] = field(default_factory=dict)
    nodes: frozenset[Address] = frozenset()
