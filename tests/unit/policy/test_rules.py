from __future__ import annotations

import itertools

import pytest

from cloudnet.policy.rules import (
    ICMP,
    TCP,
    Action,
    Direction,
    Icmp,
    Peer,
    Policy,
    PolicyKey,
    PortRange,
    Rule,
    Tier,
    arrange,
    policy_order,
    tier_order,
)

BOTH = frozenset(Direction)


def policy(name, *, order=None, tier="default", namespace="", kind="GlobalNetworkPolicy"):
    return Policy(PolicyKey(kind, namespace, name), tier, "all()", BOTH, order=order)


def test_policies_are_ordered_by_order_then_name_namespace_and_kind():
    wanted = [
        policy("z", order=-1.5),
        policy("b", order=10),
        policy("a", namespace="n1", kind="NetworkPolicy"),
        policy("a", namespace="n2", kind="KubernetesNetworkPolicy"),
        policy("a", namespace="n2", kind="NetworkPolicy"),
        policy("b"),
    ]

    for shuffled in itertools.permutations(wanted):
        assert sorted(shuffled, key=policy_order) == wanted


def test_tiers_that_nobody_made_come_last_and_those_without_order_before_them():
    wanted = [
        Tier("z", 1),
        Tier("a", 2),
        Tier("b", 2),
        Tier("c"),
        Tier("a0", 0, known=False),
        Tier("a1", known=False),
    ]

    for shuffled in itertools.permutations(wanted):
        assert sorted(shuffled, key=tier_order) == wanted


def test_policies_are_arranged_by_tier_and_an_unknown_tier_denies_by_default():
    first, second, third = policy("b", order=1), policy("a", order=2), policy("c", tier="nobody-made-it")
    tiers = {"default": Tier("default", 1_000_000), "unused": Tier("unused", 1)}

    arranged = arrange([third, second, first], tiers)

    assert [(entry.tier.name, entry.policies) for entry in arranged] == [
        ("default", (first.key, second.key)),
        ("nobody-made-it", (third.key,)),
    ]
    assert arranged[1].tier.default_action is Action.DENY


@pytest.mark.parametrize(
    "fields",
    [
        {"source": Peer(ports=(PortRange(1, 2),))},
        {"destination": Peer(not_ports=(PortRange(1, 2),)), "protocol": ICMP},
        {"icmp": Icmp(8), "protocol": TCP},
        {"not_icmp": Icmp(8, 0)},
    ],
)
def test_a_rule_that_no_packet_can_be_held_against_is_refused(fields):
    with pytest.raises(ValueError, match="needs protocol"):
        Rule(Action.ALLOW, **fields)
