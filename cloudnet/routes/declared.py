"""Routes that an operator vouches for: which of them serves a block, and which contradicts it. Pure.

A router that nobody here can program may still send whole prefixes to the nodes. Unlike a route of our own, a
declared one serves every block inside it; unlike somebody else's, it is not in the way. Agents still ask for probes.
"""

from __future__ import annotations

from collections.abc import Mapping

from cloudnet.model.resources import NextHop
from cloudnet.provider.api import TableRoute
from cloudnet.routes.aggregate import widened


def serving(declared: Mapping[int, TableRoute], block: int) -> TableRoute | None:
    """Return the route that a router takes for the block: the longest that covers it."""
    lengths = sorted({k & 0xFF for k in declared if k & 0xFF <= block & 0xFF}, reverse=True)
    covering = (declared.get(widened(block, length)) for length in lengths)
    return next((route for route in covering if route is not None), None)


def against(declared: Mapping[int, TableRoute], block: int, wanted: NextHop) -> TableRoute | None:
    """Return a route that sends the block, or a part of it, elsewhere; one without a next hop contradicts nobody."""
    length = block & 0xFF
    inside = (r for k, r in sorted(declared.items()) if k & 0xFF > length and widened(k, length) == block)
    taken = [route for route in (serving(declared, block), *inside) if route is not None]
    return next((r for r in taken if r.next_hop != NextHop() and not r.next_hop.same_as(wanted)), None)
