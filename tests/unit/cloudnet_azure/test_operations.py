from __future__ import annotations

from itertools import islice

import pytest

from cloudnet.provider.errors import PermissionDenied, QuotaExceeded, Unavailable
from cloudnet_azure import operations

ENDPOINT = "https://management.azure.com"


def test_an_answer_names_the_operation_to_wait_for():
    headers = {"azure-asyncoperation": f"{ENDPOINT}/subscriptions/s/operations/1", "retry-after": "3"}

    taken = operations.accepted(headers, ENDPOINT)

    assert (taken.operation, taken.wait) == (f"{ENDPOINT}/subscriptions/s/operations/1", 3.0)
    assert operations.accepted({}, ENDPOINT).operation == ""


@pytest.mark.parametrize("url", ["https://evil.example/1", "http://management.azure.com/1", "/relative"])
def test_our_token_goes_nowhere_else(url):
    with pytest.raises(Unavailable, match="is to be asked for at"):
        operations.accepted({"azure-asyncoperation": url}, ENDPOINT)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10", 10.0), ("0.5", 0.5), ("-1", 0.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("", None)],
)
def test_a_delay_is_a_number_of_seconds(text, seconds):
    assert operations.seconds({"retry-after": text}) == seconds


def test_looks_become_rarer_up_to_a_bound():
    assert list(islice(operations.waits(0.5), 6)) == [0.5, 0.75, 1.125, 1.6875, 2.0, 2.0]


@pytest.mark.parametrize(("status", "done"), [("Succeeded", True), ("InProgress", False), ("Updating", False)])
def test_an_operation_is_done_when_it_says_so(status, done):
    assert operations.finished("a/write", {"status": status}) is done


@pytest.mark.parametrize(
    ("body", "error", "says"),
    [
        ({"status": "Failed", "error": {"code": "XLimitReached", "message": "full"}}, QuotaExceeded, "full"),
        ({"status": "Failed", "error": {"code": "AuthorizationFailed"}}, PermissionDenied, "ended as Failed"),
        ({"status": "Failed"}, Unavailable, "the operation ended as Failed"),
        ({"status": "Canceled"}, Unavailable, "the operation ended as Canceled"),
    ],
)
def test_a_failed_operation_says_why(body, error, says):
    with pytest.raises(error, match=says):
        operations.finished("a/write", body)
