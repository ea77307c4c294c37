"""What a Google project means for packets: resources into a ``FabricState``. Pure.

There is no table a subnet here: every subnet's kernel table holds the network's routes. Alias ranges are the
network's own and win over any route. A machine without ``canIpForward`` neither sends nor gets what is not its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network

from cloudnet.lab import spec
from cloudnet.lab.clouds.gcp.rules import hop_warning, network, ranges
from cloudnet.lab.clouds.gcp.state import Document, Project, last
from cloudnet.lab.fabric import FabricRoute, FabricState, FabricSubnet, Gateway, Port
from cloudnet.model.addresses import Network

FIRST_TABLE = 1001  # kernel tables of the cloud's namespace, one a subnet


def fabric_state(project: Project, of: str, *, silent: Iterable[Network] = (), outside: str = "") -> FabricState:
    """Return what the fabric does for one network; ``outside`` is the subnet whose table leads in from outside."""
    mine = (s for _, s in project.of("subnetworks") if last(s["network"]) == of)
    subnets = sorted(mine, key=lambda s: ip_network(s["ipCidrRange"]))
    numbers = {s["name"]: number for number, s in enumerate(subnets, start=FIRST_TABLE)}
    ports = {
        machine["selfLink"]: port(machine, nic)
        for _, machine in project.of("instances")
        for nic in machine["networkInterfaces"]
        if last(nic["network"]) == of and last(nic.get("subnetwork", "")) in numbers
    }
    gateways = [Gateway(spec.OUTSIDE_DEVICE, spec.OUTSIDE_HOST.ip, numbers[outside])] if outside else []
    neighbours = tuple((ranges(s)[""], spec.bridge_name(s["name"])) for s in subnets)
    routes = tuple(_routes(project, of, ports, gateways))
    return FabricState(
        tuple(FabricSubnet(spec.bridge_name(s), number, neighbours, routes) for s, number in numbers.items()),
        tuple(ports.values()),
        frozenset(silent),
        tuple(gateways),
    )


def _routes(
    project: Project, of: str, ports: Mapping[str, Port], gateways: Iterable[Gateway]
) -> Iterable[FabricRoute]:
    """Yield the best route of each destination; the one with the lowest priority, by name among equals."""
    best: dict[str, Document] = {}
    for _, route in project.of("routes"):
        if last(route["network"]) == of and route["priority"] < best.get(route["destRange"], _NOTHING)["priority"]:
            best[route["destRange"]] = route
    for destination, route in best.items():
        hop = route.get("nextHopInstance", "")
        found = project.find(hop) if hop else None
        works = found is not None and not hop_warning(found[1], route)
        way: Port | Gateway | None = ports.get(hop) if works else None
        if route.get("nextHopVpnTunnel"):
            way = next(iter(gateways), None)
        if not route.get("nextHopGateway"):  # the internet is not here
            yield FabricRoute(ip_network(destination), way)


_NOTHING: Document = {"priority": 1 << 16}


def port(machine: Document, nic: Document) -> Port:
    return Port(
        device=spec.port_name(machine["name"]),
        bridge=spec.bridge_name(last(nic["subnetwork"])),
        mac=mac(nic["networkIP"]),
        addresses=tuple(ip_address(nic[key]) for key in ("networkIP", "ipv6Address") if network(nic.get(key))),
        check=not machine.get("canIpForward", False),
        up=machine["status"] == "RUNNING",
        ranges=tuple(ip_network(alias["ipCidrRange"]) for alias in nic.get("aliasIpRanges", [])),
    )


def mac(address: str) -> str:
    """Return the MAC that Google gives to an interface: 42:01 and its IPv4 address."""
    return "42:01:" + ":".join(f"{byte:02x}" for byte in ip_address(address).packed)
