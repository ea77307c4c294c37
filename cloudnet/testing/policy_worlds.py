"""Made-up nodes for the judge: endpoints, policies of every kind, and packets that are likely to meet them.

Addresses, ports and sets come from small universes, so that rules overlap and most packets meet several. Chance is an
argument; hypothesis gives one that it can shrink.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network
from random import Random
from typing import Final, TypeVar

from cloudnet.model.addresses import Address, Family, Network
from cloudnet.policy.options import Options, ToHost
from cloudnet.policy.packets import ConnectionState, Packet, contains
from cloudnet.policy.rules import (
    ALLOW_ALL,
    ANY_INTERFACE,
    ICMP,
    ICMPV6,
    SCTP,
    TCP,
    UDP,
    WITH_PORTS,
    Action,
    Direction,
    Endpoint,
    EndpointChanged,
    EndpointId,
    Icmp,
    Peer,
    Policy,
    PolicyKey,
    PortMember,
    PortRange,
    Profile,
    Rule,
    SetId,
    State,
    Tier,
    arrange,
)
from cloudnet.testing.policy_cases import PLACES

T = TypeVar("T")

OUTSIDE: Final = {
    Family.IPV4: ("10.9.9.1", "10.9.9.2", "10.9.9.3", "10.9.9.9", "10.9.16.1", "10.8.0.1"),
    Family.IPV6: ("fd09::1", "fd09::2", "fd09::3", "fd09::9", "fd09:1::1", "fd08::1"),
}
_NETS: Final = {
    Family.IPV4: (
        *("10.9.9.1/32", "10.9.9.2/32", "10.9.9.254/32", "10.9.9.0/30", "10.9.0.0/16", "10.9.16.0/20"),
        *("10.0.0.1/32", "10.0.0.2/32", "10.0.0.0/24", "10.8.0.0/14", "0.0.0.0/0"),
    ),
    Family.IPV6: ("fd09::1/128", "fd09::/126", "fd09::/64", "fd00::1/128", "fd00::/64", "fd09:1::/64", "::/0"),
}
_PORTS: Final = (0, 1, 22, 53, 80, 81, 443, 4789, 65535)
_PROTOCOLS: Final = (TCP, TCP, TCP, UDP, UDP, SCTP, ICMP, ICMPV6, 4, 47, 50)
_SETS: Final = tuple(map(SetId, ("red", "blue", "green", "mine")))
_PORT_SETS: Final = tuple(map(SetId, ("n:web", "svc:dns")))
_TYPES: Final = {ICMP: (8, 13, 17), ICMPV6: (128, 139)}  # conversations that tracking knows how to begin


class World:
    """One made-up node."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._simple = self._one((20, 60, 95))  # percent of rules that a look-up could hold
        self._tiers = self._one((("default",), ("default",), ("a", "default", "z", "default")))
        self._used: dict[Family, list[Rule]] = {family: [] for family in Family}
        self.options = self._options()
        self.state = self._state()

    # --- chance ------------------------------------------------------------------------------------------------

    def _chance(self, percent: int) -> bool:
        return self._rng.randrange(100) < percent

    def _one(self, of: Sequence[T]) -> T:
        return of[self._rng.randrange(len(of))]

    def _some(self, of: Sequence[T], most: int) -> tuple[T, ...]:
        return tuple(dict.fromkeys(self._one(of) for _ in range(self._rng.randrange(most + 1))))

    # --- the node ------------------------------------------------------------------------------------------------

    def _options(self) -> Options:
        return Options(
            to_host=self._one((ToHost.DROP, ToHost.ACCEPT, ToHost.ACCEPT)),
            vxlan_from_pods=self._chance(20),
            ipip_from_pods=self._chance(50),
            spoofing=self._chance(20),
            log_denied=self._chance(20),
        )

    def _state(self) -> State:
        tiers = {
            name: Tier(name, order, self._one((Action.DENY, Action.PASS)))
            for name, order in (("a", 1.0), ("default", 2.0), ("z", None))
        }
        endpoints = [self._pod("cali1"), self._pod("cali2")]
        if self._chance(50):
            endpoints.append(self._host("eth0"))
        if self._chance(20):
            endpoints.append(self._host(ANY_INTERFACE))
        count = self._one((1, 2, 4, 8, 14, 30))
        policies = [self._policy(number) for number in range(count)]
        chosen = {}
        for endpoint in endpoints:
            selected = [policy for policy in policies if self._chance(80)]
            chosen[endpoint.id] = EndpointChanged(endpoint, arrange(selected, tiers))
        nets = [ip_network(net) for of in _NETS.values() for net in of]
        hosts = [ip_network(address) for of in (*OUTSIDE.values(), *PLACES.values()) for address in of]
        return State(
            chosen,
            {policy.key: policy for policy in policies},
            {ALLOW_ALL.name: ALLOW_ALL, "odd": self._profile()},
            {name: frozenset((*self._some(hosts, 5), *self._some(nets, 2))) for name in _SETS},
            {name: frozenset(self._port_members()) for name in _PORT_SETS},
            frozenset(map(ip_address, (*PLACES["node"], *self._some([a for of in OUTSIDE.values() for a in of], 9)))),
        )

    def _pod(self, interface: str) -> Endpoint:
        extra = tuple(map(ip_network, ("10.77.0.0/16", "fd77::7/128"))) if self._chance(20) else ()
        return Endpoint(
            EndpointId(interface),
            interface,
            tuple(map(ip_network, PLACES[interface])),
            self._profiles(),
            extra,
        )

    def _host(self, interface: str) -> Endpoint:
        return Endpoint(EndpointId(f"host {interface}"), interface, (), self._profiles(), is_host=True)

    def _profiles(self) -> tuple[str, ...]:
        return self._one(((ALLOW_ALL.name,), (ALLOW_ALL.name,), ("odd",), ("odd", ALLOW_ALL.name), (), ("missing",)))

    def _profile(self) -> Profile:
        return Profile("odd", self._rules(3, Direction.INGRESS), self._rules(3, Direction.EGRESS))

    def _port_members(self) -> Iterator[PortMember]:
        for addresses in PLACES.values():
            for address in addresses:
                for protocol in WITH_PORTS:
                    if self._chance(30):
                        yield PortMember(ip_network(address), protocol, self._one(_PORTS))

    # --- policies ------------------------------------------------------------------------------------------------

    def _policy(self, number: int) -> Policy:
        kind = self._rng.randrange(12)
        pre_dnat, untracked = kind == 0, kind == 1
        types = frozenset(self._some(tuple(Direction), 3)) or frozenset({Direction.INGRESS})
        types = frozenset({Direction.INGRESS}) if pre_dnat else types
        return Policy(
            PolicyKey("GlobalNetworkPolicy", "", f"p{number}"),
            self._one(self._tiers),
            "all()",
            types,
            self._one((None, float(self._rng.randrange(5)))),
            self._rules(4, Direction.INGRESS) if Direction.INGRESS in types else (),
            self._rules(4, Direction.EGRESS) if Direction.EGRESS in types else (),
            staged=self._chance(8),
            do_not_track=untracked,
            pre_dnat=pre_dnat,
            apply_on_forward=pre_dnat or untracked or self._chance(40),
        )

    def _rules(self, most: int, direction: Direction) -> tuple[Rule, ...]:
        return tuple(self._rule(direction) for _ in range(self._rng.randrange(most + 1)))

    def _rule(self, direction: Direction) -> Rule:
        rule = self._drawn(direction)
        for family in Family:
            if rule.family in {None, family}:
                self._used[family].append(rule)
        return rule

    def _drawn(self, direction: Direction) -> Rule:
        simple = self._chance(self._simple)
        action = self._one((Action.ALLOW, Action.ALLOW, Action.ALLOW, Action.DENY, Action.PASS, Action.LOG))
        family = self._one((None, None, None, *Family))
        protocol = self._one((None, TCP, TCP, *_PROTOCOLS))
        if simple:
            action = Action.DENY if action is Action.LOG else action
            ports = self._ports() if protocol in WITH_PORTS else ()
            peer = self._one((Peer(), Peer(nets=self._nets(2)), Peer(sets=(self._one(_SETS),))))
            if direction is Direction.INGRESS:
                return Rule(action, family, protocol, source=peer, destination=Peer(ports=ports))
            return Rule(action, family, protocol, destination=replace(peer, ports=ports))
        icmp = self._icmp(protocol) if self._chance(40) else None
        not_icmp = self._icmp(protocol) if self._chance(20) else None
        not_protocol = self._one(_PROTOCOLS) if protocol is None and self._chance(30) else None
        return Rule(
            action, family, protocol, not_protocol, icmp, not_icmp, self._peer(protocol), self._peer(protocol)
        )

    def _icmp(self, protocol: int | None) -> Icmp | None:
        if protocol not in _TYPES:
            return None
        return Icmp(self._one(_TYPES[protocol]), self._one((None, 0, 1)))

    def _nets(self, most: int) -> tuple[Network, ...]:
        return self._some([ip_network(net) for of in _NETS.values() for net in of], most)

    def _ports(self) -> tuple[PortRange, ...]:
        ranges = [self._one(_PORTS) for _ in range(self._rng.randrange(4))]
        return tuple(PortRange(first, min(65535, first + self._one((0, 0, 1, 400)))) for first in ranges)

    def _peer(self, protocol: int | None) -> Peer:
        ported = protocol in WITH_PORTS
        return Peer(
            self._nets(3) if self._chance(30) else (),
            tuple(net for net in self._nets(6) if net.prefixlen) if self._chance(20) else (),
            self._some(_SETS, 2) if self._chance(30) else (),
            self._some(_SETS, 2) if self._chance(20) else (),
            self._ports() if ported and self._chance(30) else (),
            (_PORT_SETS[0],) if self._chance(10) else (),
            self._ports() if ported and self._chance(20) else (),
            (_PORT_SETS[0],) if self._chance(10) else (),
            (_PORT_SETS[1],) if self._chance(10) else (),
        )

    # --- packets -------------------------------------------------------------------------------------------------

    def packets(self, count: int) -> list[Packet]:
        """Return packets of which none answers another, so that each begins a connection or is said to answer."""
        taken: set[tuple[object, ...]] = set()
        chosen: list[Packet] = []
        for _ in range(count):
            packet = self._packet()
            if _conversation(packet, backwards=True) not in taken:
                chosen.append(packet)
                taken.add(_conversation(packet, backwards=packet.state is ConnectionState.ESTABLISHED))
        return [p for p in chosen if p.state is not ConnectionState.ESTABLISHED or _is_alone(p, chosen)]

    def _packet(self) -> Packet:
        """Return a packet; two of three are after some rule, and may yet miss it."""
        places = ("cali1", "cali2", "eth0", "node")
        begins = self._one(places)
        goes = self._one([place for place in places if place != begins])
        family = self._one((Family.IPV4, Family.IPV4, Family.IPV6))
        rule = self._one(self._used[family] or [Rule(Action.LOG)]) if self._chance(66) else Rule(Action.LOG)
        possible = [p for p in _PROTOCOLS if p != (ICMPV6 if family is Family.IPV4 else ICMP)]
        protocol = rule.protocol if rule.protocol in possible else self._one(possible)
        ported = protocol in WITH_PORTS
        stands = protocol in {TCP, UDP} and self._chance(5)
        source = self._address(begins, family, rule.source)
        return Packet(
            source if stands else self._spoofed(begins, family) or source,
            self._address(goes, family, rule.destination),
            protocol,
            self._port(rule.source, (40000, 40001, 53, 80)) if ported else None,
            self._port(rule.destination, _PORTS[1:]) if ported else None,
            Icmp(self._one(_TYPES[protocol]), self._one((0, 0, 1))) if protocol in _TYPES else None,
            None if begins == "node" else begins,
            None if goes == "node" else goes,
            ConnectionState.ESTABLISHED if stands else ConnectionState.NEW,
        )

    def _port(self, peer: Peer, otherwise: Sequence[int]) -> int:
        """Return a port at the edge of one that the rule speaks of, or any."""
        spoken = [*peer.ports, *peer.not_ports]
        if not spoken or self._chance(30):
            return self._one(otherwise)
        ports = self._one(spoken)
        return min(65535, max(1, self._one((ports.first, ports.last, ports.first - 1, ports.last + 1))))

    def _address(self, place: str, family: Family, peer: Peer) -> Address:
        if place != "eth0":
            return ip_address(PLACES[place][0 if family is Family.IPV4 else 1])
        named = [*peer.nets, *peer.not_nets, *(net for name in peer.sets for net in self.state.address_sets[name])]
        inside = [a for a in map(ip_address, OUTSIDE[family]) if contains(named, a)]
        return self._one(inside) if inside and self._chance(70) else ip_address(self._one(OUTSIDE[family]))

    def _spoofed(self, place: str, family: Family) -> Address | None:
        if place not in {"cali1", "cali2"} or self._chance(92):
            return None
        return ip_address(self._one(("10.77.1.1", "10.0.0.3") if family is Family.IPV4 else ("fd77::7", "fd00::3")))


def _conversation(packet: Packet, *, backwards: bool) -> tuple[object, ...]:
    ends = [(packet.source, packet.from_port), (packet.destination, packet.to_port)]
    return (packet.protocol, *(reversed(ends) if backwards else ends))


def _is_alone(packet: Packet, among: Sequence[Packet]) -> bool:
    """Tell whether nobody else has a part in the connection that a packet belongs to."""
    mine = _conversation(packet, backwards=False), _conversation(packet, backwards=True)
    others = (other for other in among if other is not packet)
    return all(_conversation(other, backwards=False) not in mine for other in others)
