from __future__ import annotations

import base64
import contextlib
import json
import socket
import ssl
import threading
import time
from collections import deque

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import PingAckReceived, RequestReceived, StreamReset
from h2.settings import SettingCodes, Settings

from cloudnet.store.connection import Answer, Endpoint, ProtocolError
from cloudnet.store.connection import connect as connect_to
from cloudnet.store.http2 import PROTOCOL, WINDOW, SharedConnection
from cloudnet.testing.batches import SOON
from cloudnet.testing.etcd import EtcdServer

HERE = Endpoint("10.0.0.1", 6443)
CHUNK = 16384  # bytes; the largest frame
BEGUN = ((":status", "200"),)


class Peer:
    """A server of one connection: answers each request as it is told, and does what the test asks of it."""

    def __init__(self, sock, **settings):
        self.events = deque()
        self.answer = lambda h2, number: h2.send_headers(number, BEGUN)
        self._socket = sock
        self._lock = threading.Lock()
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        wanted = {SettingCodes[name]: value for name, value in settings.items()}
        self._h2.local_settings = Settings(client=False, initial_values=wanted)
        self._h2.initiate_connection()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def do(self, act, *arguments, **more):
        with self._lock:
            found = act(self._h2, *arguments, **more)
            self._socket.sendall(self._h2.data_to_send())
        return found

    def say(self, number, data, **more):
        self.do(H2Connection.send_data, number, data, **more)

    def close(self):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def heard(self, kind):
        """Return the first event of a kind, waiting for it."""
        end = time.monotonic() + SOON
        while time.monotonic() < end:
            for event in list(self.events):
                if isinstance(event, kind):
                    return event
            time.sleep(0.005)
        raise TimeoutError(kind.__name__)

    def _serve(self):
        with contextlib.suppress(OSError):  # the other side leaves when it likes
            while data := self._socket.recv(65536):
                with self._lock:
                    self._hear(data)
                    self._socket.sendall(self._h2.data_to_send())

    def _hear(self, data):
        for event in self._h2.receive_data(data):
            self.events.append(event)
            if isinstance(event, RequestReceived):
                self.answer(self._h2, event.stream_id)


@pytest.fixture
def connect():
    opened = []

    def connect(*, ping_after=60.0, pong_within=60.0, **settings):
        ours, theirs = socket.socketpair()
        peer = Peer(theirs, **settings)
        connection = SharedConnection(ours, HERE, ping_after=ping_after, pong_within=pong_within)
        opened.append((connection, peer))
        return connection, peer

    yield connect
    for connection, peer in opened:
        connection.close()
        peer.close()


def soon():
    return time.monotonic() + SOON


def opened(connection, path="/watch"):
    return connection.open(path, ["Accept: application/json"], deadline=soon())


def received(stream, size):
    data = b""
    while len(data) < size:
        data += stream.receive(soon())
    return data


def test_a_request_says_who_asks_for_what(connect):
    connection, peer = connect()

    connection.open("/api?watch=1", ["User-Agent: us", "Authorization: Bearer a: b"], deadline=soon())

    assert peer.heard(RequestReceived).headers == [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "10.0.0.1:6443"),
        (":path", "/api?watch=1"),
        ("user-agent", "us"),
        ("authorization", "Bearer a: b"),
    ]


def test_each_stream_gets_what_is_its_own(connect):
    connection, peer = connect()
    first, second = opened(connection), opened(connection)

    for number, data in ((1, b"a"), (3, b"x"), (1, b"b"), (3, b"y")):
        peer.say(number, data)

    assert (received(second, 2), received(first, 2)) == (b"xy", b"ab")
    assert first.receive(time.monotonic()) == b""
    assert first.fileno() == second.fileno()


def test_what_came_for_another_while_one_was_read_is_there_at_once(connect):
    connection, peer = connect()
    first, second = opened(connection), opened(connection)
    peer.say(1, b"a")
    peer.say(3, b"x")

    received(first, 1)

    assert not first.has_more
    assert received(second, 1) == b"x"


@pytest.mark.parametrize(
    ("status", "more", "wait"),
    [("410", (), None), ("403", (), None), ("500", (), None), ("429", (("retry-after", "7"),), 7.0)],
)
def test_a_refusal_comes_with_its_body_and_the_rest_goes_on(connect, status, more, wait):
    connection, peer = connect()
    first = opened(connection)

    def refuse(h2, number):
        h2.send_headers(number, [(":status", status), *more])
        h2.send_data(number, b'{"kind": ')
        h2.send_data(number, b'"Status"}', end_stream=True)

    peer.answer = refuse
    found = opened(connection)
    peer.say(1, b"a")

    assert found == Answer(int(status), b'{"kind": "Status"}', reusable=True, retry_after=wait)
    assert received(first, 1) == b"a"


