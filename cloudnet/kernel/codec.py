"""Our kernel objects as rtnetlink messages, and back. Pure: bytes in, bytes out; ``wire.py`` has the structs.

Encoding stands in the way of every packet while a node joins, so it builds each message with as few calls as it can.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

from cloudnet.kernel import wire
from cloudnet.kernel.api import (
    LEARNED_TABLE,
    MAIN_TABLE,
    ROUTE_PROTOCOL,
    FdbEntry,
    Gateway,
    Hop,
    Link,
    Neighbour,
    Route,
    RouteKind,
    Rule,
    VxlanDevice,
)
from cloudnet.kernel.wire import Request
from cloudnet.model.addresses import Address, Family, Interface, Network, family

IndexOf = Callable[[str], int]
"""Gives a device's index; raises KernelError when there is no such device."""

_FAMILY = {4: wire.AF_INET, 6: wire.AF_INET6}
_VERSION = {wire.AF_INET: Family.IPV4, wire.AF_INET6: Family.IPV6}
_KINDS = {kind.value: kind for kind in RouteKind}
_IPV4_BYTES = 4
_MAC_BYTES = 6

CREATE = wire.NLM_F_CREATE | wire.NLM_F_EXCL
REPLACE = wire.NLM_F_CREATE | wire.NLM_F_REPLACE


# --- routes -------------------------------------------------------------------------------------------------


def put_route(route: Route, index_of: IndexOf, flags: int) -> Request:
    destination, kind = route.destination, route.kind
    scope = wire.RT_SCOPE_UNIVERSE
    if kind is RouteKind.LOCAL:
        scope = wire.RT_SCOPE_HOST
    elif route.gateway is None and kind is RouteKind.UNICAST:
        scope = wire.RT_SCOPE_LINK
    parts = [
        wire.ROUTE.pack(
            _FAMILY[destination.version],
            destination.prefixlen,
            0,
            0,
            wire.table_byte(route.table),
            ROUTE_PROTOCOL,
            scope,
            kind.value,
            wire.RTNH_F_ONLINK if route.onlink else 0,
        ),
        wire.address_attribute(wire.RTA_DST, destination.network_address.packed),
        wire.u32_attribute(wire.RTA_PRIORITY, route.metric),
        wire.u32_attribute(wire.RTA_TABLE, route.table),
    ]
    if route.gateway is not None:
        parts.append(wire.address_attribute(wire.RTA_GATEWAY, route.gateway.packed))
    if route.device is not None:
        parts.append(wire.u32_attribute(wire.RTA_OIF, index_of(route.device)))
    if route.source is not None:
        parts.append(wire.address_attribute(wire.RTA_PREFSRC, route.source.packed))
    return Request(wire.RTM_NEWROUTE, flags, b"".join(parts))


def remove_route(route: Route) -> Request:
    """Delete what has the route's key and our protocol, wherever it leads."""
    destination = route.destination
    body = (
        wire.ROUTE.pack(
            _FAMILY[destination.version],
            destination.prefixlen,
            0,
            0,
            wire.table_byte(route.table),
            ROUTE_PROTOCOL,
            wire.RT_SCOPE_NOWHERE,  # any scope
            0,  # any type
            0,
        )
        + wire.address_attribute(wire.RTA_DST, destination.network_address.packed)
        + wire.u32_attribute(wire.RTA_PRIORITY, route.metric)
        + wire.u32_attribute(wire.RTA_TABLE, route.table)
    )
    return Request(wire.RTM_DELROUTE, 0, body)


def ask_routes(version: Family, *, protocol: int = 0, table: int = 0) -> bytes:
    """Return the question for all routes of a family, filtered by the kernel where it is asked to."""
    head = wire.ROUTE.pack(_FAMILY[version], 0, 0, 0, wire.table_byte(table), protocol, 0, 0, 0)
    return head + wire.u32_attribute(wire.RTA_TABLE, table) if table else head


def read_route(body: bytes, names: Mapping[int, str]) -> Route | None:
    """Return one of our routes; ``None`` for what others wrote and for what we never write."""
    af, length, _, _, table, protocol, _, kind, flags = wire.ROUTE.unpack_from(body)
    if protocol != ROUTE_PROTOCOL or kind not in _KINDS:
        return None
    found = wire.attributes(body, wire.ROUTE.size)
    device = names.get(_u32(found.get(wire.RTA_OIF)))
    return Route(
        destination=_network(af, found.get(wire.RTA_DST), length),
        device=None if kind == wire.RTN_BLACKHOLE else device,  # IPv6 hangs these on lo
        gateway=_maybe_address(found.get(wire.RTA_GATEWAY)),
        metric=_u32(found.get(wire.RTA_PRIORITY)),
        table=_u32(found.get(wire.RTA_TABLE)) or table,
        kind=_KINDS[kind],
        onlink=bool(flags & wire.RTNH_F_ONLINK),
        source=_maybe_address(found.get(wire.RTA_PREFSRC)),
    )


