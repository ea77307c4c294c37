"""A server on loopback that can be closed and opened again: closed, the kernel refuses connections."""

from __future__ import annotations

import threading
from collections.abc import Callable
from socketserver import TCPServer
from typing import TypeAlias

MakeServer: TypeAlias = Callable[[int], TCPServer]
"""Binds a server to that port of 127.0.0.1; port 0 is any free one."""


class Listener:
    """One port. Port 0 takes a free one on the first opening and keeps it."""

    def __init__(self, port: int, make: MakeServer) -> None:
        self.port = port
        self._make = make
        self._server: TCPServer | None = None
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        if self._server is None:
            self._server = self._make(self.port)
            self.port = self._server.server_address[1]
            self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
            self._thread.start()

    def close(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None
