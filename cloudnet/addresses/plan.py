"""What one node's native addresses need next: more of them, or fewer. Pure.

    wanted = the pods that it runs + a few at hand, never more than its pod limit

Too few: one request, for all that is lacking, of whatever the machine and the subnets still have: prefixes before
single addresses, what is attached before another interface, the node's own subnet before others of its zone. Nothing
left: the reason, and pods get addresses of pools. Too many: the empty prefixes that can go, interfaces' last ones
first. What a pod uses is never in question.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from itertools import islice
from types import MappingProxyType
from typing import Final

from cloudnet.addresses.supply import Supply
from cloudnet.model.addresses import Family, Network, SubnetId, family, order
from cloudnet.model.resources import Cause
from cloudnet.provider.api import Instance, NetworkInterface, PodSubnet, Room, Wanted

BITS: Final[Mapping[Family, int]] = MappingProxyType({Family.IPV4: 32, Family.IPV6: 128})
BLOCK: Final = 64
"""Addresses of a block that is carved out of a prefix too large to be one: a block lists each of its addresses."""
LARGEST: Final = 256  # addresses of a prefix that is one block as it stands


@dataclass(frozen=True, slots=True)
class Settings:
    """How many addresses to keep, and for how long; times are seconds."""

    families: frozenset[Family] = frozenset({Family.IPV4})
    warm: int = 8
    pod_limit: int = 110  # Kubernetes' own default
    idle: float = 300.0  # what is not needed is kept so long: the next pods may come
    quarantine: float = 60.0  # between the last use of a prefix and giving it back: connections to it must die first
    leak: float = 900.0


@dataclass(frozen=True, slots=True)
class Member:
    """One node: its machine with the interfaces attached to it, how many pods it runs and may run.

    ``held`` are the prefixes that pods may be given addresses of, ``used`` how many addresses of each are taken.
    """

    instance: Instance
    room: Room
    interfaces: tuple[NetworkInterface, ...]
    held: tuple[Network, ...] = ()
    used: Mapping[Network, int] = field(default_factory=dict, hash=False)
    pods: Mapping[Family, int] = field(default_factory=dict, hash=False)
    limit: int = 110


@dataclass(frozen=True, slots=True)
class Assign:
    """Give an attached interface more."""

    interface: NetworkInterface
    wanted: Wanted


@dataclass(frozen=True, slots=True)
class Add:
    """Attach another interface that holds this."""

    subnet: SubnetId
    wanted: Wanted


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why there is nothing to ask for although addresses are lacking."""

    cause: Cause
    detail: str


Step = Assign | Add | Shortage | None


# --- growing ------------------------------------------------------------------------------------------------


def needed(member: Member, of: Family, settings: Settings) -> int:
    """Return how many native addresses the node should have."""
    return min(member.limit, member.pods.get(of, 0) + settings.warm)


def lacking(member: Member, of: Family, settings: Settings) -> int:
    """Return how many more addresses it needs; negative when it has more than enough."""
    return needed(member, of, settings) - sum(c.num_addresses for c in member.held if family(c) is of)


def grow(
    member: Member, settings: Settings, supply: Supply, subnets: Mapping[SubnetId, PodSubnet], *, now: float
) -> Step:
    """Return the next request, or why there is none; nothing when the node has enough."""
    for of in sorted(settings.families):
        number = lacking(member, of, settings)
        if number <= 0:
            continue
        asked = partial(_ways, member, of, number=number, supply=supply, subnets=subnets, now=now)
        ways = (way for length in _lengths(member.room, of) for way in asked(length))
        return next(ways, None) or _shortage(member, of)
    return None


def _lengths(room: Room, of: Family) -> Iterator[int]:
    if of in room.lengths:
        yield room.lengths[of]
    yield BITS[of]


