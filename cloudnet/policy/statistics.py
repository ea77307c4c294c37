"""What the counters of the table say, in the words of policy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from cloudnet.kernel.nft import Traffic
from cloudnet.policy.chains import DIRECTIONS, DROPS, identity
from cloudnet.policy.rules import Action, Change, Policy, PolicyChanged, ProfileChanged
from cloudnet.policy.table import digest

_ACTIONS = (Action.ALLOW, Action.DENY, Action.PASS)


@dataclass(frozen=True, slots=True)
class Count:
    """Packets that one policy, profile, tier or fixed rule decided on; of connections, the first ones.

    ``kind`` and ``name`` say whose; ``staged``: it would have decided so.
    """

    kind: str
    namespace: str
    name: str
    direction: str
    action: str
    staged: bool
    traffic: Traffic


def counts(
    counters: Mapping[str, Traffic], policies: Iterable[Policy], profiles: Iterable[str], tiers: Iterable[str]
) -> Iterator[Count]:
    """Yield what has a counter, in order of kinds and names."""
    for policy in sorted(policies, key=lambda one: str(one.key)):
        key = policy.key
        owner = (key.kind, key.namespace, key.name)
        yield from _of(owner, identity(key), counters, "staged-" if policy.staged else "")
    for name in sorted(profiles):
        yield from _of(("Profile", "", name), digest("profile", name), counters)
    for name in sorted(tiers):
        yield from _of(("Tier", "", name), digest("tier", name), counters)
    for name, meaning in DROPS.items():
        if name in counters:
            yield Count("Fixed", "", meaning, "", Action.DENY.value, staged=False, traffic=counters[name])


def names(changes: Iterable[Change]) -> Iterator[tuple[str, str]]:
    """Yield what stands for policies, profiles and tiers in the table, each with what it is called."""
    for change in changes:
        match change:
            case PolicyChanged(policy):
                yield identity(policy.key), str(policy.key)
                yield digest("tier", policy.tier), f"Tier {policy.tier}"
            case ProfileChanged(profile):
                yield digest("profile", profile.name), f"Profile {profile.name}"
            case _:
                pass


def _of(
    owner: tuple[str, str, str], identifier: str, counters: Mapping[str, Traffic], prefix: str = ""
) -> Iterator[Count]:
    for direction, word in DIRECTIONS.items():
        for action in _ACTIONS:
            name = f"{prefix}{action.value}-{word}-{identifier}"
            if name in counters:
                yield Count(*owner, direction.value, action.value, bool(prefix), counters[name])
