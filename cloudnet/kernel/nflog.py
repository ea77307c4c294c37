"""Packets that rules with ``log group N`` report: read from one nfnetlink_log group, told in few words.

struct nfgenmsg { __u8 nfgen_family, version; __be16 res_id; };  res_id is the group. linux/netfilter/nfnetlink_log.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from cloudnet.kernel import wire
from cloudnet.kernel.api import KernelError
from cloudnet.kernel.nfnetlink import NETLINK_NETFILTER
from cloudnet.kernel.rtnetlink import read_refusal
from cloudnet.model.addresses import Address

_SUBSYSTEM: Final = 4  # NFNL_SUBSYS_ULOG
_PACKET, _CONFIG = _SUBSYSTEM << 8, _SUBSYSTEM << 8 | 1  # NFULNL_MSG_*
_COMMAND, _MODE, _THRESHOLD = 1, 2, 5  # NFULA_CFG_*
_BIND, _COPY = 1, 2  # NFULNL_CFG_CMD_BIND, NFULNL_COPY_PACKET
_PAYLOAD, _PREFIX = 9, 10  # NFULA_*
_HEADERS: Final = 128  # bytes of a packet: enough for its addresses and ports
_DATAGRAM: Final = 64 << 10
_WITH_PORTS: Final = frozenset({6, 17, 132, 136})
_ICMP: Final = frozenset({1, 58})
_EXTENSIONS: Final = frozenset({0, 43, 60})  # hop-by-hop, routing, destination options (RFC 8200)


@dataclass(frozen=True, slots=True)
class Logged:
    """One packet and the prefix of the rule that reported it. ``port`` is the destination's, or the ICMP type."""

    prefix: str
    source: Address
    destination: Address
    protocol: int
    port: int | None


class NflogSocket:
    """Listens to one group in the calling thread's namespace."""

    def __init__(self, group: int) -> None:
        """Bind the group.

        Raises:
            KernelError: it is somebody else's, or the kernel has no nfnetlink_log.
        """
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        try:
            self._socket.bind((0, 0))
            self._socket.settimeout(5.0)
            for body in (
                wire.attribute(_COMMAND, bytes([_BIND])),
                wire.attribute(_MODE, struct.pack(">IBx", _HEADERS, _COPY)),
                wire.attribute(_THRESHOLD, struct.pack(">I", 1)),  # tell each at once
            ):
                self._ask(struct.pack(">BBH", 0, 0, group) + body, group)
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def read(self, timeout: float) -> list[Logged]:
        """Return what was reported, nothing after ``timeout`` seconds without; what came too fast is lost."""
        self._socket.settimeout(timeout)
        try:
            data = self._socket.recv(_DATAGRAM)
        except (TimeoutError, OSError) as e:
            if isinstance(e, TimeoutError) or e.errno == _NO_BUFFERS:
                return []
            raise KernelError(f"cannot read logged packets: {e.strerror}", errno=e.errno or 0) from e
        return list(_read(data))

    def _ask(self, body: bytes, group: int) -> None:
        self._socket.send(wire.HEADER.pack(16 + len(body), _CONFIG, wire.NLM_F_REQUEST | wire.NLM_F_ACK, 1, 0) + body)
        for kind, flags, _, answer in wire.messages(self._socket.recv(_DATAGRAM)):
            why = read_refusal(flags, answer) if kind == wire.NLMSG_ERROR else None
            if why is not None:
                raise KernelError(f"cannot listen to NFLOG group {group}: {why}", errno=why.errno)


_NO_BUFFERS: Final = 105  # ENOBUFS


def _read(data: bytes) -> Iterator[Logged]:
    for kind, _, _, body in wire.messages(data):
        if kind == _PACKET:
            found = wire.attributes(body, 4)
            prefix = bytes(found.get(_PREFIX, b"")).rstrip(b"\0").decode(errors="replace")
            told = describe(prefix, bytes(found.get(_PAYLOAD, b"")))
            if told is not None:
                yield told


def describe(prefix: str, packet: bytes) -> Logged | None:
    """Read a packet's headers; nothing if it is no IP packet, or cut off."""
    try:
        if packet[0] >> 4 == 4:  # noqa: PLR2004 - IPv4
            source, destination = packet[12:16], packet[16:20]
            protocol, rest = packet[9], packet[(packet[0] & 15) * 4 :]
        else:
            source, destination = packet[8:24], packet[24:40]
            protocol, rest = packet[6], packet[40:]
            while protocol in _EXTENSIONS:
                protocol, rest = rest[0], rest[(rest[1] + 1) * 8 :]
        port = None
        if protocol in _WITH_PORTS:
            port = int.from_bytes(rest[2:4], "big")
        elif protocol in _ICMP:
            port = rest[0]
        return Logged(prefix, ip_address(source), ip_address(destination), protocol, port)
    except (IndexError, ValueError):
        return None
