"""What EC2 does with addresses of interfaces: prefix delegation, single addresses, limits by type. Pure.

moto gives addresses without limits and knows no prefixes, so these verbs are decided here and moto is told what came
of it. Sources: EC2 API reference ("Error codes", AssignPrivateIpAddresses, AttachNetworkInterface), EC2 User Guide
("Prefix delegation for Amazon EC2 network interfaces", "IP addresses per network interface"), and the messages that
the AWS VPC CNI plugin's issues quote. What is assumed is marked so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from itertools import islice
from types import MappingProxyType
from typing import Final

from cloudnet.lab.clouds.ec2 import Eni, Machine, Parameters, Refusal, Rule, Subnet, Vpcs
from cloudnet.model.addresses import Address, Family, InstanceId, InterfaceId, Network, SubnetId, family

PREFIX: Final[Mapping[Family, int]] = MappingProxyType({Family.IPV4: 28, Family.IPV6: 80})
_WHOLE: Final[Mapping[Family, int]] = MappingProxyType({Family.IPV4: 32, Family.IPV6: 128})
_RESERVED_FIRST: Final = 4  # the network's own address, the router, DNS, and one for later …
_RESERVED_LAST: Final = 1  # … and the last one (VPC User Guide, "Subnet sizing")


@dataclass(frozen=True, slots=True)
class Given:
    """What an interface gets, or loses: prefixes and single addresses. ``own``: a new one's first."""

    cidrs: tuple[Network, ...] = ()
    own: Address | None = None

    def of(self, version: Family, *, prefixes: bool) -> list[str]:
        """Return them as EC2 spells them."""
        some = (c for c in self.cidrs if family(c) is version and (c.num_addresses > 1) is prefixes)
        return [str(c) if prefixes else str(c.network_address) for c in some]


# --- giving -------------------------------------------------------------------------------------------------


def assign(version: Family, parameters: Parameters, vpcs: Vpcs) -> Given | Refusal:
    """Decide AssignPrivateIpAddresses and AssignIpv6Addresses."""
    interface = vpcs.interfaces.get(InterfaceId(parameters.get("NetworkInterfaceId", "")))
    if interface is None:
        return _no_interface(parameters)
    named = _named(version, parameters)
    length, count = (PREFIX[version], len(named)) if named else asked(version, parameters)
    if count < 1:
        return Refusal(400, "MissingParameter", "Either a count or addresses must be specified.")
    machine = vpcs.machines.get(interface.instance) if interface.instance else None
    if refusal := _beyond(machine, interface, version, length, count):
        return refusal
    if named:
        return _these(vpcs, interface.subnet, version, named)
    return _free(vpcs, interface.subnet, version, length, count)


def _named(version: Family, parameters: Parameters) -> list[Network]:
    """Return the prefixes that a request names."""
    return [ip_network(v) for k, v in sorted(parameters.items()) if k.startswith(f"Ipv{version:d}Prefix.")]


def _these(vpcs: Vpcs, subnet: SubnetId, version: Family, wanted: Iterable[Network]) -> Given | Refusal:
    """Give just these prefixes, if they are free; the code of the refusal is assumed."""
    holes = set(_holes(vpcs.subnets[subnet], version, PREFIX[version], _taken(vpcs, subnet)))
    for prefix in wanted:
        if prefix not in holes:
            return Refusal(400, "InvalidParameterValue", f"The prefix {prefix} is not available in the subnet.")
    return Given(tuple(wanted))


