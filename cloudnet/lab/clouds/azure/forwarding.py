"""What Azure's state means for packets: resources into a ``FabricState``.

Azure's fabric has no Ethernet between machines: each packet is looked up by its destination in the table of its
sender's subnet, also inside the subnet, and a machine without IP forwarding neither sends nor gets anything for
addresses that are not its own. IPIP and GRE are dropped. Machines and subnets are matched to devices by their names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address, ip_network

from cloudnet.lab import spec
from cloudnet.lab.clouds.azure.allotment import block
from cloudnet.lab.clouds.azure.bodies import Json, routes_of
from cloudnet.lab.clouds.azure.state import Machine, Resource, State
from cloudnet.lab.fabric import FabricRoute, FabricState, FabricSubnet, Gateway, Port
from cloudnet.model.addresses import Address, Network

FIRST_TABLE = 1001  # kernel tables of the cloud's namespace, one a subnet
REFUSED = frozenset({4, 47})  # IPIP and GRE


def fabric_state(state: State, network: str, *, gateway: str = "", silent: Iterable[Network] = ()) -> FabricState:
    """Return what the fabric does for one virtual network; ``gateway`` is the subnet of its gateway's end."""
    subnets = sorted(state.inside(network), key=cidr)
    numbers = {s.id.lower(): FIRST_TABLE + at for at, s in enumerate(subnets)}
    ports = {m.id: port for m in state.machines.values() if (port := _port(state, m, numbers))}
    by_address = {address: port for port in ports.values() if port.up for address in port.addresses}
    way = Gateway(spec.OUTSIDE_DEVICE, spec.OUTSIDE_HOST.ip, numbers[gateway.lower()]) if gateway else None
    neighbours = tuple((cidr(s), spec.bridge_name(s.name)) for s in subnets)
    rendered = tuple(
        FabricSubnet(
            spec.bridge_name(subnet.name),
            numbers[subnet.id.lower()],
            neighbours,
            tuple(_routes(state.table_of(subnet), by_address, way)),
        )
        for subnet in subnets
    )
    return FabricState(rendered, tuple(ports.values()), frozenset(silent), (way,) if way else (), REFUSED)


def cidr(subnet: Resource) -> Network:
    return ip_network(subnet.written["properties"]["addressPrefix"])


def _routes(table: Resource | None, by_address: Mapping[Address, Port], way: Gateway | None) -> Iterator[FabricRoute]:
    for route in routes_of(table.written) if table else []:
        properties = route["properties"]
        if properties["nextHopType"] == "VirtualNetworkGateway":
            yield FabricRoute(ip_network(properties["addressPrefix"]), way)
        elif properties["nextHopType"] == "VirtualAppliance":
            yield FabricRoute(
                ip_network(properties["addressPrefix"]), by_address.get(ip_address(properties["nextHopIpAddress"]))
            )
        else:
            yield FabricRoute(ip_network(properties["addressPrefix"]))


def _port(state: State, machine: Machine, numbers: Mapping[str, int]) -> Port | None:
    """Return a machine's port; nothing for one in another network."""
    properties = interface_properties(state, machine)
    configurations = properties["ipConfigurations"]
    subnet = state.find(configurations[0]["properties"]["subnet"]["id"])
    if subnet is None or subnet.id.lower() not in numbers:
        return None
    held = [cidr for c in configurations if (cidr := block(c["properties"]))]
    return Port(
        device=spec.port_name(machine.name),
        bridge=spec.bridge_name(subnet.name),
        mac=machine.mac,
        addresses=tuple(each.network_address for each in held if each.num_addresses == 1),
        ranges=tuple(each for each in held if each.num_addresses > 1),
        check=not properties.get("enableIPForwarding", False),
        up=machine.running,
    )


def interface_properties(state: State, machine: Machine) -> Json:
    """Return what was written of a machine's interface, on itself or on the scale set's machine."""
    found = state.find(machine.interface) or state.find(machine.id)
    if found is None:
        raise LookupError(f"machine {machine.name} has no interface")
    properties: Json = found.written["properties"]
    return properties
