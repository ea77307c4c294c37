from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import socketserver
import subprocess
import sys
import threading
import time
from dataclasses import replace
from ipaddress import ip_network

import pytest

from cloudnet.errors import BadInput
from cloudnet.model.addresses import NodeName
from cloudnet.model.calico import affinity_name
from cloudnet.model.resources import (
    AffinityState,
    AgentReport,
    BlockAffinity,
    IPAMBlock,
    IPAMHandle,
    IPPool,
    Lease,
    Metadata,
    Node,
)
from cloudnet.store import etcd_keys
from cloudnet.store.api import (
    Compacted,
    Conflict,
    Create,
    EventType,
    NotFound,
    Revision,
    StoreDamaged,
    StoreUnavailable,
    Update,
)
from cloudnet.store.connection import Endpoint
from cloudnet.store.etcd import EtcdStore
from cloudnet.store.etcd_client import Client
from cloudnet.store.etcd_settings import Settings, parse
from cloudnet.store.etcd_watch import EtcdWatch
from cloudnet.store.registry import open_store
from cloudnet.testing.batches import SOON, collect, lease
from cloudnet.testing.etcd import EtcdServer, free_port

pytestmark = pytest.mark.server


@pytest.fixture
def etcd(tmp_path):
    with EtcdServer(tmp_path) as server:
        yield server


@pytest.fixture
def store(etcd):
    store = open_store(etcd.url, {})
    yield store
    store.close()


def b64(text):
    return base64.b64encode(text.encode()).decode()


def put(etcd, key, value):
    data = value if isinstance(value, str) else json.dumps(value)
    etcd.ask("/v3/kv/put", {"key": b64(key), "value": b64(data)})


def stored(etcd, key):
    (found,) = etcd.ask("/v3/kv/range", {"key": b64(key)})["kvs"]
    return json.loads(base64.b64decode(found["value"]))


def quick(etcd):
    return Client(replace(parse(etcd.url, {}), timeout=0.5, connect_timeout=0.5))


# --- beside Calico ------------------------------------------------------------------------------------------

AFFINITY = "/calico/ipam/v2/host/n1/ipv4/block/10.65.1.0-26"


def test_what_calico_began_is_gone_on_with(etcd, store):
    put(etcd, AFFINITY, {"state": "pending", "deleted": False, "next_year": 1})

    seen = store.get(BlockAffinity, "n1-10-65-1-0-26")
    store.update(replace(seen.value, state=AffinityState.CONFIRMED), expected=seen.revision)

    assert stored(etcd, AFFINITY) == {"state": "confirmed", "deleted": False, "next_year": 1}


def test_an_affinity_is_deleted_where_it_lies(etcd, store):
    put(etcd, AFFINITY, "")
    put(etcd, "/calico/ipam/v2/virtual/n2/ipv6/block/fd00::-122", "")

    store.delete(BlockAffinity, "n1-10-65-1-0-26")
    store.delete(BlockAffinity, "n2-fd00---122")

    assert store.list(BlockAffinity).items == ()


def test_markers_of_old_releases_are_no_affinities(etcd, store, caplog):
    put(etcd, "/calico/ipam/v2/host/n1", "")
    put(etcd, AFFINITY, "")

    assert [item.value.node for item in store.list(BlockAffinity).items] == ["n1"]
    assert not caplog.records


def test_a_node_that_another_wrote_meanwhile_is_read_again_and_keeps_what_he_wrote(etcd, store):
    key = "/calico/resources/v3/projectcalico.org/nodes/n1"
    seen = store.create(Node(Metadata("n1")))
    put(etcd, key, stored(etcd, key) | {"spec": {"bgp": {"asNumber": 64512}}})

    with pytest.raises(Conflict, match="read it again"):
        store.update(replace(seen.value, provider_id="p"), expected=seen.revision)
    again = store.get(Node, "n1")
    store.update(replace(again.value, provider_id="p"), expected=again.revision)

    assert stored(etcd, key)["spec"] == {"bgp": {"asNumber": 64512}}


