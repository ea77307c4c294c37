"""The lab's fabric: forwards packets in the cloud's namespace exactly as the control plane says, and no better.

A ``FabricState`` is rendered, purely, into kernel objects: policy rules and routes a subnet, neighbours and
bridge entries an interface, and the sets of one nftables table that drops what an interface does not own. The
``Fabric`` carries out the difference to what it did before. It refuses to know any cloud: a control plane turns
its own state into a ``FabricState``.
"""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network

from cloudnet.delta import DeltaTracker
from cloudnet.errors import CloudnetError
from cloudnet.lab import processes
from cloudnet.model.addresses import Address, Family, Network, family

log = logging.getLogger(__name__)

TABLE = "cloudnet_lab"
RULE_PRIORITY = 1000  # behind the kernel's local table, before main


@dataclass(frozen=True, slots=True)
class Plug:
    """Where the other end of a port belongs that the cloud attaches to a running machine."""

    namespace: str
    device: str
    mtu: int = 1500


@dataclass(frozen=True, slots=True)
class Port:
    """A machine's interface: a veth in the bridge of its subnet. ``addresses``: the primary one first.

    ``ranges`` are delegated to it: the network delivers them from everywhere, before any route, and they are its own
    like its addresses. The fabric itself makes and removes a port with a ``plug``.
    """

    device: str
    bridge: str
    mac: str
    addresses: tuple[Address, ...]
    check: bool = True
    up: bool = True
    ranges: tuple[Network, ...] = ()
    plug: Plug | None = None


@dataclass(frozen=True, slots=True)
class Gateway:
    """A way out of the cloud: a device and the address of who is behind it.

    What comes in there is looked up in the table of one subnet, as if it came from a machine in it.
    """

    device: str
    address: Address
    table: int


@dataclass(frozen=True, slots=True)
class FabricRoute:
    """One entry of a subnet's table; without ``via`` packets vanish."""

    destination: Network
    via: Port | Gateway | None = None


@dataclass(frozen=True, slots=True)
class FabricSubnet:
    """A subnet: a bridge whose packets are looked up in one kernel table.

    ``neighbours`` are the subnets that the local route of its network covers: ``((prefix, bridge), …)``.
    """

    bridge: str
    table: int
    neighbours: tuple[tuple[Network, str], ...] = ()
    routes: tuple[FabricRoute, ...] = ()


@dataclass(frozen=True, slots=True)
class FabricState:
    """All that the fabric does. Packets to ``silent`` prefixes vanish without a trace in any table.

    ``refused`` are IP protocols, by number, that the fabric carries for nobody: IPIP is 4, GRE 47.
    """

    subnets: tuple[FabricSubnet, ...] = ()
    ports: tuple[Port, ...] = ()
    silent: frozenset[Network] = frozenset()
    gateways: tuple[Gateway, ...] = ()
    refused: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Item:
    """One kernel object: the batch command that makes or replaces it, and the one that removes it."""

    tool: tuple[str, ...]
    put: str
    remove: str = ""


_IP = {Family.IPV4: ("ip", "-4"), Family.IPV6: ("ip", "-6")}
_LINK = ("ip",)
_BRIDGE = ("bridge",)


def restrict(state: FabricState, devices: Collection[str]) -> FabricState:
    """Return the state with only the ports that have a device; routes through the others are black holes."""
    subnets = tuple(
        replace(
            subnet,
            routes=tuple(
                route if route.via and route.via.device in devices else FabricRoute(route.destination)
                for route in subnet.routes
            ),
        )
        for subnet in state.subnets
    )
    return replace(
        state,
        subnets=subnets,
        ports=tuple(port for port in state.ports if port.device in devices),
        gateways=tuple(gateway for gateway in state.gateways if gateway.device in devices),
    )


def render(state: FabricState) -> dict[str, Item]:
    """Return the kernel objects of a state by name, in the order to make them."""
    items: dict[str, Item] = {}
    for port in state.ports:
        items |= _render_port(port)
    for subnet in state.subnets:
        items |= _render_subnet(subnet)
        for port in state.ports:
            for cidr in port.ranges:
                items |= _render_route(subnet, FabricRoute(cidr, port if port.up else None))
    for gateway in state.gateways:
        each = family(gateway.address)
        rule = f"priority {RULE_PRIORITY} iif {gateway.device} lookup {gateway.table}"
        items[f"rule {each} {gateway.device}"] = Item(_IP[each], f"rule add {rule}", f"rule del {rule}")
    return items


def plugging(port: Port) -> list[str]:
    """Return the lines that make a port whose other end goes into a machine; down there, as a cloud leaves it."""
    plug = port.plug
    if plug is None:
        return []
    peer = f"peer name {plug.device} mtu {plug.mtu} address {port.mac} netns {plug.namespace}"
    return [
        f"link add {port.device} mtu {plug.mtu} type veth {peer}",
        f"link set {port.device} master {port.bridge}",
        f"link set {port.device} type bridge_slave learning off flood off",
        f"link set {port.device} up",
    ]


