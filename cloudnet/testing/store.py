"""The contract that every store keeps: derive from ``StoreContract`` and say how a client is opened.

class TestMemory(StoreContract):
    def opener(self, directory, keep):
        data = MemoryData(keep=keep)
        return lambda: MemoryStore(data)
"""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from cloudnet.errors import BadInput
from cloudnet.model import kinds
from cloudnet.model.resources import AgentReport, Lease, Metadata, Node, Resource
from cloudnet.store.api import (
    AlreadyExists,
    Compacted,
    Conflict,
    EventType,
    NotFound,
    Revision,
    Store,
    Stored,
    StoreUnavailable,
    Watch,
    change,
)
from cloudnet.store.records import with_uid
from cloudnet.testing import strategies
from cloudnet.testing.batches import SOON, BatchContract, collect, lease

Opener = Callable[[], Store]

KEEP = 50  # changes that the store under test keeps
WAKE = 0.050  # seconds: a watch must wake sooner, in the median


class StoreContract(BatchContract):
    """Tests of a store's promises. Each test has a fresh store, and opens as many clients as it needs."""

    @abstractmethod
    def opener(self, directory: Path, keep: int) -> Opener:
        """Return a function whose every call opens one more client of one fresh store.

        ``keep`` is how many changes the store must keep at least; it must forget those older than twice that.
        """

    def forget(self, store: Store, keep: int) -> None:
        """Make the store forget all but the newest ``keep`` changes, where it does not do so by itself."""

    read_only: Collection[type[Resource]] = ()
    """Kinds that somebody else makes of other things where this store lies."""

    def values(self, kind: kinds.Kind[Resource]) -> SearchStrategy[Resource]:
        """Return what values of a kind the store can hold: any, unless they are made of something else there."""
        return strategies.OF[kind.type]

    def prepare(self, value: Resource) -> None:
        """Make what a value stands on, where there is such a thing: its namespace, its pod."""

    @pytest.fixture
    def client(self, tmp_path: Path) -> Iterator[Opener]:
        """Opens clients of one store, and closes them after the test."""
        opener, opened = self.opener(tmp_path, KEEP), []

        def client() -> Store:
            opened.append(opener())
            return opened[-1]

        yield client
        for store in opened:
            store.close()

    @pytest.fixture
    def store(self, client: Opener) -> Store:
        return client()

    # --- reading and writing ----------------------------------------------------------------------------

    def test_what_is_created_can_be_read(self, store: Store) -> None:
        made = store.create(lease("a"))

        assert store.get(Lease, "a") == made
        assert made.value.holder == "a"

    def test_a_new_resource_gets_a_uid_of_its_own(self, store: Store) -> None:
        uids = {store.create(lease(name)).value.meta.uid for name in "ab"}

        assert len(uids) == 2
        assert "" not in uids

    def test_a_uid_that_the_caller_chose_is_kept(self, store: Store) -> None:
        made = store.create(Lease(Metadata("a", uid="mine")))

        assert made.value.meta.uid == "mine"

    def test_creating_what_exists_is_refused(self, store: Store) -> None:
        first = store.create(lease("a"))

        with pytest.raises(AlreadyExists, match="Lease 'a'"):
            store.create(lease("a"))

        assert store.get(Lease, "a") == first

    def test_names_of_one_kind_are_free_in_another(self, store: Store) -> None:
        store.create(lease("a"))
        store.create(Node(Metadata("a")))

        assert store.get(Node, "a").value.name == "a"

    def test_reading_what_is_not_there_says_what_is_missing(self, store: Store) -> None:
        with pytest.raises(NotFound, match="there is no Lease 'a'"):
            store.get(Lease, "a")

    def test_a_list_holds_one_kind_in_the_order_of_names(self, store: Store) -> None:
        for name in ("c", "a", "b"):
            store.create(lease(name))
        store.create(Node(Metadata("d")))

        assert [item.value.meta.name for item in store.list(Lease).items] == ["a", "b", "c"]

    def test_a_list_shows_of_each_value_what_the_view_leaves(self, store: Store) -> None:
        stored = store.create(Node(Metadata("n1"), provider_id="x"))

        seen = store.list(Node, view=lambda node: Node(Metadata(node.meta.name))).items

        assert seen == (Stored(Node(Metadata("n1")), stored.revision),)

    def test_a_list_of_nothing_is_empty(self, store: Store) -> None:
        assert store.list(Node).items == ()

    def test_an_update_replaces_the_value_and_keeps_the_uid(self, store: Store) -> None:
        made = store.create(lease("a"))

        updated = store.update(Lease(Metadata("a"), holder="b"), expected=made.revision)

        assert store.get(Lease, "a") == updated
        assert updated.value.holder == "b"
        assert updated.value.meta.uid == made.value.meta.uid

    def test_an_update_of_a_namesake_is_a_conflict(self, store: Store) -> None:
        made = store.create(lease("a"))

        with pytest.raises(Conflict, match="created anew"):
            store.update(Lease(Metadata("a", uid="another")), expected=made.revision)

    def test_an_update_of_what_is_gone_is_refused(self, store: Store) -> None:
        made = store.create(lease("a"))
        store.delete(Lease, "a")

        with pytest.raises(NotFound):
            store.update(made.value, expected=made.revision)

    def test_an_update_on_an_old_revision_is_a_conflict_and_changes_nothing(self, store: Store) -> None:
        old = store.create(lease("a"))
        new = store.update(replace(old.value, holder="b"), expected=old.revision)

        with pytest.raises(Conflict, match="read it again"):
            store.update(replace(old.value, holder="c"), expected=old.revision)

        assert store.get(Lease, "a") == new

    def test_a_delete_removes(self, store: Store) -> None:
        store.create(lease("a"))

        store.delete(Lease, "a")

        with pytest.raises(NotFound):
            store.get(Lease, "a")
        with pytest.raises(NotFound):
            store.delete(Lease, "a")

    def test_a_delete_on_an_old_revision_is_a_conflict(self, store: Store) -> None:
        old = store.create(lease("a"))
        new = store.update(replace(old.value, holder="b"), expected=old.revision)

        with pytest.raises(Conflict):
            store.delete(Lease, "a", expected=old.revision)
        store.delete(Lease, "a", expected=new.revision)

        assert store.list(Lease).items == ()

    def test_revisions_only_grow(self, store: Store) -> None:
        seen = [store.list(Lease).revision]
        for round_ in range(3):
            made = store.create(lease("a"))
            updated = store.update(replace(made.value, renewals=round_), expected=made.revision)
            store.delete(Lease, "a")
            seen += [made.revision, updated.revision, store.list(Lease).revision]

        assert seen == sorted(set(seen))

    @pytest.mark.parametrize("kind", kinds.ALL, ids=lambda kind: kind.name)
    @settings(
        max_examples=25,
        deadline=None,  # the time is the disk's
        suppress_health_check=[HealthCheck.function_scoped_fixture],  # each example leaves the store empty
    )
    @given(data=st.data())
    def test_values_of_every_kind_come_back_equal(
        self, store: Store, kind: kinds.Kind[Resource], data: st.DataObject
    ) -> None:
        value = data.draw(self.values(kind))
        self.prepare(value)
        if kind.type in self.read_only:
            with pytest.raises(BadInput, match="Kubernetes makes"):
                store.create(value)
            return
        before = store.list(kind.type).items

        made = store.create(value)
        read = store.get(kind.type, value.meta.name, value.meta.namespace)
        listed = store.list(kind.type)
        store.delete(kind.type, value.meta.name, value.meta.namespace)

        assert made.value == (value if value.meta.uid else with_uid(value, made.value.meta.uid))
        assert made.value.meta.uid
        assert read == made
        assert [one for one in listed.items if one not in before] == [made]

    # --- several clients --------------------------------------------------------------------------------

    def test_clients_see_each_others_writes(self, client: Opener) -> None:
        one, other = client(), client()

        made = one.create(lease("a"))
        updated = other.update(replace(made.value, holder="b"), expected=made.revision)

        assert one.get(Lease, "a") == updated

    def test_a_client_that_was_closed_leaves_the_data_behind(self, client: Opener) -> None:
        first = client()
        made = first.create(lease("a"))
        first.close()

        again = client()

        assert again.get(Lease, "a") == made
        assert again.update(made.value, expected=made.revision).revision > made.revision

    def test_a_closed_store_says_so(self, client: Opener) -> None:
        store = client()
        store.close()

        with pytest.raises(StoreUnavailable, match="closed"):
            store.get(Lease, "a")

    def test_of_many_writers_on_one_revision_just_one_wins(self, client: Opener) -> None:
        clients = [client() for _ in range(4)]
        made = clients[0].create(lease("a"))
        start = threading.Barrier(8)

        def write(i: int) -> bool:
            start.wait()
            try:
                clients[i % 4].update(replace(made.value, holder=f"w{i}"), expected=made.revision)
            except Conflict:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(write, range(8)))

        assert won.count(True) == 1
        assert clients[0].get(Lease, "a").value.holder == f"w{won.index(True)}"

    def test_no_change_is_lost_among_threads_and_clients(self, client: Opener) -> None:
        clients = [client(), client()]
        clients[0].create(lease("a"))

        def count(i: int) -> None:
            for _ in range(10):
                change(clients[i % 2], Lease, "a", lambda seen: replace(seen, renewals=seen.renewals + 1), tries=500)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(count, range(4)))

        assert clients[0].get(Lease, "a").value.renewals == 40

    # --- watches ----------------------------------------------------------------------------------------

    def test_a_watch_delivers_every_later_change_once_and_in_order(self, store: Store) -> None:
        store.create(lease("before"))
        since = store.list(Lease).revision

        with store.watch([Lease], since=since) as watch:
            made = store.create(lease("a"))
            updated = store.update(replace(made.value, holder="b"), expected=made.revision)
            store.delete(Lease, "a")
            events = collect(watch, 3)

            assert [(event.type, event.value) for event in events] == [
                (EventType.PUT, made.value),
                (EventType.PUT, updated.value),
                (EventType.DELETED, updated.value),
            ]
            assert [event.revision for event in events[:2]] == [made.revision, updated.revision]
            assert events[2].revision == store.list(Lease).revision
            assert watch.next(0) == ()

    def test_a_watch_delivers_only_the_kinds_asked_for(self, store: Store) -> None:
        with store.watch([Node, Lease], since=store.list(Node).revision) as watch:
            store.create(lease("a"))
            store.create(AgentReport(Metadata("b")))
            store.create(Node(Metadata("c")))

            assert [event.value.meta.name for event in collect(watch, 2)] == ["a", "c"]

    def test_a_watch_from_the_start_delivers_everything(self, store: Store) -> None:
        store.create(lease("a"))

        with store.watch([Lease], since=Revision(0)) as watch:
            assert [event.value.meta.name for event in collect(watch, 1)] == ["a"]

    def test_a_watch_resumes_where_another_client_stopped(self, client: Opener) -> None:
        store = client()
        with store.watch([Lease], since=store.list(Lease).revision) as watch:
            store.create(lease("a"))
            (first,) = collect(watch, 1)
        store.create(lease("b"))
        store.create(lease("c"))

        with client().watch([Lease], since=first.revision) as resumed:
            assert [event.value.meta.name for event in collect(resumed, 2)] == ["b", "c"]

    def test_a_watch_without_changes_waits_and_returns_nothing(self, store: Store) -> None:
        with store.watch([Lease], since=Revision(0)) as watch:
            began = time.monotonic()

            assert watch.next(0.03) == ()
            assert time.monotonic() - began >= 0.03

    def test_a_watch_that_fell_too_far_behind_says_so(self, store: Store) -> None:
        watch = store.watch([Lease], since=store.list(Lease).revision)
        churn(store, 2 * KEEP + 1)
        self.forget(store, KEEP)

        with watch, pytest.raises(Compacted, match="list again"):
            watch.next(0)

    def test_a_watch_within_the_kept_changes_misses_none(self, store: Store) -> None:
        churn(store, 3 * KEEP)
        self.forget(store, KEEP)
        with store.watch([Lease], since=store.list(Lease).revision) as watch:
            churn(store, KEEP)
            self.forget(store, KEEP)

            assert len(collect(watch, KEEP)) == KEEP

    def test_a_watch_from_a_revision_yet_to_come_says_so(self, store: Store) -> None:
        store.create(lease("a"))

        with store.watch([Lease], since=Revision(1_000_000)) as watch, pytest.raises(Compacted):
            watch.next(0)

    def test_a_listing_after_compaction_gives_a_place_to_go_on(self, store: Store) -> None:
        churn(store, 3 * KEEP)
        self.forget(store, KEEP)
        since = store.list(Lease).revision

        with store.watch([Lease], since=since) as watch:
            assert watch.next(0) == ()
            store.create(lease("new"))
            assert [event.value.meta.name for event in collect(watch, 1)] == ["new"]

    def test_closing_a_watch_wakes_who_waits_on_it(self, store: Store) -> None:
        watch = store.watch([Lease], since=Revision(0))
        assert_wakes(watch, watch.close)

        with pytest.raises(StoreUnavailable, match="closed"):
            watch.next(0)

    def test_closing_the_store_wakes_who_waits_on_a_watch(self, client: Opener) -> None:
        store = client()
        with store.watch([Lease], since=Revision(0)) as watch:
            assert_wakes(watch, store.close)

    def test_a_watch_wakes_within_50_ms_of_another_clients_write(self, client: Opener) -> None:
        writer, reader = client(), client()
        made = writer.create(lease("a"))
        wrote: list[float] = []
        woke: list[float] = []

        def write() -> None:
            change(writer, Lease, "a", lambda seen: replace(seen, renewals=seen.renewals + 1))
            wrote.append(time.monotonic())

        with reader.watch([Lease], since=made.revision) as watch:
            for _ in range(9):
                timer = threading.Timer(0.005, write)
                timer.start()
                collect(watch, 1)
                woke.append(time.monotonic())
                timer.join()

        delays = [after - before for before, after in zip(wrote, woke, strict=True)]
        assert statistics.median(delays) < WAKE


def churn(store: Store, writes: int) -> None:
    """Make that many changes; the resource is left behind."""
    try:
        seen = store.get(Lease, "churn")
    except NotFound:
        seen = store.create(lease("churn"))
        writes -= 1
    for i in range(writes):
        seen = store.update(replace(seen.value, renewals=seen.value.renewals + i + 1), expected=seen.revision)


def assert_wakes(watch: Watch, close: Callable[[], None]) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(watch.next, SOON)
        time.sleep(0.005)  # until it waits
        began = time.monotonic()
        close()
        # Whoever had not begun to wait yet is told by an error, as after the close.
        with contextlib.suppress(StoreUnavailable):
            assert waiting.result(SOON) == ()
        assert time.monotonic() - began < SOON / 2
