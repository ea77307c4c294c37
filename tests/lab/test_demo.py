"""A short demo on the real kernel: the command that people run, what programs read of it, and how it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cloudnet.cli.demo import play
from cloudnet.lab.results import StepKind
from cloudnet.lab.scenarios import VXLAN, Expect, Step
from cloudnet.lab.spec import LabSpec
from cloudnet.lab.state import ROOT

pytestmark = pytest.mark.lab

NAME = "tdemo"
SMALL = ("--name", NAME, "--nodes", "3", "--pods", "1")
COMMAND = (sys.executable, "-m", "cloudnet", "lab", "demo", *SMALL)


def left_behind() -> list[str]:
    listed = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout.split()
    return [name for name in listed if name.startswith(f"cn-{NAME}-")] + [str(p) for p in ROOT.glob(f"{NAME}*")]


@pytest.mark.timeout(300)
def test_a_route_vanishes_and_the_controller_dies_and_every_promise_is_kept(demo, tmp_path: Path) -> None:
    page = tmp_path / "demo.html"
    chosen = ("--only", "quota", "--only", "delete-route", "--only", "controller-kill")

    result = demo(*SMALL, *chosen, "--report", page)

    assert set(result) == {"steps", "promises", "rights"}
    assert result["rights"] is None, "a file knows no accounts"
    assert [(step["fault"], step["kind"]) for step in result["steps"]] == [
        ("no-routes", "heal"),
        ("quota", "planned"),
        ("quota", "heal"),
        ("delete-route", "unplanned"),
        ("delete-route", "heal"),
        ("controller-kill", "restart"),
    ]
    assert all(step["sent"] > 0 for step in result["steps"])
    refused = result["steps"][1]["paths"]
    assert {(path["before"], path["after"], path["reason"]) for path in refused} == {("native", "vxlan", "quota")}
    vanished = result["steps"][3]
    assert 0 < vanished["longest_gap_ms"] < 1000
    assert {path["to_block"] for path in vanished["paths"]} == {"10.65.2.0/26"}
    assert "<svg" in page.read_text()
    assert left_behind() == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize("store", [pytest.param("etcd", marks=pytest.mark.server), "kubernetes"])
def test_on_a_store_that_is_a_server_every_promise_is_kept_too(demo, needed_rights, store: str) -> None:
    chosen = ("--only", "delete-route", "--only", "api-down", "--only", "leader-kill")

    result = demo(*SMALL, "--store", store, *chosen)

    lost = {step["fault"]: step["lost"] for step in result["steps"] if step["kind"] != "unplanned"}
    assert lost == {"no-routes": 0, "delete-route": 0, "api-down": 0, "leader-kill": 0}
    joined = next(step for step in result["steps"] if step["kind"] == "join")
    assert 0 < joined["longest_gap_ms"] < 1000, "the store is there while the cloud's API is not"
    if store == "kubernetes":
        assert needed_rights("routes") <= set(result["rights"]["used"])
    assert left_behind() == []


def test_what_does_not_come_to_pass_breaks_a_promise() -> None:
    never = Step("no-routes", StepKind.PLANNED, "nothing", (), until=Expect(VXLAN, at_least=99), timeout=1.0)
    wanted = LabSpec(NAME, nodes=2, pods=1, controller=False)
    told: list[str] = []

    story = play(wanted, (never,), told.append)

    assert not story.result().ok
    assert any("NOT as expected: after 1 s only 2 paths are concerned" in line for line in told)
    assert left_behind() == []


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_an_interrupted_demo_leaves_nothing_behind(ending) -> None:
    running = subprocess.Popen(
        [*COMMAND, "--only", "quota"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert running.stdout
        for line in running.stdout:
            if line.startswith("[1/"):
                break
        time.sleep(0.5)

        running.send_signal(ending)
        rest, _ = running.communicate(timeout=30)
    finally:
        running.kill()
        running.wait()

    assert running.returncode not in {0, -signal.SIGKILL}, rest
    assert "Traceback" not in rest
    assert left_behind() == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize("cloud", ["aws", "azure", "gcp"])
def test_with_addresses_of_the_cloud_every_promise_is_kept(demo, needed_rights, cloud) -> None:
    chosen = ("--only", "fragmented", "--only", "exhausted", "--only", "take-prefix")

    store = {"aws": "kubernetes", "azure": "kubernetes-older"}.get(cloud, "sqlite")
    result = demo(*SMALL, "--cloud", cloud, "--addresses", "native", "--store", store, *chosen)

    assert {step["fault"] for step in result["steps"]} == {"no-addresses", "fragmented", "exhausted", "take-prefix"}
    taken = next(step for step in result["steps"] if (step["fault"], step["kind"]) == ("take-prefix", "unplanned"))
    assert 0 < taken["longest_gap_ms"] < 1000
    if store == "kubernetes":
        assert needed_rights("native") <= set(result["rights"]["used"])
    assert left_behind() == []
