"""The only reader of moto's inner state: turns its backend into ``ec2`` values, and mends what moto leaves apart.

moto runs in this process, so its objects are read directly: a describe through HTTP after every write would cost
ten times as much and could not show what moto's answers leave out.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import Any

from moto.ec2.models import ec2_backends
from moto.ec2.models.instance_types import INSTANCE_TYPES

from cloudnet.lab.clouds.ec2 import Eni, Entry, Machine, Subnet, Table, Vpcs
from cloudnet.model.addresses import Family, InstanceId, InterfaceId, Network, SubnetId, TableId, family

ACCOUNT = "123456789012"  # moto's own


class Region:
    """One region of moto's EC2."""

    def __init__(self, name: str) -> None:
        self._backend: Any = ec2_backends[ACCOUNT][name]  # moto has no type information

    def read(self) -> Vpcs:
        backend = self._backend
        machines = {m.id: _machine(m) for r in backend.reservations.values() for m in r.instances}
        return Vpcs(
            tables={TableId(t.id): _table(t) for t in backend.route_tables.values()},
            subnets={SubnetId(s.id): self._subnet(s) for zone in backend.subnets.values() for s in zone.values()},
            interfaces={InterfaceId(e.id): _eni(e) for e in backend.enis.values()},
            machines=machines,
            attachments={
                a.transit_gateway_id: SubnetId(a.subnet_ids[0])
                for a in backend.transit_gateway_attachments.values()
                if a.resource_type == "vpc" and a.state == "available"
            },
        )

    def _subnet(self, subnet: Any) -> Subnet:
        tables = self._backend.route_tables.values()
        own = next((t.id for t in tables if subnet.id in t._associations.values()), None)  # noqa: SLF001 - moto's only form
        main = next((t.id for t in tables if t.vpc_id == subnet.vpc_id and t.main_association_id), None)
        table = own or main
        return Subnet(
            SubnetId(subnet.id),
            _name(subnet),
            subnet.vpc_id,
            ip_network(subnet.cidr_block),
            table and TableId(table),
            subnet.availability_zone,
            next((ip_network(a["ipv6CidrBlock"]) for a in subnet.ipv6_cidr_block_associations.values()), None),
        )

    def give(self, interface: str, cidrs: Iterable[Network]) -> None:
        """Let an interface have prefixes and single addresses; moto's describes show them from now on."""
        eni = self._backend.enis[interface]
        for cidr in cidrs:
            _shelf(eni, cidr).append(_item(cidr))
            if cidr.num_addresses > 1 and family(cidr) is Family.IPV4:
                eni.subnet._available_ip_addresses -= cidr.num_addresses  # noqa: SLF001 - it counts single ones only

    def take(self, interface: str, cidrs: Iterable[Network]) -> None:
        """Take prefixes and single addresses from an interface."""
        _take(self._backend.enis[interface], cidrs)

    def delete_with_instance(self, interface: str, *, wanted: bool) -> None:
        """Note whether an interface goes with its instance; moto does not listen."""
        self._backend.enis[interface].delete_on_termination = wanted

    def link_check_of_instance(self, instance: str) -> None:
        """Copy the instance's source/destination check to its primary interface: in EC2 they are one."""
        machine = self._backend.get_instance(instance)
        machine.nics[0].source_dest_check = _true(machine.source_dest_check)

    def link_check_of_interface(self, interface: str) -> None:
        """Copy a primary interface's check to its instance."""
        eni = self._backend.enis[interface]
        if eni.instance is not None and eni.instance.nics.get(0) is eni:
            eni.instance.source_dest_check = _true(eni.source_dest_check)

    def drop_interfaces(self, instance: str) -> None:
        """Delete the interfaces of a terminated instance that go with it, the primary one always; detach the rest."""
        machine = self._backend.get_instance(instance)
        for index, eni in list(machine.nics.items()):
            if index == 0 or eni.delete_on_termination:
                _release(eni)
                self._backend.enis.pop(eni.id, None)
            else:
                eni.instance, eni.attachment_id, eni.status = None, None, "available"

    def release(self, interface: str) -> None:
        """Give what an interface has, that is about to be deleted, back to its subnet."""
        if interface in self._backend.enis:
            _release(self._backend.enis[interface])


