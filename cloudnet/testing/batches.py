"""The part of a store's contract that is about writing several resources at once; ``StoreContract`` holds it too."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import overload

import pytest

from cloudnet.errors import BadInput, CloudnetError
from cloudnet.model.resources import IPPool, Lease, Metadata, Node, Resource
from cloudnet.store.api import (
    AlreadyExists,
    Conflict,
    Create,
    Delete,
    Event,
    EventType,
    NotFound,
    Revision,
    Store,
    Stored,
    Update,
    Watch,
    Write,
)

SOON = 5.0  # seconds to wait for what must come; a broken store fails here, a good one never waits this long


class Killed(BaseException):
    """The process ends here; nobody may catch it."""


class Fatal(Sequence[Write]):
    """Writes that kill whoever goes through them for the nth time, at the end."""

    def __init__(self, writes: Sequence[Write], *, passes: int) -> None:
        self._writes = writes
        self._left = passes

    def __len__(self) -> int:
        return len(self._writes)

    @overload
    def __getitem__(self, at: int) -> Write: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Write]: ...

    def __getitem__(self, at: int | slice) -> Write | Sequence[Write]:
        return self._writes[at]

    def __iter__(self) -> Iterator[Write]:
        yield from self._writes
        self._left -= 1
        if not self._left:
            raise Killed


class BatchContract:
    """Tests of ``Store.write``. A store that is not atomic may leave the writes before the one that failed."""

    def test_a_batch_creates_updates_and_deletes(self, store: Store) -> None:
        before, gone = store.create(lease("b")), store.create(lease("c"))
        changed = replace(before.value, holder="new")

        made, updated, deleted = store.write(
            [Create(lease("a")), Update(changed, before.revision), Delete(Lease, "c", expected=gone.revision)]
        )

        assert store.list(Lease).items == (made, updated)
        assert updated is not None
        assert updated.value == changed
        assert deleted is None

    def test_what_a_batch_creates_gets_uids_of_its_own(self, store: Store) -> None:
        stored = store.write([Create(lease("a")), Create(lease("b"))])

        assert len({one.value.meta.uid for one in stored if one} - {""}) == 2

    def test_a_batch_of_nothing_changes_nothing(self, store: Store) -> None:
        since = store.list(Lease).revision

        assert tuple(store.write([])) == ()
        assert store.list(Lease).revision == since

    @pytest.mark.parametrize("first", [Lease, Node], ids=lambda kind: kind.__name__)
    def test_kinds_may_be_mixed_and_share_names(self, store: Store, first: type[Lease | Node]) -> None:
        values: list[Lease | Node] = [Lease(Metadata("a")), Node(Metadata("a"))]
        values.sort(key=lambda value: type(value) is not first)

        store.write([Create(value) for value in values])

        assert store.get(Lease, "a").value.meta.uid != store.get(Node, "a").value.meta.uid

    @pytest.mark.parametrize(
        ("failing", "error", "named"),
        [
            (lambda _: Create(lease("there")), AlreadyExists, "there"),
            (lambda _: Update(lease("missing"), Revision(1)), NotFound, "missing"),
            (lambda old: Update(replace(old.value, holder="x"), old.revision), Conflict, "there"),
            (lambda old: Delete(Lease, "there", expected=old.revision), Conflict, "there"),
            (lambda _: Delete(Lease, "missing"), NotFound, "missing"),
            (lambda _: Delete(Lease, "missing", expected=Revision(1)), NotFound, "missing"),
        ],
        ids=["created", "updated-gone", "updated-old", "deleted-old", "deleted-gone", "deleted-gone-expected"],
    )
    @pytest.mark.parametrize("at", [0, 1, 2], ids=["first", "middle", "last"])
    def test_one_that_fails_is_named_and_nothing_is_written(
        self,
        store: Store,
        failing: Callable[[Stored[Lease]], Write],
        error: type[CloudnetError],
        named: str,
        at: int,
    ) -> None:
        old = store.create(lease("there"))
        new = store.update(replace(old.value, holder="b"), expected=old.revision)
        writes: list[Write] = [Create(lease("a")), Create(lease("b"))]
        writes.insert(at, failing(old))

        with pytest.raises(error, match=f"Lease '{named}'"):
            store.write(writes)

        assert written(store) == ({} if store.atomic else dict.fromkeys("ab"[:at])) | {"there": None}
        assert store.get(Lease, "there") == new

    def test_of_two_that_fail_the_first_is_named(self, store: Store) -> None:
        store.create(lease("there"))

        with pytest.raises(NotFound, match="Lease 'missing'"):
            store.write([Delete(Lease, "missing"), Create(lease("there"))])

    def test_a_value_that_its_kind_forbids_spoils_the_batch(self, store: Store) -> None:
        with pytest.raises(BadInput):
            store.write([Create(lease("a")), Create(Lease(Metadata("No Such Name")))])

        assert written(store) == ({} if store.atomic else {"a": None})

    def test_a_namesake_spoils_the_batch(self, store: Store) -> None:
        made = store.create(lease("b"))

        with pytest.raises(Conflict, match="created anew"):
            store.write([Create(lease("a")), Update(Lease(Metadata("b", uid="another")), made.revision)])

        assert written(store).keys() == ({"b"} if store.atomic else {"a", "b"})

    @pytest.mark.parametrize("second", [Create, lambda value: Delete(Lease, value.meta.name)], ids=["put", "delete"])
    def test_a_resource_that_stands_there_twice_is_refused(
        self, store: Store, second: Callable[[Lease], Write]
    ) -> None:
        with pytest.raises(ValueError, match="Lease 'a' is written twice"):
            store.write([Create(lease("a")), second(lease("a"))])

        assert written(store) == {}

    @pytest.mark.parametrize("passes", range(1, 5))
    def test_who_is_killed_in_the_middle_leaves_nothing(self, store: Store, passes: int) -> None:
        writes = Fatal([Create(lease("a")), Create(lease("b"))], passes=passes)

        killed = False
        try:
            store.write(writes)
        except Killed:
            killed = True

        left = written(store).keys()
        assert left == {"a", "b"} or killed
        assert len(left) in ({0, 2} if store.atomic else {0, 1, 2})
        store.write([Create(lease("c"))])
        assert "c" in written(store)

    def test_a_watch_sees_a_batch_in_order_and_resumes_after_it(self, store: Store) -> None:
        gone = store.create(lease("z"))
        since = store.list(Lease).revision

        with store.watch([Lease, IPPool], since=since) as watch:
            stored = store.write([Create(lease("b")), Delete(Lease, "z"), Create(lease("a"))])
            events = collect(watch, 3)
            assert watch.next(0) == ()

        made = [one for one in stored if one]
        assert [(event.type, event.value) for event in events] == [
            (EventType.PUT, made[0].value),
            (EventType.DELETED, gone.value),
            (EventType.PUT, made[1].value),
        ]
        assert [events[0].revision, events[2].revision] == [one.revision for one in made]
        with store.watch([Lease], since=events[-1].revision) as resumed:
            assert resumed.next(0) == ()

    def test_revisions_of_a_batch_lie_above_all_before_and_below_all_after(self, store: Store) -> None:
        before = store.create(lease("a")).revision
        batch = [one.revision for one in store.write([Create(lease("b")), Create(lease("c"))]) if one]
        after = store.create(lease("d")).revision

        assert [before, *batch, after] == sorted([before, *batch, after])
        assert before < batch[0]
        assert batch[-1] < after
        assert store.get(Lease, "c").revision == batch[-1]

    def test_batches_of_many_clients_are_never_half_seen(self, client: Callable[[], Store]) -> None:
        clients = [client() for _ in range(3)]
        clients[0].write([Create(lease("a")), Create(lease("b"))])

        def count(store: Store) -> None:
            for _ in range(10):
                raise_both(store)

        with ThreadPoolExecutor(2) as pool:
            counting = [pool.submit(count, store) for store in clients[:2]]
            seen = [[item.value.renewals for item in clients[2].list(Lease).items] for _ in range(50)]
            for one in counting:
                one.result()

        a, b = (item.value.renewals for item in clients[2].list(Lease).items)
        assert b == 20
        assert a == b if clients[0].atomic else a >= b
        assert not clients[0].atomic or all(one == other for one, other in seen)


def raise_both(store: Store) -> None:
    """Count both leases up together, again when another writer was first."""
    while True:
        both = [store.get(Lease, name) for name in "ab"]
        writes = [Update(replace(one.value, renewals=one.value.renewals + 1), one.revision) for one in both]
        try:
            store.write(writes)
        except Conflict:
            continue
        return


def lease(name: str) -> Lease:
    return Lease(Metadata(name), holder=name)


def written(store: Store) -> dict[str, None]:
    """Return the names of the leases that there are."""
    return dict.fromkeys(item.value.meta.name for item in store.list(Lease).items)


def collect(watch: Watch, count: int) -> list[Event[Resource]]:
    """Return the next events, at least ``count``."""
    events: list[Event[Resource]] = []
    deadline = time.monotonic() + SOON
    while len(events) < count and (left := deadline - time.monotonic()) > 0:
        events += watch.next(left)
    return events