def test_an_update_by_a_client_that_never_read_keeps_what_others_wrote(etcd, store):
    put(etcd, AFFINITY, {"state": "pending", "deleted": False, "next_year": 1})
    seen = store.get(BlockAffinity, "n1-10-65-1-0-26")
    other = open_store(etcd.url, {})

    other.update(replace(seen.value, state=AffinityState.CONFIRMED), expected=seen.revision)
    other.close()

    assert stored(etcd, AFFINITY)["next_year"] == 1


def test_an_update_of_what_was_listed_keeps_what_others_wrote_since_it_was_read(etcd, store):
    store.create(BlockAffinity(Metadata("n1-10-65-1-0-26"), NodeName("n1"), ip_network("10.65.1.0/26")))
    put(etcd, AFFINITY, {"state": "pending", "deleted": False, "next_year": 1})
    (seen,) = store.list(BlockAffinity).items

    store.update(replace(seen.value, state=AffinityState.CONFIRMED), expected=seen.revision)

    assert stored(etcd, AFFINITY) == {"state": "confirmed", "deleted": False, "next_year": 1}


def test_an_update_of_a_handle_that_was_created_anew_is_a_conflict(store):
    handle = IPAMHandle(Metadata("h"), "h", {})
    old = store.create(handle)
    store.delete(IPAMHandle, "h")
    new = store.create(handle)

    with pytest.raises(Conflict, match="created anew"):
        store.update(old.value, expected=new.revision)


def test_creating_says_when(etcd, store):
    store.create(IPPool(Metadata("default"), ip_network("10.65.0.0/16")))

    created = stored(etcd, "/calico/resources/v3/projectcalico.org/ippools/default")["metadata"]["creationTimestamp"]

    assert abs(time.time() - time.mktime(time.strptime(created, "%Y-%m-%dT%H:%M:%SZ")) + time.timezone) < 60


def test_a_spoilt_value_is_named_and_hides_no_other(etcd, store, caplog):
    put(etcd, AFFINITY, {"state": "sideways"})
    put(etcd, AFFINITY.replace("n1", "n2"), "")

    with (
        store.watch([BlockAffinity], since=Revision(0)) as watch,
        pytest.raises(Compacted, match=f"a change of a BlockAffinity cannot be read .{AFFINITY}.: spec.state"),
    ):
        collect(watch, 1)

    listing = store.list(BlockAffinity)
    assert [item.value.node for item in listing.items] == ["n2"]
    assert list(listing.unreadable) == [("", "n1-10-65-1-0-26")]
    assert "name=n1-10-65-1-0-26 problem=" in caplog.text
    with pytest.raises(StoreDamaged, match=f"{AFFINITY} .*spec.state.* found 'sideways'.*: delete it"):
        store.get(BlockAffinity, "n1-10-65-1-0-26")


# --- many, and large ----------------------------------------------------------------------------------------


def test_thousands_are_read_in_pages_of_one_moment(etcd):
    store = EtcdStore(Client(parse(etcd.url, {})), page=100)
    blocks = [ip_network((0x0A410000 + 64 * i, 26)) for i in range(3000)]
    affinities = [
        BlockAffinity(Metadata(affinity_name(NodeName(f"n{i % 7}"), cidr)), NodeName(f"n{i % 7}"), cidr)
        for i, cidr in enumerate(blocks)
    ]
    for i in range(0, len(affinities), 100):
        store.write([Create(affinity) for affinity in affinities[i : i + 100]])

    listing = store.list(BlockAffinity)
    store.close()

    assert {item.value.cidr for item in listing.items} == set(blocks)
    assert len(listing.items) == 3000
    assert listing.revision == 31


def test_a_listing_is_of_one_moment_while_others_write(etcd):
    store, writer = EtcdStore(Client(parse(etcd.url, {})), page=5), open_store(etcd.url, {})
    writer.write([Create(lease(f"l{i:03}")) for i in range(100)])
    stop = threading.Event()

    def write():
        while not stop.is_set():
            seen = writer.list(Lease).items
            writer.write([Update(replace(one.value, renewals=one.value.renewals + 1), one.revision) for one in seen])

    thread = threading.Thread(target=write)
    thread.start()
    rounds = [{item.value.renewals for item in store.list(Lease).items} for _ in range(20)]
    stop.set()
    thread.join()
    store.close()
    writer.close()

    assert all(len(one) == 1 for one in rounds)


