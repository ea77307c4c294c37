"""Hears from the kernel what others change.

Two sieves keep our own writes out. Nearly every notice carries the port of the socket that asked for the change, and
a filter inside the kernel drops those with ours. Forwarding entries alone carry none (``vxlan_fdb_notify``), so such
a notice counts only when it contradicts what we believe to be there.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from cloudnet.kernel import codec, wire
from cloudnet.kernel.api import FdbEntry
from cloudnet.kernel.rtnetlink import Listener, Socket

# RTNLGRP_*, linux/rtnetlink.h: LINK, NEIGH, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, IPV6_IFADDR, IPV6_ROUTE, IPV6_RULE
_GROUPS = (1, 3, 5, 7, 8, 9, 11, 19)
_MOST_AT_ONCE = 10_000  # datagrams that one notice sums up, so that a storm does not keep it waiting


class Beliefs:
    """What we believe of our overlay devices. Written by the kernel's thread, read by the one that listens.

    Every change is one assignment or one dict operation, so a reader sees the state before or after it.
    """

    def __init__(self) -> None:
        self.indexes: Mapping[str, int] = {}
        self._entries: dict[tuple[int, bytes], bytes] = {}

    def read(self, overlay: Mapping[int, str], entries: Iterable[FdbEntry]) -> None:
        indexes = {name: index for index, name in overlay.items()}
        self._entries = {
            (indexes[entry.device], codec.pack_mac(entry.mac)): entry.address.packed for entry in entries
        }
        self.indexes = indexes

    def wrote(self, index: int, entry: FdbEntry, *, put: bool) -> None:
        """Take in a write that is about to happen: its notice may be faster than its answer."""
        key = (index, codec.pack_mac(entry.mac))
        if put:
            self._entries[key] = entry.address.packed
        else:
            self._entries.pop(key, None)
        self.indexes = {**self.indexes, entry.device: index} if entry.device not in self.indexes else self.indexes

    def device_made(self, name: str, index: int) -> None:
        self.device_gone(name)
        self.indexes = {**self.indexes, name: index}

    def device_gone(self, name: str) -> None:
        gone = self.indexes.get(name)
        self._entries = {key: address for key, address in self._entries.items() if key[0] != gone}
        self.indexes = {other: index for other, index in self.indexes.items() if other != name}

    def contradicted_by(self, kind: int, notice: codec.NeighbourNotice) -> bool:
        if notice.index not in self.indexes.values():
            return False
        if not notice.bridge:
            return True
        believed = self._entries.get((notice.index, notice.mac))
        return believed is not None if kind == wire.RTM_DELNEIGH else believed != notice.address


class NetlinkNotices:
    """A stream of notices; it begins with what happens after it was made."""

    def __init__(self, writer: Socket, beliefs: Beliefs) -> None:
        self._beliefs = beliefs
        self._listener = Listener(_GROUPS, deaf_to=writer.port)

    def wait(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while True:
            stirred, quiet = self._drain(max(0.0, deadline - time.monotonic()))
            if stirred:
                return True
            if quiet and time.monotonic() >= deadline:
                return False

    def _drain(self, timeout: float) -> tuple[bool, bool]:
        """Hear everything there is; return whether something counts, and whether nothing came at all."""
        stirred = False
        for number in range(_MOST_AT_ONCE):
            heard = self._listener.hear(0.0 if number else timeout)
            if heard is None:
                stirred = True  # more than the buffer holds: look at everything
            elif not heard:
                return stirred, number == 0
            else:
                stirred = stirred or any(self._counts(kind, body) for kind, _, body in heard)
        return stirred, False

    def _counts(self, kind: int, body: bytes) -> bool:
        if kind in {wire.RTM_NEWNEIGH, wire.RTM_DELNEIGH}:
            return self._beliefs.contradicted_by(kind, codec.read_neighbour_notice(body))
        return True

    def close(self) -> None:
        self._listener.close()
