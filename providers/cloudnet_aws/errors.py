"""AWS's refusals in our words: HTTP status first, then the family of the code. Pure; knows no SDK.

EC2 answers most refusals with status 400 and a code that says the rest, so the families below carry the weight;
a code that none of them knows is ``Unsupported`` for a 4xx and ``Unavailable`` for a 5xx. Sources: EC2 API
Reference, "Error codes for the Amazon EC2 API"; Service Quotas API Reference, "GetServiceQuota".
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

NAME = "aws"


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
    return refusals.say(refusal, error, provider=NAME, remedy=_remedy(error, refusal), secrets=secrets)


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
