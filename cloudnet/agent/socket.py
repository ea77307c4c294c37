"""The agent's Unix socket: one JSON line in, one JSON line out, then close. Answers come from memory.

    {"verb": "paths"}   →  {"node": …, "paths": [{"block", "node", "kind", "reason", …}, …]}
    {"verb": "status"}  →  {"node": …, "ready": …, …}
    anything else       →  {"error": …}

Only root may ask: the socket has mode 0600. A client that dawdles or talks too much is cut off.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from cloudnet.errors import BadInput

log = logging.getLogger(__name__)

_LONGEST_REQUEST = 64 * 1024  # bytes; requests are a verb and a few words
_TIMEOUT = 5.0  # seconds, for the whole request and for the whole answer
_AT_ONCE = 16  # conversations; the next one waits in the kernel's queue

Answer = Callable[[Mapping[str, object]], object]


class SocketServer:
    """Listens on ``path`` and answers every request with ``answer(request)``; a ``BadInput`` becomes an error."""

    def __init__(self, path: str, answer: Answer) -> None:
        self._path = Path(path)
        self._answer = answer
        self._slots = threading.BoundedSemaphore(_AT_ONCE)
        self._socket = _listen(self._path)
        self._thread = threading.Thread(target=self._serve, name="socket", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and remove the socket file; a second call does nothing."""
        with contextlib.suppress(OSError):  # already shut down
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(_TIMEOUT)
        self._path.unlink(missing_ok=True)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return  # closed
            self._slots.acquire()
            threading.Thread(target=self._talk, args=(connection,), name="socket client", daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(_TIMEOUT)
                line = _read_line(connection)
                connection.sendall(json.dumps(self._reply(line), separators=(",", ":")).encode() + b"\n")
        except OSError as e:
            log.debug("client went away reason=%r", str(e))
        finally:
            self._slots.release()

    def _reply(self, line: bytes) -> object:
        try:
            request = json.loads(line)
        except ValueError:
            return {"error": 'expected one line of JSON such as {"verb": "paths"}'}
        if not isinstance(request, dict):
            return {"error": f"expected a JSON object, found {type(request).__name__}"}
        try:
            return self._answer(request)
        except BadInput as e:
            return {"error": str(e)}


def _read_line(connection: socket.socket) -> bytes:
    line = bytearray()
    while b"\n" not in line and len(line) <= _LONGEST_REQUEST:
        piece = connection.recv(4096)
        if not piece:
            break
        line += piece
    return bytes(line[: line.find(b"\n") + 1] if b"\n" in line else line)


def _listen(path: Path) -> socket.socket:
    """Return a listening socket at ``path``, in place of one that a dead agent left behind."""
    server = socket.socket(socket.AF_UNIX)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_socket():
            _refuse_if_alive(path)
            path.unlink()
        before = os.umask(0o177)
        try:
            server.bind(str(path))
        finally:
            os.umask(before)
        server.listen(64)
    except OSError as e:
        server.close()
        raise BadInput(
            f"cannot listen at {str(path)!r} ({e.strerror or e}): choose another path", path="socket"
        ) from e
    except BadInput:
        server.close()
        raise
    return server


def _refuse_if_alive(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return
    raise BadInput(f"another agent answers at {str(path)!r}: stop it, or choose another path", path="socket")
