from __future__ import annotations

import threading
import time
from contextlib import closing
from ipaddress import ip_network

import pytest

from cloudnet.manifests import crds
from cloudnet.model.resources import AgentReport, CloudRoute, IPAMBlock, IPPool, Lease, Metadata, Node
from cloudnet.store.api import Compacted, StoreUnavailable
from cloudnet.store.kubernetes_client import Request
from cloudnet.store.kubernetes_credentials import Certificate, Proof
from cloudnet.store.kubernetes_streams import Streams
from cloudnet.testing.batches import SOON, collect, lease
from cloudnet.testing.kube.server import ApiServer

POOL = IPPool(Metadata("pool"), ip_network("10.65.0.0/16"))


@pytest.fixture(params=["plain", "http/1.1", "h2"])
def api(request, made_keys):
    """An API server without TLS, one that likes HTTP/1.1, and one that likes HTTP/2."""
    tls = None if request.param == "plain" else made_keys.server(request.param)
    with ApiServer(tls=tls, ca=made_keys.text("ca.pem")) as api:
        api.install(crds.own_crds())
        api.install(crds.calico_crds())
        yield api


@pytest.fixture
def shared(made_keys):
    """An API server that likes HTTP/2."""
    with ApiServer(tls=made_keys.server("h2"), ca=made_keys.text("ca.pem")) as api:
        api.install(crds.own_crds())
        api.install(crds.calico_crds())
        yield api


@pytest.fixture
def store(api, open_at):
    return open_at(api)


def test_a_watch_goes_on_where_it_was_after_the_api_was_gone(api, store):
    with store.watch([Lease], since=store.list(Lease).revision) as watch:
        store.create(lease("a"))
        assert [event.value.meta.name for event in collect(watch, 1)] == ["a"]
        api.stop()
        with pytest.raises(StoreUnavailable):
            until(watch)
        api.start()
        store.create(lease("b"))

        assert [event.value.meta.name for event in patiently(watch, 1)] == ["b"]


def until(watch):
    end = time.monotonic() + SOON
    while time.monotonic() < end:
        watch.next(0.05)


def patiently(watch, number):
    """Collect events from a watch that may say that its store does not answer yet."""
    found, end = [], time.monotonic() + 2 * SOON
    while len(found) < number and time.monotonic() < end:
        try:
            found += watch.next(0.1)
        except StoreUnavailable:
            time.sleep(0.05)
    return found


def test_streams_that_break_again_and_again_lose_and_double_nothing(api, store):
    with store.watch([Lease], since=store.list(Lease).revision) as watch:
        found = []
        for i in range(6):
            store.create(lease(f"l{i}"))
            found += watch.next(0.02)
            api.drop_connections()
        found += patiently(watch, 6 - len(found))

        assert [event.value.meta.name for event in found] == [f"l{i}" for i in range(6)]
        assert watch.next(0.3) == ()


def test_a_watch_that_goes_silent_is_opened_anew(api, open_at):
    api.faults.bookmark_every = 0.1
    store = open_at(api, silent=0.4)
    with store.watch([Lease], since=store.list(Lease).revision) as watch:
        assert watch.next(0.3) == ()
        api.faults.silent = True
        time.sleep(0.1)
        store.create(lease("a"))
        assert watch.next(0.1) == ()
        timer = threading.Timer(0.4, lambda: setattr(api.faults, "silent", False))
        timer.start()

        assert [event.value.meta.name for event in patiently(watch, 1)] == ["a"]
        timer.join()
    assert [seen.verb for seen in api.seen if seen.what == "leases.coordination.k8s.io"].count("watch") >= 2


def test_bookmarks_keep_a_quiet_watch_from_falling_behind(api, open_at):
    api.faults.bookmark_every = 0.05
    store = open_at(api)
    with store.watch([Lease], since=store.list(Lease).revision) as watch:
        for i in range(5):
            store.create(Node(Metadata(f"n{i}")))
        watch.next(0.5)
        api.objects.compact(keep=1)
        api.drop_connections()
        store.create(lease("a"))

        assert [event.value.meta.name for event in patiently(watch, 1)] == ["a"]


def test_a_cluster_that_went_back_in_time_is_noticed(api, open_at):
    store = open_at(api)
    store.create(lease("a"))
    with store.watch([Lease], since=store.list(Lease).revision) as watch:
        watch.next(0)
        api.objects.changes.clear()
        api.objects.revision = 1
        api.faults.bookmark_every = 0.05
        api.drop_connections()

        with pytest.raises(Compacted, match="went back"):
            until(watch)


