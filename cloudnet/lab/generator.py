"""The two processes of the traffic generator: ``python -m cloudnet.lab.generator send|receive DESCRIPTOR``.

The sender sends on every open flow as it falls due; the receiver drains every socket a few hundred times a
second and believes the kernel's receive timestamps, so that its own pauses change nothing. Both take commands as
JSON lines on standard input, answer each with one line, and end when the input ends: nobody is left behind when
whoever started them is killed. They judge nothing; that is ``journal.judge``.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import hashlib
import json
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from cloudnet.errors import CloudnetError
from cloudnet.kernel import netns
from cloudnet.lab.journal import RING, Counter, End, Journal

Command = Mapping[str, Any]  # JSON from the process that started us; it knows what it may ask

TICK_NS = 5_000_000
DRAIN_SECONDS = 0.003
BUFFER = 4 << 20  # bytes; seconds of traffic, should a process not get a processor

PACKET = struct.Struct("!IHxxQ")  # magic, slot, sequence number
PACKET_SIZE = 64
MAGIC = 0x636C6F75
RECORD = 1024  # bytes of a stream that are checked at a time

_SO_TIMESTAMPNS = 35  # SO_TIMESTAMPNS_OLD, asm-generic/socket.h: Python does not name it
_SO_RCVBUFFORCE = 33
_SO_SNDBUFFORCE = 32
_TIMESPEC = struct.Struct("@ll")

_BODY = hashlib.shake_128(b"cloudnet").digest(1 << 16)


def record(slot: int, number: int) -> bytes:
    """Return the ``number``-th kilobyte of a stream: no two alike, so that nothing can be missing or swapped."""
    start = (number * 7919 + slot * 104729) % (len(_BODY) - RECORD)
    return PACKET.pack(MAGIC, slot, number) + _BODY[start : start + RECORD - PACKET.size]


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


# --- sending ------------------------------------------------------------------------------------------------


class Datagrams:
    """Sends one numbered packet whenever it is due."""

    def __init__(self, journal: Journal, slot: int, connection: socket.socket) -> None:
        self._connection = connection
        self._slot = slot
        self._counters = journal.counters(slot)
        self._sent = journal.sent(slot)
        self._arrived = journal.arrived(slot)
        self._packet = bytearray(PACKET_SIZE)
        self._counters[Counter.SENDER] = End.OPEN

    def send(self, now: int) -> None:
        number = self._counters[Counter.SENT]
        PACKET.pack_into(self._packet, 0, MAGIC, self._slot, number)
        self._arrived[number % RING] = 0
        self._sent[number % RING] = now
        try:
            self._connection.send(self._packet)
        except OSError:
            # An ICMP error to an earlier packet is reported here once, and this packet has not left: again.
            self._counters[Counter.REFUSED] += 1
            with contextlib.suppress(OSError):  # not sent is lost, and is judged so
                self._connection.send(self._packet)
        self._counters[Counter.SENT] = number + 1

    def close(self) -> None:
        self._counters[Counter.SENDER] = End.CLOSED
        self._connection.close()


class Stream:
    """Writes one record whenever it is due, in as many pieces as the connection takes."""

    def __init__(self, journal: Journal, slot: int, connection: socket.socket) -> None:
        self._connection = connection
        self._slot = slot
        self._counters = journal.counters(slot)
        self._sent = journal.sent(slot)
        self._arrived = journal.arrived(slot)
        self._rest = memoryview(b"")
        self._counters[Counter.SENDER] = End.OPEN

    def send(self, now: int) -> None:
        if self._counters[Counter.SENDER] != End.OPEN:
            return
        if not self._rest:
            number = self._counters[Counter.SENT]
            self._arrived[number % RING] = 0
            self._sent[number % RING] = now
            self._rest = memoryview(record(self._slot, number))
            self._counters[Counter.SENT] = number + 1
        try:
            self._rest = self._rest[self._connection.send(self._rest) :]
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOTCONN:  # still connecting
                self._counters[Counter.SENDER] = End.BROKEN

    def close(self) -> None:
        if self._counters[Counter.SENDER] == End.OPEN:
            self._counters[Counter.SENDER] = End.CLOSED
        self._connection.close()


class Sender:
    """Sends on all flows; ``open``, ``close`` and ``quit`` are its commands."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._flows: dict[int, Datagrams | Stream] = {}
        self._every: dict[int, int] = {}  # {slot: ticks}

    def command(self, command: Command) -> None:
        slot = int(command["slot"])
        if command["verb"] == "close":
            self._every.pop(slot)
            self._flows.pop(slot).close()
            return
        connection = netns.run_inside(command["namespace"], lambda: _connect(command))
        kind = Stream if command["kind"] == "tcp" else Datagrams
        self._flows[slot] = kind(self._journal, slot, connection)
        self._every[slot] = int(command["every"])

    def run(self) -> None:
        commands = Commands(self.command)
        tick = 0
        due = time.monotonic_ns()
        while True:
            pause = max(0, due - time.monotonic_ns()) / 1e9
            if select.select([sys.stdin], [], [], pause)[0]:
                if not commands.serve():
                    return
                continue
            tick += 1
            for slot, flow in self._flows.items():
                if (tick + slot) % self._every[slot] == 0:
                    flow.send(time.monotonic_ns())
            due = max(due + TICK_NS, time.monotonic_ns())  # late ticks are not made up for: no bursts


