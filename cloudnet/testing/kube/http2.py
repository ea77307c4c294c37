"""HTTP/2 before the stand-in: each stream is relayed to a handler of its own, which knows HTTP/1.1 alone.

One thread reads a connection and all of its relays, for TLS is not for two threads at once. What a client's window
does not take stays with the handler, which then waits, as one of Go's does.
"""

from __future__ import annotations

import contextlib
import select
import ssl
import threading
import time
from collections.abc import Callable
from socket import socket, socketpair
from typing import Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings

from cloudnet.store.connection import Chunks
from cloudnet.testing.kube.faults import Faults

_TURN: Final = 0.05  # seconds after which faults are looked at again
_READ: Final = 65536  # bytes
_OF_A_CONNECTION: Final = frozenset({"connection", "transfer-encoding", "content-length"})  # not of a stream


class Front:
    """One connection of a client. ``handle`` answers one HTTP/1.1 request on a socket."""

    def __init__(
        self, sock: ssl.SSLSocket, handle: Callable[[socket], None], faults: Faults, closing: threading.Event
    ) -> None:
        self._socket = sock
        self._handle = handle
        self._faults = faults
        self._closing = closing
        self._relays: dict[int, _Relay] = {}
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="latin-1"))
        wanted = {SettingCodes.MAX_CONCURRENT_STREAMS: faults.most_streams}
        self._h2.local_settings = Settings(client=False, initial_values=wanted)

    def run(self) -> None:
        """Serve until either side has enough."""
        try:
            with contextlib.suppress(OSError, H2Error):  # connections break all the time here
                self._h2.initiate_connection()
                while not self._closing.is_set() and self._turn():
                    pass
        finally:
            for number in list(self._relays):
                self._drop(number)

    def _turn(self) -> bool:
        """Do what there is to do; tell whether to go on."""
        if self._faults.frozen:
            time.sleep(_TURN)
            return True
        if not self._go_wrong():
            return False
        self._socket.sendall(self._h2.data_to_send())
        relays = {relay.socket: relay for relay in self._relays.values() if not relay.has_more}
        ready, _, _ = select.select([self._socket, *relays], [], [], 0.0 if self._socket.pending() else _TURN)
        for one in ready:
            if one is not self._socket:
                relays[one].read()
        if (self._socket in ready or self._socket.pending()) and not self._hear():
            return False
        for relay in list(self._relays.values()):
            self._say(relay)
        return True

    def _go_wrong(self) -> bool:
        """Do what tests ask for; tell whether the connection goes on."""
        if self._faults.goodbyes > 0 and self._relays:
            self._faults.goodbyes -= 1
            self._h2.close_connection()
            self._socket.sendall(self._h2.data_to_send())
            return False
        if self._faults.resets > 0 and self._relays:
            self._faults.resets -= 1
            number = min(self._relays)
            self._h2.reset_stream(number, ErrorCodes.INTERNAL_ERROR)
            self._drop(number)
        return True

    # --- from the client ----------------------------------------------------------------------------------

    def _hear(self) -> bool:
        data = self._socket.recv(_READ)
        for event in self._h2.receive_data(data):
            self._take(event)
        return bool(data)

    def _take(self, event: Event) -> None:
        match event:
            case RequestReceived():
                headers = {str(name): str(value) for name, value in event.headers or ()}
                self._relays[event.stream_id] = _Relay(event.stream_id, headers)
            case DataReceived():
                self._h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
                self._relays[event.stream_id].body += event.data or b""
            case StreamEnded():
                self._relays[event.stream_id].begin(self._handle)
            case StreamReset():
                self._drop(event.stream_id)
            case _:
                pass

    # --- to the client ------------------------------------------------------------------------------------

    def _say(self, relay: _Relay) -> None:
        """Send what a handler has said, as far as the client takes it."""
        if relay.head is not None:
            self._h2.send_headers(relay.number, relay.head)
            relay.head = None
        while relay.said and (most := self._h2.local_flow_control_window(relay.number)) > 0:
            most = min(most, self._h2.max_outbound_frame_size, relay.line)
            self._h2.send_data(relay.number, bytes(relay.said[:most]))
            del relay.said[:most]
        if relay.is_over and not relay.said:
            if relay.is_whole:
                self._h2.end_stream(relay.number)
            else:
                self._h2.reset_stream(relay.number, ErrorCodes.INTERNAL_ERROR)
            self._drop(relay.number)

    def _drop(self, number: int) -> None:
        if relay := self._relays.pop(number, None):
            relay.close()


class _Relay:
    """One stream: its request, and what its handler has said that the client has not been told."""

    def __init__(self, number: int, headers: dict[str, str]) -> None:
        self.number = number
        self.body = b""  # of the request
        self.head: list[tuple[str, str]] | None = None  # of the answer, until it is sent
        self.said = bytearray()  # of its body
        self.is_over = False
        self.socket, self._theirs = socketpair()
        self._headers = headers
        self._raw = b""
        self._chunks: Chunks | None = None
        self._left = -1  # bytes of an answer whose length is known
        self._thread: threading.Thread | None = None

    def begin(self, handle: Callable[[socket], None]) -> None:
        """Hand the request, complete by now, to a handler."""
        fields = {name: value for name, value in self._headers.items() if not name.startswith(":")}
        fields |= {"host": self._headers[":authority"], "content-length": str(len(self.body))}
        lines = [f"{self._headers[':method']} {self._headers[':path']} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + self.body)
        self._thread = threading.Thread(target=self._run, args=(handle,), name=f"stream-{self.number}")
        self._thread.start()

    def _run(self, handle: Callable[[socket], None]) -> None:
        with self._theirs, contextlib.suppress(OSError):
            handle(self._theirs)

    @property
    def has_more(self) -> bool:
        """Whether the client was not told everything yet; until then no more is read."""
        return bool(self.said) or self.is_over

    @property
    def line(self) -> int:
        """The bytes of the first event that is waiting: a frame each, as the API server flushes them."""
        return self.said.find(b"\n") + 1 or len(self.said)

    @property
    def is_whole(self) -> bool:
        return self._left == 0 or (self._chunks is not None and self._chunks.ended)

    def read(self) -> None:
        data = self.socket.recv(_READ)
        self.is_over = not data
        if self._chunks is None and self._left < 0:
            self._raw += data
            head, end, data = self._raw.partition(b"\r\n\r\n")
            if not end:
                return
            self._read_head(head.decode("latin-1"))
        if self._chunks is not None:
            self.said += self._chunks.feed(data)
        else:
            self.said += data
            self._left -= len(data)
        self.is_over = self.is_over or self.is_whole

    def _read_head(self, text: str) -> None:
        first, *lines = text.split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if fields.get("transfer-encoding") == "chunked":
            self._chunks = Chunks()
        else:
            self._left = int(fields.get("content-length", 0))
        kept = [(name, value) for name, value in fields.items() if name not in _OF_A_CONNECTION]
        self.head = [(":status", first.split(" ")[1]), *kept]

    def close(self) -> None:
        self.socket.close()
        if self._thread is not None:
            self._thread.join()
        else:
            self._theirs.close()
