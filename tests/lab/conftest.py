"""Demos as people run them, judged as the programs that read them do; and which rights they must have used."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Demo = Callable[..., dict[str, Any]]


@pytest.fixture
def demo() -> Demo:
    """Return what plays a demo of the given arguments, and returns what it printed; every promise was kept.

    Promises about time are given a second try, as on a machine with other work a process may have to wait for its
    turn for longer than the promise allows. Those about packets, calls and streams are not.
    """

    def play(*arguments: object) -> dict[str, Any]:
        result = run(arguments)
        if broken := [promise for promise in result["promises"] if not promise["ok"]]:
            assert all(promise["unit"] == "ms" for promise in broken), broken
            result = run(arguments)
        assert all(promise["ok"] for promise in result["promises"]), result["promises"]
        return result

    return play


def run(arguments: tuple[object, ...]) -> dict[str, Any]:
    command = [sys.executable, "-m", "cloudnet", "lab", "demo", *map(str, arguments), "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=140, check=False)
    assert done.stdout, done.stderr
    result = json.loads(done.stdout)
    assert done.returncode == 0 or not all(promise["ok"] for promise in result["promises"]), done.stderr
    return result


@pytest.fixture
def needed_rights() -> Callable[[str], set[str]]:
    """Return what tells which rights are printed because they are seen in one place, in the demo's words."""

    def of(evidence: str) -> set[str]:
        every = yaml.safe_load((Path(__file__).parents[1] / "cases" / "kubernetes_rights.yaml").read_text())
        return {
            f"{account} {verb} {resource}"
            for account, tables in every.items()
            for resource, verbs in tables.get(evidence, {}).items()
            for verb in verbs
        }

    return of
