"""BIRD's control socket: one command, one answer."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from cloudnet.bgp import answers
from cloudnet.bgp.answers import Line
from cloudnet.bgp.api import BirdRefused, BirdUnreachable

PATIENCE: Final = 10.0  # seconds for an answer: reading ten thousand sessions takes a moment
_LONGEST: Final = 64 * 1024 * 1024  # bytes of an answer; more is nonsense
_GREETING: Final = 1


class NotRunning(BirdUnreachable):
    """There is nobody at the socket at all: one may be started."""


def ask(path: Path, command: str) -> Sequence[Line]:
    """Return the answer to a command.

    Raises:
        BirdRefused: the answer is an error.
        NotRunning: nobody listens at the socket.
        BirdUnreachable: somebody does, and does not answer.
    """
    if "\n" in command:
        raise ValueError(f"expected one command, found {command!r}")
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(PATIENCE)
        try:
            connection.connect(str(path))
        except OSError as e:
            raise NotRunning(f"no BIRD listens at {path} ({(e.strerror or str(e)).lower()})") from e
        try:
            connection.sendall(f"{command}\n".encode())
            lines = [one for one in _lines(connection) if one.code != _GREETING]
        except OSError as e:
            raise BirdUnreachable(f"BIRD at {path} does not answer {command!r} ({str(e).lower()})") from e
    if lines[-1].failed:
        raise BirdRefused(f"BIRD refuses {command.partition(' ')[0]!r}: {lines[-1].text}")
    return lines


def _lines(connection: socket.socket) -> Iterator[Line]:
    """Yield the lines of the greeting and of one answer.

    Raises:
        OSError: the connection ended before the answer did.
    """
    buffer, read, code = b"", 0, 0
    while True:
        piece = connection.recv(65536)
        read += len(piece)
        if not piece or read > _LONGEST:
            raise OSError("the answer has no end")
        *whole, buffer = (buffer + piece).split(b"\n")
        for text in whole:
            found = answers.line(text.decode(errors="replace"), code)
            code = found.code
            yield found
            if found.last and code != _GREETING:
                return
