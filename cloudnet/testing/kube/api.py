"""What the API server does with a request: rules of names, namespaces, revisions, subresources and schemas.

Each rule that a client may trip over names where Kubernetes has it.
"""

from __future__ import annotations

import base64
import copy
import json
import re
import time
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from cloudnet.model import names
from cloudnet.testing.kube import definitions, events, schema, status
from cloudnet.testing.kube.objects import Json, Objects, Type

_LABEL_KEYS = "labels"
_PAGES = 64  # listings whose next page is remembered
_ANNOTATIONS = 256 * 1024  # apimachinery/pkg/api/validation/objectmeta.go: TotalAnnotationSizeLimitB
_FROZEN_NODE = ("podCIDR", "podCIDRs", "providerID")  # pkg/apis/core/validation ValidateNodeUpdate


class Api:
    """The verbs, over one state."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self.establishing = 0.0  # seconds from a definition to its first object (apiextensions: establish controller)
        self._pages: dict[str, tuple[int, list[Json]]] = {}
        self._expected: list[tuple[float, Json]] = []

    # --- reading ----------------------------------------------------------------------------------------

    def get(self, type_: Type, namespace: str, name: str) -> Json:
        found = self.objects.of(type_).get((namespace if type_.namespaced else "", name))
        if found is None:
            raise status.not_found(type_.what, name)
        return found

    def page(self, type_: Type, namespace: str, query: dict[str, str]) -> Json:
        """Return a page; later ones are of the first one's revision, and expire (``apiserver/pkg/storage``)."""
        token = query.get("continue", "")
        if token:
            revision, items = self._resume(token)
        else:
            revision = self.objects.revision
            items = [one for _, one in sorted(self.objects.of(type_).items()) if is_asked_for(one, namespace, query)]
        limit = int(query.get("limit", 0))
        meta: Json = {"resourceVersion": str(revision)}
        if limit and len(items) > limit:
            items, rest = items[:limit], items[limit:]
            meta |= {"continue": self._keep(revision, rest), "remainingItemCount": len(rest)}
        return {
            "kind": f"{type_.kind}List",
            "apiVersion": type_.version,
            "metadata": meta,
            "items": self._bare(type_, items),
        }

    def _bare(self, type_: Type, items: list[Json]) -> list[Json]:
        """Items of Kubernetes' own lists do not say what they are; custom ones do."""
        if type_.schema is not None:
            return items
        return [{key: value for key, value in one.items() if key not in {"apiVersion", "kind"}} for one in items]

    def expire_pages(self) -> None:
        """Make every page that was promised impossible, as a compaction of etcd does after five minutes."""
        self._pages.clear()

    def _keep(self, revision: int, rest: list[Json]) -> str:
        token = base64.urlsafe_b64encode(
            json.dumps({"v": "meta.k8s.io/v1", "rv": revision, "id": str(uuid4())}).encode()
        )
        self._pages[token.decode()] = (revision, rest)
        while len(self._pages) > _PAGES:
            del self._pages[next(iter(self._pages))]
        return token.decode()

    def _resume(self, token: str) -> tuple[int, list[Json]]:
        found = self._pages.get(token)
        if found is None:
            raise status.page_expired()
        return found

    # --- writing ----------------------------------------------------------------------------------------

    def create(self, type_: Type, namespace: str, body: Json) -> Json:
        self._check_type(type_, body)
        document = copy.deepcopy(body)
        meta = document.setdefault("metadata", {})
        if type_.namespaced:
            if meta.get("namespace", namespace) != namespace:
                raise status.bad_request("the namespace of the provided object does not match the request's")
            meta["namespace"] = namespace
            if ("", namespace) not in self.objects.items.get(("v1", "namespaces"), {}):
                raise status.not_found("namespaces", namespace)  # plugin/pkg/admission/namespace/lifecycle
        elif meta.get("namespace"):
            raise status.bad_request("namespace is not allowed on a cluster-scoped object")
        name = meta.get("name", "")
        self._check_meta(type_, meta)
        if (namespace if type_.namespaced else "", name) in self.objects.of(type_):
            raise status.already_exists(type_.what, name)
        if type_.status and type_.kind not in {"Node", "CustomResourceDefinition"}:
            document.pop("status", None)  # rest strategies reset it: it is written by its subresource
        if type_.kind == "Namespace":
            meta["labels"] = {**(meta.get("labels") or {}), "kubernetes.io/metadata.name": name}
        # What a client says of these is not heard (apiserver/pkg/registry/rest/meta.go).
        meta |= {"uid": str(uuid4()), "creationTimestamp": _now(), "generation": 1}
        meta.pop("resourceVersion", None)
        document = self._checked(type_, document)
        _check_definition(type_, document)
        _check_event(type_, None, document)
        stored = self.objects.put(type_, document, word="ADDED")
        if type_.kind == "CustomResourceDefinition":
            self._expected.append((time.monotonic() + self.establishing, stored))
            self.settle()
        return stored

    def apply(self, type_: Type, namespace: str, name: str, body: Json) -> tuple[int, Json]:
        """Make an object, or lay what is said over the one that is there: lists are replaced, owners not kept."""
        if (body.get("metadata") or {}).get("managedFields") is not None:
            raise status.bad_request("metadata.managedFields must be nil")  # handlers/patch.go: applyPatcher
        if (namespace if type_.namespaced else "", name) in self.objects.of(type_):
            return 200, self.patch(type_, namespace, name, body)
        return 201, self.create(type_, namespace, body)

    def replace(self, type_: Type, namespace: str, name: str, body: Json, *, sub: str = "") -> Json:
        self._check_type(type_, body)
        before = self.get(type_, namespace, name)
        meta = body.get("metadata") or {}
        if meta.get("name") != name:
            raise status.bad_request("the name of the object does not match the name on the URL")
        if type_.schema is not None and not meta.get("resourceVersion"):
            # apiextensions-apiserver: AllowUnconditionalUpdate is false for custom resources
            raise status.invalid(type_.kind, name, [("metadata.resourceVersion", "must be specified for an update")])
        return self._write(type_, before, copy.deepcopy(body), sub)

    def patch(
        self, type_: Type, namespace: str, name: str, body: Json, *, sub: str = "", strategic: bool = False
    ) -> Json:
        before = self.get(type_, namespace, name)
        if strategic and type_.schema is not None:
            # apiextensions-apiserver: custom resources have no merge keys
            raise status.Refusal(415, "UnsupportedMediaType", "strategic merge patch is not supported")
        after = copy.deepcopy(before)
        return self._write(type_, before, merge_strategically(after, body) if strategic else merge(after, body), sub)

    def delete(self, type_: Type, namespace: str, name: str, body: Json) -> Json:
        found = self.get(type_, namespace, name)
        wanted = body.get("preconditions") or {}
        for field, key in (("resourceVersion", "resourceVersion"), ("uid", "uid")):
            if wanted.get(field) and wanted[field] != found["metadata"][key]:
                raise status.conflict(
                    type_.what, name, f"the {key} in the precondition ({wanted[field]}) does not match"
                )
        if found["metadata"].get("finalizers"):
            if not found["metadata"].get("deletionTimestamp"):
                leaving = copy.deepcopy(found)
                leaving["metadata"]["deletionTimestamp"] = _now()
                return self.objects.put(type_, leaving, word="MODIFIED")
            return found
        last = self.objects.drop(type_, found)
        self._unlearn(type_, last)
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": {"name": name}}

    def _write(self, type_: Type, before: Json, after: Json, sub: str) -> Json:
        meta, old = after["metadata"], before["metadata"]
        name = old["name"]
        if meta.get("resourceVersion", old["resourceVersion"]) != old["resourceVersion"]:
            raise status.conflict(type_.what, name, status.MODIFIED)
        if meta.get("uid", old["uid"]) != old["uid"]:
            raise status.conflict(type_.what, name, f"Precondition failed: UID in precondition: {meta['uid']}")
        self._check_meta(type_, meta)
        after = _by_subresource(type_, before, after, sub)
        if type_.kind == "Node":
            _check_node(before, after)
        after["metadata"] = meta = _with_system_fields(meta, old)
        after = self._checked(type_, after)
        _check_definition(type_, after)
        _check_event(type_, before, after)
        if _same(before, after):
            return before
        if after.get("spec") != before.get("spec"):
            after["metadata"]["generation"] = old.get("generation", 1) + 1
        if meta.get("deletionTimestamp") and not meta.get("finalizers"):
            return self.objects.drop(type_, before)
        if type_.kind == "CustomResourceDefinition":
            self._learn_anew(after)
        return self.objects.put(type_, after, word="MODIFIED")

    # --- rules ------------------------------------------------------------------------------------------

    def _check_type(self, type_: Type, body: Json) -> None:
        said = (body.get("apiVersion"), body.get("kind"))
        if said != (type_.version, type_.kind):
            raise status.bad_request(f"expected {type_.version} {type_.kind}, found {said[0]} {said[1]}")

    def _check_meta(self, type_: Type, meta: Json) -> None:
        """See apimachinery/pkg/api/validation/objectmeta.go."""
        causes = []
        name = meta.get("name", "")
        if not names.is_subdomain(name):
            causes.append(("metadata.name", f'Invalid value: "{name}": a lowercase RFC 1123 subdomain'))
        for key, value in (meta.get("labels") or {}).items():
            if not names.is_key(key) or not names.is_value(value):
                causes.append(("metadata.labels", f'Invalid value: "{key}={value}"'))
        annotations = meta.get("annotations") or {}
        causes += [
            ("metadata.annotations", f'Invalid value: "{key}"')
            for key in annotations
            if not names.is_key(key.lower())
        ]
        if sum(len(key) + len(value) for key, value in annotations.items()) > _ANNOTATIONS:
            causes.append(("metadata.annotations", "Too long: may not be more than 262144 bytes"))
        if causes:
            raise status.invalid(type_.kind, name, causes)

    def _checked(self, type_: Type, document: Json) -> Json:
        if type_.schema is None:
            return document
        pruned: Json = schema.prune(document, type_.schema)
        causes = list(schema.faults({k: v for k, v in pruned.items() if k != "metadata"}, type_.schema))
        if causes:
            raise status.invalid(type_.kind, document["metadata"]["name"], causes)
        return pruned

    # --- custom resources -------------------------------------------------------------------------------

    def settle(self) -> None:
        """Serve what was defined long enough ago, and say so in the definition."""
        now = time.monotonic()
        due = [document for when, document in self._expected if when <= now]
        self._expected = [(when, document) for when, document in self._expected if when > now]
        for document in due:
            self._establish(document)

    def _establish(self, definition: Json) -> None:
        for one in custom_types(definition):
            self.objects.types[one.key] = one
        type_ = self.objects.types["apiextensions.k8s.io/v1", "customresourcedefinitions"]
        conditions = [{"type": one, "status": "True"} for one in ("NamesAccepted", "Established")]
        self.patch(type_, "", definition["metadata"]["name"], {"status": {"conditions": conditions}}, sub="status")

    def _learn_anew(self, definition: Json) -> None:
        """Check and prune by what a definition says now; what lies there stays as it is."""
        for one in custom_types(definition):
            if one.key in self.objects.types:
                self.objects.types[one.key] = one

    def refuse_unknown(self, type_: Type, body: Json) -> None:
        """Refuse fields that a custom resource's schema lacks, as ``fieldValidation=Strict`` asks.

        Of Kubernetes' own kinds there is no schema here.
        """
        if type_.schema is not None and (missing := list(schema.unknown(body, type_.schema))):
            faults = ", ".join(f'unknown field "{path}"' for path in missing)
            raise status.bad_request(
                f"{type_.kind} in version {type_.version} cannot be handled: strict decoding error: {faults}"
            )

    def _unlearn(self, type_: Type, document: Json) -> None:
        if type_.kind == "CustomResourceDefinition":
            for one in custom_types(document):
                self.objects.types.pop(one.key, None)
                self.objects.items.pop(one.key, None)


