from __future__ import annotations

from pathlib import Path

import pytest

from cloudnet.policy.evaluate import evaluate
from cloudnet.testing import policy_cases

CASES = sorted((Path(__file__).parents[2] / "cases" / "policy").glob("*.yaml"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_evaluator_says_what_the_case_files_say(path):
    for case in policy_cases.read(path):
        for sent in case.packets:
            verdict = evaluate(case.state, sent.packet, case.options)

            story = f"{path.stem}: {case.says}: {sent.text}: {verdict}"
            assert verdict.allowed is sent.allowed, story
            assert sent.by in {"", policy_cases.words(verdict)}, story
