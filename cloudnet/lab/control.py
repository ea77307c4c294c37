"""One question, one answer: JSON lines over a Unix socket, as agents and the lab's cloud speak them."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cloudnet.errors import CloudnetError
from cloudnet.lab.errors import LabError

log = logging.getLogger(__name__)

Message = Mapping[str, Any]  # JSON as it comes; whoever asks knows the shape of the answer


def ask(path: Path, message: Message, *, timeout: float = 10.0) -> dict[str, Any]:
    """Send one request and return the answer.

    Raises:
        LabError: nobody listens, the answer is no JSON object, or it is an error.
    """
    verb = message.get("verb", "")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(str(path))
            connection.sendall(json.dumps(message, default=str).encode() + b"\n")
            with connection.makefile("rb") as stream:
                line = stream.readline()
        answer = json.loads(line or b"")
    except (OSError, ValueError) as error:
        raise LabError(f"{path}: no answer to {verb!r} ({error}); is the lab up?") from error
    if not isinstance(answer, dict):
        raise LabError(f"{path}: the answer to {verb!r} is no object")
    if "error" in answer:
        raise LabError(f"{path.name}: {answer['error']}")
    return answer


class Server:
    """Answers on a Unix socket, a thread a connection, until closed."""

    def __init__(self, path: Path, answer: Callable[[Message], Message]) -> None:
        self._path = path
        self._answer = answer
        self._closing = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path.unlink(missing_ok=True)
        self._listener.bind(str(path))
        path.chmod(0o600)
        self._listener.listen(64)
        self._thread = threading.Thread(target=self._accept, name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):  # a listener that has ended already
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(timeout=5)
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rwb") as stream:
            connection.settimeout(60)
            try:
                answer = self._reply(stream.readline())
                stream.write(json.dumps(answer, default=str).encode() + b"\n")
                stream.flush()
            except OSError as error:
                log.debug("a caller went away: %s", error)

    def _reply(self, line: bytes) -> Message:
        try:
            return self._answer(json.loads(line))
        except CloudnetError as error:
            return {"error": str(error)}
        except Exception as error:  # a broken request must not end the cloud; the caller is told
            log.exception("request failed")
            return {"error": f"{type(error).__name__}: {error}"}
