"""One rtnetlink socket: many requests in one system call, each with its own outcome; dumps; multicast groups.

It knows framing and errors, not what messages mean, so other netlink protocols whose requests go one by one speak
through it, too. A socket belongs to one network namespace for ever, the one that its opening thread was in; it says
which, so that nobody has to trust the thread that uses it later.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import socket
import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from cloudnet.kernel import netns, wire
from cloudnet.kernel.api import HostNamespace, KernelError
from cloudnet.kernel.wire import Request

_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 1, 10, 11, 12
_SO_RCVBUFFORCE, _SO_ATTACH_FILTER = 33, 26  # asm-generic/socket.h

_RECEIVE_BUFFER = 8 << 20  # bytes; holds the kernel's notes of some 5,000 changes by others before we look
_ANSWER_COST = 2048  # bytes of receive buffer that one refusal takes at most, skb and all
_MOST_REQUESTS = 1000  # in one system call; the kernel holds the rtnl lock for each request alone
_MOST_BYTES = 64 << 10  # in one system call; far below the least send buffer
_DATAGRAM = 64 << 10  # the kernel's dumps come in at most 32 KiB
_TRIES = 10  # of a dump that others' changes interrupted
_TIMEOUT = 10.0  # seconds; the kernel answers within the system call unless it is in deep trouble


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the kernel did not do it; ``text`` is its own explanation, often empty."""

    errno: int
    text: str = ""

    def __str__(self) -> str:
        return f"{os.strerror(self.errno)} ({self.text})" if self.text else os.strerror(self.errno)


