"""Devices of one other program, by their names: which ports and routes they have, and their end.

Only who takes a program's place looks here, and only when that program is gone for good.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cloudnet.kernel import codec, devices, netns, wire
from cloudnet.kernel.api import MAIN_TABLE
from cloudnet.kernel.codec import ask_links, ask_routes
from cloudnet.kernel.rtnetlink import Socket
from cloudnet.model.addresses import Family, Network

_BOOT = 3  # RTPROT_BOOT: what is written without a protocol


class ForeignDevices:
    """Devices of the namespace of the calling thread."""

    def __init__(self, *, allow_host_network: bool = False) -> None:
        """Open the door.

        Raises:
            HostNamespace: this is the machine's own network namespace and nobody allowed it.
        """
        self._socket = Socket.within(netns.require_own_namespace(allow_host=allow_host_network))

    def close(self) -> None:
        self._socket.close()

    def ports(self, bridge: str) -> Sequence[str]:
        """Return the names of a bridge's ports, none if there is no such bridge."""
        found = devices.find(self._socket, bridge)
        if found is None:
            return []
        master = wire.U32.pack(found.index)
        links = self._socket.dump(wire.RTM_GETLINK, ask_links())
        ports = (body for body in links if _says(body, wire.LINK.size, wire.IFLA_MASTER, master))
        return [codec.read_link(body).name for body in ports]

    def routes_over(self, device: str) -> Mapping[Network, bytes]:
        """Return what the program wrote over a device into the main table: {destination: the route as it stands}."""
        found = devices.find(self._socket, device)
        if found is None:
            return {}
        index = wire.U32.pack(found.index)
        return {
            codec.read_destination(body): body
            for family in Family
            for body in self._socket.dump(wire.RTM_GETROUTE, ask_routes(family, table=MAIN_TABLE))
            if wire.ROUTE.unpack_from(body)[5] == _BOOT and _says(body, wire.ROUTE.size, wire.RTA_OIF, index)
        }

    def remove(self, device: str) -> None:
        """Remove a device; that it is gone already is success.

        Raises:
            KernelError: the kernel refused.
        """
        devices.remove(self._socket, device)


def _says(body: bytes, head: int, attribute: int, value: bytes) -> bool:
    return wire.attributes(body, head).get(attribute) == value
