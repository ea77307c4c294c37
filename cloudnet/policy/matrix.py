"""Who reaches whom: every pair of endpoints, those that fare alike taken together.

Two endpoints fare alike if the same policies and profiles apply to them and no rule tells their addresses or ports
apart. A cluster of 500 pods has some tens of such groups, and only pairs of groups are asked about.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

from cloudnet.errors import BadInput
from cloudnet.model.addresses import Address, Network
from cloudnet.policy.cluster import Cluster, Member
from cloudnet.policy.options import Options
from cloudnet.policy.packets import Packet, contains
from cloudnet.policy.questions import Cuts, Question, summary
from cloudnet.policy.reach import End, Wanted, coming, leaving, packet, reach
from cloudnet.policy.rules import Direction, EndpointChanged, Rule, State

NO_WAY = "-"
"""Said of a pair that has no address of one family, is one and the same end, or is none of the cluster's."""


@dataclass(frozen=True, slots=True)
class Group:
    """Ends that fare alike; the first one speaks for all."""

    title: str
    ends: tuple[End, ...]

    @property
    def first(self) -> End:
        return self.ends[0]


@dataclass(frozen=True, slots=True)
class Matrix:
    """``cells[i][j]``: what ``groups[i]`` may send to ``groups[j]``, in words: ``all``, ``none``, ``tcp 80``."""

    groups: tuple[Group, ...]
    cells: tuple[tuple[str, ...], ...]


def matrix(
    cluster: Cluster, *, outside: Iterable[Address] = (), only: Wanted | None = None, options: Options | None = None
) -> Matrix:
    """Return who reaches whom.

    ``outside``: addresses beyond the cluster to ask about too; ``only``: ask about this kind of packet alone.
    """
    found = groups([cluster], outside)
    asked = Pairs(slim(cluster, found), options or Options(), only)
    return Matrix(found, tuple(tuple(_cell(asked, one, other) for other in found) for one in found))


def _cell(asked: Pairs, source: Group, target: Group) -> str:
    return asked.cell(source.first, target.first) if are_two(source, target) else NO_WAY


def are_two(source: Group, target: Group) -> bool:
    """Tell whether there is something to ask: two ends, at least one of them of the cluster."""
    within = source.first.member is not None or target.first.member is not None
    return within and (source != target or len(source.ends) > 1)


# --- groups -------------------------------------------------------------------------------------------------


def groups(clusters: Sequence[Cluster], outside: Iterable[Address] = ()) -> tuple[Group, ...]:
    """Return the ends of the first cluster that fare alike in all of them, which have the same endpoints."""
    profiles = [_Traits(cluster) for cluster in clusters]
    alike: dict[Hashable, list[End]] = {}
    for title, member in clusters[0].members.items():
        key = tuple(traits.of(title) for traits in profiles)
        alike.setdefault(key, []).append(End(title, member))
    ends = [*alike.values(), *([End(str(address), outside=address)] for address in outside)]
    return tuple(Group(_title(some), tuple(some)) for some in ends)


def _title(ends: Sequence[End]) -> str:
    return ends[0].title if len(ends) == 1 else f"{ends[0].title} and {len(ends) - 1} more"