def read_learned(body: bytes, names: Mapping[int, str]) -> tuple[Network, Hop] | None:
    """Return one of BIRD's routes through a gateway; ``None`` for all others."""
    af, length, _, _, _, protocol, _, kind, _ = wire.ROUTE.unpack_from(body)
    if protocol != wire.RTPROT_BIRD or kind != wire.RTN_UNICAST:
        return None
    found = wire.attributes(body, wire.ROUTE.size)
    if _u32(found.get(wire.RTA_TABLE)) != LEARNED_TABLE:
        return None
    hop = _first_hop(found, names)
    return (_network(af, found.get(wire.RTA_DST), length), hop) if hop is not None else None


def _first_hop(found: Mapping[int, bytes], names: Mapping[int, str]) -> Hop | None:
    """Return where a route leads; of several next hops the first."""
    if hops := found.get(wire.RTA_MULTIPATH):
        size, _, _, index = wire.NEXT_HOP.unpack_from(hops)
        found = wire.attributes(hops[:size], wire.NEXT_HOP.size)
    else:
        index = _u32(found.get(wire.RTA_OIF))
    address, device = _maybe_address(found.get(wire.RTA_GATEWAY)), names.get(index)
    return Hop(address, device) if address is not None and device is not None else None


def read_destination(body: bytes) -> Network:
    """Return where a route leads to, whoever wrote it."""
    af, length, *_ = wire.ROUTE.unpack_from(body)
    return _network(af, wire.attributes(body, wire.ROUTE.size).get(wire.RTA_DST), length)


def read_gateway(body: bytes, names: Mapping[int, str]) -> tuple[int, Gateway] | None:
    """Return ``(metric, gateway)`` of a default route in the main table; of several next hops the first."""
    af, length, _, _, table, _, _, kind, _ = wire.ROUTE.unpack_from(body)
    if length != 0 or kind != wire.RTN_UNICAST or table != MAIN_TABLE:
        return None
    found = wire.attributes(body, wire.ROUTE.size)
    metric = _u32(found.get(wire.RTA_PRIORITY))
    hop = _first_hop(found, names)
    return (metric, Gateway(_VERSION[af], hop.device, hop.gateway)) if hop is not None else None


# --- neighbours and forwarding entries ----------------------------------------------------------------------


def put_neighbour(neighbour: Neighbour, index_of: IndexOf) -> Request:
    body = (
        wire.NEIGHBOUR.pack(
            _FAMILY[neighbour.address.version], 0, 0, index_of(neighbour.device), wire.NUD_PERMANENT, 0, 0
        )
        + wire.address_attribute(wire.NDA_DST, neighbour.address.packed)
        + wire.attribute(wire.NDA_LLADDR, pack_mac(neighbour.mac))
    )
    return Request(wire.RTM_NEWNEIGH, REPLACE, body)


def remove_neighbour(neighbour: Neighbour, index_of: IndexOf) -> Request:
    head = wire.NEIGHBOUR.pack(_FAMILY[neighbour.address.version], 0, 0, index_of(neighbour.device), 0, 0, 0)
    return Request(wire.RTM_DELNEIGH, 0, head + wire.address_attribute(wire.NDA_DST, neighbour.address.packed))


def ask_neighbours(version: Family) -> bytes:
    return wire.NEIGHBOUR.pack(_FAMILY[version], 0, 0, 0, 0, 0, 0)


def read_neighbour(body: bytes, names: Mapping[int, str]) -> Neighbour | None:
    """Return one permanent neighbour on one of the named devices."""
    _, _, _, index, state, _, _ = wire.NEIGHBOUR.unpack_from(body)
    device = names.get(index)
    if device is None or not state & wire.NUD_PERMANENT:
        return None
    found = wire.attributes(body, wire.NEIGHBOUR.size)
    mac, address = found.get(wire.NDA_LLADDR), found.get(wire.NDA_DST)
    if mac is None or address is None:
        return None
    return Neighbour(device, unpack_address(address), unpack_mac(mac))


def put_fdb(entry: FdbEntry, index_of: IndexOf) -> Request:
    body = (
        wire.NEIGHBOUR.pack(wire.AF_BRIDGE, 0, 0, index_of(entry.device), wire.NUD_PERMANENT, wire.NTF_SELF, 0)
        + wire.attribute(wire.NDA_LLADDR, pack_mac(entry.mac))
        + wire.address_attribute(wire.NDA_DST, entry.address.packed)
    )
    return Request(wire.RTM_NEWNEIGH, REPLACE, body)


