"""The in-memory twin of the door for pods. A pod's namespace is any open file that is empty."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_network

from cloudnet.kernel.api import HostNamespace, KernelError, NotANamespace
from cloudnet.kernel.pods import HostEnd, InterfaceTaken, LinkTaken, Owner, PodLink
from cloudnet.model.addresses import Address, Network

Place = tuple[int, int]


@dataclass
class MemoryPods:
    """Links that exist in memory alone.

    ``host`` is the namespace that nobody's pod may be in; an ordinary file is no namespace. ``refuse`` is asked
    before each wiring, and may raise.
    """

    host: Place | None = None
    refuse: Callable[[PodLink], None] = lambda _: None
    wired: dict[str, tuple[PodLink, Place]] = field(default_factory=dict)
    routes: dict[str, list[Network]] = field(default_factory=dict)
    spoilt: dict[str, list[str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wire(self, link: PodLink, namespace: int) -> None:
        place = self._place(namespace)
        self.refuse(link)
        with self._lock:
            if link.name in self.wired:
                raise LinkTaken(f"the host has a device {link.name!r} already")
            if any(
                there == place and of.owner.interface == link.owner.interface for of, there in self.wired.values()
            ):
                raise InterfaceTaken(f"the pod has a device {link.owner.interface!r} already")
            self.wired[link.name] = (link, place)
            self.routes[link.name] = [ip_network(address) for address in link.addresses]

    def differences(self, link: PodLink, namespace: int) -> Sequence[str]:
        place = self._place(namespace)
        found = self.wired.get(link.name)
        if found is None:
            return (f"the host has no device {link.name}",)
        wired, there = found
        if there != place:
            return (f"{link.name} of the host does not lead to this pod",)
        missing = [a for a in link.addresses if ip_network(a) not in self.routes[link.name]]
        return (
            *self.spoilt.get(link.name, ()),
            *(f"the host has no route to {address} through {link.name}" for address in missing),
            *(
                ()
                if replace(wired, mtu=link.mtu, forwards=link.forwards) == link
                else (f"{link.name} of the host is {wired}",)
            ),
        )

    def find(self, name: str) -> HostEnd | None:
        found = self.wired.get(name)
        return HostEnd(name, found[0].owner, up=True) if found else None

    def leads_to(self, name: str, namespace: int) -> bool:
        found = self.wired.get(name)
        return found is not None and found[1] == self._place(namespace)

    def cut(self, name: str, owner: Owner | None = None) -> bool:
        with self._lock:
            if owner is not None and name in self.wired and self.wired[name][0].owner != owner:
                return False
            self.routes.pop(name, None)
            return self.wired.pop(name, None) is not None

    def settle(self, timeout: float) -> bool:  # noqa: ARG002 - nothing takes time here
        return True

    def read(self) -> Mapping[str, HostEnd]:
        with self._lock:
            return {
                name: HostEnd(name, link.owner, up=True, routes=tuple(self.routes[name]))
                for name, (link, _) in self.wired.items()
            }

    def mend(self, name: str, addresses: Sequence[Address], *, unwanted: Sequence[Network] = ()) -> None:
        with self._lock:
            if name not in self.wired:
                raise KernelError(f"there is no network device {name!r}")
            kept = [network for network in self.routes[name] if network not in unwanted]
            self.routes[name] = list(dict.fromkeys([*kept, *(ip_network(address) for address in addresses)]))

    def owners(self) -> Mapping[str, Owner]:
        return {name: link.owner for name, (link, _) in self.wired.items()}

    def close(self) -> None:
        """Let go of nothing."""

    def _place(self, namespace: int) -> Place:
        status = os.fstat(namespace)
        if stat.S_ISREG(status.st_mode) and status.st_size:
            raise NotANamespace("it is no network namespace, but another kind of file")
        place = (status.st_dev, status.st_ino)
        if place == self.host:
            raise HostNamespace("it is the network namespace of the host itself")
        return place
