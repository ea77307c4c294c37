"""Where commands look things up: a running agent, by a JSON line into its socket and one back, and the store."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from cloudnet.errors import BadInput, CloudnetError
from cloudnet.store.api import Store

TIMEOUT = 5.0  # seconds; an agent answers from memory, in milliseconds
LABS = Path("/run/cloudnet-lab")

Socket = Annotated[str, typer.Option("--socket", help="the agent's Unix socket", envvar="CLOUDNET_SOCKET")]
LabNode = Annotated[str, typer.Option("--node", help="ask the agent of this lab node instead")]
LabName = Annotated[str, typer.Option("--lab", help="the lab that --node is in")]


class AgentUnreachable(CloudnetError):
    """The agent does not answer on its socket."""

    retry = True


class AgentRefused(CloudnetError):
    """The agent understood the question and says why it has no answer."""


def agent(path: str, verb: str) -> bytes:
    """Return the agent's answer to ``{"verb": verb}``, a JSON object.

    Raises:
        AgentUnreachable: there is no agent at that socket, or it does not answer in time.
        AgentRefused: the answer is ``{"error": ...}``.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT)
            connection.connect(path)
            connection.sendall(json.dumps({"verb": verb}).encode() + b"\n")
            line = _read_line(connection)
    except OSError as e:
        reason = (os.strerror(e.errno) if e.errno else str(e) or "no answer").lower()
        raise AgentUnreachable(
            f"no agent answers at {path!r} ({reason}): start it, or name its socket with --socket"
        ) from e
    if not line.endswith(b"\n"):
        raise AgentUnreachable(f"the agent at {path!r} hung up in the middle of its answer: look into its log")
    _refuse_error(line)
    return line


@contextmanager
def store(url: str, *, make: bool = False) -> Iterator[Store]:
    """Open a store; one that is not there is made only where the caller says so, to write into it.

    Raises:
        BadInput: there is no such store.
        StoreError: it cannot be opened.
    """
    from cloudnet.store.registry import open_store  # noqa: PLC0415 - `cloudnet --help` needs no store

    scheme, _, path = url.partition("://")
    if scheme == "sqlite" and not make and not Path(path).exists():
        raise BadInput(
            f"there is no store at {path!r}: start a controller or agent with it, or name another", path="store"
        )
    opened = open_store(url)
    try:
        yield opened
    finally:
        opened.close()


def lab_socket(lab: str, node: str) -> str:
    """Return the socket of a lab node's agent."""
    return str(LABS / lab / f"{node}.sock")


def lab_store(lab: str) -> str:
    """Return the URL of a lab's store."""
    return f"sqlite://{LABS / lab / 'store.sqlite'}"


def _read_line(connection: socket.socket) -> bytes:
    answer = bytearray()
    while not answer.endswith(b"\n"):
        piece = connection.recv(65536)
        if not piece:
            break
        answer += piece
    return bytes(answer)


def _refuse_error(line: bytes) -> None:
    try:
        answer = json.loads(line)
    except ValueError as e:
        raise AgentUnreachable(f"the answer is no JSON ({e}): is something else listening there?") from e
    if isinstance(answer, dict) and "error" in answer:
        raise AgentRefused(str(answer["error"]))
