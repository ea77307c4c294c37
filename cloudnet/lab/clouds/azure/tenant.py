"""Somebody else in the lab's Azure subscription: his interfaces hold addresses that nodes would like to have."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network

from cloudnet.lab.clouds.azure.allotment import PREFIX, block
from cloudnet.lab.clouds.azure.bodies import Json, guid
from cloudnet.lab.clouds.azure.hand import Azure
from cloudnet.lab.errors import LabError

SQUATTER, ROBBER = "squatter", "robber"  # what the names of his interfaces begin with
_SIZES = (128, 64, 32, 16, 8, 4, 2, 1)  # ip-configurations of an interface: together more than a /24 has


@dataclass(frozen=True, slots=True)
class AzureTenant:
    """Has interfaces that are attached to nothing."""

    hand: Azure

    @property
    def address_writes(self) -> frozenset[str]:
        return frozenset({"NetworkInterfaces_CreateOrUpdate", "VirtualMachineScaleSetVMs_Update"})

    def fragment(self, subnet: str) -> None:
        for prefix in self._range(subnet).subnets(new_prefix=PREFIX):
            own: Json = {"privateIPAddress": str(prefix[7]), "privateIPAllocationMethod": "Static"}
            self._try(f"{SQUATTER}-{guid(subnet)}-{prefix[7]}", subnet, [own], unless="PrivateIPAddressIsAllocated")

    def fill(self, subnet: str) -> None:
        for size in _SIZES:
            own: list[Json] = [{"privateIPAllocationMethod": "Dynamic"}] * size
            self._try(f"{SQUATTER}-{guid(subnet)}-{size}", subnet, own, unless="SubnetIsFull")

    def leave(self, subnet: str) -> None:
        for interface in self.hand.arm("GET", "networkInterfaces")["value"]:
            if interface["name"].startswith(f"{SQUATTER}-{guid(subnet)}"):
                self.hand.arm("DELETE", f"networkInterfaces/{interface['name']}")

    def rob(self, interface: str, prefix: IPv4Network) -> None:
        body = self._interface(interface)
        held = body["properties"]["ipConfigurations"]
        (mine,) = (c for c in held if block(c["properties"]) == prefix)
        self._write(body, [c for c in held if c is not mine])
        subnet = mine["properties"]["subnet"]["id"]
        own: list[Json] = [{"privateIPAllocationMethod": "Dynamic"}, _static(prefix)]
        self._try(f"{ROBBER}-{prefix.network_address}", subnet, own)

    def restore(self, interface: str, prefix: IPv4Network) -> None:
        body = self._interface(interface)
        held = body["properties"]["ipConfigurations"]
        if any(block(c["properties"]) == prefix for c in held):
            return
        self.hand.arm("DELETE", f"networkInterfaces/{ROBBER}-{prefix.network_address}")
        again = {"subnet": held[0]["properties"]["subnet"], "primary": False, **_static(prefix)}
        self._write(
            body, [*held, {"name": f"cloudnet-{self.hand.lab}-{guid(str(prefix))[:8]}-0", "properties": again}]
        )

    def _interface(self, interface: str) -> Json:
        found: Json = self.hand.arm("GET", f"networkInterfaces/{interface.rpartition('/')[2]}")
        return found

    def _write(self, body: Json, configurations: list[Json]) -> None:
        kept = {"ipConfigurations": configurations, "enableIPForwarding": body["properties"]["enableIPForwarding"]}
        self.hand.arm("PUT", f"networkInterfaces/{body['name']}", {"location": body["location"], "properties": kept})

    def _try(self, name: str, subnet: str, holds: list[Json], *, unless: str = "") -> None:
        """Make an interface, unless Azure refuses it by that code."""
        configurations = [
            {"name": f"c{at}", "properties": {"subnet": {"id": subnet}, "primary": at == 0, **each}}
            for at, each in enumerate(holds)
        ]
        body = {"location": "westeurope", "properties": {"ipConfigurations": configurations}}
        try:
            self.hand.arm("PUT", f"networkInterfaces/{name}", body)
        except LabError as error:
            if not unless or unless not in str(error):
                raise

    def _range(self, subnet: str) -> IPv4Network:
        network, _, name = subnet.partition("/virtualNetworks/")[2].partition("/subnets/")
        found = self.hand.arm("GET", f"virtualNetworks/{network}/subnets/{name}")
        return IPv4Network(found["properties"]["addressPrefix"])


def _static(prefix: IPv4Network) -> Json:
    return {
        "privateIPAddress": str(prefix),
        "privateIPAddressPrefixLength": prefix.prefixlen,
        "privateIPAllocationMethod": "Static",
    }
