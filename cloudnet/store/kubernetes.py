"""A store in a Kubernetes cluster: custom resources, and what Kubernetes knows of nodes, pods and policies.

* Every write is one request about one object; there are no transactions over several, so ``atomic`` is false.
* Revisions are the API's resource versions: decimal numbers of one count (Kubernetes KEP-5504).
* A listing comes in pages, all at the revision of the first. One whose pages expire is begun anew.

``kubernetes_forms`` says where each kind lies, ``kubernetes_objects`` how one is read and written,
``kubernetes_watch`` how changes come.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias, TypeVar, cast

from cloudnet.errors import BadInput, CloudnetError
from cloudnet.model import kinds
from cloudnet.model.cloud_addresses import CloudAddresses
from cloudnet.model.cluster_policies import ClusterNetworkPolicy
from cloudnet.model.kinds import keeping
from cloudnet.model.kubernetes import Namespace, Pod, ServiceAccount
from cloudnet.model.kubernetes_policies import KubernetesNetworkPolicy
from cloudnet.model.kubernetes_services import EndpointSlice
from cloudnet.model.policies import Profile
from cloudnet.model.resources import BlockAffinity, IPAMBlock, IPAMHandle, IPPool, Node, NodeCondition, Resource
from cloudnet.model.wire import Json
from cloudnet.model.workloads import WorkloadEndpoint
from cloudnet.store import (
    kubernetes_capacity,
    kubernetes_conditions,
    kubernetes_errors,
    kubernetes_forms,
    kubernetes_objects,
    records,
)
from cloudnet.store.api import Listing, Revision, Stored, StoreUnavailable, Write
from cloudnet.store.kubernetes_client import Client, Request
from cloudnet.store.kubernetes_discovery import Discovery
from cloudnet.store.kubernetes_errors import Refused
from cloudnet.store.kubernetes_events import KubernetesEvents
from cloudnet.store.kubernetes_forms import Form
from cloudnet.store.kubernetes_objects import Objects, Target
from cloudnet.store.kubernetes_watch import SILENT, KubernetesWatch

log = logging.getLogger(__name__)

R = TypeVar("R", bound=Resource)

_View: TypeAlias = Callable[[Any, bytes], Any]
"""What a listing makes of a value and the object that it was read from: a value of the same kind."""

PAGE: Final = 500  # objects in one answer, as client-go asks for
_LISTING_TRIES: Final = 3  # a listing is begun anew when its pages expire; the last try asks for all at once

_MAY_BE_MISSING: Final = frozenset(
    {kind.type for kind in kinds.ALL if kind.api_version == kubernetes_forms.CALICO}
    - {IPPool, BlockAffinity, IPAMBlock, IPAMHandle}
    | {ClusterNetworkPolicy}
)
"""Kinds that older or smaller installations have not: there are none of them then, and nothing is wrong."""


_OF_A_NODE: Final = frozenset({CloudAddresses})

_MADE_ITSELF: Final = frozenset(
    {Node, Pod, Namespace, ServiceAccount, EndpointSlice, WorkloadEndpoint, Profile, KubernetesNetworkPolicy}
)
"""Kinds that are Kubernetes' own, or follow from what it has; nobody copies them into it."""


