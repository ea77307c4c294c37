"""The chains of policies, profiles, tiers and endpoints: what each holds, and which others it leads to.

    endpoint's chain (one a plan)    pod-in-3fa91c…      drop invalid, jump each tier, jump each profile, drop
    tier's chain (one a list)        tier-in-77e0b2…     jump each policy, or look-ups for many; then deny or return
    policy's chain                   policy-in-0c44d1…   one rule a rule, each goes to a verdict's chain
    verdict's chain (one a policy)   allow-in-0c44d1…    count, accept

No packet mark carries a verdict. Allow is ``accept``: it ends the base chain, and the next base chain asks the next
endpoint. Pass has to leave a tier's chain, so a policy that passes is written into it: there, ``goto`` a chain that
only counts comes back behind the tier.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from cloudnet.policy.merging import Merged, is_simple
from cloudnet.policy.options import VXLAN_PORT, Options
from cloudnet.policy.roles import Plan, Role, Stage
from cloudnet.policy.rules import Action, Direction, Policy, PolicyKey, Profile, Rule, SetId
from cloudnet.policy.sequence import FEW, LARGEST, Decided, Entry, Plain, Sequence, SetsAtHand, may_merge
from cloudnet.policy.table import Chain, Counter, Part, digest, harmless, join

DIRECTIONS: Final[Mapping[Direction, str]] = {Direction.INGRESS: "in", Direction.EGRESS: "out"}

# Drops that no policy decided, each counted by name: {counter: what it means}.
DROPS: Final[Mapping[str, str]] = {
    "drop-invalid": "no part of any connection",
    "drop-unknown": "a pod that is not known yet",
    "drop-spoofed": "a pod sent with somebody else's address",
    "drop-stranger": "VXLAN from no node of the cluster",
    "drop-encapsulated": "a pod sent VXLAN or IPIP",
    "drop-to-node": "a pod sent to its node",
    "drop-no-profile-in": "no profile allows it in",
    "drop-no-profile-out": "no profile allows it out",
}


@dataclass(frozen=True, slots=True)
class PolicyUnit:
    key: PolicyKey
    direction: Direction


@dataclass(frozen=True, slots=True)
class ProfileUnit:
    name: str
    direction: Direction


@dataclass(frozen=True, slots=True)
class StageUnit:
    stage: Stage
    direction: Direction


Unit: TypeAlias = PolicyUnit | ProfileUnit | StageUnit | Plan
"""What makes a part of the table: a chain and what belongs to it."""


@dataclass(frozen=True, slots=True)
class Built:
    """A unit's part, the units that it leads to, and the sets that it depends on, as ``Sequence`` has them."""

    part: Part
    needs: frozenset[Unit] = frozenset()
    shapes: frozenset[SetId] = frozenset()
    contents: frozenset[SetId] = frozenset()
    lookups: frozenset[SetId] = frozenset()


@dataclass(frozen=True, slots=True)
class Written:
    """A policy's rules in one direction as a tier's chain has them; kept, for it depends on the policy alone.

    ``merges`` and those of the entries say nothing of how large sets are, the ``peers`` among them.
    """

    policy: Policy
    entries: tuple[Decided, ...]
    part: Part
    passes: bool
    merges: bool
    peers: frozenset[SetId]


class Known(SetsAtHand, Protocol):
    """What units are built from."""

    @property
    def options(self) -> Options: ...

    @property
    def policies(self) -> Mapping[PolicyKey, Policy]: ...

    @property
    def profiles(self) -> Mapping[str, Profile]: ...

    def memory(self, unit: Unit) -> dict[str, Merged]:
        """Return what the unit's merged runs came to the last time."""

    def written(self, key: PolicyKey, direction: Direction) -> Written:
        """Return what ``write`` makes of the policy."""


def build(unit: Unit, known: Known) -> Built:
    """Return what a unit is now."""
    match unit:
        case PolicyUnit(key, direction):
            return _policy(known.policies[key], direction, known)
        case ProfileUnit(name, direction):
            return _profile(name, known.profiles.get(name), direction, known)
        case StageUnit(stage, direction):
            return _stage(stage, direction, known)
        case Plan():
            return _plan(unit, known)


def chain_of(unit: Unit) -> str:
    """Return the name of a unit's chain."""
    way = DIRECTIONS[unit.direction]
    match unit:
        case PolicyUnit(key):
            return f"policy-{way}-{identity(key)}"
        case ProfileUnit(name):
            return f"profile-{way}-{digest(name)}"
        case StageUnit(stage):
            return f"tier-{way}-{digest(stage.tier, stage.denies, *stage.policies)}"
        case Plan():
            return f"{unit.role.value}-{way}-{digest(unit.stages, unit.profiles)}"


