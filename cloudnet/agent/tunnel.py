"""Sees to it that this node has its tunnel addresses, from the start and whenever pools or the node change."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from cloudnet.errors import CloudnetError
from cloudnet.ipam import tunnel
from cloudnet.ipam.allocator import Allocator
from cloudnet.ipam.choose import Matches
from cloudnet.model.addresses import NodeName
from cloudnet.model.resources import IPPool, Node
from cloudnet.store.api import Store

log = logging.getLogger(__name__)

_SOON, _LOOK, _RETRY = (
    0.1,
    1.0,
    5.0,
)  # seconds to the next look: before we know the node, after success, after failure

Seen = tuple[Node | None, Sequence[IPPool]]


class TunnelKeeper:
    """Looks whether anything has changed, and only then at the store. ``seen`` is what the informer knows."""

    def __init__(
        self, store: Store, allocator: Allocator, node: NodeName, *, seen: Callable[[], Seen], matches: Matches
    ) -> None:
        self._store, self._allocator, self._node = store, allocator, node
        self._seen, self._matches = seen, matches
        self._done: Seen | None = None
        self._problem = ""

    def look(self) -> float:
        """Do what is to be done; return the seconds until the next look."""
        node, pools = seen = self._seen()
        if node is None:
            return _SOON
        if seen == self._done:
            return _LOOK
        try:
            after = tunnel.ensure(self._store, self._allocator, self._node, self._matches)
        except CloudnetError as error:
            if str(error) != self._problem:
                log.warning("this node has no tunnel address yet, trying again by itself reason=%r", str(error))
            self._problem = str(error)
            return _RETRY
        if after.vteps != node.vteps:
            log.info("tunnel addresses=%s", ",".join(str(vtep.address) for vtep in after.vteps) or "none")
        self._done, self._problem = (after, pools), ""
        return _LOOK