def create(parameters: Parameters, vpcs: Vpcs) -> Given | Refusal:
    """Decide the addresses of CreateNetworkInterface: its own, and what it is to hold from the beginning."""
    name = parameters.get("SubnetId", "")
    subnet = vpcs.subnets.get(SubnetId(name))
    if subnet is None:
        return Refusal(400, "InvalidSubnetID.NotFound", f"The subnet ID '{name}' does not exist")
    cidrs: list[Network] = []
    for version in Family:
        length, count = asked(version, parameters)
        found = _free(vpcs, subnet.id, version, length, count) if count else Given()
        if isinstance(found, Refusal):
            return found
        cidrs += found.cidrs
    wanted = parameters.get("PrivateIpAddress")
    if wanted:
        return Given(tuple(cidrs), ip_address(wanted))
    own = next(_holes(subnet, Family.IPV4, 32, [*_taken(vpcs, subnet.id), *cidrs]), None)
    if own is None:
        return _none_free(subnet.id)
    return Given(tuple(cidrs), own.network_address)


def asked(version: Family, parameters: Parameters) -> tuple[int, int]:
    """Return the length and the number of what a request asks for."""
    prefixes = parameters.get(f"Ipv{version:d}PrefixCount")
    singles = parameters.get("SecondaryPrivateIpAddressCount" if version is Family.IPV4 else "Ipv6AddressCount")
    if prefixes:
        return PREFIX[version], int(prefixes)
    return _WHOLE[version], int(singles or 0)


def _beyond(machine: Machine | None, interface: Eni, version: Family, length: int, count: int) -> Refusal | None:
    """Return why the machine's type does not take so much; what is attached to nothing is judged when attached."""
    if machine is None:
        return None
    if length == PREFIX[version] and not machine.nitro:  # the code is assumed
        return Refusal(
            400,
            "InvalidParameterValue",
            f"Prefix delegation is not supported for the instance type of '{machine.id}'.",
        )
    if _used(interface, version) + count > machine.slots(version):
        return Refusal(
            400,
            "PrivateIpAddressLimitExceeded",
            f"Number of private addresses will exceed limit: interface '{interface.id}', {machine.slots(version)}",
        )
    return None


def _used(interface: Eni, version: Family) -> int:
    """Return the slots that are taken, the interface's own address included."""
    return sum(family(n) is version for n in (*interface.addresses, *interface.prefixes))


def _free(vpcs: Vpcs, name: SubnetId, version: Family, length: int, count: int) -> Given | Refusal:
    subnet = vpcs.subnets[name]
    found = tuple(islice(_holes(subnet, version, length, _taken(vpcs, name)), count))
    if len(found) == count:
        return Given(found)
    if length == PREFIX[version]:
        return Refusal(
            400,
            "InsufficientCidrBlocks",
            "The specified subnet does not have enough free cidr blocks to satisfy the request.",
        )
    return _none_free(name)


def _none_free(subnet: SubnetId) -> Refusal:
    return Refusal(
        400,
        "InsufficientFreeAddressesInSubnet",
        f"The specified subnet {subnet} does not have enough free addresses to satisfy the request.",
    )


def _taken(vpcs: Vpcs, subnet: SubnetId) -> list[Network]:
    every = (i for i in vpcs.interfaces.values() if i.subnet == subnet)
    return [ip_network(n) for i in every for n in (*i.addresses, *i.prefixes)]


