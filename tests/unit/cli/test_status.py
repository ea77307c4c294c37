import json
import re
from ipaddress import ip_network

import pytest
from typer.testing import CliRunner

from cloudnet.cli import main
from cloudnet.model.addresses import NodeName, TableId
from cloudnet.model.resources import Cause, CloudRoute, Lease, Metadata, Node, NodeCondition, RouteState, TableStatus
from cloudnet.store.registry import open_store


@pytest.fixture
def run():
    return lambda *arguments: CliRunner().invoke(
        main.build(lab=False), ["status", *arguments], catch_exceptions=False
    )


@pytest.fixture
def store(tmp_path):
    url = f"sqlite://{tmp_path}/store.sqlite"
    opened = open_store(url)
    for name in ("n1", "n2"):
        opened.create(Node(Metadata(name)))
    opened.create(NodeCondition(Metadata("n1"), ready=True, reason="ground"))
    opened.create(NodeCondition(Metadata("n2"), ready=False, reason="silent", message="its agent does not report"))
    opened.create(Lease(Metadata("controller"), holder="c1"))
    tables = (
        TableStatus(TableId("rtb-1"), RouteState.PROGRAMMED),
        TableStatus(TableId("rtb-2"), RouteState.PROGRAMMED),
        TableStatus(TableId("rtb-3"), RouteState.REFUSED, Cause.QUOTA),
    )
    opened.create(CloudRoute(Metadata("10-65-3-0-26"), ip_network("10.65.3.0/26"), NodeName("n3"), tables))
    opened.close()
    return url


def test_agent_and_cluster_stand_on_one_screen(run, agent, store):
    path, _ = agent(b'{"node": "n1", "ready": true, "destinations": {"native/proven": 3}}\n')

    done = run("--socket", path, "--store", store)

    assert done.exit_code == 0
    assert [re.split("  +", line) for line in done.stdout.splitlines()] == [
        ["agent node", "n1"],
        ["agent ready", "yes"],
        ["agent destinations", "3 native/proven"],
        ["nodes", "1 of 2 ready"],
        ["leader", "c1"],
        ["cloud routes", "2 programmed, 1 refused"],
        ["refused because of", "1 quota"],
        ["not ready 1", "n2: its agent does not report"],
    ]


def test_as_json_it_has_the_same_parts(run, agent, store):
    path, _ = agent(b'{"node": "n1", "ready": true}\n')

    told = json.loads(run("--socket", path, "--store", store, "-o", "json").stdout)

    assert told["agent"] == {"node": "n1", "ready": True}
    assert told["cluster"]["routes"] == {"programmed": 2, "refused": 1}
    assert told["errors"] == {}


def test_a_silent_agent_is_part_of_the_answer(run, store, tmp_path):
    done = run("--socket", str(tmp_path / "none.sock"), "--store", store)

    assert done.exit_code == 0
    assert "agent unreachable" in done.stdout
    assert "1 of 2 ready" in done.stdout


def test_it_fails_when_nobody_answers(run, tmp_path):
    done = run("--socket", str(tmp_path / "none.sock"), "--store", f"sqlite://{tmp_path}/none.sqlite")

    assert done.exit_code == 1
    assert "store unreachable" in done.stdout
