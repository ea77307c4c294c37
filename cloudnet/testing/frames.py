"""Packets as bytes: what a test sends, and how it knows them again.

Every packet ends in eight bytes of ours, a magic word and its number, also as SCTP (there they are the last fields of
an INIT chunk), so that whoever receives it can tell which one it is without parsing.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address
from typing import Final

from cloudnet.policy.packets import ConnectionState, Packet
from cloudnet.policy.rules import ICMP, ICMPV6, SCTP, TCP, UDP

MAGIC: Final = 0x636C6E74
TAIL: Final = 8
ETHERTYPES: Final = {4: 0x0800, 6: 0x86DD}
_SYN, _SYN_ACK = 0x02, 0x12
_HOPS: Final = {4: 64, 6: 255}  # RFC 4861: neighbour discovery counts only with 255


def ethernet(destination: str, source: str, packet: bytes) -> bytes:
    macs = bytes.fromhex((destination + source).replace(":", ""))
    return macs + struct.pack("!H", ETHERTYPES[packet[0] >> 4]) + packet


def build(packet: Packet, number: int) -> bytes:
    """Return an IP packet with valid checksums; TCP is a SYN, or the answer to one if the connection stands."""
    sent = packet.unnatted()
    transport = _transport(sent, number)
    length = len(transport)
    source, destination = sent.source.packed, sent.destination.packed
    if isinstance(sent.source, IPv4Address):
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, number & 0xFFFF, 0x4000, _HOPS[4], sent.protocol, 0)
        checksum = _checksum(head + source + destination)
        return head[:10] + struct.pack("!H", checksum) + source + destination + transport
    return struct.pack("!IHBB", 6 << 28, length, sent.protocol, _HOPS[6]) + source + destination + transport


def number_of(received: bytes) -> int | None:
    """Return the number of one of our packets, whole or from its transport header on."""
    if len(received) < TAIL:
        return None
    magic, number = struct.unpack("!II", received[-TAIL:])
    return int(number) if magic == MAGIC else None


def _transport(packet: Packet, number: int) -> bytes:
    tail = struct.pack("!II", MAGIC, number)
    ports = struct.pack("!HH", packet.from_port or 0, packet.to_port or 0)
    if packet.protocol == TCP:
        flags = _SYN_ACK if packet.state is ConnectionState.ESTABLISHED else _SYN
        body = ports + struct.pack("!IIBBHHH", 1, 2, 5 << 4, flags, 65535, 0, 0) + tail
        return _with_checksum(packet, body, at=16)
    if packet.protocol == UDP:
        return _with_checksum(packet, ports + struct.pack("!HH", 8 + len(tail), 0) + tail, at=6)
    if packet.protocol == SCTP:  # RFC 9260 section 3.3.2: INIT; its checksum is not looked at in the lab
        init = struct.pack("!BBHII", 1, 0, 20, 7, 65535)
        return ports + struct.pack("!II", 0, 0) + init + tail
    if packet.icmp is not None:
        body = struct.pack("!BBHHH", packet.icmp.type, packet.icmp.code or 0, 0, number & 0xFFFF, 1)
        body += bytes(16) + tail  # as long as a neighbour solicitation
        if packet.protocol == ICMP:
            return _filled(body, _checksum(body), at=2)
        return _with_checksum(packet, body, at=2) if packet.protocol == ICMPV6 else body
    return bytes(8) + tail


def _with_checksum(packet: Packet, body: bytes, *, at: int) -> bytes:
    pseudo = packet.source.packed + packet.destination.packed + struct.pack("!II", len(body), packet.protocol)
    return _filled(body, _checksum(pseudo + body), at=at)


def _filled(body: bytes, checksum: int, *, at: int) -> bytes:
    return body[:at] + struct.pack("!H", checksum) + body[at + 2 :]


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF or 0xFFFF
