import array
import json
import os
import platform
import socket
import struct
import subprocess
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

import cloudnet.cni.install

SOURCE = Path(cloudnet.cni.install.__file__).parent / "shim" / "cni.c"
INSTALLED = cloudnet.cni.install.PROGRAMS / f"cloudnet-{platform.machine()}"
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Werror")
SANITIZERS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@dataclass(frozen=True)
class Request:
    """What the agent received: its bytes, and the namespace that came with the first of them."""

    raw: bytes
    netns: int | None
    later: int = 0  # descriptors that came with other bytes than the first

    @property
    def head(self):
        (length,) = struct.unpack("!I", self.raw[:4])
        return json.loads(self.raw[4 : 4 + length])

    @property
    def config(self):
        (length,) = struct.unpack("!I", self.raw[:4])
        return self.raw[4 + length :]


class ScriptedAgent:
    """Keeps every request, and answers each with the bytes of ``answer``, whatever they are, then hangs up."""

    def __init__(self, path):
        self.path = path
        self.requests = []
        self.answer = answer(b"{}\n")
        self.reads = True
        self.waits_for = threading.Event()
        self.waits_for.set()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen(16)
        self._thread = threading.Thread(target=self._serve, name="scripted agent")
        self._thread.start()

    def close(self):
        self.waits_for.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)

    def _serve(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                if self.reads:
                    self.requests.append(receive(connection))
                self.waits_for.wait(10)
                try:
                    connection.sendall(self.answer)
                except OSError:
                    self.requests.append(None)


def answer(output, status=0):
    return struct.pack("!IB", len(output), status) + output


def receive(connection):
    first, ancillary, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(64))
    netns = None
    for level, kind, data in ancillary:
        assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
        (descriptor,) = array.array("i", data)
        netns = os.fstat(descriptor).st_ino
        os.close(descriptor)
    raw, later = more(connection, 3)
    raw = first + raw
    head, with_head = more(connection, struct.unpack("!I", raw)[0])
    config, with_config = more(connection, json.loads(head)["config_length"])
    return Request(raw + head + config, netns, later + with_head + with_config)


def more(connection, length):
    """Return so many bytes, and how many descriptors came with them."""
    found, descriptors = b"", 0
    while len(found) < length:
        piece, ancillary, _, _ = connection.recvmsg(length - len(found), socket.CMSG_SPACE(64))
        assert piece, f"{length - len(found)} bytes are missing"
        found += piece
        for _, _, data in ancillary:
            for descriptor in array.array("i", data):
                os.close(descriptor)
                descriptors += 1
    return found, descriptors


@pytest.fixture
def agent(tmp_path):
    with ExitStack() as stack:
        one = ScriptedAgent(tmp_path / "agent.sock")
        stack.callback(one.close)
        yield one


@pytest.fixture(scope="session")
def shim():
    """Return the program as it is installed on this machine."""
    return INSTALLED


@pytest.fixture(scope="session")
def compile_shim(tmp_path_factory):
    """Compile the program with the sanitizers, the given patience and socket."""

    def build(*, patience=90, agent_socket="/nonexistent/agent.sock"):
        program = tmp_path_factory.mktemp("shim") / "cloudnet"
        settings = (f"-DPATIENCE={patience}", f'-DAGENT_SOCKET="{agent_socket}"')
        subprocess.run(["gcc", *WARNINGS, *SANITIZERS, *settings, "-o", program, SOURCE], check=True)
        return program

    return build


@pytest.fixture(scope="session")
def sanitized(compile_shim):
    return compile_shim()


def run(config=b"", *, program=INSTALLED, command="ADD", env=None, timeout=20):
    environment = {} if command is None else {b"CNI_COMMAND": os.fsencode(command)}
    environment |= {os.fsencode(key): os.fsencode(value) for key, value in (env or {}).items()}
    return subprocess.run([program], input=config, env=environment, capture_output=True, timeout=timeout, check=False)


@pytest.fixture(scope="session")
def execute():
    return run


@pytest.fixture
def configured(agent):
    """Return a configuration that leads to the scripted agent, with more keys if wanted."""

    def make(**more):
        return json.dumps({"cniVersion": "1.0.0", "name": "net", "agent_socket": str(agent.path), **more}).encode()

    return make
