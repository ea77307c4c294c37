"""Where each kind lies in a Kubernetes API, and how it is read and written there. Pure.

| kind | object |
|---|---|
| ours | custom resources, ``cloudnet.io/v1`` |
| Lease | ``coordination.k8s.io/v1`` Lease, in one namespace |
| Calico's | custom resources, ``projectcalico.org/v3`` or the older ``crd.projectcalico.org/v1`` |
| Node | core/v1 Node, with annotations |
| WorkloadEndpoint | core/v1 Pod, with annotations; the pod itself is not ours to create or delete |
| Profile | core/v1 Namespace (``kns.``) and ServiceAccount (``ksa.``); read only |
| Pod | itself; read only |
| Namespace, ServiceAccount, EndpointSlice, Kubernetes' policies | themselves |

Sources: Calico ``libcalico-go/lib/backend/k8s/k8s.go`` and ``resources/``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec

from cloudnet.errors import BadInput
from cloudnet.model import calico, kinds, kubernetes_endpoints, names, own, wire
from cloudnet.model.kubernetes import Pod
from cloudnet.model.policies import (
    GlobalNetworkPolicy,
    NetworkPolicy,
    Profile,
    StagedGlobalNetworkPolicy,
    StagedNetworkPolicy,
)
from cloudnet.model.resources import IPAMConfiguration, Lease, Node, Resource
from cloudnet.model.wire import Json
from cloudnet.model.workloads import KUBERNETES, WorkloadEndpoint, endpoint_id
from cloudnet.store import kubernetes_shells, records
from cloudnet.store.api import Revision
from cloudnet.store.kubernetes_shells import Shell, show_uid

R = TypeVar("R", bound=Resource)
R_co = TypeVar("R_co", bound=Resource, covariant=True)

CALICO: Final = calico.API_VERSION
OLDER: Final = "crd.projectcalico.org/v1"
_DEFAULT_NAMESPACE: Final = "default"

_to_json = msgspec.json.Encoder().encode
_from_json = msgspec.json.Decoder(dict[str, Any]).decode  # Any: JSON that somebody else checks


@dataclass(frozen=True, slots=True)
class Collection:
    """Objects of one type; ``fixed`` is the one namespace of theirs that we look at, ``only`` the one name."""

    version: str
    plural: str
    word: str
    namespaced: bool = False
    fixed: str = ""
    only: str = ""

    @property
    def chosen(self) -> dict[str, str]:
        """Return what makes a listing, or a watch, one of these objects alone."""
        return {"fieldSelector": f"metadata.name={self.only}"} if self.only else {}

    @property
    def what(self) -> str:
        """How RBAC and messages name it: ``pods``, ``ippools.projectcalico.org``."""
        group = self.version.rpartition("/")[0]
        return f"{self.plural}.{group}" if group else self.plural

    def path(self, namespace: str | None = None, name: str = "") -> str:
        root = f"/apis/{self.version}" if "/" in self.version else f"/api/{self.version}"
        inside = self.fixed or namespace
        if self.namespaced and inside:
            root += f"/namespaces/{inside}"
        return f"{root}/{self.plural}/{name}" if name else f"{root}/{self.plural}"


NAMESPACES: Final = (Collection("v1", "namespaces", "Namespace"),)


@dataclass(frozen=True, slots=True)
class Spot:
    """Where one object lies."""

    collection: Collection
    namespace: str
    name: str

    @property
    def path(self) -> str:
        return self.collection.path(self.namespace, self.name)


class _Head(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    uid: str = ""
    name: str = ""
    namespace: str = ""


class _Headed(msgspec.Struct):
    metadata: _Head


_headed = msgspec.json.Decoder(_Headed)


def revision(raw: bytes) -> Revision:
    """Return the revision of an object, or of a listing.

    They are decimal, and of one count for all types that share a database (Kubernetes KEP-5504).
    """
    return Revision(int(_headed.decode(raw).metadata.resource_version or 0))


def uid(raw: bytes) -> str:
    return _headed.decode(raw).metadata.uid


def title(raw: bytes) -> tuple[str, str]:
    """Return the namespace and the name of an object."""
    head = _headed.decode(raw).metadata
    return head.namespace, head.name


class Form(Protocol[R_co]):
    """How one kind lies in the API."""

    @property
    def kind(self) -> kinds.Kind[Any]: ...

    @property
    def collections(self) -> tuple[Collection, ...]: ...

    @property
    def borrowed(self) -> bool:
        """Whether the objects are somebody else's, so that ours are made and removed by changing them."""

    def spot(self, name: str, namespace: str) -> Spot | None:
        """Return where an object of that name lies; nothing when none can be called so."""

    def read(self, collection: Collection, raw: bytes) -> R_co | None:
        """Return the value of an object; nothing when it is none.

        Raises:
            BadInput: it makes no sense.
        """

    def document(self, value: Any, raw: bytes) -> bytes:
        """Return the document of an object's value, with all of it that a document can say."""

    def gone(self, collection: Collection, raw: bytes) -> R_co | None:
        """Return the value of an object that a watch tells of although it is none, or none any more."""

    def write(self, value: Any, onto: bytes | None) -> Json:  # Any: of this kind; the caller looked the form up by it
        """Return the object for a value; with ``onto``, the one that it replaces.

        Raises:
            BadInput: it cannot stand in Kubernetes.
        """

    def remove(self, onto: bytes) -> Json:
        """Return a borrowed object without what is ours."""

    def check_ours(self) -> None:
        """Refuse to delete what Kubernetes makes itself.

        Raises:
            BadInput: it does.
        """


