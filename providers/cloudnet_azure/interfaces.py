"""Changing a network interface, whatever kind of machine it belongs to: read, edit, write back under the etag.

An interface has no partial update: it is written as a whole, so all that is not edited goes back word for word.
Interfaces of uniform scale sets cannot be written at all; what is written is the network configuration of their
machine, whose properties are spelt alike as far as we edit them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from cloudnet.model.addresses import InterfaceId
from cloudnet.provider.errors import Conflict, NotFound, Unsupported
from cloudnet_azure.client import Client, Json, id_parts
from cloudnet_azure.errors import NAME

Edit: TypeAlias = Callable[[Json], Json]
"""Returns the properties as they shall be; the same ones when nothing is to be written. Called again after a race."""

TRIES = 3  # that somebody else may win the race for an interface before we leave it to the next round
_PRECONDITION = 412
_OF_A_SCALE_SET = 4  # names in the id of a scale set's interface
_READ_ONLY = frozenset({"etag", "id", "name", "type", "provisioningState", "resourceGuid"})
_INTERFACE_READ_ONLY = _READ_ONLY | {
    *("virtualMachine", "privateEndpoint", "tapConfigurations", "macAddress", "primary", "vnetEncryptionSupported"),
    *("defaultOutboundConnectivityEnabled", "hostedWorkloads", "dscpConfiguration", "kind", "allowPort25Out"),
}


def of_scale_set(interface: InterfaceId) -> bool:
    """Tell whether an interface belongs to a machine of a uniform scale set."""
    return len(interface.split("/")) == _OF_A_SCALE_SET


def read(client: Client, interface: InterfaceId, *, group: str) -> Json:
    """Return an interface as it is now.

    Raises:
        ProviderError: there is none, or Azure refused.
    """
    names = id_parts(interface, group)
    return client.scale_set_interface(*names) if of_scale_set(interface) else client.interface(*names)


def change(client: Client, interface: InterfaceId, edit: Edit, *, group: str) -> None:
    """Edit the properties of an interface.

    Raises:
        ProviderError: Azure refused, or the interface changed under our hands again and again.
    """
    names = id_parts(interface, group)
    write = _change_in_scale_set if of_scale_set(interface) else _change
    for tries in range(1, TRIES + 1):
        try:
            write(client, names, edit)
        except Conflict as error:  # somebody else was quicker, or our own write whose answer was lost
            if error.status != _PRECONDITION or tries == TRIES:
                raise
        else:
            return


def _change(client: Client, names: tuple[str, ...], edit: Edit) -> None:
    group, name = names
    body = client.interface(group, name)
    edited = edit(body["properties"])
    if edited != body["properties"]:
        client.put_interface(group, name, whole({**body, "properties": edited}), str(body.get("etag", "")))


def whole(body: Json) -> Json:
    """Return the body that writes an interface as it is, without what Azure does not take back."""
    kept = {k: v for k, v in body.items() if k not in _INTERFACE_READ_ONLY}
    properties = {k: v for k, v in body["properties"].items() if k not in _INTERFACE_READ_ONLY}
    properties["ipConfigurations"] = [_configuration(c) for c in properties.get("ipConfigurations") or []]
    if settings := properties.get("dnsSettings"):
        written = ("dnsServers", "internalDnsNameLabel")
        properties["dnsSettings"] = {k: settings[k] for k in written if k in settings}
    return {**kept, "properties": properties}


def _configuration(body: Json) -> Json:
    """Return an ip-configuration without what Azure does not take back; its name is what it is known by."""
    properties = {
        k: v
        for k, v in body.get("properties", {}).items()
        if k not in {"provisioningState", "privateLinkConnectionProperties"}
    }
    return {"name": body["name"], "properties": properties}


def _change_in_scale_set(client: Client, names: tuple[str, ...], edit: Edit) -> None:
    group, scale_set, number, interface = names
    machine = client.scale_set_machine(group, scale_set, number)
    body = of_machine(machine, interface, edit)
    if body["properties"] == {"networkProfileConfiguration": machine["properties"]["networkProfileConfiguration"]}:
        return
    client.put_scale_set_machine(group, scale_set, number, body, str(machine.get("etag", "")))


def of_machine(machine: Json, interface: str, edit: Edit) -> Json:
    """Return the body that edits one interface of a scale set's machine, and nothing else.

    Raises:
        NotFound: the machine has no interface of that name.
        Unsupported: Azure does not show its network configuration.
    """
    name = str(machine.get("name", ""))
    profile: dict[str, Any] | None = machine.get("properties", {}).get("networkProfileConfiguration")
    if not profile:
        raise Unsupported(
            f"the scale set's machine {name} shows no network configuration: change it in its scale set",
            provider=NAME,
        )
    configured = profile.get("networkInterfaceConfigurations", [])
    if not any(str(c.get("name", "")).lower() == interface.lower() for c in configured):
        raise NotFound(f"the scale set's machine {name} has no interface {interface}", provider=NAME)
    changed = [
        {**c, "properties": edit(c.get("properties", {}))}
        if str(c.get("name", "")).lower() == interface.lower()
        else c
        for c in configured
    ]
    return {
        "location": machine.get("location", ""),
        "properties": {"networkProfileConfiguration": {"networkInterfaceConfigurations": changed}},
    }
