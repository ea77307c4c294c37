"""The kernel as judge of policy: a node with two pods and a world outside, real packets, and who received them.

The node is a network namespace of its own, with the addresses of ``policy_cases.PLACES``; the far ends of its three
links lie in another one that has no addresses at all: frames are put on the wire and taken from it as they are.
Conjuring a pod's every packet that way also works for what no socket would send.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from cloudnet.kernel import netns
from cloudnet.kernel.nft import Nft
from cloudnet.kernel.nft_library import NftLibrary
from cloudnet.policy.packets import ConnectionState, Packet
from cloudnet.testing import frames
from cloudnet.testing.policy_cases import PLACES

R = TypeVar("R")

LINKS: Final = ("cali1", "cali2", "eth0")
NODE_MAC: Final = "02:00:00:00:00:01"
FAR_MAC: Final = "02:00:00:00:00:02"
_ALL: Final = 0x0003  # ETH_P_ALL, linux/if_ether.h
_OUTGOING: Final = 4  # PACKET_OUTGOING, linux/if_packet.h
_ROOM: Final = 64 << 20  # bytes of a socket's buffer
_QUIET: Final = 0.02  # seconds without a packet after which none is under way
_PATIENCE: Final = 0.3  # the same where one that should have come is missing
_IPV6_HDRINCL: Final = 36  # linux/in6.h
_SO_RCVBUFFORCE: Final = 33  # asm-generic/socket.h: beyond what the host allows everybody

# The kernel's own answers would end the connections that a test plays, and be taken for its packets.
_QUIETEN: Final = """
add table inet judge
delete table inet judge
add table inet judge
add chain inet judge prerouting { type filter hook prerouting priority -190; }
add rule inet judge prerouting ct state new counter
add chain inet judge output { type filter hook output priority -400; }
add rule inet judge output tcp flags & rst == rst drop
add rule inet judge output icmp type destination-unreachable drop
add rule inet judge output icmpv6 type destination-unreachable drop
add chain inet judge nat { type nat hook prerouting priority dstnat; }
"""


@dataclass(frozen=True, slots=True)
class Judge:
    """The lab; use it on one thread inside ``work`` of ``held``."""

    nft: Nft
    links: Mapping[str, socket.socket]
    senders: Mapping[int, socket.socket]
    node: str

    def outcomes(self, packets: Sequence[Packet], apply: Callable[[], None]) -> list[bool]:
        """Return for each packet whether it got through, under the rules that ``apply`` puts in place.

        Connections that should stand already are begun before, without rules.
        """
        self.nft.run("add table inet cloudnet\ndelete table inet cloudnet\n" + _QUIETEN + _nat(packets))
        self.forget_connections()
        begun = [_beginning(packet) for packet in packets if packet.state is ConnectionState.ESTABLISHED]
        if begun and not all(self.send(begun)):
            raise AssertionError(f"a connection could not be begun without any rules: {begun}")
        apply()
        return self.send(packets)

    def forget_connections(self) -> None:
        netns.execute(self.node, ["conntrack", "-F"])

    def send(self, packets: Sequence[Packet]) -> list[bool]:
        """Send packets and return for each whether it arrived where it should."""
        protocols = {(p.family, p.protocol) for p in packets if p.leaves is None}
        with contextlib.ExitStack() as stack:
            receivers = [stack.enter_context(_receiver(family, protocol)) for family, protocol in protocols]
            for number, packet in enumerate(packets):
                self._send(packet, frames.build(packet, number))
            seen = self._collect(receivers, packets)
        return [(number, packet.leaves) in seen for number, packet in enumerate(packets)]

    def _send(self, packet: Packet, raw: bytes) -> None:
        if packet.enters is None:
            address = (str(packet.unnatted().destination), 0)
            with contextlib.suppress(PermissionError):  # so the kernel says that a rule of ours dropped it
                self.senders[packet.family].sendto(raw, address)
        else:
            self.links[packet.enters].send(frames.ethernet(NODE_MAC, FAR_MAC, raw))

    def drain(self) -> set[tuple[int, str]]:
        """Return what has come out of the links since the last look, whoever sent it: {(number, link)}."""
        return {(number, name) for name, link in self.links.items() for number in _received(link)}

    def _collect(self, receivers: Iterable[socket.socket], packets: Sequence[Packet]) -> set[tuple[int, str | None]]:
        """Take in what arrives until nothing has for a while: {(number, link it came out of)}."""
        places: dict[socket.socket, str | None] = {link: name for name, link in self.links.items()}
        places |= dict.fromkeys(receivers, None)
        seen: set[tuple[int, str | None]] = set()
        deadline = time.monotonic() + _QUIET
        while (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select(list(places), [], [], left)
            for opened in ready:
                seen.update((number, places[opened]) for number in _received(opened))
            if ready:
                deadline = time.monotonic() + (_QUIET if len(seen) < len(packets) else 0)
        return seen


def _received(opened: socket.socket) -> Iterator[int]:
    while True:
        try:
            data, where = opened.recvfrom(4096, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        if opened.family == socket.AF_PACKET and where[2] == _OUTGOING:
            continue
        number = frames.number_of(data)
        if number is not None:
            yield number


def _beginning(packet: Packet) -> Packet:
    """Return the packet that begins the connection which ``packet`` answers."""
    return replace(
        packet,
        source=packet.destination,
        destination=packet.source,
        from_port=packet.to_port,
        to_port=packet.from_port,
        enters=packet.leaves,
        leaves=packet.enters,
        state=ConnectionState.NEW,
    )


def _nat(packets: Iterable[Packet]) -> str:
    lines = []
    for packet in packets:
        if packet.before_nat is not None:
            address, port = packet.before_nat
            word, to = ("ip", str(packet.destination)) if packet.family == 4 else ("ip6", f"[{packet.destination}]")
            ports = f"th dport {port} " if port is not None else ""
            behind = f":{packet.to_port}" if port is not None else ""
            lines.append(
                f"add rule inet judge nat meta l4proto {packet.protocol} {word} daddr {address} {ports}"
                f"dnat {word} to {to}{behind}\n"
            )
    return "".join(lines)


# --- the lab -------------------------------------------------------------------------------------------------


def held(work: Callable[[Judge], R], *, name: str = "judge") -> R:
    """Return what ``work`` returns of a fresh lab, on a thread inside its node."""
    node, far = f"{name}-{os.getpid()}-n", f"{name}-{os.getpid()}-f"
    with netns.temporary(node), netns.temporary(far):
        _wire(node, far)
        links = {link: _link(far, link) for link in LINKS}
        try:
            return netns.run_inside(node, lambda: _inside(node, links, work))
        finally:
            for opened in links.values():
                opened.close()


def _inside(node: str, links: Mapping[str, socket.socket], work: Callable[[Judge], R]) -> R:
    with contextlib.ExitStack() as stack:
        nft = NftLibrary()
        stack.callback(nft.close)
        senders = {}
        for version, family, level, option in (
            (4, socket.AF_INET, socket.IPPROTO_IP, socket.IP_HDRINCL),
            (6, socket.AF_INET6, socket.IPPROTO_IPV6, _IPV6_HDRINCL),
        ):
            sender = stack.enter_context(socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW))
            sender.setsockopt(level, option, 1)
            senders[version] = sender
        return work(Judge(nft, links, senders, node))


def _receiver(family: int, protocol: int) -> socket.socket:
    opened = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_RAW, protocol)
    opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
    return opened


def _link(far: str, name: str) -> socket.socket:
    opened = netns.open_socket(far, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL))
    opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
    opened.bind((f"far-{name}", _ALL))
    return opened


def _wire(node: str, far: str) -> None:
    quiet = ["net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"]
    netns.execute(far, ["sysctl", "-qw", *quiet])
    settings = (
        "net.ipv4.ip_forward=1",
        "net.ipv6.conf.all.forwarding=1",
        "net.ipv4.conf.all.rp_filter=0",
        "net.ipv4.conf.default.rp_filter=0",
        "net.netfilter.nf_conntrack_checksum=0",
        "net.netfilter.nf_conntrack_tcp_be_liberal=1",
        "net.ipv4.icmp_ratelimit=0",
    )
    netns.execute(node, ["sysctl", "-qw", *settings])
    near = [f"link add {name} address {NODE_MAC} type veth peer far-{name} address {FAR_MAC}" for name in LINKS]
    near += [f"link set far-{name} netns {far}" for name in LINKS]
    near += [f"link set {name} up" for name in LINKS]
    four, six = PLACES["node"]
    near += [f"address add {four}/24 dev eth0", f"address add {six}/64 dev eth0 nodad"]
    netns.execute(node, ["ip", "-batch", "-"], stdin="\n".join(near))
    netns.execute(far, ["ip", "-batch", "-"], stdin="\n".join(f"link set far-{name} up" for name in LINKS))
    routes = []
    for name in LINKS:
        for address in PLACES[name]:
            routes.append(f"neighbour replace {address} lladdr {FAR_MAC} dev {name} nud permanent")
            routes.append(f"route add {address} dev {name}")
    four, six = PLACES["eth0"]
    routes += [f"route add default via {four} dev eth0", f"route add default via {six} dev eth0"]
    # Everybody on the link outside lies behind one gateway, so that no address needs a neighbour of its own.
    routes += ["route del 10.9.9.0/24 dev eth0", "route del fd09::/64 dev eth0"]
    netns.execute(node, ["ip", "-batch", "-"], stdin="\n".join(routes))
