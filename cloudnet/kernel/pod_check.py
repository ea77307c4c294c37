"""Looks whether a pod's link is still as it was made: each difference is a sentence that names the thing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network

from cloudnet.kernel import pod_codec, wire
from cloudnet.kernel.codec import ask_routes
from cloudnet.kernel.devices import read_addresses
from cloudnet.kernel.pod_codec import End
from cloudnet.kernel.pods import HOST_MAC, IPV4_GATEWAY, IPV6_GATEWAY, Owner, PodLink
from cloudnet.kernel.rtnetlink import Refusal, Socket
from cloudnet.model.addresses import Address, Family

_FIB_MATCH = 0x2000  # RTM_F_FIB_MATCH, linux/rtnetlink.h: answer with the route, not with what it is used for
_SETTINGS: Mapping[int, str] = {
    wire.IPV4_DEVCONF_FORWARDING: "net.ipv4.conf.{}.forwarding",
    wire.IPV4_DEVCONF_PROXY_ARP: "net.ipv4.conf.{}.proxy_arp",
    wire.IPV4_DEVCONF_RP_FILTER: "net.ipv4.conf.{}.rp_filter",
    wire.IPV4_DEVCONF_ROUTE_LOCALNET: "net.ipv4.conf.{}.route_localnet",
}
_SETTINGS6: Mapping[int, tuple[str, int]] = {
    wire.DEVCONF_FORWARDING: ("net.ipv6.conf.{}.forwarding", 1),
    wire.DEVCONF_PROXY_NDP: ("net.ipv6.conf.{}.proxy_ndp", 1),
    wire.DEVCONF_DISABLE_IPV6: ("net.ipv6.conf.{}.disable_ipv6", 0),
}


def host_side(through: Socket, link: PodLink, end: End | None) -> Iterator[str]:
    if end is None:
        yield f"the host has no device {link.name}"
        return
    owner = Owner.of(end.alias)
    if owner != link.owner:
        yield f"{link.name} of the host belongs to somebody else, its alias is {end.alias!r}"
    yield from _device(f"{link.name} of the host", end, mac=HOST_MAC, mtu=link.mtu)
    yield from _settings(link, end)
    for address in link.addresses:
        if _device_to(through, address) != end.index:
            yield f"the host has no route to {address} through {link.name}"


def pod_side(through: Socket, link: PodLink, end: End | None) -> Iterator[str]:
    interface = link.owner.interface
    if end is None:
        yield f"the pod has no device {interface}"
        return
    yield from _device(f"{interface} of the pod", end, mac=link.mac, mtu=link.mtu)
    there = {found.ip for found in read_addresses(through).get(end.index, ())}
    for address in link.addresses:
        if address not in there:
            yield f"{interface} of the pod has no address {address}"
    routes = {
        (route.network, route.gateway)
        for family in Family
        for route in pod_codec.read_routes(through.dump(wire.RTM_GETROUTE, ask_routes(family)))
        if route.device == end.index
    }
    for network in link.routes:
        gateway: Address = IPV4_GATEWAY if isinstance(network, IPv4Network) else IPV6_GATEWAY
        if link.has(network.version) and (network, gateway) not in routes:
            yield f"the pod has no route to {network} via {gateway} through {interface}"


def _device(what: str, end: End, *, mac: str, mtu: int) -> Iterator[str]:
    if not end.up:
        yield f"{what} is down"
    if end.mac != mac:
        yield f"{what} has the MAC {end.mac} instead of {mac}"
    if mtu and end.mtu != mtu:
        yield f"{what} has the MTU {end.mtu} instead of {mtu}"


def _settings(link: PodLink, end: End) -> Iterator[str]:
    if link.has(Family.IPV4):
        for number, wanted in pod_codec.ipv4_settings(link).items():
            if end.ipv4.get(number) != wanted:
                yield f"{_SETTINGS[number].format(link.name)} is {end.ipv4.get(number)} instead of {wanted}"
    if link.has(Family.IPV6):
        for number, (name, wanted) in _SETTINGS6.items():
            if end.ipv6.get(number) != wanted:
                yield f"{name.format(link.name)} is {end.ipv6.get(number)} instead of {wanted}"


def _device_to(through: Socket, address: Address) -> int:
    """Return the device of the route to an address, 0 when there is none."""
    af = wire.AF_INET if isinstance(address, IPv4Address) else wire.AF_INET6
    body = wire.ROUTE.pack(af, address.max_prefixlen, 0, 0, 0, 0, 0, 0, _FIB_MATCH)
    answer = through.ask(wire.RTM_GETROUTE, body + wire.address_attribute(wire.RTA_DST, address.packed))
    if isinstance(answer, Refusal):
        return 0
    for route in pod_codec.read_routes([answer]):
        return route.device
    return 0
