from __future__ import annotations

import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import replace
from ipaddress import ip_network

import msgspec
import pytest

from cloudnet.model.resources import AgentReport, BlockAffinity, IPPool, Lease, Metadata, Node
from cloudnet.store.api import Compacted, NotFound, Revision, StoreDamaged, StoreUnavailable
from cloudnet.store.sqlite import SCHEMA_VERSION, SqliteStore

POOL = IPPool(Metadata("default"), ip_network("10.65.0.0/16"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.sqlite"


@pytest.fixture
def store(path):
    store = SqliteStore(path)
    yield store
    store.close()


def run(path, *statements):
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(*statement) if isinstance(statement, tuple) else connection.execute(statement)
    connection.close()


# --- the file -----------------------------------------------------------------------------------------------


def test_file_and_directory_are_for_the_owner_alone(tmp_path):
    store = SqliteStore(tmp_path / "new" / "store.sqlite")
    store.create(POOL)

    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in (tmp_path / "new").iterdir()}
    directory = oct((tmp_path / "new").stat().st_mode & 0o777)
    store.close()

    assert modes == dict.fromkeys(["store.sqlite", "store.sqlite-wal", "store.sqlite-shm"], "0o600")
    assert directory == "0o700"


def test_a_write_is_on_disk_before_it_is_acknowledged(store):
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_file_that_is_no_database_is_named_with_the_remedy(path):
    path.write_bytes(b"these are not the bytes you are looking for" * 100)

    with pytest.raises(StoreDamaged, match=rf"{path} is corrupt .* restore it from a backup, or move it away"):
        SqliteStore(path)


def test_a_page_that_rots_is_reported_when_it_is_read(path):
    store = SqliteStore(path)
    for i in range(200):
        store.create(Node(Metadata(f"n{i}")))
    store.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))

    again = SqliteStore(path)
    with pytest.raises(StoreDamaged, match="is corrupt"):
        again.list(Node)
    again.close()


