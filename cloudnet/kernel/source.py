"""Which of the host's addresses packets to a destination leave with: the kernel's own choice of route and source."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Final

from cloudnet.model.addresses import Address, Family

_FAMILIES: Final = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
_PORT: Final = 53  # any: nothing is sent


def source_address(destination: str, of: Family) -> Address | None:
    """Return the address that a UDP socket to a host (an address, or a name to look up) gets; ``None`` without a way.

    Connecting a UDP socket sends nothing (``ip(7)``).
    """
    try:
        found = socket.getaddrinfo(destination, _PORT, _FAMILIES[of], socket.SOCK_DGRAM)
        with socket.socket(_FAMILIES[of], socket.SOCK_DGRAM) as probe:
            probe.connect(found[0][4])
            return ip_address(probe.getsockname()[0])
    except OSError:  # no such name, or no route to it: the same to whoever asks
        return None