@pytest.mark.parametrize(
    "end",
    [lambda h2, number: h2.end_stream(number), lambda h2, number: h2.reset_stream(number)],
    ids=["END_STREAM", "RST_STREAM"],
)
def test_a_stream_that_ends_gives_what_it_had_and_ends_alone(connect, end):
    connection, peer = connect()
    first, second = opened(connection), opened(connection)
    peer.say(1, b"a")
    peer.do(end, 1)
    peer.say(3, b"x")

    assert received(second, 1) == b"x"
    assert received(first, 1) == b"a"
    assert first.has_more
    with pytest.raises(ConnectionResetError):
        first.receive(soon())
    assert not connection.is_over


def test_a_goodbye_ends_every_stream_after_what_came_before_it(connect):
    connection, peer = connect()
    first, second = opened(connection), opened(connection)
    peer.say(3, b"x")
    peer.do(H2Connection.close_connection)

    with pytest.raises(ConnectionResetError, match="the server ends the connection"):
        received(first, 1)
    assert received(second, 1) == b"x"
    with pytest.raises(ConnectionResetError):
        second.receive(soon())
    assert (connection.is_over, connection.has_room, connection.fileno()) == (True, False, -1)
    with pytest.raises(ConnectionResetError, match="the server ends the connection"):
        opened(connection)


def test_a_stream_that_is_not_opened_leaves_the_others(connect):
    connection, peer = connect()
    first = opened(connection)
    peer.answer = lambda h2, number: h2.reset_stream(number, 7)

    with pytest.raises(ConnectionResetError, match="REFUSED_STREAM"):
        opened(connection)

    peer.answer = lambda *_: None
    with pytest.raises(TimeoutError):
        connection.open("/", [], deadline=time.monotonic() + 0.05)
    peer.say(1, b"a")
    assert received(first, 1) == b"a"
    assert connection.is_used


def test_a_server_takes_as_many_streams_as_it_says(connect):
    connection, _ = connect(MAX_CONCURRENT_STREAMS=2)
    before = connection.has_room
    first = opened(connection)
    between = connection.has_room
    opened(connection)
    full = connection.has_room
    first.close()

    assert (before, between, full, connection.has_room) == (True, True, False, True)


def test_who_does_not_read_stops_the_server_and_nobody_else(connect):
    connection, peer = connect()
    slow, other = opened(connection), opened(connection)

    fill(connection, peer, 1)
    left = peer.do(H2Connection.local_flow_control_window, 1)
    peer.say(3, b"x")

    assert left == 0
    assert received(other, 1) == b"x"
    assert len(received(slow, WINDOW)) == WINDOW
    assert peer_may_send(peer, 1)