def _ways(
    member: Member,
    of: Family,
    length: int,
    *,
    number: int,
    supply: Supply,
    subnets: Mapping[SubnetId, PodSubnet],
    now: float,
) -> Iterator[Assign | Add]:
    """Yield the requests that may bring that many addresses in pieces of one length, the best first."""
    count = -(-number // (1 << (BITS[of] - length)))
    for interface in sorted(_serving(member, of), key=lambda i: (not i.primary, i.id)):
        if interface.prefixes_only and length == BITS[of]:
            continue
        most = supply.most(interface.subnet, of, length, now=now)
        if wanted := min(count, free_slots(member.room, interface, of), most):
            yield Assign(interface, Wanted(of, length, wanted))
    if len(member.interfaces) < _most(member, of):
        for subnet in _near(member.instance, subnets, of):
            most = supply.most(subnet, of, length, now=now)
            if wanted := min(count, member.room.slots.get(of, 0), most):
                yield Add(subnet, Wanted(of, length, wanted))


def _serving(member: Member, of: Family) -> Iterable[NetworkInterface]:
    """Return the interfaces that pods are given addresses of.

    IPv6 ones are the primary interface's alone: a prefix there is more than a machine can use, and the router of a
    further interface is known by its advertisements only.
    """
    return (i for i in member.interfaces if i.primary or of is not Family.IPV6)


def _most(member: Member, of: Family) -> int:
    """Return how many interfaces may serve pods of a family."""
    return 1 if of is Family.IPV6 else member.room.interfaces


def free_slots(room: Room, interface: NetworkInterface, of: Family) -> int:
    """Return how many more prefixes or addresses an interface takes."""
    used = sum(family(c) is of for c in interface.cidrs) + interface.foreign.get(of, 0)
    return max(0, room.slots.get(of, 0) - used)


def _near(instance: Instance, subnets: Mapping[SubnetId, PodSubnet], of: Family) -> list[SubnetId]:
    """Return the subnets of the machine's zone: its own first, then those with most room."""
    zone = [s for s in subnets.values() if s.zone == instance.zone]
    ranked = sorted(zone, key=lambda s: (s.id != instance.subnet, -s.free.get(of, 0), s.id))
    return [s.id for s in ranked if s.free.get(of, 0) > 0]


def _shortage(member: Member, of: Family) -> Shortage:
    machine = f"instance {member.instance.id}" + (f" ({member.instance.type})" if member.instance.type else "")
    slots = sum(free_slots(member.room, i, of) for i in _serving(member, of) if not i.prefixes_only)
    most, each = _most(member, of), member.room.slots.get(of, 0)
    if slots == 0 and len(member.interfaces) >= most:
        return Shortage(
            Cause.QUOTA,
            f"{machine} holds all IPv{of} addresses that it can, {each} on each of {most}: "
            "further pods get addresses of pools; use a larger machine type",
        )
    where = ", ".join(sorted({str(i.subnet) for i in member.interfaces}))
    return Shortage(
        Cause.EXHAUSTED,
        f"no IPv{of} address is to be had for {machine} (subnet {where}): further pods get addresses of pools; "
        "free or reserve a range there, or name another subnet of the zone",
    )


def capacity(member: Member, of: Family) -> int:
    """Return how many pods can have a native address on the machine, at most."""
    per = 1 << (BITS[of] - member.room.lengths.get(of, BITS[of]))
    slots = member.room.slots.get(of, 0)
    serving = tuple(_serving(member, of))
    foreign = sum(i.foreign.get(of, 0) for i in serving)
    singles = sum(c.num_addresses < per for i in serving for c in i.cidrs if family(c) is of)
    interfaces = max(_most(member, of), len(serving))
    if of not in member.room.lengths:
        interfaces -= sum(i.prefixes_only for i in serving)
    whole = max(0, slots * interfaces - foreign - singles)
    return min(member.limit, whole * per + singles)


# --- shrinking ----------------------------------------------------------------------------------------------


def spare(member: Member, settings: Settings) -> tuple[Network, ...]:
    """Return the empty prefixes that the node does not need: those of later interfaces first, so that these empty."""
    where = {c: (i.primary, i.id) for i in member.interfaces for c in i.cidrs}
    found: list[Network] = []
    for of in sorted(settings.families):
        excess = -lacking(member, of, settings)
        empty = [c for c in member.held if family(c) is of and not member.used.get(c)]
        for cidr in sorted(empty, key=lambda c: (where.get(c, (True, "")), c.num_addresses, order(c))):
            if cidr.num_addresses <= excess:
                excess -= cidr.num_addresses
                found.append(cidr)
    return tuple(found)


def idle_interfaces(member: Member) -> tuple[NetworkInterface, ...]:
    """Return the interfaces of ours that deliver nothing."""
    return tuple(i for i in member.interfaces if i.ours and not i.primary and not i.cidrs)


# --- blocks -------------------------------------------------------------------------------------------------


def blocks(cidr: Network, wanted: int) -> tuple[Network, ...]:
    """Return the blocks of a prefix that give ``wanted`` addresses: itself, or the first pieces of a large one."""
    if cidr.num_addresses <= LARGEST:
        return (cidr,)
    return tuple(islice(_pieces(cidr), max(1, -(-wanted // BLOCK))))


def _pieces(cidr: Network) -> Iterator[Network]:
    length = cidr.max_prefixlen - (BLOCK - 1).bit_length()
    first, size = int(cidr.network_address), BLOCK
    for index in range(1 << (length - cidr.prefixlen)):
        packed = (first + index * size, length)
        yield IPv4Network(packed) if isinstance(cidr, IPv4Network) else IPv6Network(packed)


def inside(blocks_: Iterable[Network], cidr: Network) -> list[Network]:
    """Return the blocks that lie in a prefix."""
    return [
        b
        for b in blocks_
        if b.version == cidr.version and b.prefixlen >= cidr.prefixlen and b.network_address in cidr
    ]
