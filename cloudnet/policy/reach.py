"""May one end of the cluster reach another one? Asked of the reference evaluator, on both ends of the way.

A packet between nodes is policed twice: on the node that it leaves, by the sender's egress policy, and on the node
that it comes to, by the receiver's ingress policy; host endpoints of both nodes have their say as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address

from cloudnet.errors import BadInput
from cloudnet.model.addresses import Address, Family, family
from cloudnet.model.policies import NUMBERS
from cloudnet.policy.cluster import UPLINK, Cluster, Member, only
from cloudnet.policy.evaluate import evaluate
from cloudnet.policy.options import Options
from cloudnet.policy.packets import Packet
from cloudnet.policy.rules import ANY_INTERFACE, ICMP, ICMPV6, WITH_PORTS, Icmp
from cloudnet.policy.verdicts import Step, Verdict

FROM_PORT = 40_000  # an ephemeral port, as Linux gives them to whoever opens a connection
ECHO = {Family.IPV4: Icmp(8, 0), Family.IPV6: Icmp(128, 0)}  # RFC 792, RFC 4443


@dataclass(frozen=True, slots=True)
class End:
    """One end of a packet's way: an endpoint of the cluster, or an address outside."""

    title: str
    member: Member | None = None
    outside: Address | None = None

    def address(self, of: Family) -> Address | None:
        if self.member is not None:
            return self.member.address(of)
        return self.outside if self.outside is not None and self.outside.version == of else None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is sent: a protocol, with a port or an ICMP type if it has such."""

    protocol: int
    port: int | None = None
    icmp: Icmp | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether a packet gets from end to end. ``egress``: on the sender's node; ``ingress``: on the receiver's.

    Between pods of one node there is one verdict, ``egress``, with the steps of both. One that nobody was asked for
    is not there: for an end outside, or after the packet was dropped.
    """

    allowed: bool
    packet: Packet
    egress: Verdict | None = None
    ingress: Verdict | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(step for verdict in (self.egress, self.ingress) if verdict for step in verdict.steps)

    @property
    def deciding(self) -> Step | None:
        """The step that denied it, or the last one that let it through; nothing if nobody policed it."""
        return self.steps[-1] if self.steps else None


def find(cluster: Cluster, text: str) -> End:
    """Return the end that a person means: ``shop/web``, ``web``, ``host:NAME`` or an address.

    Raises:
        BadInput: there is none such.
    """
    address = _address(text)
    if address is None:
        member = cluster.member(text)
        return End(member.title, member)
    owner = cluster.owner(address)
    return End(owner.title, owner) if owner else End(text, outside=address)


def _address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def wanted(text: str, target: End) -> Wanted:
    """Return what a person wants to send: ``80``, ``53/udp``, ``http``, ``icmp``, ``icmp/8``, ``47/ip``.

    A name is a port of the target.

    Raises:
        BadInput: it is none of these, or the target calls no port so.
    """
    first, _, second = text.lower().partition("/")
    protocols = {name.lower(): number for name, number in NUMBERS.items()}
    if first in {"icmp", "icmpv6", "ping"}:
        return Wanted(protocols.get(first, ICMP), icmp=Icmp(_number(second, 255, text)) if second else None)
    if second == "ip":
        return Wanted(_number(first, 255, text))
    if first in protocols and second:
        first, second = second, first
    if second and second not in protocols:
        raise BadInput(f"expected a port such as 80, 53/udp, http or icmp, found {text!r}")
    if not first.isdecimal():
        return _named(first, protocols.get(second), target, text)
    return Wanted(protocols.get(second, protocols["tcp"]), _number(first, 65535, text))


def _named(name: str, protocol: int | None, target: End, text: str) -> Wanted:
    ports = target.member.ports if target.member else ()
    for port in ports:
        if port.name == name and protocol in {None, port.protocol}:
            return Wanted(port.protocol, port.number)
    known = f"its ports are {', '.join(port.name for port in ports)}" if ports else "it names none"
    raise BadInput(f"{target.title} has no port {text!r}: {known}")


