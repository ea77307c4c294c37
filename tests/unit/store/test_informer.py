from __future__ import annotations

import contextlib
import json
import queue
import sqlite3
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from cloudnet.clock import ManualClock
from cloudnet.model.resources import AgentReport, Lease, Metadata, Node
from cloudnet.store.api import EventType
from cloudnet.store.informer import RETRY_FIRST, RETRY_LIMIT, Batch, Informer
from cloudnet.store.last_known import EVERY, LastKnown
from cloudnet.store.memory import MemoryData, MemoryStore
from cloudnet.store.sqlite import SqliteStore


@pytest.fixture
def data():
    return MemoryData()


@pytest.fixture
def store(data):
    return MemoryStore(data)


class Receiver:
    """Follows an informer step by step, without its thread."""

    def __init__(self, store, *kinds):
        self.batches = []
        self.informer = Informer(store, kinds, self.batches.append)

    def step(self):
        """Take one step, and return what it delivered: names, a deleted one with a minus; `synced` first."""
        self.batches.clear()
        self.pause = self.informer.step(wait=0)
        return [word for batch in self.batches for word in words(batch)]


def words(batch):
    marks = {EventType.PUT: "", EventType.DELETED: "-"}
    names = [marks[event.type] + event.value.meta.name for event in batch.events]
    return ["synced", *names] if batch.synced else names


def test_the_first_batch_is_everything_there_is(store):
    store.create(Node(Metadata("n1")))
    store.create(Lease(Metadata("l1")))
    store.create(AgentReport(Metadata("unasked")))
    receiver = Receiver(store, Node, Lease)

    assert receiver.step() == ["synced", "n1", "l1"]


def test_an_empty_store_is_synced_too(store):
    receiver = Receiver(store, Node)

    assert receiver.step() == ["synced"]


@pytest.fixture
def spoilt(tmp_path):
    """Return a store in a file, and what spoils a node's document in it, as a program of another version would."""
    path = tmp_path / "store.sqlite"
    store = SqliteStore(path)

    def spoil(name):
        bad = json.dumps({"metadata": {"name": name}, "spec": {"bgp": 7}})
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE resources SET document = ? WHERE name = ?", (bad, name))
            connection.execute("INSERT INTO changes SELECT max(revision) + 1, 'Node', 'put', ? FROM changes", (bad,))

    yield store, spoil
    store.close()


def test_what_cannot_be_read_any_more_stays_as_it_was_and_is_named(spoilt):
    store, spoil = spoilt
    store.create(Node(Metadata("n1")))
    store.create(Node(Metadata("n2")))
    receiver = Receiver(store, Node)
    receiver.step()

    spoil("n1")

    assert receiver.step() == []
    assert receiver.step() == ["synced", "n1", "n2"]
    assert list(receiver.informer.unreadable) == [(Node, ("", "n1"))]


def test_what_can_be_read_again_is_news_and_is_no_longer_named(spoilt):
    store, spoil = spoilt
    node = store.create(Node(Metadata("n1")))
    receiver = Receiver(store, Node)
    receiver.step()
    spoil("n1")
    receiver.step()
    receiver.step()

    store.delete(Node, "n1")
    store.create(node.value)

    heard = receiver.step() + receiver.step()
    assert heard[-1] == "n1"
    assert not receiver.informer.unreadable


def test_what_could_never_be_read_is_named_and_hides_no_other(spoilt):
    store, spoil = spoilt
    store.create(Node(Metadata("n1")))
    store.create(Node(Metadata("n2")))
    spoil("n1")
    receiver = Receiver(store, Node)

    assert receiver.step() == ["synced", "n2"]
    assert list(receiver.informer.unreadable.values()) == ["spec.bgp: expected an object, found 7"]


@pytest.fixture
def kept(tmp_path):
    return str(tmp_path / "kept" / "last-known.jsonl")


