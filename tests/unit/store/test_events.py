"""Events reach the cluster: once each, counted up, within a budget, and never at anybody's cost."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from cloudnet.model import cluster_events as events
from cloudnet.model.cluster_events import ClusterEvent, Subject, of_node
from cloudnet.store.api import NotFound, StoreUnavailable
from cloudnet.store.event_recorder import Recorder, recording
from cloudnet.store.event_series import FORGET_AFTER, REPEAT_EVERY, Tally
from cloudnet.store.kubernetes import KubernetesStore
from cloudnet.store.kubernetes_client import Client
from cloudnet.store.kubernetes_events import document, shortened
from cloudnet.store.memory import MemoryStore
from cloudnet.testing.kube.server import ApiServer

EVENTS = ("events.k8s.io/v1", "events")


def refused(node: str = "n1", note: str = "the table is full: raise its quota") -> ClusterEvent:
    return of_node(events.ROUTE_REFUSED, node, "u-1", note)


def good(node: str) -> ClusterEvent:
    return of_node(events.ROUTE_PROGRAMMED, node, "u-1", "the route stands")


def failed(pod: str) -> ClusterEvent:
    return ClusterEvent(events.POD_NETWORK_FAILED, Subject("Pod", pod, "shop", "u-2"), "no address left")


# --- which are written ----------------------------------------------------------------------------------------


def writes(tally: Tally, *moments: float, event: ClusterEvent | None = None) -> list[int]:
    """Return the counts that are written when the event comes at these seconds."""
    taken = [tally.take(event or refused(), at, name=f"e{at}") for at in moments]
    return [series.count for series in taken if series is not None]


def test_the_first_is_written_at_once_and_those_that_follow_closely_are_not() -> None:
    tally = Tally()
    written = [tally.take(refused(), at, name="e") for at in (0.0, 1.0, 2.0)]

    assert [series is not None for series in written] == [True, False, False]


def test_the_count_is_written_now_and_then_under_the_first_name() -> None:
    tally = Tally()
    tally.take(refused(), 0.0, name="first")
    tally.take(refused(), 10.0, name="second")

    series = tally.take(refused(), REPEAT_EVERY, name="third")

    assert series is not None
    assert (series.name, series.count) == ("first", 3)


def test_what_the_cluster_has_forgotten_is_a_new_event() -> None:
    tally = Tally()
    tally.take(refused(), 0.0, name="first")

    series = tally.take(refused(), FORGET_AFTER, name="second")

    assert series is not None
    assert (series.name, series.count) == ("second", 1)


def test_another_sentence_is_another_event() -> None:
    tally = Tally()

    assert tally.take(refused(), 0.0, name="a") is not None
    assert tally.take(refused(note="no permission"), 0.0, name="b") is not None


def test_one_object_has_a_budget_and_leaves_the_others_theirs() -> None:
    tally = Tally()
    many = [tally.take(refused(note=str(i)), 0.0, name="e") for i in range(50)]

    assert sum(one is not None for one in many) == 10
    assert tally.dropped == 40
    assert tally.take(refused(node="n2"), 0.0, name="e") is not None


def test_a_budget_grows_again() -> None:
    tally = Tally()
    for i in range(20):
        tally.take(refused(note=str(i)), 0.0, name="e")

    assert tally.take(refused(note="later"), 61.0, name="e") is not None


def test_a_thousand_nodes_at_once_are_told_bit_by_bit_and_bad_news_first() -> None:
    tally = Tally()
    joyful = [tally.take(good(f"n{i}"), 0.0, name="e") for i in range(1000)]
    sad = [tally.take(refused(node=f"n{i}"), 0.0, name="e") for i in range(1000)]

    assert sum(one is not None for one in joyful) == 50
    assert sum(one is not None for one in sad) == 50


def test_what_is_remembered_is_bounded() -> None:
    tally = Tally()
    for i in range(20_000):
        tally.take(refused(node=f"n{i}"), float(i), name="e")

    assert len(tally._series) <= 4096
    assert len(tally._of_one) <= 4096


# --- how they are written -------------------------------------------------------------------------------------


@pytest.fixture
def api():
    with ApiServer(namespaces=("default", "cloudnet-system", "shop")) as api:
        yield api


@pytest.fixture
def store(api):
    store = KubernetesStore(Client(api.settings(patience=0.2)))
    yield store
    store.close()


def eventually(true, seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)


def kept(api) -> list[dict]:
    return list(api.objects.items.get(EVENTS, {}).values())


@pytest.mark.parametrize("reason", events.ALL, ids=lambda reason: reason.name)
def test_every_event_is_one_that_kubernetes_takes(api, store, reason) -> None:
    about = Subject("Node", "n1", uid="u") if reason.about == "Node" else Subject("Pod", "p", "shop", "u")
    series = Tally().take(ClusterEvent(reason, about, "a sentence"), 0.0, name="p.1")

    store.events.write(series, instance="n1")

    (event,) = kept(api)
    assert (event["reason"], event["type"], event["note"]) == (reason.name, reason.severity.value, "a sentence")
    assert event["regarding"]["kind"] == reason.about
    assert event["metadata"]["namespace"] == (about.namespace or "default")


def test_an_event_that_comes_again_is_counted_up_in_place(api, store) -> None:
    tally = Tally()
    store.events.write(tally.take(refused(), 0.0, name="n1.1"), instance="n1")

    store.events.write(tally.take(refused(), REPEAT_EVERY, name="n1.2"), instance="n1")

    (event,) = kept(api)
    assert event["series"]["count"] == 2
    assert event["series"]["lastObservedTime"] > event["eventTime"]


def test_counting_up_what_is_gone_says_so(api, store) -> None:
    tally = Tally()
    tally.take(refused(), 0.0, name="n1.1")

    with pytest.raises(NotFound):
        store.events.write(tally.take(refused(), REPEAT_EVERY, name="n1.1"), instance="n1")


@pytest.mark.parametrize("note", ["é" * 2000, "a" * 1025, "…" * 400])
def test_a_sentence_that_is_too_long_is_cut_between_two_letters(note) -> None:
    cut = shortened(note)

    assert len(cut.encode()) <= 1024
    assert note.startswith(cut[:-1])


def test_an_event_names_object_program_and_instance() -> None:
    written = document(failed("web-0"), "web-0.1", instance="n1", now="2026-01-02T03:04:05.000006Z")

    assert written["regarding"] == {
        "apiVersion": "v1", "kind": "Pod", "name": "web-0", "namespace": "shop", "uid": "u-2"
    }  # fmt: skip
    assert (written["reportingController"], written["reportingInstance"]) == ("cloudnet.io/agent", "n1")


# --- nobody waits ---------------------------------------------------------------------------------------------


class Sink:
    """Keeps what is written; ``fails`` are the errors of the next writes."""

    def __init__(self, *fails: Exception) -> None:
        self.fails = list(fails)
        self.written: list[tuple[str, int]] = []
        self.gate = threading.Event()
        self.gate.set()

    def write(self, series, *, instance) -> None:
        assert instance == "n1"
        self.gate.wait(20.0)
        if self.fails:
            raise self.fails.pop(0)
        self.written.append((series.name, series.count))


def recorder(sink: Sink, **more) -> Recorder:
    numbers = itertools.count(1)
    return Recorder(sink, instance="n1", unique=lambda: next(numbers), **more)


def test_a_failed_write_stops_nothing_and_the_next_time_is_the_first_again(caplog) -> None:
    sink = Sink(StoreUnavailable("Kubernetes forbids us to create events"))
    running = recorder(sink)
    with caplog.at_level("INFO"):
        running.record(refused())
        running.record(refused())
        running.record(refused(node="n2"))
        eventually(lambda: len(sink.written) == 2)
    running.close()

    assert sink.written == [("n1.2", 1), ("n2.3", 1)]
    assert [r.levelname for r in caplog.records if "is not written" in r.message] == ["INFO"]


def test_what_the_cluster_forgot_early_is_written_anew() -> None:
    moments = iter([0.0, REPEAT_EVERY, REPEAT_EVERY])
    sink = Sink()
    running = recorder(sink, now=lambda: next(moments))
    running.record(refused())
    eventually(lambda: len(sink.written) == 1)
    sink.fails.append(NotFound('events "n1.1" not found'))
    running.record(refused())
    eventually(lambda: len(sink.written) == 2)
    running.close()

    assert sink.written == [("n1.1", 1), ("n1.3", 1)]


def test_whoever_records_never_waits_and_what_is_too_much_is_counted() -> None:
    sink = Sink()
    sink.gate.clear()
    running = recorder(sink)

    for i in range(1000):
        running.record(refused(node=f"n{i}"))

    assert running.dropped >= 1000 - 256 - 1
    sink.gate.set()
    running.close()


def test_names_of_events_are_names_that_kubernetes_takes(api, store) -> None:
    long = "a" * 229 + "." + "b" * 20
    with recording(store, "n1") as record:
        record(failed(long))
        eventually(lambda: len(kept(api)) == 1)


def test_an_api_that_forbids_events_leaves_the_program_alone(api, store) -> None:
    api.faults.forbidden.add(("create", "events.events.k8s.io"))
    with recording(store, "n1") as record:
        record(refused())
        eventually(lambda: any(seen.what == "events.events.k8s.io" for seen in api.seen))

    assert kept(api) == []


def test_a_store_without_events_takes_them_without_a_word() -> None:
    before = threading.active_count()
    with recording(MemoryStore(), "n1") as record:
        record(refused())
        assert threading.active_count() == before