class Whole(Generic[R]):
    """A kind whose objects are ours, each in its shell."""

    borrowed = False

    def __init__(
        self,
        kind: kinds.Kind[R],
        collection: Collection,
        shell: Shell,
        *,
        named: Callable[[str], str] = str,
        read_only: str = "",
    ) -> None:
        self.kind = kind
        self.collections = (collection,)
        self._shell = shell
        self._named = named
        self._read_only = read_only

    def spot(self, name: str, namespace: str) -> Spot | None:
        (collection,) = self.collections
        inside = (namespace or _DEFAULT_NAMESPACE) if collection.namespaced else ""
        return Spot(collection, inside, self._named(name)) if names.is_subdomain(name) else None

    def read(self, collection: Collection, raw: bytes) -> R | None:  # noqa: ARG002 - there is one
        return self.kind.decode(self._shell.open(raw))

    def document(self, value: R, raw: bytes) -> bytes:  # noqa: ARG002 - the object says more
        return self._shell.open(raw)

    def gone(self, collection: Collection, raw: bytes) -> R | None:  # noqa: ARG002 - all are ours
        return None

    def write(self, value: R, onto: bytes | None) -> Json:
        self.check_ours()
        document = self.kind.encode(value, onto=self._shell.open(onto) if onto else None)
        return self._shell.close(_from_json(document), _from_json(onto) if onto else None)

    def remove(self, onto: bytes) -> Json:  # noqa: ARG002 - never
        raise AssertionError("objects that are ours are deleted")

    def check_ours(self) -> None:
        if self._read_only:
            raise BadInput(self._read_only)


class Endpoints:
    """WorkloadEndpoints, which are Pods with addresses."""

    borrowed = True
    kind = kinds.of(WorkloadEndpoint)
    collections = (Collection("v1", "pods", "Pod", namespaced=True),)

    def spot(self, name: str, namespace: str) -> Spot | None:
        try:
            found = endpoint_id(name)
        except BadInput:
            return None
        known = found.orchestrator == KUBERNETES and namespace
        return Spot(self.collections[0], namespace, found.workload) if known else None

    def read(self, collection: Collection, raw: bytes) -> WorkloadEndpoint | None:  # noqa: ARG002 - there is one
        return kubernetes_endpoints.read_endpoint(kubernetes_endpoints.view(raw))

    def document(self, value: WorkloadEndpoint, raw: bytes) -> bytes:  # noqa: ARG002 - the rest is the pod's
        return self.kind.encode(value)

    def gone(self, collection: Collection, raw: bytes) -> WorkloadEndpoint | None:  # noqa: ARG002 - the same
        return kubernetes_endpoints.gone(kubernetes_endpoints.view(raw))

    def write(self, value: WorkloadEndpoint, onto: bytes | None) -> Json:
        if value.orchestrator != KUBERNETES or onto is None:
            raise BadInput(
                f"expected {KUBERNETES!r}, for this store knows the pods of Kubernetes only, "
                f"found {value.orchestrator!r}",
                path="spec.orchestrator",
            )
        return _annotated(onto, kubernetes_endpoints.written(value, kubernetes_endpoints.view(onto)))

    def remove(self, onto: bytes) -> Json:
        return _annotated(onto, kubernetes_endpoints.TAKEN_BACK)

    def check_ours(self) -> None:
        raise AssertionError("objects of others are not deleted")


def _annotated(raw: bytes, changes: Mapping[str, str | None]) -> Json:
    document = _from_json(raw)
    annotations = {**(document["metadata"].get("annotations") or {}), **changes}
    document["metadata"]["annotations"] = {key: value for key, value in annotations.items() if value is not None}
    return document


