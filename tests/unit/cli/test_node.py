import json
import re
import socket
import threading

import pytest
from typer.testing import CliRunner

from cloudnet.cli import main
from cloudnet.model.resources import Metadata, NodeCondition
from cloudnet.store.registry import open_store

ANSWERS = {
    "status": {"node": "n1", "ready": True, "message": "", "store_problem": "", "pod_mtu": 1450},
    "paths": {
        "node": "n1",
        "paths": [
            {"block": "10.65.1.0/26", "node": "n2", "kind": "native", "reason": "proven"},
            {"block": "10.65.2.0/26", "node": "n3", "kind": "vxlan", "reason": "quota"},
            {"block": "10.65.3.0/26", "node": "n4", "kind": "vxlan", "reason": "quota"},
        ],
    },
    "policy": {
        "node": "n1",
        "counts": [
            {"kind": "NetworkPolicy", "namespace": "shop", "name": "db", "action": "Allow", "staged": False,
             "direction": "ingress", "traffic": {"packets": 7, "bytes": 420}},
            {"kind": "NetworkPolicy", "namespace": "shop", "name": "db", "action": "Deny", "staged": True,
             "direction": "egress", "traffic": {"packets": 9, "bytes": 1}},
        ],
    },
    "bgp": {"node": "n1"},
}  # fmt: skip


@pytest.fixture
def agent(tmp_path):
    """Answer every verb, one question a connection, as an agent does."""
    running = []

    def listen(answers=ANSWERS):
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(tmp_path / "agent.sock"))
        server.listen()

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    verb = json.loads(connection.makefile("rb").readline())["verb"]
                    connection.sendall(json.dumps(answers[verb]).encode() + b"\n")

        thread = threading.Thread(target=serve)
        thread.start()
        running.append((server, thread))

    yield listen
    for server, thread in running:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)


@pytest.fixture
def url(tmp_path):
    url = f"sqlite://{tmp_path}/s.sqlite"
    store = open_store(url)
    store.create(NodeCondition(Metadata("n1"), ready=True, reason="Routed", message="every block is routed"))
    store.close()
    return url


def status(tmp_path, url, *words):
    line = ["node", "status", "--socket", str(tmp_path / "agent.sock"), "--store", url, *words]
    return CliRunner().invoke(main.build(lab=False), line, catch_exceptions=False)


def fields(text):
    return {line.split("  ")[0]: line.split("  ")[-1].strip() for line in text.splitlines()}


def test_a_node_that_is_well_says_so_and_why_paths_are_not_native(agent, tmp_path, url):
    agent()

    done = status(tmp_path, url)

    said = fields(done.stdout)
    assert done.exit_code == 0
    assert (said["node"], said["agent"], said["paths native"], said["paths vxlan"]) == ("n1", "ready", "1", "2")
    assert said["not native (quota)"].startswith("2: ")
    assert said["addresses"] == "0 of 0 in use, in 0 blocks"
    assert said["policy"] == "1 in force; 7 Allow"
    assert said["network, says the controller"] == "ready: every block is routed"
    assert said["cloudnet version"]


def test_an_agent_that_is_not_ready_is_a_failure(agent, tmp_path, url):
    agent(ANSWERS | {"status": {"node": "n1", "ready": False, "message": "no VTEP"}})

    done = status(tmp_path, url)

    assert (done.exit_code, fields(done.stdout)["agent"]) == (1, "no VTEP")


def test_without_an_agent_the_store_is_asked_and_the_exit_code_says_which_is_silent(tmp_path, url):
    done = status(tmp_path, url, "-o", "json")

    found = json.loads(done.stdout)
    assert (done.exit_code, found["unreachable"], found["agent"]) == (6, True, None)
    assert found["addresses"] == {"blocks": 0, "in_use": 0, "total": 0}


def test_a_store_that_is_not_there_is_part_of_the_answer(agent, tmp_path):
    agent()

    done = status(tmp_path, f"sqlite://{tmp_path}/none.sqlite")

    assert done.exit_code == 0
    assert "there is no store" in fields(done.stdout)["store unreachable"]


def test_a_newer_agent_is_not_misunderstood_in_silence(agent, tmp_path, url):
    agent(ANSWERS | {"policy": {"counts": "many"}})

    assert "are agent and command of one version?" in status(tmp_path, url).stdout


SESSIONS = {
    "node": "n1",
    "problem": "",
    "warnings": ["BGPPeer 'q': no session: there is no BGPFilter 'f': create it, or take it from spec.filters"],
    "sessions": [
        {"peer": "node 'n2'", "address": "10.0.1.12", "port": 179, "as_number": 64512, "origin": "mesh",
         "state": "Established", "since": "2026-01-02 03:04:05", "error": "", "imported": 3, "exported": 2},
        {"peer": "BGPPeer 'tor'", "address": "10.0.1.1", "port": 1790, "as_number": 65000, "origin": "global",
         "state": "Active", "since": "2026-01-02 03:04:06", "error": "Socket: Connection refused",
         "imported": 0, "exported": 0},
    ],
}  # fmt: skip


def test_bgp_sessions_are_shown_as_calicoctl_shows_them(agent, tmp_path, url):
    agent(ANSWERS | {"bgp": SESSIONS})

    done = status(tmp_path, url)

    said = fields(done.stdout)
    assert done.exit_code == 0
    assert said["BGP"] == "1 of 2 sessions established"
    assert said["not done of BGP (1)"] == SESSIONS["warnings"][0]
    table = [re.split(r"  +", line.strip()) for line in done.stdout.splitlines()[-3:]]
    assert table == [
        ["PEER ADDRESS", "PEER", "PEER TYPE", "AS", "STATE", "SINCE", "ROUTES IN", "OUT", "INFO"],
        ["10.0.1.12", "node 'n2'", "node-to-node mesh", "64512", "up", "2026-01-02 03:04:05", "3", "2",
         "Established"],
        [
            "10.0.1.1 port 1790", "BGPPeer 'tor'", "global", "65000", "start", "2026-01-02 03:04:06", "0", "0",
            "Active: Socket: Connection refused",
        ],
    ]  # fmt: skip


def test_a_path_by_bgp_is_native_enough(agent, tmp_path, url):
    path = {"block": "10.65.1.0/26", "node": "n2", "kind": "bgp", "reason": "proven"}
    agent(ANSWERS | {"paths": {"node": "n1", "paths": [path]}})

    said = status(tmp_path, url).stdout

    assert fields(said)["paths bgp"] == "1"
    assert "not native" not in said


def test_a_problem_of_bgp_stands_in_its_place(agent, tmp_path, url):
    agent(ANSWERS | {"bgp": {**SESSIONS, "problem": "BGP is not as it should be: no BIRD listens", "sessions": []}})

    done = status(tmp_path, url)

    assert fields(done.stdout)["BGP"] == "BGP is not as it should be: no BIRD listens"
    assert done.stdout.endswith("no BGP sessions\n")


def test_a_node_that_speaks_no_bgp_has_no_word_of_it(agent, tmp_path, url):
    agent()

    assert "BGP" not in status(tmp_path, url).stdout


def test_bgp_is_there_for_programs_too(agent, tmp_path, url):
    agent(ANSWERS | {"bgp": SESSIONS})

    found = json.loads(status(tmp_path, url, "-o", "json").stdout)

    assert found["bgp"]["sessions"] == SESSIONS["sessions"]
