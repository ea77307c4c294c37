"""What kubelet and IPAM would write into the store of a real cluster: nodes, the pool, and who owns which block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network

from cloudnet.lab import spec, state
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.resources import BlockAffinity, EncapMode, IPPool, Metadata, Node, Vtep
from cloudnet.overlay import vxlan
from cloudnet.store import api, registry


def url(lab: str) -> str:
    return f"sqlite://{state.directory(lab) / 'store.sqlite'}"


def open_store(lab: str) -> api.Store:
    """Open the lab's store; the caller closes it."""
    return registry.open_store(url(lab))


@contextmanager
def opened(lab: str) -> Iterator[api.Store]:
    """Open the lab's store for a few calls."""
    store = open_store(lab)
    try:
        yield store
    finally:
        store.close()


def pool() -> IPPool:
    """Return the lab's pool: native routes wanted, VXLAN as ground."""
    return IPPool(Metadata("default"), spec.POOL, vxlan_mode=EncapMode.NEVER, block_size=spec.BLOCK_LENGTH)


def node(record: state.NodeRecord, zone: str) -> Node:
    return Node(
        Metadata(record.name),
        addresses=(record.address,),
        vteps=(Vtep(record.blocks[0].network_address, vxlan.mac_of(NodeName(record.name), Family.IPV4)),),
        provider_id=f"aws:///{zone}/{record.instance}",
    )


def affinity(name: str, block: IPv4Network) -> BlockAffinity:
    """Return the ownership of a block, named as Calico names it (``n1-10-65-1-0-26``)."""
    spelled = str(block).translate(str.maketrans("./", "--"))
    return BlockAffinity(Metadata(f"{name}-{spelled}"), NodeName(name), block)
