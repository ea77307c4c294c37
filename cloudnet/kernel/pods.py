"""The kernel door for pods: their links, wired, looked at and cut, as Calico wires them.

A pod's link is a veth pair. The end on the host is called after the pod, has the MAC ee:ee:ee:ee:ee:ee, answers for
every address (proxy ARP and ND) and has a route to each of the pod's addresses; the pod's end has these addresses
alone, /32 and /128, and leads everything through 169.254.1.1 and the host end's link-local IPv6 address. Follows
Calico ``cni-plugin/pkg/dataplane/linux/dataplane_linux.go``.

The host's end carries its owner in its alias, so that nobody has to ask the store whose it is. Devices without such
an alias are never touched. ``cloudnet.testing.pods`` holds the suite that the real side and the twin pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Final, Protocol

from cloudnet.kernel.api import KernelError
from cloudnet.model.addresses import Address, Network

HOST_MAC: Final = "ee:ee:ee:ee:ee:ee"
"""MAC of every host end: a pod that moves to another host finds its gateway where it was."""

IPV4_GATEWAY: Final = IPv4Address("169.254.1.1")
IPV6_GATEWAY: Final = IPv6Address("fe80::ecee:eeff:feee:eeee")  # HOST_MAC as an EUI-64 address, RFC 4291 appendix A

EVERYWHERE: Final[tuple[Network, ...]] = (ip_network("0.0.0.0/0"), ip_network("::/0"))

_MARK = "cloudnet"  # first word of the alias of a device that is ours


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a link is: a container's interface in one network of the runtime's."""

    network: str
    container: str
    interface: str

    @property
    def alias(self) -> str:
        """The alias of the host's end: 255 characters at most (IFALIASZ), which limits what names it may hold."""
        return f"{_MARK} {self.interface} {self.network} {self.container}"

    @staticmethod
    def of(alias: str) -> Owner | None:
        """Return the owner that an alias names; nothing when the device is not ours."""
        words = alias.split(" ", 3)
        if len(words) != 4 or words[0] != _MARK:  # noqa: PLR2004 - the words of an alias
            return None
        return Owner(network=words[2], container=words[3], interface=words[1])


@dataclass(frozen=True, slots=True)
class PodLink:
    """A pod's link as it should be. ``name`` is the host's end, ``owner.interface`` the pod's.

    ``routes`` are what the pod reaches through it. ``forwards``: the pod may forward packets itself. An ``mtu`` of 0
    compares equal to any, and cannot be made.
    ``any_source``: the host does not check that the pod sends from its own addresses.
    """

    name: str
    owner: Owner
    mac: str
    mtu: int
    addresses: tuple[Address, ...]
    routes: tuple[Network, ...] = EVERYWHERE
    queues: int = 1
    forwards: bool = False
    any_source: bool = False

    def has(self, version: int) -> bool:
        return any(address.version == version for address in self.addresses)


@dataclass(frozen=True, slots=True)
class HostEnd:
    """The host's end of a pod's link, as it is; ``routes`` are what leads through it."""

    name: str
    owner: Owner
    up: bool
    routes: tuple[Network, ...] = ()


class LinkTaken(KernelError):
    """The host has a device of that name already."""


class InterfaceTaken(KernelError):
    """The pod has a device of that name already."""


class Pods(Protocol):
    """The links of this host's pods. Calls come from many threads.

    ``namespace`` is an open file of the pod's network namespace, the caller's to close. No call ever touches the
    machine's own network namespace, or the agent's, in its place.
    """

    def wire(self, link: PodLink, namespace: int) -> None:
        """Make a link, whole; on failure nothing of it remains.

        Raises:
            NotANamespace: the file is none.
            HostNamespace: it is the machine's own namespace, or the one that we are in.
            LinkTaken, InterfaceTaken: somebody has the name.
            KernelError: the kernel refused.
        """

    def differences(self, link: PodLink, namespace: int) -> Sequence[str]:
        """Return in what a link is not as it should be, a sentence each; nothing when all is well."""

    def find(self, name: str) -> HostEnd | None:
        """Return a host's end of ours, without its routes; nothing when there is none, or another's device."""

    def leads_to(self, name: str, namespace: int) -> bool:
        """Tell whether the other end of a link is in that namespace."""

    def cut(self, name: str, owner: Owner | None = None) -> bool:
        """Let no packet through a link from now on and free its name; tell whether there was one of ours.

        With ``owner``, only if it is that one's.

        What remains of the device goes soon after: the kernel waits for everybody who might still use it.
        """

    def settle(self, timeout: float) -> bool:
        """Wait until all that was cut is gone, or ``timeout`` seconds; tell whether it is."""

    def read(self) -> Mapping[str, HostEnd]:
        """Return all our host's ends by name, with their routes."""

    def mend(self, name: str, addresses: Sequence[Address], *, unwanted: Sequence[Network] = ()) -> None:
        """Give a host's end its routes, and take away those that it should not have.

        Raises:
            KernelError: there is no such link, or the kernel refused.
        """

    def close(self) -> None:
        """Wait for what was cut to be gone, and let go of everything."""
