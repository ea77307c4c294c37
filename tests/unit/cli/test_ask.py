import json

import pytest

from cloudnet.cli import ask
from cloudnet.errors import BadInput


def test_the_question_is_one_json_line_and_so_is_the_answer(agent):
    path, questions = agent(b'{"node": "n1"}\n')

    assert ask.agent(path, "status") == b'{"node": "n1"}\n'
    assert [json.loads(question) for question in questions] == [{"verb": "status"}]


def test_a_long_answer_arrives_whole(agent):
    answer = json.dumps({"paths": ["x" * 1000] * 1000}).encode() + b"\n"
    path, _ = agent(answer)

    assert ask.agent(path, "paths") == answer


def test_an_agent_that_refuses_is_quoted(agent):
    path, _ = agent(b'{"error": "no such verb: \'x\'"}\n')

    with pytest.raises(ask.AgentRefused, match="no such verb: 'x'"):
        ask.agent(path, "x")


@pytest.mark.parametrize("answer", [b"", b'{"half": '])
def test_an_agent_that_dies_in_the_middle_is_noticed(agent, answer):
    path, _ = agent(answer)

    with pytest.raises(ask.AgentUnreachable, match="hung up in the middle"):
        ask.agent(path, "paths")


def test_somebody_else_at_the_socket_is_noticed(agent):
    path, _ = agent(b"HTTP/1.0 400\n")

    with pytest.raises(ask.AgentUnreachable, match="no JSON"):
        ask.agent(path, "paths")


def test_a_path_that_is_too_long_for_a_socket_is_an_error_of_ours(tmp_path):
    with pytest.raises(ask.AgentUnreachable, match="no agent answers"):
        ask.agent(str(tmp_path / ("x" * 200)), "paths")


def test_a_store_that_is_not_there_is_not_made_by_looking(tmp_path):
    with pytest.raises(BadInput, match="store: there is no store at"), ask.store(f"sqlite://{tmp_path}/none.sqlite"):
        pass

    assert list(tmp_path.iterdir()) == []


def test_labs_are_found_by_name():
    assert ask.lab_socket("demo", "n1") == "/run/cloudnet-lab/demo/n1.sock"
    assert ask.lab_store("demo") == "sqlite:///run/cloudnet-lab/demo/store.sqlite"
