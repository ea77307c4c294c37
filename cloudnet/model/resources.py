"""What the store holds: Calico's resources that routing needs, and the few of our own.

Every resource is a frozen value with ``meta`` first. Python names here; the spelling on the wire belongs to
``calico.py`` (Calico's kinds, group ``projectcalico.org/v3``) and ``own.py`` (ours, ``cloudnet.io/v1``).
Collections are tuples, frozensets, or mappings that nobody mutates.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address, ip_address
from types import MappingProxyType
from typing import Protocol

from cloudnet.model.addresses import (
    Address,
    Family,
    InstanceId,
    Interface,
    InterfaceId,
    Network,
    NodeName,
    SubnetId,
    TableId,
)

_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Metadata:
    """Name and labels of a resource; ``uid`` is empty until a store gives one.

    ``document`` is the JSON that a resource was read from, where its reader wants to write it again with all that we
    do not understand of it (``kinds.keeping``); it is no part of what the resource is.
    """

    name: str
    namespace: str = ""
    uid: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: _NOTHING, hash=False)
    annotations: Mapping[str, str] = field(default_factory=lambda: _NOTHING, hash=False)
    document: bytes = field(default=b"", compare=False, repr=False)


class Resource(Protocol):
    """Anything that a store can hold."""

    @property
    def meta(self) -> Metadata: ...


# --- Calico's kinds -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Vtep:
    """A node's VXLAN tunnel end: the address and MAC of its ``vxlan.calico`` device."""

    address: Address
    mac: str


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """An address that others say a node has, as they wrote it; ``type`` is Kubernetes' or Calico's word."""

    address: str
    type: str = ""


INTERNAL_IP = "InternalIP"


@dataclass(frozen=True, slots=True)
class Node:
    """A machine that runs pods. Calico ``Node`` (``internalapi/node.go``).

    ``addresses`` are the node's own, with the prefix length of its subnet, one a family at most;
    ``pod_cidrs`` come from Kubernetes (kubenet's way) and stand beside blocks from IPAM.
    ``provider_id`` is Kubernetes' ``spec.providerID``, e.g. ``aws:///eu-west-1a/i-0abc``. ``said_addresses`` are
    what kubelet, cloud and Calico say; routes and tunnels use none of them before it is in ``addresses``.
    ``as_number`` is the node's own in BGP, where it has one; ``route_reflector`` is its cluster id (RFC 4456), where
    it is one.
    """

    meta: Metadata
    addresses: tuple[Interface, ...] = ()
    vteps: tuple[Vtep, ...] = ()
    pod_cidrs: tuple[Network, ...] = ()
    provider_id: str = ""
    as_number: int | None = None
    route_reflector: IPv4Address | None = None
    said_addresses: tuple[NodeAddress, ...] = ()

    @property
    def name(self) -> NodeName:
        return NodeName(self.meta.name)

    def address(self, family: Family) -> Interface | None:
        for address in self.addresses:  # a generator would take twice as long, and this is asked for every block
            if address.version == family:
                return address
        return None

    def internal_addresses(self) -> tuple[Address, ...]:
        """Return what Kubernetes calls the node's InternalIP, the first of each family first."""
        found = (one.address.partition("/")[0] for one in self.said_addresses if one.type == INTERNAL_IP)
        return tuple(address for text in found if (address := _address(text)) is not None)

    def vtep(self, family: Family) -> Vtep | None:
        for vtep in self.vteps:
            if vtep.address.version == family:
                return vtep
        return None


def _address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None  # somebody else's field: a node whose cloud wrote nonsense is a node


class EncapMode(enum.Enum):
    """How a pool's traffic is encapsulated. Calico ``vxlanMode`` and ``ipipMode``."""

    NEVER = "Never"
    ALWAYS = "Always"
    CROSS_SUBNET = "CrossSubnet"


class AllowedUse(enum.Enum):
    """What a pool's addresses may be taken for. Calico ``allowedUses``."""

    WORKLOAD = "Workload"
    TUNNEL = "Tunnel"
    LOAD_BALANCER = "LoadBalancer"


class AssignmentMode(enum.Enum):
    """Whether a pool is used unasked, or only by those who name it. Calico ``assignmentMode``."""

    AUTOMATIC = "Automatic"
    MANUAL = "Manual"


