"""Which policies an endpoint is held against, where in the packet's way, and what happens when none decides.

A pod has one list of policies a direction. A host endpoint has four, for four places of the kernel (Calico
``felix/rules/endpoints.go``): packets of the node itself, packets it forwards, packets before they are tracked, and
packets before destination NAT. The evaluator and the compiler both read this, so they agree on it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from cloudnet.policy.rules import Action, Direction, EndpointChanged, Policy, PolicyKey


class Role(enum.Enum):
    """In which part an endpoint meets a packet."""

    POD = "pod"
    HOST = "host"
    FORWARD = "forward"
    UNTRACKED = "untracked"
    PRE_DNAT = "pre-dnat"


@dataclass(frozen=True, slots=True)
class Stage:
    """One tier for one endpoint, role and direction: policies in order, and whether what they leave is denied."""

    tier: str
    policies: tuple[PolicyKey, ...]
    denies: bool
    _hash: int = field(init=False, repr=False, compare=False)  # asked for often, and long to work out

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.tier, self.policies, self.denies)))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True, slots=True)
class Plan:
    """What an endpoint's packets go through in one role and direction.

    After the stages: ``profiles`` in order, and denial if none allows; or, where there are no profiles by nature
    (``None``), the packet goes on its way. Endpoints with equal plans share their chains.
    """

    role: Role
    direction: Direction
    stages: tuple[Stage, ...]
    profiles: tuple[str, ...] | None

    @property
    def does_nothing(self) -> bool:
        return not self.stages and self.profiles is None


def plan(role: Role, direction: Direction, of: EndpointChanged, policies: Mapping[PolicyKey, Policy]) -> Plan:
    """Return the plan of one endpoint. A policy that is not in ``policies`` takes no part."""
    stages = []
    for entry in of.tiers:
        known = [policies[key] for key in entry.policies if key in policies]
        chosen = [policy for policy in known if direction in policy.types and _takes_part(policy, role)]
        if chosen:
            enforced = any(not policy.staged for policy in chosen)
            denies = enforced and entry.tier.default_action is Action.DENY and role not in _BEFORE
            stages.append(Stage(entry.tier.name, tuple(policy.key for policy in chosen), denies))
    with_profiles = role in {Role.POD, Role.HOST}
    return Plan(role, direction, tuple(stages), of.endpoint.profiles if with_profiles else None)


_BEFORE = frozenset({Role.UNTRACKED, Role.PRE_DNAT})  # what these do not decide is decided later


def _takes_part(policy: Policy, role: Role) -> bool:
    match role:
        case Role.UNTRACKED:
            return policy.do_not_track
        case Role.PRE_DNAT:
            return policy.pre_dnat
        case Role.FORWARD:
            return policy.apply_on_forward and not policy.do_not_track and not policy.pre_dnat
        case _:
            return not policy.do_not_track and not policy.pre_dnat