def remembering(store, kept, clock, *kinds):
    receiver = Receiver(store, *kinds)
    receiver.informer = Informer(store, kinds, receiver.batches.append, last_known=LastKnown(kept, clock))
    return receiver


def test_a_start_without_the_store_goes_on_from_what_it_said_last(data, store, kept):
    store.create(Node(Metadata("n1")))
    store.create(Lease(Metadata("l1")))
    remembering(store, kept, ManualClock(), Node, Lease).step()
    data.outage = "asleep"
    receiver = remembering(MemoryStore(data), kept, ManualClock(), Node)

    assert receiver.step() == ["synced", "n1"]
    assert "asleep" in receiver.informer.problem
    assert receiver.step() == []


def test_when_the_store_is_back_what_went_meanwhile_is_deleted(data, store, kept):
    store.create(Node(Metadata("n1")))
    store.create(Node(Metadata("n2")))
    remembering(store, kept, ManualClock(), Node).step()
    store.delete(Node, "n1")
    store.create(Node(Metadata("n3")))
    data.outage = "asleep"
    receiver = remembering(store, kept, ManualClock(), Node)
    receiver.step()
    data.outage = ""

    heard = receiver.step()

    assert heard[0] == "synced"
    assert sorted(heard[1:]) == ["-n1", "n2", "n3"]


def test_an_outage_later_on_changes_nothing(data, store, kept):
    store.create(Node(Metadata("n1")))
    receiver = remembering(store, kept, ManualClock(), Node)
    receiver.step()
    data.outage = "asleep"

    assert receiver.step() == []


def test_what_is_kept_is_replaced_only_now_and_then(store, kept):
    clock = ManualClock()
    receiver = remembering(store, kept, clock, Node)
    receiver.step()
    store.create(Node(Metadata("n1")))
    receiver.step()
    early = Path(kept).read_bytes()
    clock.advance(EVERY)
    store.create(Node(Metadata("n2")))
    receiver.step()

    assert early == b""
    assert [one.meta.name for one in LastKnown(kept, clock).load([Node])] == ["n1", "n2"]
    assert Path(kept).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in Path(kept).parent.iterdir()] == ["last-known.jsonl"]


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\n", b'{"kind": "Node"}\n', b'{"kind": "Nonsense"}\n'])
def test_what_is_kept_and_makes_no_sense_is_passed_over(store, kept, damage):
    store.create(Node(Metadata("n1")))
    remembering(store, kept, ManualClock(), Node).step()
    with Path(kept).open("ab") as file:
        file.write(damage)

    assert [one.meta.name for one in LastKnown(kept, ManualClock()).load([Node])] == ["n1"]


