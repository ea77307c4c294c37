"""The socket that the CNI plugin's shim speaks to: limits, order and an end without half-made pods.

    request:  length, 4 bytes, big-endian | a JSON object of this length | ``config_length`` bytes of configuration
    answer:   length, 4 bytes, big-endian | exit status, 1 byte          | output of this length

The object is ``{"version": 1, "command": "ADD", "env": {"CNI_...": ...}, "config_length": N}``. With the first byte
may come, by SCM_RIGHTS, an open file of CNI_NETNS, so that no path has to mean the same to both sides. Only root may
connect. One thread accepts and hands on; so a client that dawdles holds up nobody, until as many as may be served at
once do, and each of these is cut off after five seconds.
"""

from __future__ import annotations

import array
import contextlib
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from cloudnet.cni import wire
from cloudnet.cni.handler import Answer
from cloudnet.cni.wire import CniError, Code
from cloudnet.errors import BadInput

log = logging.getLogger(__name__)

LARGEST_CONFIGURATION = 1 << 20  # bytes
LARGEST_OBJECT = 64 << 10  # bytes: the environment and a few words
_AT_ONCE = 64  # requests that are worked on
_WAITING = 256  # requests that wait for one of these to end; a node has not many more pods than this
_ARRIVAL = 5.0  # seconds for a request to arrive, whole
_DEPARTURE = 10.0  # seconds for a client to take its answer
_DRAIN = 60.0  # seconds for what is worked on when we end
_PIECE = 64 << 10
_MOST_FILES = 8  # descriptors that one message may bring: one is asked for, and more must be closed
_VERSION = 1

_LENGTH = struct.Struct(">I")
_ANSWER = struct.Struct(">IB")

Observe = Callable[[str, int, float], None]
"""Is told of each request: command, code (0 when all went well), seconds."""


class Answers(Protocol):
    """Who answers requests."""

    def answer(self, command: str, variables: Mapping[str, str], data: bytes, namespace: int | None) -> Answer: ...


class _Object(msgspec.Struct):
    version: int
    command: str
    env: dict[str, str]
    config_length: int


_decoder = msgspec.json.Decoder(_Object)


@dataclass(frozen=True, slots=True)
class _Heard:
    """One request as it came."""

    command: str
    variables: Mapping[str, str]
    configuration: bytes


class _Unreadable(Exception):
    """What came is no request; the answer says why."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


class CniServer:
    """Listens at ``path`` and has each request answered, many at once."""

    def __init__(self, path: str, answers: Answers, *, observe: Observe = lambda *_: None) -> None:
        self._path = Path(path)
        self._answers = answers
        self._observe = observe
        self._taken = 0
        self._changed = threading.Condition()
        self._workers = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="cni")
        self._socket = listen(self._path)
        self._thread = threading.Thread(target=self._serve, name="cni accept", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more requests, let those that are worked on end, and remove the socket."""
        with contextlib.suppress(OSError):  # already shut down
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        self._path.unlink(missing_ok=True)
        with self._changed:
            drained = self._changed.wait_for(lambda: not self._taken, _DRAIN)
        if not drained:
            log.warning("leaving while requests are worked on, their DEL will clean up number=%d", self._taken)
        self._workers.shutdown(wait=drained, cancel_futures=True)

    def _enter(self) -> bool:
        with self._changed:
            if self._taken >= _AT_ONCE + _WAITING:
                return False
            self._taken += 1
            return True

    def _leave(self) -> None:
        with self._changed:
            self._taken -= 1
            self._changed.notify_all()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return  # closed
            if self._enter():
                self._workers.submit(self._talk, connection)
            else:
                self._refuse(connection)

    def _refuse(self, connection: socket.socket) -> None:
        problem = CniError(Code.TRY_AGAIN, f"the agent has {_AT_ONCE + _WAITING} requests already: try again")
        with connection, contextlib.suppress(OSError):  # the client may be gone
            connection.settimeout(0)
            connection.send(_frame(Answer(wire.error(problem, wire.NEWEST), problem.code)))

    def _talk(self, connection: socket.socket) -> None:
        began = time.perf_counter()
        files: list[int] = []
        command, code = "unreadable", int(Code.UNDECODABLE)
        try:
            with connection:
                try:
                    heard = _hear(connection, files)
                except _Unreadable as e:
                    answer = Answer(wire.error(CniError(e.code, str(e)), wire.NEWEST), e.code)
                else:
                    command = heard.command
                    namespace = files[0] if files else None
                    answer = self._answers.answer(command, heard.variables, heard.configuration, namespace)
                code = answer.code
                connection.settimeout(_DEPARTURE)
                connection.sendall(_frame(answer))
        except OSError as e:
            log.debug("client went away reason=%r", str(e))
        finally:
            for file in files:
                os.close(file)
            self._leave()
            self._observe(
                command if command in wire.Command.__members__ else "unreadable", code, time.perf_counter() - began
            )


