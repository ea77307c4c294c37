"""What address management offers to whoever starts pods: addresses, together with what else is to be written.

A pod's endpoint belongs in the store with its addresses or not at all, so the caller passes in what to write once
they are known. ``warm.py`` does all of it in one request; ``ColdLeases`` here keeps nothing in memory and needs many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeAlias

from cloudnet.ipam.allocator import Allocator, Request
from cloudnet.ipam.block import Release
from cloudnet.model.addresses import Address, Family, Interface
from cloudnet.store.api import Store, Write

Extra: TypeAlias = Callable[[Sequence[Address]], Sequence[Write]]
"""What to write together with addresses, once these are known. Called more than once when others are faster."""


class Leases(Protocol):
    """Addresses for the pods of one node."""

    def take(self, families: Sequence[Family], requests: Sequence[Request], extra: Extra) -> Sequence[Interface]:
        """Return one address a family, stored together with ``extra``; or nothing is stored.

        Raises:
            IpamError: there is none to give.
            AlreadyExists, Conflict, NotFound: of what ``extra`` wanted to write.
        """

    def take_named(self, addresses: Sequence[Address], request: Request, extra: Extra) -> Sequence[Interface]:
        """Return just these addresses, stored together with ``extra``; or nothing is stored.

        Raises:
            IpamError: one of them cannot be had.
            AlreadyExists, Conflict, NotFound: of what ``extra`` wanted to write.
        """

    def give_back(self, handle: str, writes: Sequence[Write]) -> None:
        """Free all that a handle has, and carry out the writes; what is free already is success.

        Raises:
            AlreadyExists, Conflict, NotFound: of one of the writes; then the addresses stay.
        """


class ColdLeases:
    """Leases that keep nothing ready: addresses first, then the rest, undone when that fails."""

    def __init__(self, allocator: Allocator, store: Store) -> None:
        self._allocator = allocator
        self._store = store

    def take(self, families: Sequence[Family], requests: Sequence[Request], extra: Extra) -> Sequence[Interface]:
        def each() -> Iterator[Interface]:
            for of, request in zip(families, requests, strict=True):
                yield from self._allocator.auto_assign(of, 1, request)

        return self._take(each(), requests[0].handle, extra)

    def take_named(self, addresses: Sequence[Address], request: Request, extra: Extra) -> Sequence[Interface]:
        return self._take(
            (self._allocator.assign_ip(address, request) for address in addresses), request.handle, extra
        )

    def _take(self, assigning: Iterator[Interface], handle: str, extra: Extra) -> Sequence[Interface]:
        """All or nothing: one family without the other, or addresses without their endpoint, would be a leak."""
        taken: list[Interface] = []
        try:
            taken.extend(assigning)
            writes = extra([interface.ip for interface in taken])
        except BaseException:
            self.undo(taken, handle)
            raise
        return self.complete(taken, handle, writes)

    def complete(self, taken: Sequence[Interface], handle: str, writes: Sequence[Write]) -> Sequence[Interface]:
        """Write what belongs to addresses that are taken, and return them; give them back when that fails."""
        try:
            if writes:
                self._store.write(writes)
        except BaseException:
            self.undo(taken, handle)
            raise
        return taken

    def undo(self, taken: Sequence[Interface], handle: str) -> None:
        """Give addresses back, one by one: the handle may have others, of a container that has the same id."""
        self._allocator.release_ips([Release(interface.ip, handle=handle) for interface in taken])

    def give_back(self, handle: str, writes: Sequence[Write]) -> None:
        """Writes come first: an address may be another's as soon as it is free, so nobody may think it ours then."""
        if writes:
            self._store.write(writes)
        self._allocator.release_by_handle(handle)