def remove_fdb(entry: FdbEntry, index_of: IndexOf) -> Request:
    """Delete all that the device knows of the MAC: without NDA_DST every remote of it goes."""
    head = wire.NEIGHBOUR.pack(wire.AF_BRIDGE, 0, 0, index_of(entry.device), 0, wire.NTF_SELF, 0)
    return Request(wire.RTM_DELNEIGH, 0, head + wire.attribute(wire.NDA_LLADDR, pack_mac(entry.mac)))


def ask_fdb(index: int) -> bytes:
    return wire.NEIGHBOUR.pack(wire.AF_BRIDGE, 0, 0, index, 0, 0, 0)


def read_fdb(body: bytes, names: Mapping[int, str]) -> FdbEntry | None:
    """Return one permanent forwarding entry of one of the named devices."""
    af, _, _, index, state, _, _ = wire.NEIGHBOUR.unpack_from(body)
    device = names.get(index)
    if device is None or af != wire.AF_BRIDGE or not state & wire.NUD_PERMANENT:
        return None
    found = wire.attributes(body, wire.NEIGHBOUR.size)
    mac, address = found.get(wire.NDA_LLADDR), found.get(wire.NDA_DST)
    if mac is None or address is None:
        return None
    return FdbEntry(device, unpack_mac(mac), unpack_address(address))


@dataclass(frozen=True, slots=True)
class NeighbourNotice:
    """A change of a neighbour (by address) or forwarding entry (by MAC), in raw bytes: thousands may come at once."""

    bridge: bool
    index: int
    key: bytes
    value: bytes
    permanent: bool
    gone: bool


def read_neighbour_notice(kind: int, body: bytes) -> NeighbourNotice:
    af, _, _, index, state, _, _ = wire.NEIGHBOUR.unpack_from(body)
    found = wire.attributes(body, wire.NEIGHBOUR.size)
    mac, address = found.get(wire.NDA_LLADDR, b""), found.get(wire.NDA_DST, b"")
    bridge = af == wire.AF_BRIDGE
    return NeighbourNotice(
        bridge=bridge,
        index=index,
        key=mac if bridge else address,
        value=address if bridge else mac,
        permanent=bool(state & wire.NUD_PERMANENT),
        gone=kind == wire.RTM_DELNEIGH,
    )


# --- rules --------------------------------------------------------------------------------------------------


def put_rule(rule: Rule) -> Request:
    return Request(wire.RTM_NEWRULE, wire.NLM_F_CREATE, _rule(rule))


def remove_rule(rule: Rule) -> Request:
    return Request(wire.RTM_DELRULE, 0, _rule(rule))


def _rule(rule: Rule) -> bytes:
    lengths = [end.prefixlen if end else 0 for end in (rule.destination, rule.source)]
    parts = [
        wire.RULE.pack(_FAMILY[rule.family], *lengths, 0, wire.table_byte(rule.table), 0, 0, wire.FR_ACT_TO_TBL, 0),
        wire.u32_attribute(wire.FRA_PRIORITY, rule.priority),
        wire.u32_attribute(wire.FRA_TABLE, rule.table),
        wire.attribute(wire.FRA_PROTOCOL, wire.U8.pack(ROUTE_PROTOCOL)),
    ]
    for kind, end in ((wire.FRA_DST, rule.destination), (wire.FRA_SRC, rule.source)):
        if end is not None:
            parts.append(wire.address_attribute(kind, end.network_address.packed))
    if rule.protocol is not None:
        parts.append(wire.attribute(wire.FRA_IP_PROTO, wire.U8.pack(rule.protocol)))
    if rule.dport is not None:
        parts.append(wire.attribute(wire.FRA_DPORT_RANGE, wire.PORT_RANGE.pack(rule.dport, rule.dport)))
    return b"".join(parts)


def ask_rules(version: Family) -> bytes:
    return wire.RULE.pack(_FAMILY[version], 0, 0, 0, 0, 0, 0, 0, 0)


