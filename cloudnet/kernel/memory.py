"""The kernel door's in-memory twin: the same promises without a kernel, and a memory of every state it was in.

It refuses what Linux refuses (a missing device, an unreachable gateway, somebody else's route under the same key) and
forgets what Linux forgets (routes and entries of a device that goes). Beyond the door, tests may play everybody
else: ``add_link``, ``add_foreign_route``, ``refuse``, ``stir``; and ask where a packet would go: ``lookup``,
``ways``. Ways that the twin differs from Linux are listed in docs/design/kernel.md.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_interface

from cloudnet.kernel.api import (
    MAIN_TABLE,
    OVERLAY_DEVICES,
    Change,
    Failure,
    FdbEntry,
    Gateway,
    Hop,
    KernelError,
    KernelObject,
    Key,
    Link,
    Neighbour,
    Notices,
    Put,
    Route,
    RouteKind,
    Rule,
    VxlanDevice,
)
from cloudnet.model.addresses import Address, Family, Network, family

_OURS = frozenset(OVERLAY_DEVICES.values())
_LOOPBACK = Link("lo", 1, 65536, up=True, addresses=(ip_interface("127.0.0.1/8"), ip_interface("::1/128")))


@dataclass(frozen=True, slots=True)
class Moment:
    """One step of the routing tables' history: ``route`` came, or went. What comes under a known key replaces."""

    route: Route
    came: bool


