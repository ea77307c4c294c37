from __future__ import annotations

from ipaddress import ip_network
from random import Random

import pytest

from cloudnet.kernel.nft import NftError, Traffic
from cloudnet.kernel.nft_memory import MemoryNft
from cloudnet.policy.compile import changes_to, compile_state
from cloudnet.policy.elements import TABLE
from cloudnet.policy.enforce import Enforcer
from cloudnet.policy.rules import (
    PolicyChanged,
    SetChanged,
    SetId,
    State,
)
from cloudnet.testing import policy_cases, policy_judge, policy_worlds
from cloudnet.testing.policy_cases import differences


def by_name(part):
    return (
        {chain.name: chain for chain in part.chains},
        {one.name: one for one in part.sets},
        {counter.name: counter for counter in part.counters},
        {name: dict(elements) for name, elements in part.elements.items() if elements},
    )


@pytest.mark.kernel
def test_the_kernel_follows_from_state_to_state_and_holds_what_a_cold_start_would():
    def follow(judge):
        judge.nft.run("add table inet cloudnet\ndelete table inet cloudnet\n")
        enforcer = Enforcer(judge.nft)
        before = State()
        for seed in range(40):
            state = policy_worlds.World(Random(seed)).state
            after = State(state.endpoints, state.policies, before.profiles, state.address_sets, state.port_sets)
            enforcer.take(differences(before, after))
            cold = compile_state(after)
            assert by_name(enforcer.compiler.part()) == by_name(cold), f"seed {seed}"
            assert not enforcer.resync(), f"seed {seed}: what stands is not what was said"
            before = after

    policy_judge.held(follow, name="follow")


def from_cold(state):
    """Return what stands where a state was reached in one go."""
    fresh = MemoryNft()
    Enforcer(fresh).take(changes_to(state))
    return fresh.list(TABLE)


def a_rule_that_is_refused(line):
    return "no memory" if "dport 666" in line else None


def test_a_policy_that_the_kernel_refuses_is_named_and_everything_else_goes_in():
    case = policy_cases.parse(
        {
            "says": "",
            "policies": [
                {"name": f"p{number}", "ingress": [WEB if number != 2 else EVIL], "order": number}
                for number in range(5)
            ],
            "packets": [],
        }
    )
    nft = MemoryNft()
    nft.refuse = a_rule_that_is_refused
    enforcer = Enforcer(nft)

    enforcer.take(changes_to(case.state))

    assert [(key.name, "no memory" in why) for key, why in enforcer.refused.items()] == [("p2", True)]
    standing = nft.list(TABLE)
    assert sum(name.startswith("policy-in") for name in standing.chains) == 4


def test_a_new_table_lacks_the_policy_that_the_kernel_refuses_and_nothing_else():
    policies = [{"name": f"p{n}", "ingress": [WEB if n != 2 else EVIL], "order": n} for n in range(5)]
    case = policy_cases.parse({"says": "", "policies": policies, "packets": []})
    nft = MemoryNft()
    nft.refuse = a_rule_that_is_refused
    enforcer = Enforcer(nft)
    enforcer.compiler.take(changes_to(case.state))

    assert enforcer.resync()

    assert [key.name for key in enforcer.refused] == ["p2"]
    assert sum(name.startswith("policy-in") for name in nft.list(TABLE).chains) == 4


def test_a_new_table_that_is_refused_whole_is_made_when_the_kernel_takes_it():
    case = one_policy(WEB)
    nft = MemoryNft()
    nft.refuse = lambda _: "no memory"
    enforcer = Enforcer(nft)
    enforcer.compiler.take(changes_to(case.state))
    with pytest.raises(NftError, match="no memory"):
        enforcer.resync()
    nft.refuse = lambda _: None

    assert enforcer.resync()

    fresh = MemoryNft()
    Enforcer(fresh).take(changes_to(case.state))
    assert nft.list(TABLE) == fresh.list(TABLE)


def test_a_refused_change_of_a_policy_leaves_its_old_rules_in_force_until_a_better_one_comes():
    nft = MemoryNft()
    enforcer = Enforcer(nft)
    enforcer.take(changes_to(one_policy(WEB).state))
    (name,) = (name for name in nft.list(TABLE).chains if name.startswith("policy-in"))
    old = nft.list(TABLE).chains[name]
    nft.refuse = a_rule_that_is_refused

    enforcer.take([PolicyChanged(policy) for policy in one_policy(EVIL).state.policies.values()])

    assert nft.list(TABLE).chains[name] == old
    assert [key.name for key in enforcer.refused] == ["web"]

    enforcer.take([PolicyChanged(policy) for policy in one_policy(DNS).state.policies.values()])

    assert nft.list(TABLE).chains[name] != old
    assert not enforcer.refused