class Socket:
    """A socket in the calling thread's namespace, of NETLINK_ROUTE at first. Use it from one thread at a time."""

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        try:
            self._socket.bind((0, 0))
            for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
            _enlarge(self._socket)
            self._socket.settimeout(_TIMEOUT)
            self.port: int = self._socket.getsockname()[0]
            self.namespace = netns.of_socket(self._socket)
        except BaseException:
            self._socket.close()
            raise
        room = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self._most = max(1, min(_MOST_REQUESTS, room // _ANSWER_COST))
        self._sequence = 0

    @classmethod
    def within(cls, namespace: netns.Namespace, protocol: int = socket.NETLINK_ROUTE) -> Self:
        """Open a socket that is proven to be in a network namespace.

        Raises:
            HostNamespace: the calling thread is in another one, so the socket would be; it is closed again.
        """
        opened = cls(protocol)
        if opened.namespace != namespace:
            opened.close()
            raise HostNamespace("the netlink socket is in another network namespace than its thread: nothing done")
        return opened

    def close(self) -> None:
        self._socket.close()

    def carry_out(self, requests: Sequence[Request]) -> Mapping[int, Refusal]:
        """Send all, in order; return ``{position: why}`` of those that the kernel refused.

        Only the last message of a system call asks for an answer: refusals are answered unasked, and since the
        kernel works through messages in order, the last answer means that there are no more.

        Raises:
            KernelError: the kernel does not answer.
        """
        refused: dict[int, Refusal] = {}
        start = 0
        while start < len(requests):
            start = self._send_some(requests, start, refused)
        return refused

    def _send_some(self, requests: Sequence[Request], start: int, refused: dict[int, Refusal]) -> int:
        pack = wire.HEADER.pack
        first = self._next_sequence(self._most)
        parts: list[bytes] = []
        size, at = 0, start
        last = min(len(requests), start + self._most)
        while at < last and size < _MOST_BYTES:
            request = requests[at]
            length = 16 + len(request.body)
            at += 1
            more = at < last and size + length < _MOST_BYTES
            flags = request.flags | (wire.NLM_F_REQUEST if more else wire.NLM_F_REQUEST | wire.NLM_F_ACK)
            parts += (pack(length, request.kind, flags, first + at - start - 1, 0), request.body)
            size += length
        self._send(b"".join(parts))
        for offset, refusal in self._answers(first, at - start).items():
            refused[start + offset] = refusal
        return at

    def _answers(self, first: int, number: int) -> dict[int, Refusal]:
        refused: dict[int, Refusal] = {}
        while True:
            try:
                data = self._socket.recv(_DATAGRAM)
            except OSError as e:
                if e.errno == errno.ENOBUFS:  # some refusals are lost: nobody knows which requests they were for
                    lost = Refusal(errno.ENOBUFS, "the kernel's answers were lost")
                    return {offset: refused.get(offset, lost) for offset in range(number)}
                raise _silent(e) from e
            for kind, flags, sequence, body in wire.messages(data):
                offset = sequence - first
                if kind != wire.NLMSG_ERROR or not 0 <= offset < number:
                    continue  # left over from a call that an exception broke off
                refusal = read_refusal(flags, body)
                if refusal is not None:
                    refused[offset] = refusal
                if offset == number - 1:
                    return refused

    def ask(self, kind: int, body: bytes) -> bytes | Refusal:
        """Return the body of the one answer to one question."""
        sequence = self._next_sequence(1)
        self._send(wire.HEADER.pack(16 + len(body), kind, wire.NLM_F_REQUEST, sequence, 0) + body)
        while True:
            for answer, flags, seen, content in wire.messages(self._receive()):
                if seen != sequence:
                    continue
                if answer != wire.NLMSG_ERROR:
                    return content
                return read_refusal(flags, content) or Refusal(errno.ENOENT)

    def dump(self, kind: int, body: bytes) -> Sequence[bytes]:
        """Return the bodies of all that the kernel has of a kind; read again when it changed meanwhile.

        Raises:
            KernelError: the kernel refused, or the answer never came to rest.
        """
        for _ in range(_TRIES):
            found = self._dump_once(kind, body)
            if found is not None:
                return found
        raise KernelError("the kernel's tables change too fast to be read: try again", errno=errno.EINTR)

    def _dump_once(self, kind: int, body: bytes) -> list[bytes] | None:
        sequence = self._next_sequence(1)
        flags = wire.NLM_F_REQUEST | wire.NLM_F_DUMP
        self._send(wire.HEADER.pack(16 + len(body), kind, flags, sequence, 0) + body)
        found: list[bytes] = []
        whole = True
        while True:
            for answer, flags, seen, content in wire.messages(self._receive()):
                if seen != sequence:
                    continue
                whole = whole and not flags & wire.NLM_F_DUMP_INTR
                if answer in {wire.NLMSG_DONE, wire.NLMSG_ERROR}:
                    refusal = read_refusal(flags, content)
                    if refusal is not None:
                        raise KernelError(f"cannot read kernel tables: {refusal}", errno=refusal.errno)
                    return found if whole else None
                found.append(content)

    def _next_sequence(self, number: int) -> int:
        """Reserve sequence numbers; they begin anew before they would overflow 32 bits."""
        if self._sequence + number >= 1 << 32:
            self._sequence = 0
        first = self._sequence + 1
        self._sequence += number
        return first

    def _send(self, data: bytes) -> None:
        try:
            self._socket.send(data)
        except OSError as e:
            raise KernelError(f"cannot write to the kernel: {e.strerror}", errno=e.errno or 0) from e

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(_DATAGRAM)
        except OSError as e:
            raise _silent(e) from e


class Listener:
    """Hears multicast groups, but nothing that came of a request by the socket with port ``deaf_to``."""

    def __init__(self, groups: Collection[int], *, deaf_to: int) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        try:
            self._socket.bind((0, 0))
            _enlarge(self._socket)
            _attach_filter(self._socket, deaf_to)
            for group in groups:
                self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
            self.namespace = netns.of_socket(self._socket)
        except BaseException:
            self._socket.close()
            raise
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def hear(self, timeout: float) -> Sequence[tuple[int, int, bytes]] | None:
        """Return ``(type, flags, body)`` of one datagram's messages; empty after ``timeout`` seconds without any.

        ``None``: there was more than the buffer holds, so anything may have changed.
        """
        if not self._poll.poll(max(0.0, timeout) * 1000):
            return ()
        try:
            data = self._socket.recv(_DATAGRAM)
        except BlockingIOError:
            return ()
        except OSError as e:
            if e.errno == errno.ENOBUFS:
                return None
            raise _silent(e) from e
        return [(kind, flags, body) for kind, flags, _, body in wire.messages(data)]

    def close(self) -> None:
        self._socket.close()


def read_refusal(flags: int, body: bytes) -> Refusal | None:
    """Read NLMSG_ERROR or NLMSG_DONE; ``None`` is success. With NETLINK_CAP_ACK only the header is quoted back."""
    number = -wire.ERROR.unpack_from(body)[0] if len(body) >= wire.ERROR.size else 0
    if number <= 0:
        return None
    text = b""
    if flags & wire.NLM_F_ACK_TLVS:
        text = wire.attributes(body, 4 + 16).get(wire.NLMSGERR_ATTR_MSG, b"")
    return Refusal(number, text.rstrip(b"\0").decode(errors="replace"))


def _silent(cause: OSError) -> KernelError:
    return KernelError(f"the kernel does not answer: {cause.strerror or cause}", errno=cause.errno or 0)


def _enlarge(opened: socket.socket) -> None:
    """Ask for a large receive buffer; without CAP_NET_ADMIN over the machine, for what it allows to everybody."""
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
    except PermissionError:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)


def _attach_filter(opened: socket.socket, port: int) -> None:
    """Let the kernel itself drop messages whose ``nlmsg_pid`` is ``port``, before they take room in the buffer.

    struct sock_filter { __u16 code; __u8 jt, jf; __u32 k; }; struct sock_fprog { unsigned short len; *filter; };
    linux/filter.h. The filter machine loads in network byte order, netlink writes in the host's.
    """
    swapped = int.from_bytes(wire.U32.pack(port), "big")
    program = b"".join(
        struct.pack("=HBBI", *step)
        for step in (
            (0x20, 0, 0, 12),  # ld [12]: nlmsg_pid
            (0x15, 0, 1, swapped),  # jeq port
            (0x06, 0, 0, 0),  # ret 0: drop
            (0x06, 0, 0, 0xFFFFFFFF),  # ret all: keep
        )
    )
    buffer = ctypes.create_string_buffer(program, len(program))
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 4, ctypes.addressof(buffer)))