def _take(eni: Any, cidrs: Iterable[Network]) -> None:
    for cidr in cidrs:
        _shelf(eni, cidr).remove(_item(cidr))
        if cidr.num_addresses > 1 and family(cidr) is Family.IPV4:
            eni.subnet._available_ip_addresses += cidr.num_addresses  # noqa: SLF001 - it counts single ones only


def _release(eni: Any) -> None:
    """Give all that an interface has back to its subnet; moto itself keeps the addresses for ever."""
    _take(eni, [ip_network(p["Ipv4Prefix"]) for p in _prefixes(eni, Family.IPV4)])
    for own in eni.private_ip_addresses:
        eni.subnet.del_subnet_ip(own["PrivateIpAddress"])


def _prefixes(eni: Any, version: Family) -> list[Any]:
    """Return the list that moto shows as the interface's prefixes; moto itself has none."""
    name = f"ipv{version:d}_prefixes"
    if not hasattr(eni, name):
        setattr(eni, name, [])
    found: list[Any] = getattr(eni, name)
    return found


def _shelf(eni: Any, cidr: Network) -> list[Any]:
    """Return where moto keeps what is like this."""
    if cidr.num_addresses > 1:
        return _prefixes(eni, family(cidr))
    shelf: list[Any] = eni.private_ip_addresses if family(cidr) is Family.IPV4 else eni.ipv6_addresses
    return shelf


def _item(cidr: Network) -> object:
    if cidr.num_addresses > 1:
        return {f"Ipv{cidr.version}Prefix": str(cidr)}
    address = str(cidr.network_address)
    return {"Primary": False, "PrivateIpAddress": address} if family(cidr) is Family.IPV4 else address


def _machine(machine: Any) -> Machine:
    nics = [nic for _, nic in sorted(machine.nics.items())]
    return Machine(
        InstanceId(machine.id),
        _name(machine),
        machine._state.name,  # noqa: SLF001 - moto has no public reader
        tuple(InterfaceId(nic.id) for nic in nics),
        _true(machine.source_dest_check),
        machine.instance_type,
        **_limits(machine.instance_type),
    )


def _limits(name: str) -> dict[str, Any]:
    known = INSTANCE_TYPES.get(name, {})
    network = known.get("NetworkInfo", {})
    return {
        "nitro": known.get("Hypervisor") == "nitro" or bool(known.get("BareMetal")),
        "most_interfaces": network.get("MaximumNetworkInterfaces", 1),
        "most_addresses": {
            Family.IPV4: network.get("Ipv4AddressesPerInterface", 1),
            Family.IPV6: network.get("Ipv6AddressesPerInterface", 0),
        },
    }


def _eni(eni: Any) -> Eni:
    secondary = [a["PrivateIpAddress"] for a in eni.private_ip_addresses if not a.get("Primary")]
    v6 = [a if isinstance(a, str) else a["Ipv6Address"] for a in eni.ipv6_addresses]
    return Eni(
        InterfaceId(eni.id),
        SubnetId(eni.subnet.id),
        eni.subnet.vpc_id,
        eni.mac_address,
        tuple(ip_address(a) for a in (eni.private_ip_address, *secondary, *v6)),
        InstanceId(eni.instance.id) if eni.instance else None,
        bool(eni.instance) and eni.instance.nics.get(0) is eni,
        _true(eni.source_dest_check),
        tuple(ip_network(p[f"Ipv{v:d}Prefix"]) for v in Family for p in _prefixes(eni, v)),
        eni.attachment_id or "",
        eni.device_index or 0,
    )


def _table(table: Any) -> Table:
    return Table(
        TableId(table.id),
        table.vpc_id,
        tuple(_entry(r) for r in table.routes if r.destination_cidr_block or r.destination_ipv6_cidr_block),
    )


def _entry(route: Any) -> Entry:
    return Entry(
        ip_network(route.destination_cidr_block or route.destination_ipv6_cidr_block),
        route.network_interface_id,
        route.instance_id,
        route.gateway_id
        or route.nat_gateway_id
        or route.transit_gateway_id
        or route.vpc_peering_connection_id
        or route.egress_only_internet_gateway_id
        or route.carrier_gateway_id
        or "",
    )


def _name(resource: Any) -> str:
    return next((tag["value"] for tag in resource.get_tags() if tag["key"] == "Name"), "")


def _true(value: Any) -> bool:
    """Moto stores what came over the wire: a bool, or its spelling."""
    return value if isinstance(value, bool) else str(value).lower() == "true"
