"""What the API server says about itself: groups, versions, resources, and what of its OpenAPI clients ask for. Pure.

kubectl maps kinds to paths by discovery, and leaves it to the server to find unknown fields where the OpenAPI
document of a group says that its ``PATCH`` takes ``fieldValidation`` (``k8s.io/cli-runtime/pkg/resource``
``query_param_verifier_v3.go``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from cloudnet.testing.kube.objects import Json, Type

VERSION: Final = "v1.36.0"

_VERBS: Final = ["create", "delete", "get", "list", "patch", "update", "watch"]


def said(types: Collection[Type], path: str) -> Json | None:
    """Return the answer at one of discovery's paths; nothing where it is not one, or names an unknown group."""
    found: Json | None = None
    match path.strip("/").split("/"):
        case ["version"]:
            found = {"major": "1", "minor": "36", "gitVersion": VERSION}
        case ["api"]:
            found = {"kind": "APIVersions", "versions": ["v1"]}
        case ["apis"]:
            found = _groups(_versions(types))
        case ["api", version]:
            found = _resources(types, version)
        case ["apis", group, version]:
            found = _resources(types, f"{group}/{version}")
        case ["openapi", "v3"]:
            roots = [_root(one) for one in _versions(types)]
            found = {"paths": {one: {"serverRelativeURL": f"/openapi/v3/{one}"} for one in roots}}
        case ["openapi", "v3", *root]:
            found = _openapi([one for one in types if _root(one.version) == "/".join(root)])
    return found


def _versions(types: Iterable[Type]) -> list[str]:
    return sorted({one.version for one in types})


def _name(version: str) -> str:
    return version.rpartition("/")[0]


def _root(version: str) -> str:
    return f"apis/{version}" if "/" in version else f"api/{version}"


def _groups(versions: Collection[str]) -> Json:
    names = sorted({_name(one) for one in versions} - {""})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(one, versions) for one in names]}


def _group(name: str, versions: Iterable[str]) -> Json:
    listed = [{"groupVersion": one, "version": one.rpartition("/")[2]} for one in versions if _name(one) == name]
    return {"name": name, "versions": listed, "preferredVersion": listed[-1]}


def _resources(types: Iterable[Type], version: str) -> Json | None:
    found = [one for one in types if one.version == version]
    if not found:
        return None
    resources = [_resource(one, one.plural) for one in found]
    resources += [_resource(one, f"{one.plural}/status") for one in found if one.status]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}


def _resource(type_: Type, name: str) -> Json:
    verbs = ["get", "patch", "update"] if "/" in name else _VERBS
    said = {"name": name, "singularName": type_.kind.lower(), "kind": type_.kind, "namespaced": type_.namespaced}
    return {**said, "verbs": verbs, "shortNames": list(type_.short)}


def _openapi(types: Collection[Type]) -> Json | None:
    """Return the document of one group's version, without schemas: the server itself checks fields."""
    if not types:
        return None
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": {_path(one): {"patch": _patch(one)} for one in types},
    }


def _path(type_: Type) -> str:
    inside = "/namespaces/{namespace}" if type_.namespaced else ""
    return f"/{_root(type_.version)}{inside}/{type_.plural}/{{name}}"


def _patch(type_: Type) -> Json:
    group, _, version = type_.version.rpartition("/")
    return {
        "parameters": [{"name": one, "in": "query"} for one in ("fieldManager", "fieldValidation", "force")],
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": type_.kind},
    }
