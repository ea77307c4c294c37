"""What a firewall lets through of what pods need: rules of any cloud as values, and the gaps in them. Pure.

A cloud's groups, tags and service names are addresses by the time they get here: its plugin resolves them. A rule
counts only where it covers all ports of what is asked; several that cover the ports together do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from cloudnet.model.addresses import Family, Network, NodeName, family, order
from cloudnet.provider.preflight import Needs

ANY = "any"
EVERY_PORT = (0, 65535)
EVERYWHERE: tuple[Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))
POD_PROTOCOLS = ("tcp", "udp", "icmp")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. ``remotes`` is the other side, ``locals`` this one, where a rule speaks of a part of it only.

    The lowest ``rank`` decides, a deny before an allow of the same.
    """

    inbound: bool
    remotes: tuple[Network, ...] = EVERYWHERE
    protocol: str = ANY
    ports: tuple[int, int] = EVERY_PORT
    allow: bool = True
    rank: int = 0
    locals: tuple[Network, ...] = EVERYWHERE

    def covers(self, protocol: str, ports: tuple[int, int]) -> bool:
        """Tell whether the rule speaks of all these packets."""
        return self.protocol in (ANY, protocol) and self.ports[0] <= ports[0] and ports[1] <= self.ports[1]

    def spoken_of(self, here: Iterable[Network]) -> tuple[Network, ...]:
        """Return the remotes that the rule decides about, given the addresses on this side.

        It allows only what it allows to all of them, and denies what it denies to any.
        """
        if self.locals == EVERYWHERE:
            return self.remotes
        own, enough = tuple(here), all if self.allow else any
        return tuple(
            remote
            for remote in self.remotes
            if enough(self._reaches(each) for each in own if each.version == remote.version)
        )

    def _reaches(self, here: Network) -> bool:
        if self.allow:
            return any(inside(here, each) for each in self.locals)
        return bool(common(here, self.locals))


@dataclass(frozen=True, slots=True)
class Opening:
    """What has to pass between ``remotes`` and this side: ``locals``, and with ``nodes`` machines' own addresses."""

    name: str
    remotes: tuple[Network, ...]
    protocols: tuple[str, ...] = ("udp",)
    ports: tuple[int, int] = EVERY_PORT
    locals: tuple[Network, ...] = ()
    nodes: bool = True


@dataclass(frozen=True, slots=True)
class Gap:
    """What does not pass: these protocols of an opening, from (``inbound``) or to these addresses."""

    opening: Opening
    inbound: bool
    protocols: tuple[str, ...]
    remotes: tuple[Network, ...]

    @property
    def ports(self) -> tuple[int, int] | None:
        """The ports that are meant; nothing where all are."""
        return None if self.opening.ports == EVERY_PORT else self.opening.ports

    @property
    def words(self) -> str:
        """What it means, e.g. ``udp 4789 (VXLAN) is not let in from 10.0.2.0/24``."""
        port = f" {self.ports[0]}" if self.ports else ""
        way = "in from" if self.inbound else "out to"
        wheres = ", ".join(map(str, self.remotes))
        return f"{', '.join(self.protocols)}{port} ({self.opening.name}) is not let {way} {wheres}"


@dataclass(frozen=True, slots=True)
class Guard:
    """One firewall, or several that act as one, around the interfaces of ``nodes``. ``id`` is for the remedy.

    ``lets_in`` and ``lets_out``: what becomes of packets that no rule speaks of. ``addresses`` are these nodes' own,
    for rules that speak of some of this side's addresses only.
    """

    name: str
    nodes: tuple[NodeName, ...]
    rules: tuple[Rule, ...]
    id: str = ""
    lets_in: bool = False
    lets_out: bool = False
    addresses: tuple[Network, ...] = ()