def custom_types(document: Json) -> list[Type]:
    """Return the types that a CustomResourceDefinition defines."""
    spec = document["spec"]
    return [
        Type(
            f"{spec['group']}/{version['name']}",
            spec["names"]["plural"],
            spec["names"]["kind"],
            spec["scope"] == "Namespaced",
            "status" in version.get("subresources", {}),
            version["schema"]["openAPIV3Schema"],
            tuple(spec["names"].get("shortNames", ())),
            tuple(version.get("additionalPrinterColumns", ())),
        )
        for version in spec["versions"]
        if version["served"]
    ]


def merge(document: Any, patch: Any) -> Any:
    """Apply a merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    merged = document if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def merge_strategically(document: Json, patch: Json) -> Json:
    """Apply a patch that merges conditions by their type (``api/core/v1/types.go``: patchMergeKey)."""
    wanted = patch.get("status", {}).get("conditions")
    if wanted is not None:
        said = {one["type"]: one for one in document.get("status", {}).get("conditions", ())}
        said |= {one["type"]: {**said.get(one["type"], {}), **one} for one in wanted}
        patch = {**patch, "status": {**patch["status"], "conditions": list(said.values())}}
    merged: Json = merge(document, patch)
    return merged


def _by_subresource(type_: Type, before: Json, after: Json, sub: str) -> Json:
    """The object changes all but the status, its subresource nothing but the status and the metadata."""
    if sub == "status":
        after = {**before, "metadata": after["metadata"], "status": after.get("status", {})}
    elif type_.status and type_.kind != "CustomResourceDefinition":
        after = {**after, "status": before.get("status", {})}
    return after if after.get("status") else {key: value for key, value in after.items() if key != "status"}


def _with_system_fields(meta: Json, old: Json) -> Json:
    """Some fields are the server's alone (``apiserver/pkg/registry/rest/update.go``)."""
    system = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "namespace", "resourceVersion")
    kept = {key: value for key, value in meta.items() if key not in system}
    return kept | {key: old[key] for key in system if key in old}


