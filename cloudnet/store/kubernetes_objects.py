"""One object of a Kubernetes API, read and written as the promises of a store want it.

* An update changes the stored object only where it differs, so it needs it. The one of the expected revision is
  mostly known from the read or write that the caller has it from, otherwise it is read first.
* What others own too (nodes, pods) is patched, never replaced. Annotations go in by the status, as Calico writes
  them: that right does not let us change what runs.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from cloudnet.errors import BadInput, CloudnetError
from cloudnet.model import kinds
from cloudnet.model.resources import Node, Resource
from cloudnet.model.wire import Json
from cloudnet.store import kubernetes_errors, kubernetes_forms, records
from cloudnet.store.api import Conflict, NotFound, Revision, Stored, StoreDamaged, StoreUnavailable
from cloudnet.store.kubernetes_client import Client, Request
from cloudnet.store.kubernetes_errors import Refused
from cloudnet.store.kubernetes_forms import Collection, Form, Spot
from cloudnet.store.kubernetes_pruned import Pruned

REMEMBERED: Final = 256  # objects; a node's agent updates a few dozen
_TRIES: Final = 5  # somebody else, the kubelet mostly, may write the same object meanwhile

_to_json = msgspec.json.Encoder().encode
_from_json = msgspec.json.Decoder(dict[str, Any]).decode  # Any: JSON that somebody else checks


@dataclass(frozen=True, slots=True)
class Target:
    """One resource: how its kind lies in the API, where it lies itself, and what we call it."""

    form: Form[Any]
    spot: Spot
    name: str
    namespace: str

    @property
    def title(self) -> str:
        return records.title(self.form.kind.name, self.name, self.namespace)

    def not_found(self) -> NotFound:
        return records.not_found(self.form.kind.name, self.name, self.namespace)

    def conflict(self, expected: Revision, found: Revision) -> Conflict:
        return records.conflict(self.form.kind.name, self.name, self.namespace, expected=expected, found=found)


class Objects:
    """Reads and writes single objects. ``explain`` says what a refusal means that is not about the object itself."""

    def __init__(self, client: Client, explain: Callable[[Refused, Request], CloudnetError]) -> None:
        self._client = client
        self._explain = explain
        self._known = _Known(REMEMBERED)
        self._pruned = Pruned()

    def get(self, target: Target) -> Stored[Any]:
        raw = self._fetch(target)
        return Stored(_value(target, raw), kubernetes_forms.revision(raw))

    def whole(self, target: Target) -> Stored[Any]:
        """Return the value with its document, as ``documents.Documents`` wants it."""
        raw = self._fetch(target)
        value = _value(target, raw)
        return Stored(kinds.keeping(value, target.form.document(value, raw)), kubernetes_forms.revision(raw))

    def create(self, target: Target, document: Json) -> Stored[Any]:
        where = target.spot.collection
        request = Request("create", where.what, where.path(target.spot.namespace), body=_to_json(document))
        try:
            raw = self._client.call(request)
        except Refused as refused:
            if refused.code == kubernetes_errors.CONFLICT:
                raise records.already_exists(target.form.kind.name, target.name, target.namespace) from refused
            raise self._explain(refused, request) from refused
        self._compare(where, document, raw)
        return self._stored(target, raw)

    def update(self, target: Target, value: Resource, expected: Revision) -> Stored[Any]:
        raw = self._known.at(target.spot, expected) or self._fetch(target)
        seen = _value(target, raw)
        if (found := kubernetes_forms.revision(raw)) != expected:
            raise target.conflict(expected, found)
        document = target.form.write(kubernetes_forms.checked(target.form.kind, value, seen), raw)
        try:
            return self._stored(target, self._replace(target, raw, document))
        except Refused as refused:
            raise self._lost(refused, target, "update", expected) from refused

    def delete(self, target: Target, expected: Revision | None) -> None:
        body: Json = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if expected is not None:
            body["preconditions"] = {"resourceVersion": str(expected)}
        self._known.forget(target.spot)
        spot = target.spot
        try:
            self._client.call(Request("delete", spot.collection.what, spot.path, body=_to_json(body)))
        except Refused as refused:
            raise self._lost(refused, target, "delete", expected) from refused

    def say_of_node(self, name: str, patch: Json) -> None:
        """Patch the status of a node, if it is there."""
        request = Request(
            "patch", "nodes/status", f"/api/v1/nodes/{name}/status", body=_to_json(patch), strategic=True
        )
        try:
            self._client.call(request)
        except Refused as refused:
            if refused.code != kubernetes_errors.NOT_FOUND:
                raise self._explain(refused, request) from refused

    # --- objects of others --------------------------------------------------------------------------------

    def add(self, target: Target, value: Resource) -> Stored[Any]:
        """Make a borrowed object say that a value is there."""

        def edit(raw: bytes) -> Json:
            if value.meta.uid not in {"", kubernetes_forms.uid(raw)}:
                raise records.other_uid(target.form.kind.name, target.name, target.namespace)
            if target.form.read(target.spot.collection, raw) is not None:
                raise records.already_exists(target.form.kind.name, target.name, target.namespace)
            return target.form.write(value, raw)

        # Whoever starts a pod has just read it; if it is another by now, the patch is refused and it is read again.
        seen = self._known.last(target.spot)
        fresh = seen if seen is not None and target.form.read(target.spot.collection, seen) is None else None
        return self._stored(target, self._change(target, edit, first=fresh))

    def remove(self, target: Target, expected: Revision | None) -> None:
        """Make a borrowed object say that a value is gone."""

        def edit(raw: bytes) -> Json:
            _value(target, raw)
            found = kubernetes_forms.revision(raw)
            if expected is not None and found != expected:
                raise target.conflict(expected, found)
            return target.form.remove(raw)

        self._change(target, edit)

    def _change(self, target: Target, edit: Callable[[bytes], Json], *, first: bytes | None = None) -> bytes:
        """Edit an object until nobody else was faster; ``first`` is what to try it on before the object is read."""
        for attempt in range(_TRIES):
            raw = first if first is not None and not attempt else self._fetch(target)
            try:
                return self._replace(target, raw, edit(raw))
            except Refused as refused:
                if refused.code != kubernetes_errors.CONFLICT:
                    raise self._lost(refused, target, "patch", None) from refused
        raise StoreUnavailable(f"{target.title}: others write its object faster than we do: try again")

    # --- inside -------------------------------------------------------------------------------------------

    def _fetch(self, target: Target) -> bytes:
        request = Request("get", target.spot.collection.what, target.spot.path)
        try:
            raw = self._client.call(request)
        except Refused as refused:
            if refused.code == kubernetes_errors.NOT_FOUND and refused.is_about_object:
                raise target.not_found() from refused
            raise self._explain(refused, request) from refused
        self._known.note(target.spot, raw)
        return raw

    def _stored(self, target: Target, raw: bytes) -> Stored[Any]:
        self._known.note(target.spot, raw)
        return Stored(_value(target, raw), kubernetes_forms.revision(raw))

    def _replace(self, target: Target, raw: bytes, document: Json) -> bytes:
        """Write an object back as it is to be, if it is still as we saw it."""
        if target.form.borrowed or target.form.kind.type is Node:
            return self._patch(target.spot, kubernetes_forms.difference(_from_json(raw), document), raw)
        document["metadata"]["resourceVersion"] = str(kubernetes_forms.revision(raw))
        where = target.spot.collection
        answer = self._client.call(Request("update", where.what, target.spot.path, body=_to_json(document)))
        self._compare(where, document, answer)
        return answer

    def _compare(self, where: Collection, document: Json, answer: bytes) -> None:
        if kubernetes_forms.is_custom(where):
            self._pruned.note(where.what, document, answer)

    def _patch(self, spot: Spot, patch: Json, raw: bytes) -> bytes:
        what, spec = spot.collection.what, patch.pop("spec", None)
        if spec:
            body = _to_json({"metadata": _as_seen(raw), "spec": spec})
            raw = self._client.call(Request("patch", what, spot.path, body=body))
        if patch:
            body = _to_json({**patch, "metadata": {**patch.get("metadata", {}), **_as_seen(raw)}})
            raw = self._client.call(Request("patch", f"{what}/status", f"{spot.path}/status", body=body))
        return raw

    def _lost(self, refused: Refused, target: Target, verb: str, expected: Revision | None) -> CloudnetError:
        """Return what it means that a write was refused."""
        self._known.forget(target.spot)
        if refused.code == kubernetes_errors.CONFLICT:
            found = kubernetes_forms.revision(self._fetch(target))
            return target.conflict(found if expected is None else expected, found)
        if refused.code == kubernetes_errors.NOT_FOUND and refused.is_about_object:
            return target.not_found()
        return self._explain(refused, Request(verb, target.spot.collection.what, target.spot.path))


def _as_seen(raw: bytes) -> Json:
    """Return what makes a patch fail when the object is another one by now."""
    return {"resourceVersion": str(kubernetes_forms.revision(raw)), "uid": kubernetes_forms.uid(raw)}


def _value(target: Target, raw: bytes) -> Any:  # of the form's kind, which the caller knows
    try:
        value = target.form.read(target.spot.collection, raw)
    except BadInput as error:
        raise StoreDamaged(
            f"Kubernetes holds a {target.title} with a field that makes no sense ({error}): correct it with kubectl, "
            f"or delete it and create it again"
        ) from error
    if value is None or (target.form.borrowed and value.meta.name != target.name):
        raise target.not_found()
    return value


class _Known:
    """The objects read or written last, a bounded number."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._objects: OrderedDict[Spot, tuple[Revision, bytes]] = OrderedDict()

    def note(self, spot: Spot, raw: bytes) -> None:
        revision = kubernetes_forms.revision(raw)
        with self._lock:
            before = self._objects.get(spot)
            if before is not None and before[0] > revision:
                return
            self._objects[spot] = (revision, raw)
            self._objects.move_to_end(spot)
            if len(self._objects) > self._most:
                self._objects.popitem(last=False)

    def at(self, spot: Spot, revision: Revision) -> bytes | None:
        """Return the object that has just this revision."""
        with self._lock:
            found = self._objects.get(spot)
        return found[1] if found is not None and found[0] == revision else None

    def last(self, spot: Spot) -> bytes | None:
        """Return the object as it was read or written last; it may be another one by now."""
        with self._lock:
            found = self._objects.get(spot)
        return found[1] if found is not None else None

    def forget(self, spot: Spot) -> None:
        with self._lock:
            self._objects.pop(spot, None)


# --- listings -----------------------------------------------------------------------------------------------


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class _Listing(msgspec.Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


_listing = msgspec.json.Decoder(_Listing)


@dataclass(frozen=True, slots=True)
class Page:
    """Some objects of a listing; ``token`` leads to the next ones, empty after the last."""

    items: tuple[bytes, ...]
    revision: Revision
    token: str


def page(client: Client, collection: Collection, namespace: str | None, *, limit: int, token: str = "") -> Page:
    """Return one page of a listing, ``limit`` objects at most, all there are when it is 0.

    Raises:
        Refused: among others 410, when the token has expired.
    """
    query = collection.chosen
    query |= {"limit": str(limit)} if limit else {}
    query |= {"continue": token} if token else {}
    answer = _listing.decode(client.call(Request("list", collection.what, collection.path(namespace), query)))
    items = tuple(bytes(one) for one in answer.items or ())
    return Page(items, Revision(int(answer.metadata.resource_version or 0)), answer.metadata.continue_)