def test_a_newer_schema_is_refused_and_left_alone(path):
    SqliteStore(path).close()
    run(path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = path.read_bytes()

    with pytest.raises(StoreDamaged, match=rf"{path} has schema version 2, newer than 1, .*upgrade cloudnet"):
        SqliteStore(path)

    assert path.read_bytes() == before


def test_another_programs_database_is_refused_and_left_alone(path):
    run(path, "CREATE TABLE bookmarks (url TEXT)")
    before = path.read_bytes()

    with pytest.raises(StoreDamaged, match="another program's sqlite file"):
        SqliteStore(path)

    assert path.read_bytes() == before


def test_a_path_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(StoreUnavailable, match=rf"{tmp_path}/file"):
        SqliteStore(tmp_path / "file" / "store.sqlite")


def test_a_file_that_vanished_is_noticed_by_writers_and_watches(store, path):
    store.create(POOL)
    with store.watch([IPPool], since=Revision(0)) as watch:
        assert watch.next(0)
        path.unlink()

        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            watch.next(0)
        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            store.create(POOL)


def test_many_may_open_a_new_file_at_once(path):
    start, opened = threading.Barrier(8), []

    def open_it():
        start.wait()
        opened.append(SqliteStore(path))

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    opened[0].create(POOL)
    assert [store.get(IPPool, "default").value.cidr for store in opened] == [POOL.cidr] * 8
    for store in opened:
        store.close()


# --- trouble while it runs ----------------------------------------------------------------------------------


def test_a_full_disk_is_said_and_costs_nothing_but_the_write(store):
    store.create(POOL)
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(StoreUnavailable, match="disk is full: free some space"):
        store.create(Lease(Metadata("large"), holder="x" * 100_000))

    store._connection.execute("PRAGMA max_page_count = 1000000")
    assert store.get(IPPool, "default").value.cidr == POOL.cidr
    assert store.create(Lease(Metadata("after"))).revision == store.list(Lease).revision


FILL = """
import sys
from pathlib import Path
from cloudnet.model.resources import Lease, Metadata
from cloudnet.store.api import StoreUnavailable
from cloudnet.store.sqlite import SqliteStore

directory = Path(sys.argv[1])
store, held = SqliteStore(directory / "store.sqlite"), 0
try:
    for i in range(5000):
        store.create(Lease(Metadata(f"l{i}"), holder="x" * 1000))
        held += 1
except StoreUnavailable as error:
    print(error)
assert len(store.list(Lease).items) == held
(directory / "ballast").unlink()
store.create(Lease(Metadata("after")))
store.close()
again = SqliteStore(directory / "store.sqlite")
assert len(again.list(Lease).items) == held + 1
"""


@pytest.mark.kernel
def test_a_really_full_disk_loses_nothing_and_heals_when_space_is_freed(tmp_path):
    script = (
        f"mount -t tmpfs -o size=2m none {tmp_path} && head -c 800000 /dev/zero > {tmp_path}/ballast"
        f" && exec {sys.executable} -c '{FILL}' {tmp_path}"
    )

    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "free some space" in done.stdout or "or is full" in done.stdout


def test_a_writer_that_hangs_is_waited_for_only_so_long(path):
    store = SqliteStore(path, busy_timeout=0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreUnavailable, match="another process has kept it locked"):
        store.create(POOL)
    assert store.list(IPPool).items == ()
    other.execute("ROLLBACK")
    other.close()

    assert store.create(POOL).revision == 1
    store.close()


def test_one_spoilt_document_does_not_hide_the_others(store, path, caplog):
    store.create(Node(Metadata("good")))
    store.create(Node(Metadata("spoilt")))
    since = store.list(Node).revision
    with store.watch([Node], since=since) as watch:
        bad = b'{"metadata": {"name": "spoilt"}, "spec": {"bgp": {"ipv4Address": 7}}}'
        run(path, ("UPDATE resources SET document = ? WHERE name = 'spoilt'", (bad,)))
        run(path, ("INSERT INTO changes VALUES (?, 'Node', 'put', ?)", (since + 1, bad)))
        store.create(Node(Metadata("better")))

        with pytest.raises(Compacted, match=r"a change of a Node cannot be read .*spec\.bgp\.ipv4Address"):
            watch.next(0)
    listing = store.list(Node)
    assert [item.value.name for item in listing.items] == ["better", "good"]
    assert listing.unreadable == {("", "spoilt"): "spec.bgp.ipv4Address: expected a string, found 7"}
    assert "name=spoilt problem='spec.bgp.ipv4Address: expected a string, found 7'" in caplog.text
    with store.watch([Node], since=listing.revision) as watch:
        store.create(Node(Metadata("best")))
        assert [event.value.name for event in watch.next(0)] == ["best"]
    with pytest.raises(StoreDamaged, match=r"Node 'spoilt' .*spec\.bgp\.ipv4Address"):
        store.get(Node, "spoilt")
    store.delete(Node, "spoilt")


# --- documents ----------------------------------------------------------------------------------------------


def test_fields_that_we_do_not_understand_survive_our_update(store, path):
    made = store.create(POOL)
    document = msgspec.json.decode(run_one(path, "SELECT document FROM resources"))
    document["spec"]["ofNextYear"] = "zone == 'a'"
    document["metadata"]["creationTimestamp"] = "2024-01-01T00:00:00Z"
    run(path, ("UPDATE resources SET document = ?", (msgspec.json.encode(document),)))

    store.update(replace(made.value, nat_outgoing=True), expected=made.revision)

    document["spec"]["natOutgoing"] = True
    assert msgspec.json.decode(run_one(path, "SELECT document FROM resources")) == document


def run_one(path, statement):
    connection = sqlite3.connect(path)
    try:
        return connection.execute(statement).fetchone()[0]
    finally:
        connection.close()


# --- the log ------------------------------------------------------------------------------------------------


def test_the_log_stays_bounded(path):
    store = SqliteStore(path, keep=20)
    seen = store.create(Lease(Metadata("a")))
    for i in range(200):
        seen = store.update(replace(seen.value, renewals=i), expected=seen.revision)

    assert run_one(path, "SELECT count(*) FROM changes") <= 40
    assert seen.revision == 201
    store.close()


def test_revisions_grow_across_deletes_and_restarts(path):
    store = SqliteStore(path, keep=1)
    store.create(POOL)
    store.delete(IPPool, "default")
    store.close()

    store = SqliteStore(path, keep=1)
    assert store.create(POOL).revision == 3
    store.close()


# --- other processes ----------------------------------------------------------------------------------------

PAIRS = """
import itertools, sys
from pathlib import Path
from cloudnet.model.resources import AgentReport, Metadata
from cloudnet.store.api import Create, Update
from cloudnet.store.sqlite import SqliteStore

store = SqliteStore(Path(sys.argv[1]))
seen = store.write([Create(AgentReport(Metadata(sys.argv[2] + side))) for side in "ab"])
for number in itertools.count(1):
    values = [AgentReport(one.value.meta, observed=number, message="x" * 20000) for one in seen]
    seen = store.write([Update(value, one.revision) for value, one in zip(values, seen)])
    print(number, seen[1].revision, flush=True)
"""

WRITER = """
import sys, time
from dataclasses import replace
from pathlib import Path
from cloudnet.model.resources import AgentReport, Metadata
from cloudnet.store.api import NotFound
from cloudnet.store.sqlite import SqliteStore

store, name = SqliteStore(Path(sys.argv[1]), keep=40), sys.argv[2]
try:
    seen = store.get(AgentReport, name)
except NotFound:
    seen = store.create(AgentReport(Metadata(name)))
while True:
    seen = store.update(replace(seen.value, observed=seen.value.observed + 1), expected=seen.revision)
    print(seen.value.observed, seen.revision, time.monotonic(), flush=True)
    if len(sys.argv) > 3:
        time.sleep(float(sys.argv[3]))
"""


def start_writer(path, name, *pause, program=WRITER):
    return subprocess.Popen([sys.executable, "-c", program, path, name, *pause], stdout=subprocess.PIPE, text=True)


def kill_after(seconds, *writers):
    """Let the writers write that long, kill them, and return the last line that each acknowledged."""
    firsts = [writer.stdout.readline() for writer in writers]
    time.sleep(seconds)
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
    lasts = []
    for first, writer in zip(firsts, writers, strict=True):
        rest, _ = writer.communicate()
        complete = [line for line in rest.splitlines(keepends=True) if line.endswith("\n")]
        lasts.append((complete or [first])[-1])
    return [(int(line.split()[0]), int(line.split()[1])) for line in lasts]


def test_kill_9_at_any_moment_loses_no_acknowledged_write(path):
    rng, newest = random.Random(4789), 0
    for _ in range(5):
        # A moment between two writes: one that never lets go of the file can keep the other out for seconds.
        writers = [start_writer(path, "n1", "0.0005"), start_writer(path, "n2", "0.0005")]
        acknowledged = kill_after(rng.uniform(0.001, 0.08), *writers)

        assert run_one(path, "PRAGMA integrity_check") == "ok"
        store = SqliteStore(path)
        for (count, revision), name in zip(acknowledged, ("n1", "n2"), strict=True):
            held = store.get(AgentReport, name)
            assert held.value.observed >= count
            assert held.revision >= revision > newest
        newest = store.list(AgentReport).revision
        assert newest >= max(revision for _, revision in acknowledged)
        with pytest.raises(NotFound):
            store.get(Lease, "none")
        store.close()


def test_kill_9_leaves_no_half_of_a_batch(path):
    rng = random.Random(4096)
    for i in range(4):
        ((acknowledged, revision),) = kill_after(rng.uniform(0.001, 0.05), start_writer(path, f"n{i}", program=PAIRS))

        store = SqliteStore(path)
        pair = [store.get(AgentReport, f"n{i}{side}") for side in "ab"]
        assert pair[0].value.observed == pair[1].value.observed >= acknowledged
        assert pair[1].revision == pair[0].revision + 1 >= revision
        store.close()


def test_a_watch_wakes_within_50_ms_of_a_write_in_another_process(store, path):
    delays = []
    with store.watch([AgentReport], since=Revision(0)) as watch:
        writer = start_writer(path, "n1", "0.02")
        lines = {}
        while len(delays) < 45:
            events, woke = watch.next(5), time.monotonic()
            assert events
            for event in events:
                while event.value.observed > 0 and event.revision not in lines:
                    _, revision, at = writer.stdout.readline().split()
                    lines[int(revision)] = float(at)
                if event.revision in lines:
                    delays.append(woke - lines[event.revision])
        writer.kill()
        writer.communicate()

    rounds = [statistics.median(delays[i : i + 15]) for i in (0, 15, 30)]
    assert min(rounds) < 0.050  # the best of three: other work on this machine is not what is measured


def test_an_idle_watch_takes_less_than_a_hundredth_of_a_core(store):
    with store.watch([Node], since=Revision(0)) as watch:
        used = []
        for _ in range(3):
            began = time.thread_time()
            watch.next(0.5)
            used.append(time.thread_time() - began)

    assert min(used) < 0.5 / 100 * 2  # twice the promise: the machine may be busy


def test_listing_5000_block_affinities_takes_well_under_a_second(path):
    store = SqliteStore(path)
    first = store.create(BlockAffinity(Metadata("b"), "n", ip_network("10.0.0.0/26")))
    document = run_one(path, "SELECT document FROM resources")
    run(path, "DELETE FROM resources")
    with sqlite3.connect(path) as connection:
        rows = [("BlockAffinity", "", f"b{i}", first.revision, document) for i in range(5000)]
        connection.executemany("INSERT INTO resources VALUES (?, ?, ?, ?, ?)", rows)
    connection.close()

    began = time.thread_time()
    items = store.list(BlockAffinity).items
    took = time.thread_time() - began
    store.close()

    assert len(items) == 5000
    assert took < 1
