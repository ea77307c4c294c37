"""What one endpoint's tiers and profiles say to a packet, in one role and direction."""

from __future__ import annotations

from dataclasses import dataclass, field

from cloudnet.policy.packets import Packet, matches
from cloudnet.policy.roles import Plan, Role, Stage, plan
from cloudnet.policy.rules import Action, Direction, EndpointChanged, EndpointId, PolicyKey, Rule, State
from cloudnet.policy.verdicts import Hit, Step, Why


def decide(state: State, of: EndpointChanged, role: Role, direction: Direction, packet: Packet) -> Step:
    """Return what the endpoint's tiers decide, or its profiles where no tier does."""
    way = plan(role, direction, of, state.policies)
    return _Asking(state, of.endpoint.id, way, packet).step()


@dataclass(slots=True)
class _Asking:
    """One packet on its way down one plan, and what was noted on the way."""

    state: State
    endpoint: EndpointId
    plan: Plan
    packet: Packet
    passed: list[PolicyKey] = field(default_factory=list)
    logged: list[Hit] = field(default_factory=list)
    staged: list[Hit] = field(default_factory=list)

    def step(self) -> Step:
        for stage in self.plan.stages:
            hit = self._ask(stage)
            if hit is not None and hit.action is not Action.PASS:
                return self._end(Why.RULE, allowed=hit.action is Action.ALLOW, hit=hit, tier=stage.tier)
            if hit is None and stage.denies:
                return self._end(Why.TIER, allowed=False, tier=stage.tier)
        return self._ask_profiles()

    def _ask(self, stage: Stage) -> Hit | None:
        """Return the hit that decides the tier or leaves it."""
        for key in stage.policies:
            policy = self.state.policies[key]
            hit = self._first(policy.rules(self.plan.direction), key, stage.tier, logs=not policy.staged)
            if policy.staged:
                self.staged += [hit] if hit else []
                continue
            if hit is not None and hit.action is not Action.PASS:
                return hit
            self.passed.append(key)
            if hit is not None:
                return hit
        return None

    def _ask_profiles(self) -> Step:
        if self.plan.profiles is None:
            return self._end(Why.NOTHING, allowed=True)
        for name in self.plan.profiles:
            profile = self.state.profiles.get(name)
            hit = self._first(profile.rules(self.plan.direction), name, "", logs=True) if profile else None
            if hit is not None and hit.action is not Action.PASS:
                return self._end(Why.PROFILE, allowed=hit.action is Action.ALLOW, hit=hit)
        return self._end(Why.NO_PROFILE, allowed=False)

    def _first(self, rules: tuple[Rule, ...], owner: PolicyKey | str, tier: str, *, logs: bool) -> Hit | None:
        """Return the first rule that matches and decides; note those that only log."""
        for number, rule in enumerate(rules):
            if matches(rule, self.packet, self.state):
                hit = Hit(rule.action, owner, number, tier)
                if rule.action is not Action.LOG:
                    return hit
                self.logged += [hit] if logs else []
        return None

    def _end(self, why: Why, *, allowed: bool, hit: Hit | None = None, tier: str = "") -> Step:
        return Step(
            self.endpoint,
            self.plan.role,
            self.plan.direction,
            allowed,
            why,
            hit,
            tier,
            tuple(self.passed),
            tuple(self.logged),
            tuple(self.staged),
        )