def _holes(subnet: Subnet, version: Family, length: int, taken: Iterable[Network]) -> Iterator[Network]:
    """Yield the free aligned prefixes of a length, lowest first."""
    cidr = subnet.cidr if version is Family.IPV4 else subnet.cidr6
    if cidr is None:
        return
    size = 1 << (cidr.max_prefixlen - length)
    spans = sorted((int(t.network_address), int(t.broadcast_address)) for t in taken if family(t) is version)
    last = int(cidr.broadcast_address) - _RESERVED_LAST
    at = -(-(int(cidr.network_address) + _RESERVED_FIRST) // size) * size
    for low, high in (*spans, (last + 1, last + 1)):
        while at + size - 1 < low:
            yield type(cidr)((at, length))
            at += size
        if high >= at:
            at = -(-(high + 1) // size) * size


# --- taking, attaching, detaching ---------------------------------------------------------------------------


def unassign(version: Family, parameters: Parameters, vpcs: Vpcs) -> Given | Refusal:
    """Decide UnassignPrivateIpAddresses and UnassignIpv6Addresses: all that is named, or nothing."""
    interface = vpcs.interfaces.get(InterfaceId(parameters.get("NetworkInterfaceId", "")))
    if interface is None:
        return _no_interface(parameters)
    names = ("Ipv4Prefix.", "PrivateIpAddress.") if version is Family.IPV4 else ("Ipv6Prefix.", "Ipv6Addresses.")
    named = [ip_network(value) for key, value in sorted(parameters.items()) if key.startswith(names)]
    held = {ip_network(n) for n in (*interface.addresses[1:], *interface.prefixes)}
    if strange := [n for n in named if n not in held]:
        return Refusal(
            400,
            "InvalidParameterValue",
            f"Some of the specified addresses are not assigned to interface {interface.id}: {strange[0]}",
        )
    return Given(tuple(named))


def judge_attach(parameters: Parameters, vpcs: Vpcs, _limit: int) -> Refusal | None:
    interface = vpcs.interfaces.get(InterfaceId(parameters.get("NetworkInterfaceId", "")))
    machine = vpcs.machines.get(InstanceId(parameters.get("InstanceId", "")))
    if interface is None:
        return _no_interface(parameters)
    if machine is None:
        name = parameters.get("InstanceId", "")
        return Refusal(400, "InvalidInstanceID.NotFound", f"The instance ID '{name}' does not exist")
    if interface.instance is not None:
        return Refusal(400, "InvalidNetworkInterface.InUse", f"Interface: [{interface.id}] in use.")
    if len(machine.interfaces) >= machine.most_interfaces:
        number = len(machine.interfaces) + 1
        return Refusal(
            400, "AttachmentLimitExceeded", f"Interface count {number} exceeds the limit for {machine.type}"
        )
    index = int(parameters.get("DeviceIndex", "0"))
    if any(vpcs.interfaces[i].index == index for i in machine.interfaces if i in vpcs.interfaces):
        return _invalid(f"Instance '{machine.id}' already has an interface attached at device index '{index}'.")
    return _elsewhere(interface, machine, vpcs) or _overfull(interface, machine)


def _elsewhere(interface: Eni, machine: Machine, vpcs: Vpcs) -> Refusal | None:
    own = vpcs.interfaces.get(machine.interfaces[0]) if machine.interfaces else None
    if own is None or vpcs.subnets[own.subnet].zone == vpcs.subnets[interface.subnet].zone:
        return None
    return _invalid(
        "You may not attach a network interface to an instance if they are not in the same availability zone"
    )


def _overfull(interface: Eni, machine: Machine) -> Refusal | None:
    """The code is assumed: EC2 tells of too many addresses when the interface meets the type."""
    over = any(_used(interface, version) > machine.slots(version) for version in Family)
    if not over:
        return None
    return Refusal(400, "PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit.")


def judge_detach(parameters: Parameters, vpcs: Vpcs, _limit: int) -> Refusal | None:
    name = parameters.get("AttachmentId", "")
    interface = next((i for i in vpcs.interfaces.values() if name and i.attachment == name), None)
    if interface is None:
        return Refusal(400, "InvalidAttachmentID.NotFound", f"The attachment ID '{name}' does not exist")
    if interface.index == 0:
        return Refusal(400, "OperationNotPermitted", "The network interface at device index 0 cannot be detached.")
    return None


def _no_interface(parameters: Parameters) -> Refusal:
    name = parameters.get("NetworkInterfaceId", "")
    return Refusal(400, "InvalidNetworkInterfaceID.NotFound", f"The networkInterface ID '{name}' does not exist")


def _invalid(message: str) -> Refusal:
    return Refusal(400, "InvalidParameterValue", message)


RULES: Mapping[str, Rule] = MappingProxyType(
    {"AttachNetworkInterface": judge_attach, "DetachNetworkInterface": judge_detach}
)
