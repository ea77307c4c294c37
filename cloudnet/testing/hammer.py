"""Many processes that take and release addresses on one store, and are killed at any moment: no address twice.

``hammer(url, folder)`` runs it. Whoever gets an address makes a link of its name, which only one can make; before an
address is released, its link goes. So a link that is there already is an address that two have. What a killed worker
had is released by the next one of its number, as a runtime does with containers after a crash.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path

from cloudnet.ipam import audit
from cloudnet.ipam import picture as pictures
from cloudnet.ipam.allocator import Allocator, Request
from cloudnet.ipam.audit import Problem
from cloudnet.ipam.errors import IpamError
from cloudnet.ipam.known import KINDS
from cloudnet.ipam.warm import Warm
from cloudnet.model.addresses import Address, Family, NodeName
from cloudnet.model.resources import IPAMHandle, IPPool, Metadata, Node
from cloudnet.policy.selectors import Matches
from cloudnet.store.api import Conflict, Event, EventType, Store, StoreUnavailable
from cloudnet.store.registry import open_store

POOL = IPPool(Metadata("default"), ip_network("10.65.0.0/27"), block_size=29)
"""Four blocks for all: workers borrow, reclaim and get in each other's way."""

TWICE = 3  # exit status of a worker that was given somebody else's address
_HANDLES = 3  # of each worker
_ENDED = frozenset({0, -signal.SIGKILL, -signal.SIGTERM})  # the last one: it was not even ready to be told


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it: ``given`` addresses in all, workers ``killed``, ``twice`` what was told of doubles."""

    given: int
    killed: int
    twice: tuple[str, ...]
    problems: tuple[Problem, ...]
    left: int


def hammer(url: str, folder: Path, *, workers: int = 8, seconds: float = 8.0, seed: int = 1) -> Outcome:
    """Run the workers, kill one of them ever so often, release everything, and look at the books."""
    (folder / "owned").mkdir()
    with opened(url) as store:
        store.create(POOL)
        for number in range(workers):
            store.create(Node(Metadata(f"n{number}")))
    chance, killed, twice = random.Random(seed), 0, []  # noqa: S311 - it shall be the same again
    running = {number: _start(url, folder, number) for number in range(workers)}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(chance.uniform(0.1, 0.4))
        number = chance.randrange(workers)
        killed += running[number].poll() is None
        running[number].kill()
        twice += _ended(running[number])
        running[number] = _start(url, folder, number)
    for worker in running.values():
        worker.send_signal(signal.SIGTERM)
    twice += [line for worker in running.values() for line in _ended(worker)]
    with opened(url) as store:
        allocator = _allocator(store)
        for item in store.list(IPAMHandle).items:
            allocator.release_by_handle(item.value.handle)
        seen = pictures.take(store)
    return Outcome(
        given=sum(path.stat().st_size for path in folder.glob("given-*")),
        killed=killed,
        twice=tuple(twice),
        problems=audit.problems(seen),
        left=len(list(seen.allocations())),
    )


def _start(url: str, folder: Path, number: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cloudnet.testing.hammer", url, str(folder), str(number)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def _ended(worker: subprocess.Popen[str]) -> list[str]:
    """Return what a worker complained of: nothing when it was told to end, or killed."""
    _, said = worker.communicate(timeout=30)
    return [said or f"status {worker.returncode}"] if worker.returncode not in _ENDED else []


@contextmanager
def opened(url: str) -> Iterator[Store]:
    store = open_store(url)
    try:
        yield store
    finally:
        store.close()


def _allocator(store: Store) -> Allocator:
    return Allocator(store, now=_now, matches=Matches())


def _now() -> datetime:
    return datetime.now(tz=UTC)


class Worker:
    """One process. Those with even numbers use the warm way, as agents do, the others the allocator alone."""

    def __init__(self, store: Store, folder: Path, number: int) -> None:
        self.node = NodeName(f"n{number}")
        self.handles = [f"net.{number}-{index}" for index in range(_HANDLES)]
        self.owned = folder / "owned"
        self.given = folder / f"given-{number}"  # a letter for each address that it was given
        self.allocator = _allocator(store)
        self.warm = Warm(store, self.node, now=_now, matches=Matches()) if number % 2 == 0 else None
        if self.warm:
            items = [item for kind in KINDS for item in store.list(kind).items]
            self.warm.heard([Event(EventType.PUT, item.value, item.revision) for item in items], synced=True)

    def run(self, stopped: list[bool]) -> None:
        for handle in self.handles:  # of the one before us, who was killed
            self.release(handle)
        chance = random.Random()  # noqa: S311 - no secret
        while not stopped:
            handle = chance.choice(self.handles)
            with suppress(IpamError, Conflict, StoreUnavailable):  # full, or too many at once: both will happen here
                if chance.random() < 0.5:
                    self.take(handle)
                else:
                    self.release(handle)

    def take(self, handle: str) -> None:
        request = Request(self.node, handle, {"node": self.node})
        if self.warm is None:
            addresses = [one.ip for one in self.allocator.auto_assign(Family.IPV4, 2, request)]
        else:
            job = self.warm.taking([Family.IPV4], [request], lambda _: [])
            self.warm.carry_out([job])
            if job.error:
                raise job.error
            addresses = [one.ip for one in (job.the_long_way() if job.cold else job.given)]
        for address in addresses:
            self.own(address, handle)

    def own(self, address: Address, handle: str) -> None:
        try:
            (self.owned / str(address)).symlink_to(handle)  # made and filled in one step, so no kill comes between
        except FileExistsError:
            other = (self.owned / str(address)).readlink()
            sys.stderr.write(f"{address} was given to {handle} and belongs to {other}\n")
            sys.exit(TWICE)
        with self.given.open("a") as counted:
            counted.write(".")

    def release(self, handle: str) -> None:
        for path in self.owned.iterdir():
            with suppress(FileNotFoundError):  # it was another's, who has just let it go
                if str(path.readlink()) == handle:
                    path.unlink()
        if self.warm is None:
            self.allocator.release_by_handle(handle)
            return
        job = self.warm.giving_back(handle, [])
        self.warm.carry_out([job])
        if job.error:
            raise job.error
        if job.cold:
            job.the_long_way()


def main(url: str, folder: str, number: str) -> None:
    stopped: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    with opened(url) as store:
        Worker(store, Path(folder), int(number)).run(stopped)


if __name__ == "__main__":
    main(*sys.argv[1:])
