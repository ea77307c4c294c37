from __future__ import annotations

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
from cloudnet_azure.errors import Busy, Refusal, classify, translate

KNOWN = [
    (429, "SubscriptionRequestsThrottled", Throttled),
    (429, "TooManyRequests", Throttled),
    (429, "", Throttled),
    (429, "RetryableErrorDueToAnotherOperation", Busy),
    (409, "AnotherOperationInProgress", Busy),
    (409, "OperationPreempted", Busy),
    (400, "RetryableErrorDueToAnotherOperation", Busy),
    (401, "InvalidAuthenticationToken", PermissionDenied),
    (403, "AuthorizationFailed", PermissionDenied),
    (403, "LinkedAuthorizationFailed", PermissionDenied),
    (403, "RequestDisallowedByPolicy", PermissionDenied),
    (409, "ScopeLocked", PermissionDenied),
    (403, "", PermissionDenied),
    (400, "RouteCountLimitReached", QuotaExceeded),
    (409, "PublicIPCountLimitReached", QuotaExceeded),
    (400, "QuotaExceeded", QuotaExceeded),
    (403, "QuotaExceeded", QuotaExceeded),
    (400, "SubnetIsFull", Exhausted),
    (409, "SubnetIsFull", Exhausted),
    (400, "InsufficientAddressPrefixes", Exhausted),
    (404, "ResourceNotFound", NotFound),
    (404, "ResourceGroupNotFound", NotFound),
    (404, "", NotFound),
    (409, "Conflict", Conflict),
    (409, "", Conflict),
    (412, "PreconditionFailed", Conflict),
    (400, "DuplicateRouteAddressPrefix", Conflict),
    (500, "InternalServerError", Unavailable),
    (503, "ServiceUnavailable", Unavailable),
    (503, "SubscriptionRequestsThrottled", Throttled),
    (408, "RequestTimeout", Unavailable),
    (400, "InvalidRequestFormat", Unsupported),
    (405, "", Unsupported),
    (0, "AnotherOperationInProgress", Busy),
    (0, "Canceled", Busy),
    (0, "SubscriptionQuotaExceeded", QuotaExceeded),
    (0, "LinkedAuthorizationFailed", PermissionDenied),
    (0, "NetworkingInternalOperationError", Unavailable),
    (0, "NeverSeenBefore", Unavailable),
]


@pytest.mark.parametrize(("status", "code", "error"), KNOWN, ids=[f"{s}-{c or 'none'}" for s, c, _ in KNOWN])
def test_a_refusal_is_classified_by_status_then_by_the_family_of_its_code(status, code, error):
    assert classify(Refusal("Microsoft.Network/routeTables/routes/write", status, code)) is error


@pytest.mark.parametrize(
    "code", ["RouteCountLimitReached", "MaxRoutesPerTableLimitExceeded", "RoutesQuotaReached", "RouteLimit"]
)
@pytest.mark.parametrize("status", [400, 403, 409])
def test_whatever_azure_calls_a_full_table_it_is_a_quota(status, code):
    assert classify(Refusal("Microsoft.Network/routeTables/write", status, code)) is QuotaExceeded


def test_the_message_names_the_action_and_the_remedy():
    error = translate(Refusal("Microsoft.Network/routeTables/write", 403, "AuthorizationFailed", "No.", "req-1"))

    assert str(error) == (
        "azure: Microsoft.Network/routeTables/write was not allowed: No; allow Microsoft.Network/routeTables/write "
        "in a role of this identity (code AuthorizationFailed, request req-1)"
    )


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (401, "ExpiredAuthenticationToken", "check the credentials"),
        (403, "RequestDisallowedByPolicy", "an Azure Policy forbids it"),
        (409, "ScopeLocked", "remove the management lock"),
        (400, "RouteCountLimitReached", "set routes_per_table to what fits"),
    ],
)
def test_each_kind_of_no_has_its_own_remedy(status, code, says):
    assert says in str(translate(Refusal("Microsoft.Network/routeTables/write", status, code)))


def test_a_secret_in_the_message_is_blotted_out_and_a_long_one_cut():
    error = translate(Refusal("a/read", 400, "X", "SECRET" + "x" * 1000), secrets=["SECRET"])

    assert "SECRET" not in str(error)
    assert len(str(error)) < 500


def test_a_lock_is_unavailable_and_not_tried_again_within_the_deadline_of_a_call():
    error = translate(Refusal("a/write", 429, "RetryableErrorDueToAnotherOperation", retry_after=11.0))

    assert isinstance(error, Unavailable)
    assert not error.retry
    assert error.retry_after == 11.0
