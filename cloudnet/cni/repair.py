"""What has to be done to this host's links so that they are what the endpoints say. Pure.

A link whose container has an endpoint gets the routes that it lacks, and loses those it should not have. A link that
no endpoint owns is an orphan: it goes when it has been one for a while, since an ADD or DEL may be under way, or the
store a moment behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cloudnet.kernel.pods import HostEnd
from cloudnet.model.addresses import Address, Network
from cloudnet.model.workloads import WorkloadEndpoint

GRACE = 60.0  # seconds; Felix cleans up routes of workloads after ten, and this takes a whole pod off the network


@dataclass(frozen=True, slots=True)
class Mend:
    """Give a link its routes, and take away others."""

    link: str
    addresses: tuple[Address, ...]
    unwanted: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, and since when which link has been without an owner: {link: monotonic seconds}."""

    mends: tuple[Mend, ...] = ()
    orphans: tuple[HostEnd, ...] = ()
    since: Mapping[str, float] = field(default_factory=dict)


def plan(
    links: Mapping[str, HostEnd], endpoints: Iterable[WorkloadEndpoint], since: Mapping[str, float], now: float
) -> Plan:
    """Compare this node's links with its endpoints."""
    owned = {
        endpoint.interface: endpoint
        for endpoint in endpoints
        if (end := links.get(endpoint.interface)) is not None and _owns(endpoint, end)
    }
    lonely = {name: since.get(name, now) for name in links if name not in owned}
    mends = [_mend(links[name], endpoint) for name, endpoint in owned.items()]
    return Plan(
        tuple(mend for mend in mends if mend is not None),
        tuple(links[name] for name, first in lonely.items() if now - first >= GRACE),
        lonely,
    )


def _owns(endpoint: WorkloadEndpoint, end: HostEnd) -> bool:
    """Tell whether a link is an endpoint's; one that names no container has whichever link is called so.

    A pod whose object was made anew lacks what the plugin noted on it, and goes on running: a static pod's mirror.
    """
    named = (endpoint.container_id or end.owner.container, endpoint.endpoint)
    return (end.owner.container, end.owner.interface) == named


def _mend(end: HostEnd, endpoint: WorkloadEndpoint) -> Mend | None:
    wanted = set(endpoint.networks)
    unwanted = [route for route in end.routes if route not in wanted and route.prefixlen == route.max_prefixlen]
    if wanted <= set(end.routes) and not unwanted:
        return None
    return Mend(end.name, tuple(network.network_address for network in endpoint.networks), tuple(unwanted))
