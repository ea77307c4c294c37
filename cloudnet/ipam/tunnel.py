"""The address of a node's VXLAN device: taken from the pools that select the node, and kept for as long as it fits.

VXLAN is the ground of every path here, so a node needs a tunnel address of each family in which it has an address of
its own and a pool to take one from. Handle, attributes and MAC are Calico's (``node/pkg/allocateip``), so that a node
that comes from Calico keeps its address. One that lies in no pool is a person's own choice, and stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from cloudnet.ipam import block as blocks
from cloudnet.ipam import choose, handles, records
from cloudnet.ipam.allocator import Allocator, Request
from cloudnet.ipam.choose import Matches
from cloudnet.ipam.errors import AddressTaken, NoPool
from cloudnet.model.addresses import Address, Family, NodeName
from cloudnet.model.calico import cidr_name
from cloudnet.model.resources import AllowedUse, IPAMBlock, IPPool, Node, Vtep
from cloudnet.overlay import vxlan
from cloudnet.store import api
from cloudnet.store.api import Store

_HANDLES: Final[Mapping[Family, str]] = MappingProxyType(
    {Family.IPV4: "vxlan-tunnel-addr", Family.IPV6: "vxlan-v6-tunnel-addr"}
)
_TYPES: Final[Mapping[Family, str]] = MappingProxyType(
    {Family.IPV4: "vxlanTunnelAddress", Family.IPV6: "vxlanV6TunnelAddress"}
)


def handle(node: NodeName, of: Family) -> str:
    """Return the handle of a node's tunnel address."""
    return f"{_HANDLES[of]}-{node}"


def ensure(store: Store, allocator: Allocator, name: NodeName, matches: Matches) -> Node:
    """Give a node the tunnel addresses that it needs, and return it as it is then.

    Killed anywhere, the next call finds the address by its handle and goes on.

    Raises:
        NotFound: there is no such node.
        IpamError: no address can be had.
        Conflict: too many others wrote at the same time.
    """
    node = store.get(Node, name).value
    pools = [item.value for item in store.list(IPPool).items]
    wanted: dict[Family, Vtep | None] = {}
    for of in Family:
        usable = _usable(node, of, pools, matches)
        found = _address(store, allocator, node, of, pools=pools, usable=usable)
        wanted[of] = _vtep(node, of, found) if found else None
    vteps = tuple(vtep for vtep in wanted.values() if vtep)
    return api.change(store, Node, name, lambda seen: replace(seen, vteps=vteps)).value


def _usable(node: Node, of: Family, pools: list[IPPool], matches: Matches) -> tuple[IPPool, ...]:
    if node.address(of) is None:
        return ()
    try:
        return choose.pools_for(
            pools,
            of,
            node=node.name,
            use=AllowedUse.TUNNEL,
            named=(),
            selects=lambda pool: choose.selects(pool, matches, node.meta.labels, {}),
        )
    except NoPool:
        return ()


def _address(
    store: Store, allocator: Allocator, node: Node, of: Family, *, pools: list[IPPool], usable: tuple[IPPool, ...]
) -> Address | None:
    """Return the address that a node is to have, made its own in the books; nothing when it is to have none."""
    vtep = node.vtep(of)
    if vtep and choose.pool_with(pools, vtep.address) is None:
        return vtep.address
    request = Request(
        node.name,
        handle(node.name, of),
        {"node": node.name, "type": _TYPES[of]},
        use=AllowedUse.TUNNEL,
        node_labels=node.meta.labels,
    )
    held = _held(store, request.handle)
    if vtep and vtep.address in held and choose.pool_with(usable, vtep.address):
        return vtep.address
    for address in held:
        if choose.pool_with(usable, address):
            return address
    if not usable:
        allocator.release_by_handle(request.handle)
        return None
    if vtep and choose.pool_with(usable, vtep.address):
        try:
            return allocator.assign_ip(vtep.address, request).ip  # it stands in the Node, and the books do not know
        except AddressTaken:
            pass  # a pod has it by now, and pods keep theirs
    allocator.release_by_handle(request.handle)  # of a pool that is no longer for this node
    return allocator.auto_assign(of, 1, request)[0].ip


def _held(store: Store, handle: str) -> tuple[Address, ...]:
    seen = handles.find(store, handle)
    found: list[Address] = []
    for cidr in seen.value.blocks if seen else ():
        block = records.find(store, IPAMBlock, cidr_name(cidr))
        found += blocks.addresses_of(block.value, handle) if block else ()
    return tuple(found)


def _vtep(node: Node, of: Family, address: Address) -> Vtep:
    """Return the tunnel end; a MAC that somebody chose stays with its address."""
    before = node.vtep(of)
    if before and before.address == address and before.mac:
        return before
    return Vtep(address, vxlan.mac_of(node.name, of))
