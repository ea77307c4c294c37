from __future__ import annotations

import itertools
import time
from dataclasses import replace
from random import Random

import pytest

from cloudnet.kernel.nft import remove
from cloudnet.policy import elements
from cloudnet.policy.compile import changes_to
from cloudnet.policy.enforce import Enforcer
from cloudnet.policy.evaluate import evaluate
from cloudnet.policy.packets import ConnectionState
from cloudnet.policy.rules import PolicyChanged, SetChanged
from cloudnet.testing import frames, policy_cases, policy_judge, policy_worlds
from cloudnet.testing.flood import flooding
from cloudnet.testing.policy_cases import differences
from cloudnet.testing.policy_judge import FAR_MAC, NODE_MAC

CHANGES = 150
MOST_PACKETS = 1_000_000


def changing(world, rng):
    """Yield what changes one after the other, and the state that each leads to: a policy, or a set's member."""
    state = world.state
    policies = list(state.policies.values())
    names = list(state.address_sets)
    for _ in range(CHANGES):
        if rng.random() < 0.5 and policies:
            key = rng.choice(policies).key
            other = rng.choice(policies)
            policy = replace(state.policies[key], ingress=other.ingress, egress=other.egress)
            state = replace(state, policies={**state.policies, key: policy})
            yield PolicyChanged(policy), state
        else:
            name = rng.choice(names)
            old = state.address_sets[name]
            new = (
                frozenset(rng.sample(sorted(old, key=str), len(old) // 2))
                | world.state.address_sets[rng.choice(names)]
            )
            state = replace(state, address_sets={**state.address_sets, name: new})
            yield SetChanged(name, of_ports=False, added=new - old, removed=old - new), state


def flooded(judge, raw, enforcer, changes):
    """Make the changes while frames are sent over and over; return how many were, and what arrived."""
    seen = set()
    with flooding(raw, MOST_PACKETS) as flood:
        for change in changes:
            enforcer.take(change)
            seen |= judge.drain()
        count = flood.end()
    time.sleep(0.05)
    return count, seen | judge.drain()


ANYBODY, RANGE, POINTS = {}, {"nets": ["10.9.0.0/16"]}, {"sets": ["red"]}


def moving(number, many, peers=(ANYBODY, RANGE, POINTS)):
    """Return a node on which the rule for port 80 stands in one of a few or many policies, and nobody lets 99 in."""
    rng = Random(number)
    count = rng.randrange(10, 14) if many else rng.randrange(1, 4)
    names = [f"p{index}" for index in range(count)]
    with_80 = rng.choice(names)
    rules = {
        name: [{"action": "allow", "protocol": "tcp", "destination": {"ports": [1000 + number]}}] for name in names
    }
    peer = rng.choice(peers)
    web = {"action": "allow", "protocol": "tcp", "source": peer, "destination": {"ports": [80]}}
    rules[with_80].insert(rng.randrange(2), web)
    return policy_cases.parse(
        {
            "says": "",
            "policies": [{"name": name, "ingress": own} for name, own in rules.items()],
            "sets": {"red": ["10.9.9.9/32", *(f"10.9.9.{rng.randrange(10, 200)}/32" for _ in range(3))]},
            "packets": [],
        }
    ).state


@pytest.mark.kernel
@pytest.mark.parametrize(
    "node",
    [
        lambda number: moving(number, many=False),
        lambda number: moving(number, many=True),
        lambda number: moving(number, many=bool(number % 2)),
        lambda number: moving(number, many=True, peers=[POINTS if number % 2 else RANGE]),
    ],
    ids=["few policies", "many policies", "now few, now many", "many policies, now a point, now a range"],
)
def test_a_rule_that_moves_from_policy_to_policy_lets_every_packet_in_and_no_other(node):
    good = policy_cases.parse({"says": "", "packets": [{"eth0 > cali1 tcp 80": "allow"}]}).packets[0].packet
    bad = replace(good, to_port=99)

    def under_traffic(judge):
        states = [node(number) for number in range(CHANGES)]
        judge.outcomes([], lambda: None)
        enforcer = Enforcer(judge.nft)
        enforcer.take(changes_to(states[0]))
        raw = [(judge.links["eth0"], frames.ethernet(NODE_MAC, FAR_MAC, frames.build(p, 0))) for p in (good, bad)]
        steps = (differences(before, after) for before, after in itertools.pairwise(states))
        return flooded(judge, raw, enforcer, steps)

    count, seen = policy_judge.held(under_traffic, name="moving")

    assert count > 5 * CHANGES
    assert {number for number, _ in seen} == set(range(0, count, 2))


@pytest.mark.kernel
def test_a_table_that_goes_and_comes_again_drops_no_packet_that_it_lets_through():
    good = policy_cases.parse({"says": "", "packets": [{"eth0 > cali1 tcp 80": "allow"}]}).packets[0].packet

    def under_traffic(judge):
        judge.outcomes([], lambda: None)
        enforcer = Enforcer(judge.nft)
        enforcer.take(changes_to(moving(1, many=True)))
        raw = [(judge.links["eth0"], frames.ethernet(NODE_MAC, FAR_MAC, frames.build(good, 0)))]
        seen = set()
        with flooding(raw, MOST_PACKETS) as flood:
            for _ in range(CHANGES):
                remove(judge.nft, elements.TABLE)
                seen |= judge.drain()
                enforcer.resync()
                seen |= judge.drain()
            count = flood.end()
        time.sleep(0.05)
        return count, seen | judge.drain()

    count, seen = policy_judge.held(under_traffic, name="going")

    assert count > 5 * CHANGES
    assert {number for number, _ in seen} == set(range(count))


@pytest.mark.kernel
@pytest.mark.parametrize("seed", [1, 2, 5, 6, 14])
def test_no_change_drops_a_packet_that_is_allowed_before_and_after_or_lets_one_through_that_is_not(seed):
    def under_traffic(judge):
        world = policy_worlds.World(Random(seed))
        steps = list(changing(world, Random(seed)))
        states = [world.state, *(state for _, state in steps)]
        possible = [
            packet
            for packet in world.packets(300)
            if packet.enters and packet.leaves and packet.state is ConnectionState.NEW
        ]
        verdicts = {p: {evaluate(state, p, world.options).allowed for state in states} for p in possible}
        steady = [packet for packet, seen in verdicts.items() if len(seen) == 1]
        judge.outcomes([], lambda: None)
        enforcer = Enforcer(judge.nft, world.options)
        enforcer.take(changes_to(world.state))
        raw = [(judge.links[p.enters], frames.ethernet(NODE_MAC, FAR_MAC, frames.build(p, 0))) for p in steady]
        count, seen = flooded(judge, raw, enforcer, ([change] for change, _ in steps))
        sent = [steady[number % len(steady)] for number in range(count)]
        arrived = {number for number, place in seen if sent[number].leaves == place}
        right = {number for number, packet in enumerate(sent) if True in verdicts[packet]}
        return count, right, arrived, {len(seen) for seen in verdicts.values()}

    sent, right, arrived, kinds = policy_judge.held(under_traffic, name=f"updates{seed}")

    assert sent > 1000
    assert kinds == {1, 2}
    assert 0 < len(right) < sent
    assert not right - arrived, "dropped although allowed all the time"
    assert not arrived - right, "let through although never allowed"
