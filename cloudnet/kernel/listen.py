"""Hears from the kernel what others change.

Two sieves keep our own writes out. Nearly every notice carries the port of the socket that asked for the change, and
a filter inside the kernel drops those with ours. Forwarding entries carry none, nor do neighbours that go
(``vxlan_fdb_notify``, ``neigh_cleanup_and_release``), so a notice of these counts only when it contradicts what we
believe to be there. An entry that is written twice before anybody listens may thus be reported: one needless read.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from cloudnet.kernel import codec, wire
from cloudnet.kernel.api import FdbEntry, Neighbour
from cloudnet.kernel.rtnetlink import Listener, Socket

# RTNLGRP_*, linux/rtnetlink.h: LINK, NEIGH, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, IPV6_IFADDR, IPV6_ROUTE, IPV6_RULE
_GROUPS = (1, 3, 5, 7, 8, 9, 11, 19)
_MOST_AT_ONCE = 10_000  # datagrams that one notice sums up, so that a storm does not keep it waiting


class Beliefs:
    """What we believe of our overlay devices. Written by the kernel's thread, read by the one that listens.

    Every change is one assignment or one dict operation, so a reader sees the state before or after it.
    """

    def __init__(self) -> None:
        self._indexes: Mapping[str, int] = {}
        self._entries: dict[tuple[bool, int, bytes], bytes] = {}

    def read(self, overlay: Mapping[int, str], entries: Iterable[Neighbour | FdbEntry]) -> None:
        indexes = {name: index for index, name in overlay.items()}
        self._entries = dict(_belief(indexes[entry.device], entry) for entry in entries)
        self._indexes = indexes

    def wrote(self, index: int, entry: Neighbour | FdbEntry, *, put: bool) -> None:
        """Take in a write that is about to happen: its notice may be faster than its answer."""
        key, value = _belief(index, entry)
        if put:
            self._entries[key] = value
        else:
            self._entries.pop(key, None)
        if self._indexes.get(entry.device) != index:
            self._indexes = {**self._indexes, entry.device: index}

    def device_made(self, name: str, index: int) -> None:
        self.device_gone(name)
        self._indexes = {**self._indexes, name: index}

    def device_gone(self, name: str) -> None:
        gone = self._indexes.get(name)
        self._entries = {key: value for key, value in self._entries.items() if key[1] != gone}
        self._indexes = {other: index for other, index in self._indexes.items() if other != name}

    def contradicted_by(self, notice: codec.NeighbourNotice) -> bool:
        if notice.index not in self._indexes.values():
            return False
        believed = self._entries.get((notice.bridge, notice.index, notice.key))
        if notice.gone:
            return believed is not None
        if believed is None:
            return notice.permanent  # what the kernel notes for itself is not
        return not notice.permanent or believed != notice.value


def _belief(index: int, entry: Neighbour | FdbEntry) -> tuple[tuple[bool, int, bytes], bytes]:
    mac, address = codec.pack_mac(entry.mac), entry.address.packed
    if isinstance(entry, FdbEntry):
        return (True, index, mac), address
    return (False, index, address), mac


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
            return self._beliefs.contradicted_by(codec.read_neighbour_notice(kind, body))
        return True

    def close(self) -> None:
        self._listener.close()
