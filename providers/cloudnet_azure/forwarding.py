"""IP forwarding, without which Azure drops what a machine sends or gets for addresses that are not its own."""

from __future__ import annotations

from cloudnet.model.addresses import InterfaceId
from cloudnet_azure import interfaces
from cloudnet_azure.client import Client, Json


def allow(client: Client, interface: InterfaceId, *, group: str) -> None:
    """Switch IP forwarding of an interface on, whatever kind of machine it belongs to.

    Raises:
        ProviderError: Azure refused, or the interface changed under our hands again and again.
    """
    interfaces.change(client, interface, forwarding, group=group)


def forwarding(properties: Json) -> Json:
    """Return an interface's properties with forwarding on."""
    return {**properties, "enableIPForwarding": True}
