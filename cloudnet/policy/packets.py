"""A packet as policy sees it, and whether a rule matches it."""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from cloudnet.model.addresses import Address, Family, Network, family
from cloudnet.policy.rules import Icmp, Peer, PortMember, PortRange, Rule, SetId


class ConnectionState(enum.Enum):
    """What connection tracking says of a packet; ``ESTABLISHED`` covers related packets as well."""

    NEW = "new"
    ESTABLISHED = "established"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet on its way through a node.

    ``enters`` is the interface it came in by, nothing if the node itself sends it; ``leaves`` the one it goes out
    by, nothing if it is for the node itself. ``destination`` and ``to_port`` are those after destination NAT,
    ``before_nat`` what they were before. Ports are nothing for protocols without, ``icmp`` for all but ICMP.
    """

    source: Address
    destination: Address
    protocol: int
    from_port: int | None = None
    to_port: int | None = None
    icmp: Icmp | None = None
    enters: str | None = None
    leaves: str | None = None
    state: ConnectionState = ConnectionState.NEW
    before_nat: tuple[Address, int | None] | None = None

    @property
    def family(self) -> Family:
        return family(self.source)

    def unnatted(self) -> Packet:
        """Return the packet as it was before destination NAT."""
        if self.before_nat is None:
            return self
        address, port = self.before_nat
        return Packet(
            self.source, address, self.protocol, self.from_port, port, self.icmp, self.enters, self.leaves, self.state
        )


class Sets(Protocol):
    """The members of sets, as in ``rules.State``; a set that is not there is empty."""

    @property
    def address_sets(self) -> Mapping[SetId, frozenset[Network]]: ...

    @property
    def port_sets(self) -> Mapping[SetId, frozenset[PortMember]]: ...


def matches(rule: Rule, packet: Packet, sets: Sets) -> bool:
    """Tell whether everything that the rule asks holds for the packet."""
    return (
        rule.family in {None, packet.family}
        and rule.protocol in {None, packet.protocol}
        and (rule.not_protocol is None or rule.not_protocol != packet.protocol)
        and (rule.icmp is None or _is_icmp(rule.icmp, packet))
        and not (rule.not_icmp is not None and _is_icmp(rule.not_icmp, packet))
        and _end_matches(rule.source, packet.source, packet.from_port, packet.protocol, sets)
        and _end_matches(rule.destination, packet.destination, packet.to_port, packet.protocol, sets)
    )


def _is_icmp(wanted: Icmp, packet: Packet) -> bool:
    seen = packet.icmp
    return seen is not None and seen.type == wanted.type and wanted.code in {None, seen.code}


def _end_matches(peer: Peer, address: Address, port: int | None, protocol: int, sets: Sets) -> bool:
    def has(name: SetId) -> bool:
        return contains(sets.address_sets.get(name, frozenset()), address)

    def has_port(name: SetId) -> bool:
        return port is not None and _has_port(sets.port_sets.get(name, frozenset()), address, protocol, port)

    return (
        (not peer.nets or contains(peer.nets, address))
        and not contains(peer.not_nets, address)
        and all(has(name) for name in peer.sets)
        and not any(has(name) for name in peer.not_sets)
        and (not (peer.ports or peer.named_ports) or _in(peer.ports, port) or any(map(has_port, peer.named_ports)))
        and not _in(peer.not_ports, port)
        and not any(map(has_port, peer.not_named_ports))
        and all(map(has_port, peer.services))
    )


def contains(networks: Iterable[Network], address: Address) -> bool:
    """Tell whether an address is in any of the networks."""
    if isinstance(networks, frozenset) and ipaddress.ip_network(address) in networks:
        return True
    return any(address in network for network in networks if network.version == address.version)


def _in(ranges: Iterable[PortRange], port: int | None) -> bool:
    return port is not None and any(port in wanted for wanted in ranges)


def _has_port(members: frozenset[PortMember], address: Address, protocol: int, port: int) -> bool:
    if PortMember(ipaddress.ip_network(address), protocol, port) in members:
        return True
    return any(
        member.protocol == protocol and member.port == port and contains((member.address,), address)
        for member in members
    )
