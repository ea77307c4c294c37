"""What fits on a machine of a type: asked of EC2 once for each type, in bulk, and kept; nothing is compiled in."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from cloudnet.model.addresses import Family
from cloudnet.provider.api import Room
from cloudnet_aws.client import TYPES_A_CALL, Client

if TYPE_CHECKING:  # stubs, which exist only where the code is checked
    from mypy_boto3_ec2.type_defs import InstanceTypeInfoTypeDef

IPV4_PREFIX, IPV6_PREFIX = 28, 80  # EC2 User Guide, "Prefix delegation for Amazon EC2 network interfaces"


class Types:
    """Rooms by type."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._rooms: dict[str, Room] = {}

    def rooms(self, names: Collection[str]) -> Mapping[str, Room]:
        """Return ``{type: its room}`` of all that EC2 knows.

        Raises:
            ProviderError: the read failed.
        """
        missing = sorted({n for n in names if n} - self._rooms.keys())
        for start in range(0, len(missing), TYPES_A_CALL):
            for answer in self._client.instance_types(missing[start : start + TYPES_A_CALL]):
                self._rooms[answer["InstanceType"]] = room(answer)
        return MappingProxyType(self._rooms)


def room(answer: InstanceTypeInfoTypeDef) -> Room:
    """Return what one network card of the type takes: an address of an interface is its own, prefixes want Nitro."""
    network = answer.get("NetworkInfo", {})
    cards = network.get("NetworkCards", [])
    default = network.get("DefaultNetworkCardIndex", 0)
    own = next((c for c in cards if c.get("NetworkCardIndex", 0) == default), None)
    most = own.get("MaximumNetworkInterfaces") if own else None
    slots = {Family.IPV4: max(0, network.get("Ipv4AddressesPerInterface", 1) - 1)}
    if network.get("Ipv6Supported"):
        slots[Family.IPV6] = network.get("Ipv6AddressesPerInterface", 0)
    nitro = answer.get("Hypervisor") == "nitro" or answer.get("BareMetal", False)
    lengths = {Family.IPV4: IPV4_PREFIX, Family.IPV6: IPV6_PREFIX} if nitro else {}
    return Room(
        interfaces=most or network.get("MaximumNetworkInterfaces", 1),
        slots=MappingProxyType({of: n for of, n in slots.items() if n > 0}),
        lengths=MappingProxyType({of: n for of, n in lengths.items() if slots.get(of, 0) > 0}),
    )
