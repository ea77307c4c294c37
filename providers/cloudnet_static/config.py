"""What the operator declares of a network without an API. Every field is in docs/reference/static.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

import msgspec

from cloudnet.errors import BadInput
from cloudnet.model.addresses import Address, Network

NAME = "static"
LEAST_MTU = 1280  # IPv6 asks for it (RFC 8200)


@dataclass(frozen=True, slots=True)
class Subnet:
    """One segment that nodes are on."""

    cidr: Network
    name: str
    zone: str = ""
    mtu: int = 1500


@dataclass(frozen=True, slots=True)
class Routed:
    """A prefix that routers carry natively, for packets from these subnets (all when none is named).

    ``next_hop`` is the node that they send it to; without one they find out by themselves who has which block.
    """

    prefix: Network
    next_hop: Address | None = None
    subnets: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class StaticConfig:
    """A network. Without ``subnets`` each node's own prefix is one, with this ``mtu``."""

    l2: bool = True  # nodes of a subnet hear each other's Ethernet frames
    mtu: int = 1500
    subnets: tuple[Subnet, ...] = ()
    routed: tuple[Routed, ...] = ()


@dataclass(frozen=True, slots=True)
class _SubnetDocument:
    cidr: str
    name: str = ""
    zone: str = ""
    mtu: int | None = None


@dataclass(frozen=True, slots=True)
class _RoutedDocument:
    prefix: str
    next_hop: str = ""
    subnets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Document:
    """The configuration as it is written: prefixes and addresses are text."""

    l2: bool = True
    mtu: int = 1500
    subnets: tuple[_SubnetDocument, ...] = ()
    routed: tuple[_RoutedDocument, ...] = ()


def parse(
    config: Mapping[str, Any],  # parsed JSON, checked here
) -> StaticConfig:
    """Return the checked settings.

    Raises:
        BadInput: a field is unknown or of the wrong kind; the message names it.
    """
    _only(config, _Document, "")
    for section, kind in (("subnets", _SubnetDocument), ("routed", _RoutedDocument)):
        entries = config.get(section, ())
        for i, entry in enumerate(entries if isinstance(entries, list | tuple) else ()):
            if isinstance(entry, Mapping):
                _only(entry, kind, f"{section}[{i}].")
    try:
        document = msgspec.convert(config, _Document)
    except msgspec.ValidationError as error:
        raise BadInput(str(error), path="static provider config") from error
    mtu = _mtu(document.mtu, "mtu")
    subnets = tuple(_subnet(s, f"subnets[{i}]", mtu) for i, s in enumerate(document.subnets))
    _distinct(subnets)
    names = frozenset(s.name for s in subnets)
    routed = tuple(_routed(r, f"routed[{i}]", names) for i, r in enumerate(document.routed))
    _once(routed)
    return StaticConfig(document.l2, mtu, subnets, routed)


def _only(found: Iterable[str], kind: type, prefix: str) -> None:
    known = [f.name for f in dataclasses.fields(kind)]
    for name in found:
        if name not in known:
            where = f"{prefix}{name}"
            raise BadInput(f"is not a setting of the static provider; there are {', '.join(known)}", path=where)


def _subnet(document: _SubnetDocument, path: str, mtu: int) -> Subnet:
    cidr = _network(document.cidr, f"{path}.cidr")
    own = mtu if document.mtu is None else _mtu(document.mtu, f"{path}.mtu")
    return Subnet(cidr, document.name or str(cidr), document.zone, own)


def _routed(document: _RoutedDocument, path: str, names: frozenset[str]) -> Routed:
    prefix = _network(document.prefix, f"{path}.prefix")
    for i, name in enumerate(document.subnets):
        if name not in names:
            known = ", ".join(sorted(names)) or "none"
            raise BadInput(f"no subnet is named {name!r}; there are {known}", path=f"{path}.subnets[{i}]")
    if not document.next_hop:
        return Routed(prefix, None, frozenset(document.subnets))
    next_hop = _address(document.next_hop, f"{path}.next_hop")
    if next_hop.version != prefix.version:
        raise BadInput(
            f"expected an IPv{prefix.version} address, as {prefix} is, found {next_hop}", path=f"{path}.next_hop"
        )
    return Routed(prefix, next_hop, frozenset(document.subnets))


def _distinct(subnets: tuple[Subnet, ...]) -> None:
    """Refuse names that stand twice, and subnets of which nobody could tell which one a node is in."""
    for i, one in enumerate(subnets):
        for earlier in subnets[:i]:
            if one.name == earlier.name:
                raise BadInput(f"{one.name!r} is taken", path=f"subnets[{i}].name")
            if one.cidr.overlaps(earlier.cidr):
                raise BadInput(f"{one.cidr} overlaps {earlier.cidr} of {earlier.name!r}", path=f"subnets[{i}].cidr")


def _once(routed: tuple[Routed, ...]) -> None:
    """Refuse a prefix that is declared twice for one subnet: a router has one way for it."""
    for i, one in enumerate(routed):
        for earlier in routed[:i]:
            shared = not (one.subnets and earlier.subnets) or one.subnets & earlier.subnets
            if one.prefix == earlier.prefix and shared:
                raise BadInput(f"{one.prefix} is declared twice for the same subnet", path=f"routed[{i}].prefix")


def _network(text: str, path: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise BadInput(f"expected a prefix such as 10.0.1.0/24, found {text!r} ({error})", path=path) from error


def _address(text: str, path: str) -> Address:
    try:
        return ip_address(text)
    except ValueError as error:
        raise BadInput(f"expected a node's address, found {text!r}", path=path) from error


def _mtu(value: int, path: str) -> int:
    if value < LEAST_MTU:
        raise BadInput(f"expected {LEAST_MTU} bytes or more, found {value}", path=path)
    return value
