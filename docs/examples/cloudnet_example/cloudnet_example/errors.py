"""The router's refusals in cloudnet's words, by HTTP status. Pure."""

from __future__ import annotations

from cloudnet.provider import refusals
from cloudnet.provider.errors import (
    Conflict,
    NotFound,
    PermissionDenied,
    ProviderError,
    QuotaExceeded,
    Throttled,
    Unavailable,
    Unsupported,
)
from cloudnet.provider.refusals import Refusal

NAME = "example"
SERVER_ERRORS = 500  # and above: the router's own fault


_CLASSES: dict[int, type[ProviderError]] = {
    401: PermissionDenied,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    429: Throttled,
    507: QuotaExceeded,
}

_REMEDIES: dict[type[ProviderError], str] = {
    PermissionDenied: "; check the token and what it may do",
    QuotaExceeded: "; remove routes, or buy the larger table",
}


def translate(refusal: Refusal) -> ProviderError:
    """Return the refusal as one of cloudnet's errors; an unknown status is our fault below 500, else the router's."""
    unknown = Unavailable if refusal.status >= SERVER_ERRORS else Unsupported
    error = _CLASSES.get(refusal.status, unknown)
    return refusals.say(refusal, error, provider=NAME, remedy=_REMEDIES.get(error, ""))
