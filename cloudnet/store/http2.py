"""HTTP/2 as far as watches need it: many answers that go on over one connection, read by whoever wants one of them.

``h2`` knows the protocol (docs/decisions/watches-over-http2.md); this door moves bytes between it and the socket.
There is no thread: who receives takes in what has come for all streams, and each keeps its own until it is asked.
That is bounded: what of a stream was not received is not acknowledged, and the server sends no more of it.

Whatever goes wrong leaves as ``OSError``. After GOAWAY nothing more is read: whoever watches begins anew elsewhere.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings

from cloudnet.store.connection import Answer, Endpoint, ProtocolError, left, retry_after

PROTOCOL: Final = "h2"
"""What a server says in TLS that speaks it (ALPN, RFC 9113 section 3.2)."""

_READ: Final = 65536  # bytes at a time; more than a TLS record, so that TLS keeps none back where poll does not look
_SEND_WITHIN: Final = 5.0  # seconds that a few frames may take to leave
_FIRST_WINDOW: Final = 65535  # bytes that a connection starts with (RFC 9113 section 6.9.2)
WINDOW: Final = 256 * 1024  # bytes of one stream that may wait here; a pod is about 4 KiB
_WINDOWS: Final = 64 * WINDOW  # of all: more than the streams of a watch have, so that none holds up another
_OK: Final = "200"


class Stream:
    """One answer that goes on. Ended or broken, it still gives what it had before."""

    def __init__(self, connection: SharedConnection, number: int) -> None:
        self.headers: Mapping[str, str] = {}
        self.is_complete = False
        self._connection = connection
        self._number = number
        self._parts: list[bytes] = []
        self._unread = 0  # bytes of the window, padding included
        self._broken: OSError | None = None

    def receive(self, deadline: float) -> bytes:
        """Return what the stream brings next; nothing when there is nothing until the deadline.

        Raises:
            OSError: the stream ended.
        """
        while not self.has_more and self._connection.take_in(deadline) and time.monotonic() < deadline:
            pass  # it was of other streams
        if self._parts:
            return self._taken()
        if self._broken:
            raise ConnectionResetError(str(self._broken)) from self._broken
        if self.is_complete:
            raise ConnectionResetError("the stream was ended")
        return b""

    def fileno(self) -> int:
        """Return the number of the socket, which all streams of a connection share."""
        return self._connection.fileno()

    @property
    def has_more(self) -> bool:
        """Whether ``receive`` returns or raises at once."""
        return bool(self._parts) or self.is_complete or self._broken is not None

    def shutdown(self) -> None:
        """Make whoever reads here stop at once; all other streams end as well."""
        self._connection.shutdown()

    def close(self) -> None:
        if self._unread:
            self._taken()
        self._connection.forget(self._number, cancel=not self.is_complete and self._broken is None)

    # --- for the connection -------------------------------------------------------------------------------

    def wait_for_headers(self, deadline: float) -> Mapping[str, str]:
        while not self.headers:
            self._wait(deadline)
        return self.headers

    def rest(self, deadline: float) -> bytes:
        """Return everything up to the end."""
        body = self._taken()
        while not self.is_complete:
            self._wait(deadline)
            body += self._taken()
        return body

    def take(self, event: ResponseReceived | DataReceived | StreamEnded | StreamReset) -> None:
        match event:
            case ResponseReceived():
                pairs = ((bytes(name), bytes(value)) for name, value in event.headers or ())
                self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in pairs}
            case DataReceived():
                self._parts.append(event.data or b"")
                self._unread += event.flow_controlled_length or 0
            case StreamEnded():
                self.is_complete = True
            case StreamReset():
                self.end(ConnectionResetError(f"the server gave the stream up ({_word(event.error_code)})"))

    def end(self, error: OSError) -> None:
        if not self.is_complete and self._broken is None:
            self._broken = error

    def _wait(self, deadline: float) -> None:
        if self._broken:
            raise self._broken
        if time.monotonic() >= deadline or not self._connection.take_in(deadline):
            raise TimeoutError("the answer does not come in time")

    def _taken(self) -> bytes:
        data, size = b"".join(self._parts), self._unread
        self._parts, self._unread = [], 0
        self._connection.acknowledge(self._number, size)
        return data


def _word(code: int | None) -> str:
    return code.name if isinstance(code, ErrorCodes) else str(code)


class SharedConnection:
    """A connection of many streams. Not for two threads at once; ``shutdown`` may come from any.

    ``ping_after`` is the seconds of silence after which ``look`` asks, ``pong_within`` those that an answer may take.
    """

    def __init__(self, sock: socket.socket, endpoint: Endpoint, *, ping_after: float, pong_within: float) -> None:
        self.endpoint = endpoint
        self._socket = sock
        self._ping_after = ping_after
        self._pong_within = pong_within
        self._heard_at = time.monotonic()
        self._asked_at = 0.0  # when a PING left that nothing has come after
        self._streams: dict[int, Stream] = {}
        self._over: OSError | None = None
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        wanted = {SettingCodes.ENABLE_PUSH: 0, SettingCodes.INITIAL_WINDOW_SIZE: WINDOW}
        self._h2.local_settings = Settings(client=True, initial_values=wanted)
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_WINDOWS - _FIRST_WINDOW)

    def open(
        self, path: str, headers: Sequence[str], body: bytes = b"", *, deadline: float, method: str = "GET"
    ) -> Stream | Answer:
        """Return the stream on which the answer goes on, or the answer that refuses it.

        Raises:
            OSError: there is none. The other streams go on, unless the connection ``is_over``.
        """
        stream = self._begin(path, headers, body, method)
        try:
            self._flush(deadline)
            found = stream.wait_for_headers(deadline)
            if found[":status"] == _OK:
                return stream
            wait = retry_after(found.get("retry-after", ""))
            answer = Answer(int(found[":status"]), stream.rest(deadline), reusable=True, retry_after=wait)
        except BaseException:
            stream.close()
            raise
        stream.close()
        return answer

    @property
    def has_room(self) -> bool:
        """Whether the server takes one more stream."""
        return not self.is_over and self._h2.open_outbound_streams < self._h2.remote_settings.max_concurrent_streams

    @property
    def is_over(self) -> bool:
        return self._over is not None

    @property
    def is_used(self) -> bool:
        return bool(self._streams)

    def fileno(self) -> int:
        return self._socket.fileno()

    def shutdown(self) -> None:
        """Make whoever reads or writes here stop at once."""
        with contextlib.suppress(OSError):
            # Not SSLSocket's own, which takes the TLS state away from whoever reads just now.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        self._end(ConnectionResetError("the connection was given up"))

    # --- whether it lives ---------------------------------------------------------------------------------

    @property
    def due_at(self) -> float:
        """When ``look`` has something to do."""
        if self.is_over:
            return float("inf")
        return self._asked_at + self._pong_within if self._asked_at else self._heard_at + self._ping_after

    def look(self) -> None:
        """Ask a connection that has been silent whether it lives, and end one that did not say so in time."""
        now = time.monotonic()
        if now < self.due_at:
            return
        if self._asked_at:
            self._end(TimeoutError(f"{self.endpoint} has said nothing for {now - self._heard_at:.0f} s"))
            return
        self._asked_at = now
        self._h2.ping(b"cloudnet")
        self._flush(now + _SEND_WITHIN)

    # --- for streams --------------------------------------------------------------------------------------

    def take_in(self, deadline: float) -> bool:
        """Give the streams what has come, waiting for it until the deadline; tell whether anything has."""
        try:
            self._socket.settimeout(left(deadline))
            data = self._socket.recv(_READ)
        except TimeoutError:
            return False
        except OSError as error:
            self._end(error)
            return True
        if data:
            self._heard_at, self._asked_at = time.monotonic(), 0.0
            self._hand_out(data)
        else:
            self._end(ConnectionResetError("the connection was closed"))
        return True

    def acknowledge(self, number: int, size: int) -> None:
        """Let the server send as much again."""
        if size and not self.is_over:
            self._h2.acknowledge_received_data(size, number)
            self._flush(time.monotonic() + _SEND_WITHIN)

    def forget(self, number: int, *, cancel: bool) -> None:
        if self._streams.pop(number, None) is not None and cancel and not self.is_over:
            self._h2.reset_stream(number, ErrorCodes.CANCEL)
            self._flush(time.monotonic() + _SEND_WITHIN)

    # --- inside -------------------------------------------------------------------------------------------

    def _begin(self, path: str, headers: Sequence[str], body: bytes, method: str) -> Stream:
        if self._over is not None:
            raise ConnectionResetError(str(self._over)) from self._over
        pseudo = [(":method", method), (":scheme", "https"), (":authority", str(self.endpoint)), (":path", path)]
        pairs = [line.partition(": ") for line in headers]
        try:
            number = self._h2.get_next_available_stream_id()
            fields = [*pseudo, *((name.lower(), value) for name, _, value in pairs)]
            self._h2.send_headers(number, fields, end_stream=not body)
            if body:
                self._h2.send_data(number, body, end_stream=True)
        except H2Error as error:
            raise ProtocolError(f"no stream can be opened: {error}") from error
        stream = self._streams[number] = Stream(self, number)
        return stream

    def _hand_out(self, data: bytes) -> None:
        try:
            for event in self._h2.receive_data(data):
                self._take(event)
        except H2Error as error:
            self._flush(time.monotonic() + _SEND_WITHIN)  # h2 tells the server
            self._end(ProtocolError(f"the other side does not speak HTTP/2 as we know it: {error}"))
        self._flush(time.monotonic() + _SEND_WITHIN)

    def _take(self, event: Event) -> None:
        match event:
            case ConnectionTerminated():
                self._end(ConnectionResetError("the server ends the connection"))
            case ResponseReceived() | DataReceived() | StreamEnded() | StreamReset():
                if stream := self._streams.get(event.stream_id):
                    stream.take(event)
            case _:
                pass  # settings, windows, pings: h2 sees to them

    def _flush(self, deadline: float) -> None:
        """Send what h2 has to say."""
        if self.is_over or not (data := self._h2.data_to_send()):
            return
        try:
            self._socket.settimeout(left(deadline))
            self._socket.sendall(data)
        except OSError as error:
            self._end(error)

    def _end(self, error: OSError) -> None:
        if self._over is not None:
            return
        self._over = error
        for stream in self._streams.values():
            stream.end(error)
        with contextlib.suppress(OSError):  # TLS may want to say good-bye on a connection that is gone
            self._socket.close()
