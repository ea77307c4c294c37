"""ADD: addresses and endpoint into the store, a link, its policy, an answer; on any failure all of it undone.

In this order, because whoever dies on the way leaves only what the next ADD, DEL or GC of the container finds: first
what the store holds, in one write; then the link, which carries its owner's name. docs/design/cni.md has the table of
what is left after each step.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import ip_network

from cloudnet.cni import release, wire
from cloudnet.cni.addresses import Given, Source, Wish
from cloudnet.cni.annotations import Wishes, wishes
from cloudnet.cni.identity import Identity
from cloudnet.cni.netconf import address
from cloudnet.cni.site import Request, Site
from cloudnet.cni.whose import pod_of
from cloudnet.cni.wire import CniError, Code, Device, Result
from cloudnet.errors import BadInput, CloudnetError
from cloudnet.kernel.pods import EVERYWHERE, InterfaceTaken, LinkTaken, PodLink
from cloudnet.model.addresses import Address
from cloudnet.model.kubernetes import Namespace, Pod
from cloudnet.model.resources import Metadata
from cloudnet.model.workloads import (
    KUBERNETES,
    FloatingAddress,
    WorkloadEndpoint,
    endpoint_labels,
    kubernetes_profiles,
)
from cloudnet.store.api import (
    AlreadyExists,
    Conflict,
    Create,
    NotFound,
    Stored,
    StoreUnavailable,
    Update,
    Write,
)

log = logging.getLogger(__name__)

NETWORK = "cloudnet.io/network"
"""Annotation of an endpoint with the runtime's name for its network: GC is asked network by network."""

_OPEN = "projectcalico-default-allow"
"""Calico's static profile that allows everything: what a container without Kubernetes' policy gets."""

_SETTLE = 2.0  # seconds for a link that was cut to be gone; the kernel takes tens of milliseconds
_TRIES = 5  # of a write that others overtook


def add(site: Site, request: Request) -> bytes:
    """Attach a container; return what the runtime is answered.

    Raises:
        CloudnetError: it cannot be attached, and nothing of it remains.
    """
    identity = site.identify(request)
    request.open_namespace()
    if problem := site.not_ready():
        raise CniError(Code.TRY_AGAIN, f"the agent cannot add pods yet: {problem}")
    with site.locks.holding(identity.link):
        release.finish(site, identity.handle)
        return _Adding(site, request, identity).run()


