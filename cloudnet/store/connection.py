"""HTTP/1.1 as far as etcd and Kubernetes' API need it: one request at a time on a kept connection, or a stream.

The standard library's client cannot write to a request while it reads the answer, which etcd's watches need, cannot
be read with a deadline or stopped by another thread, which all watches need, and takes half as long again for a small
request (docs/decisions/etcd-over-http.md, docs/decisions/kubernetes-over-http.md). No redirects, no cookies, no
compression; the other side is the server or a proxy before it.

Whatever goes wrong on the wire leaves as ``OSError`` (``ssl.SSLError`` and ``TimeoutError`` are some).
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

_JSON: Final = "application/json"
_READ: Final = 65536  # bytes at a time
_LARGEST_HEAD: Final = 65536  # bytes; etcd's answers have a few hundred
_SILENT_AFTER: Final = (
    (socket.TCP_KEEPIDLE, 15),
    (socket.TCP_KEEPINTVL, 5),
    (socket.TCP_KEEPCNT, 3),
)  # seconds, tries


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one member of the cluster listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request came to; ``retry_after`` is the seconds that the server wants us to wait, if it says so."""

    status: int
    body: bytes
    reusable: bool
    retry_after: float | None = None


class Reading(Protocol):
    """An answer that goes on, over whichever HTTP. Not for two threads at once; ``shutdown`` may come from any."""

    def receive(self, deadline: float) -> bytes:
        """Return what comes next; nothing when there is nothing until the deadline.

        Raises:
            OSError: it ended.
        """

    def fileno(self) -> int:
        """Return the number of a socket to wait at. Others may share it: one is read, then ``has_more`` tells."""

    @property
    def has_more(self) -> bool:
        """Whether there is something that has left the socket, so that waiting there would be in vain."""

    def shutdown(self) -> None:
        """Make whoever reads here stop at once."""

    def close(self) -> None: ...


class ProtocolError(OSError):
    """The other side does not speak HTTP as we know it."""


class Chunks:
    """Takes a chunked body apart (RFC 9112 section 7.1), whatever pieces it comes in."""

    def __init__(self) -> None:
        self.ended = False
        self._raw = bytearray()

    def feed(self, data: bytes) -> bytes:
        """Return what of the body is complete."""
        self._raw += data
        body = bytearray()
        while not self.ended:
            line = self._raw.find(b"\r\n")
            if line < 0:
                break
            size = _chunk_size(self._raw[:line])
            if size == 0:
                self._end(line)
                break
            end = line + 2 + size + 2
            if len(self._raw) < end:
                break
            body += self._raw[line + 2 : end - 2]
            del self._raw[:end]
        return bytes(body)

    def _end(self, line: int) -> None:
        """Pass over what may follow the empty chunk: trailers, which gRPC's status comes in, and an empty line."""
        empty = self._raw.find(b"\r\n\r\n", line)
        if empty >= 0:
            del self._raw[: empty + 4]
            self.ended = True

    @property
    def rest(self) -> bytes:
        """What came after the end."""
        return bytes(self._raw)


def _chunk_size(line: bytes | bytearray) -> int:
    try:
        return int(line.partition(b";")[0], 16)
    except ValueError:
        raise ProtocolError(f"expected the size of a chunk, found {bytes(line[:20])!r}") from None