def fill(connection, peer, number):
    """Let the server say all that it may on a stream, and nobody receive it."""
    for _ in range(WINDOW // CHUNK):
        peer.say(number, bytes(CHUNK))
        connection.take_in(soon())
    while connection.take_in(time.monotonic()):
        pass


def peer_may_send(peer, number):
    end = time.monotonic() + SOON
    while time.monotonic() < end and not peer.do(H2Connection.local_flow_control_window, number):
        time.sleep(0.005)
    return peer.do(H2Connection.local_flow_control_window, number) > 0


def test_streams_that_are_closed_unread_give_their_share_of_the_connection_back(connect):
    connection, peer = connect()
    last = opened(connection)

    for number in range(3, 3 + 2 * 70, 2):  # more than the connection's window is large
        stream = opened(connection)
        fill(connection, peer, number)
        stream.close()
    peer.say(1, b"a")

    assert received(last, 1) == b"a"


def test_closing_a_stream_tells_the_server(connect):
    connection, peer = connect()
    first, second = opened(connection), opened(connection)

    first.close()
    peer.say(3, b"x")

    assert (peer.heard(StreamReset).stream_id, peer.heard(StreamReset).error_code) == (1, 8)
    assert received(second, 1) == b"x"


def test_a_server_that_asks_whether_we_live_is_answered(connect):
    connection, peer = connect()
    opened(connection)
    peer.do(H2Connection.ping, b"12345678")

    while not any(isinstance(event, PingAckReceived) for event in list(peer.events)):
        connection.take_in(time.monotonic() + 0.05)

    assert peer.heard(PingAckReceived).ping_data == b"12345678"


def test_a_silent_connection_that_answers_lives_on(connect):
    connection, _ = connect(ping_after=0.02, pong_within=60.0)
    opened(connection)
    time.sleep(0.03)
    connection.look()
    asked_until = connection.due_at

    connection.take_in(soon())

    assert asked_until > time.monotonic() + 30
    assert connection.due_at < asked_until
    assert not connection.is_over


def test_a_silent_connection_that_does_not_answer_is_given_up():
    ours, theirs = socket.socketpair()
    with theirs:
        connection = SharedConnection(ours, HERE, ping_after=0.01, pong_within=0.01)
        for _ in range(3):
            connection.look()
            time.sleep(0.02)

        assert connection.is_over
        with pytest.raises(ConnectionResetError, match=r"10.0.0.1:6443 has said nothing for"):
            opened(connection)


def test_a_reader_is_woken_from_another_thread(connect):
    connection, _ = connect()
    stream = opened(connection)
    waking = threading.Timer(0.1, stream.shutdown)
    waking.start()

    with pytest.raises(ConnectionResetError):
        stream.receive(time.monotonic() + 60)
    waking.join()


def test_who_speaks_something_else_is_not_listened_to():
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(bytes(100))
        connection = SharedConnection(ours, HERE, ping_after=60, pong_within=60)

        with pytest.raises(ProtocolError, match="does not speak HTTP/2"):
            opened(connection)
        assert connection.is_over


def test_a_server_that_goes_away_is_an_error():
    ours, theirs = socket.socketpair()
    connection = SharedConnection(ours, HERE, ping_after=60, pong_within=60)
    theirs.close()

    with pytest.raises(OSError, match=r"closed|pipe|reset"):
        opened(connection)
    assert connection.is_over


# --- a server of Go's ---------------------------------------------------------------------------------------


@pytest.fixture
def etcd(tmp_path, made_keys):
    tls = {"cert-file": str(made_keys.folder / "server.pem"), "key-file": str(made_keys.folder / "server.key")}
    with EtcdServer(tmp_path, tls=tls) as etcd:
        yield etcd


@pytest.fixture
def reach(etcd, made_keys):
    context = ssl.create_default_context(cadata=made_keys.text("ca.pem"))
    context.set_alpn_protocols([PROTOCOL])
    endpoint = Endpoint("127.0.0.1", etcd.port)
    opened = []

    def reach():
        sock = connect_to(endpoint, context, timeout=SOON, server_name="", proxy=None)
        assert sock.selected_alpn_protocol() == PROTOCOL
        opened.append(SharedConnection(sock, endpoint, ping_after=60, pong_within=60))
        return opened[-1]

    yield reach
    for connection in opened:
        connection.close()


def b64(text):
    return base64.b64encode(text.encode()).decode()


def asked(connection, path, message):
    return connection.open(path, [], json.dumps(message).encode(), deadline=time.monotonic() + 20, method="POST")


def put(connection, key, value):
    answer = json.loads(asked(connection, "/v3/kv/put", {"key": b64(key), "value": b64(value)}).rest(soon()))
    return int(answer["header"]["revision"])


def watch(connection, key, after):
    create = {"create_request": {"key": b64(key), "start_revision": str(after + 1)}}
    return asked(connection, "/v3/watch", create)


def values(stream, number):
    """Return the values of so many changes that a watch tells."""
    found, text = [], b""
    while len(found) < number:
        *lines, text = (text + stream.receive(soon())).split(b"\n")
        for line in lines:
            found += [event["kv"]["value"] for event in json.loads(line)["result"].get("events", ())]
    return [base64.b64decode(value).decode() for value in found]


@pytest.mark.server
def test_streams_of_a_real_server_share_a_connection_and_go_on_after_it_was_killed(etcd, reach):
    connection = reach()
    since = put(connection, "other", "x")
    streams = {key: watch(connection, key, since) for key in ("a", "b", "c")}
    for key in streams:
        since = put(connection, key, f"first {key}")
    before = {key: values(stream, 1) for key, stream in streams.items()}
    etcd.kill()
    for stream in streams.values():
        with pytest.raises(ConnectionResetError):
            stream.receive(soon())
    etcd.start()
    again = reach()
    streams = {key: watch(again, key, since) for key in streams}
    for key in streams:
        put(again, key, f"second {key}")

    assert before == {key: [f"first {key}"] for key in streams}
    assert {key: values(stream, 1) for key, stream in streams.items()} == {key: [f"second {key}"] for key in streams}
    assert connection.is_over


@pytest.mark.server
def test_a_stream_of_a_real_server_that_is_read_late_holds_up_no_other(etcd, reach):
    """What is told of one key is more than its window."""
    connection = reach()
    since = put(connection, "large", "")
    slow = watch(connection, "large", since)
    quick = watch(connection, "small", since)
    wanted = [str(number) * 40_000 for number in range(10)]
    for value in wanted:
        put(connection, "large", value)
    put(connection, "small", "s")

    assert values(quick, 1) == ["s"]
    assert values(slow, len(wanted)) == wanted
