"""Which way packets for a remote block take from this node, and why no better one. Pure.

Two questions, asked apart. ``candidate``: does the cloud offer a native way, by what the resources say? ``choose``:
which way is taken, given also what the probes and the fallback state say? Every refusal has a ``Reason`` and a
sentence for people. Nothing is installed here, and the ground never depends on the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from cloudnet.kernel.api import Hop
from cloudnet.model.addresses import Address, Family, Network, TableId, family
from cloudnet.model.paths import Path, PathKind, Reason
from cloudnet.model.resources import (
    Cause,
    CloudNode,
    CloudRoute,
    EncapMode,
    IPPool,
    Node,
    RouteState,
    TableStatus,
)
from cloudnet.routes.fallback import State
from cloudnet.routes.probe import Verdict


@dataclass(frozen=True, slots=True)
class Here:
    """What this node knows of itself: the same for every block."""

    node: Node
    cloud: CloudNode | None = None
    gateways: Mapping[Family, Address] = field(default_factory=dict, hash=False)
    underlay_mtu: int = 1500
    vxlan_mtu: int = 1450
    speaks_bgp: bool = False

    @property
    def forwards(self) -> bool:
        """Whether the fabric takes packets from here that are not from own addresses, as far as is known."""
        return self.cloud is None or self.cloud.forwarding


@dataclass(frozen=True, slots=True)
class There:
    """One remote block, its node, and what cloud and pool say of them."""

    block: Network
    node: Node
    cloud: CloudNode | None = None
    route: CloudRoute | None = None
    pool: IPPool | None = None
    learned: Hop | None = None  # the way that BGP peers told of
    native: bool = False  # the cloud gave the block's addresses to the node's interface, and delivers them itself


@dataclass(frozen=True, slots=True)
class Candidate:
    """The native way that the cloud or a BGP peer offers, or (kind VXLAN) why there is none.

    ``device`` is where it leaves, if not by the device of the node's own address.
    """

    kind: PathKind
    next_hop: Address | None = None
    reason: Reason = Reason.PROVING
    detail: str = ""
    device: str = ""

    @property
    def native(self) -> bool:
        return self.kind is not PathKind.VXLAN


def encapsulation(pool: IPPool | None) -> EncapMode:
    """Return the pool's mode; IP-in-IP is carried by VXLAN here, and a block outside all pools asks for nothing."""
    if pool is None:
        return EncapMode.NEVER
    return pool.vxlan_mode if pool.vxlan_mode is not EncapMode.NEVER else pool.ipip_mode


def may_be_native(version: Family, pools: Iterable[IPPool]) -> bool:
    """Tell whether pools let any block of theirs be reached natively; without pools, every block may be."""
    modes = [encapsulation(pool) for pool in pools if family(pool.cidr) is version]
    return not modes or any(mode is not EncapMode.ALWAYS for mode in modes)


def candidate(here: Here, there: There) -> Candidate:
    """Return the best native way to the block: direct inside an L2 subnet, by the cloud's route tables, or by BGP."""
    mode = encapsulation(there.pool)
    if mode is EncapMode.ALWAYS:
        return _none(Reason.POOL_MODE, f"pool {_pool(there)} asks for encapsulation always")
    offered = _by_cloud(here, there, mode)
    if offered.native or offered.reason is Reason.FORWARDING:
        return offered
    if there.learned is not None:
        return _by_bgp(there, there.learned, mode)
    if here.speaks_bgp and offered.reason is Reason.NO_CLOUD:
        return _none(Reason.NOT_LEARNED, f"no BGP peer tells of a way to {there.block}")
    return offered


def _by_cloud(here: Here, there: There, mode: EncapMode) -> Candidate:
    if here.cloud is None or there.cloud is None:
        silent = there.node if here.cloud else here.node
        return _none(Reason.NO_CLOUD, f"no cloud provider speaks for node {silent.name!r}")
    if (
        there.native
    ):  # its addresses are that node's own; what we may not send there goes over VXLAN (agent/unowned.py)
        return _delivered(here, there)
    if closed := next((cloud for cloud in (here.cloud, there.cloud) if not cloud.forwarding), None):
        return _none(
            Reason.FORWARDING, f"the fabric drops pod addresses at node {closed.meta.name!r}: {_why(closed)}"
        )
    if here.cloud.subnet == there.cloud.subnet and here.cloud.l2_adjacent and there.cloud.l2_adjacent:
        return _direct(there)
    return _between_subnets(here, here.cloud, there, mode)


