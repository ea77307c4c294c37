"""What we read of the VPC API's answers. Fields that are not here are passed over; missing ones make it no answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reference:
    """Something that is named by its id."""

    id: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Zone:
    name: str


@dataclass(frozen=True, slots=True)
class Address:
    """A reserved address, or a next hop; a next hop that is a VPN connection has an id and a name instead."""

    address: str = ""
    id: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """Where the next page is."""

    href: str


@dataclass(frozen=True, slots=True)
class Route:
    """SDK model ``Route``."""

    id: str
    name: str
    destination: str
    zone: Zone
    action: str
    next_hop: Address
    priority: int
    origin: str
    lifecycle_state: str
    creator: Reference | None = None


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """SDK model ``RoutingTable``."""

    id: str
    name: str
    subnets: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class Subnet:
    """SDK model ``Subnet``."""

    id: str
    zone: Zone
    ipv4_cidr_block: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """SDK model ``InstanceNetworkAttachmentReference``."""

    id: str
    primary_ip: Address
    subnet: Reference
    virtual_network_interface: Reference


@dataclass(frozen=True, slots=True)
class NetworkInterface:
    """SDK model ``NetworkInterfaceInstanceContextReference``; of an instance with attachments a mere shadow."""

    id: str
    primary_ip: Address
    subnet: Reference


@dataclass(frozen=True, slots=True)
class Machine:
    """SDK model ``Instance``."""

    id: str
    name: str
    status: str
    zone: Zone
    network_attachments: tuple[Attachment, ...]
    network_interfaces: tuple[NetworkInterface, ...]


@dataclass(frozen=True, slots=True)
class Interface:
    """SDK models ``VirtualNetworkInterface`` and ``NetworkInterface``."""

    id: str
    allow_ip_spoofing: bool
    security_groups: tuple[Reference, ...] = ()


@dataclass(frozen=True, slots=True)
class Remote:
    """The other side of a rule: an address, a prefix, or another group."""

    address: str = ""
    cidr_block: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """SDK model ``SecurityGroupRule``; without ports all are meant."""

    direction: str
    protocol: str
    remote: Remote
    port_min: int | None = None
    port_max: int | None = None


@dataclass(frozen=True, slots=True)
class SecurityGroup:
    """SDK model ``SecurityGroup``."""

    id: str
    name: str
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class SecurityGroupPage:
    security_groups: tuple[SecurityGroup, ...]
    next: Link | None = None


@dataclass(frozen=True, slots=True)
class Interfaces:
    """SDK model ``NetworkInterfaceUnpaginatedCollection``."""

    network_interfaces: tuple[Interface, ...]


@dataclass(frozen=True, slots=True)
class RoutePage:
    routes: tuple[Route, ...]
    next: Link | None = None


@dataclass(frozen=True, slots=True)
class RoutingTablePage:
    routing_tables: tuple[RoutingTable, ...]
    next: Link | None = None


@dataclass(frozen=True, slots=True)
class SubnetPage:
    subnets: tuple[Subnet, ...]
    next: Link | None = None


@dataclass(frozen=True, slots=True)
class MachinePage:
    instances: tuple[Machine, ...]
    next: Link | None = None


@dataclass(frozen=True, slots=True)
class InterfacePage:
    virtual_network_interfaces: tuple[Interface, ...]
    next: Link | None = None
