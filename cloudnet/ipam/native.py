"""Blocks that the cloud chose: prefixes of its own subnets that it gave a node's interface, used like any block.

They lie in no pool. Their affinity has a label that says so, with the interface as its value; so nobody else takes
from them, and the collector leaves them alone: they are the cloud's to give and to take.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from cloudnet.ipam import affinity
from cloudnet.ipam.affinity import Moment
from cloudnet.model.addresses import Family, InterfaceId, Network, NodeName, family, order
from cloudnet.model.calico import affinity_name
from cloudnet.model.resources import Affinity, AffinityState, BlockAffinity, IPAMBlock
from cloudnet.store import api
from cloudnet.store.api import Store, Stored

LABEL: Final = "cloudnet.io/native"


def is_native(affinity: BlockAffinity) -> bool:
    return LABEL in affinity.meta.labels


def adopt(store: Store, node: NodeName, cidr: Network, interface: InterfaceId, moment: Moment) -> Stored[IPAMBlock]:
    """Make a prefix that the cloud gave a node one of its blocks; again for one that it has is well.

    Killed before the label is written, it is a block that nobody may use, and the next call writes it.

    Raises:
        ClaimLost: another node has it.
        Conflict: too many others wrote at the same time.
    """
    block = affinity.claim(store, Affinity(node), cidr, moment)
    api.change(store, BlockAffinity, affinity_name(node, cidr), lambda seen: _labelled(seen, interface))
    return block


def _labelled(seen: BlockAffinity, interface: InterfaceId) -> BlockAffinity:
    return replace(seen, meta=replace(seen.meta, labels={**seen.meta.labels, LABEL: interface}))


def blocks_of(affinities: Iterable[BlockAffinity], owner: Affinity, of: Family) -> list[Network]:
    """Return the native blocks of a node, in the order of their addresses."""
    mine = (a for a in affinities if Affinity(a.node, a.type) == owner and a.state is AffinityState.CONFIRMED)
    return sorted((a.cidr for a in mine if is_native(a) and family(a.cidr) is of), key=order)
