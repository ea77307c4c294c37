"""Which of the host's addresses is the node's: Calico's methods. Devices in, an address or a reason out. Pure.

An address that the method allows and the node has already stays, so that a second device does not move it. Sources:
Calico ``node/pkg/lifecycle/startup/autodetection`` (methods, excluded names, devices looked at from the last).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from cloudnet.errors import BadInput
from cloudnet.kernel.api import Link
from cloudnet.model.addresses import Address, Family, Interface, Network, family
from cloudnet.model.wire import network

EXCLUDED: Final = (
    "docker.*",
    "cbr.*",
    "dummy.*",
    "podman.*",
    "virbr.*",
    "lxcbr.*",
    "veth.*",
    "lo",
    "br-.*",
    "cali.*",
    "tunl.*",
    "flannel.*",
    "kube-ipvs.*",
    "cni.*",
    r"vxlan\.calico.*",
    r"vxlan-v6\.calico.*",
    r"wireguard\.cali.*",
    r"wg-v6\.cali.*",
    "nodelocaldns.*",
)
"""Names of devices that are never the node's own, as Calico has them; ``interface=`` may name one all the same."""

_NAMED: Final = 8  # devices in one sentence


class Way(enum.Enum):
    """How to look."""

    NONE = "none"
    FIRST_FOUND = "first-found"
    INTERNAL_IP = "kubernetes-internal-ip"
    CAN_REACH = "can-reach"
    INTERFACE = "interface"
    SKIP_INTERFACE = "skip-interface"
    CIDR = "cidr"


_WITH_VALUES: Final = (Way.CAN_REACH, Way.INTERFACE, Way.SKIP_INTERFACE, Way.CIDR)


@dataclass(frozen=True, slots=True)
class Method:
    """A way with its values: a destination, patterns of names, or prefixes. ``text`` is how a person wrote it."""

    way: Way
    text: str = "none"
    destination: str = ""
    names: tuple[re.Pattern[str], ...] = ()
    networks: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Host:
    """What a method looks at: devices, what Kubernetes calls InternalIP, and what ``can-reach`` found as source."""

    links: Sequence[Link]
    internal: tuple[Address, ...] = ()
    source: Address | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """The node's address, with the prefix length of its subnet, and the device that carries it."""

    address: Interface
    device: str


@dataclass(frozen=True, slots=True)
class Missing:
    """Why there is none, what was looked at, and what to do."""

    why: str


Outcome: TypeAlias = Found | Missing


def parse(text: str, path: str) -> Method:
    """Return a method as its setting spells it, ``interface=eth.*,ens.*``.

    Raises:
        BadInput: it is none.
    """
    word, equals, value = text.partition("=")
    way = next((way for way in Way if way.value == word), None)
    takes = way in _WITH_VALUES
    if way is None or takes is not bool(equals) or (takes and not value):
        known = ", ".join(w.value + ("=..." if w in _WITH_VALUES else "") for w in Way)
        raise BadInput(f"expected one of {known}, found {text!r}", path=path)
    match way:
        case Way.CAN_REACH:
            return Method(way, text, destination=value)
        case Way.CIDR:
            return Method(way, text, networks=tuple(_prefix(one.strip(), path) for one in value.split(",")))
        case Way.INTERFACE | Way.SKIP_INTERFACE:
            return Method(way, text, names=tuple(_pattern(one.strip(), path) for one in value.split(",")))
        case _:
            return Method(way, text)


def _prefix(text: str, path: str) -> Network:
    """Return a prefix; an address without its length is one that somebody has not finished to write."""
    if "/" not in text:
        raise BadInput(f"expected a prefix with its length, found {text!r}: 10.0.0.0/8 is one", path=path)
    return network(text, path)


def _pattern(text: str, path: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise BadInput(f"expected a regular expression, found {text!r} ({error})", path=path) from error


def find(method: Method, host: Host, of: Family, *, current: Interface | None = None) -> Outcome:
    """Return the node's address of a family; ``current`` is what it has now."""
    allowed = list(_allowed(method, host, of))
    kept = next((one for one in allowed if current is not None and one.address.ip == current.ip), None)
    if kept is not None:
        return kept
    return allowed[0] if allowed else Missing(_why(method, host, of))


def _allowed(method: Method, host: Host, of: Family) -> Iterator[Found]:
    """Yield what the method allows, the best first."""
    for link in _ordered(method, host.links):
        for address in link.addresses:
            if family(address) is of and _is_global(address.ip) and _suits(method, host, address):
                yield Found(address, link.name)


def _ordered(method: Method, links: Iterable[Link]) -> Iterator[Link]:
    """Yield the devices that the method looks at: by its patterns in their order, then from the last device."""
    up = sorted((link for link in links if link.up), key=lambda link: -link.index)
    match method.way:
        case Way.INTERFACE:
            for pattern in method.names:
                yield from (link for link in up if pattern.search(link.name))
        case Way.SKIP_INTERFACE:
            skipped = (*method.names, *map(re.compile, EXCLUDED))
            yield from (link for link in up if not any(_is_called(link, pattern) for pattern in skipped))
        case Way.INTERNAL_IP | Way.CAN_REACH:
            yield from up  # the address says which
        case _:
            yield from (link for link in up if not _is_excluded(link))


def _is_called(link: Link, pattern: re.Pattern[str]) -> bool:
    return bool(pattern.fullmatch(link.name))


def _is_excluded(link: Link) -> bool:
    return any(re.fullmatch(pattern, link.name) for pattern in EXCLUDED)


def _suits(method: Method, host: Host, address: Interface) -> bool:
    match method.way:
        case Way.INTERNAL_IP:
            return address.ip in host.internal
        case Way.CAN_REACH:
            return address.ip == host.source
        case Way.CIDR:
            return any(net.version == address.version and address.ip in net for net in method.networks)
        case _:
            return method.way is not Way.NONE


def _is_global(address: Address) -> bool:
    """Tell what Go calls a global unicast address: private ones are."""
    return not (address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local)


# --- why not ----------------------------------------------------------------------------------------------------


def _why(method: Method, host: Host, of: Family) -> str:
    seen = sorted(host.links, key=lambda link: link.index)
    looked = ", ".join(f"{link.name} ({_state(link, of)})" for link in seen[:_NAMED])
    more = f" and {len(seen) - _NAMED} more" if len(seen) > _NAMED else ""
    return (
        f"no IPv{int(of)} address by {method.text}{_searched(method, host)}: the host has {looked or 'no device'}"
        f"{more}: choose another ip{'' if of is Family.IPV4 else '6'}_autodetection_method"
    )


def _searched(method: Method, host: Host) -> str:
    match method.way:
        case Way.INTERNAL_IP:
            return f" (Kubernetes says {', '.join(map(str, host.internal)) or 'none'})"
        case Way.CAN_REACH:
            return f" (packets there come from {host.source or 'no address'})"
        case _:
            return ""


def _state(link: Link, of: Family) -> str:
    addresses = ", ".join(str(one) for one in link.addresses if family(one) is of)
    state = addresses or "no address"
    return state if link.up else f"down, {state}"
