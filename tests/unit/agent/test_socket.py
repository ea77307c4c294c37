import contextlib
import json
import socket
import stat

import pytest

from cloudnet.agent.socket import SocketServer
from cloudnet.errors import BadInput


def answer(request):
    if request.get("verb") == "paths":
        return {"paths": []}
    raise BadInput("expected paths", path="verb")


@pytest.fixture
def server(tmp_path):
    server = SocketServer(str(tmp_path / "agent.sock"), answer)
    yield tmp_path / "agent.sock"
    server.close()


def ask(path, sent):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(path))
        client.sendall(sent)
        received = b""
        while piece := client.recv(65536):
            received += piece
    return received


def test_one_line_in_one_line_out(server):
    received = ask(server, b'{"verb": "paths"}\n')

    assert received.endswith(b"\n")
    assert json.loads(received) == {"paths": []}


@pytest.mark.parametrize(
    ("sent", "words"),
    [(b"hello\n", "JSON"), (b"[1]\n", "object"), (b'{"verb": "fly"}\n', "verb"), (b"\xff\xfe\n", "JSON")],
    ids=["no JSON", "no object", "unknown verb", "no UTF-8"],
)
def test_a_bad_request_is_answered_with_what_is_wrong(server, sent, words):
    assert words in json.loads(ask(server, sent))["error"]


def test_a_request_without_end_is_cut_off(server):
    with contextlib.suppress(ConnectionError):
        assert "JSON" in json.loads(ask(server, b"x" * 70_000))["error"]

    assert ask(server, b'{"verb": "paths"}\n')


def test_only_root_may_ask(server):
    assert stat.S_IMODE(server.stat().st_mode) == 0o600


def test_a_client_that_hangs_up_harms_nobody(server):
    for _ in range(30):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(server))

    assert ask(server, b'{"verb": "paths"}\n')


def test_the_socket_of_a_dead_agent_is_taken_over(tmp_path):
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    server = SocketServer(str(path), answer)

    assert json.loads(ask(path, b'{"verb": "paths"}\n')) == {"paths": []}
    server.close()
    assert not path.exists()


def test_the_socket_of_a_living_agent_is_not(server):
    with pytest.raises(BadInput, match="another agent"):
        SocketServer(str(server), answer)


def test_a_path_where_nobody_can_listen_is_named(tmp_path):
    (tmp_path / "no-directory").write_text("")

    with pytest.raises(BadInput, match=r"no-directory/.*choose another path"):
        SocketServer(str(tmp_path / "no-directory" / "agent.sock"), answer)
