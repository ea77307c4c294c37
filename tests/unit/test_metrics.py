import http.client
import socket

import pytest
from prometheus_client import CollectorRegistry, Counter

from cloudnet import metrics
from cloudnet.errors import BadInput


class Verdict:
    reason = ""

    def __call__(self):
        return self.reason


@pytest.fixture
def verdict():
    return Verdict()


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def server(registry, verdict):
    server = metrics.serve("127.0.0.1:0", registry, healthy=Verdict(), ready=verdict)
    yield server
    server.close()


def get(server, path, method="GET"):
    connection = http.client.HTTPConnection(*server.address, timeout=5)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_metrics_are_those_of_the_registry(server, registry):
    Counter("cloudnet_things", "things", registry=registry).inc(3)

    status, body = get(server, "/metrics")

    assert status == 200
    assert "cloudnet_things_total 3.0" in body
    assert "python_info" not in body


def test_who_is_well_says_ok(server):
    assert get(server, "/healthz") == (200, "ok\n")
    assert get(server, "/readyz") == (200, "ok\n")


def test_who_is_not_ready_says_why(server, verdict):
    verdict.reason = "the store does not answer"

    assert get(server, "/readyz") == (503, "the store does not answer\n")
    assert get(server, "/healthz") == (200, "ok\n")


def test_other_paths_are_not_there(server):
    assert get(server, "/etc/passwd")[0] == 404


def test_a_head_request_gets_no_body(server):
    assert get(server, "/healthz", method="HEAD") == (200, "")


def test_a_client_that_says_nothing_does_not_stop_the_others(server):
    with socket.create_connection(server.address):
        assert get(server, "/healthz") == (200, "ok\n")


def test_a_client_that_says_nothing_does_not_hold_up_the_end(registry):
    server = metrics.serve("127.0.0.1:0", registry, healthy=Verdict(), ready=Verdict())
    with socket.create_connection(server.address):
        server.close()


def test_after_the_end_nobody_listens(registry):
    server = metrics.serve("127.0.0.1:0", registry, healthy=Verdict(), ready=Verdict())
    server.close()
    server.close()

    with pytest.raises(ConnectionRefusedError):
        get(server, "/healthz")


def test_an_ipv6_address_stands_in_brackets(registry):
    server = metrics.serve("[::1]:0", registry, healthy=Verdict(), ready=Verdict())
    try:
        assert get(server, "/healthz") == (200, "ok\n")
    finally:
        server.close()


def test_an_address_that_is_taken_is_refused_with_the_remedy(server, registry):
    host, port = server.address

    with pytest.raises(
        BadInput, match=rf"metrics: cannot listen on '{host}:{port}' \(address already in use\): choose"
    ):
        metrics.serve(f"{host}:{port}", registry, healthy=Verdict(), ready=Verdict())


@pytest.mark.parametrize(
    "text", ["", "9091", ":9091", "localhost:9091", "127.0.0.1", "::1:9", "1.2.3.4:x", "[::1]:65536"]
)
def test_an_address_that_is_none_is_refused(text):
    with pytest.raises(BadInput, match="metrics: expected an address and port"):
        metrics.parse_address(text)
