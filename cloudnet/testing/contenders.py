"""Processes that contend for the leader's lease on a store, to be killed: who led when, by one monotonic clock.

with contending(url, 3, duration=1.0) as contenders:
    leader = contenders.leader()
    leader.kill()
    contenders.leader()

Each process does what the controller does with the lease, and nothing else.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread

from cloudnet.controller import carry
from cloudnet.controller.lease import Keeper
from cloudnet.store.registry import open_store

_SOON = 30.0  # seconds in which somebody must lead; a loaded machine takes its time to start processes
_LOOK = 0.02  # seconds between two looks at the lease


@dataclass
class Contender:
    """One process. ``led`` are the spans in which it led, the last one open while it still does."""

    name: str
    process: subprocess.Popen[str]
    led: list[tuple[float, float]] = field(default_factory=list)
    killed_at: float = 0.0

    @property
    def leads(self) -> bool:
        return bool(self.led) and self.led[-1][1] == float("inf") and not self.killed_at

    def kill(self) -> float:
        """Kill it as the kernel would, and return when."""
        self.process.kill()
        self.process.wait()
        self.killed_at = time.monotonic()
        return self.killed_at

    def spans(self) -> Iterator[tuple[float, float]]:
        for began, ended in self.led:
            yield began, min(ended, self.killed_at or float("inf"))

    def listen(self) -> None:
        """Note what the process says of itself until it ends."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            word, moment = line.split()
            if word == "leads":
                self.led.append((float(moment), float("inf")))
            elif self.led:
                self.led[-1] = (self.led[-1][0], float(moment))


@dataclass
class Contenders:
    """All of them."""

    each: list[Contender]

    def leader(self) -> Contender:
        """Return who leads, as soon as somebody does."""
        end = time.monotonic() + _SOON
        while time.monotonic() < end:
            for one in self.each:
                if one.leads:
                    return one
            time.sleep(_LOOK / 2)
        raise TimeoutError("nobody leads")

    def overlaps(self) -> list[tuple[str, str]]:
        """Return who led at the same time; a process may say a little late that it begins, never that it ends."""
        spans = sorted((span, one.name) for one in self.each for span in one.spans())
        return [
            (first, second)
            for ((_, ended), first), ((began, _), second) in itertools.pairwise(spans)
            if began < ended
        ]


@contextmanager
def contending(url: str, number: int, *, duration: float) -> Iterator[Contenders]:
    found = [Contender(f"c{i}", _start(url, f"c{i}", duration)) for i in range(number)]
    threads = [Thread(target=one.listen, name=one.name) for one in found]
    for thread in threads:
        thread.start()
    try:
        yield Contenders(found)
    finally:
        for one in found:
            one.process.kill()
            one.process.wait()
        for thread in threads:
            thread.join()
        for one in found:
            assert one.process.stdout is not None
            one.process.stdout.close()


def _start(url: str, name: str, duration: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cloudnet.testing.contenders", url, name, str(duration)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def contend(url: str, name: str, duration: float) -> None:
    """Contend for ever, and print when leading begins and ends."""
    store, keeper, leads = open_store(url), Keeper(name, duration), False
    while True:
        # The moment before the question: what is true then is true at least as long as we say.
        now = time.monotonic()
        if leads and not keeper.leading(now):
            leads = False
            print("silent", now, flush=True)  # noqa: T201 - the other process reads it
        elif not leads and keeper.leading(now):
            leads = True
            print("leads", now, flush=True)  # noqa: T201 - the same
        if not leads and (seen := carry.look_at_lease(store)) is not None:
            keeper.saw(seen.now, time.monotonic())
        attempt, _ = keeper.step(time.monotonic())
        if attempt is not None:
            keeper.done(carry.take_lease(attempt, store), time.monotonic())
        time.sleep(_LOOK)


if __name__ == "__main__":
    contend(sys.argv[1], sys.argv[2], float(sys.argv[3]))
