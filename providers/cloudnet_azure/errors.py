"""Azure's refusals in our words: HTTP status first, then the family of the code. Pure; knows no SDK.

Many codes of Azure Resource Manager are documented nowhere, so a code that nobody has seen yet must still land in the
right class: the status decides where it can, and the families below know words, not codes. An operation that was
accepted and failed later has a code and no status. Sources: recorded traffic of cloud-provider-azure; "Troubleshoot
common Azure deployment errors" and "Understand how Azure Resource Manager throttles requests".
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from cloudnet.provider import refusals
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
from cloudnet.provider.refusals import Refusal

NAME = "azure"


class Busy(Unavailable):
    """Another operation holds the resource; ``retry_after`` is how long Azure thinks that it will.

    The calls of everything else go on meanwhile: this is a lock, not a rate.
    """

    retry = False  # not within the deadline of one call; the client waits as long as for an operation


# A resource that another operation holds answers 429, 409 or 400. That is no rate: only this resource has to wait.
_BUSY = re.compile(r"AnotherOperation|Preempted|InProgress|BeingUpdated|Locked?ByOperation|^Canceled", re.IGNORECASE)

# The first family that matches decides.
_FAMILIES: tuple[tuple[type[ProviderError], re.Pattern[str]], ...] = (
    (Busy, _BUSY),
    (Throttled, re.compile(r"Throttl|TooManyRequests|RateLimit", re.IGNORECASE)),
    (
        PermissionDenied,
        re.compile(r"Authoriz|Authent|Forbidden|DisallowedByPolicy|ExpiredAuth|InvalidAuth|ScopeLocked"),
    ),
    (
        Exhausted,
        re.compile(
            r"SubnetIsFull|(NotEnough|Insufficient|NoFree|NoAvailable|OutOf).*(Address|Prefix|Cidr|Capacity)"
            r"|(Address|Prefix|Cidr).*(Exhaust|Unavailable|NotAvailable)",
            re.IGNORECASE,
        ),
    ),
    (QuotaExceeded, re.compile(r"Limit|Quota|Exceed|TooManyRoutes", re.IGNORECASE)),
    (NotFound, re.compile(r"NotFound|DoesNotExist", re.IGNORECASE)),
    (
        Conflict,
        re.compile(r"Conflict|Duplicate|AlreadyExist|Precondition|Etag|InUse|Overlap|SameAddress", re.IGNORECASE),
    ),
    (Unavailable, re.compile(r"^Retryable|Internal|ServerBusy|Unavailable|Timeout|TimedOut", re.IGNORECASE)),
)

_STATUSES: dict[int, type[ProviderError]] = {
    401: PermissionDenied,
    403: PermissionDenied,
    404: NotFound,
    408: Unavailable,
    412: Conflict,
}


def classify(refusal: Refusal) -> type[ProviderError]:
    """Return the class of the refusal."""
    family = next((error for error, pattern in _FAMILIES if pattern.search(refusal.code)), None)
    if refusal.status == 0:
        return family or Unavailable  # an operation that failed for a reason of its own: perhaps not the next time
    if refusal.status >= 500:  # noqa: PLR2004  the HTTP class of server errors
        return Throttled if family is Throttled else Unavailable
    if refusal.status == 429:  # noqa: PLR2004  too many requests
        return Busy if family is Busy else Throttled
    if refusal.status == 409:  # noqa: PLR2004  a conflict, unless the code says of what kind
        return family if family in (Busy, Unavailable, Exhausted, QuotaExceeded, PermissionDenied) else Conflict
    if refusal.status == 403 and family in (QuotaExceeded, Throttled):  # noqa: PLR2004  forbidden, by a limit
        return family
    return _STATUSES.get(refusal.status) or family or Unsupported


def translate(refusal: Refusal, *, secrets: Iterable[str] = ()) -> ProviderError:
    """Return the refusal as one of our errors, without any of ``secrets``."""
    error = classify(refusal)
    return refusals.say(refusal, error, provider=NAME, remedy=_remedy(error, refusal), words=_WORDS, secrets=secrets)


_WORDS = {**refusals.WORDS, Busy: "has to wait for another operation"}


def _remedy(error: type[ProviderError], refusal: Refusal) -> str:
    if error is QuotaExceeded and "routeTables" in refusal.action:
        return "; have the routes per table raised or remove routes, and set routes_per_table to what fits"
    if error is not PermissionDenied:
        return ""
    if refusal.status == 401:  # noqa: PLR2004  unauthorized: not known, rather than not allowed
        return "; check the credentials, and this machine's clock"
    if "Policy" in refusal.code:
        return "; an Azure Policy forbids it: have the resource group exempted"
    if "Lock" in refusal.code:
        return "; remove the management lock"
    return f"; allow {refusal.action} in a role of this identity"