def identity(key: PolicyKey) -> str:
    """Return what stands for a policy in names, counters and log lines."""
    return digest(key.kind, key.namespace, key.name)


# --- verdicts ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Verdicts:
    """The verdict chains of one policy, profile or tier, made as they are asked for."""

    owner: str
    comment: str
    options: Options
    prefix: str = ""
    before: Policy | None = None
    parts: dict[str, Part] = field(default_factory=dict)

    def then(self, rule: Rule, number: int) -> str:
        if rule.action is Action.LOG:
            return f"{self._limit()}log prefix {_quoted(f'log {self.owner} {number}')} group {self.options.log_group}"
        return f"goto {self.chain(rule.action)}"

    def chain(self, action: Action) -> str:
        name = f"{self.prefix}{action.value}-{self.owner}"
        if name not in self.parts:
            counter = Counter(name, self.comment)
            self.parts[name] = Part((Chain(name, tuple(self._rules(name, action))),), counters=(counter,))
        return name

    def part(self) -> Part:
        return join(self.parts.values())

    def _rules(self, counter: str, action: Action) -> Iterator[str]:
        count = f"counter name {counter}"
        if self.prefix or action is Action.PASS:
            yield count
        elif action is Action.DENY:
            yield from deny(counter, self.options, rejects=self.before is None)
        elif self.before is None:
            yield f"{count} accept"
        else:
            untracked = "notrack " if self.before.do_not_track else ""
            yield f"{count} {untracked}meta mark set meta mark | {self.options.mark:#x} accept"

    def _limit(self) -> str:
        return f"limit rate {self.options.log_rate}/second "


def deny(counter: str, options: Options, *, rejects: bool = True) -> Iterator[str]:
    """Yield the rules that count, log so many a second, and drop."""
    count = f"counter name {counter}"
    if options.log_denied:
        log = f"log prefix {_quoted(counter)} group {options.log_group}"
        yield f"{count} limit rate {options.log_rate}/second {log}"
        count = ""
    yield f"{count} {'reject' if options.reject and rejects else 'drop'}".strip()


def _quoted(text: str) -> str:
    return f'"{text}"'


# --- policies and profiles -------------------------------------------------------------------------------------


def _verdicts(policy: Policy, direction: Direction, options: Options) -> _Verdicts:
    return _Verdicts(
        f"{DIRECTIONS[direction]}-{identity(policy.key)}",
        harmless(str(policy.key)),
        options,
        "staged-" if policy.staged else "",
        policy if policy.do_not_track or policy.pre_dnat else None,
    )


def _entries(
    rules: Iterable[Rule], direction: Direction, verdicts: _Verdicts, known: Known, *, logs: bool = True
) -> Iterator[Decided]:
    for number, rule in enumerate(rules):
        if logs or rule.action is not Action.LOG:
            yield Decided(rule, verdicts.then(rule, number), may_merge(rule, direction, known))


def write(policy: Policy, direction: Direction, options: Options) -> Written:
    """Return a policy as a tier's chain has it."""
    verdicts = _verdicts(policy, direction, options)
    rules = policy.rules(direction)
    entries = tuple(
        Decided(rule, verdicts.then(rule, number), is_simple(rule, direction)) for number, rule in enumerate(rules)
    )
    return Written(
        policy,
        entries,
        verdicts.part(),
        passes=any(rule.action is Action.PASS for rule in rules),
        merges=all(entry.merges for entry in entries),
        peers=frozenset(name for rule in rules for name in (*rule.source.sets, *rule.destination.sets)),
    )


def _policy(policy: Policy, direction: Direction, known: Known) -> Built:
    """Build a policy's own chain. What it decides nothing about returns to the tier's chain."""
    verdicts = _verdicts(policy, direction, known.options)
    unit = PolicyUnit(policy.key, direction)
    entries = _entries(policy.rules(direction), direction, verdicts, known, logs=not policy.staged)
    return _finish(unit, entries, verdicts, known, comment=harmless(str(policy.key)))


def _profile(name: str, profile: Profile | None, direction: Direction, known: Known) -> Built:
    """Build a profile's chain. Pass in it leads back, to the next profile; one that nobody knows says nothing."""
    way = DIRECTIONS[direction]
    verdicts = _Verdicts(f"{way}-{digest('profile', name)}", harmless(f"Profile {name}"), known.options)
    entries = _entries(profile.rules(direction) if profile else (), direction, verdicts, known)
    return _finish(ProfileUnit(name, direction), entries, verdicts, known, comment=harmless(f"Profile {name}"))


