"""The VXLAN ground as values: our device, and what leads to one remote node and its blocks.

Compatible with Calico in name, number and MAC, so that nodes of both understand each other on the wire. For each
remote node one forwarding entry and one neighbour, for each of its blocks one route; nothing is ever learnt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from ipaddress import ip_interface
from types import MappingProxyType

from cloudnet.kernel.api import OVERLAY_DEVICES, FdbEntry, Neighbour, Route, VxlanDevice
from cloudnet.model.addresses import Address, Family, Network, NodeName, family
from cloudnet.model.resources import Node, Vtep

VNI = 4096  # Felix vxlanVNI
PORT = 4789  # RFC 7348 section 5; Felix vxlanPort. The Linux default, 8472, is older than the RFC
METRIC = 1024  # Felix ipv4NormalRoutePriority; native routes lie above with a smaller one

OVERHEAD: Mapping[Family, int] = MappingProxyType(
    {
        Family.IPV4: 20 + 8 + 8 + 14,  # outer IPv4, UDP, VXLAN (RFC 7348 section 5), inner Ethernet
        Family.IPV6: 40 + 8 + 8 + 14,
    }
)
"""Bytes that encapsulation takes from the underlay's MTU, by the family of the *outer* header."""

_MAC_FIRST = 0x66  # "f"; locally administered and unicast


def device_name(version: Family) -> str:
    return OVERLAY_DEVICES[version]


def mac_of(node: NodeName, version: Family) -> str:
    """Return the MAC of a node's tunnel end when none is published. Follows Calico ``vxlan_resolver.go``."""
    name = node if version is Family.IPV4 else f"{node}-v6"
    digest = hashlib.sha1(name.encode(), usedforsecurity=False).digest()
    return bytes((_MAC_FIRST, *digest[:5])).hex(":")


def vtep(node: Node, version: Family) -> Vtep | None:
    """Return a node's tunnel end with its MAC, published or computed; ``None`` while it has no tunnel address."""
    published = node.vtep(version)
    if published is None:
        return None
    return Vtep(published.address, published.mac.lower() or mac_of(node.name, version))


def mtu(underlay: int, version: Family) -> int:
    """Return the largest packet in bytes that fits inside the tunnel."""
    return underlay - OVERHEAD[version]


def device(
    node: Node,
    version: Family,
    *,
    parent: str,
    underlay_mtu: int,
    vni: int = VNI,
    port: int = PORT,
    fixed_mtu: int = 0,
) -> VxlanDevice | None:
    """Return this node's own overlay device; ``None`` while it lacks an address or a tunnel address of the family.

    ``fixed_mtu`` in bytes, unless zero, is taken instead of what the underlay leaves.
    """
    address, end = node.address(version), vtep(node, version)
    if address is None or end is None:
        return None
    return VxlanDevice(
        name=device_name(version),
        vni=vni,
        port=port,
        parent=parent,
        local=address.ip,
        mac=end.mac,
        mtu=fixed_mtu or mtu(underlay_mtu, version),
        addresses=(ip_interface(end.address),),
    )


def to_node(remote: Node, version: Family) -> tuple[FdbEntry | Neighbour, ...]:
    """Return what leads frames to a remote node; nothing while its tunnel end or its address is unknown."""
    address, end = remote.address(version), vtep(remote, version)
    if address is None or end is None:
        return ()
    name = device_name(version)
    return FdbEntry(name, end.mac, address.ip), Neighbour(name, end.address, end.mac)


def to_block(block: Network, end: Address) -> Route:
    """Return the route that leads a remote block's packets to its node's tunnel end."""
    return Route(block, device_name(family(block)), end, metric=METRIC, onlink=True)


def ground(remote: Node, block: Network) -> tuple[FdbEntry | Neighbour | Route, ...]:
    """Return all that one remote block needs, in the order that never sends a packet nowhere."""
    version = family(block)
    towards, end = to_node(remote, version), remote.vtep(version)
    if not towards or end is None:
        return ()
    return (*towards, to_block(block, end.address))
