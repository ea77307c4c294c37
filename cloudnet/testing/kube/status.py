"""The refusals of a Kubernetes API: ``Status`` objects, as ``apimachinery/pkg/api/errors/errors.go`` makes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Refusal(Exception):
    """An answer that is no. ``retry_after`` is in seconds."""

    def __init__(
        self, code: int, reason: str, message: str, *, details: Any = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after
        self.body = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "details": details or {},
            "code": code,
        }


def not_found(what: str, name: str) -> Refusal:
    """An object is missing."""
    return Refusal(404, "NotFound", f'{what} "{name}" not found', details={"name": name, "kind": what})


def no_such_resource() -> Refusal:
    """The type is missing: no details, as for any unknown path."""
    return Refusal(404, "NotFound", "the server could not find the requested resource")


def already_exists(what: str, name: str) -> Refusal:
    details = {"name": name, "kind": what}
    return Refusal(409, "AlreadyExists", f'{what} "{name}" already exists', details=details)


def conflict(what: str, name: str, why: str) -> Refusal:
    text = f'Operation cannot be fulfilled on {what} "{name}": {why}'
    return Refusal(409, "Conflict", text, details={"name": name, "kind": what})


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def invalid(kind: str, name: str, causes: Sequence[tuple[str, str]]) -> Refusal:
    """Fields are wrong: (path, message) of each."""
    said = ", ".join(f"{field}: {message}" for field, message in causes)
    listed = [{"reason": "FieldValueInvalid", "message": message, "field": field} for field, message in causes]
    return Refusal(
        422, "Invalid", f'{kind} "{name}" is invalid: {said}', details={"name": name, "kind": kind, "causes": listed}
    )


def bad_request(message: str) -> Refusal:
    return Refusal(400, "BadRequest", message)


def forbidden(user: str, verb: str, what: str, name: str) -> Refusal:
    resource, _, group = what.partition(".")
    text = f'{what} "{name}" is forbidden: User "{user}" cannot {verb} resource "{resource}" in API group "{group}"'
    return Refusal(403, "Forbidden", text, details={"name": name, "kind": what})


def unauthorized() -> Refusal:
    return Refusal(401, "Unauthorized", "Unauthorized")


def gone(revision: int, oldest: int) -> Refusal:
    """A watch from too far back (``apiserver/pkg/storage/cacher/watch_cache.go``)."""
    return Refusal(410, "Expired", f"too old resource version: {revision} ({oldest})")


def page_expired() -> Refusal:
    return Refusal(410, "Expired", "The provided continue parameter is too old to display a consistent list result.")


def too_many(seconds: int) -> Refusal:
    text = "the server has received too many requests and has asked us to try again later"
    details = {"retryAfterSeconds": seconds}
    return Refusal(429, "TooManyRequests", text, details=details, retry_after=seconds)


def broken() -> Refusal:
    return Refusal(500, "InternalError", "Internal error occurred: etcdserver: request timed out")