class _Traits:
    """All by which policy could tell the endpoints of one cluster apart."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        state = cluster.state
        rules = [rule for policy in state.policies.values() for rule in (*policy.ingress, *policy.egress)]
        rules += [rule for profile in state.profiles.values() for rule in (*profile.ingress, *profile.egress)]
        peers = {peer for rule in rules for peer in (rule.source, rule.destination)}
        self._nets = sorted({net for peer in peers for net in (*peer.nets, *peer.not_nets)}, key=str)
        self._sets = _Members(state)

    def of(self, title: str) -> Hashable:
        member = self._cluster.members.get(title)
        if member is None:
            return None
        entry = self._cluster.state.endpoints[member.id]
        addresses = tuple(
            (
                address.version,
                self._sets.of(address),
                frozenset(i for i, net in enumerate(self._nets) if address in net),
            )
            for address in member.addresses
        )
        policies = tuple((tier.tier.name, tier.policies) for tier in entry.tiers)
        # Host endpoints of a node have their say about its pods: those are told apart by their node.
        node = member.node if member.node in self._cluster.hosts else ""
        unique = member.id if member.is_host else ""
        return policies, entry.endpoint.profiles, addresses, node, unique


class _Members:
    """Which sets an address is in: single addresses are looked up, prefixes, of which there are few, tried.

    A set of addresses is told by its name, one of ports as (name, protocol, port).
    """

    def __init__(self, state: State) -> None:
        self._known: dict[Address, frozenset[Hashable]] = {}
        self._single: dict[Address, list[Hashable]] = {}
        self._wide: list[tuple[Network, Hashable]] = []
        for name, networks in state.address_sets.items():
            for network in networks:
                self._add(network, name)
        for port_set, ports in state.port_sets.items():
            for port in ports:
                self._add(port.address, (port_set, port.protocol, port.port))

    def _add(self, network: Network, what: Hashable) -> None:
        if network.prefixlen == network.max_prefixlen:
            self._single.setdefault(network.network_address, []).append(what)
        else:
            self._wide.append((network, what))

    def of(self, address: Address) -> frozenset[Hashable]:
        if address not in self._known:
            wide = (what for network, what in self._wide if address in network)
            self._known[address] = frozenset((*self._single.get(address, ()), *wide))
        return self._known[address]


def slim(cluster: Cluster, found: Iterable[Group]) -> Cluster:
    """Return the cluster with sets that hold just what the groups' first ends are in: faster to ask, and no other."""
    ends = [end for group in found for end in group.ends[:1]]
    addresses = {a for end in ends for a in (end.member.addresses if end.member else (end.outside,)) if a is not None}
    state = cluster.state
    address_sets = {
        name: frozenset(net for net in networks if net.num_addresses > 1 or net.network_address in addresses)
        for name, networks in state.address_sets.items()
    }
    port_sets = {
        name: frozenset(p for p in ports if any(contains((p.address,), a) for a in addresses))
        for name, ports in state.port_sets.items()
    }
    return replace(cluster, state=replace(state, address_sets=address_sets, port_sets=port_sets))


# --- pairs --------------------------------------------------------------------------------------------------


class Pairs:
    """Answers what one end may send to another one.

    What an endpoint says depends on the other end only as far as its own rules tell others apart: these answers are
    remembered. ``only``: ask about one kind of packet.
    """

    def __init__(self, cluster: Cluster, options: Options, only: Wanted | None = None) -> None:
        self._cluster = cluster
        self._options = options
        self._only = only
        self._members = _Members(cluster.state)
        self._sides: dict[tuple[str, Direction], _Side] = {}
        self._same: dict[Hashable, _Side] = {}  # endpoints with the same policies and profiles have one
        self._answers: dict[Hashable, bool] = {}
        self._cells: dict[Hashable, str] = {}

    def cell(self, source: End, target: End) -> str:
        """Return what is let through, in words."""
        if self._has_hosts(source, target):
            return self._cell(source, target)
        key = (self._said_by(source, Direction.EGRESS, target), self._said_by(target, Direction.INGRESS, source))
        if key not in self._cells:
            self._cells[key] = self._cell(source, target)
        return self._cells[key]

    def _cell(self, source: End, target: End) -> str:
        try:
            return summary(self.asked(source, target, questions([self], source, target, self._only)))
        except BadInput:
            return NO_WAY

    def _said_by(self, end: End, direction: Direction, other: End) -> Hashable:
        """Return all that decides what an end says to another one; a stranger says nothing."""
        versions = tuple(address.version for address in _addresses(end))
        if end.member is None:
            return versions
        side = self._side(end.member, direction)
        own = tuple(side.traits(address, self._members.of(address)) for address in _addresses(end))
        others = tuple(side.traits(address, self._members.of(address)) for address in _addresses(other))
        return versions, side.policies, own, others

    def _has_hosts(self, source: End, target: End) -> bool:
        """Tell whether host endpoints have a say: then nodes and interfaces count as well."""
        return any(end.member is not None and end.member.node in self._cluster.hosts for end in (source, target))

    def asked(self, source: End, target: End, some: Iterable[Question]) -> list[tuple[Question, bool]]:
        """Return the answers to questions.

        Raises:
            BadInput: the ends have no address of one family.
        """
        return [(question, self._allows(source, target, question.wanted)) for question in some]

    def cuts(self, source: End, target: End) -> Iterable[Cuts]:
        """Yield what rules tell apart in packets from end to end."""
        known = _addresses(target)
        for end, direction in ((source, Direction.EGRESS), (target, Direction.INGRESS)):
            if end.member is not None:
                side = self._side(end.member, direction)
                yield side.cuts
                yield from self._of_ports(side, known)

    def _of_ports(self, side: _Side, addresses: Iterable[Address]) -> Iterable[Cuts]:
        """Yield what named ports and services tell apart, which depends on who is asked for them."""
        if side.port_sets:
            found = [what for address in addresses for what in self._members.of(address) if isinstance(what, tuple)]
            cuts = Cuts()
            for name, protocol, port in found:
                if name in side.port_sets:
                    cuts.port(protocol, port, port)
            yield cuts

    def _allows(self, source: End, target: End, what: Wanted) -> bool:
        sent = packet(source, target, what)
        if self._has_hosts(source, target):
            return reach(self._cluster, source, target, what, self._options).allowed
        # Without host endpoints it does not matter whether both are on one node: each says its own.
        out = source.member is None or self._half(source.member, Direction.EGRESS, sent, sent.destination)
        return out and (target.member is None or self._half(target.member, Direction.INGRESS, sent, sent.source))

    def _half(self, member: Member, direction: Direction, sent: Packet, other: Address) -> bool:
        side = self._side(member, direction)
        mine = sent.source if direction is Direction.EGRESS else sent.destination
        traits = tuple(side.traits(address, self._members.of(address)) for address in (mine, other))
        key = (side.policies, direction, traits, sent.family, sent.protocol, sent.to_port, sent.icmp)
        if key not in self._answers:
            ask = leaving if direction is Direction.EGRESS else coming
            self._answers[key] = ask(self._cluster, member, sent, self._options).allowed
        return self._answers[key]

    def _side(self, member: Member, direction: Direction) -> _Side:
        key = (member.title, direction)
        if key not in self._sides:
            known = self._cluster.members[member.title]
            entry = self._cluster.state.endpoints[member.id]
            found = (direction, tuple(_asked(entry, direction, self._cluster.state)), entry.endpoint.profiles)
            if found not in self._same or member.node in self._cluster.hosts:
                self._same[found] = _Side(found, _rules(self._cluster, known, direction))
            self._sides[key] = self._same[found]
        return self._sides[key]


