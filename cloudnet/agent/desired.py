"""What one node's kernel should hold: for itself, for each remote node, for each block. Pure functions over values.

The layers, from the bottom: the VXLAN device; per remote node a forwarding entry and a neighbour; per remote
block the ground route (metric 1024); the probes' own table, where every block has its native way; and on top,
for blocks that are proven, the native route (metric 512) in the main table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cloudnet.agent.wishes import NATIVE_METRIC
from cloudnet.config import AgentConfig
from cloudnet.kernel.api import (
    MAIN_TABLE,
    PROBE_TABLE,
    KernelObject,
    Link,
    Route,
    RouteKind,
    Rule,
)
from cloudnet.model.addresses import Address, Family, Network, family
from cloudnet.model.resources import Node
from cloudnet.overlay import vxlan
from cloudnet.routes.path import Candidate

IPPROTO_UDP = 17  # linux/in.h; what decides imports no socket
PROBE_PRIORITY = 98  # before Calico's 99 and the main table's 32766
_WHOLE = {Family.IPV4: 32, Family.IPV6: 128}


@dataclass(frozen=True, slots=True)
class Underlay:
    """The device that carries this node's own address, and the way out of its subnet."""

    link: Link
    gateway: Address | None


def vxlan_mtu(config: AgentConfig, version: Family, underlay_mtu: int) -> int:
    """Return the MTU that is safe inside the tunnel; pods get it too, so that no switch breaks a connection."""
    return config.vxlan_mtu or vxlan.mtu(underlay_mtu, version)


def for_itself(
    config: AgentConfig, node: Node, version: Family, underlay: Underlay, *, probing: bool = True
) -> Iterator[KernelObject]:
    """Yield the overlay device and the probes' rule of one family; nothing when the node has no tunnel address.

    Without ``probing``, as nothing can be native, there is no rule: with one, Linux looks up routes, and the sources
    of all packets that come to the node, rule by rule.
    """
    device = vxlan.device(
        node,
        version,
        parent=underlay.link.name,
        underlay_mtu=underlay.link.mtu,
        vni=config.vxlan_vni,
        port=config.vxlan_port,
        fixed_mtu=config.vxlan_mtu,
    )
    if device is not None:
        yield device
    if device is not None and probing:
        yield Rule(version, PROBE_PRIORITY, PROBE_TABLE, IPPROTO_UDP, config.probe_port)


def for_own_block(block: Network) -> Iterator[KernelObject]:
    """Yield what stops packets for pods that are not there, and what lets probes into the block be answered."""
    version = family(block)
    yield Route(block, device="lo", table=PROBE_TABLE, kind=RouteKind.LOCAL)
    if block.prefixlen != _WHOLE[version]:
        yield Route(block, kind=RouteKind.BLACKHOLE)


def for_remote_block(
    block: Network, node: Node, offered: Candidate, underlay: Underlay, *, native: bool
) -> Iterator[KernelObject]:
    """Yield the ground, the probes' way when the cloud offers one, and the native route when it is in use."""
    version = family(block)
    vtep = node.vtep(version)
    if vtep is None or node.address(version) is None:
        return
    yield vxlan.to_block(block, vtep.address)
    if offered.native:
        yield _native(block, offered, underlay, PROBE_TABLE)
        if native:
            yield native_route(block, offered, underlay)


def native_route(block: Network, offered: Candidate, underlay: Underlay) -> Route:
    """Return the route that lies over the ground while the native path is in use."""
    return _native(block, offered, underlay, MAIN_TABLE)


def _native(block: Network, offered: Candidate, underlay: Underlay, table: int) -> Route:
    gateway, device = offered.next_hop, offered.device or underlay.link.name
    onlink = device == underlay.link.name and not any(gateway in a.network for a in underlay.link.addresses)
    return Route(block, device, gateway, metric=NATIVE_METRIC, table=table, onlink=onlink)
