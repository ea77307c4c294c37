"""AWS's refusals in our words: HTTP status first, then the family of the code. Pure; knows no SDK.

EC2 answers most refusals with status 400 and a code that says the rest, so the families below carry the weight;
a code that none of them knows is ``Unsupported`` for a 4xx and ``Unavailable`` for a 5xx. Sources: EC2 API
Reference, "Error codes for the Amazon EC2 API"; Service Quotas API Reference, "GetServiceQuota".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

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

NAME = "aws"
LONGEST = 400  # characters of AWS's own message that we pass on: encoded authorization failures fill a screen


@dataclass(frozen=True, slots=True)
class Refusal:
    """What one refused call came back with. ``action`` is the API's name of it, e.g. ``ec2:CreateRoute``."""

    action: str
    status: int = 0
    code: str = ""
    message: str = ""
    request_id: str = ""
    retry_after: float | None = None


# The first family that matches decides: RequestLimitExceeded is throttling before it is a limit.
_FAMILIES: tuple[tuple[type[ProviderError], re.Pattern[str]], ...] = (
    (Throttled, re.compile(r"^RequestLimitExceeded|Throttl|TooManyRequests|^SlowDown|RequestRateExceeded")),
    (
        PermissionDenied,
        re.compile(
            r"^Unauthorized|^AccessDenied|^AuthFailure|^Auth\w*Exception|NotAuthorized|Expired|^InvalidClientTokenId"
            r"|^InvalidAccessKeyId|^UnrecognizedClient|^SignatureDoesNotMatch|^MissingAuthenticationToken"
            r"|^IncompleteSignature|^OptInRequired|^Blocked$|^PendingVerification|TooSkewed"
        ),
    ),
    (NotFound, re.compile(r"\.NotFound$|\.Malformed$|NotFound(Exception)?$|^NoSuchResource")),
    (Exhausted, re.compile(r"^Insufficient(Free|Cidr)")),
    (QuotaExceeded, re.compile(r"LimitExceeded|QuotaExceeded")),
    (Conflict, re.compile(r"AlreadyExists|\.Conflict$|^Concurrent|^Incorrect\w*State|\.InUse$|^DependencyViolation")),
    (Unavailable, re.compile(r"^Internal|^Unavailable|^ServiceUnavailable|^RequestTimeout|^ServerInternal")),
)

_STATUSES: dict[int, type[ProviderError]] = {
    401: PermissionDenied,
    403: PermissionDenied,
    404: NotFound,
    408: Unavailable,
    409: Conflict,
    412: Conflict,
    429: Throttled,
}


def classify(refusal: Refusal) -> type[ProviderError]:
    """Return the class of the refusal."""
    family = next((error for error, pattern in _FAMILIES if pattern.search(refusal.code)), None)
    if refusal.status >= 500:  # noqa: PLR2004  the HTTP class of server errors
        return Throttled if family is Throttled else Unavailable
    if refusal.status in _STATUSES:
        return _STATUSES[refusal.status]
    if refusal.action == "ec2:DeleteNetworkInterface" and re.search("in use", refusal.message):
        return Unavailable  # detaching takes seconds, and until then it cannot be deleted
    if refusal.action == "ec2:AttachNetworkInterface" and "device index" in refusal.message:
        return Conflict  # somebody else attached an interface there meanwhile
    if refusal.action == "ec2:ReplaceRoute" and "no route defined" in refusal.message:
        return NotFound  # EC2 says InvalidParameterValue here
    return family or Unsupported


def translate(refusal: Refusal, *, secrets: Iterable[str] = ()) -> ProviderError:
    """Return the refusal as one of our errors, without any of ``secrets``."""
    error = classify(refusal)
    message = refusal.message.strip().rstrip(".") or "no message"
    for secret in secrets:
        message = message.replace(secret, "***")
    if len(message) > LONGEST:
        message = message[:LONGEST] + "…"
    return error(
        f"{refusal.action} {_WORDS[error]}: {message}{_remedy(error, refusal)}",
        provider=NAME,
        code=refusal.code,
        request_id=refusal.request_id,
        status=refusal.status,
        retry_after=refusal.retry_after,
    )


_WORDS: dict[type[ProviderError], str] = {
    Throttled: "was throttled",
    PermissionDenied: "was not allowed",
    NotFound: "found nothing",
    QuotaExceeded: "reached a quota",
    Exhausted: "found no free address",
    Conflict: "met a conflict",
    Unavailable: "failed",
    Unsupported: "was refused",
}


def _remedy(error: type[ProviderError], refusal: Refusal) -> str:
    if error is QuotaExceeded and refusal.action == "ec2:CreateRoute":
        return "; raise the quota L-93826ACB (routes per route table) or remove routes"
    if error is not PermissionDenied:
        return ""
    if re.search("Expired|TooSkewed", refusal.code):
        return "; renew the credentials and check this machine's clock"
    if re.search("^Unauthorized|^AccessDenied|NotAuthorized", refusal.code):
        return f"; allow {refusal.action} in the role's policy"
    return "; check the credentials"