@dataclass(frozen=True, slots=True)
class IPPool:
    """A range that pods take addresses from. Calico ``IPPool``.

    What the modes mean here is decided in docs/decisions/pool-modes.md: ``Never`` asks for native routes with
    VXLAN as ground, ``CrossSubnet`` for direct routes inside a subnet only, ``Always`` for VXLAN alone.
    ``node_selector`` and ``namespace_selector`` are Calico selector expressions; an empty one selects all.
    """

    meta: Metadata
    cidr: Network
    vxlan_mode: EncapMode = EncapMode.NEVER
    ipip_mode: EncapMode = EncapMode.NEVER
    nat_outgoing: bool = False
    disabled: bool = False
    block_size: int = 26
    node_selector: str = "all()"
    namespace_selector: str = ""
    allowed_uses: frozenset[AllowedUse] = frozenset({AllowedUse.WORKLOAD, AllowedUse.TUNNEL})
    assignment_mode: AssignmentMode = AssignmentMode.AUTOMATIC
    disable_bgp_export: bool = False


class AffinityState(enum.Enum):
    """Life of a block's affinity; pending and pendingDeletion blocks must not be routed."""

    CONFIRMED = "confirmed"
    PENDING = "pending"
    PENDING_DELETION = "pendingDeletion"


@dataclass(frozen=True, slots=True)
class BlockAffinity:
    """One block of pod addresses that belongs to a node. Calico ``BlockAffinity``, named ``<node>-<cidr>``."""

    meta: Metadata
    node: NodeName
    cidr: Network
    state: AffinityState = AffinityState.CONFIRMED
    type: str = "host"
    deleted: bool = False


# --- Calico's kinds for address management ------------------------------------------------------------------