def _render_port(port: Port) -> dict[str, Item]:
    """Render an interface. Neighbours are permanent: the fabric delivers by what it knows, it never asks."""
    power = "up" if port.up else "down"
    items = {
        f"link {port.device}": Item(_LINK, f"link set dev {port.device} {power}"),
        f"fdb {port.mac}": Item(
            _BRIDGE,
            f"fdb replace {port.mac} dev {port.device} master static",
            f"fdb del {port.mac} dev {port.device} master",
        ),
    }
    for address in port.addresses:
        items[f"neighbour {address}"] = Item(
            _IP[family(address)],
            f"neigh replace {address} lladdr {port.mac} dev {port.bridge} nud permanent",
            f"neigh del {address} dev {port.bridge}",
        )
    return items


def _render_subnet(subnet: FabricSubnet) -> dict[str, Item]:
    families = {family(prefix) for prefix, _ in subnet.neighbours}
    items = {}
    for each in sorted(families):
        rule = f"priority {RULE_PRIORITY + subnet.table} iif {subnet.bridge} lookup {subnet.table}"
        items[f"rule {each} {subnet.bridge}"] = Item(_IP[each], f"rule add {rule}", f"rule del {rule}")
        nowhere = FabricRoute(_EVERYTHING[each])
        items |= _render_route(subnet, nowhere)
    for prefix, bridge in subnet.neighbours:
        items[f"route {subnet.table} {prefix}"] = Item(
            _IP[family(prefix)],
            f"route replace {prefix} dev {bridge} scope link table {subnet.table}",
            f"route del {prefix} table {subnet.table}",
        )
    for route in subnet.routes:
        items |= _render_route(subnet, route)
    return items


def _render_route(subnet: FabricSubnet, route: FabricRoute) -> dict[str, Item]:
    each = family(route.destination)
    name = f"{route.destination} table {subnet.table}"
    hop, device = _next_hop(route.via, each)
    if hop is None:
        put = f"route replace blackhole {name}"
    else:
        put = f"route replace {route.destination} via {hop} dev {device} onlink table {subnet.table}"
    return {f"route {subnet.table} {route.destination}": Item(_IP[each], put, f"route del {name}")}


def _next_hop(via: Port | Gateway | None, version: Family) -> tuple[Address | None, str]:
    match via:
        case Port(bridge=bridge, addresses=addresses):
            return next((a for a in addresses if family(a) == version), None), bridge
        case Gateway(device=device, address=address) if family(address) == version:
            return address, device
    return None, ""


_EVERYTHING: Mapping[Family, Network] = {Family.IPV4: IPv4Network("0.0.0.0/0"), Family.IPV6: IPv6Network("::/0")}


RULES = f"""\
table bridge {TABLE}
delete table bridge {TABLE}
table bridge {TABLE} {{
  counter not_owned_source {{ }}
  counter not_owned_destination {{ }}
  counter black_hole {{ }}
  counter refused_protocol {{ }}
  set refused {{ type inet_proto; }}
  set guarded {{ type ifname; }}
  set owned {{ type ifname . ipv4_addr; flags interval; }}
  set owned6 {{ type ifname . ipv6_addr; flags interval; }}
  set silent {{ type ipv4_addr; flags interval; }}
  set silent6 {{ type ipv6_addr; flags interval; }}
  chain from_instance {{
    type filter hook prerouting priority -200; policy accept;
    ether type ip ip protocol @refused counter name refused_protocol drop
    ether type ip6 ip6 nexthdr @refused counter name refused_protocol drop
    ether type ip ip daddr @silent counter name black_hole drop
    ether type ip6 ip6 daddr @silent6 counter name black_hole drop
    iifname @guarded ether type ip iifname . ip saddr != @owned counter name not_owned_source drop
    iifname @guarded ip6 saddr != fe80::/10 iifname . ip6 saddr != @owned6 \\
      counter name not_owned_source drop
  }}
  chain to_instance {{
    type filter hook postrouting priority 200; policy accept;
    oifname @guarded ether type ip oifname . ip daddr != @owned counter name not_owned_destination drop
    oifname @guarded ip6 daddr != {{ fe80::/10, ff00::/8 }} oifname . ip6 daddr != @owned6 \\
      counter name not_owned_destination drop
  }}
}}
"""
"""The checks: what comes out of an instance must carry an address of its own, what goes in must be addressed to one.

VXLAN between nodes is addressed from node to node and passes; a silent black hole therefore spares it.
"""