def openings(needs: Needs) -> tuple[Opening, ...]:
    """Return what has to pass between nodes of this cluster; what nobody needs yet is left out."""
    nodes = collapsed(ip_network(address.ip) for node in needs.nodes for address in node.addresses)
    pods = collapsed(needs.pods)
    vxlan, probe = needs.vxlan_port, needs.probe_port
    wanted = (
        Opening("VXLAN", nodes, ports=(vxlan, vxlan)),
        # asked from tunnel addresses, which are pods', and answered from node to node
        Opening("probes", collapsed((*nodes, *pods)), ports=(probe, probe), locals=pods),
        Opening("pods", pods, POD_PROTOCOLS, locals=pods, nodes=False),
    )
    return tuple(opening for opening in wanted if opening.remotes)


def gaps(guard: Guard, wanted: Iterable[Opening]) -> tuple[Gap, ...]:
    """Return what the guard does not let through, inbound first; protocols with the same gap are one."""
    return tuple(gap for opening in wanted for inbound in (True, False) for gap in _gaps(guard, opening, inbound))


def _gaps(guard: Guard, opening: Opening, inbound: bool) -> Iterator[Gap]:  # noqa: FBT001  private
    by_remotes: dict[tuple[Network, ...], list[str]] = {}
    for protocol in opening.protocols:
        if shut := closed(guard, protocol, opening, inbound=inbound):
            by_remotes.setdefault(shut, []).append(protocol)
    for remotes, protocols in by_remotes.items():
        yield Gap(opening, inbound, tuple(protocols), remotes)


def closed(guard: Guard, protocol: str, opening: Opening, *, inbound: bool) -> tuple[Network, ...]:
    """Return the remotes of an opening that one protocol does not pass from or to."""
    rules = (r for r in guard.rules if r.inbound is inbound and r.covers(protocol, opening.ports))
    here = (*opening.locals, *(guard.addresses if opening.nodes else ()))
    undecided, shut = list(opening.remotes), list[Network]()
    for rule in sorted(rules, key=lambda r: (r.rank, r.allow)):
        spoken_of = rule.spoken_of(here)
        if not rule.allow:
            shut += [part for remote in undecided for part in common(remote, spoken_of)]
        undecided = [part for remote in undecided for part in without(remote, spoken_of)]
    if not (guard.lets_in if inbound else guard.lets_out):
        shut += undecided
    return collapsed(shut)


def without(whole: Network, parts: Iterable[Network]) -> list[Network]:
    """Return what is left of a network when these are taken away."""
    left = [whole]
    for part in parts:
        left = [rest for each in left for rest in _minus(each, part)]
    return left


def _minus(whole: Network, part: Network) -> list[Network]:
    if inside(whole, part):
        return []
    # mypy does not see that both are of one family where one is inside the other
    return list(whole.address_exclude(part)) if inside(part, whole) else [whole]  # type: ignore[arg-type]


def common(one: Network, others: Iterable[Network]) -> list[Network]:
    """Return what a network has in common with others."""
    return [one if inside(one, other) else other for other in others if inside(one, other) or inside(other, one)]


def inside(inner: Network, outer: Network) -> bool:
    """Tell whether a network is another one, or a part of it; never so across families."""
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]  # of one family by now


def collapsed(networks: Iterable[Network]) -> tuple[Network, ...]:
    """Return as few networks as say the same, in order."""
    every = tuple(networks)
    four = collapse_addresses([n for n in every if isinstance(n, IPv4Network)])
    six = collapse_addresses([n for n in every if isinstance(n, IPv6Network)])
    return tuple(sorted((*four, *six), key=order))


def widened(networks: Iterable[Network], needs: Needs) -> tuple[Network, ...]:
    """Return networks for a rule: for a node's address its whole subnet, where the node's resource tells it."""
    subnets = {
        ip_network(address.ip): address.network
        for node in needs.nodes
        for address in node.addresses
        if address.network.prefixlen
    }
    hosts = [host for network in networks for host in _hosts(network, subnets)]
    return collapsed(hosts)


def _hosts(network: Network, subnets: dict[Network, Network]) -> Iterator[Network]:
    found = [subnet for host, subnet in subnets.items() if inside(host, network)]
    yield from found or [network]


def of_family(networks: Iterable[Network], version: Family) -> tuple[Network, ...]:
    return tuple(network for network in networks if family(network) is version)
