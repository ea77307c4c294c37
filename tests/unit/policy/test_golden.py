from __future__ import annotations

from pathlib import Path

import pytest

from cloudnet.policy.compile import compile_state
from cloudnet.policy.table import script
from cloudnet.testing import policy_cases

FOLDER = Path(__file__).parents[2] / "cases" / "policy"


def compiled(path):
    return "\n".join(
        f"# {case.says}\n{script(compile_state(case.state, case.options))}" for case in policy_cases.read(path)
    )


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_case_files_become_the_rulesets_beside_them(path, request):
    golden = path.with_suffix(".nft")
    text = compiled(path)
    if request.config.getoption("--update-golden"):
        golden.write_text(text)

    assert golden.read_text() == text, "if that is what you want: pytest --update-golden"


def test_the_example_in_the_docs_is_what_is_compiled():
    page = (Path(__file__).parents[3] / "docs" / "design" / "policy.md").read_text()
    shown = page.partition("```nft\n")[2].partition("```")[0].splitlines()
    golden = (FOLDER / "example.nft").read_text()

    missing = [line for line in shown if not all(part in golden for part in line.split(" { ", 1))]

    assert len(shown) > 20
    assert not missing