def test_many_changes_at_once_all_come(store):
    with store.watch([Lease], since=store.list(Lease).revision) as watch:
        watch.next(0)
        for i in range(200):
            store.create(lease(f"l{i}"))

        assert [event.value.meta.name for event in collect(watch, 200)] == [f"l{i}" for i in range(200)]


def test_who_waits_for_a_change_is_woken_by_a_close(store):
    with store.watch([Lease, Node], since=store.list(Lease).revision) as watch:
        watch.next(0)
        waking = threading.Timer(0.2, watch.close)
        waking.start()
        began = time.monotonic()

        assert watch.next(60) == ()
        assert time.monotonic() - began < 30
        waking.join()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"tokens": {"another"}}, "does not know who we are"),
        ({"forbidden": {("watch", "ippools.projectcalico.org")}}, "forbids us to watch ippools"),
        ({"too_many": 1, "retry_after": 7}, "too much to do to watch ippools"),
        ({"broken": 1}, "fails to watch ippools"),
    ],
    ids=["401", "403", "429", "500"],
)
def test_a_watch_that_is_refused_says_why_and_is_opened_later(api, store, fault, said):
    before = vars(api.faults).copy()
    with store.watch([IPPool], since=store.list(IPPool).revision) as watch:
        vars(api.faults).update(fault)
        with pytest.raises(StoreUnavailable, match=said):
            watch.next(0)
        vars(api.faults).update(before)
        store.create(POOL)

        assert [event.value.meta.name for event in patiently(watch, 1)] == ["pool"]


@pytest.mark.parametrize("protocols", [(), ("http/1.1",)], ids=["no choice", "http/1.1"])
def test_each_stream_is_a_connection_where_the_server_does_not_choose_http_2(made_keys, open_at, protocols):
    with ApiServer(tls=made_keys.server(*protocols), ca=made_keys.text("ca.pem")) as api:
        store = open_at(api)
        with store.watch([Lease, Node], since=store.list(Lease).revision) as watch:
            watch.next(0)
            store.create(lease("a"))

            assert [event.value.meta.name for event in collect(watch, 1)] == ["a"]
            assert api.connections == 3  # one for requests
        store.close()


# --- streams of one connection ------------------------------------------------------------------------------

KINDS = (Lease, IPPool, Node, IPAMBlock, AgentReport, CloudRoute)


@pytest.fixture
def watched(shared, open_at):
    """A watch of many kinds that has begun, and a store that writes."""
    watches = []

    def watched(**settings):
        store = open_at(shared, **settings)
        watches.append(store.watch(KINDS, since=store.list(Lease).revision))
        watches[-1].next(0)
        return watches[-1], store

    yield watched
    for watch in watches:
        watch.close()


def names(events):
    return [event.value.meta.name for event in events]


def opened(api):
    return sum(seen.verb == "watch" for seen in api.seen)


def test_all_streams_of_a_watch_are_one_connection(shared, watched):
    watch, store = watched()
    store.create(lease("a"))
    store.create(POOL)
    store.create(Node(Metadata("n1")))

    assert names(collect(watch, 3)) == ["a", "pool", "n1"]
    assert opened(shared) == len(KINDS)
    assert shared.connections == 2  # this one, and one for requests


def test_a_server_with_few_streams_gets_a_few_connections(shared, watched):
    shared.faults.most_streams = 2
    watch, store = watched()
    store.create(lease("a"))
    store.create(POOL)

    assert names(collect(watch, 2)) == ["a", "pool"]
    assert shared.connections == 1 + len(KINDS) // 2


def test_a_stream_that_is_reset_is_opened_anew_alone(shared, watched):
    watch, store = watched()
    shared.faults.resets = 1
    wait_until(lambda: shared.faults.resets == 0)
    store.create(lease("a"))  # leases are the first stream, and the one that is reset

    assert names(patiently(watch, 1)) == ["a"]
    assert (opened(shared), shared.connections) == (len(KINDS) + 1, 2)


