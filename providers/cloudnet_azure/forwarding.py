"""IP forwarding, without which Azure drops what a machine sends or gets for addresses that are not its own.

An interface has no partial update: it is read, changed and written as a whole, guarded by its etag. Interfaces of
uniform scale sets cannot be written at all; what is written is the network configuration of their machine.
"""

from __future__ import annotations

from typing import Any

from cloudnet.model.addresses import InterfaceId
from cloudnet.provider.errors import Conflict, NotFound, Unsupported
from cloudnet_azure.client import Client, Json, id_parts
from cloudnet_azure.errors import NAME

TRIES = 3  # that somebody else may win the race for an interface before we leave it to the next round
_PRECONDITION = 412
_OF_A_SCALE_SET = 4  # names in the id of a scale set's interface
_READ_ONLY = frozenset({"etag", "id", "name", "type", "provisioningState", "resourceGuid"})
_INTERFACE_READ_ONLY = _READ_ONLY | {
    *("virtualMachine", "privateEndpoint", "tapConfigurations", "macAddress", "primary", "vnetEncryptionSupported"),
    *("defaultOutboundConnectivityEnabled", "hostedWorkloads", "dscpConfiguration", "kind", "allowPort25Out"),
}


def allow(client: Client, interface: InterfaceId, *, group: str) -> None:
    """Switch IP forwarding of an interface on, whatever kind of machine it belongs to.

    Raises:
        ProviderError: Azure refused, or the interface changed under our hands again and again.
    """
    names = id_parts(interface, group)
    switch = _allow_in_scale_set if len(names) == _OF_A_SCALE_SET else _allow
    for tries in range(1, TRIES + 1):
        try:
            switch(client, *names)
        except Conflict as error:  # somebody else was quicker, or our own write whose answer was lost
            if error.status != _PRECONDITION or tries == TRIES:
                raise
        else:
            return


def _allow(client: Client, group: str, name: str) -> None:
    body = client.interface(group, name)
    if not body["properties"].get("enableIPForwarding"):
        client.put_interface(group, name, forwarding_interface(body), str(body.get("etag", "")))


def forwarding_interface(body: Json) -> Json:
    """Return the body that writes an interface as it is, with forwarding on."""
    kept = {k: v for k, v in body.items() if k not in _INTERFACE_READ_ONLY}
    properties = {k: v for k, v in body["properties"].items() if k not in _INTERFACE_READ_ONLY}
    properties["ipConfigurations"] = [_configuration(c) for c in properties.get("ipConfigurations") or []]
    if settings := properties.get("dnsSettings"):
        written = ("dnsServers", "internalDnsNameLabel")
        properties["dnsSettings"] = {k: settings[k] for k in written if k in settings}
    return {**kept, "properties": {**properties, "enableIPForwarding": True}}


def _configuration(body: Json) -> Json:
    """Return an ip-configuration without what Azure does not take back; its name is what it is known by."""
    properties = {
        k: v
        for k, v in body.get("properties", {}).items()
        if k not in {"provisioningState", "privateLinkConnectionProperties"}
    }
    return {"name": body["name"], "properties": properties}


def _allow_in_scale_set(client: Client, group: str, scale_set: str, number: str, interface: str) -> None:
    machine = client.scale_set_machine(group, scale_set, number)
    body = forwarding_machine(machine, interface)
    if body["properties"] == {"networkProfileConfiguration": machine["properties"]["networkProfileConfiguration"]}:
        return  # it is on already
    client.put_scale_set_machine(group, scale_set, number, body, str(machine.get("etag", "")))


def forwarding_machine(machine: Json, interface: str) -> Json:
    """Return the body that changes one interface of a scale set's machine, and nothing else.

    Raises:
        NotFound: the machine has no interface of that name.
        Unsupported: Azure does not show its network configuration.
    """
    name = str(machine.get("name", ""))
    profile: dict[str, Any] | None = machine.get("properties", {}).get("networkProfileConfiguration")
    if not profile:
        raise Unsupported(
            f"the scale set's machine {name} shows no network configuration: enable IP forwarding in its scale set",
            provider=NAME,
        )
    configured = profile.get("networkInterfaceConfigurations", [])
    if not any(str(c.get("name", "")).lower() == interface.lower() for c in configured):
        raise NotFound(f"the scale set's machine {name} has no interface {interface}", provider=NAME)
    changed = [
        {**c, "properties": {**c.get("properties", {}), "enableIPForwarding": True}}
        if str(c.get("name", "")).lower() == interface.lower()
        else c
        for c in configured
    ]
    return {
        "location": machine.get("location", ""),
        "properties": {"networkProfileConfiguration": {"networkInterfaceConfigurations": changed}},
    }