class MemoryKernel:
    """A host that exists only here. One thread changes it; notices may be awaited on others."""

    def __init__(self, links: Sequence[Link] = (), gateways: Sequence[Gateway] = ()) -> None:
        self._links: dict[str, Link] = {link.name: link for link in (_LOOPBACK, *links)}
        self._gateways = list(gateways)
        self._last_index = max(link.index for link in self._links.values())
        self._objects: dict[Key, KernelObject] = {}
        self._foreign: dict[Key, Route] = {}
        self._refusals: list[tuple[Callable[[Change], bool], KernelError]] = []
        self._stirred = threading.Condition()
        self._notices: set[MemoryNotices] = set()
        self._learned: dict[Network, Hop] = {}
        self.sysctls: dict[str, str] = {}
        self.applied: list[Change] = []
        self.history: list[Moment] = []
        self.reads = 0

    # --- the door -----------------------------------------------------------------------------------------

    def links(self) -> Mapping[str, Link]:
        return dict(self._links)

    def gateways(self) -> Sequence[Gateway]:
        return tuple(self._gateways)

    def learned(self) -> Mapping[Network, Hop]:
        return dict(self._learned)

    def read(self) -> Mapping[Key, KernelObject]:
        self.reads += 1
        return dict(self._objects)

    def apply(self, changes: Sequence[Change]) -> Sequence[Failure]:
        failures: list[Failure] = []
        for change in changes:
            try:
                self._refuse_if_told(change)
                if isinstance(change, Put):
                    self._put(change.value)
                else:
                    self._remove(change.value)
            except KernelError as e:
                failures.append(Failure(change, e))
            else:
                self.applied.append(change)
        return failures

    def set_up(self, device: str, addresses: Sequence[Address]) -> None:
        link = self._device(device)
        missing = (a for a in addresses if a not in {own.ip for own in link.addresses})
        more = tuple(ip_interface(a) for a in missing)
        self._links[device] = replace(link, up=True, addresses=(*link.addresses, *more))

    def set_sysctl(self, name: str, value: str) -> None:
        self.sysctls[name] = value

    def sysctl(self, name: str) -> str | None:
        return self.sysctls.get(name)

    def notices(self) -> Notices:
        notices = MemoryNotices(self._stirred, self._notices.discard)
        self._notices.add(notices)
        return notices

    def close(self) -> None:
        """Nothing is held."""

    # --- what others do -----------------------------------------------------------------------------------

    def add_link(self, link: Link) -> None:
        """Add or change a device of somebody else's."""
        self._links[link.name] = link
        self.stir()

    def remove_link(self, name: str) -> None:
        """Remove a device and all that hangs on it, whosever it is."""
        self._forget_device(name)
        self._objects.pop(("vxlan", name), None)
        self.stir()

    def set_gateways(self, *gateways: Gateway) -> None:
        self._gateways = list(gateways)
        self.stir()

    def learn(self, destination: Network, hop: Hop | None) -> None:
        """Let BIRD put a way into its table, or take it out again."""
        if hop is None:
            self._learned.pop(destination, None)
        else:
            self._learned[destination] = hop
        self.stir()

    def add_foreign_route(self, route: Route) -> None:
        """Add somebody else's route; like ``ip route replace`` it takes the place of ours under the same key."""
        self._objects.pop(route.key, None)
        self._foreign[route.key] = route
        self.history.append(Moment(route, came=True))
        self.stir()

    def remove_foreign_route(self, route: Route) -> None:
        if self._foreign.pop(route.key, None) is not None:
            self.history.append(Moment(route, came=False))
        self.stir()

    def lose(self, value: KernelObject) -> None:
        """Let somebody else delete something of ours."""
        self._remove(value)
        self.stir()

    def foreign_routes(self) -> tuple[Route, ...]:
        return tuple(self._foreign.values())

    def refuse(self, what: Callable[[Change], bool], error: KernelError) -> None:
        """Refuse every change that ``what`` picks, until ``refuse_nothing``."""
        self._refusals.append((what, error))

    def refuse_nothing(self) -> None:
        self._refusals.clear()

    def stir(self) -> None:
        """Tell all listeners that something changed."""
        with self._stirred:
            for notices in self._notices:
                notices.pending = True
            self._stirred.notify_all()

    # --- where a packet goes ------------------------------------------------------------------------------

    def lookup(self, destination: Address, table: int = MAIN_TABLE) -> Route | None:
        """Return the route that a packet takes: the longest prefix, and among equals the smallest metric."""
        return _best(self._routes(), destination, table)

    def ways(self, destination: Address, table: int = MAIN_TABLE) -> Iterator[Route | None]:
        """Yield where a packet would have gone after each change that could have mattered to it."""
        routes: dict[Key, Route] = {}
        for moment in self.history:
            route = moment.route
            if moment.came:
                routes[route.key] = route
            else:
                routes.pop(route.key, None)
            if route.table == table and destination in route.destination:
                yield _best(routes, destination, table)

    # --- inside -------------------------------------------------------------------------------------------

    def _routes(self) -> Mapping[Key, Route]:
        return {**{k: v for k, v in self._objects.items() if isinstance(v, Route)}, **self._foreign}

    def _refuse_if_told(self, change: Change) -> None:
        for what, error in self._refusals:
            if what(change):
                raise error

    def _put(self, value: KernelObject) -> None:
        match value:
            case Route():
                self._check_route(value)
                self.history.append(Moment(value, came=True))
            case Neighbour() | FdbEntry():
                self._own_device(value.device)
                self._device(value.device)
            case Rule():
                pass
            case VxlanDevice():
                self._put_device(value)
        self._objects[value.key] = value

    def _remove(self, value: KernelObject) -> None:
        match value:
            case Route():
                if value.metric < 1:
                    raise _error(errno.EINVAL, f"route {value.destination}: the metric must be 1 at least")
                if value.key in self._objects:
                    self.history.append(Moment(value, came=False))
            case Neighbour() | FdbEntry():
                self._own_device(value.device)
            case Rule():
                pass
            case VxlanDevice():
                self._own_device(value.name)
                self._forget_device(value.name)
        self._objects.pop(value.key, None)

    def _check_route(self, route: Route) -> None:
        name = f"route {route.destination} metric {route.metric} in table {route.table}"
        if route.metric < 1:
            raise _error(errno.EINVAL, f"{name}: the metric must be 1 at least")
        if route.key in self._foreign:
            raise _error(errno.EEXIST, f"{name}: a route of somebody else has this prefix and metric")
        if route.device is not None and not self._device(route.device).up:
            raise _error(errno.ENETDOWN, f"{name}: device {route.device!r} is down")
        if route.gateway is not None and not route.onlink and not self._reaches(route, route.gateway):
            number = errno.ENETUNREACH if family(route.gateway) is Family.IPV4 else errno.EHOSTUNREACH
            raise _error(number, f"{name}: gateway {route.gateway} is not on the link")
        if route.kind is RouteKind.UNICAST and route.device is None and route.gateway is None:
            raise _error(errno.ENODEV, f"{name}: neither device nor gateway")

    def _reaches(self, route: Route, gateway: Address) -> bool:
        if gateway.is_link_local and family(gateway) is Family.IPV6:
            return route.device is not None
        on = [self._links[route.device]] if route.device else self._links.values()
        return any(gateway in address.network for link in on for address in link.addresses)

    def _put_device(self, device: VxlanDevice) -> None:
        self._own_device(device.name)
        self._device(device.parent)
        before = self._objects.get(device.key)
        link = self._links.get(device.name)
        if not isinstance(before, VxlanDevice) or _identity(before) != _identity(device) or link is None:
            self._forget_device(device.name)
            self._last_index += 1
            link = Link(device.name, self._last_index, device.mtu, up=True)
        elif _has_ipv4(link) and not any(family(address) is Family.IPV4 for address in device.addresses):
            self._forget_what_hangs_on(device.name, {Family.IPV4})
        self._links[device.name] = replace(link, mtu=device.mtu, up=True, mac=device.mac, addresses=device.addresses)

    def _forget_device(self, name: str) -> None:
        self._links.pop(name, None)
        for key, value in list(self._objects.items()):
            if isinstance(value, FdbEntry) and value.device == name:
                del self._objects[key]
        self._forget_what_hangs_on(name, set(Family))

    def _forget_what_hangs_on(self, name: str, families: Collection[Family]) -> None:
        """Forget routes and neighbours of a device that goes, or that loses its last IPv4 address."""
        for key, value in list(self._objects.items()):
            if isinstance(value, Route | Neighbour) and value.device == name and _family(value) in families:
                del self._objects[key]
                if isinstance(value, Route):
                    self.history.append(Moment(value, came=False))
        for key, route in list(self._foreign.items()):
            if route.device == name and _family(route) in families:
                del self._foreign[key]
                self.history.append(Moment(route, came=False))

    def _device(self, name: str) -> Link:
        if name not in self._links:
            raise _error(errno.ENODEV, f"there is no network device {name!r}")
        return self._links[name]

    def _own_device(self, name: str) -> None:
        if name not in _OURS:
            raise _error(errno.EPERM, f"{name!r} is none of our overlay devices and is left alone")


class MemoryNotices:
    """Notices of a ``MemoryKernel``."""

    def __init__(self, stirred: threading.Condition, forget: Callable[[MemoryNotices], None]) -> None:
        self._stirred = stirred
        self._forget = forget
        self.pending = False

    def wait(self, timeout: float) -> bool:
        with self._stirred:
            heard = self._stirred.wait_for(lambda: self.pending, timeout)
            self.pending = False
            return heard

    def close(self) -> None:
        self._forget(self)


def _identity(device: VxlanDevice) -> tuple[object, ...]:
    return device.vni, device.port, device.parent, device.local


def _family(value: Route | Neighbour) -> Family:
    return family(value.destination if isinstance(value, Route) else value.address)


def _has_ipv4(link: Link) -> bool:
    return any(family(address) is Family.IPV4 for address in link.addresses)


def _best(routes: Mapping[Key, Route], destination: Address, table: int) -> Route | None:
    fitting = (r for r in routes.values() if r.table == table and destination in r.destination)
    return min(fitting, key=lambda r: (-r.destination.prefixlen, r.metric), default=None)


def _error(number: int, message: str) -> KernelError:
    return KernelError(f"{message} ({os.strerror(number)})", errno=number)