class Profiles:
    """Profiles, which follow from Namespaces and ServiceAccounts."""

    borrowed = False
    kind = kinds.of(Profile)
    collections = (
        *NAMESPACES,
        Collection("v1", "serviceaccounts", "ServiceAccount", namespaced=True),
    )

    def spot(self, name: str, namespace: str) -> Spot | None:  # noqa: ARG002 - they have none
        found = kubernetes_endpoints.profile_of(name)
        if found is None:
            return None
        inside, account = found
        return Spot(self.collections[1], inside, account) if account else Spot(self.collections[0], "", inside)

    def read(self, collection: Collection, raw: bytes) -> Profile | None:
        meta = wire.metadata(_meta.decode(show_uid(raw)).metadata)
        of = kubernetes_endpoints.account_profile if collection.namespaced else kubernetes_endpoints.namespace_profile
        return self.kind.decode(_to_json(of(meta)))

    def document(self, value: Profile, raw: bytes) -> bytes:  # noqa: ARG002 - the rest is not the profile's
        return self.kind.encode(value)

    def gone(self, collection: Collection, raw: bytes) -> Profile | None:  # noqa: ARG002 - every one is a profile
        return None

    def write(self, value: Profile, onto: bytes | None) -> Json:  # noqa: ARG002 - never
        raise BadInput(
            f"Kubernetes makes profiles of namespaces and service accounts itself: "
            f"label those, or write a policy in place of Profile {value.meta.name!r}"
        )

    def remove(self, onto: bytes) -> Json:  # noqa: ARG002 - never
        raise AssertionError("namespaces are not ours to change")

    def check_ours(self) -> None:
        raise BadInput("Kubernetes makes profiles itself: delete the namespace or the service account")


class _Meta(msgspec.Struct):
    metadata: wire.Meta


_meta = msgspec.json.Decoder(_Meta)


# --- which form a kind has ----------------------------------------------------------------------------------

_TIERED: Final = frozenset({NetworkPolicy, GlobalNetworkPolicy, StagedNetworkPolicy, StagedGlobalNetworkPolicy})
_WORDS_IN_OLDER: Final[Mapping[type[Resource], tuple[str, str]]] = {IPAMConfiguration: ("ipamconfigs", "IPAMConfig")}
_PLURALS: Final = {"kubernetesnetworkpolicies": "networkpolicies"}  # ours: the API's, where both groups use one word


def form(type_: type[Resource], *, group: str, namespace: str, now: Callable[[], str], only: str = "") -> Form[Any]:
    """Return the form of a kind; ``group`` is where Calico's lie, ``namespace`` where leases do.

    ``only`` is the one name of theirs that is listed and watched, among kinds of our own.
    """
    kind = kinds.of(type_)
    if type_ is WorkloadEndpoint:
        return Endpoints()
    if type_ is Profile:
        return Profiles()
    if type_ is Lease:
        leases = Collection("coordination.k8s.io/v1", "leases", "Lease", namespaced=True, fixed=namespace)
        return Whole(kind, leases, kubernetes_shells.Leases(now))
    if type_ is Node:
        return Whole(kind, Collection("v1", "nodes", "Node"), kubernetes_shells.Nodes())
    if kind.api_version == CALICO and group == OLDER:
        return _older(kind)
    plural = _PLURALS.get(kind.plural, kind.plural)
    shell = kubernetes_shells.Plain(kind.api_version, kind.word)
    why = "Kubernetes makes its pods itself: use kubectl" if type_ is Pod else ""
    where = Collection(kind.api_version, plural, kind.word, kind.namespaced, only=only)
    return Whole(kind, where, shell, read_only=why)


def _older(kind: kinds.Kind[Any]) -> Form[Any]:
    plural, word = _WORDS_IN_OLDER.get(kind.type, (kind.plural, kind.word))
    tiered = kind.type in _TIERED
    return Whole(
        kind,
        Collection(OLDER, plural, word, kind.namespaced),
        kubernetes_shells.Older(word, version=OLDER, inner=kind.word, tiered=tiered),
        named=kubernetes_shells.tiered_name if tiered else str,
    )


def is_custom(collection: Collection) -> bool:
    """Tell whether the cluster has to be taught this type before it knows it."""
    return collection.version in {CALICO, OLDER, own.API_VERSION} or collection.version.startswith(
        "policy.networking"
    )


# --- what the store sends -----------------------------------------------------------------------------------


def checked(kind: kinds.Kind[R], value: R, seen: R | None) -> R:
    """Return the value with the uid of what it replaces.

    Raises:
        Conflict: it was made for a namesake that is gone.
    """
    if seen is None:
        return value
    if value.meta.uid not in {"", seen.meta.uid}:
        raise records.other_uid(kind.name, value.meta.name, value.meta.namespace)
    return records.with_uid(value, seen.meta.uid)


def difference(before: Json, after: Json) -> Json:
    """Return the merge patch (RFC 7386) that turns one object into another."""
    patch: Json = {}
    for key in before.keys() | after.keys():
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            patch[key] = difference(old, new)
        else:
            patch[key] = new
    return patch
