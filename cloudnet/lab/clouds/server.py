"""HTTP on loopback for a simulated cloud: one side for its account, one for outsiders."""

from __future__ import annotations

import contextlib
import socket
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cloudnet.lab.clouds.listener import MakeServer
from cloudnet.lab.clouds.simulator import Answer, Simulator

_BITS = 20  # that a slow body comes in


def serving(simulator: Simulator, *, outsider: bool) -> MakeServer:
    """Return what binds a server of one side to a port."""

    class _Handler(_Exchange):
        side = simulator, outsider

    def make(port: int) -> ThreadingHTTPServer:
        return _Server(("127.0.0.1", port), _Handler)

    return make


class _Server(ThreadingHTTPServer):
    """Ends its connections when it closes: a client that keeps one open shall notice that the API is down."""

    daemon_threads = True
    block_on_close = False  # that a slow body is on its way keeps nobody waiting
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(address, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, peer = super().get_request()
        self._connections.add(connection)
        return connection, peer

    def shutdown_request(self, request: Any) -> None:  # as the base class has it: a socket
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        for connection in tuple(self._connections):
            with contextlib.suppress(OSError):  # it has just ended by itself
                connection.shutdown(socket.SHUT_RDWR)


class _Exchange(BaseHTTPRequestHandler):
    """Reads requests and writes answers; a connection is kept for the next."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # unbuffered, every header is a packet of its own, and Nagle holds each back for 40 ms
    timeout = 30  # seconds for an idle connection
    side: tuple[Simulator, bool]

    def _serve(self) -> None:
        simulator, outsider = self.side
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        answer = simulator.handle(self.command, self.path, dict(self.headers), body, outsider=outsider)
        if answer.lost:
            self.close_connection = True
            return
        self._send(answer)

    # The base class names its methods so.
    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = do_HEAD = _serve  # noqa: N815

    def _send(self, answer: Answer) -> None:
        payload = answer.payload
        self.send_response(answer.status)
        if payload and "Content-Type" not in answer.headers:
            self.send_header("Content-Type", "application/json; charset=utf-8")
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        if answer.slow:
            self._drip(payload, answer.slow)
        else:
            self.wfile.write(payload)

    def _drip(self, payload: bytes, seconds: float) -> None:
        size = max(1, -(-len(payload) // _BITS))
        try:
            for at in range(0, len(payload), size):
                self.wfile.write(payload[at : at + size])
                self.wfile.flush()
                time.sleep(seconds / _BITS)
        except OSError:  # the caller lost patience
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing: calls are counted."""
