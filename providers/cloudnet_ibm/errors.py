"""IBM Cloud's refusals in our words: HTTP status first, then the family of the code. Pure; knows no SDK.

The VPC API answers ``{"errors": [{"code", "message", "more_info", "target"}], "trace"}``, IAM ``{"errorCode",
"errorMessage"}``. Only ``over_quota`` has been seen in the wild; the other codes are guessed at by their words, so
nothing depends on one of them: a status that says enough is enough.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

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

NAME = "ibm"


_STATUSES: dict[int, type[ProviderError]] = {
    401: PermissionDenied,
    404: NotFound,
    408: Unavailable,
    412: Conflict,
    429: Throttled,
}
"""Statuses that leave nothing to a code."""

_UNCLEAR: dict[int, type[ProviderError]] = {403: PermissionDenied, 409: Conflict}
"""What these mean unless a code says that a quota is behind them."""

_QUOTA = re.compile(r"quota|limit_exceeded|exceeds_limit|over_limit|too_many(?!_requests)", re.IGNORECASE)
_FAMILIES: tuple[tuple[type[ProviderError], re.Pattern[str]], ...] = (
    (PermissionDenied, re.compile(r"^BXNIM|not_authori|unauthori|forbidden|invalid_api_?key|token", re.IGNORECASE)),
    (Throttled, re.compile(r"too_many_requests|rate_limit|throttl", re.IGNORECASE)),
    (NotFound, re.compile(r"not_found|does_not_exist", re.IGNORECASE)),
    (Conflict, re.compile(r"conflict|in_use|unique|duplicate|already_exists|etag|precondition", re.IGNORECASE)),
)


def classify(refusal: Refusal) -> type[ProviderError]:
    """Return the class of the refusal."""
    if refusal.status >= 500:  # noqa: PLR2004  the HTTP class of server errors
        return Unavailable
    if refusal.status in _STATUSES:
        return _STATUSES[refusal.status]
    if _QUOTA.search(refusal.code):
        return QuotaExceeded
    if refusal.status in _UNCLEAR:
        return _UNCLEAR[refusal.status]
    return next((error for error, pattern in _FAMILIES if pattern.search(refusal.code)), Unsupported)


def translate(refusal: Refusal, *, secrets: Iterable[str] = ()) -> ProviderError:
    """Return the refusal as one of our errors, without any of ``secrets``."""
    error = classify(refusal)
    return refusals.say(refusal, error, provider=NAME, remedy=_remedy(error, refusal), secrets=secrets)


_SPOOFING = frozenset({"update_virtual_network_interface", "update_instance_network_interface"})


def _remedy(error: type[ProviderError], refusal: Refusal) -> str:
    if error is QuotaExceeded and refusal.action == "create_vpc_routing_table_route":
        return "; raise the quota of routes per routing table, or remove routes"
    if error is not PermissionDenied:
        return ""
    if refusal.status == 401 or refusal.code.startswith("BXNIM"):  # noqa: PLR2004  HTTP's Unauthorized
        return "; check the credentials"
    if refusal.action in _SPOOFING:
        return "; grant the role IP Spoofing Operator on VPC Infrastructure Services"
    role = "Viewer" if refusal.action.startswith("list_") else "Editor"
    return f"; grant the role {role} on VPC Infrastructure Services"
