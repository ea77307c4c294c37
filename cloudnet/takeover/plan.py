"""From what was found on a node to the steps that take it over, in order. Pure.

The order is what keeps packets and addresses safe:

1. nobody else may take addresses of the range (guard, pool, reservation);
2. the predecessor gives no more (close), and only then we know all that it gave, and may give ourselves (claim);
3. this node can receive VXLAN before any other is told to send it (claim lays the device first);
4. pods on the bridge reach ours before there is one (settings);
5. last of all new pods come to us (cni), when the agent takes them (agent).

The way back goes through the same steps from the end, so that each of these holds there as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final

from cloudnet.ipam.choose import pool_of
from cloudnet.model.addresses import Address, Network, NodeName
from cloudnet.takeover import calico, detect
from cloudnet.takeover.facts import LABEL, Facts, Found, Wanted
from cloudnet.takeover.steps import (
    AwaitAgent,
    AwaitRoutes,
    ClaimBlock,
    CloseBooks,
    GuardBooks,
    LowerRoutes,
    MakePool,
    RemoveChains,
    Reserve,
    Setting,
    Step,
    SwitchCni,
)

USUAL_BLOCK: Final = 26  # Calico's; addresses are ours to cut where the predecessor's are none of our pools'


@dataclass(frozen=True, slots=True)
class Job:
    """All that the steps follow from, once and for all: the journal keeps it. ``pool`` is one that is to be made."""

    node: NodeName
    kind: str
    network: str
    block: Network | None = None
    bridge: str = ""
    gateways: tuple[Address, ...] = ()
    pool: Network | None = None
    chain: tuple[str, ...] = ()
    configuration: str = "10-cloudnet.conflist"


def job(facts: Facts, found: Found, wanted: Wanted) -> Job:
    """Return what is to be done with a node whose checks have passed."""
    block = own_range(facts) if found.kind in detect.BRIDGED else None
    bridge = facts.links.get(found.bridge)
    gateways = tuple(a.ip for a in bridge.addresses if block and a.ip in block) if bridge else ()
    return Job(
        facts.node.name,
        found.kind,
        found.network,
        block,
        found.bridge,
        gateways,
        None if found.kind == calico.KIND else _pool_to_make(facts, block, wanted),
        found.chain,
        wanted.configuration,
    )


def _pool_to_make(facts: Facts, block: Network | None, wanted: Wanted) -> Network | None:
    """Return the range of the pool that a takeover makes, this node's or one before; nothing where a person's is."""
    within = block or wanted.pool
    pool = pool_of(facts.pools, within) if within else None
    if pool is None:
        return wanted.pool
    return pool.cidr if LABEL in pool.meta.labels else None


def own_range(facts: Facts) -> Network | None:
    """Return the node's IPv4 range as Kubernetes gave it."""
    return next((cidr for cidr in facts.node.pod_cidrs if cidr.version == 4), None)  # noqa: PLR2004 - IPv4


def steps(of: Job) -> tuple[Step, ...]:
    """Return the steps of a job, in order."""
    return tuple(_steps(of))


def _steps(of: Job) -> Iterator[Step]:
    if of.block is not None:
        yield GuardBooks()
        if of.pool is not None:
            yield MakePool(of.pool, of.block.prefixlen)
        yield Reserve(of.node, of.network, of.block, _unusable(of.block, of.gateways))
        yield CloseBooks(of.network, of.block)
        yield ClaimBlock(of.node, of.kind, of.network, of.block)
    elif of.pool is not None:
        yield MakePool(of.pool, USUAL_BLOCK)
    if of.bridge:
        yield from _bridge(of.bridge)
    if of.kind == calico.KIND:
        yield from (LowerRoutes(), AwaitAgent(), RemoveChains())
    else:
        yield AwaitAgent()
    if of.kind in detect.APART:
        yield AwaitRoutes(of.node)
    yield SwitchCni(of.network, of.configuration, of.chain)


def _bridge(device: str) -> Iterator[Step]:
    """Pods on the bridge take the whole range for neighbours; the host answers for those that are not there."""
    yield Setting(f"net.ipv4.neigh.{device}.proxy_delay", "0", "the first packet waits for nothing")
    yield Setting(
        f"net.ipv4.conf.{device}.proxy_arp", "1", "pods on the bridge ask there for pods that are not on it any more"
    )


def _unusable(block: Network, gateways: tuple[Address, ...]) -> tuple[Network, ...]:
    """Return what pods on a bridge take for something else than a pod: network, bridge, broadcast."""
    found = {block.network_address, block.broadcast_address, *gateways}
    return tuple(ip_network(address) for address in sorted(found, key=int))
