"""What the VPC's state means for packets: routes of the subnet's zone, to machines of that zone. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from cloudnet.lab import spec
from cloudnet.lab.clouds.ibm.state import RUNNING, Interface, Route, Subnet, Vpc
from cloudnet.lab.fabric import FabricRoute, FabricState, FabricSubnet, Gateway, Port
from cloudnet.model.addresses import Network

FIRST_TABLE = 1001  # kernel tables of the cloud's namespace, one a subnet


def fabric_state(vpc: Vpc, now: float, *, silent: Iterable[Network] = ()) -> FabricState:
    """Return what the fabric does now. A next hop of another zone, or without a running machine, leads nowhere."""
    ports = {i.id: _port(i, vpc) for i in vpc.interfaces.values()}
    numbers = {s.id: n for n, s in enumerate(sorted(vpc.subnets.values(), key=lambda s: s.cidr), start=FIRST_TABLE)}
    gateways = tuple(
        Gateway(spec.OUTSIDE_DEVICE, spec.OUTSIDE_HOST.ip, numbers[name]) for name in [vpc.outside] if name in numbers
    )
    neighbours = tuple((s.cidr, spec.bridge_name(s.name)) for s in vpc.subnets.values())
    subnets = tuple(
        FabricSubnet(spec.bridge_name(s.name), numbers[s.id], neighbours, _routes(s, vpc, ports, gateways, now))
        for s in vpc.subnets.values()
    )
    return FabricState(subnets, tuple(ports.values()), frozenset(silent), gateways)


def _routes(
    subnet: Subnet, vpc: Vpc, ports: dict[str, Port], gateways: tuple[Gateway, ...], now: float
) -> tuple[FabricRoute, ...]:
    out = tuple(FabricRoute(spec.OUTSIDE_HOST.network, gateway) for gateway in gateways)
    return out + tuple(_route(r, vpc, ports) for r in vpc.taken(subnet, now) if not r.action.startswith("delegate"))


def _route(route: Route, vpc: Vpc, ports: dict[str, Port]) -> FabricRoute:
    carrier = vpc.carrier(route.address, route.zone) if route.action == "deliver" else None
    return FabricRoute(route.destination, ports[carrier.id] if carrier else None)


def _port(interface: Interface, vpc: Vpc) -> Port:
    machine = vpc.machine_of(interface.id)
    return Port(
        device=spec.port_name(machine.name) if machine else f"vni-{interface.id[-8:]}",
        bridge=spec.bridge_name(vpc.subnets[interface.subnet].name),
        mac=interface.mac,
        addresses=(interface.address,),
        check=not interface.spoofing,
        up=machine is not None and machine.status in RUNNING,
    )
