"""Calls on machines and on those of scale sets, as far as their network and their power go."""

from __future__ import annotations

from cloudnet.lab.clouds.azure import allotment, bodies, words
from cloudnet.lab.clouds.azure.bodies import Json
from cloudnet.lab.clouds.azure.state import SCALE_SET_MACHINE, Machine, Resource, State
from cloudnet.lab.clouds.simulator import Answer, Request


def listed(state: State, request: Request) -> Answer:
    """List machines, those of a scale set where the path names one; with their power states where asked for."""
    prefix = request.path.lower() + "/"
    found = [m for m in state.machines.values() if m.id.lower().startswith(prefix)]
    view = request.query.get("$expand", "").lower() == "instanceview"
    return Answer(200, {"value": [_shown(state, machine, view=view) for machine in found]})


def get(state: State, request: Request) -> Answer:
    found = state.find(request.path)
    if found is None:
        return _absent(request)
    body = bodies.scale_set_machine(found.id, found.name, _model(found), version=found.version)
    return Answer(200, body, {"Etag": body["etag"]})


def put(state: State, request: Request) -> Answer:
    before = state.find(request.path)
    if before is None:
        return _absent(request)
    tag, wanted = f'"{before.version}"', request.headers.get("if-match", "")
    if wanted and wanted != tag:
        return words.compute_etag_mismatch(wanted.strip('"'), tag)
    if state.held(before.id):
        return words.error(409, "OperationNotAllowed", "Another operation is in progress.")  # assumed
    written = _configured(state, before, request.body)
    if isinstance(written, Answer):
        return written
    made = state.put(SCALE_SET_MACHINE, before.id, written)
    body = bodies.scale_set_machine(made.id, made.name, _model(made), version=made.version)
    body["properties"]["provisioningState"] = "Updating"
    return state.accepted(request, made.id, before, Answer(200, body, {"Etag": body["etag"]}))


def _absent(request: Request) -> Answer:
    number = request.parameters["number"]
    if not number.isdecimal():
        said = "Virtual Machine Scale Set VM instanceId must be a number."
        return words.error(400, "InvalidParameter", said, target="instanceId")
    kind = "Microsoft.Compute/virtualMachineScaleSets/virtualMachines"
    return words.not_found(kind, number, request.parameters["group"])


def _shown(state: State, machine: Machine, *, view: bool) -> Json:
    resource = state.find(machine.id)
    if resource is None:
        body = bodies.machine(machine.id, machine.name, machine.interface)
    else:
        body = bodies.scale_set_machine(machine.id, resource.name, _model(resource), version=resource.version)
    if view:
        body["properties"]["instanceView"] = bodies.instance_view(running=machine.running)
    return body


def _model(machine: Resource) -> Json:
    """Return the network configuration of a scale set's machine, in which no address is."""
    properties = machine.written["properties"]
    configurations = [
        {
            "name": c["name"],
            "properties": {
                "subnet": c["properties"]["subnet"],
                **(
                    {"primary": bool(c["properties"].get("primary"))}
                    if len(properties["ipConfigurations"]) > 1
                    else {}
                ),
                "privateIPAddressVersion": c["properties"].get("privateIPAddressVersion", "IPv4"),
            },
        }
        for c in properties["ipConfigurations"]
    ]
    return {
        "name": machine.written["name"],
        "properties": {
            "primary": True,
            "enableAcceleratedNetworking": False,
            "disableTcpStateTracking": False,
            "dnsSettings": {"dnsServers": []},
            "enableIPForwarding": properties.get("enableIPForwarding", False),
            "ipConfigurations": configurations,
        },
    }


def _configured(state: State, before: Resource, body: Json) -> Json | Answer:
    """Return a machine's configuration with what a request changes; a request that names none changes none.

    Addresses are not in a request: a configuration of a name that was there keeps its own, a new one gets one.
    """
    written = before.written
    profile = (body.get("properties") or {}).get("networkProfileConfiguration") or {}
    for each in profile.get("networkInterfaceConfigurations") or []:
        if each.get("name") != written["name"]:
            continue
        given = allotment.allot(state, [_single(c) for c in each["properties"]["ipConfigurations"]], before)
        if isinstance(given, Answer):
            return given
        changed = {
            "ipConfigurations": given,
            "enableIPForwarding": each["properties"].get("enableIPForwarding", False),
        }
        return {**written, "properties": {**written["properties"], **changed}}
    return written


def _single(configuration: Json) -> Json:
    """Return a configuration without what Microsoft.Compute of this version does not know and ignores."""
    known = ("subnet", "primary", "privateIPAddressVersion")
    properties = {k: v for k, v in configuration["properties"].items() if k in known}
    return {"name": configuration["name"], "properties": {**properties, "privateIPAllocationMethod": "Dynamic"}}
