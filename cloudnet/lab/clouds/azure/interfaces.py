"""Calls on network interfaces, those of scale sets included."""

from __future__ import annotations

from cloudnet.lab.clouds.azure import allotment, bodies, words
from cloudnet.lab.clouds.azure.bodies import Json
from cloudnet.lab.clouds.azure.state import INTERFACE, SCALE_SET_MACHINE, Resource, State
from cloudnet.lab.clouds.simulator import Answer, Request

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
    given = allotment.allot(state, request.body["properties"].get("ipConfigurations") or [], before)
    if isinstance(given, Answer):
        return given
    written = {**request.body, "properties": {**request.body["properties"], "ipConfigurations": given}}
    made = state.put(INTERFACE, before.id if before else request.path, written)
    state.changed()
    return Answer(200 if before else 201, shown(state, made))


def delete(state: State, request: Request) -> Answer:
    return state.deleted(request, state.find(request.path), status=200)


def list_of_scale_set(state: State, request: Request) -> Answer:
    prefix = request.path.rpartition("/")[0].lower() + "/virtualmachines/"
    found = [r for r in state.of(SCALE_SET_MACHINE) if r.id.lower().startswith(prefix)]
    return Answer(200, {"value": [_of_machine(state, each) for each in found]})


def get_of_scale_set(state: State, request: Request) -> Answer:
    """Show one interface of a scale set's machine."""
    machine = state.find(request.path.rpartition("/networkInterfaces/")[0])
    name = request.parameters["interface"]
    if machine is None or machine.written["name"].lower() != name.lower():
        return words.child_not_found(request.path)
    return Answer(200, _of_machine(state, machine))


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
