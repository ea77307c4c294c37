"""Which custom resources a cluster has: asked of the API, and remembered for a while.

Calico's kinds lie in ``projectcalico.org/v3``, or in ``crd.projectcalico.org/v1`` of older clusters. Where Calico's
own API server runs, the newer group is there as well, but only as a view of the older: it is told by having no
``ipamblocks``, which that server does not serve.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import msgspec

from cloudnet.errors import BadInput
from cloudnet.store import kubernetes_errors
from cloudnet.store.kubernetes_client import Client, Request
from cloudnet.store.kubernetes_errors import Refused
from cloudnet.store.kubernetes_forms import CALICO, OLDER, Collection, is_custom

_AGE: Final = 300.0  # seconds; resources are installed seldom, and a program may be restarted
_GROUPS: Final = {group.partition("/")[0]: group for group in (CALICO, OLDER)}
_TELLING: Final = "ipamblocks"


class _Named(msgspec.Struct):
    name: str


class _Resources(msgspec.Struct):
    resources: list[_Named]


class Discovery:
    """What one cluster serves. ``group`` is which of Calico's groups to use, where the user has said so."""

    def __init__(self, client: Client, *, group: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        if group and group not in _GROUPS.values():
            raise BadInput(f"expected {CALICO} or {OLDER}, found {group!r}", path="CALICO_API_GROUP")
        self._client = client
        self._group = group
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, frozenset[str]]] = {}

    def group(self) -> str:
        """Return the API version in which Calico's kinds lie; empty while there is none of them yet."""
        if not self._group:
            if _TELLING in self._plurals(CALICO):
                self._group = CALICO
            elif self._plurals(OLDER):
                self._group = OLDER
        return self._group

    def serves(self, collection: Collection) -> bool:
        return not is_custom(collection) or collection.plural in self._plurals(collection.version)

    def forget(self) -> None:
        """Ask anew: something was not there that should be."""
        with self._lock:
            self._known.clear()

    def _plurals(self, version: str) -> frozenset[str]:
        with self._lock:
            asked_at, found = self._known.get(version, (float("-inf"), frozenset[str]()))
            if self._clock() < asked_at + _AGE:
                return found
        found = self._ask(version)
        with self._lock:
            self._known[version] = (self._clock(), found)
        return found

    def _ask(self, version: str) -> frozenset[str]:
        request = Request("get", f"the list of {version}", f"/apis/{version}")
        try:
            answer = self._client.call(request)
        except Refused as refused:
            if refused.code == kubernetes_errors.NOT_FOUND:
                return frozenset()
            raise kubernetes_errors.explain(refused, request.verb, request.what) from refused
        return frozenset(one.name for one in msgspec.json.decode(answer, type=_Resources).resources)
