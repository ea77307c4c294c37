"""What the evaluator says: a verdict, made of steps, each with what decided it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from cloudnet.policy.roles import Role
from cloudnet.policy.rules import Action, Direction, EndpointId, PolicyKey


class Why(enum.Enum):
    """What decided in one step."""

    RULE = "rule"
    TIER = "the tier's default action"
    PROFILE = "profile"
    NO_PROFILE = "no profile allows it"
    NOTHING = "nothing applies"
    ALREADY_ALLOWED = "allowed before tracking or NAT"
    ESTABLISHED = "established connection"
    INVALID = "not part of any connection"
    FAILSAFE = "failsafe port"
    OVERLAY = "overlay between nodes"
    STRANGER = "overlay from no node"
    NEIGHBOURS = "IPv6 neighbour discovery"
    SPOOFED = "source address of somebody else"
    ENCAPSULATED = "encapsulated by a pod"
    UNKNOWN = "unknown pod"
    TO_HOST = "from a pod to its node"


@dataclass(frozen=True, slots=True)
class Hit:
    """A rule that matched: the tier is empty for a profile's, ``rule`` counts from 0."""

    action: Action
    owner: PolicyKey | str
    rule: int
    tier: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """What one endpoint said in one role.

    ``hit`` is the rule that decided, if one did; ``tier`` the tier that did. ``passed_over``: policies that were
    asked and did not decide, in order; ``logged``: rules with ``log`` that matched on the way; ``staged``: what
    staged policies would have done, one entry each.
    """

    endpoint: EndpointId
    role: Role
    direction: Direction
    allowed: bool
    why: Why
    hit: Hit | None = None
    tier: str = ""
    passed_over: tuple[PolicyKey, ...] = ()
    logged: tuple[Hit, ...] = ()
    staged: tuple[Hit, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the packet gets through, and every step up to the one that stopped it."""

    allowed: bool
    steps: tuple[Step, ...]

    @property
    def deciding(self) -> Step | None:
        """Return the step that denied it, or the last one that let it through; nothing if nobody policed it."""
        return self.steps[-1] if self.steps else None