def choose(
    here: Here,
    there: There,
    offered: Candidate,
    state: State,
    verdict: Verdict = Verdict.UNKNOWN,
    *,
    since: float = 0.0,
) -> Path:
    """Return the path to take, with its reason.

    ``offered`` is ``candidate(here, there)``, kept by callers because it changes less often than ``state``;
    ``verdict`` is what the latest probes over the offered way say.
    """
    version = family(there.block)
    for node in (here.node, there.node):
        if missing := _missing_end(node, version):
            return Path(there.block, there.node.name, PathKind.NONE, Reason.NO_VTEP, detail=missing, since=since)
    if offered.native and state is State.NATIVE:
        mtu, detail = _native_mtu(here, there), _restriction(here)
        if verdict is Verdict.SILENT:
            detail = f"the agent of node {there.node.name!r} does not answer: look whether it runs"
        return Path(there.block, there.node.name, offered.kind, Reason.PROVEN, offered.next_hop, mtu, detail, since)
    reason, detail = _why_not_yet(offered, state, probes_lost=verdict is Verdict.LOST)
    vtep = there.node.vtep(version)
    next_hop = vtep.address if vtep else None
    return Path(there.block, there.node.name, PathKind.VXLAN, reason, next_hop, here.vxlan_mtu, detail, since)


def refused(block: Network, node: Node, why: str, *, since: float = 0.0) -> Path:
    """Return the path to a block that several nodes claim: none, because nobody can tell whose it is."""
    return Path(block, node.name, PathKind.NONE, Reason.DUPLICATE, detail=why, since=since)


def _why(closed: CloudNode) -> str:
    return closed.problem or "the source/destination check is on"


def _restriction(here: Here) -> str:
    if here.cloud is None or here.forwards:
        return ""
    return f"packets from addresses of pools go over VXLAN, as the fabric drops them here: {_why(here.cloud)}"


def _missing_end(node: Node, version: Family) -> str:
    if node.vtep(version) is None:
        return f"node {node.name!r} has published no IPv{version} tunnel address"
    if node.address(version) is None:
        return f"node {node.name!r} has no IPv{version} address of its own to send the tunnel to"
    return ""


def _direct(there: There) -> Candidate:
    version = family(there.block)
    address = there.node.address(version)
    if address is None:
        return _none(Reason.UNSUPPORTED, f"node {there.node.name!r} has no IPv{version} address to route to")
    return Candidate(PathKind.DIRECT, address.ip)


def _delivered(here: Here, there: There) -> Candidate:
    """By the subnet's router even inside a subnet: it knows which interface has the address."""
    gateway = here.gateways.get(family(there.block))
    return Candidate(PathKind.NATIVE, gateway) if gateway else _no_gateway(there)


def _by_bgp(there: There, learned: Hop, mode: EncapMode) -> Candidate:
    address = there.node.address(family(there.block))
    if mode is EncapMode.CROSS_SUBNET and (address is None or learned.gateway != address.ip):
        return _none(Reason.POOL_MODE, f"pool {_pool(there)} asks for encapsulation between subnets")
    return Candidate(PathKind.BGP, learned.gateway, device=learned.device)


def _no_gateway(there: There) -> Candidate:
    version = there.block.version
    return _none(Reason.UNAVAILABLE, f"this node has no IPv{version} default gateway: add a default route")


def _between_subnets(here: Here, cloud: CloudNode, there: There, mode: EncapMode) -> Candidate:
    if mode is EncapMode.CROSS_SUBNET:
        return _none(Reason.POOL_MODE, f"pool {_pool(there)} asks for encapsulation between subnets")
    return _through_tables(here, cloud, there)