class Interrupted(Client):
    """Does something just before the second page of a listing is read."""

    def __init__(self, settings, interruption):
        super().__init__(settings)
        self._interruption = interruption
        self._pages = 0

    def call(self, path, message, *, repeatable=True):
        self._pages += "limit" in message
        if self._pages == 2 and self._interruption:
            interruption, self._interruption = self._interruption, None
            interruption()
        return super().call(path, message, repeatable=repeatable)


def test_a_listing_whose_revision_is_compacted_between_pages_begins_anew(etcd, store):
    def compact():
        made = store.create(lease("one-more"))
        etcd.ask("/v3/kv/compaction", {"revision": str(made.revision)})

    store.write([Create(lease(f"l{i:03}")) for i in range(30)])
    reader = EtcdStore(Interrupted(parse(etcd.url, {}), compact), page=10)

    names = [item.value.meta.name for item in reader.list(Lease).items]
    reader.close()

    assert len(names) == 31


def test_more_writes_than_etcd_takes_at_once_are_refused_with_the_remedy(store):
    with pytest.raises(BadInput, match="--max-txn-ops"):
        store.write([Create(lease(f"l{i}")) for i in range(129)])

    assert store.list(Lease).items == ()
    assert len(store.write([Create(lease(f"l{i}")) for i in range(128)])) == 128


def test_a_value_larger_than_etcd_takes_is_refused_with_the_remedy(store):
    with pytest.raises(BadInput, match="--max-request-bytes"):
        store.create(AgentReport(Metadata("n1"), message="x" * 2_000_000))


def test_a_watch_takes_changes_that_fill_many_fragments(store):
    seen = store.create(AgentReport(Metadata("n1")))
    for i in range(12):
        seen = store.update(AgentReport(Metadata("n1"), observed=i, message="x" * 500_000), expected=seen.revision)

    with store.watch([AgentReport], since=Revision(0)) as watch:
        events = collect(watch, 13)

    assert [event.value.observed for event in events] == [0, *range(12)]


# --- watches ------------------------------------------------------------------------------------------------


def test_changes_of_several_kinds_come_in_order_from_the_past_too(store):
    for i in range(20):
        store.create(lease(f"l{i}") if i % 2 else AgentReport(Metadata(f"n{i}"), message="x" * 200_000))

    for _ in range(6):
        with store.watch([AgentReport, Lease], since=Revision(0)) as watch:
            events = collect(watch, 20)

        assert [event.revision for event in events] == list(range(2, 22))


def test_a_watch_that_is_overtaken_by_a_compaction_lists_again(etcd, store):
    made = store.create(lease("a"))
    for i in range(10):
        made = store.update(replace(made.value, renewals=i + 1), expected=made.revision)
    etcd.ask("/v3/kv/compaction", {"revision": "8"})

    with store.watch([Lease], since=Revision(5)) as watch, pytest.raises(Compacted, match="list again"):
        watch.next(0)
    with store.watch([Lease], since=Revision(8)) as watch:
        assert [event.revision for event in collect(watch, 4)] == [9, 10, 11, 12]


def test_a_quiet_watch_outlives_a_compaction_and_a_restart(etcd, store):
    node = store.create(Node(Metadata("n1")))
    watch = EtcdWatch(store.client, [etcd_keys.of(Node)], since=node.revision, ping_after=0.1, pong_within=1)
    made = store.create(lease("a"))
    assert watch.next(0) == ()
    for i in range(10):
        made = store.update(replace(made.value, renewals=i + 1), expected=made.revision)
    for _ in range(4):
        watch.next(0.15)

    etcd.ask("/v3/kv/compaction", {"revision": str(made.revision)})
    etcd.kill()
    etcd.start()
    store.create(Node(Metadata("n2")))
    events = collect(watch, 1)
    watch.close()

    assert [event.value.meta.name for event in events] == ["n2"]