def _connect(command: Command) -> socket.socket:
    kind = socket.SOCK_STREAM if command["kind"] == "tcp" else socket.SOCK_DGRAM
    connection = socket.socket(_family(command["source"]), kind)
    try:
        if kind == socket.SOCK_DGRAM:
            connection.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, BUFFER)
        else:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.bind((command["source"], 0))
        connection.settimeout(0)
        with contextlib.suppress(BlockingIOError):  # a stream goes on connecting
            connection.connect((command["destination"], int(command["port"])))
    except OSError:
        connection.close()
        raise
    return connection


# --- receiving ----------------------------------------------------------------------------------------------


class Inbox:
    """The UDP socket of one address: writes down what arrived, and when the kernel says it did."""

    def __init__(self, journal: Journal, inbox: socket.socket) -> None:
        self._journal = journal
        self._inbox = inbox
        self._buffer = bytearray(2048)
        self._rows: dict[int, tuple[memoryview[int], memoryview[int]]] = {}

    def drain(self) -> None:
        ahead = time.time_ns() - time.monotonic_ns()  # the kernel stamps by the clock on the wall
        while True:
            try:
                size, extra, _, _ = self._inbox.recvmsg_into([self._buffer], 64)
            except BlockingIOError:
                return
            if size != PACKET_SIZE or not extra:
                continue
            magic, slot, number = PACKET.unpack_from(self._buffer)
            if magic == MAGIC:
                seconds, nanoseconds = _TIMESPEC.unpack(extra[0][2])
                self._note(slot, number, seconds * 1_000_000_000 + nanoseconds - ahead)

    def _note(self, slot: int, number: int, at: int) -> None:
        rows = self._rows.get(slot)
        if rows is None:
            rows = self._rows[slot] = self._journal.counters(slot), self._journal.arrived(slot)
        counters, arrived = rows
        if arrived[number % RING]:
            counters[Counter.DUPLICATES] += 1
            return
        arrived[number % RING] = at
        counters[Counter.ARRIVED] += 1
        if number < counters[Counter.HIGHEST]:
            counters[Counter.REORDERED] += 1
        else:
            counters[Counter.HIGHEST] = number + 1