def test_when_no_policy_is_to_blame_the_error_is_raised_and_the_next_try_makes_up_for_it():
    nft = MemoryNft()
    nft.refuse = lambda line: "no memory" if "pods-in" in line else None
    enforcer = Enforcer(nft)

    with pytest.raises(NftError, match="no memory"):
        enforcer.take(changes_to(one_policy(WEB).state))
    assert nft.list(TABLE) is None

    nft.refuse = lambda _: None
    assert enforcer.settle()
    assert not enforcer.refused
    assert nft.list(TABLE).sets["pods-in"].elements


TAMPERING = {
    "a rule is gone": lambda chain: f"flush chain inet cloudnet {chain}",
    "a rule of somebody else": lambda chain: f"add rule inet cloudnet {chain} accept",
    "an element is gone": lambda _: 'delete element inet cloudnet pods-in { "cali1" }',
    "an element too many": lambda _: (
        'add map inet cloudnet pods-in { type ifname : verdict; elements = { "cali9" : accept }; }'
    ),
    "a chain too many": lambda _: "add chain inet cloudnet foreign",
    "a set too many": lambda _: "add set inet cloudnet foreign { type ipv4_addr; }",
    "a counter too many": lambda _: "add counter inet cloudnet foreign",
    "the table is gone": lambda _: "delete table inet cloudnet",
    "a chain has another hook": lambda _: (
        "flush chain inet cloudnet forward-to-pods\ndelete chain inet cloudnet forward-to-pods\n"
        "add chain inet cloudnet forward-to-pods { type filter hook forward priority 7; policy accept; }"
    ),
}


@pytest.mark.kernel
def test_a_resync_mends_whatever_somebody_did_to_the_table_and_finds_nothing_the_next_time():
    def tamper(judge):
        judge.nft.run("add table inet cloudnet\ndelete table inet cloudnet\n")
        enforcer = Enforcer(judge.nft)
        enforcer.take(changes_to(one_policy(WEB).state))
        (chain,) = (name for name in judge.nft.list(TABLE).chains if name.startswith("policy-in"))
        wanted = judge.nft.list(TABLE)
        for what, script in TAMPERING.items():
            judge.nft.run(script(chain) + "\n")

            assert enforcer.resync(), what

            assert judge.nft.list(TABLE) == wanted, what
            assert not enforcer.resync(), what

    policy_judge.held(tamper, name="tamper")


def test_an_enforcer_that_begins_anew_takes_over_what_stands_and_keeps_its_counters():
    nft = MemoryNft()
    state = one_policy(WEB).state
    Enforcer(nft).take(changes_to(state))
    counter = next(name for name in nft.counters(TABLE) if name.startswith("allow-in"))
    nft.count(TABLE, counter, Traffic(7, 700))
    written = len(nft.scripts)
    second = Enforcer(nft)
    second.compiler.take(changes_to(state))

    assert not second.resync()

    assert len(nft.scripts) == written
    assert nft.counters(TABLE)[counter] == Traffic(7, 700)


def test_a_peer_more_or_less_is_one_element_and_no_text():
    nft = MemoryNft()
    enforcer = Enforcer(nft)
    red = SetId("red")
    enforcer.take([SetChanged(red, of_ports=False, added=frozenset({ip_network("10.9.9.1/32")}))])
    enforcer.take(changes_to(one_policy({"action": "allow", "source": {"sets": ["red"]}}).state))
    written = len(nft.scripts)

    enforcer.take([SetChanged(red, of_ports=False, added=frozenset({ip_network("10.9.9.2/32")}))])
    enforcer.take([SetChanged(red, of_ports=False, removed=frozenset({ip_network("10.9.9.1/32")}))])

    assert len(nft.scripts) == written
    assert [len(change.elements) for changes in nft.changes for change in changes] == [1, 1]


WEB = {"action": "allow", "protocol": "tcp", "destination": {"ports": [80]}}
DNS = {"action": "allow", "protocol": "udp", "destination": {"ports": [53]}}
EVIL = {"action": "deny", "protocol": "tcp", "destination": {"ports": [666]}}


def one_policy(rule):
    return policy_cases.parse({"says": "", "policies": [{"name": "web", "ingress": [rule]}], "packets": []})


def test_what_is_new_stands_before_anything_leads_to_it_and_what_goes_goes_when_nothing_does():
    nft = MemoryNft()
    enforcer = Enforcer(nft)
    enforcer.take(changes_to(one_policy(WEB).state))
    written = len(nft.scripts)

    enforcer.take(differences(one_policy(WEB).state, many_policies().state))

    first, second, third = nft.scripts[written:]
    assert "delete chain" not in first + second
    assert "delete chain" in third
    assert "flush" not in first
    assert "pods-in" not in first
    assert "map-tier-in" in first
    assert "vmap" in first
    assert 'elements = { "cali1"' in second


