"""What one node says by BGP, and to whom: frozen values, decided by ``plan`` and written down by ``render``.

Nothing here knows how BIRD spells it, nor which of Calico's resources it came from.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from cloudnet.model.addresses import Address, Family, Network

Community = tuple[int, ...]
"""Two numbers (RFC 1997), or three of a large one (RFC 8092)."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """A prefix that this node tells its peers to send to it."""

    prefix: Network
    communities: tuple[Community, ...] = ()


class NextHopMode(enum.Enum):
    """Which next hop peers are told of routes that others told us. Calico ``nextHopMode``."""

    AUTO = "Auto"
    SELF = "Self"
    KEEP = "Keep"


class Origin(enum.Enum):
    """Why there is a session: the first of these that asks for a peer's address decides about it."""

    NODE = "node"  # a BGPPeer of certain nodes
    GLOBAL = "global"  # a BGPPeer of all nodes
    MESH = "mesh"  # every node with every other


@dataclass(frozen=True, slots=True)
class Session:
    """One peer. Times are seconds; what is ``None`` or 0 is left to BIRD.

    ``peer`` says who it is, for people. ``source`` is our end's address. ``client``: routes of one iBGP peer are
    reflected to it (RFC 4456). ``filters`` are asked in order, before what always holds.
    """

    origin: Origin
    peer: str
    address: Address
    as_number: int
    local_as: int
    port: int = 179
    source: Address | None = None
    passive: bool = False
    client: bool = False
    next_hop: NextHopMode = NextHopMode.AUTO
    password: str = field(default="", repr=False)
    restart_time: int | None = None
    keepalive: int | None = None
    ttl_security: int = 0
    own_as_allowed: int = 0
    gateway: Address | None = None
    filters: tuple[str, ...] = ()

    @property
    def external(self) -> bool:
        return self.as_number != self.local_as

    @property
    def key(self) -> tuple[Address, int]:
        """What makes two sessions the same one."""
        return self.address, self.port


class Match(enum.Enum):
    """How a rule compares prefixes. Calico ``matchOperator``."""

    EQUAL = "Equal"
    NOT_EQUAL = "NotEqual"
    IN = "In"
    NOT_IN = "NotIn"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a filter: which routes, and what becomes of them. What is not said matches everything."""

    accept: bool
    prefix: Network | None = None
    match: Match = Match.IN
    lengths: tuple[int, int] | None = None
    from_peers: bool = False
    interface: str = ""
    external: bool | None = None
    community: Community | None = None
    path_begins: tuple[int, ...] = ()
    add_communities: tuple[Community, ...] = ()
    prepend: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Filter:
    """Rules for what is told to a peer and what is taken from it, by family; the first that matches decides."""

    name: str
    exports: Mapping[Family, tuple[Rule, ...]] = field(default_factory=dict, hash=False)
    imports: Mapping[Family, tuple[Rule, ...]] = field(default_factory=dict, hash=False)


class Severity(enum.Enum):
    """From which level up BIRD logs. Calico ``logSeverityScreen``."""

    DEBUG = "Debug"
    INFO = "Info"
    WARNING = "Warning"
    ERROR = "Error"
    FATAL = "Fatal"
    NONE = "None"


@dataclass(frozen=True, slots=True)
class Speaker:
    """Everything that this node's BIRD is to do.

    ``inside`` are the prefixes of pods of the whole cluster: what peers say of them goes to cloudnet, which decides
    about the way there, and all else to the host's own routes. ``passed_on`` are those of which other nodes' routes
    are told to peers. ``services`` are the ranges of services, which no host is to route: kube-proxy knows the way.
    All without overlaps, in order.
    """

    router_id: IPv4Address
    port: int = 179
    strict_bind: bool = False
    cluster_id: IPv4Address | None = None
    announcements: tuple[Announcement, ...] = ()
    sessions: tuple[Session, ...] = ()
    filters: tuple[Filter, ...] = ()
    inside: tuple[Network, ...] = ()
    passed_on: tuple[Network, ...] = ()
    services: tuple[Network, ...] = ()
    ignored_interfaces: tuple[str, ...] = ()
    severity: Severity = Severity.INFO
