from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from cloudnet.policy.compile import changes_to
from cloudnet.policy.enforce import Enforcer
from cloudnet.policy.evaluate import evaluate
from cloudnet.policy.packets import ConnectionState
from cloudnet.policy.rules import PolicyChanged, SetChanged
from cloudnet.testing import frames, policy_judge, policy_worlds
from cloudnet.testing.flood import flooding
from cloudnet.testing.policy_judge import FAR_MAC, NODE_MAC

CHANGES = 150
MOST_PACKETS = 40_000


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
        with flooding(raw, MOST_PACKETS) as flood:
            for change, _ in steps:
                enforcer.take([change])
            count = flood.end()
        sent = [steady[number % len(steady)] for number in range(count)]
        arrived = judge.arrived(sent)
        right = {number for number, packet in enumerate(sent) if True in verdicts[packet]}
        return count, right, arrived, {len(seen) for seen in verdicts.values()}

    sent, right, arrived, kinds = policy_judge.held(under_traffic, name=f"updates{seed}")

    assert sent > 1000
    assert kinds == {1, 2}
    assert 0 < len(right) < sent
    assert not right - arrived, "dropped although allowed all the time"
    assert not arrived - right, "let through although never allowed"