def _frame(answer: Answer) -> bytes:
    return _ANSWER.pack(len(answer.output), answer.status) + answer.output


# --- reading ------------------------------------------------------------------------------------------------


def _hear(connection: socket.socket, files: list[int]) -> _Heard:
    """Return a request; ``files`` gets every descriptor that came along, for the caller to close.

    Raises:
        _Unreadable: it is too long, too slow, or none.
        OSError: the client went away.
    """
    deadline = time.monotonic() + _ARRIVAL
    data = bytearray()

    def need(length: int) -> None:
        while len(data) < length:
            _receive(connection, data, files, deadline)

    need(_LENGTH.size)
    (length,) = _LENGTH.unpack_from(data)
    if length > LARGEST_OBJECT:
        raise _Unreadable(
            Code.INVALID_ENVIRONMENT, f"the environment takes {length} bytes: the most is {LARGEST_OBJECT}"
        )
    start = _LENGTH.size + length
    need(start)
    head = _object(bytes(data[_LENGTH.size : start]))
    need(start + head.config_length)
    return _Heard(head.command, head.env, bytes(data[start : start + head.config_length]))


def _object(data: bytes) -> _Object:
    try:
        head = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise _Unreadable(Code.UNDECODABLE, f"this is no request of cloudnet's CNI plugin: {e}") from e
    if head.version != _VERSION:
        raise _Unreadable(
            Code.UNDECODABLE,
            f"expected a request of version {_VERSION}, found {head.version}: run `cloudnet cni install`, so that "
            "plugin and agent are of one release",
        )
    if not 0 <= head.config_length <= LARGEST_CONFIGURATION:
        raise _Unreadable(
            Code.INVALID_CONFIGURATION,
            f"the network configuration has {head.config_length} bytes: the most is {LARGEST_CONFIGURATION}",
        )
    return head


def _receive(connection: socket.socket, data: bytearray, files: list[int], deadline: float) -> None:
    left = deadline - time.monotonic()
    if left <= 0:
        raise _Unreadable(Code.TRY_AGAIN, f"the request did not arrive within {_ARRIVAL:.0f} s")
    connection.settimeout(left)
    try:
        piece, extra, flags, _ = connection.recvmsg(
            _PIECE, socket.CMSG_SPACE(_MOST_FILES * array.array("i").itemsize), socket.MSG_CMSG_CLOEXEC
        )
    except TimeoutError:
        return  # the deadline decides
    for level, kind, content in extra:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            received = array.array("i")
            received.frombytes(content[: len(content) - len(content) % received.itemsize])
            files += received
    if flags & socket.MSG_CTRUNC:
        raise _Unreadable(Code.INVALID_ENVIRONMENT, f"more than {_MOST_FILES} open files came along: one is expected")
    if not piece:
        raise ConnectionResetError("it ended before its request did")
    data += piece


def listen(path: Path) -> socket.socket:
    """Return a listening socket at ``path``, root's alone, in place of one that a dead agent left behind.

    Raises:
        BadInput: nobody can listen there, or a living agent does.
    """
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_socket():
            _refuse_if_alive(path)
        _bind(server, path)
        server.listen(_AT_ONCE + _WAITING)
    except OSError as e:
        server.close()
        raise BadInput(
            f"cannot listen at {str(path)!r} ({e.strerror or e}): choose another path", path="cni_socket"
        ) from e
    except BadInput:
        server.close()
        raise
    return server


def _bind(server: socket.socket, path: Path) -> None:
    """Bind under another name first: at ``path`` there is never a socket that others may connect to."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    server.bind(str(new))
    try:
        new.chmod(0o600)
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def _refuse_if_alive(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return
    raise BadInput(f"another agent answers at {str(path)!r}: stop it, or choose another path", path="cni_socket")
