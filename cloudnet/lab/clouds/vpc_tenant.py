"""Somebody else in the lab's AWS account: his interfaces hold addresses that nodes would like to have."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, ip_network
from typing import Any

from cloudnet.lab.clouds.vpc import Aws

SQUATTER, ROBBER = "squatter", "robber"  # what his interfaces are described as
_PREFIX = 28


@dataclass(frozen=True, slots=True)
class AwsTenant:
    """Has interfaces that are attached to nothing."""

    hand: Aws

    @property
    def address_writes(self) -> frozenset[str]:
        return frozenset({"AssignPrivateIpAddresses", "UnassignPrivateIpAddresses", "CreateNetworkInterface"})

    def fragment(self, subnet: str) -> None:
        held = self._held(subnet)
        for prefix in self._range(subnet).subnets(new_prefix=_PREFIX):
            if not any(prefix.overlaps(each) for each in held):
                self._interface(subnet, SQUATTER, PrivateIpAddress=str(prefix[7]))

    def fill(self, subnet: str) -> None:
        (shown,) = self.hand.call("describe_subnets", SubnetIds=[subnet])["Subnets"]
        count = shown["AvailableIpAddressCount"] - 1
        self._interface(subnet, SQUATTER, SecondaryPrivateIpAddressCount=count)

    def leave(self, subnet: str) -> None:
        for interface in self._interfaces(subnet):
            if interface.get("Description") == SQUATTER:
                self.hand.call("delete_network_interface", NetworkInterfaceId=interface["NetworkInterfaceId"])

    def rob(self, interface: str, prefix: IPv4Network) -> None:
        subnet = self._subnet_of(interface)
        self._move(prefix, interface, self._interface(subnet, ROBBER))

    def restore(self, interface: str, prefix: IPv4Network) -> None:
        for each in self._interfaces(self._subnet_of(interface)):
            if each.get("Description") == ROBBER and prefix in _addresses(each):
                self._move(prefix, each["NetworkInterfaceId"], interface)
                self.hand.call("delete_network_interface", NetworkInterfaceId=each["NetworkInterfaceId"])

    def _move(self, prefix: IPv4Network, source: str, target: str) -> None:
        self.hand.call("unassign_private_ip_addresses", NetworkInterfaceId=source, Ipv4Prefixes=[str(prefix)])
        self.hand.call("assign_private_ip_addresses", NetworkInterfaceId=target, Ipv4Prefixes=[str(prefix)])

    def _interface(self, subnet: str, description: str, **more: object) -> str:
        made = self.hand.call("create_network_interface", SubnetId=subnet, Description=description, **more)
        return str(made["NetworkInterface"]["NetworkInterfaceId"])

    def _interfaces(self, subnet: str) -> list[dict[str, Any]]:  # boto3's answer: plain JSON
        found: list[dict[str, Any]] = self.hand.call(
            "describe_network_interfaces", Filters=[{"Name": "subnet-id", "Values": [subnet]}]
        )["NetworkInterfaces"]
        return found

    def _subnet_of(self, interface: str) -> str:
        (shown,) = self.hand.call("describe_network_interfaces", NetworkInterfaceIds=[interface])["NetworkInterfaces"]
        return str(shown["SubnetId"])

    def _range(self, subnet: str) -> IPv4Network:
        (shown,) = self.hand.call("describe_subnets", SubnetIds=[subnet])["Subnets"]
        return IPv4Network(shown["CidrBlock"])

    def _held(self, subnet: str) -> list[Any]:
        return [cidr for interface in self._interfaces(subnet) for cidr in _addresses(interface)]


def _addresses(interface: dict[str, Any]) -> list[Any]:
    """Return what an interface holds, as networks."""
    singles = [a["PrivateIpAddress"] for a in interface.get("PrivateIpAddresses", [])]
    return [ip_network(n) for n in (*singles, *(p["Ipv4Prefix"] for p in interface.get("Ipv4Prefixes", [])))]
