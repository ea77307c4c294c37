"""STATUS: say whether an ADD could succeed now, and if not, why. CNI 1.1.0, section 2."""

from __future__ import annotations

from cloudnet.cni.site import Request, Site
from cloudnet.cni.wire import CniError, Code
from cloudnet.model.addresses import family
from cloudnet.model.resources import AllowedUse, IPPool
from cloudnet.store.api import StoreError


def status(site: Site, request: Request) -> bytes:
    """Say nothing when pods can be added.

    Raises:
        CniError: they cannot (code 50), nor may those that run have all of their network (code 51).
    """
    if problem := site.not_ready():
        raise CniError(Code.NOT_AVAILABLE, f"the agent cannot add pods yet: {problem}")
    if problem := site.impaired():
        raise CniError(Code.NOT_AVAILABLE_LIMITED, f"pods of this node may be cut off: {problem}")
    try:
        pools = [item.value for item in site.store.list(IPPool).items]
    except StoreError as e:
        raise CniError(Code.NOT_AVAILABLE, f"the store does not answer, so no address can be given: {e}") from e
    if request.conf.ipam.delegated or request.conf.ipam.native:
        return b""
    for of in request.conf.ipam.families:
        if not any(family(pool.cidr) is of and _usable(pool) for pool in pools):
            raise CniError(Code.NOT_AVAILABLE, f"there is no IPv{of:d} pool that pods may use: make one")
    return b""


def _usable(pool: IPPool) -> bool:
    return not pool.disabled and AllowedUse.WORKLOAD in pool.allowed_uses
