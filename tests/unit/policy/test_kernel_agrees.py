from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest

from cloudnet.kernel import netns
from cloudnet.policy.compile import compile_state
from cloudnet.policy.table import script
from cloudnet.testing import policy_cases, policy_judge, policy_worlds
from cloudnet.testing.policy_agreement import disagreements

CASES = sorted((Path(__file__).parents[2] / "cases" / "policy").glob("*.yaml"))


@pytest.mark.kernel
def test_the_kernel_does_what_the_case_files_say():
    cases = [(path.stem, case) for path in CASES for case in policy_cases.read(path)]

    def all_cases(judge):
        wrong = []
        for stem, case in cases:
            text = script(compile_state(case.state, case.options))
            packets = [sent.packet for sent in case.packets]
            outcomes = judge.outcomes(packets, lambda text=text: judge.nft.run(text))
            wrong += [
                f"{stem}: {case.says}: {sent.text}: {sent.packet}\n{text}"
                for sent, outcome in zip(case.packets, outcomes, strict=True)
                if sent.allowed is not outcome
            ]
        return wrong

    wrong = policy_judge.held(all_cases)

    assert not wrong, f"{len(wrong)} wrong; the first: {wrong[0]}\n" + "\n".join(
        story.split("\n")[0] for story in wrong
    )


@pytest.mark.kernel
def test_the_kernel_does_what_the_evaluator_says_on_made_up_nodes():
    def all_worlds(judge):
        wrong = []
        for seed in range(60):
            world = policy_worlds.World(Random(seed))
            packets = world.packets(150)
            found = disagreements(judge, world.state, world.options, packets)
            wrong += [f"seed {seed}: {story}" for story in found]
        return wrong

    wrong = policy_judge.held(all_worlds)

    assert not wrong, f"{len(wrong)} packets; the first: {wrong[0]}"


@pytest.mark.kernel
def test_vxlan_between_nodes_is_not_tracked_and_other_datagrams_are():
    case = policy_cases.parse(
        {
            "says": "",
            "nodes": ["10.9.9.9", "fd09::9"],
            "packets": [
                {send: "allow"}
                for send in (
                    "eth0 > node udp 4789",
                    "node > eth0 udp 4789",
                    "eth0 > node 6 udp 4789",
                    "eth0 > node udp 4790",
                )
            ],
        }
    )

    def tracked(judge):
        text = script(compile_state(case.state, case.options))
        assert all(judge.outcomes([sent.packet for sent in case.packets], lambda: judge.nft.run(text)))
        listed = [netns.execute(judge.node, ["conntrack", "-L", "-f", family]) for family in ("ipv4", "ipv6")]
        return re.findall(r"udp .* dport=(\d+) .*\[UNREPLIED\]", "".join(listed))

    assert policy_judge.held(tracked) == ["4790"]
