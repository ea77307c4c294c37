"""``/metrics``, ``/healthz`` and ``/readyz`` of the long-running programs, on a thread of their own.

The metrics themselves are defined beside what they count (``agent/metrics.py``, ``controller/metrics.py``) on a
registry that is passed in. Health is asked of two functions: an empty answer means fine, anything else is the
reason, and the caller gets 503 with it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address, IPv6Address

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from cloudnet.errors import BadInput

log = logging.getLogger(__name__)

_PORTS = 65535
_REQUEST_TIMEOUT = 10  # seconds; a client that stalls must not hold a thread for ever


class Server:
    """The running server; ``address`` is where it listens, with the port that was given when 0 was asked for."""

    def __init__(self, server: ThreadingHTTPServer, thread: threading.Thread) -> None:
        self._server = server
        self._thread = thread

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def close(self) -> None:
        """Stop listening and wait until the thread has gone; a second call does nothing."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve(
    address: str, registry: CollectorRegistry, *, healthy: Callable[[], str], ready: Callable[[], str]
) -> Server:
    """Listen on ``address`` (``127.0.0.1:9091``, ``[::1]:9091``) in the caller's network namespace.

    Raises:
        BadInput: the address is malformed, or nobody can listen there.
    """
    host, port = parse_address(address)
    checks = {"/healthz": healthy, "/readyz": ready}

    class Handler(_Handler):
        def answer(self) -> tuple[int, str, bytes]:
            if self.path.partition("?")[0] == "/metrics":
                encode, content_type = choose_encoder(self.headers.get("Accept", ""))
                return 200, content_type, encode(registry)
            check = checks.get(self.path)
            if check is None:
                return 404, _PLAIN, b"try /metrics, /healthz or /readyz\n"
            reason = check()
            return (503, _PLAIN, f"{reason}\n".encode()) if reason else (200, _PLAIN, b"ok\n")

    class Listener(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if isinstance(host, IPv6Address) else socket.AF_INET
        daemon_threads = True
        block_on_close = False

    try:
        server = Listener((str(host), port), Handler)
    except OSError as e:
        reason = os.strerror(e.errno) if e.errno else str(e)
        raise BadInput(
            f"cannot listen on {address!r} ({reason.lower()}): choose another address", path="metrics"
        ) from e
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, name="metrics", daemon=True)
    thread.start()
    log.debug("serving metrics address=%s:%s", *server.server_address[:2])
    return Server(server, thread)


def parse_address(text: str) -> tuple[IPv4Address | IPv6Address, int]:
    """Return host and port of ``host:port``; an IPv6 host stands in brackets.

    Raises:
        BadInput: it is not of that form.
    """
    host, _, port = text.rpartition(":")
    with contextlib.suppress(ValueError):
        bracketed = host.startswith("[") and host.endswith("]")
        address = IPv6Address(host[1:-1]) if bracketed else IPv4Address(host)
        if port.isascii() and port.isdigit() and int(port) <= _PORTS:
            return address, int(port)
    raise BadInput(
        f"expected an address and port such as 127.0.0.1:9091 or [::1]:9091, found {text!r}", path="metrics"
    )


_PLAIN = "text/plain; charset=utf-8"


class _Handler(BaseHTTPRequestHandler):
    timeout = _REQUEST_TIMEOUT
    server_version = "cloudnet"
    sys_version = ""

    def answer(self) -> tuple[int, str, bytes]:
        raise NotImplementedError

    def do_GET(self) -> None:
        status, content_type, body = self.answer()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the client hung up; it is the one who would have cared
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the name is http.server's

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        log.debug("http %s", format % args)