def _same(before: Json, after: Json) -> bool:
    return _bare_meta(before) == _bare_meta(after)


def _bare_meta(document: Json) -> Json:
    """Empty maps are nothing: they are not encoded (Go's ``omitempty``)."""
    meta = {key: value for key, value in document["metadata"].items() if value not in ({}, None)}
    return {**document, "metadata": meta}


def _check_node(before: Json, after: Json) -> None:
    old, new = before.get("spec", {}), after.get("spec", {})
    causes = [
        (f"spec.{field}", "Forbidden: may not be changed once it is set")
        for field in _FROZEN_NODE
        if old.get(field) and old[field] != new.get(field)
    ]
    if causes:
        raise status.invalid("Node", before["metadata"]["name"], causes)


def _check_definition(type_: Type, definition: Json) -> None:
    if type_.kind == "CustomResourceDefinition" and (causes := list(definitions.faults(definition))):
        raise status.invalid(type_.kind, definition["metadata"]["name"], causes)


def _check_event(type_: Type, before: Json | None, event: Json) -> None:
    if type_.kind == "Event" and (causes := list(events.faults(before, event))):
        raise status.invalid("Event", event["metadata"]["name"], causes)


def is_asked_for(document: Json, namespace: str, query: dict[str, str]) -> bool:
    """Tell whether a list or a watch of one namespace, or of all, is about an object."""
    inside = document["metadata"].get("namespace", "")
    return (not namespace or inside == namespace) and _selected(document, query.get("fieldSelector", ""))


def _selected(document: Json, selector: str) -> bool:
    for part in filter(None, selector.split(",")):
        path, _, wanted = re.split(r"(==|=)", part, maxsplit=1)
        found: Any = document
        for step in path.split("."):
            found = found.get(step, "") if isinstance(found, dict) else ""
        if found != wanted:
            return False
    return True


def _now() -> str:
    return datetime.now(tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
