"""Where this node stands: its Node, the devices that carry its addresses, the gateways there. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from cloudnet.agent import desired
from cloudnet.agent.actions import KernelRead
from cloudnet.agent.desired import Underlay
from cloudnet.agent.secondary import Attached
from cloudnet.config import AgentConfig
from cloudnet.kernel.api import OVERLAY_DEVICES, Link
from cloudnet.model.addresses import Address, Family, NodeName, family
from cloudnet.model.resources import CloudNode, Node
from cloudnet.routes.path import Here


def underlays(node: Node, read: KernelRead) -> dict[Family, Underlay]:
    """Return the device of each address family that has a tunnel's end, with the gateway behind it."""
    found: dict[Family, Underlay] = {}
    for address in node.addresses:
        version = family(address)
        link = next((each for each in read.links.values() if _carries(each, address.ip)), None)
        if link is not None and node.vtep(version) is not None:
            ways = (g.address for g in read.gateways if g.family is version and g.device == link.name)
            found[version] = Underlay(link, next(ways, None))
    return found


def here(config: AgentConfig, node: Node, cloud: CloudNode | None, found: Mapping[Family, Underlay]) -> Here | None:
    """Return what the choice of paths has to know of this node; nothing without a device to send on."""
    if not found:
        return None
    gateways = {version: under.gateway for version, under in found.items() if under.gateway is not None}
    underlay_mtu = min(under.link.mtu for under in found.values())
    vxlan_mtu = min(desired.vxlan_mtu(config, version, under.link.mtu) for version, under in found.items())
    return Here(node, cloud, gateways, underlay_mtu, vxlan_mtu, speaks_bgp=config.bgp)


def no_ground(name: NodeName, node: Node | None) -> str:
    """Return in one sentence why there is no ground, and what to do."""
    if node is None:
        return f"node {name!r} is not in the store: create its Node resource, or correct --node"
    if not node.addresses:
        return f"node {name!r} has no address: set ip_autodetection_method, or say it in its Node resource"
    if not node.vteps:
        return f"node {name!r} has no tunnel address: make an IPPool that selects it, or give it a VTEP"
    addresses = ", ".join(str(each.ip) for each in node.addresses)
    return f"no device carries an address of node {name!r} ({addresses}): correct the Node resource"


def sysctls(found: Mapping[Family, Underlay], further: Iterable[Attached]) -> Iterator[tuple[str, str]]:
    """Yield the settings that routing needs; of ``all`` and a device's own rp_filter the greater counts.

    Forwarding on makes a host ignore router advertisements unless accept_ra is 2 (ip-sysctl.rst).
    """
    for version, underlay in found.items():
        if version is Family.IPV4:
            yield "net.ipv4.ip_forward", "1"
            for device in (underlay.link.name, OVERLAY_DEVICES[version], *(each.link.name for each in further)):
                yield f"net.ipv4.conf.{device}.rp_filter", "2"
        else:
            yield f"net.ipv6.conf.{underlay.link.name}.accept_ra", "2"
            yield "net.ipv6.conf.all.forwarding", "1"


def _carries(link: Link, address: Address) -> bool:
    return any(own.ip == address for own in link.addresses)
