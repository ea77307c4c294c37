"""Calls on network interfaces, those of scale sets included."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from cloudnet.lab.clouds.azure import bodies, words
from cloudnet.lab.clouds.azure.bodies import Json
from cloudnet.lab.clouds.azure.state import INTERFACE, SCALE_SET_MACHINE, Resource, State
from cloudnet.lab.clouds.simulator import Answer, Request

_FIRST_HOST = 3  # among a subnet's hosts: Azure keeps four addresses, the network's own among them
_NOT_IN_2018 = (
    *("nicType", "auxiliaryMode", "auxiliarySku", "defaultOutboundConnectivityEnabled"),
    *("allowPort25Out", "vnetEncryptionSupported", "disableTcpStateTracking"),
)


def listed(state: State, request: Request) -> Answer:
    found = state.in_group(INTERFACE, request.parameters["group"])
    return Answer(200, {"value": [shown(state, each) for each in found]})


def get(state: State, request: Request) -> Answer:
    found = state.find(request.path)
    if found is None:
        names = request.parameters
        return words.not_found("Microsoft.Network/networkInterfaces", names["interface"], names["group"])
    return Answer(200, shown(state, found), {"Etag": found.etag})


def put(state: State, request: Request) -> Answer:
    """Write an interface: in recorded traffic this ends at once, without an operation."""
    before = state.find(request.path)
    if refusal := state.refused(request, request.path, before):
        return refusal
    made = state.put(INTERFACE, before.id if before else request.path, _addressed(state, request.body, before))
    state.changed()
    return Answer(200 if before else 201, shown(state, made))


def delete(state: State, request: Request) -> Answer:
    return state.deleted(request, state.find(request.path), status=200)


def list_of_scale_set(state: State, request: Request) -> Answer:
    prefix = request.path.rpartition("/")[0].lower() + "/virtualmachines/"
    found = [r for r in state.of(SCALE_SET_MACHINE) if r.id.lower().startswith(prefix)]
    return Answer(200, {"value": [_of_machine(state, each) for each in found]})


def shown(state: State, interface: Resource) -> Json:
    """Return an interface as Azure shows it, with the machine that it is attached to."""
    body = bodies.interface(interface.name, interface.id, interface.written, tag=interface.etag)
    machine = next((m for m in state.machines.values() if m.interface.lower() == interface.id.lower()), None)
    if machine:
        body["properties"] |= {
            "virtualMachine": bodies.reference(machine.id),
            "macAddress": machine.mac.upper().replace(":", "-"),
            "primary": True,
        }
    return body


def _of_machine(state: State, machine: Resource) -> Json:
    """Return the interface of a scale set's machine, in the older version that these have."""
    name = machine.written["name"]
    made = Resource(INTERFACE, f"{machine.id}/networkInterfaces/{name}", name, machine.written, machine.version)
    body = shown(state, made)
    body["properties"] = {k: v for k, v in body["properties"].items() if k not in _NOT_IN_2018}
    return {k: v for k, v in body.items() if k != "kind"}


def _addressed(state: State, body: Json, before: Resource | None) -> Json:
    """Give an address to each ip-configuration that asks for a dynamic one; the old one where it had one."""
    had = {c["name"]: c["properties"]["privateIPAddress"] for c in _configurations(before)} if before else {}
    taken = {c["properties"]["privateIPAddress"] for each in state.of(INTERFACE) for c in _configurations(each)}
    configurations = []
    for each in body["properties"].get("ipConfigurations") or []:
        properties = dict(each["properties"])
        if "privateIPAddress" not in properties:
            properties["privateIPAddress"] = had.get(each["name"]) or _free(state, properties["subnet"]["id"], taken)
        configurations.append({**each, "properties": properties})
    return {**body, "properties": {**body["properties"], "ipConfigurations": configurations}}


def _configurations(interface: Resource) -> Iterator[Json]:
    return iter(interface.written["properties"].get("ipConfigurations") or [])


def _free(state: State, subnet: str, taken: set[str]) -> str:
    found = state.find(subnet)
    if found is None:
        raise LookupError(f"no subnet {subnet}")
    hosts = list(ip_network(found.written["properties"]["addressPrefix"]).hosts())
    return next(str(host) for host in hosts[_FIRST_HOST:] if str(host) not in taken)
