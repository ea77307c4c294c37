"""A pod's link as rtnetlink messages, and back. Pure: bytes in, bytes out; ``wire.py`` has the structs.

Routes have protocol boot and, on the host, scope link, as Calico's CNI plugin writes them: so other tools know them,
and nobody who looks for routes of our own protocol takes them away (docs/decisions/pod-routes.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from struct import Struct, iter_unpack

from cloudnet.kernel import codec, wire
from cloudnet.kernel.api import MAIN_TABLE
from cloudnet.kernel.pods import HOST_MAC, IPV4_GATEWAY, IPV6_GATEWAY, Owner, PodLink
from cloudnet.kernel.wire import Request
from cloudnet.model.addresses import Address, Network

_BOOT = 3  # RTPROT_BOOT
_AF = {4: wire.AF_INET, 6: wire.AF_INET6}
_LINK_LOCAL_LENGTH = 64

CREATE, REPLACE = codec.CREATE, codec.REPLACE

# --- making -------------------------------------------------------------------------------------------------


def create_pair(link: PodLink, namespace: int) -> Request:
    """Make both ends, down, each where it belongs: no moment in which one is elsewhere or has another name."""
    queues = wire.u32_attribute(wire.IFLA_NUM_TX_QUEUES, link.queues) + wire.u32_attribute(
        wire.IFLA_NUM_RX_QUEUES, link.queues
    )
    mtu = wire.u32_attribute(wire.IFLA_MTU, link.mtu)
    peer = (
        wire.LINK.pack(wire.AF_UNSPEC, 0, 0, 0, 0, 0)
        + _text(wire.IFLA_IFNAME, link.owner.interface)
        + mtu
        + queues
        + wire.attribute(wire.IFLA_ADDRESS, codec.pack_mac(link.mac))
        + wire.u32_attribute(wire.IFLA_NET_NS_FD, namespace)
    )
    info = wire.attribute(wire.IFLA_INFO_KIND, b"veth") + wire.attribute(
        wire.IFLA_INFO_DATA | wire.NLA_F_NESTED, wire.attribute(wire.VETH_INFO_PEER | wire.NLA_F_NESTED, peer)
    )
    body = (
        wire.LINK.pack(wire.AF_UNSPEC, 0, 0, 0, 0, 0)
        + _text(wire.IFLA_IFNAME, link.name)
        + mtu
        + queues
        + wire.attribute(wire.IFLA_ADDRESS, codec.pack_mac(HOST_MAC))
        + wire.attribute(wire.IFLA_LINKINFO | wire.NLA_F_NESTED, info)
    )
    return Request(wire.RTM_NEWLINK, CREATE, body)


def host_side(link: PodLink, index: int) -> list[Request]:
    """Mark the host's end as its owner's, let it answer for everybody, set it up, lead the pod's addresses to it."""
    requests = [_set_up(link, index)]
    if link.has(4):
        requests.append(_no_proxy_delay(index))
    if link.has(6):
        requests.append(put_address(index, IPV6_GATEWAY, length=_LINK_LOCAL_LENGTH))
    return requests + [put_host_route(address, index, CREATE) for address in link.addresses]


def _set_up(link: PodLink, index: int) -> Request:
    body = wire.LINK.pack(wire.AF_UNSPEC, 0, 0, index, wire.IFF_UP, wire.IFF_UP) + _text(
        wire.IFLA_IFALIAS, link.owner.alias
    )
    if link.has(4):
        conf = b"".join(wire.u32_attribute(*setting) for setting in ipv4_settings(link).items())
        body += wire.attribute(
            wire.IFLA_AF_SPEC | wire.NLA_F_NESTED,
            wire.attribute(
                wire.AF_INET | wire.NLA_F_NESTED, wire.attribute(wire.IFLA_INET_CONF | wire.NLA_F_NESTED, conf)
            ),
        )
    return Request(wire.RTM_SETLINK, 0, body)


