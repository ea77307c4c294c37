"""What a node is to say by BGP, from the resources. Pure.

A node announces its own blocks, each as it is, and the single addresses that its pods have from others' blocks;
what is longer inside a block stays its own affair, and never reaches BIRD. Ranges of services are announced whole,
by every node: any node leads to any service.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import Final

from cloudnet.bgp import filters, peers
from cloudnet.bgp.picture import PORT, Picture, SecretKey
from cloudnet.bgp.speaker import Announcement, Community, Severity, Speaker
from cloudnet.errors import BadInput
from cloudnet.model.addresses import Family, Network, order
from cloudnet.model.calico_bgp import BGPConfigurationSpec
from cloudnet.model.resources import AllowedUse, IPPool
from cloudnet.routes.claims import pool_of

EXCLUDED: Final = "node.kubernetes.io/exclude-from-external-load-balancers"
"""Label of nodes that announce no services; Kubernetes ``core/v1/well_known_labels.go``."""

_LOAD_BALANCERS_ALONE: Final = frozenset({AllowedUse.LOAD_BALANCER})
_INTERFACE: Final = re.compile(r"[A-Za-z0-9_.*-]{1,15}")


@dataclass(frozen=True, slots=True)
class Plan:
    """What BIRD is to do, and in sentences what of the resources it will not."""

    speaker: Speaker
    problems: tuple[str, ...] = ()


def plan(picture: Picture, secrets: Mapping[SecretKey, str]) -> Plan:
    """Return what the picture's node is to say; ``secrets``: the passwords that could be read."""
    node, said = picture.node, picture.settings(picture.node.name)
    spoken = peers.sessions(picture, secrets)
    problems = [*spoken.problems]
    names = sorted({name for session in spoken.sessions for name in session.filters})
    speaker = Speaker(
        router_id=_router_id(picture),
        port=said.listen_port or PORT,
        strict_bind=said.bind_mode == "NodeIP",
        cluster_id=node.route_reflector,
        announcements=tuple(_announcements(picture, said, problems)),
        sessions=spoken.sessions,
        filters=tuple(filters.read(picture.filters[name]) for name in names),
        inside=_merged([*(pool.cidr for pool in _pools(picture)), *picture.outside]),
        passed_on=_merged([*(p.cidr for p in _pools(picture) if not p.disable_bgp_export), *picture.outside]),
        services=_merged(_service_ranges(said)),
        ignored_interfaces=tuple(_interfaces(said, problems)),
        severity=_severity(said, problems),
    )
    return Plan(speaker, tuple(problems))


def _router_id(picture: Picture) -> IPv4Address:
    """Return the node's IPv4 address, or a number from its name: no two may have the same (RFC 6286)."""
    address = picture.node.address(Family.IPV4)
    if address is not None and isinstance(address.ip, IPv4Address):
        return address.ip
    digest = hashlib.sha256(picture.node.name.encode()).digest()
    return IPv4Address(int.from_bytes(digest[:4], "big") or 1)


def _pools(picture: Picture) -> Iterator[IPPool]:
    return (pool for pool in picture.pools if pool.allowed_uses != _LOAD_BALANCERS_ALONE)


def _merged(networks: Iterable[Network]) -> tuple[Network, ...]:
    found = set(networks)
    four = collapse_addresses(n for n in found if isinstance(n, IPv4Network))
    six = collapse_addresses(n for n in found if isinstance(n, IPv6Network))
    return (*four, *six)


# --- what is announced --------------------------------------------------------------------------------------


def _announcements(picture: Picture, said: BGPConfigurationSpec, problems: list[str]) -> Iterator[Announcement]:
    own = {block for block in picture.blocks if not _kept_back(block, picture.pools)}
    prefixes = own | set(_services(picture, said, problems))
    tagged = list(_communities(said, problems))
    for prefix in sorted(prefixes, key=order):
        found = {community for cidr, numbers in tagged if _within(prefix, cidr) for community in numbers}
        yield Announcement(prefix, tuple(sorted(found)))


def _kept_back(block: Network, pools: Iterable[IPPool]) -> bool:
    pool = pool_of(block, pools)
    return pool is not None and pool.disable_bgp_export


def _services(picture: Picture, said: BGPConfigurationSpec, problems: list[str]) -> Iterator[Network]:
    if said.service_load_balancer_aggregation == "Disabled" and said.service_load_balancer_ips:
        problems.append(
            "BGPConfiguration: single addresses of load balancers are not announced: "
            "leave spec.serviceLoadBalancerAggregation Enabled"
        )
    if EXCLUDED not in picture.node.meta.labels:
        yield from _service_ranges(said)


def _service_ranges(said: BGPConfigurationSpec) -> Iterator[Network]:
    ranges = [*said.service_cluster_ips, *said.service_external_ips]
    if said.service_load_balancer_aggregation != "Disabled":
        ranges += said.service_load_balancer_ips
    return (ip_network(one.cidr) for one in ranges)


def _communities(said: BGPConfigurationSpec, problems: list[str]) -> Iterator[tuple[Network, tuple[Community, ...]]]:
    """Yield prefixes with what is added to announcements in them; a community stands there by number or by name."""
    named = {one.name: one.value for one in said.communities}
    for i, advertisement in enumerate(said.prefix_advertisements):
        try:
            numbers = tuple(filters.community(named.get(text, text)) for text in advertisement.communities)
        except BadInput as error:
            problems.append(f"BGPConfiguration: spec.prefixAdvertisements[{i}].communities: {error}")
        else:
            yield ip_network(advertisement.cidr), numbers


def _within(inner: Network, outer: Network) -> bool:
    return inner.version == outer.version and outer.prefixlen <= inner.prefixlen and inner.network_address in outer


# --- settings -----------------------------------------------------------------------------------------------


def _interfaces(said: BGPConfigurationSpec, problems: list[str]) -> Iterator[str]:
    for i, name in enumerate(said.ignored_interfaces):
        if _INTERFACE.fullmatch(name):
            yield name
        else:
            path = f"BGPConfiguration: spec.ignoredInterfaces[{i}]"
            problems.append(f"{path}: expected the name of an interface, found {name!r}")


def _severity(said: BGPConfigurationSpec, problems: list[str]) -> Severity:
    word = (said.log_severity_screen or Severity.INFO.value).capitalize()
    try:
        return Severity(word)
    except ValueError:
        levels = ", ".join(one.value for one in Severity)
        problems.append(f"BGPConfiguration: spec.logSeverityScreen: expected one of {levels}, found {word!r}")
        return Severity.INFO