def _number(text: str, highest: int, whole: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) <= highest:
        raise BadInput(f"expected a number from 0 to {highest} in {whole!r}")
    return int(text)


def packet(source: End, target: End, what: Wanted) -> Packet:
    """Return the packet that opens a connection from end to end.

    Raises:
        BadInput: the ends have no address of one family.
    """
    from_, to = _addresses(source, target)
    icmp = what.icmp
    protocol = what.protocol
    if protocol in {ICMP, ICMPV6}:
        protocol = ICMP if from_.version == 4 else ICMPV6  # noqa: PLR2004 - of an address
        icmp = icmp or ECHO[family(from_)]
    return Packet(from_, to, protocol, FROM_PORT if protocol in WITH_PORTS else None, what.port, icmp)


def _addresses(source: End, target: End) -> tuple[Address, Address]:
    for of in Family:
        from_, to = source.address(of), target.address(of)
        if from_ is not None and to is not None:
            return from_, to
    raise BadInput(f"{source.title} and {target.title} have no address of one family")


def reach(cluster: Cluster, source: End, target: End, what: Wanted, options: Options | None = None) -> Answer:
    """Return whether a packet that opens a connection gets there, and what everybody on its way says.

    Raises:
        BadInput: the ends have no address of one family.
    """
    sent, options = packet(source, target, what), options or Options()
    if on_one_node(source, target):
        verdict = _within(cluster, source, target, sent, options)
        return Answer(verdict.allowed, sent, verdict)
    egress = leaving(cluster, source.member, sent, options) if source.member else None
    if egress and not egress.allowed:
        return Answer(allowed=False, packet=sent, egress=egress)
    ingress = coming(cluster, target.member, sent, options) if target.member else None
    return Answer(ingress is None or ingress.allowed, sent, egress, ingress)


def on_one_node(source: End, target: End) -> bool:
    """Tell whether a packet stays on one node; pods whose node nobody named are on nodes of their own."""
    one, other = source.member, target.member
    return one is not None and other is not None and bool(one.node) and one.node == other.node


def leaving(cluster: Cluster, member: Member, sent: Packet, options: Options) -> Verdict:
    """Return what the sender's node says to a packet that goes to another one."""
    way = replace(sent, enters=_interface(cluster, member), leaves=_uplink(cluster, member))
    return _ask(cluster, way, [member], options)


def coming(cluster: Cluster, member: Member, sent: Packet, options: Options) -> Verdict:
    """Return what the receiver's node says to a packet that comes from another one."""
    way = replace(sent, enters=_uplink(cluster, member), leaves=_interface(cluster, member))
    return _ask(cluster, way, [member], options)


def _within(cluster: Cluster, source: End, target: End, sent: Packet, options: Options) -> Verdict:
    members = [end.member for end in (source, target) if end.member]
    enters, leaves = (_interface(cluster, member) for member in members)
    return _ask(cluster, replace(sent, enters=enters, leaves=leaves), members, options)


def _ask(cluster: Cluster, way: Packet, members: list[Member], options: Options) -> Verdict:
    ids = [*(member.id for member in members), *cluster.hosts.get(members[0].node, ())]
    return evaluate(only(cluster.state, [cluster.state.endpoints[id_] for id_ in ids]), way, options)


def _interface(cluster: Cluster, member: Member) -> str | None:
    """Return the interface at an endpoint; what the node itself sends or gets has none."""
    return None if member.is_host else cluster.state.endpoints[member.id].endpoint.interface


def _uplink(cluster: Cluster, member: Member) -> str:
    """Return the interface by which an endpoint's node is left: a host endpoint's, if one on the way has a name."""
    ids = [member.id] if member.is_host else cluster.hosts.get(member.node, ())
    named = (cluster.state.endpoints[id_].endpoint.interface for id_ in ids)
    return next((name for name in named if name != ANY_INTERFACE), UPLINK)
