"""What a lab is made of, and the names and addresses that follow from it. Pure; builds nothing."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from types import MappingProxyType

from cloudnet.errors import BadInput

VPC = IPv4Network("10.0.0.0/16")
POOL = IPv4Network("10.65.0.0/16")
BLOCK_LENGTH = 26
OUTSIDE_HOST = IPv4Interface("192.0.2.10/24")  # a host that is no part of the cluster (RFC 5737)
OUTSIDE_ROUTER = IPv4Interface("192.0.2.1/24")  # the cloud's end of the wire to it
OUTSIDE_DEVICE = "outside"  # that end's device in the cloud's namespace
STORE = IPv4Address("10.0.255.1")  # of a store that is a server: in the VPC, in none of its subnets
RESERVED_NAMES = frozenset({"cloud", "outside"})  # namespaces of the lab that are no nodes
FIRST_HOST = 10  # node k has host number 10 + k: low ones belong to the cloud, .1 is the gateway
LAST_HOST = 4  # counted from the end of a subnet: the very last ones belong to the cloud too
FIRST_POD = 2  # .0 is the node's tunnel address, .1 stays free for a probe or a gateway
MAX_NODES = 200
MAX_SUBNETS = 26
VXLAN_OVERHEAD = 50  # outer Ethernet 14, IPv4 20, UDP 8, VXLAN 8

_NAME = re.compile(r"[a-z][a-z0-9]{0,9}")  # no dash: it separates the parts of a namespace's name

LAB_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "CLOUDNET_RETRY_FIRST": "2",  # a person who watches does not wait a minute for the next try
        "CLOUDNET_RETRY_LIMIT": "8",
        "CLOUDNET_RESYNC_SECONDS": "5",  # nor a quarter of an hour until somebody else's repair is noticed
    }
)

NATIVE_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "CLOUDNET_NATIVE_ADDRESSES": "ipv4",
        "CLOUDNET_NATIVE_WARM": "4",
        "CLOUDNET_NATIVE_POD_LIMIT": "40",
        "CLOUDNET_NATIVE_RESYNC_SECONDS": "5",  # what somebody took is noticed while he is watched
    }
)
"""What a lab needs besides when pods get addresses of the cloud itself."""


@dataclass(frozen=True, slots=True)
class LabSpec:
    """The whole description of a lab. ``mtu`` is the underlay's, in bytes; times are seconds.

    ``propagation`` is how long the fabric takes to follow the control plane, ``read_delay`` how long a new
    route stays invisible to readers of the API. ``settings`` are environment variables of agents and controller.
    ``addresses``: of pods, ``routes`` for blocks of a pool behind cloud routes, ``native`` for the cloud's own.
    ``store`` is one of ``stores.KINDS``.
    """

    name: str = "lab"
    nodes: int = 3
    subnets: int = 3
    zones: int = 3
    pods: int = 2
    cloud: str = "aws"
    mtu: int = 1500
    routes_per_table: int = 50
    propagation: float = 0.2
    read_delay: float = 0.3
    agents: bool = True
    controller: bool = True
    store: str = "sqlite"
    settings: Mapping[str, str] = field(default_factory=lambda: dict(LAB_SETTINGS), hash=False)
    addresses: str = "routes"

    def check(self) -> None:
        """Refuse what cannot be built.

        Raises:
            BadInput: a field is out of range.
        """
        check_name(self.name, path="name")
        for name, value, limit in (
            ("nodes", self.nodes, MAX_NODES),
            ("subnets", self.subnets, MAX_SUBNETS),
            ("zones", self.zones, MAX_SUBNETS),
        ):
            if not 1 <= value <= limit:
                raise BadInput(f"expected a number from 1 to {limit}, found {value}", path=name)
        if self.addresses not in {"routes", "native"}:
            raise BadInput(f"expected routes or native, found {self.addresses!r}", path="addresses")
        if not 0 <= self.pods <= (1 << (32 - BLOCK_LENGTH)) - FIRST_POD - 1:
            raise BadInput(f"does not fit a block of /{BLOCK_LENGTH}, found {self.pods}", path="pods")
        if not 1280 + VXLAN_OVERHEAD <= self.mtu <= 9216:  # noqa: PLR2004 - IPv6's least MTU; jumbo frames
            raise BadInput(f"expected 1330 to 9216 bytes, found {self.mtu}", path="mtu")

    @property
    def native(self) -> bool:
        return self.addresses == "native"

    @property
    def environment(self) -> Mapping[str, str]:
        """What agents and controller are started with."""
        return {**NATIVE_SETTINGS, **self.settings} if self.native else self.settings

    @property
    def pod_mtu(self) -> int:
        """What fits into VXLAN, so that a switch of paths never breaks an open connection."""
        return self.mtu - VXLAN_OVERHEAD


@dataclass(frozen=True, slots=True)
class SubnetPlan:
    """One subnet: a bridge in the cloud's namespace."""

    name: str
    cidr: IPv4Network
    gateway: IPv4Address
    zone: str

    @property
    def bridge(self) -> str:
        return bridge_name(self.name)


