"""What goes over the wire, and what becomes of answers that follow no schema."""

import json

import pytest
import requests

from cloudnet.clock import ManualClock
from cloudnet.errors import BadInput
from cloudnet.provider.budget import Kind
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
from cloudnet_ibm import make
from cloudnet_ibm.client import token
from cloudnet_ibm.errors import Refusal, classify, translate

GOOD = {"region": "eu-de", "vpc_id": "r010-1", "cluster": "c1", "api_key": "very-secret"}


class Scripted(requests.adapters.BaseAdapter):
    """Answers everything alike, or fails alike."""

    def __init__(self, status=200, body="", headers=None, error=None):
        super().__init__()
        self.status, self.body, self.headers, self.error = status, body, headers or {}, error
        self.calls = 0

    def send(self, request, **_):
        self.calls += 1
        if self.error:
            raise self.error
        response = requests.Response()
        response.status_code, response.request, response.url = self.status, request, request.url
        response.headers.update({"Content-Type": "application/json", **self.headers})
        response._content = self.body.encode()
        return response

    def close(self):
        """Nothing is open."""


def answered(vpc, **script):
    """Return the error that reading routes ends with, when every call is answered so."""
    scripted = Scripted(**script)
    vpc.provider._routes._client._sdk.http_client.mount("http://", scripted)
    with pytest.raises(ProviderError) as caught:
        vpc.provider.routes.read()
    return caught.value, scripted.calls


def test_every_call_carries_token_version_and_page_size(vpc):
    vpc.read()

    sent = vpc.wire.sent[0]
    assert sent.headers["Authorization"] == "Bearer the-token"
    assert "generation=2" in sent.url
    assert "limit=100" in sent.url


def test_a_lost_token_is_not_tried_again(vpc):
    error, calls = answered(vpc, status=401, body=json.dumps({"errors": [{"code": "x", "message": "no"}]}))

    assert type(error) is PermissionDenied
    assert calls == 1
    assert "check the credentials" in str(error)


def test_iams_own_refusal_is_a_matter_of_credentials(vpc):
    body = json.dumps({"errorCode": "BXNIM0415E", "errorMessage": "Provided API key could not be found."})

    error, _ = answered(vpc, status=400, body=body)

    assert type(error) is PermissionDenied
    assert error.code == "BXNIM0415E"


def test_retry_after_holds_the_next_call(vpc):
    body = json.dumps({"errors": [{"code": "rate", "message": "slow"}], "trace": "t-1"})

    error, calls = answered(vpc, status=429, body=body, headers={"Retry-After": "4"})

    assert (type(error), error.retry_after, error.request_id) == (Throttled, 4.0, "t-1")
    assert calls == 3  # at 0, 4 and 8 seconds: the deadline is 10


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (requests.exceptions.RetryError("too many 429 error responses"), Throttled),
        (requests.exceptions.ConnectTimeout(), Unavailable),
        (requests.exceptions.ReadTimeout(), Unavailable),
        (requests.exceptions.ConnectionError(), Unavailable),
        (requests.exceptions.ChunkedEncodingError(), Unavailable),
        (requests.exceptions.SSLError(), Unavailable),
        (OSError("no route to host"), Unavailable),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_happens_below_http_lands_in_its_class(vpc, failure, kind):
    error, calls = answered(vpc, error=failure)

    assert type(error) is kind
    assert calls > 1


@pytest.mark.parametrize(
    "script",
    [
        {"body": "<html>"},
        {"body": "<html>", "headers": {"Content-Type": "text/html"}},
        {"body": "[]"},
        {"body": "{}"},
        {"body": ""},
        {"body": json.dumps({"routing_tables": [{"id": 7, "name": "t", "subnets": []}]})},
    ],
    ids=["no-json", "html", "list", "no-keys", "empty", "wrong-type"],
)
def test_an_answer_that_follows_no_schema_is_unavailable(vpc, script):
    error, _ = answered(vpc, **script)

    assert type(error) is Unavailable
    assert "not IBM Cloud" in str(error)


@pytest.mark.parametrize("body", ["", "null", "[]", '{"errors": []}', '{"errors": "none"}', "<html>"])
def test_a_refusal_without_words_still_has_its_class(vpc, body):
    error, _ = answered(vpc, status=404, body=body)

    assert type(error) is NotFound


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "bad_field", Unsupported),
        (400, "over_quota", QuotaExceeded),
        (409, "over_quota", QuotaExceeded),
        (400, "validation_unique_failed", Conflict),
        (409, "anything", Conflict),
        (403, "anything", PermissionDenied),
        (400, "not_authorized", PermissionDenied),
        (404, "over_quota", NotFound),
        (412, "", Conflict),
        (429, "over_quota", Throttled),
        (400, "too_many_requests", Throttled),
        (400, "instance_not_found", NotFound),
        (418, "never_seen_before", Unsupported),
        (500, "over_quota", Unavailable),
        (599, "", Unavailable),
    ],
)
def test_status_first_then_the_family_of_the_code(status, code, kind):
    assert classify(Refusal("create_vpc_routing_table_route", status, code)) is kind


def test_a_message_is_shown_without_secrets_and_not_whole():
    error = translate(Refusal("list_subnets", 400, "bad_field", "very-secret " * 100), secrets=["very-secret"])

    assert "very-secret" not in str(error)
    assert len(str(error)) < 600


@pytest.mark.parametrize(
    ("href", "start"),
    [("https://x/v1/subnets?limit=100&start=r010-7", "r010-7"), ("https://x/v1/subnets?limit=100", ""), ("", "")],
)
def test_the_next_page_is_named_by_its_link(href, start):
    assert token(href) == start


def test_writes_and_reads_are_paid_from_their_own_buckets(vpc):
    vpc.apply()

    assert vpc.budget.calls["create_vpc_routing_table_route", "ok"] == 1
    assert vpc.budget.calls["list_vpc_routing_table_routes", "ok"] == 1
    assert vpc.budget.rate(Kind.WRITE) == vpc.config.write_rate


# --- settings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"region": ""}, "region: expected a value"),
        ({"vpc_id": ""}, "vpc_id: expected a value"),
        ({"cluster": "Prod_1"}, "cluster: expected up to 20 small letters"),
        ({"cluster": "a" * 21}, "cluster: expected up to 20 small letters"),
        ({"token": "x"}, "set exactly one of api_key, trusted_profile_id, token"),
        ({"api_key": ""}, "set exactly one of"),
        ({"endpoint_url": "vpc.test"}, "endpoint_url: expected https"),
        ({"priority": 5}, "priority: expected 0 to 4, found 5"),
        ({"mtu": 0}, "mtu: expected a number above 0"),
        ({"read_burst": 0.5}, "read_burst: expected 1 or more"),
        ({"regoin": "eu-de"}, "regoin: is not a setting of the ibm provider"),
        ({"deadline": "long"}, "Expected `float`"),
    ],
)
def test_a_wrong_setting_is_named(change, message):
    with pytest.raises(BadInput, match=message):
        make({**GOOD, **change}, clock=ManualClock())


@pytest.mark.parametrize("credential", ["api_key", "trusted_profile_id", "token"])
def test_each_credential_makes_a_provider_without_a_call(credential):
    config = {k: v for k, v in GOOD.items() if k != "api_key"} | {credential: "x"}

    assert make(config, clock=ManualClock()).name == "ibm"


def test_a_secret_is_not_shown_with_the_settings():
    assert "very-secret" not in repr(make(GOOD, clock=ManualClock())._routes._config)
