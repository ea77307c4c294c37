"""What a cloud's answers mean for a cluster that is about to come: findings alike on every cloud. Pure.

A plugin reads, hands its values in and says how to remedy, in its cloud's own commands. Each function answers with
the problems that it found, or with the one finding that all is well.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

from cloudnet.model.addresses import Family, Network, NodeName, SubnetId, family
from cloudnet.provider import firewall
from cloudnet.provider.api import (
    Capabilities,
    Holdings,
    Instance,
    Owner,
    RouteTable,
    RouteTables,
    TableRoute,
    Wanted,
)
from cloudnet.provider.errors import PermissionDenied
from cloudnet.provider.firewall import Gap, Guard, inside
from cloudnet.provider.preflight import Check, Finding, Needs, Severity

T = TypeVar("T")

OVERHEAD: Mapping[Family, int] = MappingProxyType({Family.IPV4: 50, Family.IPV6: 70})  # bytes of VXLAN (RFC 7348)
_BITS: Mapping[Family, int] = MappingProxyType({Family.IPV4: 32, Family.IPV6: 128})
NEARLY = 0.9  # of a limit: the next few nodes meet it
_SHOWN = 4  # names in one line

Machines = Mapping[NodeName, Instance]


def asked(
    read: Callable[[], T], what: str, remedy: str, *, severity: Severity = Severity.BLOCKS
) -> tuple[T | None, tuple[Finding, ...]]:
    """Return what a read returned, and whether it was allowed.

    Raises:
        ProviderError: it failed for another reason.
    """
    try:
        return read(), (Finding(Check.PERMISSION, what),)
    except PermissionDenied as error:
        return None, (Finding(Check.PERMISSION, what, severity, str(error), remedy),)


def machines(needs: Needs, found: Machines, *, remedy: str) -> tuple[Finding, ...]:
    """Judge whether every node has a machine that runs."""
    missing = [node.name for node in needs.nodes if node.name not in found]
    stopped = [name for name, instance in found.items() if not instance.running]
    return _or_well(
        Check.MACHINES,
        _count(len(needs.nodes), "node"),
        [
            *_blocked(Check.MACHINES, missing, "this cloud knows no machine with their id or address", remedy),
            *_blocked(Check.MACHINES, stopped, "their machines do not run", "start them"),
        ],
    )


def forwarding(
    found: Machines, *, problem: str, remedy: Callable[[Instance], str], severity: Severity
) -> tuple[Finding, ...]:
    """Judge whether the fabric takes packets of pods from and to each machine."""
    off = ((name, instance) for name, instance in sorted(found.items()) if not instance.forwarding)
    return _or_well(
        Check.FORWARDING,
        _count(len(found), "machine"),
        [Finding(Check.FORWARDING, f"{n}, {i.interface}", severity, problem, remedy(i)) for n, i in off],
    )


def tables(found: Machines, read: RouteTables, *, remedy: Callable[[str], str]) -> tuple[Finding, ...]:
    """Judge whether every node's subnet has a route table."""
    unserved: dict[str, list[NodeName]] = defaultdict(list)
    for name, instance in found.items():
        if not read.of(instance.subnet):
            unserved[instance.subnet].append(name)
    return _or_well(
        Check.TABLES,
        _count(len(read.tables), "route table"),
        [
            Finding(
                Check.TABLES,
                f"subnet {subnet} of {listed(names)}",
                Severity.BLOCKS,
                "no route table in scope serves it",
                remedy(subnet),
            )
            for subnet, names in sorted(unserved.items())
        ],
    )


def foreign(
    needs: Needs, found: Machines, read: RouteTables, *, remedy: Callable[[RouteTable, TableRoute], str]
) -> tuple[Finding, ...]:
    """Judge whether somebody else's route stands inside a pool.

    One that is as long as a block or longer takes that block's place. A wider one takes only packets to blocks that
    have no route of their own.
    """
    return _or_well(
        Check.ROUTES,
        f"{_count(len(read.tables), 'route table')}, inside {listed(map(str, needs.pods)) or 'no pool'}",
        [
            Finding(
                Check.ROUTES,
                f"{route.destination} in {table.name or table.id}",
                severity,
                f"somebody else's route leads to {route.target or 'another machine'}",
                remedy(table, route),
            )
            for table in read.tables
            for route in table.routes
            if (severity := _in_the_way(route, needs, found))
        ],
    )


