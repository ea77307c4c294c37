"""The reference evaluator: what becomes of one packet on one node, and which tier, policy and rule decided.

It says what the rules mean, in the plainest way, and knows nothing of nftables; the kernel is held against it. A
packet goes through steps, one for each endpoint and place that polices it, in the kernel's order; each must let it
through. Follows Calico ``felix/rules/static.go`` and ``endpoints.go``; where it differs, docs/design/policy.md says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv6Address

from cloudnet.model.addresses import Address
from cloudnet.policy.decide import decide
from cloudnet.policy.options import Failsafe, Options, ToHost
from cloudnet.policy.packets import ConnectionState, Packet, contains
from cloudnet.policy.roles import Role
from cloudnet.policy.rules import ANY_INTERFACE, ICMPV6, UDP, Action, Direction, EndpointChanged, EndpointId, State
from cloudnet.policy.verdicts import Step, Verdict, Why

IPIP = 4  # IANA protocol number
LOOPBACK = "lo"
NEIGHBOUR_TYPES = frozenset({130, 131, 132, 133, 134, 135, 136, 143})
"""ICMPv6 types without which IPv6 itself stops: multicast listeners, router and neighbour discovery (RFC 4890)."""


def evaluate(state: State, packet: Packet, options: Options | None = None) -> Verdict:
    """Return what becomes of a packet."""
    steps = []
    for step in _Way(state, packet, options or Options()).steps():
        steps.append(step)
        if not step.allowed:
            return Verdict(allowed=False, steps=tuple(steps))
    return Verdict(allowed=True, steps=tuple(steps))


class _Way:
    """One packet's way through the node."""

    def __init__(self, state: State, packet: Packet, options: Options) -> None:
        self._state = state
        self._packet = packet
        self._options = options
        self._marked = False  # a doNotTrack or preDNAT policy allowed it
        self._untracked = False

    def steps(self) -> Iterator[Step]:
        packet = self._packet
        if self._options.is_pod(packet.enters):
            yield from self._antispoofing()
        else:
            yield from self._overlay()
        yield from self._before_tracking()
        yield from self._before_nat()
        if packet.enters is None:
            yield from self._output()
        elif packet.leaves is None:
            yield from self._input()
        else:
            yield from self._forward()

    # --- before the routing decision -----------------------------------------------------------------------

    def _antispoofing(self) -> Iterator[Step]:
        if self._options.spoofing:
            return
        pod = self._pod_at(self._packet.enters)
        source = self._packet.source
        if isinstance(source, IPv6Address) and (source.is_link_local or source.is_unspecified):
            return
        if pod is None:
            yield self._unknown(self._packet.enters, Direction.EGRESS)
        elif not contains((*pod.endpoint.addresses, *pod.endpoint.allowed_sources), source):
            yield _step(pod, Role.POD, Direction.EGRESS, allowed=False, why=Why.SPOOFED)

    def _overlay(self) -> Iterator[Step]:
        """Yield the step that drops VXLAN for this node from elsewhere; from and to nodes it is not tracked."""
        packet = self._packet.unnatted()
        if packet.protocol != UDP or packet.to_port != self._options.vxlan_port:
            return
        peer = packet.destination if packet.enters is None else packet.source
        self._untracked = peer in self._state.nodes
        if packet.enters is not None and packet.leaves is None and not self._untracked:
            yield Step(EndpointId(packet.enters), Role.HOST, Direction.INGRESS, allowed=False, why=Why.STRANGER)

    def _before_tracking(self) -> Iterator[Step]:
        """Yield the step of doNotTrack policies, of host endpoints that are not ``*``; failsafe ports go by them."""
        direction = Direction.EGRESS if self._packet.enters is None else Direction.INGRESS
        interface = self._packet.leaves if self._packet.enters is None else self._packet.enters
        host = self._at(interface)
        unnatted = self._packet.unnatted()
        if host is None or not host.endpoint.is_host:
            return
        if self._is_vital(direction, unnatted) or self._answers_failsafe(direction, unnatted):
            return
        step = decide(self._state, host, Role.UNTRACKED, direction, unnatted)
        if step.why is not Why.NOTHING or step.staged or step.logged:
            yield step
        self._untracked = step.hit is not None and step.hit.action is Action.ALLOW
        self._marked = self._untracked

    def _before_nat(self) -> Iterator[Step]:
        packet = self._packet
        if packet.enters is None or self._is_established() or self._marked:
            return
        host = self._host_at(packet.enters)
        unnatted = packet.unnatted()
        if host is None or self._is_vital(Direction.INGRESS, unnatted):
            return
        step = decide(self._state, host, Role.PRE_DNAT, Direction.INGRESS, unnatted)
        if step.why is not Why.NOTHING or step.staged or step.logged:
            yield step
        self._marked = step.hit is not None and step.hit.action is Action.ALLOW

    # --- the node's own traffic ----------------------------------------------------------------------------

    def _input(self) -> Iterator[Step]:
        if self._options.is_pod(self._packet.enters):
            yield from self._from_pod()
            return
        host = self._host_at(self._packet.enters)
        if host is not None:
            yield self._own(host, Direction.INGRESS)

    def _output(self) -> Iterator[Step]:
        """Yield the step of the host endpoint. Packets from the node to its pods are not policed, as in Calico."""
        if self._options.is_pod(self._packet.leaves):
            return
        host = self._host_at(self._packet.leaves)
        if host is not None:
            yield self._own(host, Direction.EGRESS)

    def _from_pod(self) -> Iterator[Step]:
        if self._is_neighbours():
            return
        for step in self._pod(self._packet.enters, Direction.EGRESS):
            yield step
            if self._is_established() or not step.allowed:
                return
            if self._options.to_host is ToHost.DROP:
                yield replace(step, allowed=False, why=Why.TO_HOST, hit=None, tier="", logged=(), staged=())

    def _own(self, host: EndpointChanged, direction: Direction) -> Step:
        short = None
        if self._is_established():
            short = Why.ESTABLISHED
        elif self._is_overlay():
            short = Why.OVERLAY
        elif self._marked:
            short = Why.ALREADY_ALLOWED
        elif self._is_neighbours():
            short = Why.NEIGHBOURS
        elif self._packet.state is ConnectionState.INVALID and not self._untracked:
            return _step(host, Role.HOST, direction, allowed=False, why=Why.INVALID)
        elif self._is_failsafe(direction, self._packet):
            short = Why.FAILSAFE
        if short is not None:
            return _step(host, Role.HOST, direction, allowed=True, why=short)
        return decide(self._state, host, Role.HOST, direction, self._packet)

    # --- forwarded traffic ---------------------------------------------------------------------------------

    def _forward(self) -> Iterator[Step]:
        packet = self._packet
        if not self._marked:
            yield from self._forward_by_host(packet.enters, Direction.INGRESS)
        if self._options.is_pod(packet.enters):
            yield from self._pod(packet.enters, Direction.EGRESS)
        if self._options.is_pod(packet.leaves):
            yield from self._pod(packet.leaves, Direction.INGRESS)
        yield from self._forward_by_host(packet.leaves, Direction.EGRESS)

    def _forward_by_host(self, interface: str | None, direction: Direction) -> Iterator[Step]:
        host = self._host_at(interface)
        if host is None:
            return
        if self._is_established():
            yield _step(host, Role.FORWARD, direction, allowed=True, why=Why.ESTABLISHED)
            return
        step = decide(self._state, host, Role.FORWARD, direction, self._packet)
        if self._packet.state is ConnectionState.INVALID and not self._untracked:
            step = _step(host, Role.FORWARD, direction, allowed=False, why=Why.INVALID)
        yield step

    def _pod(self, interface: str | None, direction: Direction) -> Iterator[Step]:
        pod = self._pod_at(interface)
        if self._is_established():
            if pod is not None:
                yield _step(pod, Role.POD, direction, allowed=True, why=Why.ESTABLISHED)
        elif pod is None:
            yield self._unknown(interface, direction)
        elif self._packet.state is ConnectionState.INVALID and not self._untracked:
            yield _step(pod, Role.POD, direction, allowed=False, why=Why.INVALID)
        elif direction is Direction.EGRESS and self._is_encapsulated():
            yield _step(pod, Role.POD, direction, allowed=False, why=Why.ENCAPSULATED)
        else:
            yield decide(self._state, pod, Role.POD, direction, self._packet)

    def _unknown(self, interface: str | None, direction: Direction) -> Step:
        return Step(EndpointId(interface or ""), Role.POD, direction, allowed=False, why=Why.UNKNOWN)

    # --- what is always so ---------------------------------------------------------------------------------

    def _at(self, interface: str | None) -> EndpointChanged | None:
        """Return the endpoint of exactly this interface."""
        if interface is None or interface == ANY_INTERFACE:
            return None
        chosen = (entry for entry in self._state.endpoints.values() if entry.endpoint.interface == interface)
        return min(chosen, key=lambda entry: entry.endpoint.id, default=None)

    def _pod_at(self, interface: str | None) -> EndpointChanged | None:
        pod = self._at(interface)
        return None if pod is None or pod.endpoint.is_host else pod

    def _host_at(self, interface: str | None) -> EndpointChanged | None:
        """Return the host endpoint of an interface: its own, or ``*``, which does not cover loopback."""
        own = self._at(interface)
        if own is not None and own.endpoint.is_host:
            return own
        if interface is None or interface == LOOPBACK:
            return None
        everywhere = (e for e in self._state.endpoints.values() if e.endpoint.interface == ANY_INTERFACE)
        return min(everywhere, key=lambda entry: entry.endpoint.id, default=None)

    def _is_established(self) -> bool:
        return self._packet.state is ConnectionState.ESTABLISHED and not self._untracked

    def _is_overlay(self) -> bool:
        return self._packet.protocol == UDP and self._packet.to_port in self._options.overlay_ports

    def _is_neighbours(self) -> bool:
        icmp = self._packet.icmp
        return self._packet.protocol == ICMPV6 and icmp is not None and icmp.type in NEIGHBOUR_TYPES

    def _is_encapsulated(self) -> bool:
        vxlan = self._is_overlay() and not self._options.vxlan_from_pods
        return vxlan or (self._packet.protocol == IPIP and not self._options.ipip_from_pods)

    def _is_vital(self, direction: Direction, packet: Packet) -> bool:
        """Tell whether no host endpoint's policy may stop a packet: overlay, neighbours, failsafe ports."""
        return self._is_overlay() or self._is_neighbours() or self._is_failsafe(direction, packet)

    def _is_failsafe(self, direction: Direction, packet: Packet) -> bool:
        inbound = direction is Direction.INGRESS
        safe = self._options.failsafe_inbound if inbound else self._options.failsafe_outbound
        return _has(safe, packet.protocol, packet.to_port, packet.source if inbound else packet.destination)

    def _answers_failsafe(self, direction: Direction, packet: Packet) -> bool:
        """Tell whether a packet answers one that a failsafe port lets through the other way."""
        inbound = direction is Direction.INGRESS
        safe = self._options.failsafe_outbound if inbound else self._options.failsafe_inbound
        return _has(safe, packet.protocol, packet.from_port, packet.source if inbound else packet.destination)


def _has(safe: tuple[Failsafe, ...], protocol: int, port: int | None, peer: Address) -> bool:
    return any(
        one.protocol == protocol and one.port == port and (one.net is None or contains((one.net,), peer))
        for one in safe
    )


def _step(of: EndpointChanged, role: Role, direction: Direction, *, allowed: bool, why: Why) -> Step:
    return Step(of.endpoint.id, role, direction, allowed, why)