def _utc_now() -> str:
    return datetime.now(tz=UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class KubernetesStore:
    """A store in Kubernetes. ``page`` is how many objects one answer of a listing has.

    ``node`` is whose agent reads: of what each node has one, and needs no other, it is given its own.
    """

    atomic = False
    made_itself = _MADE_ITSELF

    def __init__(
        self,
        client: Client,
        *,
        node: str = "",
        page: int = PAGE,
        silent: float = SILENT,
        now: Callable[[], str] = _utc_now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.client = client
        self._node = node
        self._page = page
        self._silent = silent
        self._now = now
        self._discovery = Discovery(client, group=client.settings.group, clock=clock)
        self._objects = Objects(client, self._explain)
        self.events = KubernetesEvents(client, now=now)
        self._forms: dict[type[Resource], Form[Any]] = {}
        self._missing: set[type[Resource]] = set()
        self._capacities: dict[str, tuple[Revision, Json]] = {}  # {node: our last record of it, and what we said}
        self._newest = Revision(0)
        self._watches: weakref.WeakSet[KubernetesWatch] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._closed = False

    # --- reading ----------------------------------------------------------------------------------------

    def get(self, kind: type[R], name: str, namespace: str = "") -> Stored[R]:
        return self._seen(self._objects.get(self._present(kind, name, namespace)))

    def whole(self, kind: type[R], name: str, namespace: str = "") -> Stored[R]:
        return self._seen(self._objects.whole(self._present(kind, name, namespace)))

    def list(
        self, kind: type[R], namespace: str | None = None, *, view: Callable[[R], R] | None = None
    ) -> Listing[R]:
        return self._list(kind, namespace, lambda value, _: view(value) if view else value)

    def all_whole(self, kind: type[R], namespace: str | None = None) -> Listing[R]:
        form = self._form(kind)
        return self._list(kind, namespace, lambda value, raw: keeping(value, form.document(value, raw)))

    def _list(self, kind: type[R], namespace: str | None, view: _View) -> Listing[R]:
        form = self._form(kind)
        if self._is_missing(form):
            return Listing((), self.revision())
        items: list[Stored[R]] = []
        unreadable: dict[tuple[str, str], str] = {}
        revisions = []
        for collection in form.collections:
            found, revision = self._list_one(form, collection, namespace, view, unreadable)
            items += cast("Sequence[Stored[R]]", found)  # the form is the kind's
            revisions.append(revision)
        items.sort(key=lambda item: (item.value.meta.namespace, item.value.meta.name))
        return Listing(tuple(items), self._note(min(revisions)), unreadable)

    def watch(self, kinds: Collection[type[Resource]], *, since: Revision) -> KubernetesWatch:
        forms = [self._form(kind) for kind in kinds]
        missing = [form for form in forms if self._is_missing(form)]
        there = [form for form in forms if form not in missing]
        watch = KubernetesWatch(self, there, since=since, missing=missing, silent=self._silent)
        with self._lock:
            self._check_open()
            self._watches.add(watch)
        return watch

    # --- writing ----------------------------------------------------------------------------------------

    def create(self, value: R) -> Stored[R]:
        form = self._form(type(value))
        document = None if form.borrowed else form.write(value, None)
        spot = form.spot(value.meta.name, value.meta.namespace)
        if spot is None:
            raise BadInput(f"no {form.kind.name} of Kubernetes is called {value.meta.name!r}", path="metadata.name")
        target = Target(form, spot, value.meta.name, value.meta.namespace)
        self._show(value, seen=Revision(0))
        stored = self._objects.add(target, value) if document is None else self._objects.create(target, document)
        return self._seen(self._shown(stored))

    def update(self, value: R, *, expected: Revision) -> Stored[R]:
        target = self._target(self._form(type(value)), value.meta.name, value.meta.namespace)
        self._show(value, seen=expected)
        return self._seen(self._shown(self._objects.update(target, value, expected)))

    def delete(
        self, kind: type[Resource], name: str, namespace: str = "", *, expected: Revision | None = None
    ) -> None:
        target = self._target(self._form(kind), name, namespace)
        if target.form.borrowed:
            self._objects.remove(target, expected)
        else:
            target.form.check_ours()
            self._objects.delete(target, expected)
        if kind is CloudAddresses:
            self._objects.say_of_node(name, kubernetes_capacity.patch(None))
            self._capacities.pop(name, None)

    def write(self, writes: Sequence[Write]) -> Sequence[Stored[Resource] | None]:
        return records.one_by_one(self, writes)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            watches = list(self._watches)
        for watch in watches:
            watch.close()
        self.client.close()

    # --- for watches ------------------------------------------------------------------------------------

    def listed(
        self, form: Form[Any], collection: kubernetes_forms.Collection
    ) -> tuple[Sequence[Stored[Resource]], Revision]:
        """Return all of a form's values in one collection."""
        unreadable: dict[tuple[str, str], str] = {}
        return self._list_one(form, collection, None, lambda value, _: value, unreadable)

    def revision(self) -> Revision:
        """Return the cluster's newest revision."""
        (default,) = kubernetes_forms.NAMESPACES
        return self._note(self._page_of(default, None, limit=1, token="").revision)

    def has_seen(self, revision: Revision) -> bool:
        """Tell whether the cluster is known to have come to a revision."""
        return revision <= self._newest

    # --- inside -----------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise records.closed("store")

    def _form(self, kind: type[Resource]) -> Form[Any]:
        self._check_open()
        form = self._forms.get(kind)
        if form is None:
            is_calicos = kinds.of(kind).api_version == kubernetes_forms.CALICO
            group = self._discovery.group() if is_calicos else ""
            namespace = self.client.settings.namespace
            only = self._node if kind in _OF_A_NODE else ""
            form = kubernetes_forms.form(kind, group=group, namespace=namespace, now=self._now, only=only)
            if group or not is_calicos:  # else neither group is there yet, and either may come
                self._forms[kind] = form
        return form

    def _target(self, form: Form[Any], name: str, namespace: str) -> Target:
        spot = form.spot(name, namespace)
        if spot is None:
            raise records.not_found(form.kind.name, name, namespace)
        return Target(form, spot, name, namespace)

    def _present(self, kind: type[Resource], name: str, namespace: str) -> Target:
        """Return where a resource is to be found, if the cluster knows its kind."""
        form = self._form(kind)
        if self._is_missing(form):
            raise records.not_found(form.kind.name, name, namespace)
        return self._target(form, name, namespace)

    def _show(self, value: Resource, *, seen: Revision) -> None:
        """Say a verdict on a node where Kubernetes looks for it, first: a crash in between is made good later."""
        if isinstance(value, NodeCondition):
            self._objects.say_of_node(value.meta.name, kubernetes_conditions.patch(value, self._now()))
        if isinstance(value, CloudAddresses):
            self._show_capacity(value, seen)

    def _show_capacity(self, addresses: CloudAddresses, seen: Revision) -> None:
        """Say it unless the record that is replaced said the same and is ours: prefixes come and go more often."""
        node, said = addresses.meta.name, kubernetes_capacity.patch(addresses)
        if self._capacities.get(node) != (seen, said):
            self._objects.say_of_node(node, said)

    def _shown(self, stored: Stored[R]) -> Stored[R]:
        if isinstance(stored.value, CloudAddresses):
            said = kubernetes_capacity.patch(stored.value)
            self._capacities[stored.value.meta.name] = (stored.revision, said)
        return stored

    def _note(self, revision: Revision) -> Revision:
        self._newest = max(self._newest, revision)  # two threads at once: the lower one costs a question later
        return revision

    def _seen(self, stored: Stored[R]) -> Stored[R]:
        self._note(stored.revision)
        return stored

    def appeared(self, forms: Sequence[Form[Any]]) -> str:
        """Return the name of a kind among these that the cluster has by now; empty when it has none."""
        return next((form.kind.name for form in forms if self._has(self._form(form.kind.type))), "")

    def _has(self, form: Form[Any]) -> bool:
        return all(self._discovery.serves(one) for one in form.collections)

    def _is_missing(self, form: Form[Any]) -> bool:
        """Tell whether there are none of a kind, as the cluster does not know it and need not."""
        type_ = form.kind.type
        if type_ not in _MAY_BE_MISSING or self._has(form):
            self._missing.discard(type_)
            return False
        if type_ not in self._missing:
            self._missing.add(type_)
            log.info("the cluster has no such kind kind=%s", form.kind.name)
        return True

    # --- inside: listings -------------------------------------------------------------------------------

    def _list_one(
        self,
        form: Form[Any],
        collection: kubernetes_forms.Collection,
        namespace: str | None,
        view: _View,
        unreadable: dict[tuple[str, str], str],
    ) -> tuple[Sequence[Stored[Any]], Revision]:
        """Return the values of one collection; each page is let go of before the next one comes."""
        for attempt in range(_LISTING_TRIES):
            limit = self._page if attempt < _LISTING_TRIES - 1 else 0
            items: list[Stored[Any]] = []
            revision = Revision(0)
            try:
                for page in self._pages(collection, namespace if form.kind.namespaced else None, limit):
                    revision = revision or page.revision
                    for raw in page.items:
                        # One object that somebody spoilt must not hide all the others.
                        with records.tolerated(form.kind.name, *kubernetes_forms.title(raw), unreadable):
                            items += _value(form, collection, raw, namespace, view)
            except _Expired as expired:
                log.info("listing anew what=%s reason=%r", collection.what, str(expired))
            else:
                return items, revision
        raise StoreUnavailable(f"Kubernetes forgets its {collection.what} faster than they can be listed: try again")

    def _pages(
        self, collection: kubernetes_forms.Collection, namespace: str | None, limit: int
    ) -> Iterator[kubernetes_objects.Page]:
        token = ""
        while True:
            page = self._page_of(collection, namespace, limit=limit, token=token)
            yield page
            token = page.token
            if not token:
                return

    def _page_of(
        self, collection: kubernetes_forms.Collection, namespace: str | None, *, limit: int, token: str
    ) -> kubernetes_objects.Page:
        try:
            return kubernetes_objects.page(self.client, collection, namespace, limit=limit, token=token)
        except Refused as refused:
            if refused.code == kubernetes_errors.GONE:
                raise _Expired(refused.status.message) from refused
            raise self._explain(refused, Request("list", collection.what, collection.path(namespace))) from refused

    def _explain(self, refused: Refused, request: Request) -> CloudnetError:
        if refused.code == kubernetes_errors.NOT_FOUND:
            self._discovery.forget()
            if refused.is_about_object:  # the namespace of a new object
                return BadInput(f"{refused.status.message}: create it first", path="metadata.namespace")
        return kubernetes_errors.explain(refused, request.verb, request.what)


class _Expired(Exception):
    """The rest of a listing is gone."""


def _value(
    form: Form[Any], collection: kubernetes_forms.Collection, raw: bytes, namespace: str | None, view: _View
) -> list[Stored[Any]]:
    value = form.read(collection, raw)
    if value is None or namespace not in {None, value.meta.namespace}:
        return []
    return [Stored(view(value, raw), kubernetes_forms.revision(raw))]
