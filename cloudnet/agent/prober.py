"""The UDP sockets of the probes: sends ours, answers others', hands answers on. One thread a family.

A probe arrives at an address inside one of our blocks, from its sender's tunnel address. The answer leaves from our
node's own address to the sender's node's own address: it does not test our native path, only theirs. Senders that are
not tunnel ends of known nodes get nothing, so that nobody can make us talk to a third party; nor does a probe that
came in by the overlay, for it proves nothing. A call comes from a known node's own address and is answered the same
way.
"""

from __future__ import annotations

import errno
import logging
import socket
import struct
import threading
from collections.abc import Callable, Collection
from ipaddress import ip_address

from cloudnet.agent.actions import Answered, AnswerPeers, ProbeToSend
from cloudnet.clock import Clock
from cloudnet.errors import BadInput
from cloudnet.model.addresses import Address, Family, family
from cloudnet.routes.probe import REPLIES, Packet, PacketKind, decode, encode

log = logging.getLogger(__name__)

_PKTINFO4 = struct.Struct("@i4s4s")  # struct in_pktinfo: ifindex, spec_dst, addr (linux/in.h)
_PKTINFO6 = struct.Struct("@16si")  # struct in6_pktinfo: addr, ifindex (linux/ipv6.h)
_IP_PKTINFO = 8  # linux/in.h; Python 3.11 has no name for it
_RECEIVE_BUFFER = 1 << 20  # bytes: answers of a whole interval at the full budget
_POLL = 0.5  # seconds until the thread sees that it should end


class ProbeSockets:
    """Both families' sockets on one port. ``deliver`` gets each answer, on a thread of ours."""

    def __init__(self, port: int, run: int, clock: Clock, deliver: Callable[[Answered], None]) -> None:
        self._port, self._run, self._clock, self._deliver = port, run, clock, deliver
        self._peers: dict[Address, tuple[Address, Address]] = {}  # the owner changes single entries, threads look up
        self._callers: dict[Address, Address] = {}  # their node's address -> our own
        self._overlay: frozenset[int] = frozenset()
        self._ending = threading.Event()
        opened_ones = ((version, _open(version, port)) for version in Family)
        self._sockets = {version: opened for version, opened in opened_ones if opened is not None}
        self._threads = [
            threading.Thread(target=self._listen, args=(version, opened), name=f"probes IPv{version}", daemon=True)
            for version, opened in self._sockets.items()
        ]
        for thread in self._threads:
            thread.start()

    def answer_peers(self, peers: AnswerPeers) -> None:
        """Answer these from now on, or no longer."""
        indexes = {name: index for index, name in socket.if_nameindex()}
        self._overlay = frozenset(indexes[name] for name in peers.overlay if name in indexes)
        for tunnel, pair in peers.peers.items():
            before = self._peers.pop(tunnel, None) if pair is None else self._peers.get(tunnel)
            if before is not None:
                self._callers.pop(before[1], None)
            if pair is not None:
                self._peers[tunnel] = pair
                own, theirs = pair
                self._callers[theirs] = own

    def send(self, probes: Collection[ProbeToSend]) -> int:
        """Send; return how many could not leave this host."""
        failed = 0
        for probe in probes:
            packet = Packet(probe.kind, probe.block, self._run, probe.sequence)
            failed += not self._send(packet, probe.source, probe.destination)
        return failed

    def close(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()
        for opened in self._sockets.values():
            opened.close()

    def _listen(self, version: Family, opened: socket.socket) -> None:
        while not self._ending.is_set():
            try:
                data, controls, _, sender = opened.recvmsg(256, 256)
            except TimeoutError:
                continue
            at = self._clock.now()
            packet = decode(data)
            if packet is None:
                continue
            source = ip_address(sender[0])
            if packet.kind in REPLIES:
                self._respond(packet, source, _arrived_by(version, controls))
            elif packet.run == self._run:
                self._deliver(Answered(packet.block, packet.sequence, source, at, packet.kind))

    def _respond(self, packet: Packet, source: Address, device: int) -> None:
        peer = (self._peers.get(source) if packet.kind is PacketKind.PROBE else None) or self._caller(source)
        if peer is None or device in self._overlay:
            log.debug("probe not answered source=%s device=%d block=%s", source, device, packet.block)
            return
        own, theirs = peer
        self._send(Packet(REPLIES[packet.kind], packet.block, packet.run, packet.sequence), own, theirs)

    def _caller(self, source: Address) -> tuple[Address, Address] | None:
        own = self._callers.get(source)
        return None if own is None else (own, source)

    def _send(self, packet: Packet, source: Address, destination: Address) -> bool:
        version = family(source)
        opened = self._sockets.get(version)
        if opened is None:
            return False
        try:
            opened.sendmsg([encode(packet)], [_leave_from(source)], 0, (str(destination), self._port))
        except OSError as e:
            log.debug("probe not sent block=%s destination=%s reason=%r", packet.block, destination, e.strerror)
            return False
        return True


def _open(version: Family, port: int) -> socket.socket | None:
    """Return the socket of one family; ``None`` when this kernel was built or booted without it."""
    domain = socket.AF_INET if version is Family.IPV4 else socket.AF_INET6
    try:
        opened = socket.socket(domain, socket.SOCK_DGRAM)
    except OSError as e:
        if e.errno == errno.EAFNOSUPPORT:
            return None
        raise
    try:
        if version is Family.IPV4:
            opened.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        else:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        opened.settimeout(_POLL)
        opened.bind(("", port))
    except OSError as e:
        opened.close()
        raise BadInput(
            f"cannot listen on UDP port {port} ({e.strerror}): is another agent running here?", path="probe_port"
        ) from e
    return opened


def _arrived_by(version: Family, controls: list[tuple[int, int, bytes]]) -> int:
    """Return the index of the device that a packet came in by; 0 when the kernel does not say."""
    for _, kind, data in controls:
        if version is Family.IPV4 and kind == _IP_PKTINFO:
            return int(_PKTINFO4.unpack_from(data)[0])
        if version is Family.IPV6 and kind == socket.IPV6_PKTINFO:
            return int(_PKTINFO6.unpack_from(data)[1])
    return 0


def _leave_from(source: Address) -> tuple[int, int, bytes]:
    if family(source) is Family.IPV4:
        return socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO4.pack(0, source.packed, b"\0\0\0\0")
    return socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _PKTINFO6.pack(source.packed, 0)
