"""What a VPC's state means for packets: ``ec2`` values into a ``FabricState``. Pure.

Machines and subnets are matched to the fabric's devices by their ``Name`` tag.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cloudnet.lab import spec
from cloudnet.lab.clouds.ec2 import Eni, Entry, Table, Vpcs
from cloudnet.lab.fabric import FabricRoute, FabricState, FabricSubnet, Gateway, Plug, Port
from cloudnet.model.addresses import InterfaceId, Network, SubnetId

FIRST_TABLE = 1001  # kernel tables of the cloud's namespace, one a subnet


@dataclass(frozen=True, slots=True)
class Site:
    """The lab that a VPC is in: where machines are whose interfaces are attached while they run."""

    lab: str = "lab"
    mtu: int = 1500


def fabric_state(vpcs: Vpcs, vpc: str, *, silent: Iterable[Network] = (), site: Site | None = None) -> FabricState:
    """Return what the fabric does for one VPC. Dead targets, and those that no interface is, lead nowhere."""
    site = site or Site()
    subnets = {s.id: s for s in vpcs.subnets.values() if s.vpc == vpc}
    ports = {e.id: _port(e, vpcs, site) for e in vpcs.interfaces.values() if e.subnet in subnets and e.instance}
    numbers = {
        s.id: number for number, s in enumerate(sorted(subnets.values(), key=lambda s: s.cidr), start=FIRST_TABLE)
    }
    gateways = {
        name: Gateway(spec.OUTSIDE_DEVICE, spec.OUTSIDE_HOST.ip, numbers[subnet])
        for name, subnet in vpcs.attachments.items()
        if subnet in numbers
    }
    neighbours = tuple((s.cidr, spec.bridge_name(s.name)) for s in subnets.values())
    rendered = []
    for name, number in numbers.items():
        subnet = subnets[name]
        table = vpcs.tables.get(subnet.table) if subnet.table else None
        routes = tuple(
            _route(entry, vpcs, ports, gateways) for entry in _entries(table, [s.cidr for s in subnets.values()])
        )
        rendered.append(FabricSubnet(spec.bridge_name(subnet.name), number, neighbours, routes))
    return FabricState(tuple(rendered), tuple(ports.values()), frozenset(silent), tuple(gateways.values()))


def _entries(table: Table | None, subnets: list[Network]) -> list[Entry]:
    """Return what the kernel table needs beside the subnets themselves."""
    return [entry for entry in table.entries if entry.destination not in subnets] if table else []


def _route(
    entry: Entry, vpcs: Vpcs, ports: Mapping[InterfaceId, Port], gateways: Mapping[str, Gateway]
) -> FabricRoute:
    if entry.other in gateways:
        return FabricRoute(entry.destination, gateways[entry.other])
    target = None if entry.other else vpcs.target(entry)
    if target is None or not vpcs.delivers(target):
        return FabricRoute(entry.destination)  # local: the VPC's addresses outside any subnet; else a black hole
    return FabricRoute(entry.destination, ports.get(target.id))


def _port(interface: Eni, vpcs: Vpcs, site: Site) -> Port:
    return Port(
        device=_device(interface, vpcs),
        bridge=_bridge(interface.subnet, vpcs),
        mac=interface.mac,
        addresses=interface.addresses,
        check=interface.check,
        up=vpcs.delivers(interface),
        ranges=interface.prefixes,
        plug=_plug(interface, vpcs, site),
    )


def _plug(interface: Eni, vpcs: Vpcs, site: Site) -> Plug | None:
    machine = vpcs.machines.get(interface.instance) if interface.instance else None
    if machine is None or interface.primary:
        return None
    return Plug(spec.node_namespace(site.lab, machine.name), f"eth{interface.index}", site.mtu)


def _device(interface: Eni, vpcs: Vpcs) -> str:
    machine = vpcs.machines.get(interface.instance) if interface.instance else None
    return spec.port_name(machine.name) if machine and interface.primary else f"eni-{interface.id[-8:]}"


def _bridge(subnet: SubnetId, vpcs: Vpcs) -> str:
    return spec.bridge_name(vpcs.subnets[subnet].name)
