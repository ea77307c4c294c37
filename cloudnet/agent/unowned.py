"""What a node needs that may send from its own addresses alone, while the cloud delivers other nodes' pods. Pure.

A fabric that does not let a machine forward (Google Cloud's ``canIpForward``, a source check) takes packets of the
node and of its native pods, and drops those of pods with an address of a pool. So these keep to the overlay, by a
table of their own where every native block has its ground: a rule asks it for packets from pools, and what is not in
it stays with the main table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from cloudnet.kernel.api import OVERLAY_TABLE, KernelObject, Route, Rule
from cloudnet.model.addresses import Network, family
from cloudnet.routes.path import Here

_FROM_POOLS = 104  # behind the rules for further interfaces, before the main table's 32766


def rules(here: Here, pools: Iterable[Network], *, natives: bool) -> Iterator[KernelObject]:
    """Yield the rules; none where the node may send for others, or the cloud delivers no block at all."""
    if natives and not here.forwards:
        for cidr in pools:
            yield Rule(family(cidr), _FROM_POOLS, OVERLAY_TABLE, source=cidr)


def ground(here: Here, route: Route) -> Iterator[Route]:
    """Yield a native block's way over VXLAN for packets that may not take its native way."""
    if not here.forwards:
        yield replace(route, table=OVERLAY_TABLE)
