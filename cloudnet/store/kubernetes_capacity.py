"""How many pods of a node can have a native address, shown where people look at nodes: an annotation. Pure.

``cloudnet.io/native-capacity: ipv4=110``. Why no extended resource: docs/decisions/capacity-is-an-annotation.md.
"""

from __future__ import annotations

from typing import Final

from cloudnet.model.cloud_addresses import CloudAddresses
from cloudnet.model.wire import Json

ANNOTATION: Final = "cloudnet.io/native-capacity"


def patch(addresses: CloudAddresses | None) -> Json:
    """Return the merge patch of a Node's annotations; without a record it is taken away."""
    return {"metadata": {"annotations": {ANNOTATION: _said(addresses) if addresses else None}}}


def _said(addresses: CloudAddresses) -> str | None:
    found = sorted((family.value, number) for family, number in addresses.capacity.items())
    return ",".join(f"ipv{family}={number}" for family, number in found) or None