def read_rule(body: bytes) -> Rule | None:
    """Return one of our rules; ``None`` for others'."""
    af, to, of, _, table, _, _, action, _ = wire.RULE.unpack_from(body)
    found = wire.attributes(body, wire.RULE.size)
    ours = found.get(wire.FRA_PROTOCOL) == wire.U8.pack(ROUTE_PROTOCOL)
    if not ours or action != wire.FR_ACT_TO_TBL:
        return None
    protocol, ports = found.get(wire.FRA_IP_PROTO), found.get(wire.FRA_DPORT_RANGE)
    return Rule(
        family=_VERSION[af],
        priority=_u32(found.get(wire.FRA_PRIORITY)),
        table=_u32(found.get(wire.FRA_TABLE)) or table,
        protocol=protocol[0] if protocol else None,
        dport=wire.PORT_RANGE.unpack(ports)[0] if ports else None,
        source=_network(af, found[wire.FRA_SRC], of) if wire.FRA_SRC in found else None,
        destination=_network(af, found[wire.FRA_DST], to) if wire.FRA_DST in found else None,
    )


# --- devices and their addresses ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Vxlan:
    """What tells one VXLAN device from another; ``parent`` is a device index."""

    vni: int
    port: int
    parent: int
    local: Address | None
    learning: bool


@dataclass(frozen=True, slots=True)
class Device:
    """One network device as the kernel has it; ``vxlan`` is ``None`` when it is something else."""

    name: str
    index: int
    mtu: int
    up: bool
    mac: str
    vxlan: Vxlan | None

    def link(self, addresses: tuple[Interface, ...]) -> Link:
        return Link(self.name, self.index, self.mtu, self.up, self.mac, addresses)


_ALL_LINKS = wire.LINK.pack(wire.AF_UNSPEC, 0, 0, 0, 0, 0)
_NO_STATISTICS = wire.u32_attribute(wire.IFLA_EXT_MASK, wire.RTEXT_FILTER_SKIP_STATS)


def ask_links() -> bytes:
    return _ALL_LINKS + _NO_STATISTICS


def ask_link(name: str) -> bytes:
    return _ALL_LINKS + _NO_STATISTICS + _name(name)


def read_link(body: bytes) -> Device:
    _, _, _, index, flags, _ = wire.LINK.unpack_from(body)
    found = wire.attributes(body, wire.LINK.size)
    mac = found.get(wire.IFLA_ADDRESS, b"")
    return Device(
        name=found[wire.IFLA_IFNAME].rstrip(b"\0").decode(errors="surrogateescape"),
        index=index,
        mtu=_u32(found.get(wire.IFLA_MTU)),
        up=bool(flags & wire.IFF_UP),
        mac=unpack_mac(mac) if len(mac) == _MAC_BYTES else "",
        vxlan=_vxlan(wire.attributes(found.get(wire.IFLA_LINKINFO, b""), 0)),
    )


def leads_pods(body: bytes) -> bool:
    """Tell whether a routing rule may choose a table for pods: not the kernel's first ones, nor ours of one port."""
    found = wire.attributes(body, wire.RULE.size)
    protocol = found.get(wire.FRA_PROTOCOL, b"\0")[0]
    of_probes = protocol == ROUTE_PROTOCOL and wire.FRA_DPORT_RANGE in found
    return protocol != wire.RTPROT_KERNEL and not of_probes


def read_qdisc(body: bytes) -> tuple[int, str]:
    """Return the device's index and the kind of one queueing discipline."""
    _, index, _, _, _ = wire.QDISC.unpack_from(body)
    return index, wire.attributes(body, wire.QDISC.size)[wire.TCA_KIND].rstrip(b"\0").decode()


def _vxlan(info: Mapping[int, bytes]) -> Vxlan | None:
    if info.get(wire.IFLA_INFO_KIND, b"").rstrip(b"\0") != b"vxlan":
        return None
    data = wire.attributes(info.get(wire.IFLA_INFO_DATA, b""), 0)
    local = data.get(wire.IFLA_VXLAN_LOCAL) or data.get(wire.IFLA_VXLAN_LOCAL6)
    return Vxlan(
        vni=_u32(data.get(wire.IFLA_VXLAN_ID)),
        port=int.from_bytes(data.get(wire.IFLA_VXLAN_PORT, b""), "big"),  # the one value in network byte order
        parent=_u32(data.get(wire.IFLA_VXLAN_LINK)),
        local=_maybe_address(local),
        learning=data.get(wire.IFLA_VXLAN_LEARNING) != b"\0",
    )


