"""How Compute Engine answers: headers, the shape of errors, and what it calls its refusals. Pure.

Shapes, headers and ``notFound`` are as in recordings of the real API. The reasons of other refusals are named in
Google's guide to API errors; which status and code a failed operation carries is assumed.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import MappingProxyType

from cloudnet.lab.clouds.gcp.rules import Refusal, not_found
from cloudnet.lab.clouds.gcp.state import Document, Failure, Project, partial
from cloudnet.lab.clouds.simulator import Answer, Request
from cloudnet.lab.clouds.trouble import Fault, Trouble

HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Type": "application/json; charset=UTF-8",
        "Server": "ESF",
        "Vary": "Origin, X-Origin, Referer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "SAMEORIGIN",
        "X-XSS-Protection": "0",
    }
)

_REFUSALS: Mapping[Trouble, Refusal] = MappingProxyType(
    {
        Trouble.THROTTLE: Refusal(403, "rateLimitExceeded", "Quota exceeded for quota metric 'Queries' per minute."),
        Trouble.PERMISSION: Refusal(403, "forbidden", "Required permission for this call"),
        Trouble.AUTHENTICATION: Refusal(401, "authError", "Request had invalid authentication credentials."),
        Trouble.QUOTA: Refusal(403, "quotaExceeded", "Quota 'ROUTES' exceeded. Limit: 0.0 globally."),
        Trouble.CONFLICT: Refusal(409, "alreadyExists", "The resource already exists"),
        Trouble.PRECONDITION: Refusal(412, "conditionNotMet", "Supplied fingerprint does not match."),
        Trouble.UNAVAILABLE: Refusal(503, "backendError", "Service unavailable. Please try again."),
        Trouble.INTERNAL: Refusal(500, "internalError", "Internal error. Please try again."),
    }
)

_FAILURES: Mapping[str, int] = MappingProxyType(
    {
        "QUOTA_EXCEEDED": 403,
        "PERMISSIONS_ERROR": 403,
        "RATE_LIMIT_EXCEEDED": 403,
        "RESOURCE_NOT_FOUND": 404,
        "RESOURCE_ALREADY_EXISTS": 409,
        "RESOURCE_NOT_READY": 400,
        "INTERNAL_ERROR": 500,
    }
)
"""``{code of a failed operation: the status that it says HTTP would have had}``."""


class Refused(Exception):
    """A call ends with a refusal."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class Dialect:
    """Compute Engine's own words for what every cloud says."""

    def __init__(self, project: Project) -> None:
        self._project = project

    def refuse(self, request: Request, fault: Fault) -> Answer:
        refusal = _REFUSALS.get(fault.trouble) or not_found(partial(request.path))
        reason = fault.code or refusal.reason
        message = f"{refusal.message} '{request.call}'" if fault.trouble is Trouble.PERMISSION else refusal.message
        answer = error(Refusal(refusal.status, reason, message))
        if fault.retry_after is None:
            return answer
        return Answer(answer.status, answer.body, {**answer.headers, "Retry-After": f"{fault.retry_after:.0f}"})

    def credential(self, request: Request) -> str:
        return request.headers.get("authorization", "").removeprefix("Bearer ")

    def operation_failed(self, request: Request, answer: Answer, fault: Fault) -> Answer:  # noqa: ARG002 - the protocol's
        """Let the accepted write fail when its time comes; its effect only comes then, so nothing is undone."""
        if answer.status < 400 and "operationType" in (answer.body or {}):  # noqa: PLR2004 - HTTP's errors
            code = fault.code or "INTERNAL_ERROR"
            self._project.fail(answer.body["name"], Failure(_FAILURES.get(code, 400), code, f"{code} on purpose"))
        return answer


def good(body: Document) -> Answer:
    """Answer with a document as it stands now, whatever becomes of it before it is sent."""
    return Answer(200, copy.deepcopy(body), HEADERS)


def error(refusal: Refusal) -> Answer:
    one = {"message": refusal.message, "domain": "global", "reason": refusal.reason}
    return Answer(
        refusal.status, {"error": {"code": refusal.status, "message": refusal.message, "errors": [one]}}, HEADERS
    )