def test_a_deletion_of_what_is_compacted_asks_for_a_listing(etcd, store):
    since = store.create(lease("a")).revision
    store.delete(Lease, "a")
    etcd.ask("/v3/kv/compaction", {"revision": str(since + 1)})

    with store.watch([Lease], since=since) as watch, pytest.raises(Compacted, match="list again"):
        collect(watch, 1)


def test_a_watch_on_a_server_that_falls_silent_says_so_and_goes_on_later(etcd):
    store = EtcdStore(quick(etcd))
    seen = store.create(lease("a"))
    watch = EtcdWatch(store.client, [etcd_keys.of(Lease)], since=seen.revision, ping_after=0.1, pong_within=0.2)
    assert watch.next(0) == ()

    etcd.freeze()
    with pytest.raises(StoreUnavailable, match=r"no etcd endpoint answers .*does not answer in time"):
        watch.next(5)
    etcd.thaw()
    store.update(replace(seen.value, holder="b"), expected=seen.revision)
    events = collect(watch, 1)
    watch.close()
    store.close()

    assert [event.value.holder for event in events] == ["b"]


def test_a_kill_loses_nothing_that_was_acknowledged_and_no_event_nor_doubles_one(etcd):
    store, reader = EtcdStore(quick(etcd)), EtcdStore(quick(etcd))
    since = store.create(lease("a")).revision
    stop = threading.Event()
    acknowledged = []

    def write():
        while not stop.is_set():
            try:
                seen = store.get(Lease, "a")
                store.update(replace(seen.value, renewals=seen.value.renewals + 1), expected=seen.revision)
            except StoreUnavailable:
                time.sleep(0.01)
            else:
                acknowledged.append(seen.value.renewals + 1)

    events = []
    with reader.watch([Lease], since=since) as watch:
        writer = threading.Thread(target=write)
        writer.start()

        def follow(seconds):
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                try:
                    events.extend(watch.next(0.05))
                except StoreUnavailable:
                    time.sleep(0.01)

        for _ in range(3):
            follow(0.4)
            etcd.kill()
            follow(0.2)
            etcd.start()
        follow(0.4)
        stop.set()
        writer.join()
        final = store.get(Lease, "a").value.renewals
        deadline = time.monotonic() + SOON
        while (not events or events[-1].value.renewals < final) and time.monotonic() < deadline:
            events.extend(watch.next(0.1))
    store.close()
    reader.close()

    assert len(acknowledged) > 20
    assert acknowledged[-1] <= final
    assert len(set(acknowledged)) == len(acknowledged)
    assert [event.value.renewals for event in events] == list(range(1, final + 1))


def test_a_store_that_is_closed_ends_its_watches(etcd):
    store = open_store(etcd.url, {})
    watch = store.watch([Lease], since=Revision(0))
    watch.next(0)

    store.close()

    with pytest.raises(StoreUnavailable, match="closed"):
        watch.next(0)


def test_an_etcd_that_was_emptied_asks_for_a_listing(etcd, store):
    since = store.create(lease("a")).revision
    with store.watch([Lease], since=since) as watch:
        watch.next(0)
        etcd.stop()
        shutil.rmtree(etcd.directory)
        etcd.start()

        with pytest.raises(Compacted, match="list again"):
            watch.next(1)


def test_another_cluster_in_its_place_asks_for_a_listing(etcd, store):
    with store.watch([Lease], since=store.create(lease("a")).revision) as watch:
        watch.next(0)
        etcd.stop()
        shutil.rmtree(etcd.directory)
        etcd.start("--initial-cluster-token=restored")
        for name in "abc":
            store.create(lease(name))

        with pytest.raises(Compacted, match="another etcd cluster"):
            watch.next(1)


# --- bad luck -----------------------------------------------------------------------------------------------