def create_vxlan(device: VxlanDevice, parent: int) -> Request:
    kind = wire.IFLA_VXLAN_LOCAL if family(device.local) is Family.IPV4 else wire.IFLA_VXLAN_LOCAL6
    data = (
        wire.u32_attribute(wire.IFLA_VXLAN_ID, device.vni)
        + wire.u32_attribute(wire.IFLA_VXLAN_LINK, parent)
        + wire.address_attribute(kind, device.local.packed)
        + wire.attribute(wire.IFLA_VXLAN_LEARNING, b"\0")
        + wire.attribute(wire.IFLA_VXLAN_PORT, device.port.to_bytes(2, "big"))
    )
    info = wire.attribute(wire.IFLA_INFO_KIND, b"vxlan") + wire.attribute(
        wire.IFLA_INFO_DATA | wire.NLA_F_NESTED, data
    )
    body = (
        wire.LINK.pack(wire.AF_UNSPEC, 0, 0, 0, wire.IFF_UP, wire.IFF_UP)
        + _name(device.name)
        + wire.u32_attribute(wire.IFLA_MTU, device.mtu)
        + wire.attribute(wire.IFLA_ADDRESS, pack_mac(device.mac))
        + wire.attribute(wire.IFLA_LINKINFO | wire.NLA_F_NESTED, info)
    )
    return Request(wire.RTM_NEWLINK, CREATE, body)


def change_link(index: int, *, mac: str | None, mtu: int | None) -> Request:
    """Give a device another MAC or MTU, and set it up.

    A MAC, even the one it has, makes the kernel forget all neighbours of the device (``neigh_changeaddr``).
    """
    parts = [wire.LINK.pack(wire.AF_UNSPEC, 0, 0, index, wire.IFF_UP, wire.IFF_UP)]
    if mtu is not None:
        parts.append(wire.u32_attribute(wire.IFLA_MTU, mtu))
    if mac is not None:
        parts.append(wire.attribute(wire.IFLA_ADDRESS, pack_mac(mac)))
    return Request(wire.RTM_NEWLINK, 0, b"".join(parts))


def delete_link(index: int) -> Request:
    return Request(wire.RTM_DELLINK, 0, wire.LINK.pack(wire.AF_UNSPEC, 0, 0, index, 0, 0))


def ask_addresses() -> bytes:
    return wire.ADDRESS.pack(wire.AF_UNSPEC, 0, 0, 0, 0)


def read_address(body: bytes) -> tuple[int, Interface]:
    """Return ``(device index, address)``; IFA_LOCAL is the own one where a peer's is in IFA_ADDRESS."""
    _, length, _, _, index = wire.ADDRESS.unpack_from(body)
    found = wire.attributes(body, wire.ADDRESS.size)
    packed = found.get(wire.IFA_LOCAL) or found[wire.IFA_ADDRESS]
    if len(packed) == _IPV4_BYTES:
        return index, IPv4Interface((packed, length))
    return index, IPv6Interface((packed, length))


def put_address(index: int, address: Interface) -> Request:
    """IPv6 skips duplicate address detection: a tunnel device has nobody to ask and would wait a second."""
    body = _address(index, address)
    if family(address) is Family.IPV6:
        body += wire.u32_attribute(wire.IFA_FLAGS, wire.IFA_F_NODAD)
    return Request(wire.RTM_NEWADDR, REPLACE, body)


def remove_address(index: int, address: Interface) -> Request:
    return Request(wire.RTM_DELADDR, 0, _address(index, address))


def _address(index: int, address: Interface) -> bytes:
    packed = address.ip.packed
    return (
        wire.ADDRESS.pack(_FAMILY[address.version], address.network.prefixlen, 0, 0, index)
        + wire.address_attribute(wire.IFA_LOCAL, packed)
        + wire.address_attribute(wire.IFA_ADDRESS, packed)
    )


# --- pieces -------------------------------------------------------------------------------------------------


def pack_mac(mac: str) -> bytes:
    """Return the six bytes of ``66:f9:37:c3:7e:94``.

    Raises:
        ValueError: it is no MAC address.
    """
    packed = bytes.fromhex(mac.replace(":", ""))
    if len(packed) != _MAC_BYTES:
        raise ValueError(f"{mac!r} is no MAC address: expected six bytes in hexadecimal, colons between")
    return packed


def unpack_mac(packed: bytes) -> str:
    return packed.hex(":")


def unpack_address(packed: bytes) -> Address:
    return IPv4Address(packed) if len(packed) == _IPV4_BYTES else IPv6Address(packed)


def _maybe_address(packed: bytes | None) -> Address | None:
    return unpack_address(packed) if packed else None


def _network(af: int, packed: bytes | None, length: int) -> Network:
    if af == wire.AF_INET:
        return IPv4Network((packed or bytes(4), length))
    return IPv6Network((packed or bytes(16), length))


def _u32(payload: bytes | None) -> int:
    return int.from_bytes(payload, wire.BYTE_ORDER) if payload else 0


def _name(name: str) -> bytes:
    return wire.attribute(wire.IFLA_IFNAME, name.encode(errors="surrogateescape") + b"\0")
