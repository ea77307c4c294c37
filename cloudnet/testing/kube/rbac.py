"""Who may do what, from the roles and bindings that the API server itself holds.

A service account may do what any role grants that is bound to it, in the binding's namespace or everywhere
(``plugin/pkg/auth/authorizer/rbac/rbac.go``, ``pkg/apis/rbac/v1/evaluation_helpers.go``). A list or a watch of one
name counts as a request for it where a field selector says so; a create never has a name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from cloudnet.testing.kube.objects import Json, Objects

_GROUP: Final = "rbac.authorization.k8s.io/v1"
_PREFIX: Final = "system:serviceaccount:"
PATH: Final = "/rights"
"""Where an administrator asks for what service accounts used and what they were denied; no API server has it."""


@dataclass(frozen=True, slots=True)
class Account:
    """A service account; its token here is its user name."""

    namespace: str
    name: str

    @property
    def user(self) -> str:
        return f"{_PREFIX}{self.namespace}:{self.name}"

    @classmethod
    def of(cls, token: str, objects: Objects) -> Account | None:
        """Return whose token it is, if the account exists."""
        if not token.startswith(_PREFIX):
            return None
        namespace, _, name = token.removeprefix(_PREFIX).partition(":")
        known = objects.items.get(("v1", "serviceaccounts"), {})
        return cls(namespace, name) if (namespace, name) in known else None


@dataclass(frozen=True, slots=True)
class Asked:
    """One request; ``resource`` carries its subresource after a slash."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""


def may(account: Account, asked: Asked, objects: Objects) -> bool:
    return any(_grants(rule, asked) for rule in rules(account, asked.namespace, objects))


def rules(account: Account, namespace: str, objects: Objects) -> Iterator[Json]:
    """Give the rules that hold for an account everywhere, and those of one namespace."""
    for binding in _bindings("clusterrolebindings", "", objects):
        if _is_subject(account, binding):
            yield from _role(binding, "", objects)
    for binding in _bindings("rolebindings", namespace, objects) if namespace else ():
        if _is_subject(account, binding):
            yield from _role(binding, namespace, objects)


def _bindings(plural: str, namespace: str, objects: Objects) -> list[Json]:
    found = objects.items.get((_GROUP, plural), {})
    return [document for (inside, _), document in found.items() if inside == namespace]


def _is_subject(account: Account, binding: Json) -> bool:
    wanted = {"kind": "ServiceAccount", "name": account.name, "namespace": account.namespace}
    return any(wanted.items() <= subject.items() for subject in binding.get("subjects", ()))


def _role(binding: Json, namespace: str, objects: Objects) -> list[Json]:
    reference = binding["roleRef"]
    cluster = reference["kind"] == "ClusterRole"
    found = objects.items.get((_GROUP, "clusterroles" if cluster else "roles"), {})
    role: Json = found.get(("" if cluster else namespace, reference["name"]), {})
    found_rules: list[Json] = role.get("rules", [])
    return found_rules


def _grants(rule: Json, asked: Asked) -> bool:
    names = rule.get("resourceNames", ())
    return (
        _has(rule["verbs"], asked.verb)
        and _has(rule.get("apiGroups", ()), asked.group)
        and _has(rule.get("resources", ()), asked.resource)
        and (not names or (asked.name in names and asked.verb != "create"))
    )


def _has(said: Iterable[str], word: str) -> bool:
    return any(one in ("*", word) for one in said)


class Rights:
    """What service accounts asked for, and whether they might."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._used: set[tuple[str, str, str, str]] = set()
        self._denied: set[tuple[str, str, str, str]] = set()

    def may(self, account: Account, asked: Asked) -> bool:
        with self._objects.changed:
            allowed = may(account, asked, self._objects)
            (self._used if allowed else self._denied).add((account.name, asked.verb, asked.group, asked.resource))
        return allowed

    def said(self) -> Json:
        with self._objects.changed:
            return {"used": sorted(self._used), "denied": sorted(self._denied)}
