"""What a lab's Google project holds: resources and operations as the API's own JSON, and what is still under way.

A resource is what its maker sent plus what the server adds, under its path (``projects/p/global/routes/r``); that is
how the real API echoes. A write is an operation that ends after a while; its *effect* comes at the end, so nothing
shows half done. Times are monotonic seconds, but for those that the API itself shows.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

Document: TypeAlias = dict[str, Any]  # a resource as the API shows it

URL = "https://www.googleapis.com/compute/v1/"
USER = "lab@project.iam.gserviceaccount.com"


@dataclass(frozen=True, slots=True)
class Failure:
    """How an operation ends badly."""

    status: int
    code: str
    message: str


@dataclass(slots=True)
class Pending:
    """A write that was accepted: when it ends, what it does then, and what it ``holds`` until then."""

    operation: str
    target: str
    ends_at: float
    effect: Callable[[], object]
    failure: Failure | None = None
    holds: tuple[str, ...] = ()


@dataclass(slots=True)
class Project:
    """Everything in one project. ``wall`` tells the time of day of a monotonic second."""

    name: str
    wall: Callable[[], float]
    resources: dict[str, Document] = field(default_factory=dict)
    operations: dict[str, Document] = field(default_factory=dict)
    pending: list[Pending] = field(default_factory=list)
    requests: dict[str, str] = field(default_factory=dict)
    _count: int = 0

    # --- resources ----------------------------------------------------------------------------------------------

    def of(self, collection: str) -> Iterator[tuple[str, Document]]:
        """Yield the resources of a collection (``routes``) by path, in the order of their names."""
        found = ((p, d) for p, d in self.resources.items() if p.split("/")[-2] == collection)
        yield from sorted(found, key=lambda each: each[1]["name"])

    def find(self, reference: str) -> tuple[str, Document] | None:
        """Return the resource that a URL, whole or partial, refers to."""
        path = partial(reference)
        path = path if path.startswith("projects/") else f"projects/{self.name}/{path}"
        return (path, self.resources[path]) if path in self.resources else None

    def busy(self, path: str) -> bool:
        return any(each.target == path for each in self.pending)

    def server_fields(self, path: str, kind: str) -> Document:
        """Return what the server adds to every resource."""
        return {
            "creationTimestamp": stamp(self.wall()),
            "id": self.number(),
            "kind": f"compute#{kind}",
            "selfLink": URL + path,
        }

    def number(self) -> str:
        self._count += 1
        return str(10**18 + self._count)

    # --- operations ---------------------------------------------------------------------------------------------

    def begin(
        self,
        kind: str,
        target: str,
        effect: Callable[[], object],
        *,
        ends_at: float,
        target_id: str = "",
        request_id: str = "",
        failure: Failure | None = None,
        holds: tuple[str, ...] = (),
    ) -> Document:
        """Accept a write and return its operation; the same again for a request id that was seen before."""
        number = self.number()
        name = f"operation-{number[-12:]}"
        scope = _scope(target)
        shown: Document = {
            "id": number,
            "insertTime": stamp(self.wall()),
            "kind": "compute#operation",
            "name": name,
            "operationType": kind,
            "progress": 0,
            "selfLink": f"{URL}{scope}/operations/{name}",
            "startTime": stamp(self.wall()),
            "status": "RUNNING",
            "targetId": target_id or self.number(),
            "targetLink": URL + target,
            "user": USER,
        }
        if request_id:
            shown["clientOperationId"] = request_id
            self.requests[request_id] = name
        for part in ("zone", "region"):
            if f"/{part}s/" in scope:
                shown[part] = URL + scope
        self.operations[name] = shown
        self.pending.append(Pending(name, target, ends_at, effect, failure, holds))
        return dict(shown)

    def fail(self, operation: str, failure: Failure) -> None:
        """Let an operation that is under way end badly."""
        for each in self.pending:
            if each.operation == operation:
                each.failure = failure

    def advance(self, now: float) -> bool:
        """End what is due, in the order of time; tell whether anything changed."""
        due = sorted((each for each in self.pending if each.ends_at <= now), key=lambda each: each.ends_at)
        for each in due:
            self.pending.remove(each)
            if each.failure is None:
                each.effect()
            self.operations[each.operation] |= self._ended(each.failure)
        return bool(due)

    def _ended(self, failure: Failure | None) -> Document:
        ended: Document = {"status": "DONE", "progress": 100, "endTime": stamp(self.wall())}
        if failure:
            ended |= {
                "error": {"errors": [{"code": failure.code, "message": failure.message}]},
                "httpErrorStatusCode": failure.status,
                "httpErrorMessage": _REASONS.get(failure.status, "BAD REQUEST"),
            }
        return ended


_REASONS: Mapping[int, str] = {403: "FORBIDDEN", 404: "NOT FOUND", 409: "CONFLICT", 500: "INTERNAL SERVER ERROR"}


def partial(reference: str) -> str:
    """Return the part of a URL from ``projects/`` on; a reference without one as it is."""
    at = reference.find("projects/")
    return reference[at:] if at >= 0 else reference


def last(reference: str) -> str:
    return reference.rpartition("/")[2]


def stamp(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def fingerprint(document: Mapping[str, Any]) -> str:
    """Return the hash by which a change says which state it was meant for."""
    kept = {name: value for name, value in document.items() if name != "fingerprint"}
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).digest()
    return base64.b64encode(digest[:8]).decode()


def _scope(path: str) -> str:
    """Return where a resource's operations live: its path without its collection and name."""
    return path.rsplit("/", 2)[0]
