"""What a node's kernel needs so that packets of native addresses leave by the interface that owns them. Pure.

The cloud drops what leaves an interface with another's address. So each further interface has a table with the way
out of its own subnet, and three kinds of rules say who uses it; docs/design/native-addresses.md has them in a table.
Packets to pods of this node, and from native pods to those of pools, stay in the main table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, collapse_addresses, ip_network

from cloudnet.kernel.api import INTERFACE_TABLES, MAIN_TABLE, KernelObject, Link, Route, Rule
from cloudnet.model.addresses import Address, Family, Network, family
from cloudnet.model.cloud_addresses import CloudAddresses, CloudInterface

TO_OWN, TO_POOLS, FROM_OWN = 101, 102, 103  # behind Calico's 99, before the main table's 32766
_EVERYWHERE = ip_network("0.0.0.0/0")


@dataclass(frozen=True, slots=True)
class Attached:
    """A further interface and the device that it is here."""

    interface: CloudInterface
    link: Link

    @property
    def ready(self) -> bool:
        """Whether the device is up and has the interface's own addresses."""
        return self.link.up and not self.missing

    @property
    def missing(self) -> tuple[Address, ...]:
        there = {address.ip for address in self.link.addresses}
        return tuple(a.ip for a in self.interface.addresses if a.ip not in there)


def attached(record: CloudAddresses | None, links: Mapping[str, Link]) -> tuple[Attached, ...]:
    """Return the further interfaces whose device is here, found by their MAC."""
    by_mac = {link.mac: link for link in links.values() if link.mac}
    further = (i for i in record.interfaces if i.number > 0) if record else ()
    return tuple(Attached(i, by_mac[i.mac]) for i in further if i.mac in by_mac)


def objects(
    record: CloudAddresses | None, here: Sequence[Attached], pools: Iterable[Network]
) -> Iterator[KernelObject]:
    """Yield the rules and tables; nothing while no further interface is ready. IPv6 is on the primary one."""
    ready = [a for a in here if a.ready]
    if record is None or not ready:
        return
    four = [cidr for cidr in pools if family(cidr) is Family.IPV4]
    for cidr in _merged(p.cidr for p in record.prefixes):
        yield Rule(Family.IPV4, TO_OWN, MAIN_TABLE, destination=cidr)
    for each in ready:
        yield from _table(each)
        own = (ip_network(a.ip) for a in each.interface.addresses)
        delivered = _merged(p.cidr for p in record.prefixes if p.interface == each.interface.id)
        for source in delivered:
            for pool in four:
                yield Rule(Family.IPV4, TO_POOLS, MAIN_TABLE, source=source, destination=pool)
        for source in _merged((*delivered, *own)):
            yield Rule(Family.IPV4, FROM_OWN, INTERFACE_TABLES + each.interface.number, source=source)


def ground(route: Route, here: Iterable[Attached]) -> Iterator[Route]:
    """Yield a native block's way over VXLAN for the tables of further interfaces, as long as no better one is proven.

    In the main table it is always there; a table of these has nothing but the way out, which may be dead.
    """
    if family(route.destination) is Family.IPV4:
        for each in here:
            if each.ready:
                yield replace(route, table=INTERFACE_TABLES + each.interface.number)


def _table(each: Attached) -> Iterator[Route]:
    """The router of a subnet has its first address on AWS, Azure, Google Cloud and IBM Cloud alike."""
    for address in each.interface.addresses:
        if family(address) is Family.IPV4:
            gateway = address.network.network_address + 1
            table = INTERFACE_TABLES + each.interface.number
            yield Route(_EVERYWHERE, each.link.name, gateway, table=table, onlink=True)


def _merged(cidrs: Iterable[Network]) -> list[IPv4Network]:
    return list(collapse_addresses(c for c in cidrs if isinstance(c, IPv4Network)))
