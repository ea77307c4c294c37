"""Sets of peers in nftables: which sets a selector's members need, and what an element looks like.

Single addresses and prefixes are kept apart, and so are families: a set of single addresses is a hash table, one of
prefixes is not. A set of peers therefore has up to four parts, ``4h 4n 6h 6n``, and has those only that hold
something. Prefixes that lie inside another one are left out, for elements must not overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeAlias

from cloudnet.model import addresses
from cloudnet.model.addresses import Family, Network
from cloudnet.policy.rules import PortMember, SetId
from cloudnet.policy.table import Set, digest, harmless

Span: TypeAlias = tuple[int, int]  # first and last, both included
Spans: TypeAlias = Mapping[Family, tuple[Span, ...]]

PARTS: Final = ("4h", "4n", "6h", "6n")
WORDS: Final[Mapping[Family, str]] = {Family.IPV4: "ip", Family.IPV6: "ip6"}
TYPES: Final[Mapping[Family, str]] = {Family.IPV4: "ipv4_addr", Family.IPV6: "ipv6_addr"}


def part_of(network: Network) -> str:
    return f"{network.version}{'h' if network.prefixlen == network.max_prefixlen else 'n'}"


def name_of(set_id: SetId, part: str) -> str:
    return f"set-{digest(set_id)}-{part}"


def declare(set_id: SetId, part: str, *, of_ports: bool) -> Set:
    """Return the nftables set of one part."""
    key = TYPES[Family(int(part[0]))]
    if of_ports:
        key = f"{key} . inet_proto . inet_service"
    elif part[1] == "n":
        key = f"{key} . inet_proto"  # see table.Set: an interval needs company
    return Set(name_of(set_id, part), key, is_interval=part[1] == "n", comment=harmless(set_id))


def element(member: Network | PortMember) -> str:
    if isinstance(member, PortMember):
        return f"{text(member.address)} . {member.protocol} . {member.port}"
    if member.prefixlen == member.max_prefixlen:
        return str(member.network_address)
    return net_element(member)


def net_element(network: Network) -> str:
    """Return the element of a set of prefixes, where a single address may stand too."""
    return f"{text(network)} . 0-255"


def text(network: Network) -> str:
    """Return a prefix as the interval it is; nft would take ``0.0.0.0/0`` in a concatenation for something else."""
    first, last = network.network_address, network.broadcast_address
    return str(first) if first == last else f"{first}-{last}"


def outermost(networks: Iterable[Network]) -> Iterator[Network]:
    """Yield the prefixes that lie in no other one, in order."""
    last: Network | None = None
    for network in sorted(networks, key=addresses.order):
        if last is None or last.version != network.version or not _inside(network, last):
            yield network
            last = network


def spans(networks: Iterable[Network]) -> Spans:
    """Return networks as intervals that do not overlap, by family, in order."""
    ends: dict[Family, list[Span]] = {family: [] for family in Family}
    for network in outermost(networks):
        ends[Family(network.version)].append((int(network.network_address), int(network.broadcast_address)))
    return {family: tuple(of) for family, of in ends.items()}


def _inside(network: Network, outer: Network) -> bool:
    return int(network.network_address) <= int(outer.broadcast_address)  # sorted: it cannot begin before


def divide(members: Iterable[Network] | Iterable[PortMember]) -> dict[str, list[Network] | list[PortMember]]:
    """Return members by part, without prefixes inside others; parts that hold nothing are not there."""
    parts: dict[str, list[Network] | list[PortMember]] = {}
    for member in members:
        network = member.address if isinstance(member, PortMember) else member
        parts.setdefault(part_of(network), []).append(member)  # type: ignore[arg-type]  # members are of one kind
    for part in ("4n", "6n"):
        if part in parts and not isinstance(parts[part][0], PortMember):
            parts[part] = list(outermost(parts[part]))  # type: ignore[arg-type]  # networks, as just seen
    return parts