class _Side:
    """The rules that may decide at one endpoint in one direction, and by what they tell other ends apart."""

    def __init__(self, policies: Hashable, rules: Iterable[Rule]) -> None:
        self.policies = policies
        some = list(rules)
        peers = [peer for rule in some for peer in (rule.source, rule.destination)]
        self.cuts = Cuts()
        self.cuts.add(some)
        self.port_sets = {name for peer in peers for name in peer.port_sets()}
        self._names = self.port_sets | {name for peer in peers for name in peer.address_sets()}
        self._nets = list(dict.fromkeys(net for peer in peers for net in (*peer.nets, *peer.not_nets)))

    def traits(self, address: Address, sets: Iterable[Hashable]) -> Hashable:
        """Return all that these rules see of an address."""
        nets = tuple(i for i, net in enumerate(self._nets) if address in net)
        return nets, frozenset(one for one in sets if (one[0] if isinstance(one, tuple) else one) in self._names)


def _asked(entry: EndpointChanged, direction: Direction, state: State) -> Iterable[Hashable]:
    """Yield the tiers and policies of an endpoint that have a say in one direction."""
    for tier in entry.tiers:
        known = ((key, state.policies[key]) for key in tier.policies if key in state.policies)
        if keys := tuple(key for key, policy in known if direction in policy.types):
            yield tier.tier, keys


def _addresses(end: End) -> tuple[Address, ...]:
    if end.member is not None:
        return end.member.addresses
    return () if end.outside is None else (end.outside,)


def questions(asked: Iterable[Pairs], source: End, target: End, only: Wanted | None = None) -> list[Question]:
    """Return what to ask about, so that the answer is whole in all of the clusters that are asked."""
    if only:
        return [Question(only)]
    together = Cuts()
    for pairs in asked:
        for cuts in pairs.cuts(source, target):
            together.merge(cuts)
    return list(together.questions())


def _rules(cluster: Cluster, member: Member, direction: Direction) -> Iterable[Rule]:
    """Return the rules that may decide at an endpoint: its own, and those of its node's host endpoints."""
    state = cluster.state
    for id_ in (member.id, *cluster.hosts.get(member.node, ())):
        entry = state.endpoints[id_]
        for tier in entry.tiers:
            for key in tier.policies:
                if key in state.policies:
                    yield from state.policies[key].rules(direction)
        for name in entry.endpoint.profiles:
            if name in state.profiles:
                yield from state.profiles[name].rules(direction)
