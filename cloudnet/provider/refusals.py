"""A cloud's refusal, and how it is put into our words once a plugin has found its class and the remedy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cloudnet.provider.errors import (
    Conflict,
    Exhausted,
    NotFound,
    PermissionDenied,
    ProviderError,
    QuotaExceeded,
    Throttled,
    Unavailable,
    Unsupported,
)

LONGEST = 400  # characters of the cloud's own message that are passed on: some fill a screen


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a refused call came back with.

    ``action`` is what the cloud calls the call or its permission. ``status`` is HTTP's, 0 where there was none.
    ``request_id`` is what the cloud's support asks for: of the request, or of the operation that it began.
    """

    action: str
    status: int = 0
    code: str = ""
    message: str = ""
    request_id: str = ""
    retry_after: float | None = None


WORDS: Mapping[type[ProviderError], str] = MappingProxyType(
    {
        Throttled: "was throttled",
        PermissionDenied: "was not allowed",
        NotFound: "found nothing",
        QuotaExceeded: "reached a quota",
        Exhausted: "found no free address",
        Conflict: "met a conflict",
        Unavailable: "failed",
        Unsupported: "was refused",
    }
)


def say(
    refusal: Refusal,
    error: type[ProviderError],
    *,
    provider: str,
    remedy: str = "",
    words: Mapping[type[ProviderError], str] = WORDS,
    secrets: Iterable[str] = (),
) -> ProviderError:
    """Return the refusal as an error of that class, with the remedy behind it and without any of ``secrets``."""
    message = " ".join(refusal.message.split()).rstrip(".") or "no message"
    for secret in secrets:
        message = message.replace(secret, "***")
    if len(message) > LONGEST:
        message = message[:LONGEST] + "…"
    return error(
        f"{refusal.action} {words[error]}: {message}{remedy}",
        provider=provider,
        code=refusal.code,
        request_id=refusal.request_id,
        status=refusal.status,
        retry_after=refusal.retry_after,
    )