def test_a_new_table_is_filled_before_a_packet_comes_there():
    nft = MemoryNft()
    enforcer = Enforcer(nft)
    enforcer.compiler.take(changes_to(one_policy(WEB).state))

    enforcer.resync()

    filling, hanging = nft.scripts
    assert " hook " not in filling
    assert 'elements = { "cali1"' in filling
    assert " hook " in hanging
    assert "add set" not in hanging
    assert "add map" not in hanging


def turning():
    """Return one state, and another in which a rule moved to a policy that stood already and the pod's list grew."""
    before = policy_cases.parse({"says": "", "policies": [{"name": "a", "ingress": [WEB]}], "packets": []}).state
    after = policy_cases.parse(
        {
            "says": "",
            "policies": [{"name": "a", "ingress": [DNS]}, {"name": "b", "ingress": [WEB]}],
            "packets": [],
        }
    ).state
    return before, after


def test_no_transaction_changes_rules_that_stand_and_where_an_interface_leads_as_well():
    before, after = turning()
    nft = MemoryNft()
    enforcer = Enforcer(nft)
    enforcer.take(changes_to(before))
    written = len(nft.scripts)

    enforcer.take(differences(before, after))

    new, enter, switch, leave, gone = nft.scripts[written:]
    assert [("flush" in text, "pods-in" in text) for text in (new, enter, switch, leave)] == [
        (False, False),
        (False, True),
        (True, False),
        (False, True),
    ]
    assert "delete chain inet cloudnet detour-" in gone
    assert nft.list(TABLE) == from_cold(after)


def widening():
    """Return two states: nine policies let one peer in, and then the first of them lets in all of its network."""
    port = {"action": "allow", "protocol": "tcp", "destination": {"ports": [80]}}
    one, all_ = ({**port, "source": {"nets": [net]}} for net in ("10.9.9.9/32", "10.9.9.0/24"))
    else_ = [{**port, "source": {"nets": [f"10.9.{number}.0/24"]}} for number in range(20, 30)]

    def state(first):
        policies = [{"name": f"p{k}", "ingress": [rule]} for k, rule in enumerate([first, *else_])]
        return policy_cases.parse({"says": "", "policies": policies, "packets": []}).state

    return state(one), state(all_)


def test_a_point_that_becomes_a_range_is_in_both_maps_until_the_range_can_be_found():
    before, after = widening()
    nft = MemoryNft()
    enforcer = Enforcer(nft)
    enforcer.take(changes_to(before))
    written = len(nft.scripts)

    enforcer.take(differences(before, after))

    new, switch = nft.scripts[written : written + 2]
    point = "10.9.9.9 . 6 . 80"
    assert [line for line in new.splitlines() if "-4p " in line and point in line]
    assert "delete element" not in new
    assert [line for line in switch.splitlines() if "delete element" in line and "-4p " in line and point in line]
    assert "10.9.9.0-10.9.9.255 . 6 . 80" in switch
    assert nft.list(TABLE) == from_cold(after)


@pytest.mark.parametrize("step", range(5))
def test_a_switch_that_is_refused_once_at_any_step_gets_there_all_the_same(step):
    before, after = turning()
    nft = MemoryNft()
    enforcer = Enforcer(nft)
    enforcer.take(changes_to(before))
    last = len(nft.scripts) + step
    refused = []

    def refuse(line):
        if len(nft.scripts) == last and not refused:
            refused.append(line)
            return "no memory"
        return None

    nft.refuse = refuse

    enforcer.take(differences(before, after))

    assert refused
    assert not enforcer.refused
    assert not enforcer.resync()
    assert nft.list(TABLE) == from_cold(after)


def test_a_refused_switch_leaves_nothing_behind_that_a_later_one_would_trip_over():
    nft = MemoryNft()
    enforcer = Enforcer(nft)
    enforcer.take(changes_to(one_policy(WEB).state))
    nft.refuse = lambda line: "no memory" if "pods-in" in line else None
    with pytest.raises(NftError, match="no memory"):
        enforcer.take(differences(one_policy(WEB).state, many_policies().state))
    nft.refuse = lambda _: None

    assert enforcer.settle()

    assert not enforcer.resync()
    fresh = MemoryNft()
    Enforcer(fresh).take(changes_to(many_policies().state))
    assert nft.list(TABLE) == fresh.list(TABLE)


def many_policies():
    return policy_cases.parse(
        {
            "says": "",
            "policies": [{"name": f"p{number:02}", "ingress": [WEB, DNS]} for number in range(12)],
            "packets": [],
        }
    )
