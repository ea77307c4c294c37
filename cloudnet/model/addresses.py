"""Addresses, prefixes and the identifiers that must not be mixed up."""

from __future__ import annotations

import enum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import NewType, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Interface: TypeAlias = IPv4Interface | IPv6Interface
Network: TypeAlias = IPv4Network | IPv6Network

NodeName = NewType("NodeName", str)
InstanceId = NewType("InstanceId", str)  # a machine in the cloud: i-0abc…
InterfaceId = NewType("InterfaceId", str)  # a network interface in the cloud: eni-0abc…
SubnetId = NewType("SubnetId", str)
TableId = NewType("TableId", str)  # a route table in the cloud: rtb-0abc…


class Family(enum.IntEnum):
    """Address family, by its IP version number."""

    IPV4 = 4
    IPV6 = 6


_FAMILIES = {4: Family.IPV4, 6: Family.IPV6}  # Family(4) costs ten times a dict look-up


FAMILIES = {
    "none": frozenset[Family](),
    "ipv4": frozenset({Family.IPV4}),
    "ipv6": frozenset({Family.IPV6}),
    "dual": frozenset(Family),
}
"""What a setting may say of families, and which it means."""


def family(of: Address | Interface | Network) -> Family:
    return _FAMILIES[of.version]


def order(prefix: Network) -> tuple[int, int, int]:
    """Return a sort key: IPv4 before IPv6, then by address, then the wider prefix first."""
    return prefix.version, int(prefix.network_address), prefix.prefixlen