def wait_until(true):
    end = time.monotonic() + SOON
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_goodbyes_again_and_again_lose_and_double_nothing(shared, watched):
    watch, store = watched()
    found, wanted = [], []
    for i in range(5):
        shared.faults.goodbyes = 1
        for name in (f"a{i}", f"b{i}"):
            store.create(lease(name))
            store.create(Node(Metadata(name)))
            wanted.append(name)
            found += watch.next(0.05)
        found += patiently(watch, 2 * len(wanted) - len(found))
        wait_until(lambda: shared.faults.goodbyes == 0)
    found += watch.next(0.5)

    for kind in (Lease, Node):
        assert [event.value.meta.name for event in found if isinstance(event.value, kind)] == wanted
    assert opened(shared) >= 2 * len(KINDS)
    wait_until(lambda: shared.connections == 2)


def test_a_goodbye_while_streams_are_opened_loses_nothing(shared, open_at):
    store = open_at(shared)
    with store.watch(KINDS, since=store.list(Lease).revision) as watch:
        shared.faults.goodbyes = 3
        shared.faults.latency = 0.03  # streams take longer to open than the server to leave
        store.create(lease("a"))
        store.create(POOL)

        assert names(patiently(watch, 2)) == ["a", "pool"]
        assert shared.faults.goodbyes == 0


def test_a_connection_that_the_server_left_meanwhile_is_not_missed(shared, open_at):
    streams = Streams(open_at(shared).client)
    asked = Request("watch", "nodes", "/api/v1/nodes", {"watch": "1"})
    with closing(streams):
        streams.open(asked)
        shared.faults.goodbyes = 1
        wait_until(lambda: shared.connections == 0)
        streams.open(asked)

        assert shared.connections == 1


def test_a_connection_that_went_dead_is_found_by_asking(shared, watched, caplog):
    caplog.set_level("DEBUG", logger="cloudnet.store")
    watch, store = watched(ping_after=0.2, pong_within=0.3)
    store.create(lease("a"))
    assert names(patiently(watch, 1)) == ["a"]

    def thaw():
        wait_until(lambda: "has said nothing for" in caplog.text)
        shared.faults.frozen = False

    shared.faults.frozen = True
    store.create(lease("b"))
    thawing = threading.Thread(target=thaw)
    thawing.start()

    assert names(watch.next(60)) == ["b"]
    thawing.join()
    assert not shared.faults.frozen


def test_a_quiet_connection_that_answers_is_kept(shared, watched):
    watch, _ = watched(ping_after=0.1, pong_within=30)

    assert watch.next(1.0) == ()
    assert opened(shared) == len(KINDS)


def test_streams_opened_later_take_the_new_token(shared, open_at):
    proofs = Changing(Proof("Bearer old"))
    store = open_at(shared, credentials=proofs)
    shared.faults.tokens = {"old"}
    with store.watch([Lease], since=store.list(Lease).revision) as watch:
        watch.next(0)
        shared.faults.tokens = {"new"}
        proofs.next = Proof("Bearer new")
        shared.faults.resets = 1
        wait_until(lambda: shared.faults.resets == 0)
        assert watch.next(0.5) == ()
        store.create(lease("a"))

        assert names(collect(watch, 1)) == ["a"]
        assert shared.connections == 2


class Changing:
    """Proofs as a test says: another one once the one before is refused."""

    def __init__(self, proof):
        self.proof = self.next = proof

    def current(self):
        return self.proof

    def renewed(self, refused):
        self.proof = self.next
        return None if self.proof == refused else self.proof


def test_streams_opened_with_another_certificate_are_another_connection(shared, open_at, made_keys):
    first, second = (
        Proof(certificate=Certificate(made_keys.text(f"{name}.pem"), made_keys.text(f"{name}.key")))
        for name in ("client", "server")
    )
    proofs = Changing(first)
    store = open_at(shared, credentials=proofs)
    with store.watch([Lease, Node], since=store.list(Lease).revision) as watch:
        watch.next(0)
        assert shared.connections == 2
        proofs.proof = second
        shared.faults.resets = 1
        wait_until(lambda: shared.faults.resets == 0)
        store.create(lease("a"))
        found = names(patiently(watch, 1))
        wait_until(lambda: shared.connections == 3)  # requests need one
        shared.faults.resets = 2  # one of each
        wait_until(lambda: shared.faults.resets == 0)
        store.create(Node(Metadata("n1")))

        assert (found, names(patiently(watch, 1))) == (["a"], ["n1"])
        wait_until(lambda: shared.connections == 2)
