import json
from ipaddress import ip_network

import pytest
from typer.testing import CliRunner

from cloudnet.cli import main, routes
from cloudnet.errors import BadInput
from cloudnet.model.addresses import NodeName, TableId
from cloudnet.model.resources import Cause, CloudRoute, Metadata, RouteState, TableStatus
from cloudnet.store.registry import open_store

ANSWER = {
    "node": "n1",
    "paths": [
        {
            "block": "10.65.2.0/26",
            "node": "n2",
            "kind": "native",
            "reason": "proven",
            "next_hop": "10.0.0.1",
            "mtu": 1450,
            "detail": "",
            "since": 1.0,
        },
        {
            "block": "10.65.3.0/26",
            "node": "n3",
            "kind": "vxlan",
            "reason": "quota",
            "next_hop": None,
            "mtu": 1450,
            "detail": "rtb-1 holds 50 of 50 routes",
            "since": 1.0,
        },
    ],
}


@pytest.fixture
def run():
    def invoke(*arguments):
        done = CliRunner().invoke(main.build(lab=False), ["routes", *arguments], catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    return invoke


@pytest.fixture
def socket(agent):
    return agent(json.dumps(ANSWER).encode() + b"\n")[0]


@pytest.fixture
def store(tmp_path):
    url = f"sqlite://{tmp_path}/store.sqlite"
    opened = open_store(url)
    refused = TableStatus(TableId("rtb-1"), RouteState.REFUSED, Cause.QUOTA, "rtb-1 is full", since=1.0)
    opened.create(CloudRoute(Metadata("10-65-3-0-26"), ip_network("10.65.3.0/26"), NodeName("n3"), (refused,)))
    opened.close()
    return url


def test_the_agents_paths_are_shown_as_a_table(run, socket):
    lines = run("--socket", socket).splitlines()

    assert lines[0].split() == ["BLOCK", "NODE", "PATH", "REASON", "NEXT", "HOP", "MTU", "SINCE", "DETAIL"]
    assert lines[1].split()[:6] == ["10.65.2.0/26", "n2", "native", "proven", "10.0.0.1", "1450"]
    assert lines[2].rstrip().endswith("rtb-1 holds 50 of 50 routes")


def test_json_is_what_the_agent_said(run, socket):
    assert json.loads(run("--socket", socket, "-o", "json")) == ANSWER


def test_explain_tells_one_nodes_blocks_at_length(run, socket):
    text = run("--socket", socket, "--explain", "n3")

    assert "n1 → n3" in text
    assert "vxlan: in a VXLAN tunnel from node to node" in text
    assert "quota: the cloud's route table is full: raise the quota" in text
    assert "10.65.2.0/26" not in text


def test_explaining_an_unknown_node_names_the_known_ones(run, socket):
    with pytest.raises(BadInput, match="no block of node 'n9' is known here; known nodes: n2, n3"):
        run("--socket", socket, "--explain", "n9")


def test_a_newer_agents_reason_is_shown_as_it_is(run, agent):
    answer = {"node": "n1", "paths": [ANSWER["paths"][0] | {"reason": "moonlight", "colour": "red"}]}
    path, _ = agent(json.dumps(answer).encode() + b"\n")

    assert "moonlight: for a reason that this version does not know" in run("--socket", path, "--explain", "n2")


def test_with_a_store_the_clouds_side_is_shown(run, store):
    lines = run("--store", store).splitlines()

    assert lines[0].split() == ["BLOCK", "NODE", "TABLE", "STATE", "CAUSE", "SINCE", "DETAIL"]
    assert lines[1].split()[:5] == ["10.65.3.0/26", "n3", "rtb-1", "refused", "quota"]


def test_the_clouds_side_as_json(run, store):
    assert json.loads(run("--store", store, "-o", "json"))["routes"] == [
        {
            "block": "10.65.3.0/26",
            "node": "n3",
            "table": "rtb-1",
            "state": "refused",
            "cause": "quota",
            "detail": "rtb-1 is full",
            "since": 1.0,
        }
    ]


def test_an_empty_answer_is_said_in_words(run, agent):
    path, _ = agent(b'{"node": "n1", "paths": []}\n')

    assert run("--socket", path) == "no remote blocks\n"


def test_an_answer_of_another_shape_is_refused(agent):
    path, _ = agent(b'{"node": 7}\n')

    with pytest.raises(routes.ask.AgentRefused, match="not understood"):
        routes.read_paths(path)