def check_name(name: str, *, path: str) -> None:
    if not _NAME.fullmatch(name):
        raise BadInput(f"expected a letter and up to nine letters or digits, all small, found {name!r}", path=path)


def subnets(spec: LabSpec) -> tuple[SubnetPlan, ...]:
    return tuple(
        SubnetPlan(
            name=f"s{i}",
            cidr=IPv4Network(f"10.0.{i}.0/24"),
            gateway=IPv4Address(f"10.0.{i}.1"),
            zone=zone_name(spec.cloud, (i - 1) % spec.zones + 1),
        )
        for i in range(1, spec.subnets + 1)
    )


_ZONES: Mapping[str, str] = MappingProxyType(
    {
        "aws": "eu-west-1{letter}",
        "azure": "westeurope-{number}",
        "gcp": "europe-west1-{letter}",
        "ibm": "eu-de-{number}",
    }
)


def zone_name(cloud: str, number: int) -> str:
    """Return what a cloud calls its zone ``number``, counted from 1."""
    return _ZONES.get(cloud, "zone-{number}").format(number=number, letter=chr(ord("a") + number - 1))


def node_address(subnet: SubnetPlan, number: int, *, native: bool = False) -> IPv4Interface:
    """Return the address of node ``number`` (counted from 1) with the prefix length of its subnet.

    Where pods have addresses of the subnet as well, nodes have high ones: clouds give the lowest that are free.
    """
    host = subnet.cidr.num_addresses - LAST_HOST - number if native else FIRST_HOST + number
    return IPv4Interface((subnet.cidr.network_address + host, subnet.cidr.prefixlen))


def block(number: int, index: int = 0) -> IPv4Network:
    """Return a node's block: the first four lie in its own /24, further ones from the top of the pool down."""
    if index < 4:  # noqa: PLR2004 - a /24 holds four /26
        return IPv4Network(f"{POOL.network_address + 256 * number + 64 * index}/{BLOCK_LENGTH}")
    offset = 64 * (MAX_NODES * (index - 4) + number)
    return IPv4Network((int(POOL.broadcast_address) + 1 - 64 - offset, BLOCK_LENGTH))


def pod_address(of: IPv4Network, index: int) -> IPv4Address:
    """Return the address of the block's pod ``index``, counted from 0."""
    return of.network_address + FIRST_POD + index


def cloud_namespace(lab: str) -> str:
    return f"cn-{lab}-cloud"


def outside_namespace(lab: str) -> str:
    return f"cn-{lab}-outside"


def node_namespace(lab: str, node: str) -> str:
    return f"cn-{lab}-{node}"


def pod_namespace(lab: str, node: str, pod: str) -> str:
    return f"cn-{lab}-{node}-{pod}"


def namespace_prefix(lab: str) -> str:
    return f"cn-{lab}-"


def bridge_name(subnet: str) -> str:
    return f"br-{subnet}"


def port_name(node: str) -> str:
    return f"p-{node}"


def workload_device(workload: str, *, namespace: str = "default") -> str:
    """Return the name of a pod's host side. Follows Calico ``libcalico-go/lib/backend/k8s`` VethNameForWorkload."""
    digest = hashlib.sha1(f"{namespace}.{workload}".encode(), usedforsecurity=False)
    return "cali" + digest.hexdigest()[:11]