def _through_tables(here: Here, cloud: CloudNode, there: There) -> Candidate:
    gateway = here.gateways.get(family(there.block))
    if gateway is None:
        return _no_gateway(there)
    if not cloud.tables:
        return _none(Reason.PENDING, f"no route table of subnet {cloud.subnet} is known yet")
    if there.route is None or there.route.node != there.node.name:
        return _none(Reason.PENDING, "the controller has not taken up this block yet")
    worst = min((_standing(there.route, table) for table in cloud.tables), key=_gravity)
    if worst.state is RouteState.PROGRAMMED:
        return Candidate(PathKind.NATIVE, gateway)
    return _none(_reason(worst), f"table {worst.table}: {worst.detail or worst.state.value}")


def _standing(route: CloudRoute, table: TableId) -> TableStatus:
    return route.status(table) or TableStatus(table, RouteState.PENDING)


# Which table to name when several stand in the way: the one that somebody must act on first.
_GRAVITY: Mapping[RouteState, int] = MappingProxyType(
    {
        RouteState.WITHDRAWING: 0,
        RouteState.BLACK_HOLED: 1,
        RouteState.CONFLICT: 2,
        RouteState.REFUSED: 3,
        RouteState.PENDING: 4,
        RouteState.PROGRAMMED: 5,
    }
)


def _gravity(status: TableStatus) -> tuple[int, str]:
    return _GRAVITY[status.state], status.table


BY_STATE: Mapping[RouteState, Reason] = MappingProxyType(
    {
        RouteState.PENDING: Reason.PENDING,
        RouteState.PROGRAMMED: Reason.PROVING,
        RouteState.REFUSED: Reason.UNAVAILABLE,
        RouteState.CONFLICT: Reason.CONFLICT,
        RouteState.BLACK_HOLED: Reason.BLACK_HOLED,
        RouteState.WITHDRAWING: Reason.WITHDRAWING,
    }
)
"""The reason of a table status that names no cause."""

BY_CAUSE: Mapping[Cause, Reason | None] = MappingProxyType(
    {
        Cause.NONE: None,
        Cause.QUOTA: Reason.QUOTA,
        Cause.PERMISSION: Reason.PERMISSION,
        Cause.THROTTLED: Reason.THROTTLED,
        Cause.CONFLICT: Reason.CONFLICT,
        Cause.DUPLICATE: Reason.DUPLICATE,
        Cause.NOT_FOUND: Reason.UNAVAILABLE,  # the table or the next hop is gone; the detail says which
        Cause.UNSUPPORTED: Reason.UNSUPPORTED,
        Cause.UNAVAILABLE: Reason.UNAVAILABLE,
        Cause.EXHAUSTED: Reason.QUOTA,
    }
)
"""A cause says more than the bare state, except where the state itself is the news."""

_STATE_IS_THE_NEWS = frozenset({RouteState.WITHDRAWING, RouteState.BLACK_HOLED, RouteState.CONFLICT})


def _reason(status: TableStatus) -> Reason:
    by_cause = None if status.state in _STATE_IS_THE_NEWS else BY_CAUSE[status.cause]
    return by_cause or BY_STATE[status.state]


def _why_not_yet(offered: Candidate, state: State, *, probes_lost: bool) -> tuple[Reason, str]:
    if not offered.native:
        return offered.reason, offered.detail
    if probes_lost:
        return Reason.PROBES_LOST, f"the {offered.kind.value} way is offered, but probes over it are lost"
    if state is State.HELD:
        return Reason.HELD, "probes come back again; waiting out the hold-down"
    return Reason.PROVING, "waiting for probes to come back"


def _native_mtu(here: Here, there: There) -> int:
    clouds = (here.cloud, there.cloud)
    return min([here.underlay_mtu, *(c.mtu for c in clouds if c is not None)])


def _none(reason: Reason, detail: str) -> Candidate:
    return Candidate(PathKind.VXLAN, None, reason, detail)


def _pool(there: There) -> str:
    return repr(there.pool.meta.name) if there.pool else "none"
