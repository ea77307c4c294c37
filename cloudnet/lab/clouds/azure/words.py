"""How Azure Resource Manager says no: status, code, body, in the shapes of recorded traffic. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from cloudnet.lab.clouds.simulator import Answer, Request
from cloudnet.lab.clouds.trouble import Fault, Trouble


@dataclass(frozen=True, slots=True)
class Codes:
    """Codes that no source shows; tests vary them.

    ``routes``: too many in a table. ``duplicate``: a prefix twice. ``prefixes``: a subnet without a free block.
    ``configurations``: too many on an interface.
    """

    routes: str = "RouteCountLimitReached"
    routes_status: int = 400
    duplicate: str = "DuplicateRouteAddressPrefix"
    prefixes: str = "SubnetIsFull"
    configurations: str = "PrivateIPAddressesPerNetworkInterfaceLimitReached"


def error(status: int, code: str, message: str, *, retry_after: float | None = None, **more: Any) -> Answer:
    """Return an error; ``more`` goes beside code and message. ARM's gateway marks what it did not find itself."""
    headers = {"x-ms-request-id": str(uuid4())}
    if retry_after is not None:
        headers["Retry-After"] = str(max(1, round(retry_after)))
    if code in {"ResourceNotFound", "ResourceGroupNotFound"}:
        headers["x-ms-failure-cause"] = "gateway"
    return Answer(status, {"error": {"code": code, "message": message, **more}}, headers)


def not_found(kind: str, name: str, group: str) -> Answer:
    return error(
        404,
        "ResourceNotFound",
        f"The Resource '{kind}/{name}' under resource group '{group}' was not found. "
        "For more details please go to https://aka.ms/ARMResourceNotFoundFix",
    )


def group_not_found(group: str) -> Answer:
    return error(404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found.")


def child_not_found(resource: str) -> Answer:
    return error(404, "NotFound", f"Resource {resource} not found.", details=[])


def etag_mismatch(wanted: str, etag: str, resource: str) -> Answer:
    said = (
        f"Etag provided in if-match header {wanted} does not match etag {etag} of resource {resource} "
        "in NRP data store."
    )
    details = [{"code": "PreconditionFailedEtagMismatch", "message": said}]
    return error(412, "PreconditionFailed", "Precondition failed.", details=details)


def compute_etag_mismatch(wanted: str, etag: str) -> Answer:
    said = f'Etag provided in if-match header "{wanted}" does not match etag {etag} of resource.'
    return error(412, "PreconditionFailed", said)


def busy(resource: str, seconds: float) -> Answer:
    """Return the answer to a write of what another operation holds: a lock, not a rate."""
    return error(
        429,
        "RetryableErrorDueToAnotherOperation",
        f"Operation on resource {resource} is preempted or waits for another operation. Retry later.",
        retry_after=seconds,
        details=[],
    )


def too_many_routes(limit: int, codes: Codes) -> Answer:
    said = f"Cannot have more than {limit} routes in a route table."
    return error(codes.routes_status, codes.routes, said, details=[])


def duplicate(name: str, other: str, prefix: str, codes: Codes) -> Answer:
    return error(
        400, codes.duplicate, f"Routes {name} and {other} have the same address prefix {prefix}.", details=[]
    )


def invalid(message: str, code: str = "InvalidRequestFormat") -> Answer:
    return error(400, code, message, details=[])


_Refuse = Callable[[Request, Fault, Codes], tuple[int, str, str]]

_REFUSALS: dict[Trouble, _Refuse] = {
    Trouble.THROTTLE: lambda *_: (
        429,
        "SubscriptionRequestsThrottled",
        "Number of requests for subscription exceeded the limit. Please try again later.",
    ),
    Trouble.PERMISSION: lambda request, *_: (
        403,
        "AuthorizationFailed",
        f"The client 'cloudnet' does not have authorization to perform {request.call} over scope '{request.path}'.",
    ),
    Trouble.AUTHENTICATION: lambda *_: (401, "InvalidAuthenticationToken", "The access token is invalid."),
    Trouble.QUOTA: lambda _request, _fault, codes: (
        codes.routes_status,
        codes.routes,
        "The limit of this subscription is reached.",
    ),
    Trouble.NOT_FOUND: lambda request, *_: (404, "ResourceNotFound", f"The Resource '{request.path}' was not found."),
    Trouble.CONFLICT: lambda *_: (409, "Conflict", "The request conflicts with the state of the resource."),
    Trouble.PRECONDITION: lambda *_: (412, "PreconditionFailed", "Precondition failed."),
    Trouble.UNAVAILABLE: lambda *_: (503, "ServiceUnavailable", "The service is not available. Try again later."),
    Trouble.INTERNAL: lambda *_: (500, "InternalServerError", "An error occurred."),
}


def refuse(request: Request, fault: Fault, codes: Codes) -> Answer:
    status, code, message = _REFUSALS[fault.trouble](request, fault, codes)
    return error(status, fault.code or code, message, retry_after=fault.retry_after)
