"""Lets devices take the fast path: those of pods, the overlay's, and those that the node's own addresses are on.

A pod's device joins some seconds after it came. Joining holds the kernel's lock on devices for a moment, which a
pod's start shall not wait for, and by then it shows whether a plugin behind ours has put a shaper on it: a device
where somebody queues or filters packets is left out, for they would pass him by. Devices join one at a time, with
pauses, for the same lock's sake. Packets go the ordinary way meanwhile; nothing here is ever urgent.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cloudnet.clock import Clock
from cloudnet.errors import CloudnetError
from cloudnet.kernel.api import OVERLAY_DEVICES
from cloudnet.kernel.fastpath import Device, FastPath, Part, Role
from cloudnet.model.addresses import Address

if TYPE_CHECKING:
    from cloudnet.agent.metrics import Metrics

log = logging.getLogger(__name__)

_AGE = 3.0  # seconds until a pod's device joins
_PAUSE = 0.1  # seconds between two that join; one holds the lock for some 30 ms (synchronize_rcu)
_CALM = 0.3  # seconds from a notice to a look: a pod's start makes many
_LOOK = 30.0  # seconds between looks without a notice
_RETRY = 60.0  # seconds until the door is tried again
_POLL = 0.5  # seconds until the thread sees that it should end

_FILTERS = frozenset({"ingress", "clsact"})
_NO_QUEUE = frozenset({"noqueue"})


def roles(devices: Iterable[Device], prefixes: tuple[str, ...], own: frozenset[Address]) -> Mapping[int, Role]:
    """Return which devices may take part, by index. Of pods only those where nothing at all queues or filters."""
    wanted: dict[int, Role] = {}
    for device in devices:
        if device.name.startswith(prefixes):
            if device.qdiscs <= _NO_QUEUE:
                wanted[device.index] = Role.POD
        elif _leads_out(device, own) and not device.qdiscs & _FILTERS:
            wanted[device.index] = Role.WORLD
    return wanted


def _leads_out(device: Device, own: frozenset[Address]) -> bool:
    return device.name in OVERLAY_DEVICES.values() or (device.name != "lo" and not own.isdisjoint(device.addresses))


class FastPathKeeper:
    """The state; ``work`` is the whole loop, so that a test needs no thread."""

    def __init__(
        self, prefixes: tuple[str, ...], own: Callable[[], frozenset[Address]], open_door: Callable[[], FastPath]
    ) -> None:
        self.joined: Mapping[int, Part] = {}  # replaced whole; any thread may ask
        self._prefixes, self._own, self._open = prefixes, own, open_door
        self._door: FastPath | None = None
        self._due: dict[int, float] = {}  # {device: when it may join}
        self._told = ""

    def work(self, now: float) -> float:
        """Do what is due; return when to work again if nothing stirs before."""
        try:
            if self._door is None:
                self._door = self._open()
            return self._settle(self._door, now)
        except CloudnetError as e:
            if str(e) != self._told:
                log.warning("no fast path, trying again reason=%r", str(e))
            self._told = str(e)
            self.close()
            return now + _RETRY

    def _settle(self, door: FastPath, now: float) -> float:
        by_rules = door.has_rules()
        chosen = roles(door.devices(), self._prefixes, self._own())
        wanted = {device: Part(role, by_rules) for device, role in chosen.items()}
        for device in [device for device, part in self.joined.items() if wanted.get(device) != part]:
            door.leave(device)
            self.joined = {other: part for other, part in self.joined.items() if other != device}
        missing = {device: part for device, part in wanted.items() if device not in self.joined}
        self._due = {
            device: self._due.get(device, now + (_AGE if part.role is Role.POD else 0.0))
            for device, part in missing.items()
        }
        if not missing:
            return now + _LOOK
        device = min(missing, key=lambda device: (self._due[device], device))
        if self._due[device] > now:
            return self._due[device]
        self._join(door, device, missing[device], now)
        return now + _PAUSE

    def _join(self, door: FastPath, device: int, part: Part, now: float) -> None:
        try:
            door.join(device, part)
        except CloudnetError as e:
            log.debug("a device does not take the fast path yet device=%d reason=%r", device, str(e))
            door.leave(device)
            self._due[device] = now + _RETRY
        else:
            self.joined = {**self.joined, device: part}

    def stirred(self, timeout: float) -> bool:
        """Tell whether devices changed within ``timeout`` seconds."""
        return self._door is not None and self._door.wait(timeout)

    @property
    def is_open(self) -> bool:
        return self._door is not None

    def measure(self, metrics: Metrics) -> None:
        """Tell these metrics how many devices take part."""
        metrics.fast_path_devices.set_function(lambda: len(self.joined))

    def close(self) -> None:
        if self._door is not None:
            self._door.close()
        self._door, self.joined = None, {}
        self._due.clear()


@contextmanager
def keeping(keeper: FastPathKeeper, clock: Clock) -> Iterator[FastPathKeeper]:
    """Keep devices on the fast path until the block ends; then all go the ordinary way."""
    ending = threading.Event()

    def keep() -> None:
        wakeup = clock.now()
        try:
            while not ending.is_set():
                now = clock.now()
                if now >= wakeup:
                    wakeup = keeper.work(now)
                elif not keeper.is_open:
                    ending.wait(min(_POLL, wakeup - now))
                elif keeper.stirred(min(_POLL, wakeup - now)):
                    wakeup = min(wakeup, clock.now() + _CALM)
        finally:
            keeper.close()

    thread = threading.Thread(target=keep, name="fast path", daemon=True)
    thread.start()
    try:
        yield keeper
    finally:
        ending.set()
        thread.join()
