from __future__ import annotations

import socket
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudnet.store.connection import Chunks, Connection, Endpoint, ProtocolError, connect

HERE = Endpoint("127.0.0.1", 1)


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    connection = Connection(ours, HERE)
    yield connection, theirs
    connection.close()
    theirs.close()


def soon():
    return time.monotonic() + 2


def framed(*parts):
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)


@given(st.lists(st.binary(min_size=1, max_size=300)), st.lists(st.integers(1, 200)))
def test_a_chunked_body_comes_together_from_any_pieces(parts, cuts):
    raw, chunks, body = framed(*parts, b""), Chunks(), b""

    for cut in [*cuts, len(raw)]:
        body += chunks.feed(raw[:cut])
        raw = raw[cut:]

    assert body == b"".join(parts)
    assert chunks.ended


@pytest.mark.parametrize("raw", [b"zz\r\n", b"\r\n", b"-\r\n"])
def test_a_chunk_without_a_size_is_refused(raw):
    with pytest.raises(ProtocolError, match="size of a chunk"):
        Chunks().feed(raw)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + framed(b"hel", b"lo", b""),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + framed(b"hello")
        + b"0\r\nGrpc-A: b\r\nC: d\r\n\r\n",
    ],
    ids=["length", "chunks", "trailers"],
)
def test_two_answers_come_over_one_connection(pair, answer):
    connection, theirs = pair
    theirs.sendall(answer * 2)

    found = [connection.request("/v3/kv/range", [], b"{}", deadline=soon()) for _ in range(2)]

    assert [(one.status, one.body, one.reusable) for one in found] == [(200, b"hello", True)] * 2


def test_a_request_says_where_to_and_how_long_it_is(pair):
    connection, theirs = pair
    theirs.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    connection.request("/v3/kv/range", ["Authorization: t"], b"{}", deadline=soon())

    assert theirs.recv(4096).split(b"\r\n") == [
        b"POST /v3/kv/range HTTP/1.1",
        b"Host: 127.0.0.1:1",
        b"Content-Type: application/json",
        b"Authorization: t",
        b"Content-Length: 2",
        b"",
        b"{}",
    ]


def test_an_answer_until_the_end_of_the_connection_leaves_none_to_use(pair):
    connection, theirs = pair
    theirs.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
    theirs.shutdown(socket.SHUT_WR)

    answer = connection.request("/", [], b"", deadline=soon())

    assert (answer.status, answer.reusable) == (400, False)
    assert b"HTTPS server" in answer.body


@pytest.mark.parametrize("raw", [b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1\r\n\r\n", b"x" * 70_000])
def test_what_is_no_answer_is_refused(pair, raw):
    connection, theirs = pair
    threading.Thread(target=theirs.sendall, args=(raw,)).start()

    with pytest.raises(ProtocolError):
        connection.request("/", [], b"", deadline=soon())


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel"])
def test_an_answer_that_breaks_off_is_an_error(pair, raw):
    connection, theirs = pair
    theirs.sendall(raw)
    theirs.shutdown(socket.SHUT_WR)

    with pytest.raises(ConnectionResetError):
        connection.request("/", [], b"", deadline=soon())


def test_an_answer_that_does_not_come_is_waited_for_until_the_deadline(pair):
    connection, _ = pair
    began = time.monotonic()

    with pytest.raises(TimeoutError):
        connection.request("/", [], b"", deadline=began + 0.05)

    assert 0.05 <= time.monotonic() - began < 5


def test_a_stream_goes_both_ways(pair):
    connection, theirs = pair
    theirs.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed(b"one\n"))

    refused = connection.open_stream("/v3/watch", [], b"{1}", deadline=soon())
    first, nothing = connection.receive(soon()), connection.receive(time.monotonic())
    connection.send_message(b"{2}", deadline=soon())
    theirs.sendall(framed(b"two\n"))

    assert refused is None
    assert (first, nothing, connection.receive(soon())) == (b"one\n", b"", b"two\n")
    assert theirs.recv(4096).endswith(framed(b"{1}", b"{2}"))


@pytest.mark.parametrize("last", [framed(b""), b""], ids=["ended", "cut"])
def test_the_end_of_a_stream_is_an_error(pair, last):
    connection, theirs = pair
    theirs.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + last)
    theirs.shutdown(socket.SHUT_WR)
    connection.open_stream("/v3/watch", [], deadline=soon())

    with pytest.raises(ConnectionResetError):
        connection.receive(soon())


def test_a_stream_that_is_refused_gives_the_answer(pair):
    connection, theirs = pair
    theirs.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
    theirs.shutdown(socket.SHUT_WR)

    answer = connection.open_stream("/v3/watch", [], deadline=soon())

    assert answer is not None
    assert (answer.status, answer.body) == (401, b"{}")


def test_a_connection_that_the_other_side_closed_is_stale(pair):
    connection, theirs = pair
    before = connection.is_stale()
    theirs.close()

    assert not before
    assert connection.is_stale()


def test_nobody_there_is_an_error():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    with pytest.raises(ConnectionRefusedError):
        connect(Endpoint("127.0.0.1", port), None, timeout=1)


@pytest.mark.parametrize(("host", "text"), [("10.0.0.1", "10.0.0.1:2379"), ("fd00::1", "[fd00::1]:2379")])
def test_an_endpoint_is_spelt_as_in_a_url(host, text):
    assert str(Endpoint(host, 2379)) == text