def test_nobody_there_is_said_with_every_address():
    ports = [free_port(), free_port()]
    store = EtcdStore(Client(Settings(tuple(Endpoint("127.0.0.1", port) for port in ports))))

    with pytest.raises(StoreUnavailable) as caught:
        store.get(Lease, "a")
    store.close()

    text = str(caught.value)
    assert all(f"127.0.0.1:{port}: connection refused" in text for port in ports)
    assert text.endswith("see that etcd runs there and has a leader")


def test_a_write_whose_answer_did_not_come_is_not_tried_again(etcd):
    store = EtcdStore(quick(etcd))
    store.list(Lease)
    etcd.freeze()

    with pytest.raises(
        StoreUnavailable, match=r"did not say whether it has written .*read again before writing again"
    ):
        store.create(lease("a"))
    etcd.thaw()
    store.close()


def fill(store):
    for i in range(100):
        store.create(AgentReport(Metadata(f"n{i}"), message="x" * 100_000))


def test_a_full_etcd_says_how_to_free_space_and_still_reads(tmp_path):
    with EtcdServer(tmp_path, options=["--quota-backend-bytes=2000000"]) as etcd:
        store = open_store(etcd.url, {})
        seen = store.create(lease("kept"))

        with pytest.raises(StoreUnavailable, match=r"quota: free space with 'etcdctl compact' and .*alarm disarm"):
            fill(store)
        read = store.get(Lease, "kept")
        store.close()

    assert read == seen


def test_another_member_takes_over_and_nothing_is_lost(tmp_path):
    names = ("one", "two", "three")
    cluster = {name: free_port() for name in names}
    members = [EtcdServer(tmp_path, name=name, cluster=cluster) for name in names]
    for member in members:
        member.start(wait=False)
    for member in members:
        member.wait_until_ready()
    store = EtcdStore(Client(Settings(tuple(Endpoint("127.0.0.1", member.port) for member in members), timeout=2)))
    seen = store.create(lease("a"))
    with store.watch([Lease, Node], since=seen.revision) as watch:
        watch.next(0)

        members[0].kill()
        seen = retried(lambda: store.update(replace(seen.value, holder="b"), expected=seen.revision))
        events = collect(watch, 1)
        members[1].kill()
        with pytest.raises(StoreUnavailable, match=r"no etcd endpoint answers .*(no leader|not answer in time)"):
            read_for(SOON, store)
    store.close()
    members[2].kill()

    assert [event.value.holder for event in events] == ["b"]


def read_for(seconds, store):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        store.get(Lease, "a")
        time.sleep(0.05)


def retried(ask):
    deadline = time.monotonic() + SOON
    while True:
        try:
            return ask()
        except StoreUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


# --- users --------------------------------------------------------------------------------------------------


@pytest.fixture
def guarded(etcd):
    for path, message in (
        ("user/add", {"name": "root", "password": "r00t"}),
        ("user/grant", {"user": "root", "role": "root"}),
        ("user/add", {"name": "calico", "password": "s3cret"}),
        ("role/add", {"name": "calico"}),
        ("role/grant", grant("/calico/", "/calico0")),
        ("role/grant", grant("/cloudnet/", "/cloudnet0")),
        ("user/grant", {"user": "calico", "role": "calico"}),
        ("user/add", {"name": "guest", "password": "guest"}),
        ("enable", {}),
    ):
        etcd.ask(f"/v3/auth/{path}", message)
    return etcd


def grant(first, end):
    return {"name": "calico", "perm": {"permType": "READWRITE", "key": b64(first), "range_end": b64(end)}}


def as_user(etcd, name, password):
    return open_store(etcd.url, {"ETCD_USERNAME": name, "ETCD_PASSWORD": password})


def test_a_user_reads_writes_and_watches(guarded):
    store = as_user(guarded, "calico", "s3cret")

    made = store.create(lease("a"))
    with store.watch([Lease, IPAMBlock], since=Revision(0)) as watch:
        events = collect(watch, 1)
    listed = store.list(Lease).items
    store.close()

    assert listed == (made,)
    assert [event.type for event in events] == [EventType.PUT]