def _finish(unit: Unit, entries: Iterable[Entry], verdicts: _Verdicts, known: Known, *, comment: str) -> Built:
    sequence = _sequence(unit, known)
    sequence.extend(entries)
    chain = Part((Chain(chain_of(unit), tuple(sequence.rules), comment=comment),))
    return _built((verdicts.part(), sequence.part(), chain), sequence)


def _sequence(unit: Unit, known: Known) -> Sequence:
    return Sequence(f"map-{chain_of(unit)}", unit.direction, known, known.memory(unit))


def _built(parts: Iterable[Part], of: Sequence, needs: Iterable[Unit] = ()) -> Built:
    return Built(join(parts), frozenset(needs), frozenset(of.shapes), frozenset(of.contents), frozenset(of.lookups))


# --- tiers ---------------------------------------------------------------------------------------------------


def _stage(stage: Stage, direction: Direction, known: Known) -> Built:
    """Build a tier's chain for one list of policies.

    Few policies are jumped to, one after the other. Many are written out into this chain, so that their rules merge
    across policies; those with rules that cannot be merged keep their own chain even then.
    """
    unit = StageUnit(stage, direction)
    sequence = _sequence(unit, known)
    writes_out = sum(not known.policies[key].staged for key in stage.policies) > FEW
    parts: list[Part] = []
    needs: set[Unit] = set()
    entries: list[Entry] = []
    for key in stage.policies:
        own = known.written(key, direction)
        merges = writes_out and own.merges and all(known.size(name) <= LARGEST for name in own.peers)
        if not own.policy.staged and (own.passes or merges):
            entries += own.entries if merges else _sized(own.entries, direction, known)
            parts.append(own.part)
        else:
            entries.append(Plain(f"jump {chain_of(PolicyUnit(key, direction))}"))
            needs.add(PolicyUnit(key, direction))
        sequence.shapes.update(own.peers)  # one that grows too large moves its policy into a chain of its own
    sequence.extend(entries)
    way = DIRECTIONS[direction]
    tier = _Verdicts(f"{way}-{digest('tier', stage.tier)}", harmless(f"Tier {stage.tier}"), known.options)
    if stage.denies:
        sequence.rules.append(f"goto {tier.chain(Action.DENY)}")
    chain = Part((Chain(chain_of(unit), tuple(sequence.rules), comment=harmless(f"Tier {stage.tier}")),))
    return _built((*parts, tier.part(), sequence.part(), chain), sequence, needs)


def _sized(entries: Iterable[Decided], direction: Direction, known: Known) -> Iterator[Decided]:
    """Yield the entries as they merge with sets as large as they are."""
    for entry in entries:
        yield Decided(entry.rule, entry.then, may_merge(entry.rule, direction, known))


# --- endpoints -------------------------------------------------------------------------------------------------


def _plan(plan: Plan, known: Known) -> Built:
    """Build the chain that endpoints with one plan share."""
    needs: set[Unit] = set()
    rules: list[str] = []
    if plan.role in {Role.POD, Role.HOST, Role.FORWARD}:
        rules.append("ct state invalid goto drop-invalid")
    if plan.role is Role.HOST:
        rules.append(f"jump failsafe-{DIRECTIONS[plan.direction]}")
    if plan.role is Role.POD and plan.direction is Direction.EGRESS:
        rules += _no_encapsulation(known.options)
    stages: list[Unit] = [StageUnit(stage, plan.direction) for stage in plan.stages]
    profiles: list[Unit] = [ProfileUnit(name, plan.direction) for name in plan.profiles or ()]
    for unit in (*stages, *profiles):
        rules.append(f"jump {chain_of(unit)}")
        needs.add(unit)
    if plan.profiles is not None:
        rules.append(f"goto drop-no-profile-{DIRECTIONS[plan.direction]}")
    return Built(Part((Chain(chain_of(plan), tuple(rules)),)), frozenset(needs))


def _no_encapsulation(options: Options) -> Iterator[str]:
    if not options.vxlan_from_pods:
        ports = ", ".join(map(str, sorted({VXLAN_PORT, *options.overlay_ports})))
        yield f"udp dport {{ {ports} }} goto drop-encapsulated"
    if not options.ipip_from_pods:
        yield "meta l4proto 4 goto drop-encapsulated"
