"""GC: whatever a network has here that belongs to no attachment the runtime knows of, goes. CNI 1.1.0, section 4.

Three places may hold something: links, which carry their owners' names; endpoints; and addresses in this node's name.
What is being added or deleted at this moment is left to that.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from cloudnet.cni import release
from cloudnet.cni.add import NETWORK
from cloudnet.cni.identity import Identity, handle
from cloudnet.cni.site import Request, Site
from cloudnet.cni.wire import Environment
from cloudnet.kernel.pods import Owner
from cloudnet.model.resources import IPAMBlock
from cloudnet.model.workloads import CNI, WorkloadEndpoint

log = logging.getLogger(__name__)


def collect(site: Site, request: Request) -> bytes:
    """Release everything of the request's network that no valid attachment has.

    Raises:
        CloudnetError: something could not be released; all else was.
    """
    network = request.conf.name
    valid = {Owner(network, one.container, one.interface) for one in request.conf.valid}
    stale = {identity.handle: identity for identity in _found(site, network) if identity.owner not in valid}
    kept = {handle(owner) for owner in valid}
    for identity in stale.values():
        if identity.handle not in kept:
            _remove(site, identity, request)
    return b""


def _found(site: Site, network: str) -> Iterator[Identity]:
    """Return everything that is here in a network's name, what is known least of first."""
    for held in _handles(site, network):
        owner = Owner(network, held.removeprefix(f"{network}."), "")
        yield Identity(CNI, "default", "", owner, "", "", held)
    for name, end in site.pods.read().items():
        if end.owner.network == network:
            yield Identity(CNI, "default", "", end.owner, "", name, handle(end.owner))
    for item in site.store.list(WorkloadEndpoint).items:
        one = item.value
        if one.node == site.node and one.meta.annotations.get(NETWORK) == network:
            owner = Owner(network, one.container_id, one.endpoint)
            yield Identity(
                one.orchestrator, one.meta.namespace, one.pod, owner, one.meta.name, one.interface, handle(owner)
            )


def _handles(site: Site, network: str) -> set[str]:
    """Return the handles of the network that have addresses in this node's name."""
    return {
        attribute.handle
        for item in site.store.list(IPAMBlock).items
        for attribute in item.value.attributes
        if attribute.handle
        and attribute.handle.startswith(f"{network}.")
        and attribute.owner.get("node") == site.node
    }


def _remove(site: Site, identity: Identity, request: Request) -> None:
    if site.locks.held(identity.link):
        return
    with site.locks.holding(identity.link):
        if identity.link:
            site.pods.cut(identity.link, identity.owner)
        environment = Environment(
            identity.owner.container, "", identity.owner.interface, {}, request.environment.path
        )
        source = site.source(request.conf, environment)
        note = release.note(identity, environment, request.conf)
        release.release_or_note(site, identity, source, note)
    log.info("collected what belongs to no container container=%s", identity.owner.container)