def test_a_token_that_the_server_has_forgotten_is_renewed(guarded):
    store, writer = as_user(guarded, "calico", "s3cret"), as_user(guarded, "calico", "s3cret")
    made = store.create(lease("a"))
    with store.watch([Lease], since=made.revision) as watch:
        watch.next(0)

        guarded.kill()
        guarded.start()
        changed = writer.update(replace(made.value, holder="b"), expected=made.revision)
        events = collect(watch, 1)
        guarded.kill()
        guarded.start()
        read = store.get(Lease, "a")
    store.close()
    writer.close()

    assert read == changed
    assert [event.value.holder for event in events] == ["b"]


@pytest.mark.parametrize(
    ("name", "password", "problem"),
    [
        ("calico", "wr0ng-s3cret", "let user 'calico' in: see that ETCD_USERNAME and ETCD_PASSWORD are right"),
        ("guest", "guest", "user 'guest' may not do this: give its role readwrite"),
        ("", "", "wants a user: set ETCD_USERNAME and ETCD_PASSWORD"),
    ],
)
def test_who_may_not_is_named_and_the_password_is_not(guarded, caplog, name, password, problem):
    store = as_user(guarded, name, password)

    with pytest.raises(StoreUnavailable, match=problem) as caught:
        store.get(Lease, "a")
    with store.watch([Lease], since=Revision(0)) as watch, pytest.raises(StoreUnavailable, match=problem):
        watch.next(1)
    store.close()

    assert "s3cret" not in f"{caught.value} {caught.value.__cause__} {caught.value.__context__} {caplog.text}"


def test_a_user_where_none_is_asked_for_does_no_harm(etcd):
    store = as_user(etcd, "calico", "s3cret")

    made = store.create(lease("a"))
    read = store.get(Lease, "a")
    store.close()

    assert read == made


class Gateway(socketserver.ThreadingTCPServer):
    """Plays an etcd that gives tokens t1, t2 and so on, and ends the first watch, as etcd 3.5 says it."""

    daemon_threads = True

    def __init__(self, first):
        super().__init__(("127.0.0.1", 0), GatewayHandler)
        self.first = first
        self.tokens = 0
        self.watching = []


class GatewayHandler(socketserver.StreamRequestHandler):
    def handle(self):
        path = self.rfile.readline().split()[1].decode()
        fields = dict(line.decode().strip().split(": ", 1) for line in iter(self.rfile.readline, b"\r\n"))
        if path.endswith("authenticate"):
            self.rfile.read(int(fields["Content-Length"]))
            self.server.tokens += 1
            self.answer({"header": HEADER, "token": f"t{self.server.tokens}"}, close=True)
        else:
            self.server.watching.append(fields["Authorization"])
            first = len(self.server.watching) == 1
            ended = self.server.first if first else {}
            self.answer({"result": {"header": HEADER, "watch_id": "1", "created": True, **ended}}, close=bool(ended))
            self.rfile.readline()

    def answer(self, message, *, close):
        data = json.dumps(message).encode() + b"\n"
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data) + (b"0\r\n\r\n" if close else b""))


HEADER = {"cluster_id": "1", "revision": "5"}
DENIED = {"canceled": True, "cancel_reason": "etcdserver: permission denied"}
OVERTAKEN = {"header": {"cluster_id": "1", "raft_term": "2"}, "canceled": True, "compact_revision": "9"}


