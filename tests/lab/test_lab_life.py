"""A lab comes and goes: nothing stays behind, and the machine's own network is never touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cloudnet.errors import MissingTool
from cloudnet.lab import nodes, processes, state
from cloudnet.lab.errors import LabError
from cloudnet.lab.lab import Lab
from cloudnet.lab.removal import remove
from cloudnet.lab.spec import LabSpec

pytestmark = pytest.mark.lab

NAME = f"l{os.getpid() % 100000}"
UP = f"""
from cloudnet.lab.lab import Lab
from cloudnet.lab.spec import LabSpec
Lab.up(LabSpec({NAME!r}, pods=1, agents=False, controller=False))
"""


def own_network():
    """Return the devices, routes, rules and filters of the machine itself."""
    commands = (["ip", "-j", "link"], ["ip", "-j", "route"], ["ip", "-j", "rule"], ["nft", "list", "ruleset"])
    shown = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for command in commands]
    return [*shown, Path("/proc/sys/net/ipv4/ip_forward").read_text()]


def left():
    where = state.directory(NAME)
    return [*nodes.namespaces(NAME), *processes.inside((), mark=where), *([where] if where.exists() else [])]


@pytest.fixture
def clean():
    remove(NAME)
    before = own_network()
    yield
    remove(NAME)
    assert own_network() == before


def test_a_lab_of_three_nodes_is_up_in_seconds_and_gone_after_down(clean):
    started = time.monotonic()

    lab = Lab.up(LabSpec(NAME, agents=False, controller=False))

    assert time.monotonic() - started < 60
    assert len(nodes.namespaces(NAME)) == 1 + 3 + 6
    lab.down()
    assert left() == []


@pytest.mark.parametrize("seconds", [0.15, 0.4, 0.8, 1.4, 1.9, 2.3])
def test_a_builder_that_is_killed_leaves_nothing_after_down(clean, seconds):
    builder = subprocess.Popen([sys.executable, "-c", UP])
    time.sleep(seconds)
    builder.send_signal(signal.SIGKILL)
    builder.wait()

    remove(NAME)

    assert left() == []


def test_a_builder_that_is_interrupted_cleans_up_by_itself(clean):
    builder = subprocess.Popen([sys.executable, "-c", UP], stderr=subprocess.DEVNULL)
    while not (state.directory(NAME) / "cloud.sock").exists():
        time.sleep(0.02)
    builder.send_signal(signal.SIGINT)
    builder.wait(timeout=20)

    assert left() == []


def test_a_lab_whose_memory_is_damaged_is_removed_all_the_same(clean):
    Lab.up(LabSpec(NAME, nodes=1, pods=0, agents=False, controller=False))
    (state.directory(NAME) / "lab.json").write_text("{")

    with pytest.raises(LabError, match="clean up with cloudnet lab down"):
        Lab.load(NAME).status()

    assert remove(NAME)
    assert left() == []


def test_a_process_with_a_recycled_pid_is_never_killed():
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        processes.kill([processes.Process(stranger.pid, started=1)])
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_without_root_one_line_says_what_to_do():
    os.seteuid(65534)
    try:
        with pytest.raises(MissingTool, match="a lab needs root"):
            Lab.up(LabSpec(NAME))
    finally:
        os.seteuid(0)


def test_a_missing_tool_is_named_with_its_package():
    with pytest.raises(MissingTool, match="missing no-such-tool: apt-get install no-such-tool"):
        processes.require(["ip", "no-such-tool"])


def test_the_command_line_builds_shows_and_removes_a_lab(clean):
    command = [sys.executable, "-m", "cloudnet.cli.main", "lab"]

    def run(*arguments):
        return subprocess.run(
            [*command, *arguments, "--name", NAME], capture_output=True, text=True, check=True
        ).stdout

    def run_in(place, *program):
        whole = [*command, "exec", place, "--name", NAME, "--", *program]
        return subprocess.run(whole, capture_output=True, text=True, check=True).stdout

    built = json.loads(run("up", "--nodes", "2", "--subnets", "2", "--bare", "-o", "json"))
    shown = json.loads(run("status", "-o", "json"))
    where = json.loads(run("env", "n2", "-o", "json"))
    inside = run_in("n2/p1", "ip", "-j", "address", "show", "dev", "eth0")
    broken = json.loads(run("break", "quota", "--value", "7", "-o", "json"))
    healed = json.loads(run("heal", "quota", "-o", "json"))
    removed = json.loads(run("down", "-o", "json"))

    assert [node["name"] for node in built["nodes"]] == [node["name"] for node in shown["nodes"]] == ["n1", "n2"]
    assert where == {
        "namespace": f"cn-{NAME}-n2",
        "addresses": ["10.0.2.12/24"],
        "agent_socket": f"/run/cloudnet-lab/{NAME}/n2.sock",
        "cni_program": None,
        "cni_config": None,
    }
    assert json.loads(inside)[0]["addr_info"][0]["local"] == "10.65.2.2"
    assert broken == {"faults": [{"name": "quota", "target": "", "value": "7"}]}
    assert healed == {"faults": []}
    assert removed == {"name": NAME, "removed": True}
