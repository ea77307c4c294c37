"""Network security groups, and what the account may do. The lab's fabric filters by neither: they are to be read."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from cloudnet.lab.clouds.azure import bodies, words
from cloudnet.lab.clouds.azure.state import SECURITY_GROUP, State
from cloudnet.lab.clouds.simulator import Answer, Request

TYPES: Mapping[str, str] = MappingProxyType(
    {
        "RouteTables": "Microsoft.Network/routeTables",
        "Routes": "Microsoft.Network/routeTables/routes",
        "NetworkInterfaces": "Microsoft.Network/networkInterfaces",
        "NetworkSecurityGroups": "Microsoft.Network/networkSecurityGroups",
        "VirtualNetworks": "Microsoft.Network/virtualNetworks",
        "Subnets": "Microsoft.Network/virtualNetworks/subnets",
        "VirtualMachines": "Microsoft.Compute/virtualMachines",
        "VirtualMachineScaleSetVMs": "Microsoft.Compute/virtualMachineScaleSets/virtualMachines",
        "Permissions": "Microsoft.Authorization/permissions",
    }
)
"""What the calls of each group are about."""

_ACTIONS: Mapping[str, str] = MappingProxyType(
    {
        "NetworkInterfaces_ListVirtualMachineScaleSetNetworkInterfaces": (
            "Microsoft.Compute/virtualMachineScaleSets/networkInterfaces/read"
        ),
        "NetworkInterfaces_GetVirtualMachineScaleSetNetworkInterface": (
            "Microsoft.Compute/virtualMachineScaleSets/virtualMachines/networkInterfaces/read"
        ),
    }
)
_VERBS = {"CreateOrUpdate": "write", "Update": "write", "Delete": "delete"}


def action(call: str) -> str:
    """Return the action that a call asks for, as roles name it."""
    kind, _, verb = call.partition("_")
    return _ACTIONS.get(call) or f"{TYPES[kind]}/{_VERBS.get(verb, 'read')}"


def permissions(state: State, _request: Request) -> Answer:
    """Show one role: everything but what is denied."""
    role = {"actions": ["*"], "notActions": sorted(map(action, state.denied())), "dataActions": []}
    return Answer(200, {"value": [role | {"notDataActions": []}]})


def listed(state: State, request: Request) -> Answer:
    found = state.in_group(SECURITY_GROUP, request.parameters["group"])
    return Answer(200, {"value": [bodies.security_group(g.name, g.id, g.written, tag=g.etag) for g in found]})


def get(state: State, request: Request) -> Answer:
    found = state.find(request.path)
    if found is None:
        names = request.parameters
        return words.not_found("Microsoft.Network/networkSecurityGroups", names["security_group"], names["group"])
    body = bodies.security_group(found.name, found.id, found.written, tag=found.etag)
    return Answer(200, body, {"Etag": found.etag})


def put(state: State, request: Request) -> Answer:
    before = state.find(request.path)
    if refusal := state.refused(request, request.path, before):
        return refusal
    made = state.put(SECURITY_GROUP, before.id if before else request.path, request.body)
    body = bodies.security_group(made.name, made.id, made.written, tag=made.etag)
    return state.accepted(request, made.id, before, Answer(200 if before else 201, body))


def delete(state: State, request: Request) -> Answer:
    return state.deleted(request, state.find(request.path))