@contextlib.contextmanager
def watching(first):
    """A watch of an etcd whose first stream ends with ``first``."""
    with Gateway(first) as gateway:
        thread = threading.Thread(target=gateway.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        address = Endpoint("127.0.0.1", gateway.server_address[1])
        client = Client(Settings((address,), username="calico"))
        watch = EtcdWatch(client, [etcd_keys.of(Lease)], since=Revision(5))
        yield gateway, watch
        watch.close()
        client.close()
        gateway.shutdown()
        thread.join()


def test_a_watch_that_is_denied_for_its_token_tries_a_new_one():
    with watching(DENIED) as (gateway, watch):
        events = watch.next(0)

    assert events == ()
    assert gateway.watching == ["t1", "t2"]


def test_a_watch_that_a_compaction_overtook_is_told_so_without_a_revision():
    with watching(OVERTAKEN) as (_, watch), pytest.raises(Compacted, match="before revision 9"):
        watch.next(1)


# --- TLS ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    for name in ("ca", "other"):
        openssl("req", "-x509", *new, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}")
    for name in ("server", "client"):
        openssl("req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "ext").write_text("subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n")
        signing = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "ext"]
        openssl("x509", "-req", "-in", f"{name}.csr", *signing, "-out", f"{name}.pem")
    return {file.name: str(file) for file in folder.iterdir()}


@pytest.fixture
def secure(tmp_path, keys):
    tls = {
        "cert-file": keys["server.pem"],
        "key-file": keys["server.key"],
        "client-cert-auth": "true",
        "trusted-ca-file": keys["ca.pem"],
    }
    with EtcdServer(tmp_path, tls=tls) as server:
        yield server


def test_both_sides_show_their_certificates(secure, keys):
    store = open_store(
        "etcd://",
        {
            "ETCD_ENDPOINTS": secure.url.replace("etcds", "https"),
            "ETCD_CA_CERT_FILE": keys["ca.pem"],
            "ETCD_CERT_FILE": keys["client.pem"],
            "ETCD_KEY_FILE": keys["client.key"],
        },
    )

    made = retried(lambda: store.create(lease("a")))
    with store.watch([Lease], since=Revision(0)) as watch:
        events = collect(watch, 1)
        waiting = threading.Timer(0.05, watch.close)
        waiting.start()
        began = time.monotonic()
        assert watch.next(SOON) == ()
        assert time.monotonic() - began < SOON / 2
        waiting.join()
    store.close()

    assert [event.value for event in events] == [made.value]


@pytest.mark.parametrize(
    "case",
    [
        ("etcds", "other.pem", "client", "certificate is not trusted .*see ETCD_CA_CERT_FILE"),
        ("etcds", "ca.pem", "", "TLS .*ETCD_CERT_FILE"),
        ("etcd", "ca.pem", "", "disagree on TLS .etcd:// or etcds://"),
    ],
)
def test_tls_that_does_not_fit_is_said_with_what_to_set(secure, keys, case):
    url, ca, client, problem = case
    environ = {"ETCD_CA_CERT_FILE": keys[ca]}
    if client:
        environ |= {"ETCD_CERT_FILE": keys[f"{client}.pem"], "ETCD_KEY_FILE": keys[f"{client}.key"]}
    store = open_store(f"{url}://{secure.address}", environ)

    with pytest.raises(StoreUnavailable, match=problem):
        store.get(Lease, "a")
    store.close()


def test_tls_to_a_server_without_it_is_said(etcd):
    store = open_store(f"etcds://{etcd.address}", {})

    with pytest.raises(StoreUnavailable, match=r"whether it speaks TLS|disagree on TLS"):
        store.get(Lease, "a")
    store.close()


# --- killed clients -----------------------------------------------------------------------------------------

WRITER = """
import sys
from cloudnet.model.resources import Lease, Metadata
from cloudnet.store.api import Create
from cloudnet.store.registry import open_store
store = open_store(sys.argv[1], {})
for i in range(100_000):
    store.write([Create(Lease(Metadata(f"a{i}"))), Create(Lease(Metadata(f"b{i}")))])
    print(i, flush=True)
"""


def test_a_client_killed_in_the_middle_leaves_whole_batches(etcd, store):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, etcd.url], stdout=subprocess.PIPE)
    for _ in range(20):
        writer.stdout.readline()
    os.kill(writer.pid, signal.SIGKILL)
    last = [int(line) for line in writer.communicate()[0].split()][-1:]

    names = {item.value.meta.name for item in store.list(Lease).items}

    assert {name[1:] for name in names if name[0] == "a"} == {name[1:] for name in names if name[0] == "b"}
    assert all(f"a{i}" in names for i in last)
    with pytest.raises(NotFound):
        store.get(Lease, "a99999")
