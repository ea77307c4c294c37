"""Compute Engine's refusals in our words: HTTP status first, then the reason. Pure; knows no SDK.

403 is three things at once: a permission that is missing, a quota of resources, and a rate. Only the reason tells
them apart. A failure inside an operation carries the status that it would have been and a code in another spelling
(``QUOTA_EXCEEDED`` for ``quotaExceeded``); the families below know both. Sources: Compute Engine API, "Handle API
errors" and "Compute Engine rate quotas"; AIP-193 for the codes of operations.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

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

NAME = "gcp"

PERMISSIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "compute.routes.list": ("compute.routes.list",),
        "compute.routes.get": ("compute.routes.get",),
        "compute.routes.insert": ("compute.routes.create", "compute.networks.updatePolicy", "compute.instances.use"),
        "compute.routes.delete": ("compute.routes.delete", "compute.networks.updatePolicy"),
        "compute.globalOperations.list": ("compute.globalOperations.list",),
        "compute.zoneOperations.list": ("compute.zoneOperations.list",),
        "compute.instances.aggregatedList": ("compute.instances.list",),
        "compute.instances.get": ("compute.instances.get",),
        "compute.instances.updateNetworkInterface": (
            "compute.instances.updateNetworkInterface",
            "compute.subnetworks.use",
        ),
        "compute.projects.get": ("compute.projects.get",),
        "compute.subnetworks.get": ("compute.subnetworks.get",),
        "compute.subnetworks.aggregatedList": ("compute.subnetworks.list",),
        "compute.networks.get": ("compute.networks.get",),
        "compute.firewalls.list": ("compute.firewalls.list",),
        "cloudresourcemanager.projects.testIamPermissions": (),
    }
)
"""``{call: the IAM permissions that it needs}``: every call that this package makes, and nothing else."""


# The first family that matches decides: rateLimitExceeded is throttling before it is a limit.
_FAMILIES: tuple[tuple[type[ProviderError], re.Pattern[str]], ...] = (
    (Throttled, re.compile(r"rate_?limit|RATE_EXCEEDED|CONCURRENT_OPERATIONS|tooManyRequests", re.IGNORECASE)),
    (Exhausted, re.compile(r"IP_SPACE|exhausted", re.IGNORECASE)),
    (QuotaExceeded, re.compile(r"quota|limit_?exceeded", re.IGNORECASE)),
    (Unavailable, re.compile(r"not_?ready|internal|backend_?error|unavailable|timeout|deadline", re.IGNORECASE)),
    (NotFound, re.compile(r"not_?found", re.IGNORECASE)),
    (Conflict, re.compile(r"already_?exists|in_?use|condition_?not_?met|precondition|conflict", re.IGNORECASE)),
    (
        PermissionDenied,
        re.compile(r"forbidden|permission|auth|access_?not|required|policy|billing|suspended", re.IGNORECASE),
    ),
)

_STATUSES: dict[int, type[ProviderError]] = {
    401: PermissionDenied,
    404: NotFound,
    408: Unavailable,
    409: Conflict,
    412: Conflict,
    429: Throttled,
}
_FORBIDDEN = 403
_SERVER = 500


def classify(refusal: Refusal) -> type[ProviderError]:
    """Return the class of the refusal."""
    family = next((error for error, pattern in _FAMILIES if pattern.search(refusal.code)), None)
    if refusal.status >= _SERVER:
        return Throttled if family is Throttled else Unavailable
    if refusal.status in _STATUSES:
        return _STATUSES[refusal.status]
    if refusal.status == _FORBIDDEN:
        return family if family in (Throttled, QuotaExceeded, Exhausted) else PermissionDenied
    if refusal.status:
        return Unsupported if family in (None, PermissionDenied) else family  # 400 ``required`` is a missing field
    return family or Unavailable


def translate(refusal: Refusal, *, secrets: Iterable[str] = ()) -> ProviderError:
    """Return the refusal as one of our errors, without any of ``secrets``."""
    error = classify(refusal)
    return refusals.say(refusal, error, provider=NAME, remedy=_remedy(error, refusal), words=_WORDS, secrets=secrets)


_WORDS = {**refusals.WORDS, Exhausted: "found no free range"}


_ROOM: Mapping[tuple[type[ProviderError], str], str] = MappingProxyType(
    {
        (QuotaExceeded, "compute.routes.insert"): (
            "; raise the quota of static routes per VPC network, or remove routes"
        ),
        (QuotaExceeded, "compute.instances.updateNetworkInterface"): (
            "; raise the quota of alias ranges per VPC network"
        ),
        (Exhausted, "compute.instances.updateNetworkInterface"): "; give the subnet a larger secondary range",
    }
)


def _remedy(error: type[ProviderError], refusal: Refusal) -> str:
    if error is not PermissionDenied:
        return _ROOM.get((error, refusal.action), "")
    if refusal.status == 401:  # noqa: PLR2004  HTTP's own number
        return "; check the credentials and this machine's clock"
    if re.search("access_?not_?configured|SERVICE_DISABLED", refusal.code, re.IGNORECASE):
        return "; enable the Compute Engine API in the project"
    wanted = ", ".join(PERMISSIONS.get(refusal.action, (refusal.action,)))
    return f"; grant {wanted} to the controller's service account"
