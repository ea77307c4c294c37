import pytest

from cloudnet.provider.errors import (
    Conflict,
    Exhausted,
    NotFound,
    PermissionDenied,
    QuotaExceeded,
    Throttled,
    Unavailable,
    Unsupported,
)
from cloudnet_gcp.errors import PERMISSIONS, Refusal, classify, translate


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (403, "rateLimitExceeded", Throttled),
        (403, "userRateLimitExceeded", Throttled),
        (403, "RATE_LIMIT_EXCEEDED", Throttled),
        (429, "quotaExceeded", Throttled),
        (429, "", Throttled),
        (503, "rateLimitExceeded", Throttled),
        (403, "quotaExceeded", QuotaExceeded),
        (403, "QUOTA_EXCEEDED", QuotaExceeded),
        (400, "QUOTA_EXCEEDED", QuotaExceeded),
        (0, "QUOTA_EXCEEDED", QuotaExceeded),
        (403, "limitExceeded", QuotaExceeded),
        (400, "IP_SPACE_EXHAUSTED", Exhausted),
        (403, "IP_SPACE_EXHAUSTED_WITH_DETAILS", Exhausted),
        (403, "forbidden", PermissionDenied),
        (403, "", PermissionDenied),
        (403, "never seen", PermissionDenied),
        (403, "accessNotConfigured", PermissionDenied),
        (401, "authError", PermissionDenied),
        (0, "PERMISSIONS_ERROR", PermissionDenied),
        (404, "notFound", NotFound),
        (404, "never seen", NotFound),
        (0, "RESOURCE_NOT_FOUND", NotFound),
        (409, "alreadyExists", Conflict),
        (0, "RESOURCE_ALREADY_EXISTS", Conflict),
        (400, "resourceInUseByAnotherResource", Conflict),
        (412, "conditionNotMet", Conflict),
        (400, "resourceNotReady", Unavailable),
        (500, "internalError", Unavailable),
        (503, "backendError", Unavailable),
        (502, "", Unavailable),
        (0, "INTERNAL_ERROR", Unavailable),
        (0, "NEVER_SEEN", Unavailable),
        (400, "invalid", Unsupported),
        (400, "required", Unsupported),
        (400, "NEVER_SEEN", Unsupported),
    ],
)
def test_status_decides_first_and_the_reason_where_a_status_is_several_things(status, code, expected):
    assert classify(Refusal("compute.routes.insert", status, code)) is expected


def test_a_refusal_keeps_what_google_said():
    error = translate(
        Refusal("compute.routes.insert", 409, "alreadyExists", "There is one.", request_id="operation-1")
    )

    assert (error.code, error.status, error.request_id) == ("alreadyExists", 409, "operation-1")
    assert str(error) == (
        "gcp: compute.routes.insert met a conflict: There is one (code alreadyExists, request operation-1)"
    )


def test_a_missing_permission_is_named():
    error = translate(Refusal("compute.routes.insert", 403, "forbidden", "Required permission"))

    for permission in PERMISSIONS["compute.routes.insert"]:
        assert permission in str(error)


@pytest.mark.parametrize(
    ("refusal", "remedy"),
    [
        (Refusal("compute.routes.list", 403, "accessNotConfigured"), "enable the Compute Engine API"),
        (Refusal("compute.routes.list", 401, "authError"), "check the credentials"),
        (Refusal("compute.routes.insert", 403, "quotaExceeded"), "raise the quota of static routes"),
        (Refusal("compute.instances.updateNetworkInterface", 403, "quotaExceeded"), "quota of alias ranges"),
        (Refusal("compute.instances.updateNetworkInterface", 400, "IP_SPACE_EXHAUSTED"), "larger secondary range"),
    ],
    ids=lambda v: v.code if isinstance(v, Refusal) else "",
)
def test_what_a_person_can_do_is_said(refusal, remedy):
    assert remedy in str(translate(refusal))


def test_secrets_and_novels_do_not_get_into_messages():
    error = translate(Refusal("a", 400, "invalid", "ya29.secret " + "x" * 1000), secrets=["ya29.secret"])

    assert "ya29" not in str(error)
    assert len(str(error)) < 500
