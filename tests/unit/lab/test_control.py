from __future__ import annotations

import pytest

from cloudnet.errors import BadInput
from cloudnet.lab import control
from cloudnet.lab.errors import LabError


@pytest.fixture
def served(tmp_path):
    def answer(message):
        if message["verb"] == "refuse":
            raise BadInput("not this", path="verb")
        if message["verb"] == "crash":
            raise RuntimeError("oh")
        return {"heard": message["verb"]}

    path = tmp_path / "control.sock"
    server = control.Server(path, answer)
    yield path
    server.close()


def test_a_question_gets_its_answer(served):
    assert control.ask(served, {"verb": "hello"}) == {"heard": "hello"}


def test_a_refusal_arrives_as_an_error(served):
    with pytest.raises(LabError, match="verb: not this"):
        control.ask(served, {"verb": "refuse"})


def test_a_broken_request_does_not_end_the_server(served):
    with pytest.raises(LabError, match="RuntimeError: oh"):
        control.ask(served, {"verb": "crash"})

    assert control.ask(served, {"verb": "hello"}) == {"heard": "hello"}


def test_nobody_listening_is_a_clear_error(tmp_path):
    with pytest.raises(LabError, match="is the lab up"):
        control.ask(tmp_path / "none.sock", {"verb": "hello"})


def test_a_closed_server_takes_its_socket_along(tmp_path):
    path = tmp_path / "control.sock"
    control.Server(path, lambda message: message).close()

    assert not path.exists()
