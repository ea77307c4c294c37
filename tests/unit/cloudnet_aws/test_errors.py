import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from cloudnet.provider.refusals import LONGEST
from cloudnet_aws.errors import Refusal, classify, translate

CASES = [
    (503, "RequestLimitExceeded", Throttled),
    (400, "RequestLimitExceeded", Throttled),
    (400, "Throttling", Throttled),
    (400, "ThrottlingException", Throttled),
    (429, "TooManyRequestsException", Throttled),
    (429, "SomethingNew", Throttled),
    (403, "UnauthorizedOperation", PermissionDenied),
    (400, "UnauthorizedOperation", PermissionDenied),
    (403, "AccessDenied", PermissionDenied),
    (400, "AccessDeniedException", PermissionDenied),
    (401, "AuthFailure", PermissionDenied),
    (400, "ExpiredToken", PermissionDenied),
    (400, "RequestExpired", PermissionDenied),
    (403, "InvalidClientTokenId", PermissionDenied),
    (400, "UnrecognizedClientException", PermissionDenied),
    (403, "SomethingNew", PermissionDenied),
    (400, "OptInRequired", PermissionDenied),
    (400, "RouteLimitExceeded", QuotaExceeded),
    (400, "NetworkAddressUsageLimitExceeded", QuotaExceeded),
    (400, "InsufficientFreeAddressesInSubnet", Exhausted),
    (400, "InsufficientCidrBlocks", Exhausted),
    (400, "PrivateIpAddressLimitExceeded", QuotaExceeded),
    (400, "AttachmentLimitExceeded", QuotaExceeded),
    (400, "InvalidRouteTableID.NotFound", NotFound),
    (400, "InvalidRoute.NotFound", NotFound),
    (400, "InvalidNetworkInterfaceID.NotFound", NotFound),
    (400, "InvalidVpcID.NotFound", NotFound),
    (404, "NoSuchResourceException", NotFound),
    (400, "RouteAlreadyExists", Conflict),
    (400, "IncorrectInstanceState", Conflict),
    (409, "SomethingNew", Conflict),
    (500, "InternalError", Unavailable),
    (503, "Unavailable", Unavailable),
    (502, "", Unavailable),
    (500, "AccessDenied", Unavailable),
    (400, "InvalidParameterValue", Unsupported),
    (400, "SomethingNew", Unsupported),
]


@pytest.mark.parametrize(("status", "code", "error"), CASES, ids=[f"{s}-{c}" for s, c, _ in CASES])
def test_each_refusal_lands_in_its_class(status, code, error):
    assert classify(Refusal("ec2:CreateRoute", status, code)) is error


@given(st.sampled_from([500, 502, 503, 504]), st.text(max_size=30))
def test_a_server_error_is_worth_trying_again_whatever_its_code(status, code):
    assert classify(Refusal("ec2:CreateRoute", status, code)).retry


@given(st.sampled_from([401, 403]), st.text(max_size=30))
def test_a_forbidden_call_is_a_matter_of_permission_whatever_its_code(status, code):
    assert classify(Refusal("ec2:CreateRoute", status, code)) is PermissionDenied


@given(st.integers(0, 599), st.text(max_size=40), st.text(max_size=40))
def test_every_refusal_has_a_class(status, code, message):
    assert isinstance(translate(Refusal("ec2:CreateRoute", status, code, message)), ProviderError)


def test_replacing_a_route_that_is_absent_is_not_found():
    message = "There is no route defined for '10.65.0.0/26' in the route table. Use CreateRoute instead."

    assert classify(Refusal("ec2:ReplaceRoute", 400, "InvalidParameterValue", message)) is NotFound


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("UnauthorizedOperation", "allow ec2:CreateRoute in the role's policy"),
        ("AuthFailure", "check the credentials"),
        ("ExpiredToken", "renew the credentials and check this machine's clock"),
    ],
)
def test_a_permission_error_names_the_remedy(code, remedy):
    error = translate(Refusal("ec2:CreateRoute", 403, code, "You are not authorized.", "req-9"))

    assert str(error).startswith("aws: ec2:CreateRoute was not allowed: You are not authorized; " + remedy)
    assert (error.code, error.request_id, error.status) == (code, "req-9", 403)


def test_a_full_table_names_the_quota_to_raise():
    error = translate(Refusal("ec2:CreateRoute", 400, "RouteLimitExceeded", "The maximum was reached."))

    assert "L-93826ACB" in str(error)


def test_secrets_and_encoded_messages_stay_out():
    message = "key very-secret is wrong. Encoded authorization failure message: " + "x" * 5000

    text = str(translate(Refusal("ec2:CreateRoute", 403, "AuthFailure", message), secrets=["very-secret"]))

    assert "very-secret" not in text
    assert len(text) < LONGEST + 200


def test_the_named_delay_is_kept():
    assert translate(Refusal("ec2:CreateRoute", 503, "RequestLimitExceeded", retry_after=4.0)).retry_after == 4.0
