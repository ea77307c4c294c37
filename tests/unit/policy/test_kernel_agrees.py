from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

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