def render_sets(state: FabricState) -> str:
    """Return one transaction that fills the sets of ``RULES``."""
    guarded = [port for port in state.ports if port.check]
    owned = [(f'"{p.device}" . {own}', family(own)) for p in guarded for own in (*p.addresses, *p.ranges)]
    return "".join(
        _fill(name, elements)
        for name, elements in (
            ("guarded", [f'"{port.device}"' for port in guarded]),
            ("owned", [text for text, of in owned if of == Family.IPV4]),
            ("owned6", [text for text, of in owned if of == Family.IPV6]),
            ("silent", [str(n) for n in sorted(state.silent, key=str) if family(n) == Family.IPV4]),
            ("refused", [str(number) for number in sorted(state.refused)]),
            ("silent6", [str(n) for n in sorted(state.silent, key=str) if family(n) == Family.IPV6]),
        )
    )


def _fill(name: str, elements: Sequence[str]) -> str:
    flush = f"flush set bridge {TABLE} {name}\n"
    if not elements:
        return flush
    return flush + f"add element bridge {TABLE} {name} {{ {', '.join(sorted(elements))} }}\n"


Run = Callable[[Sequence[str], str], str]
"""Runs a command with text on its input and returns its output; raises ``CloudnetError``."""


def run_here(command: Sequence[str], stdin: str) -> str:
    return processes.run(command, stdin=stdin)


class Fabric:
    """Carries states out in the network namespace of this process."""

    def __init__(self, run: Run = run_here, devices: Callable[[], Iterable[str]] | None = None) -> None:
        self._run = run
        self._devices = devices or _devices
        self._items: DeltaTracker[str, Item] = DeltaTracker()
        self._sets: str | None = None
        self._plugged: set[str] = set()

    def apply(self, state: FabricState) -> None:
        """Make the kernel do what the state says; what fails is logged and tried again the next time.

        Ports without a device (a machine that somebody made only in the cloud) lead nowhere.
        """
        self._plug(state)
        state = restrict(state, frozenset(self._devices()))
        self._apply_sets(state)
        wanted = render(state)
        for name in [name for name in self._items.desired if name not in wanted]:
            self._items.drop(name)
        for name, item in wanted.items():
            self._items.want(name, item)
        self._remove()
        self._put()

    def drops(self) -> dict[str, int]:
        """Return how many packets each reason has taken, ``{counter: packets}``."""
        listing = self._run(["nft", "list", "counters", "table", "bridge", TABLE], "")
        return {name: int(packets) for name, packets in _COUNTER.findall(listing)}

    def _plug(self, state: FabricState) -> None:
        """Make the devices of ports that were attached to running machines, and remove those of detached ones."""
        here, wanted = frozenset(self._devices()), {port.device: port for port in state.ports if port.plug}
        for name in self._plugged - wanted.keys():
            self._batch(_LINK, [f"link delete {name}"], quiet=True)  # gone already when its machine is
            self._plugged.discard(name)
        for name, port in wanted.items():
            if name not in here and not self._batch(_LINK, plugging(port)):
                self._plugged.add(name)

    def _apply_sets(self, state: FabricState) -> None:
        sets = render_sets(state)
        if sets == self._sets:
            return
        try:
            self._run(["nft", "-f", "-"], (RULES if self._sets is None else "") + sets)
        except CloudnetError:
            log.exception("the fabric's checks could not be set")
            return
        self._sets = sets

    def _put(self) -> None:
        waiting = list(self._items.updates())
        for tool in dict.fromkeys(item.tool for _, item in waiting):
            batch = [(name, item) for name, item in waiting if item.tool == tool]
            failed = self._batch(tool, [item.put for _, item in batch])
            for line, (name, item) in enumerate(batch, start=1):
                if line not in failed:
                    self._items.saw(name, item)

    def _remove(self) -> None:
        """Remove what is wanted no longer; what went with its device is gone already."""
        gone = list(self._items.deletions())
        for tool in dict.fromkeys(item.tool for _, item in gone):
            self._batch(tool, [item.remove for _, item in gone if item.tool == tool and item.remove], quiet=True)
        for name, _ in gone:
            self._items.lost(name)

    def _batch(self, tool: Sequence[str], lines: Sequence[str], *, quiet: bool = False) -> frozenset[int]:
        """Run the lines and return the numbers of those that failed, counted from 1."""
        if not lines:
            return frozenset()
        try:
            self._run([*tool, "-force", "-batch", "-"], "\n".join(lines) + "\n")
        except CloudnetError as error:
            if not quiet:
                log.warning("the fabric could not be set: %s", error)
            numbers = frozenset(int(line) for line in _FAILED_LINE.findall(str(error)))
            return numbers or frozenset(range(1, len(lines) + 1))
        return frozenset()


_FAILED_LINE = re.compile(r"Command failed -:(\d+)")
_COUNTER = re.compile(r"counter (\w+) \{\s*packets (\d+)")


def _devices() -> list[str]:
    return [name for _, name in socket.if_nameindex()]
