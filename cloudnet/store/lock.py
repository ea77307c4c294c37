"""Calico's lock of a whole store: ``datastoreReady`` of the ClusterInformation named ``default``.

Calico's CNI plugin adds no pod while it is false, and its tools change nothing. Agent and controller honour it as
well (``guard.py``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import msgspec

from cloudnet.model.calico_cluster import ClusterInformation, ClusterInformationSpec
from cloudnet.model.resources import Metadata
from cloudnet.store import documents
from cloudnet.store.api import AlreadyExists, Conflict, NotFound, Store

NAME: Final = "default"
_TRIES: Final = 20


def set_ready(store: Store, *, ready: bool) -> ClusterInformation:
    """Lock or unlock a store, and return what it says of the cluster; one that says nothing is made to.

    Raises:
        Conflict: too many others write it.
    """
    for _ in range(_TRIES):
        try:
            found = documents.get(store, ClusterInformation, NAME)
        except NotFound:
            made = ClusterInformation(Metadata(NAME), ClusterInformationSpec(datastore_ready=ready))
            try:
                return store.create(made).value
            except AlreadyExists:
                continue
        if found.value.spec.datastore_ready is ready:
            return found.value
        wanted = with_ready(found.value, ready=ready)
        try:
            store.update(wanted, expected=found.revision)
        except (Conflict, NotFound):
            continue
        return wanted
    raise Conflict(f"ClusterInformation {NAME!r}: others write it all the time")


def with_ready(information: ClusterInformation, *, ready: bool) -> ClusterInformation:
    return replace(information, spec=msgspec.structs.replace(information.spec, datastore_ready=ready))