class Connection:
    """A connection to one endpoint. Not for two threads at once; ``shutdown`` may come from any."""

    def __init__(self, sock: socket.socket, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._socket = sock
        self._rest = b""  # read, but not of the answer before
        self._chunks: Chunks | None = None

    def request(
        self,
        path: str,
        headers: Sequence[str],
        body: bytes,
        *,
        deadline: float,
        method: str = "POST",
        content_type: str = _JSON,
    ) -> Answer:
        """Send one request and return its answer."""
        lines = [f"Content-Type: {content_type}", *headers, f"Content-Length: {len(body)}"]
        self._send(self._head(method, path, lines) + body, deadline)
        return self._answer(*self._read_head(deadline), deadline)

    def open_reading(self, path: str, headers: Sequence[str], *, deadline: float) -> Answer | None:
        """Begin to read an answer that goes on, or return the one that refuses it."""
        self._send(self._head("GET", path, headers), deadline)
        status, fields = self._read_head(deadline)
        if status == 200 and fields.get("transfer-encoding") == "chunked":  # noqa: PLR2004 - OK
            self._chunks = Chunks()
            return None
        return self._answer(status, fields, deadline)

    def open_stream(self, path: str, headers: Sequence[str], *messages: bytes, deadline: float) -> Answer | None:
        """Begin a request that goes on both ways, or return the answer that refuses it.

        ``Connection: close`` is what makes Go's server answer while the request has not ended (``net/http``
        server.go: otherwise it first reads the request to its end).
        """
        lines = [f"Content-Type: {_JSON}", *headers, "Transfer-Encoding: chunked", "Connection: close"]
        self._send(self._head("POST", path, lines), deadline)
        for message in messages:
            self.send_message(message, deadline=deadline)
        status, fields = self._read_head(deadline)
        chunked = fields.get("transfer-encoding") == "chunked"
        if status == 200 and chunked:  # noqa: PLR2004 - OK
            self._chunks = Chunks()
            return None
        body = self._read_chunks(Chunks(), deadline) if chunked else self._read_rest(deadline)
        return Answer(status, body, reusable=False)

    def send_message(self, message: bytes, *, deadline: float) -> None:
        """Send one more piece of a request that was begun."""
        self._send(b"%x\r\n%b\r\n" % (len(message), message), deadline)

    def receive(self, deadline: float) -> bytes:
        """Return what the stream brings next; nothing when there is nothing until the deadline.

        Raises:
            OSError: the stream ended.
        """
        if self._chunks is None:
            raise ProtocolError("no stream was opened")
        if self._rest:
            data, self._rest = self._rest, b""
            if body := self._chunks.feed(data):
                return body
        try:
            data = self._receive(deadline)
        except TimeoutError:
            return b""
        if not data:
            raise ConnectionResetError("the connection was closed")
        body = self._chunks.feed(data)
        if self._chunks.ended and not body:
            raise ConnectionResetError("the stream was ended")
        return body

    def fileno(self) -> int:
        """Return the socket's number, to wait for several streams at once."""
        return self._socket.fileno()

    @property
    def has_more(self) -> bool:
        """Whether something has been read from the socket that no one was given yet."""
        return bool(self._rest) or (isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0)

    def is_stale(self) -> bool:
        """Tell whether the other side has closed the connection, or said something unasked."""
        try:
            return bool(select.select([self._socket], [], [], 0)[0])
        except (OSError, ValueError):
            return True

    def shutdown(self) -> None:
        """Make whoever reads or writes here stop at once."""
        with contextlib.suppress(OSError):
            # Not SSLSocket's own, which takes the TLS state away from whoever reads just now.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # TLS may want to say good-bye on a connection that is gone
            self._socket.close()

    # --- inside -----------------------------------------------------------------------------------------

    def _answer(self, status: int, fields: dict[str, str], deadline: float) -> Answer:
        close = fields.get("connection") == "close"
        wait = retry_after(fields.get("retry-after", ""))
        if fields.get("transfer-encoding") == "chunked":
            return Answer(status, self._read_chunks(Chunks(), deadline), not close, wait)
        if (length := fields.get("content-length")) is None:
            return Answer(status, self._read_rest(deadline), reusable=False, retry_after=wait)
        return Answer(status, self._read_exactly(int(length), deadline), not close, wait)

    def _head(self, method: str, path: str, headers: Sequence[str]) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.endpoint}", *headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _send(self, data: bytes, deadline: float) -> None:
        self._socket.settimeout(left(deadline))
        self._socket.sendall(data)

    def _receive(self, deadline: float) -> bytes:
        self._socket.settimeout(left(deadline))
        return self._socket.recv(_READ)

    def _more(self, deadline: float) -> bytes:
        data = self._receive(deadline)
        if not data:
            raise ConnectionResetError("the connection was closed before the answer was complete")
        return data

    def _read_head(self, deadline: float) -> tuple[int, dict[str, str]]:
        data = self._rest
        while (end := data.find(b"\r\n\r\n")) < 0:
            if len(data) > _LARGEST_HEAD:
                raise ProtocolError("the answer's head does not end")
            data += self._more(deadline)
        self._rest = data[end + 4 :]
        first, *lines = data[:end].decode("latin-1").split("\r\n")
        words = first.split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():  # noqa: PLR2004 - version, status
            raise ProtocolError(f"expected an HTTP answer, found {first[:40]!r}")
        pairs = (line.partition(":") for line in lines)
        return int(words[1]), {name.lower(): value.strip().lower() for name, _, value in pairs}

    def _read_exactly(self, length: int, deadline: float) -> bytes:
        parts, have = [self._rest], len(self._rest)
        while have < length:
            parts.append(self._more(deadline))
            have += len(parts[-1])
        data = b"".join(parts)
        self._rest = data[length:]
        return data[:length]

    def _read_chunks(self, chunks: Chunks, deadline: float) -> bytes:
        body = [chunks.feed(self._rest)]
        self._rest = b""
        while not chunks.ended:
            body.append(chunks.feed(self._more(deadline)))
        self._rest = chunks.rest
        return b"".join(body)

    def _read_rest(self, deadline: float) -> bytes:
        parts = [self._rest]
        self._rest = b""
        while data := self._receive(deadline):
            parts.append(data)
        return b"".join(parts)


