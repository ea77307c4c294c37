from __future__ import annotations

import array
import json
import os
import socket
import stat
import struct
import tempfile
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudnet.cni.handler import Answer
from cloudnet.cni.server import CniServer
from cloudnet.errors import BadInput

BOTH = {"version": 1, "command": "ADD", "env": {"CNI_CONTAINERID": "c1"}, "config_length": 2}


class Runtime:
    """Answers what it is told to, and keeps what it was asked; waits for ``gate`` if the container is slow."""

    def __init__(self):
        self.asked, self.files = [], []
        self.answer_with = Answer(b'{"ok":true}')
        self.go = threading.Event()

    def answer(self, command, variables, data, namespace):
        self.asked.append((command, dict(variables), data))
        if namespace is not None:
            self.files.append(os.fstat(namespace).st_ino)
        if variables.get("CNI_CONTAINERID") == "slow":
            self.go.wait(10)
        return self.answer_with


@pytest.fixture
def runtime():
    return Runtime()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cni.sock"


@pytest.fixture
def observed():
    return []


@pytest.fixture
def server(path, runtime, observed):
    with closing(CniServer(str(path), runtime, observe=lambda *one: observed.append(one))) as made:
        yield made
        runtime.go.set()


def frame(head=BOTH, config=b"{}"):
    encoded = head if isinstance(head, bytes) else json.dumps(head).encode()
    return struct.pack(">I", len(encoded)) + encoded + config


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def connect(path):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    client.connect(str(path))
    return client


def exchange(path, data, *, files=(), end=False):
    """Send bytes; return the exit status and the output, or nothing if the server hangs up."""
    with connect(path) as client:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
        with suppress(BrokenPipeError):
            client.sendmsg([data[:1]], rights)
            client.sendall(data[1:])
            if end:
                client.shutdown(socket.SHUT_WR)
        received = b""
        with suppress(ConnectionResetError):
            while piece := client.recv(65536):
                received += piece
    if not received:
        return None
    length, status = struct.unpack_from(">IB", received)
    assert len(received) == 5 + length
    return status, received[5:]


def code(answer):
    status, output = answer
    assert status == 1
    return json.loads(output)["code"]


def test_a_request_comes_in_and_its_answer_goes_out(server, path, runtime, observed):
    with tempfile.TemporaryFile() as file:
        answer = exchange(path, frame(), files=[file.fileno()])
        inode = os.fstat(file.fileno()).st_ino

    assert answer == (0, b'{"ok":true}')
    assert runtime.asked == [("ADD", {"CNI_CONTAINERID": "c1"}, b"{}")]
    assert runtime.files == [inode]
    server.close()
    assert [one[:2] for one in observed] == [("ADD", 0)]


def test_an_error_has_the_status_that_the_shim_exits_with(server, path, runtime):
    runtime.answer_with = Answer(b'{"code":11}', 11)

    assert exchange(path, frame()) == (1, b'{"code":11}')


def test_the_largest_request_arrives_whole(server, path, runtime):
    config = b" " * (1 << 20)

    exchange(path, frame({**BOTH, "config_length": len(config)}, config))

    assert len(runtime.asked[0][2]) == 1 << 20


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (struct.pack(">I", 65537), 4),
        (struct.pack(">I", 0xFFFFFFFF), 4),
        (frame({**BOTH, "config_length": (1 << 20) + 1}), 7),
        (frame({**BOTH, "config_length": -1}), 7),
        (frame({**BOTH, "version": 2}), 6),
        (frame(b"nonsense"), 6),
        (frame(b"\xff" * 8), 6),
        (frame(b"[]"), 6),
        (frame(b"[" * 60_000), 6),
        (frame({**BOTH, "env": {"a": 1}}), 6),
        (frame({"version": 1}), 6),
    ],
)
def test_what_is_no_request_is_answered_with_an_error_and_reaches_nobody(server, path, runtime, data, expected):
    assert code(exchange(path, data)) == expected
    assert not runtime.asked


def test_a_client_that_ends_too_early_is_forgotten(server, path, runtime):
    assert exchange(path, frame()[:-1], end=True) is None
    assert exchange(path, frame()) == (0, b'{"ok":true}')


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # the server is the same on purpose
@given(st.binary(max_size=300) | st.binary(max_size=100).map(frame))
def test_no_bytes_whatever_harm_the_server(server, path, data):
    exchange(path, data or b"\0", end=True)

    assert exchange(path, frame()) == (0, b'{"ok":true}')


def test_files_that_came_along_are_closed(server, path):
    before = open_files()
    with tempfile.TemporaryFile() as file:
        for _ in range(5):
            exchange(path, frame(), files=[file.fileno()] * 3)
            exchange(path, frame(b"nonsense"), files=[file.fileno()] * 8)

    deadline = time.monotonic() + 5
    while open_files() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert open_files() <= before


def test_too_many_files_are_refused(server, path, runtime):
    with tempfile.TemporaryFile() as file:
        assert code(exchange(path, frame(), files=[file.fileno()] * 20)) == 4
    assert not runtime.asked


def test_a_slow_request_holds_up_nobody(server, path, runtime):
    with connect(path) as slow, connect(path) as silent:
        slow.sendall(frame({**BOTH, "env": {"CNI_CONTAINERID": "slow"}}))
        silent.sendall(b"\0")
        began = time.monotonic()

        answer = exchange(path, frame())

        assert answer == (0, b'{"ok":true}')
        assert time.monotonic() - began < 4  # the others are cut off after five seconds at the earliest
        runtime.go.set()


def test_a_request_that_dawdles_is_cut_off_after_five_seconds(server, path):
    with connect(path) as client:
        began = time.monotonic()
        client.sendall(frame()[:-1])

        received = client.recv(65536)

        assert 4 < time.monotonic() - began < 15
        assert json.loads(received[5:])["code"] == 11


def test_over_the_limit_the_answer_is_try_again_at_once(server, path, runtime):
    slow = frame({**BOTH, "env": {"CNI_CONTAINERID": "slow"}})
    clients = [connect(path) for _ in range(64 + 256)]
    try:
        for client in clients:
            client.sendall(slow)
        deadline = time.monotonic() + 5
        while len(runtime.asked) < 64 and time.monotonic() < deadline:
            time.sleep(0.01)

        assert code(exchange(path, frame())) == 11
    finally:
        runtime.go.set()
        for client in clients:
            client.close()


def test_what_is_worked_on_ends_before_the_server_does(server, path, runtime):
    with connect(path) as client:
        client.sendall(frame({**BOTH, "env": {"CNI_CONTAINERID": "slow"}}))
        while not runtime.asked:
            time.sleep(0.01)
        closing_ = threading.Thread(target=server.close)
        closing_.start()
        time.sleep(0.1)
        runtime.go.set()

        assert client.recv(65536)[5:] == b'{"ok":true}'
        closing_.join(10)
    assert not path.exists()


def test_only_root_may_connect(server, path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_socket_of_a_dead_agent_is_taken_over(path, runtime):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    with closing(CniServer(str(path), runtime)):
        assert exchange(path, frame()) == (0, b'{"ok":true}')


def test_the_socket_of_a_living_agent_is_not(server, path, runtime):
    with pytest.raises(BadInput, match="cni_socket: another agent answers"):
        CniServer(str(path), runtime)
    assert exchange(path, frame()) == (0, b'{"ok":true}')
