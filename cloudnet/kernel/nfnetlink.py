"""One nfnetlink socket for batches: nf_tables carries out all messages between a begin and an end, or none.

The kernel works through a batch, and only after its end or its failure answers with every refusal; the last message
asks for an answer, so that success is heard as well (``nfnetlink_rcv_batch``, net/netfilter/nfnetlink.c).
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Mapping, Sequence

from cloudnet.kernel import netns, wire
from cloudnet.kernel.api import KernelError
from cloudnet.kernel.rtnetlink import Refusal, read_refusal
from cloudnet.kernel.wire import Request

NETLINK_NETFILTER = 12  # linux/netlink.h
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11  # NFNL_MSG_BATCH_*, linux/netfilter/nfnetlink.h
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 270, 10, 11
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33  # asm-generic/socket.h
_LEAST_BUFFER = 1 << 20  # bytes
_ANSWERS = 4 << 20  # bytes of receive buffer: some thousand refusals of one batch
_DATAGRAM = 64 << 10
_TIMEOUT = 30.0  # seconds; a batch may wait for others' and for every CPU to leave the old rules (RCU)


class BatchSocket:
    """A socket of NETLINK_NETFILTER in the calling thread's namespace. Use it from one thread at a time."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        try:
            self._socket.bind((0, 0))
            for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK):
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
            self._room = 0
            self._enlarge(_LEAST_BUFFER)
            self._set_buffer(_SO_RCVBUFFORCE, socket.SO_RCVBUF, _ANSWERS)
            self._socket.settimeout(_TIMEOUT)
            self.namespace = netns.of_socket(self._socket)
        except BaseException:
            self._socket.close()
            raise
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def carry_out(self, subsystem: int, requests: Sequence[Request]) -> Mapping[int, Refusal]:
        """Carry all out or none; return ``{position: why}`` of those refused, ``{-1: why}`` if the whole was.

        Raises:
            KernelError: the kernel does not answer.
        """
        if not requests:
            return {}
        first = self._sequence + 1
        self._sequence = (first + len(requests) + 1) % (1 << 31)
        # struct nfgenmsg; of a batch, res_id names the subsystem
        general = struct.pack(">BBH", 0, 0, subsystem)
        parts = [_message(_BATCH_BEGIN, 0, first, general)]
        for position, request in enumerate(requests, start=1):
            flags = request.flags | (wire.NLM_F_ACK if position == len(requests) else 0)
            parts.append(_message(request.kind, flags, first + position, request.body))
        parts.append(_message(_BATCH_END, 0, first + len(requests) + 1, general))
        data = b"".join(parts)
        self._enlarge(len(data) + (len(data) >> 2))
        try:
            self._socket.send(data)
        except OSError as e:
            raise KernelError(f"cannot write to nf_tables: {e.strerror}", errno=e.errno or 0) from e
        return self._answers(first, len(requests))

    def _answers(self, first: int, number: int) -> Mapping[int, Refusal]:
        refused: dict[int, Refusal] = {}
        while True:
            try:
                data = self._socket.recv(_DATAGRAM)
            except OSError as e:
                if e.errno == errno.ENOBUFS:  # more refusals than the buffer holds: refused it was
                    return refused | {-1: Refusal(errno.ENOBUFS, "the kernel's answers were lost")}
                raise KernelError(f"nf_tables does not answer: {e.strerror or e}", errno=e.errno or 0) from e
            for kind, flags, sequence, body in wire.messages(data):
                position = sequence - first - 1
                if kind != wire.NLMSG_ERROR or not -1 <= position < number:
                    continue  # left over from a call that an exception broke off
                why = read_refusal(flags, body)
                if why is not None:
                    refused[position] = why
                if position in {-1, number - 1}:
                    return refused

    def _enlarge(self, size: int) -> None:
        """A batch is one datagram, and the send buffer must hold it whole."""
        if size > self._room:
            self._set_buffer(_SO_SNDBUFFORCE, socket.SO_SNDBUF, size)
            self._room = size

    def _set_buffer(self, forced: int, allowed: int, size: int) -> None:
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, forced, size)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, allowed, size)


def _message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return wire.HEADER.pack(16 + len(body), kind, flags | wire.NLM_F_REQUEST, sequence, 0) + body