def ipv4_settings(link: PodLink) -> Mapping[int, int]:
    """Return what the host's end does with IPv4: {IPV4_DEVCONF_*: value}. Felix sets the source check (rp_filter)."""
    return {
        wire.IPV4_DEVCONF_FORWARDING: 1,
        wire.IPV4_DEVCONF_PROXY_ARP: 1,
        wire.IPV4_DEVCONF_RP_FILTER: 0 if link.any_source else 1,
        wire.IPV4_DEVCONF_ROUTE_LOCALNET: 1,
    }


def _no_proxy_delay(index: int) -> Request:
    """Answer ARP for others at once, not after a random time (``neigh/*/proxy_delay``)."""
    parameters = wire.u32_attribute(wire.NDTPA_IFINDEX, index) + wire.attribute(
        wire.NDTPA_PROXY_DELAY, wire.U64.pack(0)
    )
    body = (
        wire.NEIGHBOUR_TABLE.pack(wire.AF_INET)
        + _text(wire.NDTA_NAME, "arp_cache")
        + wire.attribute(wire.NDTA_PARMS | wire.NLA_F_NESTED, parameters)
    )
    return Request(wire.RTM_SETNEIGHTBL, 0, body)


def put_host_route(address: Address, index: int, flags: int) -> Request:
    return Request(wire.RTM_NEWROUTE, flags, _route(_host(address), index, scope=wire.RT_SCOPE_LINK))


def remove_host_route(network: Network, index: int) -> Request:
    return Request(wire.RTM_DELROUTE, 0, _route(network, index, scope=wire.RT_SCOPE_NOWHERE))


def pod_side(link: PodLink, index: int) -> list[Request]:
    """Set the pod's end up, lead everything to the host, and only then give addresses, as Calico does."""
    requests = [Request(wire.RTM_NEWLINK, 0, wire.LINK.pack(wire.AF_UNSPEC, 0, 0, index, wire.IFF_UP, wire.IFF_UP))]
    if link.has(4):
        gateway = _route(_host(IPV4_GATEWAY), index, scope=wire.RT_SCOPE_LINK)
        requests.append(Request(wire.RTM_NEWROUTE, CREATE, gateway))
    for network in link.routes:
        if link.has(network.version):
            through: Address = IPV4_GATEWAY if isinstance(network, IPv4Network) else IPV6_GATEWAY
            body = _route(network, index, scope=wire.RT_SCOPE_UNIVERSE)
            body += wire.address_attribute(wire.RTA_GATEWAY, through.packed)
            requests.append(Request(wire.RTM_NEWROUTE, CREATE, body))
    return requests + [put_address(index, address) for address in link.addresses]


def put_address(index: int, address: Address, *, length: int | None = None) -> Request:
    """Nobody else is on this link, so IPv6 need not ask whether the address is taken."""
    body = (
        wire.ADDRESS.pack(_AF[address.version], length or address.max_prefixlen, 0, 0, index)
        + wire.address_attribute(wire.IFA_LOCAL, address.packed)
        + wire.address_attribute(wire.IFA_ADDRESS, address.packed)
    )
    if address.version == 6:  # noqa: PLR2004 - IPv6
        body += wire.u32_attribute(wire.IFA_FLAGS, wire.IFA_F_NODAD)
    return Request(wire.RTM_NEWADDR, REPLACE, body)


def _route(network: Network, index: int, *, scope: int) -> bytes:
    return (
        wire.ROUTE.pack(_AF[network.version], network.prefixlen, 0, 0, MAIN_TABLE, _BOOT, scope, wire.RTN_UNICAST, 0)
        + wire.address_attribute(wire.RTA_DST, network.network_address.packed)
        + wire.u32_attribute(wire.RTA_OIF, index)
    )


def _host(address: Address) -> Network:
    return IPv4Network(address) if isinstance(address, IPv4Address) else IPv6Network(address)


# --- cutting ------------------------------------------------------------------------------------------------

DOOMED = "cngone"
"""How the name of a link begins that was cut and is about to go."""