def _in_the_way(route: TableRoute, needs: Needs, found: Machines) -> Severity | None:
    pool = next((pool for pool in needs.pools if inside(route.destination, pool.cidr)), None)
    if pool is None or route.owner in (Owner.OURS, Owner.DECLARED):
        return None
    if route.owner is Owner.UNMARKED and any(i.next_hop.same_as(route.next_hop) for i in found.values()):
        return None  # it leads to one of our nodes: the controller adopts it, or reports it by name
    return Severity.BLOCKS if route.destination.prefixlen >= pool.block_size else Severity.WARNING


def quota(
    needs: Needs,
    found: Machines,
    read: RouteTables,
    capabilities: Capabilities,
    *,
    remedy: Callable[[RouteTable, int], str],
) -> tuple[Finding, ...]:
    """Judge whether a route for every block fits into every table, beside what others have there."""
    known = {block for blocks in needs.blocks.values() for block in blocks}
    problems = []
    for table in read.tables:
        for version in sorted(needs.families & capabilities.families):
            limit = table.limits.get(version, capabilities.routes_per_table)
            others = sum(family(r.destination) is version and r.destination not in known for r in table.routes)
            wanted = others + _wanted(table, needs, found, capabilities, version)
            if limit and not table.read_only and wanted > NEARLY * limit:
                problems.append(_over(table, version, limit, wanted, remedy(table, wanted)))
    return _or_well(Check.QUOTA, _count(len(read.tables), "route table"), problems)


def _wanted(table: RouteTable, needs: Needs, found: Machines, capabilities: Capabilities, version: Family) -> int:
    """Return how many routes of ours a table will hold."""
    own = table.subnets if len(table.subnets) == 1 and capabilities.l2_adjacent else frozenset()
    return sum(
        needs.routes_to(name)[version]
        for name, instance in found.items()
        if instance.subnet not in own and table.zone in ("", instance.zone)
    )


def _over(table: RouteTable, version: Family, limit: int, wanted: int, remedy: str) -> Finding:
    severity = Severity.BLOCKS if wanted > limit else Severity.WARNING
    what = "what is beyond stays on VXLAN" if wanted > limit else "the next few nodes meet the limit"
    return Finding(
        Check.QUOTA,
        f"IPv{version:d} routes in {table.name or table.id}",
        severity,
        f"{wanted} are wanted with others' together, and {limit} fit: {what}",
        remedy,
    )


def mtu(needs: Needs, found: Machines) -> tuple[Finding, ...]:
    """Judge whether pods' packets fit between all machines, in VXLAN too: a switch must not break a connection."""
    if not found:
        return ()
    smallest = min(instance.mtu for instance in found.values())
    fits = smallest - max((OVERHEAD[each] for each in needs.families), default=OVERHEAD[Family.IPV4])
    subject = f"pod_mtu {needs.pod_mtu or 'as every path allows'}, {smallest} bytes between machines"
    if needs.pod_mtu <= fits:
        return (Finding(Check.MTU, subject),)
    where = [name for name, instance in found.items() if instance.mtu == smallest]
    return (
        Finding(
            Check.MTU,
            subject,
            Severity.BLOCKS,
            f"packets of {needs.pod_mtu} bytes are lost in VXLAN at {listed(where)}",
            f"set CLOUDNET_POD_MTU={fits} for every agent, or 0",
        ),
    )


def rooms(
    needs: Needs, found: Machines, holdings: Holdings, *, remedy: Callable[[SubnetId], str]
) -> tuple[Finding, ...]:
    """Judge whether each node that holds no native addresses can have a first prefix, as the cloud delegates it."""
    return tuple(f for version in sorted(needs.native) for f in _rooms(found, holdings, version, remedy=remedy))


def no_rooms(needs: Needs) -> tuple[Finding, ...]:
    """Judge a cloud that gives pods no addresses of its own; nothing is said where none are wanted."""
    if not needs.native:
        return ()
    problem, remedy = "this cloud gives pods no addresses of its own", "set native_addresses to none: pods have pools"
    return (Finding(Check.ADDRESSES, "native addresses", Severity.BLOCKS, problem, remedy),)


