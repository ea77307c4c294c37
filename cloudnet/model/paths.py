"""The way from one node to one remote block: what is chosen, and why. Printed by ``cloudnet routes``."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from cloudnet.model.addresses import Address, Network, NodeName


class PathKind(enum.Enum):
    """How packets for a block leave this node."""

    NATIVE = "native"  # by the cloud's route table, through the subnet's gateway
    DIRECT = "direct"  # straight to the node, inside one L2 subnet
    VXLAN = "vxlan"
    IPIP = "ipip"
    BGP = "bgp"  # by a router that BGP peers name
    NONE = "none"  # not enough is known of the node to reach it


class Reason(enum.Enum):
    """Why this path and no better one; one word in output and metrics."""

    PROVEN = "proven"  # there is a way without encapsulation, and probes come back over it
    PENDING = "pending"  # the cloud route is not there yet
    PROVING = "proving"  # there should be such a way; probes have yet to show it
    QUOTA = "quota"
    PERMISSION = "permission"
    THROTTLED = "throttled"
    CONFLICT = "conflict"
    UNAVAILABLE = "unavailable"
    UNSUPPORTED = "unsupported"
    BLACK_HOLED = "black-holed"  # the cloud itself says that the route leads nowhere
    WITHDRAWING = "withdrawing"
    PROBES_LOST = "probes-lost"  # the cloud, or BGP, says the route is fine; packets say it is not
    HELD = "held"  # flapped, waiting out the hold-down
    FORWARDING = "forwarding"  # the fabric drops pod addresses at one of the two nodes
    POOL_MODE = "pool-mode"  # the pool asks for nothing else
    NO_CLOUD = "no-cloud"  # no provider speaks for one of the two nodes
    NOT_LEARNED = "not-learned"  # BGP is spoken, and no peer tells of a way there
    NO_VTEP = "no-vtep"  # the remote node has not published its tunnel end
    DUPLICATE = "duplicate"  # two nodes claim the block, or an overlapping one: both are refused


@dataclass(frozen=True, slots=True)
class Path:
    """The path to one remote block. ``mtu`` is what fits, in bytes.

    ``since`` is wall-clock seconds, and no part of what makes two paths equal.
    """

    block: Network
    node: NodeName
    kind: PathKind
    reason: Reason
    next_hop: Address | None = None
    mtu: int = 0
    detail: str = ""
    since: float = field(default=0.0, compare=False)