def cut(index: int, owner: Owner) -> list[Request]:
    """Take a device down, which takes its routes along, and give its name away; older kernels want this order."""
    down = wire.LINK.pack(wire.AF_UNSPEC, 0, 0, index, 0, wire.IFF_UP)
    renamed = wire.LINK.pack(wire.AF_UNSPEC, 0, 0, index, 0, 0) + _text(wire.IFLA_IFNAME, doomed_name(index))
    marked = _text(wire.IFLA_IFALIAS, owner.alias)
    return [Request(wire.RTM_SETLINK, 0, down), Request(wire.RTM_SETLINK, 0, renamed + marked)]


def remove(name: str) -> Request:
    """Remove a device by its name: an index may be another's by then."""
    head = wire.LINK.pack(wire.AF_UNSPEC, 0, 0, 0, 0, 0)
    return Request(wire.RTM_DELLINK, 0, head + _text(wire.IFLA_IFNAME, name))


def doomed_name(index: int) -> str:
    return f"{DOOMED}{index:x}"


# --- reading ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class End:
    """One device as the kernel has it; ``ipv4`` and ``ipv6`` are what it does with packets: {DEVCONF: value}."""

    name: str
    index: int
    mtu: int
    up: bool
    mac: str
    alias: str
    peer_namespace: int | None
    ipv4: Mapping[int, int]
    ipv6: Mapping[int, int]


def ask_link(name: str) -> bytes:
    return codec.ask_link(name)


def read_end(body: bytes) -> End:
    device = codec.read_link(body)
    found = wire.attributes(body, wire.LINK.size)
    families = wire.attributes(found.get(wire.IFLA_AF_SPEC, b""), 0)
    namespace = found.get(wire.IFLA_LINK_NETNSID)
    return End(
        device.name,
        device.index,
        device.mtu,
        device.up,
        device.mac,
        found.get(wire.IFLA_IFALIAS, b"").rstrip(b"\0").decode(errors="replace"),
        _i32(namespace) if namespace else None,
        # struct of u32, the first is number 1 of IPv4 and number 0 of IPv6
        _settings(families.get(wire.AF_INET), wire.IFLA_INET_CONF, first=1),
        _settings(families.get(wire.AF_INET6), wire.IFLA_INET6_CONF, first=0),
    )


def _settings(family: bytes | None, kind: int, *, first: int) -> Mapping[int, int]:
    values = wire.attributes(family, 0).get(kind, b"") if family else b""
    return {first + n: value for n, (value,) in enumerate(iter_unpack("=i", values[: len(values) & ~3]))}


def ask_namespace(descriptor: int) -> bytes:
    return wire.GENERIC.pack(0) + wire.u32_attribute(wire.NETNSA_FD, descriptor)


def read_namespace(body: bytes) -> int | None:
    """Return the number that our namespace knows another by; nothing when it knows it by none."""
    found = wire.attributes(body, wire.GENERIC.size).get(wire.NETNSA_NSID)
    number = _i32(found) if found else -1
    return number if number >= 0 else None


@dataclass(frozen=True, slots=True)
class FoundRoute:
    """One route of the main table, anybody's; ``device`` is an index."""

    network: Network
    device: int
    gateway: Address | None


def read_routes(bodies: Sequence[bytes]) -> Iterator[FoundRoute]:
    for body in bodies:
        af, length, _, _, table, _, _, kind, _ = wire.ROUTE.unpack_from(body)
        if table != MAIN_TABLE or kind != wire.RTN_UNICAST:
            continue
        found = wire.attributes(body, wire.ROUTE.size)
        packed = found.get(wire.RTA_DST)
        index = int.from_bytes(found.get(wire.RTA_OIF, b""), wire.BYTE_ORDER)
        gateway = found.get(wire.RTA_GATEWAY)
        network: Network = (
            IPv4Network((packed or bytes(4), length))
            if af == wire.AF_INET
            else IPv6Network((packed or bytes(16), length))
        )
        yield FoundRoute(network, index, codec.unpack_address(gateway) if gateway else None)


_I32 = Struct("=i")


def _i32(payload: bytes) -> int:
    return int(_I32.unpack_from(payload)[0])


def _text(kind: int, text: str) -> bytes:
    return wire.attribute(kind, text.encode(errors="surrogateescape") + b"\0")