_NO_NUMBERS: Mapping[int, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Affinity:
    """Whom a block belongs to: a host, or a virtual owner such as the load balancer. ``host:n1`` on the wire."""

    host: NodeName
    type: str = "host"

    def __str__(self) -> str:
        return f"{self.type}:{self.host}"


@dataclass(frozen=True, slots=True)
class AllocationAttribute:
    """What is known of the addresses of a block that point here. Calico ``AllocationAttribute``.

    ``owner`` says who has the address (``pod``, ``namespace``, ``node``, ``type``...); ``alternate_owner`` who
    gets it next, where a virtual machine moves. An attribute with ``released_at`` belongs to nobody any more:
    its addresses cool down before they are given again.
    """

    handle: str | None = None
    owner: Mapping[str, str] = field(default_factory=lambda: _NOTHING, hash=False)
    alternate_owner: Mapping[str, str] = field(default_factory=lambda: _NOTHING, hash=False)
    released_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class IPAMBlock:
    """Who has which address of one block. Calico ``IPAMBlock``, named after the prefix (``10-65-1-0-26``).

    An ordinal is an address's distance from the first one. ``allocations`` has an entry for each ordinal: an
    index into ``attributes``, or nothing when the address is free. ``unallocated`` is the queue of free
    ordinals, first out first. ``sequence_number`` grows with every write; ``sequence_numbers`` is its value
    when an ordinal was given away: {ordinal: number}.
    """

    meta: Metadata
    cidr: Network
    affinity: Affinity | None = None
    claimed_at: datetime | None = None
    allocations: tuple[int | None, ...] = ()
    unallocated: tuple[int, ...] = ()
    attributes: tuple[AllocationAttribute, ...] = ()
    sequence_number: int = 0
    sequence_numbers: Mapping[int, int] = field(default_factory=lambda: _NO_NUMBERS, hash=False)
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class IPAMHandle:
    """How many addresses one handle may hold in which block. Calico ``IPAMHandle``, named in lower case.

    A count is an upper bound: it is raised before the block is written, and lowered after.
    """

    meta: Metadata
    handle: str
    blocks: Mapping[Network, int] = field(hash=False)
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class IPAMConfiguration:
    """How addresses are given out, for the whole cluster. Calico ``IPAMConfiguration``, the one named ``default``.

    ``max_blocks_per_host`` of 0 means Calico's own limit; ``cooldown`` is the seconds that a released address rests.
    """

    meta: Metadata
    strict_affinity: bool = False
    auto_allocate_blocks: bool = True
    max_blocks_per_host: int = 0
    cooldown: int = 0


@dataclass(frozen=True, slots=True)
class IPReservation:
    """Addresses that nobody is given from now on; who has one keeps it. Calico ``IPReservation``."""

    meta: Metadata
    cidrs: tuple[Network, ...] = ()


# --- our own kinds ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CloudNode:
    """What the cloud says of one node; written by the controller, named like the node.

    ``tables`` are the route tables that packets *leaving* this node are looked up in.
    ``forwarding`` tells whether the fabric lets the node send and receive for pod addresses (source/destination
    check off, IP forwarding on); ``problem`` says in one sentence why it does not.
    """

    meta: Metadata
    instance: InstanceId
    interface: InterfaceId
    subnet: SubnetId
    zone: str = ""
    tables: tuple[TableId, ...] = ()
    forwarding: bool = False
    l2_adjacent: bool = False
    mtu: int = 1500
    problem: str = ""


class RouteState(enum.Enum):
    """Where one block stands in one cloud route table."""

    PENDING = "pending"
    PROGRAMMED = "programmed"
    REFUSED = "refused"
    CONFLICT = "conflict"
    BLACK_HOLED = "black-holed"
    WITHDRAWING = "withdrawing"


class Cause(enum.Enum):
    """Why the cloud did not do it; one word for it in status, metrics and messages."""

    NONE = "none"
    QUOTA = "quota"
    PERMISSION = "permission"
    THROTTLED = "throttled"
    CONFLICT = "conflict"
    DUPLICATE = "duplicate"
    NOT_FOUND = "not-found"
    UNSUPPORTED = "unsupported"
    UNAVAILABLE = "unavailable"
    EXHAUSTED = "exhausted"


@dataclass(frozen=True, slots=True)
class NextHop:
    """Where a cloud route points. Clouds name it differently, so any field may be unknown."""

    interface: InterfaceId | None = None
    instance: InstanceId | None = None
    address: Address | None = None

    def same_as(self, other: NextHop) -> bool:
        """Tell whether both name one place: at least one field known to both, and none contradicting.

        The interface decides alone when both sides know it: an instance may have several.
        """
        if self.interface and other.interface:
            return self.interface == other.interface
        pairs = ((self.instance, other.instance), (self.address, other.address))
        known = [(mine, theirs) for mine, theirs in pairs if mine and theirs]
        return bool(known) and all(mine == theirs for mine, theirs in known)


@dataclass(frozen=True, slots=True)
class TableStatus:
    """One block in one cloud route table.

    ``next_hop`` is what we wrote or are about to write: it is the ownership ledger, recorded before the write;
    ``previous`` is what we wrote before, while a replacement is on its way and either may stand in the table.
    ``since`` is wall-clock seconds, for people; ``detail`` is one sentence with the cause and the remedy.
    """

    table: TableId
    state: RouteState
    cause: Cause = Cause.NONE
    detail: str = ""
    next_hop: NextHop | None = None
    since: float = 0.0
    previous: NextHop | None = None


@dataclass(frozen=True, slots=True)
class CloudRoute:
    """One block of pod addresses and where it stands in the cloud; named after the prefix (``10-65-1-0-26``).

    Written by the controller alone. A block that needs no entry in a table has no ``TableStatus`` for it.
    """

    meta: Metadata
    cidr: Network
    node: NodeName
    tables: tuple[TableStatus, ...] = ()

    def status(self, table: TableId) -> TableStatus | None:
        return next((s for s in self.tables if s.table == table), None)


@dataclass(frozen=True, slots=True)
class AgentReport:
    """What one agent tells the controller; named like the node, written only when it changes.

    ``ready``: the VXLAN ground is in the kernel. ``observed``: the newest ``CloudRoute`` revision whose
    withdrawal this agent has acted on; a cloud route is deleted only when every agent got there.
    ``lost``: blocks whose cloud route is reported programmed while probes over it die, or whose node has been silent
    for a while: the controller should look at the cloud.
    """

    meta: Metadata
    ready: bool = False
    observed: int = 0
    lost: tuple[Network, ...] = ()
    message: str = ""


@dataclass(frozen=True, slots=True)
class Lease:
    """Who leads. Holders renew by compare-and-swap; watchers time it on their own monotonic clock."""

    meta: Metadata
    holder: str = ""
    duration: float = 15.0
    renewals: int = 0


@dataclass(frozen=True, slots=True)
class NodeCondition:
    """The one owner's verdict on a node's network; named like the node, written by the controller.

    ``node_uid`` says of which Node: one that is made anew under the name has not been told yet.
    """

    meta: Metadata
    ready: bool
    reason: str
    message: str = ""
    since: float = 0.0
    node_uid: str = ""
