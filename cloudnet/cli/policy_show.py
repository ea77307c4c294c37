"""How the policy commands tell a verdict: line by line for people, as plain values for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cloudnet.policy import words
from cloudnet.policy.cluster import Cluster
from cloudnet.policy.expectations import decided_by
from cloudnet.policy.reach import Answer, End
from cloudnet.policy.rules import Direction, PolicyKey, Rule
from cloudnet.policy.verdicts import Hit, Step


@dataclass(frozen=True, slots=True)
class ShownRule:
    """A rule that took part: the policy or profile it is in, its number from 0, and what it says."""

    tier: str
    owner: str
    rule: int
    says: str


@dataclass(frozen=True, slots=True)
class ShownStep:
    """What one endpoint said."""

    endpoint: str
    role: str
    direction: str
    allowed: bool
    by: str
    rule: ShownRule | None
    passed_over: tuple[ShownRule, ...]
    logged: tuple[ShownRule, ...]
    staged: tuple[ShownRule, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Whether a packet gets through, and who said what on its way."""

    source: str
    target: str
    packet: str
    allowed: bool
    steps: tuple[ShownStep, ...]


def explanation(cluster: Cluster, source: End, target: End, answer: Answer) -> Explanation:
    """Return a verdict as values for people and programs."""
    titles = {member.id: title for title, member in cluster.members.items()}
    steps = tuple(_step(cluster, titles.get(step.endpoint, step.endpoint), step) for step in answer.steps)
    return Explanation(source.title, target.title, _packet(answer), answer.allowed, steps)


def _packet(answer: Answer) -> str:
    packet = answer.packet
    parts = [f"{packet.source} > {packet.destination}", words.protocol(packet.protocol)]
    if packet.to_port is not None:
        parts.append(str(packet.to_port))
    if packet.icmp:
        parts.append(f"type {packet.icmp.type}")
    return " ".join(parts)


def _step(cluster: Cluster, title: str, step: Step) -> ShownStep:
    return ShownStep(
        endpoint=title,
        role=step.role.value,
        direction=step.direction.value,
        allowed=step.allowed,
        by=decided_by(step),
        rule=_hit(cluster, step.hit, step.direction) if step.hit else None,
        passed_over=tuple(rule for key in step.passed_over for rule in _passed(cluster, key, step)),
        logged=tuple(_hit(cluster, hit, step.direction) for hit in step.logged),
        staged=tuple(_hit(cluster, hit, step.direction) for hit in step.staged),
    )


def _hit(cluster: Cluster, hit: Hit, direction: Direction) -> ShownRule:
    rules: tuple[Rule, ...] = ()
    if isinstance(hit.owner, PolicyKey):
        rules = cluster.policies[hit.owner].rules(direction)
    elif hit.owner in cluster.profiles:
        rules = cluster.profiles[hit.owner].rules(direction)
    said = words.rule(rules[hit.rule], cluster.sources) if hit.rule < len(rules) else hit.action.value
    return ShownRule(hit.tier, str(hit.owner), hit.rule, said)


def _passed(cluster: Cluster, key: PolicyKey, step: Step) -> Iterator[ShownRule]:
    """Yield the rules of a policy that was asked and did not decide; one without rules as it is."""
    policy = cluster.policies[key]
    rules = policy.rules(step.direction)
    for number, rule in enumerate(rules):
        yield ShownRule(policy.tier, str(key), number, words.rule(rule, cluster.sources))
    if not rules:
        yield ShownRule(policy.tier, str(key), -1, "has no rules")


def lines(shown: Explanation) -> Iterator[str]:
    """Yield an explanation as lines for people."""
    verdict = "allowed" if shown.allowed else "denied"
    yield f"{shown.source} > {shown.target}: {verdict}"
    yield f"  {shown.packet}"
    if not shown.steps:
        yield "  no endpoint of the cluster polices it"
    for step in shown.steps:
        where = "leaving" if step.direction == Direction.EGRESS.value else "coming to"
        place = "" if step.role == "pod" else f" ({step.role})"
        yield ""
        yield f"{where} {step.endpoint}{place}: {'allowed' if step.allowed else 'denied'} by {step.by}"
        if step.rule:
            yield f"    {step.rule.says}"
        for title, rules in (
            ("passed over", step.passed_over),
            ("logged", step.logged),
            ("staged, decides nothing", step.staged),
        ):
            yield from _listed(title, rules)


def _listed(title: str, rules: tuple[ShownRule, ...]) -> Iterator[str]:
    if rules:
        yield f"  {title}:"
    before = ""
    for rule in rules:
        owner = f"{rule.tier}: {rule.owner}" if rule.tier else f"profile {rule.owner}"
        if owner != before:
            yield f"    {owner}"
            before = owner
        number = "" if rule.rule < 0 else f"rule {rule.rule}: "
        yield f"      {number}{rule.says}"
