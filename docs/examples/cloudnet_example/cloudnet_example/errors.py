"""The router's refusals in cloudnet's words, by HTTP status. Pure."""

from __future__ import annotations

from dataclasses import dataclass

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

NAME = "example"
SERVER_ERRORS = 500  # and above: the router's own fault


@dataclass(frozen=True, slots=True)
class Refusal:
    """What one refused call came back with. ``call`` is its name in messages and metrics."""

    call: str
    status: int
    message: str = ""
    request_id: str = ""
    retry_after: float | None = None


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
    return error(
        f"{refusal.call} was refused: {refusal.message or 'no message'}{_REMEDIES.get(error, '')}",
        provider=NAME,
        code=str(refusal.status),
        request_id=refusal.request_id,
        status=refusal.status,
        retry_after=refusal.retry_after,
    )