def test_what_cannot_be_kept_is_no_reason_to_stop(store, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    store.create(Node(Metadata("n1")))

    assert remembering(store, str(tmp_path / "file" / "kept"), ManualClock(), Node).step() == ["synced", "n1"]
    assert "cannot keep what the store said" in caplog.text


def test_later_batches_are_the_changes(store):
    receiver = Receiver(store, Node)
    receiver.step()
    store.create(Node(Metadata("n1")))
    store.create(Node(Metadata("n2")))
    store.delete(Node, "n1")

    assert receiver.step() == ["n1", "n2", "-n1"]
    assert receiver.step() == []


def test_compaction_leads_to_a_new_listing_with_the_deletions_that_went_unseen(store, data):
    receiver = Receiver(store, Node, Lease)
    store.create(Node(Metadata("stays")))
    store.create(Node(Metadata("goes")))
    receiver.step()
    store.delete(Node, "goes")
    store.create(Node(Metadata("comes")))
    data.compact()

    assert receiver.step() == []
    assert receiver.pause == 0.0
    assert sorted(receiver.step()) == ["-goes", "comes", "stays", "synced"]
    store.create(Node(Metadata("later")))
    assert receiver.step() == ["later"]


def test_a_deletion_that_was_seen_is_not_made_up_again(store, data):
    receiver = Receiver(store, Node)
    store.create(Node(Metadata("n1")))
    receiver.step()
    store.delete(Node, "n1")
    assert receiver.step() == ["-n1"]
    store.create(Node(Metadata("n2")))
    data.compact()

    receiver.step()
    assert receiver.step() == ["synced", "n2"]


def only_the_name(node):
    return Node(Metadata(node.meta.name), pod_cidrs=node.pod_cidrs)


def test_a_view_is_all_that_is_kept_and_told_and_the_same_is_told_once(store):
    cidr = (ip_network("10.65.1.0/24"),)
    made = store.create(Node(Metadata("n1"), provider_id="one"))
    batches = []
    informer = Informer(store, (Node,), batches.append, views={Node: only_the_name})
    informer.step()

    made = store.update(replace(made.value, provider_id="two"), expected=made.revision)
    informer.step(0)
    made = store.update(replace(made.value, pod_cidrs=cidr), expected=made.revision)
    made = store.update(replace(made.value, pod_cidrs=()), expected=made.revision)
    informer.step(0)
    store.delete(Node, "n1")
    informer.step(0)

    told = [(event.type.value, event.value) for batch in batches for event in batch.events]
    lean = Node(Metadata("n1"))
    assert told == [("put", lean), ("put", replace(lean, pod_cidrs=cidr)), ("put", lean), ("deleted", lean)]


class BetweenLists(MemoryStore):
    """A store in which something happens after the first kind was listed and before the second."""

    def list(self, kind, namespace=None):
        listing = super().list(kind, namespace)
        if kind is Node:
            self.create(Lease(Metadata("short-lived")))
            self.delete(Lease, "short-lived")
            self.create(Node(Metadata("n1")))
        return listing


def test_what_a_later_listing_knows_better_is_not_told_again(data):
    store = BetweenLists(data)
    receiver = Receiver(store, Node, Lease)

    assert receiver.step() == ["synced"]
    assert receiver.step() == ["n1"]


def test_a_store_that_is_out_is_tried_again_ever_more_slowly(store, data):
    receiver = Receiver(store, Node)
    data.outage = "no answer from the disk"

    pauses = []
    for _ in range(8):
        receiver.step()
        pauses.append(receiver.pause)

    assert pauses[:3] == [RETRY_FIRST, RETRY_FIRST * 2, RETRY_FIRST * 4]
    assert pauses[-1] == RETRY_LIMIT
    assert receiver.informer.problem == "no answer from the disk"


def test_after_an_outage_the_watch_goes_on_without_a_gap(store, data):
    receiver = Receiver(store, Node)
    receiver.step()
    store.create(Node(Metadata("n1")))
    data.outage = "no answer"
    assert receiver.step() == []
    assert receiver.pause > 0

    data.outage = ""

    assert receiver.step() == ["n1"]
    assert (receiver.pause, receiver.informer.problem) == (0.0, "")


def test_its_thread_delivers_and_ends_when_closed(store):
    batches = queue.Queue()
    made = store.create(Node(Metadata("n1")))
    with Informer(store, [Node], batches.put) as informer:
        assert words(batches.get(timeout=5)) == ["synced", "n1"]
        updated = store.update(replace(made.value, provider_id="aws:///a/i-1"), expected=made.revision)
        batch = batches.get(timeout=5)

    assert not informer._thread.is_alive()
    assert batch == Batch((batch.events[0],))
    assert batch.events[0].value == updated.value


def test_closing_the_store_first_does_no_harm(store):
    batches = queue.Queue()
    with Informer(store, [Node], batches.put) as informer:
        batches.get(timeout=5)
        store.close()

    assert not informer._thread.is_alive()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_receiver_that_fails_is_seen_by_health(store):
    def deliver(batch):
        raise RuntimeError("queue gone")

    informer = Informer(store, [Node], deliver)
    informer.start()
    informer._thread.join(5)

    assert informer.problem == "the informer stopped: queue gone"
    informer.close()
