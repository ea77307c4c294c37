"""A process that sends frames over and over, while its parent changes the rules in their way.

It is one of its own, for no thread of a busy Python sends in the very moment between two calls of another. Frames
come on standard input, one line each: ``DESCRIPTOR HEX``, then an empty line. It sends them in turn, the last four
bytes replaced by a running number, until it has sent as many as it may or the input ends, and prints how many.
"""

from __future__ import annotations

import select
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class Flood:
    """Frames under way. Number ``n`` is frame ``n % len(frames)``."""

    def __init__(self, frames: Sequence[tuple[socket.socket, bytes]], most: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cloudnet.testing.flood", str(most)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=tuple({opened.fileno() for opened, _ in frames}),
            text=True,
        )
        assert self._process.stdin
        assert self._process.stdout
        for opened, frame in frames:
            self._process.stdin.write(f"{opened.fileno()} {frame.hex()}\n")
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self._process.stdout.readline()  # it has begun

    def end(self) -> int:
        """Return how many frames were sent."""
        output, _ = self._process.communicate()
        return int(output)


@contextmanager
def flooding(frames: Sequence[tuple[socket.socket, bytes]], most: int) -> Iterator[Flood]:
    flood = Flood(frames, most)
    try:
        yield flood
    finally:
        if flood._process.poll() is None:  # noqa: SLF001 - it is this file's own
            flood._process.kill()  # noqa: SLF001
            flood._process.communicate()  # noqa: SLF001


def main() -> None:
    frames = []
    sockets: dict[str, socket.socket] = {}
    while line := sys.stdin.readline().strip():
        descriptor, text = line.split()
        if descriptor not in sockets:
            sockets[descriptor] = socket.socket(fileno=int(descriptor))
        frames.append((sockets[descriptor], bytearray.fromhex(text)))
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    sent, most = 0, int(sys.argv[1])
    while sent < most and not select.select([sys.stdin], [], [], 0)[0]:
        for opened, frame in frames:
            struct.pack_into("!I", frame, len(frame) - 4, sent)
            opened.send(frame)
            sent += 1
    sys.stdout.write(f"{sent}\n")


if __name__ == "__main__":
    main()