def _rooms(
    found: Machines, holdings: Holdings, version: Family, *, remedy: Callable[[SubnetId], str]
) -> tuple[Finding, ...]:
    holding = {i.instance for i in holdings.interfaces if any(family(cidr) is version for cidr in i.cidrs)}
    without = {i.id for i in found.values()} - holding
    lacking: dict[SubnetId, list[NodeName]] = defaultdict(list)
    wanted: Counter[SubnetId] = Counter()
    for name, instance in sorted(found.items()):
        if instance.id not in without or instance.id not in holdings.rooms:
            continue
        length = holdings.rooms[instance.id].lengths.get(version)
        wanted[instance.subnet] += Wanted(version, length or _BITS[version]).addresses
        if wanted[instance.subnet] > _free(holdings, instance.subnet, version):
            lacking[instance.subnet].append(name)
    return _or_well(
        Check.ADDRESSES,
        f"native IPv{version:d} addresses in {_count(len(holdings.subnets), 'subnet')}",
        [
            Finding(
                Check.ADDRESSES,
                f"native IPv{version:d} addresses in subnet {subnet}",
                Severity.BLOCKS,
                f"{_free(holdings, subnet, version)} are free, so there are none for {listed(names)}",
                remedy(subnet),
            )
            for subnet, names in sorted(lacking.items())
        ],
    )


def _free(holdings: Holdings, subnet: SubnetId, version: Family) -> int:
    return holdings.subnets[subnet].free.get(version, 0) if subnet in holdings.subnets else 0


def overlaps(needs: Needs, ranges: Iterable[tuple[str, Network]], *, severity: Severity) -> tuple[Finding, ...]:
    """Judge whether a pool overlaps a range of the cloud's own: (what it is, its addresses)."""
    return _or_well(
        Check.ADDRESSES,
        f"pools {listed(map(str, needs.pods)) or 'none'}",
        [
            Finding(
                Check.ADDRESSES,
                f"pool {pool.meta.name} ({pool.cidr})",
                severity,
                f"it overlaps {what} {network}",
                f"give the pool addresses outside {network}: cloudnet get ippool {pool.meta.name} -o yaml",
            )
            for pool in needs.pools
            for what, network in sorted(set(ranges), key=str)
            if inside(pool.cidr, network) or inside(network, pool.cidr)
        ],
    )


def families(needs: Needs, capabilities: Capabilities) -> tuple[Finding, ...]:
    """Judge whether the cloud routes the families that pools have; nothing is said where it does."""
    return tuple(
        Finding(
            Check.ADDRESSES,
            f"pool {pool.meta.name} ({pool.cidr})",
            Severity.WARNING,
            f"this cloud has no IPv{pool.cidr.version} routes: VXLAN carries these pods",
            "nothing to do, or leave the pool out",
        )
        for pool in needs.pools
        if family(pool.cidr) not in capabilities.families
    )


def openings(needs: Needs, guards: Sequence[Guard], *, remedy: Callable[[Guard, Gap], str]) -> tuple[Finding, ...]:
    """Judge whether VXLAN, probes and pods' packets pass every firewall, both ways."""
    wanted = firewall.openings(needs)
    return _or_well(
        Check.FIREWALL,
        f"{_count(len(guards), 'firewall')}, for {listed(opening.name for opening in wanted) or 'nothing yet'}",
        [
            Finding(
                Check.FIREWALL,
                f"{guard.name} of {listed(guard.nodes)}",
                Severity.BLOCKS,
                gap.words,
                remedy(guard, gap),
            )
            for guard in guards
            for gap in _widened(firewall.gaps(guard, wanted), needs)
        ],
    )


def _widened(found: Iterable[Gap], needs: Needs) -> Iterator[Gap]:
    for gap in found:
        yield Gap(gap.opening, gap.inbound, gap.protocols, firewall.widened(gap.remotes, needs))


def listed(names: Iterable[str]) -> str:
    """Return names for one line: all of few, the first of many."""
    every = sorted(names)
    more = len(every) - _SHOWN
    return ", ".join(every[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _blocked(check: Check, names: Sequence[str], problem: str, remedy: str) -> list[Finding]:
    return [Finding(check, listed(names), Severity.BLOCKS, problem, remedy)] if names else []


def _or_well(check: Check, subject: str, problems: Sequence[Finding]) -> tuple[Finding, ...]:
    return tuple(problems) or (Finding(check, subject),)
