"""Carries out what the loop of native addresses asks for: talks to the cloud and the store, decides nothing.

As in ``carry.py``: the outcome is an event, nothing that cloud or store may cause is raised, and ``leads`` is asked
before each write to the cloud.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from cloudnet.controller import carry
from cloudnet.controller.actions import WriteStore
from cloudnet.controller.carry import Leads
from cloudnet.controller.pool_actions import (
    AddInterface,
    AddressesRead,
    AdoptBlocks,
    Adopted,
    CloudAction,
    GiveAddresses,
    LedgerWritten,
    LetBlocksGo,
    LetGo,
    Mutated,
    Mutation,
    PoolInput,
    ReadAddresses,
    RemoveInterface,
    StoreAction,
    TakeAddresses,
    WriteLedger,
)
from cloudnet.errors import CloudnetError
from cloudnet.ipam import native
from cloudnet.ipam.affinity import Moment
from cloudnet.ipam.allocator import Allocator
from cloudnet.model.addresses import Network, order
from cloudnet.policy.selectors import Matches
from cloudnet.provider.api import AddressAllocator, NetworkInterface
from cloudnet.provider.errors import ProviderError
from cloudnet.store.api import Store

Wall = Callable[[], float]


def cloud(action: CloudAction, allocator: AddressAllocator, leads: Leads) -> PoolInput:
    """Carry one action out against the cloud; return its outcome."""
    if isinstance(action, ReadAddresses):
        try:
            return AddressesRead(allocator.read(action.instances))
        except ProviderError as error:
            return AddressesRead(None, error)
    if not leads():
        return Mutated(action)
    try:
        return Mutated(action, _mutate(action, allocator))
    except ProviderError as error:
        return Mutated(action, None, error)


def _mutate(action: Mutation, allocator: AddressAllocator) -> NetworkInterface:
    match action:
        case GiveAddresses():
            given = allocator.assign(action.interface, action.wanted)
            return replace(action.interface, cidrs=tuple(sorted({*action.interface.cidrs, *given}, key=order)))
        case AddInterface():
            return allocator.add_interface(action.instance, action.subnet, action.wanted)
        case TakeAddresses():
            allocator.release(action.interface, action.cidrs)
            return replace(action.interface, cidrs=tuple(c for c in action.interface.cidrs if c not in action.cidrs))
        case RemoveInterface():
            allocator.remove_interface(action.interface)
            return replace(action.interface, instance=None, cidrs=())


def store(action: StoreAction, to: Store, leads: Leads, wall: Wall) -> PoolInput:
    """Carry one action out against the store; return its outcome."""
    match action:
        case WriteLedger():
            return LedgerWritten(carry.store(WriteStore(action.writes), to, leads).outcomes)
        case AdoptBlocks():
            return _adopt(action, to, wall)
        case LetBlocksGo():
            return _let_go(action, to, wall)


def _adopt(action: AdoptBlocks, to: Store, wall: Wall) -> Adopted:
    errors: dict[Network, CloudnetError] = {}
    for block, interface in action.blocks.items():
        try:
            native.adopt(to, action.node, block, interface, _moment(wall))
        except CloudnetError as error:
            errors[block] = error
    return Adopted(action, errors)


def _let_go(action: LetBlocksGo, to: Store, wall: Wall) -> LetGo:
    allocator = Allocator(to, now=lambda: _moment(wall).now, matches=Matches())
    gone = True
    try:
        for block in action.blocks:
            gone &= allocator.release_block(action.node, block)
    except CloudnetError as error:
        return LetGo(action, gone=False, error=error)
    return LetGo(action, gone)


def _moment(wall: Wall) -> Moment:
    now = wall()
    return Moment(datetime.fromtimestamp(now, UTC), int(now * 1e9))