class _Adding:
    """One ADD under way; the caller holds the link's lock."""

    def __init__(self, site: Site, request: Request, identity: Identity) -> None:
        self.site, self.request, self.identity = site, request, identity
        conf, known = request.conf, identity.orchestrator == KUBERNETES
        self.pod: Pod | None = pod_of(site, identity, request.environment)
        self.namespace: Namespace | None = site.cluster.namespace(identity.namespace) if known else None
        self.wishes: Wishes = wishes(
            conf,
            self.pod.meta.annotations if self.pod else {},
            self.namespace.meta.annotations if self.namespace else {},
        )
        self.mac = self.wishes.mac or site.new_mac()
        self.mtu = conf.mtu or site.mtu()
        self.source: Source = site.source(conf, request.environment)

    def run(self) -> bytes:
        wish = self._wish()
        try:
            given, endpoint = self._store(wish)
        except StoreUnavailable:
            self._doubt()
            raise
        try:
            link = self._link(given)
            self._wire(link)
            self.site.gate.admit(endpoint)
        except BaseException:
            self._undo(endpoint)
            raise
        return self._answer(link, given)

    # --- the store --------------------------------------------------------------------------------------

    def _wish(self) -> Wish:
        identity, conf = self.identity, self.request.conf
        stamp = datetime.fromtimestamp(self.site.clock.wall(), UTC)
        owner = {"node": str(self.site.node), "timestamp": stamp.strftime("%Y-%m-%d %H:%M:%S.%f +0000 UTC")}
        if identity.pod:
            owner |= {"pod": identity.pod, "namespace": identity.namespace}
        blocks = self.site.blocks()
        return Wish(
            identity,
            self.request.environment,
            conf,
            self.site.node,
            self.wishes.families,
            named=self._named(),
            pools={of: blocks.ranges(of, words) for of, words in self.wishes.pools.items() if words},
            owner=owner,
            node_labels=self.site.cluster.node_labels(),
            namespace_labels=self.namespace.meta.labels if self.namespace else {},
        )

    def _named(self) -> tuple[Address, ...]:
        asked = self.request.environment.args.get("IP", "")
        if not asked:
            return self.wishes.addresses
        try:
            return (address(asked, "IP in CNI_ARGS"),)
        except BadInput as e:
            raise CniError(Code.INVALID_ENVIRONMENT, str(e)) from e

    def _store(self, wish: Wish) -> tuple[Given, WorkloadEndpoint]:
        """Take addresses and store the endpoint with them; one that is there already is an earlier container's."""
        delegated = self.request.conf.ipam.delegated  # a plugin may free what the container has when it fails
        seen = self._clear_the_place() if delegated else None
        for _ in range(_TRIES):
            made: list[WorkloadEndpoint] = []

            def writes(addresses: Sequence[Address]) -> Sequence[Write]:
                endpoint = self._endpoint(addresses)
                made.append(endpoint)  # noqa: B023 - the same
                return (Update(endpoint, seen.revision) if seen else Create(endpoint),)  # noqa: B023 - the same

            try:
                given = self.source.give(wish, writes)
            except (AlreadyExists, Conflict, NotFound):
                seen = self._clear_the_place()
            else:
                return given, made[-1]
        raise CniError(Code.TRY_AGAIN, f"endpoint {self.identity.name!r} is written by somebody else all the time")

    def _clear_the_place(self) -> Stored[WorkloadEndpoint] | None:
        """Deal with the endpoint that has our name: of this container after a crash, or of the pod's last one.

        Of a pod that was made anew meanwhile it may be, too: hence the second look, after the endpoint was seen.
        """
        identity, site = self.identity, self.site
        seen = self._in_our_place()
        self.pod = pod_of(site, identity, self.request.environment)
        if seen is None:
            return None
        if seen.value.container_id != identity.owner.container:
            site.pods.cut(identity.link)  # its own DEL releases what it had
            return seen
        self._refuse_a_living_twin()
        site.pods.cut(identity.link)
        release.release(site, identity, self.source)
        return None

    def _in_our_place(self) -> Stored[WorkloadEndpoint] | None:
        try:
            return self.site.store.get(WorkloadEndpoint, self.identity.name, self.identity.namespace)
        except NotFound:
            return None

    def _refuse_a_living_twin(self) -> None:
        end = self.site.pods.find(self.identity.link)
        if end is None or end.owner != self.identity.owner:
            return
        if end.up and not self.site.pods.leads_to(self.identity.link, self.request.open_namespace()):
            raise CniError(
                Code.ATTACHED_ELSEWHERE,
                f"container {self.identity.owner.container!r} is attached already, in another network namespace than "
                f"{self.request.environment.netns!r}: DEL it first, or give this one an id of its own",
            )

    def _endpoint(self, addresses: Sequence[Address]) -> WorkloadEndpoint:
        identity, pod = self.identity, self.pod
        account = pod.service_account if pod else ""
        known = identity.orchestrator == KUBERNETES and self.request.conf.kubernetes
        return WorkloadEndpoint(
            Metadata(
                identity.name,
                identity.namespace,
                labels=endpoint_labels(
                    pod.meta.labels if pod else {},
                    namespace=identity.namespace,
                    orchestrator=identity.orchestrator,
                    service_account=account,
                ),
                annotations={NETWORK: identity.owner.network},
                uid=pod.meta.uid if pod and self.site.on_kubernetes else "",  # there a pod is its endpoint
            ),
            node=self.site.node,
            orchestrator=identity.orchestrator,
            endpoint=identity.owner.interface,
            container_id=identity.owner.container,
            pod=identity.pod,
            service_account=account,
            networks=tuple(ip_network(one) for one in addresses),
            floating=tuple(_floating(self.wishes.floating, addresses)),
            profiles=kubernetes_profiles(identity.namespace, account) if known else (_OPEN,),
            interface=identity.link,
            mac=self.mac,
            ports=pod.ports if pod else (),
            allowed_sources=self.wishes.allowed_sources,
        )

    # --- the link ---------------------------------------------------------------------------------------

    def _link(self, given: Given) -> PodLink:
        routes = given.routes or EVERYWHERE
        if self.request.conf.default_routes:
            routes = tuple(dict.fromkeys((*routes, *EVERYWHERE)))
        return PodLink(
            self.identity.link,
            self.identity.owner,
            self.mac,
            self.mtu,
            given.addresses,
            routes,
            queues=self.request.conf.queues,
            forwards=self.request.conf.forwards,
            any_source=bool(self.wishes.allowed_sources),
        )

    def _wire(self, link: PodLink) -> None:
        """Make the link; one in the way, left by a crash or about to go, is removed once."""
        site, namespace = self.site, self.request.open_namespace()
        try:
            site.pods.wire(link, namespace)
        except LinkTaken:
            self._refuse_a_living_twin()
            if not site.pods.cut(link.name):
                raise CniError(
                    Code.INTERFACE_TAKEN,
                    f"the host has a device {link.name!r} that is not cloudnet's: remove it",
                ) from None
            site.pods.wire(link, namespace)
        except InterfaceTaken:
            site.pods.settle(_SETTLE)
            self._wire_again(link, namespace)

    def _wire_again(self, link: PodLink, namespace: int) -> None:
        try:
            self.site.pods.wire(link, namespace)
        except InterfaceTaken:
            raise CniError(
                Code.INTERFACE_TAKEN,
                f"the container has an interface {link.owner.interface!r} already: choose another name, or remove it",
            ) from None

    def _doubt(self) -> None:
        """Take back what a store may have done that did not answer; a link says that somebody lives by it."""
        try:
            if self.site.pods.find(self.identity.link) is None:
                self._release()
        except CloudnetError as e:
            self._leave_to_del(e)

    def _undo(self, endpoint: WorkloadEndpoint) -> None:
        """Take everything back; what cannot be now is noted. The error that led here is the one to be told."""
        try:
            self.site.pods.cut(self.identity.link, self.identity.owner)
            self.site.gate.dismiss(endpoint)
            self._release()
        except CloudnetError as e:
            self._leave_to_del(e)

    def _release(self) -> None:
        note = release.note(self.identity, self.request.environment, self.request.conf)
        release.release_or_note(self.site, self.identity, self.source, note)

    def _leave_to_del(self, problem: CloudnetError) -> None:
        log.warning(
            "could not undo an ADD, DEL will container=%s reason=%r", self.identity.owner.container, str(problem)
        )

    def _answer(self, link: PodLink, given: Given) -> bytes:
        environment, conf = self.request.environment, self.request.conf
        result = Result(
            (
                Device(link.name, mtu=link.mtu),
                Device(environment.interface, link.mac, link.mtu, environment.netns),
            ),
            given.addresses,
            tuple(network for network in link.routes if link.has(network.version)),
            given.dns,
        )
        return wire.result(result, conf.version, conf.previous)


def _floating(external: Sequence[Address], own: Sequence[Address]) -> Sequence[FloatingAddress]:
    by_family: dict[int, Address] = {one.version: one for one in own}
    return [FloatingAddress(by_family[one.version], one) for one in external if one.version in by_family]
