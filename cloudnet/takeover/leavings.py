"""What a predecessor leaves in the kernel that nobody needs once the last of its pods has ended, and its removal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final, Protocol

from cloudnet.kernel import codec, iptables
from cloudnet.kernel.foreign import ForeignRoutes
from cloudnet.kernel.foreign_devices import ForeignDevices
from cloudnet.model.addresses import Network
from cloudnet.takeover.remains import PROTOCOLS

_CHAINS: Final = "FLANNEL-"  # flannel, pkg/trafficmngr/iptables
_MARK: Final = "flanneld"  # in comments of its rules


class Leavings(Protocol):
    """Traces of a pod network on this host that outlive it."""

    def lowered(self) -> Mapping[Network, str]:
        """Return Calico's routes that a takeover has lowered: {destination: spelled for ``drop``}."""

    def over(self, device: str) -> Mapping[Network, str]:
        """Return routes that a predecessor wrote over its own device, in the same way."""

    def drop(self, route: str) -> None:
        """Remove such a route."""

    def ports(self, bridge: str) -> Sequence[str]:
        """Return what hangs on a bridge."""

    def remove_device(self, device: str) -> None: ...

    def masquerades(self) -> bool:
        """Tell whether chains of flannel's are there."""

    def stop_masquerading(self) -> None:
        """Remove them, with all that leads to them."""


class HostLeavings:
    """The real ones, in the namespace of the calling thread."""

    def __init__(self, spared: str, *, allow_host_network: bool = False) -> None:
        self._spared, self._allowed = spared, allow_host_network

    def lowered(self) -> Mapping[Network, str]:
        with closing(ForeignRoutes(PROTOCOLS, self._spared, allow_host_network=self._allowed)) as routes:
            return {codec.read_destination(body): body.hex() for body in routes.lowered()}

    def over(self, device: str) -> Mapping[Network, str]:
        with closing(self._devices()) as devices:
            return {to: body.hex() for to, body in devices.routes_over(device).items()}

    def drop(self, route: str) -> None:
        with closing(ForeignRoutes(PROTOCOLS, self._spared, allow_host_network=self._allowed)) as routes:
            routes.remove(bytes.fromhex(route))

    def ports(self, bridge: str) -> Sequence[str]:
        with closing(self._devices()) as devices:
            return devices.ports(bridge)

    def remove_device(self, device: str) -> None:
        with closing(self._devices()) as devices:
            devices.remove(device)

    def _devices(self) -> ForeignDevices:
        return ForeignDevices(allow_host_network=self._allowed)

    def masquerades(self) -> bool:
        return any(iptables.chains(text, _CHAINS) for text in iptables.save(allow_host=self._allowed).values())

    def stop_masquerading(self) -> None:
        for family, text in iptables.save(allow_host=self._allowed).items():
            iptables.restore(family, iptables.removal(text, _CHAINS, _MARK), allow_host=self._allowed)


@dataclass(slots=True)
class LeavingsMemory:
    """The twin: routes by where they lead to, bridges with their ports, and devices that were removed."""

    calico: dict[Network, str] = field(default_factory=dict)
    flannel: dict[Network, str] = field(default_factory=dict)
    bridges: dict[str, Sequence[str]] = field(default_factory=dict)
    chains: bool = False
    removed: list[str] = field(default_factory=list)

    def lowered(self) -> Mapping[Network, str]:
        return dict(self.calico)

    def over(self, device: str) -> Mapping[Network, str]:  # noqa: ARG002 - the protocol's; here is one device alone
        return dict(self.flannel)

    def drop(self, route: str) -> None:
        for there in (self.calico, self.flannel):
            for destination in [to for to, spelled in there.items() if spelled == route]:
                del there[destination]

    def ports(self, bridge: str) -> Sequence[str]:
        return self.bridges.get(bridge, ())

    def remove_device(self, device: str) -> None:
        self.bridges.pop(device, None)
        self.removed.append(device)

    def masquerades(self) -> bool:
        return self.chains

    def stop_masquerading(self) -> None:
        self.chains = False
