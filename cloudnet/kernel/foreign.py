"""Routes of one other program, moved below ours and back: for as long as two programs share a node's way to others.

Everywhere else what others wrote is never read. Here a route is its own message, as the kernel gave it, so that
nothing of it is lost, whatever it says of next hops: only its metric changes.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

from cloudnet.kernel import netns, wire
from cloudnet.kernel.api import MAIN_TABLE, KernelError
from cloudnet.kernel.codec import CREATE, ask_links, ask_routes, read_link
from cloudnet.kernel.rtnetlink import Socket
from cloudnet.kernel.wire import Request
from cloudnet.model.addresses import Family

LOWER = 1 << 16  # is added to a metric: below whatever a person would give a route
_RTA_CACHEINFO = 12  # what the kernel counts, and does not take
_DONE_ALREADY = frozenset({errno.EEXIST, errno.ESRCH, errno.ENODEV})


class ForeignRoutes:
    """Routes of the main table with given protocols, but for those on devices whose names begin with ``spared``."""

    def __init__(self, protocols: frozenset[int], spared: str, *, allow_host_network: bool = False) -> None:
        """Open the door.

        Raises:
            HostNamespace: this is the machine's own network namespace and nobody allowed it.
        """
        self._protocols, self._spared = protocols, spared
        self._socket = Socket.within(netns.require_own_namespace(allow_host=allow_host_network))

    def close(self) -> None:
        self._socket.close()

    def read(self) -> Sequence[bytes]:
        """Return the routes that have not been lowered."""
        return [body for body in self._theirs() if metric(body) < LOWER]

    def lowered(self) -> Sequence[bytes]:
        """Return those that have been."""
        return [body for body in self._theirs() if metric(body) >= LOWER]

    def _theirs(self) -> Sequence[bytes]:
        devices = [read_link(body) for body in self._socket.dump(wire.RTM_GETLINK, ask_links())]
        spared = {device.index for device in devices if device.name.startswith(self._spared)}
        return [
            body
            for family in Family
            for body in self._socket.dump(wire.RTM_GETROUTE, ask_routes(family, table=MAIN_TABLE))
            if self._is_meant(body, spared)
        ]

    def _is_meant(self, body: bytes, spared: set[int]) -> bool:
        _, _, _, _, table, protocol, _, kind, _ = wire.ROUTE.unpack_from(body)
        found = wire.attributes(body, wire.ROUTE.size)
        mine = protocol in self._protocols and table == MAIN_TABLE and kind in {wire.RTN_UNICAST, wire.RTN_BLACKHOLE}
        return mine and _u32(found.get(wire.RTA_OIF)) not in spared

    def lower(self, route: bytes) -> None:
        """Lay the same route with a worse metric, then remove it: there is no moment without it.

        It is removed only while it is there: without a metric, IPv4 would remove the other one.
        """
        before = _with_metric(route, metric(route))
        self._carry_out(Request(wire.RTM_NEWROUTE, CREATE, _with_metric(route, metric(route) + LOWER)))
        if before in (_with_metric(body, metric(body)) for body in self.read()):
            self._carry_out(Request(wire.RTM_DELROUTE, 0, before))

    def raise_again(self, route: bytes) -> None:
        """Lay a route as it was, unless something has its place, then remove its lowered likeness."""
        self._carry_out(Request(wire.RTM_NEWROUTE, CREATE, _with_metric(route, metric(route))))
        self._carry_out(Request(wire.RTM_DELROUTE, 0, _with_metric(route, metric(route) + LOWER)))

    def remove(self, route: bytes) -> None:
        """Remove a route; one that is gone already is no error."""
        self._carry_out(Request(wire.RTM_DELROUTE, 0, _with_metric(route, metric(route))))

    def _carry_out(self, request: Request) -> None:
        refused = self._socket.carry_out([request])
        if refused and refused[0].errno not in _DONE_ALREADY:
            raise KernelError(f"cannot move a route of another program: {refused[0]}", errno=refused[0].errno)


def metric(route: bytes) -> int:
    return _u32(wire.attributes(route, wire.ROUTE.size).get(wire.RTA_PRIORITY))


def _with_metric(route: bytes, wanted: int) -> bytes:
    """Return the route with another metric, and without what the kernel only tells."""
    af, length, source, tos, table, protocol, scope, kind, flags = wire.ROUTE.unpack_from(route)
    head = wire.ROUTE.pack(af, length, source, tos, table, protocol, scope, kind, flags & wire.RTNH_F_ONLINK)
    kept = {k: v for k, v in wire.attributes(route, wire.ROUTE.size).items() if k not in _NOT_KEPT}
    parts = [wire.attribute(k, v) for k, v in kept.items()]
    return b"".join([head, *parts, *([wire.u32_attribute(wire.RTA_PRIORITY, wanted)] if wanted else [])])


_NOT_KEPT = frozenset({wire.RTA_PRIORITY, _RTA_CACHEINFO})


def _u32(data: bytes | None) -> int:
    return int(wire.U32.unpack(data)[0]) if data else 0