class Reader:
    """One accepted stream: every byte is compared with what was to come."""

    def __init__(self, journal: Journal, connection: socket.socket) -> None:
        self._journal = journal
        self._connection = connection
        self._pending = bytearray()
        self._number = 0
        self._slot: int | None = None

    def drain(self) -> bool:
        """Read what is there; return whether more may come."""
        try:
            piece = self._connection.recv(1 << 16)
        except BlockingIOError:
            return True
        except OSError:
            return self._end(End.BROKEN)
        if not piece:
            return self._end(End.CLOSED)
        self._pending += piece
        while len(self._pending) >= RECORD:
            if not self._check(bytes(self._pending[:RECORD])):
                return self._end(End.CORRUPT)
            del self._pending[:RECORD]
        return True

    def _check(self, found: bytes) -> bool:
        if self._slot is None:
            magic, self._slot, _ = PACKET.unpack_from(found)
            if magic != MAGIC:
                return False
            self._journal.counters(self._slot)[Counter.RECEIVER] = End.OPEN
        if found != record(self._slot, self._number):
            return False
        self._journal.arrived(self._slot)[self._number % RING] = time.monotonic_ns()
        self._number += 1
        self._journal.counters(self._slot)[Counter.ARRIVED] = self._number
        return True

    def _end(self, how: End) -> bool:
        if self._slot is not None:
            self._journal.counters(self._slot)[Counter.RECEIVER] = how
        self._connection.close()
        return False


class Receiver:
    """Receives at all addresses; ``listen`` is its only command."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._ready = select.epoll()
        self._inboxes: dict[int, Inbox] = {}
        self._listeners: dict[int, socket.socket] = {}
        self._readers: dict[int, Reader] = {}

    def command(self, command: Command) -> None:
        inbox, listener = netns.run_inside(
            command["namespace"], lambda: _listen(command["address"], int(command["port"]))
        )
        self._inboxes[inbox.fileno()] = Inbox(self._journal, inbox)
        self._listeners[listener.fileno()] = listener
        self._ready.register(inbox, select.EPOLLIN)
        self._ready.register(listener, select.EPOLLIN)

    def run(self) -> None:
        commands = Commands(self.command)
        self._ready.register(sys.stdin, select.EPOLLIN)
        while True:
            for descriptor, _ in self._ready.poll():
                if descriptor == sys.stdin.fileno():
                    if not commands.serve():
                        return
                else:
                    self._drain(descriptor)
            time.sleep(DRAIN_SECONDS)  # many packets a waking; when they arrived, the kernel knows

    def _drain(self, descriptor: int) -> None:
        if descriptor in self._inboxes:
            self._inboxes[descriptor].drain()
        elif descriptor in self._listeners:
            connection, _ = self._listeners[descriptor].accept()
            connection.settimeout(0)
            self._readers[connection.fileno()] = Reader(self._journal, connection)
            self._ready.register(connection, select.EPOLLIN)
        elif not self._readers[descriptor].drain():
            del self._readers[descriptor]  # closed, and so no longer watched


def _listen(address: str, port: int) -> tuple[socket.socket, socket.socket]:
    inbox = socket.socket(_family(address), socket.SOCK_DGRAM)
    listener = socket.socket(_family(address), socket.SOCK_STREAM)
    try:
        inbox.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER)
        inbox.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for each in (inbox, listener):
            each.bind((address, port))
            each.settimeout(0)
        listener.listen(64)
    except OSError:
        inbox.close()
        listener.close()
        raise
    return inbox, listener


# --- both ---------------------------------------------------------------------------------------------------


class Commands:
    """Reads commands from standard input and answers each with ``{}`` or ``{"error"}`` on standard output."""

    def __init__(self, carry_out: Callable[[Command], None]) -> None:
        self._carry_out = carry_out
        self._pending = b""

    def serve(self) -> bool:
        """Take what is there; return whether more may come."""
        piece = os.read(sys.stdin.fileno(), 1 << 16)
        *lines, self._pending = (self._pending + piece).split(b"\n")
        for line in lines:
            try:
                self._carry_out(json.loads(line))
                answer = {}
            except (CloudnetError, OSError) as error:
                answer = {"error": str(error)}
            os.write(sys.stdout.fileno(), json.dumps(answer).encode() + b"\n")
        return bool(piece)


def main() -> None:
    role, descriptor = sys.argv[1], int(sys.argv[2])
    journal = Journal(descriptor)
    with contextlib.suppress(PermissionError):  # an instrument shall not wait for what it measures
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    gc.disable()  # a collection is a pause, and nothing here makes cycles
    program = Sender(journal) if role == "send" else Receiver(journal)
    program.run()


if __name__ == "__main__":
    main()