def left(deadline: float) -> float:
    """Return the seconds until a deadline, as a socket takes them."""
    # 0 would mean not to wait at all, and to fail with another error.
    return max(deadline - time.monotonic(), 1e-4)


def retry_after(value: str) -> float | None:
    """Return the seconds of a ``Retry-After``; nothing of a date, which neither of our servers sends."""
    return float(value) if value.isdecimal() else None


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that tunnels to what ``CONNECT`` names; ``authorization`` is its header's value, if it wants one."""

    endpoint: Endpoint
    authorization: str = field(default="", repr=False)


def begun(connection: Connection, ask: Callable[[Connection], Answer | None]) -> Connection | Answer:
    """Return the connection on which an answer goes on, or the answer that refuses it; then it is closed.

    ``ask`` returns nothing where the answer goes on.
    """
    try:
        answer = ask(connection)
    except BaseException:
        connection.close()
        raise
    if answer is None:
        return connection
    connection.close()
    return answer


def connect(
    endpoint: Endpoint,
    tls: ssl.SSLContext | None,
    *,
    timeout: float,
    server_name: str = "",
    proxy: Proxy | None = None,
) -> socket.socket:
    """Return a new socket, TLS spoken; its ``selected_alpn_protocol`` says what the server chose, if asked.

    ``server_name`` is whose certificate is expected, if not the endpoint's host's.
    """
    first = proxy.endpoint if proxy else endpoint
    plain = socket.create_connection((first.host, first.port), timeout)
    try:
        if proxy:
            _tunnel(plain, endpoint, proxy)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _SILENT_AFTER:
            plain.setsockopt(socket.IPPROTO_TCP, option, value)
        return plain if tls is None else tls.wrap_socket(plain, server_hostname=server_name or endpoint.host)
    except BaseException:
        plain.close()
        raise


def _tunnel(plain: socket.socket, endpoint: Endpoint, proxy: Proxy) -> None:
    """Ask a proxy for a tunnel (RFC 9110 section 9.3.6); it sends nothing after its answer's head."""
    lines = [f"CONNECT {endpoint} HTTP/1.1", f"Host: {endpoint}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    plain.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = plain.recv(1)
        if not byte or len(head) > _LARGEST_HEAD:
            raise ProtocolError(f"proxy {proxy.endpoint} gives no tunnel")
        head += byte
    if head.split(b" ", 2)[1:2] != [b"200"]:
        raise ProtocolError(f"proxy {proxy.endpoint} refuses a tunnel: {head.splitlines()[0][:80].decode('latin-1')}")
