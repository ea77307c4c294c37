"""CHECK: look at everything that ADD made, and name what is not as it was."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

from cloudnet.cni.delegate import Delegate
from cloudnet.cni.identity import Identity
from cloudnet.cni.netconf import address
from cloudnet.cni.site import Request, Site
from cloudnet.cni.wire import CniError, Code, Json
from cloudnet.errors import BadInput
from cloudnet.kernel.pods import EVERYWHERE, PodLink
from cloudnet.model.addresses import Address, Network
from cloudnet.model.workloads import WorkloadEndpoint
from cloudnet.store.api import NotFound


def check(site: Site, request: Request) -> bytes:
    """Say nothing when a container is attached as ADD left it.

    Raises:
        CniError: it is not (code 104); the details name every difference.
    """
    identity = site.identify(request)
    namespace = request.open_namespace()
    previous = request.conf.previous
    if previous is None:
        raise CniError(Code.INVALID_CONFIGURATION, "prevResult: missing, and CHECK needs the result of ADD")
    with site.locks.holding(identity.link):
        endpoint = _endpoint(site, identity)
        found = list(_against_result(endpoint, previous, identity))
        found += site.pods.differences(_link(endpoint, identity, request, previous), namespace)
    if found:
        raise CniError(
            Code.NOT_AS_ADDED,
            f"container {identity.owner.container!r} is not as ADD left it: {found[0]}; DEL and ADD it again",
            details="; ".join(found),
        )
    source = site.source(request.conf, request.environment)
    if isinstance(source, Delegate):
        source.check()
    return b""


def _endpoint(site: Site, identity: Identity) -> WorkloadEndpoint:
    try:
        endpoint = site.store.get(WorkloadEndpoint, identity.name, identity.namespace).value
    except NotFound:
        endpoint = None
    if endpoint is None or endpoint.container_id != identity.owner.container:
        what = f"is another container's, {endpoint.container_id!r}" if endpoint else "is not in the store"
        raise CniError(
            Code.NOT_AS_ADDED,
            f"container {identity.owner.container!r} is not as ADD left it: its endpoint {identity.name!r} {what}; "
            "DEL and ADD it again",
        )
    return endpoint


def _against_result(endpoint: WorkloadEndpoint, previous: Json, identity: Identity) -> Iterator[str]:
    told = set(_addresses(previous))
    for network in endpoint.networks:
        if network.network_address not in told:
            yield f"prevResult lacks the address {network.network_address}"
    names = {device.get("name") for device in previous.get("interfaces", ())}
    for name in (identity.link, identity.owner.interface):
        if name not in names:
            yield f"prevResult lacks the interface {name}"


def _addresses(previous: Json) -> Iterator[Address]:
    for i, ip in enumerate(previous.get("ips", ())):
        try:
            yield address(ip.get("address", ""), f"prevResult.ips[{i}].address")
        except BadInput as e:
            raise CniError(Code.INVALID_CONFIGURATION, str(e)) from e


def _link(endpoint: WorkloadEndpoint, identity: Identity, request: Request, previous: Json) -> PodLink:
    """Return the link as it should be; its MTU counts where the result tells it, for pods keep theirs."""
    mtu = next((d.get("mtu") for d in previous.get("interfaces", ()) if d.get("name") == identity.link), 0)
    return PodLink(
        identity.link,
        identity.owner,
        endpoint.mac,
        mtu if isinstance(mtu, int) else 0,
        tuple(network.network_address for network in endpoint.networks),
        tuple(_routes(previous)) if request.conf.ipam.delegated else EVERYWHERE,
        queues=request.conf.queues,
        any_source=bool(endpoint.allowed_sources),
    )


def _routes(previous: Json) -> Iterator[Network]:
    for i, route in enumerate(previous.get("routes", ())):
        destination: Any = route.get("dst")  # Any: of a result that came from outside
        try:
            yield ip_network(str(destination))
        except ValueError as e:
            raise CniError(Code.INVALID_CONFIGURATION, f"prevResult.routes[{i}].dst: {e}") from e
