"""The node's addresses for many threads: they take turns, and whoever is in turn does what all others wait for.

So eight pods that start at once share one write to the store, and one flush of its disk.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from cloudnet.ipam.allocator import Request
from cloudnet.ipam.leases import Extra
from cloudnet.ipam.warm import Job, Warm
from cloudnet.model.addresses import Address, Family, Interface
from cloudnet.model.resources import Resource
from cloudnet.store.api import Event, Write


class SharedLeases:
    """Leases of one node; any thread may call anything. Keeps the promises of ``Leases``."""

    def __init__(self, warm: Warm) -> None:
        self._warm = warm
        self._waiting: list[Job] = []
        self._queue = threading.Lock()  # guards _waiting
        self._turn = threading.Lock()  # guards _warm

    @property
    def is_warm(self) -> bool:
        return self._warm.is_warm

    def heard(self, events: Iterable[Event[Resource]], *, synced: bool) -> None:
        """Take in changes of the store; ``synced`` once everything has been told."""
        with self._turn:
            self._warm.heard(events, synced=synced)

    def take(self, families: Sequence[Family], requests: Sequence[Request], extra: Extra) -> Sequence[Interface]:
        return self._carry(self._warm.taking(families, requests, extra))

    def take_named(self, addresses: Sequence[Address], request: Request, extra: Extra) -> Sequence[Interface]:
        return self._carry(self._warm.taking_named(addresses, request, extra))

    def give_back(self, handle: str, writes: Sequence[Write]) -> None:
        self._carry(self._warm.giving_back(handle, writes))

    def top_up(self, request: Request) -> bool:
        """Claim the next block of a family that lacks addresses; tell whether all have enough, or got one.

        Claiming takes several requests to the store; meanwhile others have their turns.
        """
        with self._turn:
            lacking = self._warm.lacking(request)
        for of in lacking:
            claimed = self._warm.claim(of, request)
            if claimed is None:
                return False
            with self._turn:
                self._warm.keep(claimed)
        return True

    def _carry(self, job: Job) -> Sequence[Interface]:
        with self._queue:
            self._waiting.append(job)
        with self._turn:
            if not job.done:
                with self._queue:
                    jobs, self._waiting = self._waiting, []
                self._warm.carry_out(jobs)
        if job.error is not None:
            raise job.error
        if job.cold:
            return job.the_long_way()
        return job.given
