"""What the controller knows of interfaces in the cloud: the last read, corrected by what was changed since. Pure.

A read that began before one of our changes ended knows less than we do, and clouds show changes late: about an
interface that we changed we believe only reads that began ``LAG`` seconds later.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Final

from cloudnet.model.addresses import InstanceId, InterfaceId, SubnetId
from cloudnet.provider.api import Holdings, NetworkInterface, PodSubnet, Room

LAG: Final = 10.0  # seconds; EC2 shows a change within a few


class Sight:
    """Interfaces, rooms and subnets. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.known = False  # whether anything has been read
        self.subnets: Mapping[SubnetId, PodSubnet] = {}
        self.strays: dict[InterfaceId, float] = {}
        """{interface of ours that belongs to no node: since when}."""
        self._interfaces: dict[InterfaceId, NetworkInterface] = {}
        self._attached: dict[InstanceId, set[InterfaceId]] = defaultdict(set)
        self._changed_at: dict[InterfaceId, float] = {}
        self._rooms: dict[InstanceId, Room] = {}

    def interface(self, name: InterfaceId) -> NetworkInterface | None:
        return self._interfaces.get(name)

    def room(self, instance: InstanceId) -> Room | None:
        return self._rooms.get(instance)

    def of(self, instance: InstanceId) -> tuple[NetworkInterface, ...]:
        """Return what is attached to a machine, in the order of ids."""
        return tuple(self._interfaces[i] for i in sorted(self._attached.get(instance, ())))

    def take_in(self, holdings: Holdings, nodes: Collection[InstanceId], *, started: float, now: float) -> None:
        """Believe a read, but for interfaces that changed after it began or just before."""
        shown = {i.id: i for i in holdings.interfaces}
        for name in self._interfaces.keys() | shown.keys():
            if name in self._changed_at and self._changed_at[name] + LAG > started:
                continue
            self._changed_at.pop(name, None)
            self._put(name, shown.get(name))
        self._rooms |= holdings.rooms
        self.subnets, self.known = holdings.subnets, True
        ours = (i for i in self._interfaces.values() if i.ours and i.instance not in nodes)
        self.strays = {i.id: self.strays.get(i.id, now) for i in ours}

    def changed(self, interface: NetworkInterface, *, now: float) -> None:
        """Take in what one of our changes made of an interface."""
        self._changed_at[interface.id] = now
        self._put(interface.id, interface)

    def removed(self, name: InterfaceId, *, now: float) -> None:
        self._changed_at[name] = now
        self._put(name, None)
        self.strays.pop(name, None)

    def _put(self, name: InterfaceId, interface: NetworkInterface | None) -> None:
        old = self._interfaces.pop(name, None)
        if old is not None and old.instance is not None:
            self._attached[old.instance].discard(name)
        if interface is None:
            return
        self._interfaces[name] = interface
        if interface.instance is not None:
            self._attached[interface.instance].add(name)
