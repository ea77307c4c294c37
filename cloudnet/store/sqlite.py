"""The embedded default: one sqlite file, shared by every process of one machine.

Three tables: ``resources`` holds the newest document of each, ``changes`` the log that watches read, bounded
by ``keep``; its primary key is the store's revision. A write is one transaction over both, so that a program
killed at any point leaves either all of it or nothing. The file is in WAL mode: readers never wait for the
writer. WAL needs shared memory between the processes: the file must not lie on a network file system.

* ``synchronous=FULL``: an acknowledged write survives loss of power. The controller's ledger of its cloud
  routes is written here *before* the cloud is told; losing it would make our own routes look foreign.
* A watch polls ``PRAGMA data_version`` on a connection of its own every ``POLL`` seconds: the pragma reads the
  WAL index in shared memory, no disk, and changes with every commit of any process. docs/design/store.md
  has the measured cost and what was weighed against it.
* One connection and a lock serve all threads of a process; a read is tens of microseconds.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, cast

from cloudnet.errors import BadInput
from cloudnet.model import kinds
from cloudnet.model.resources import Resource
from cloudnet.store import records
from cloudnet.store.api import (
    Compacted,
    Create,
    Delete,
    Event,
    EventType,
    Listing,
    Revision,
    Stored,
    StoreDamaged,
    StoreError,
    StoreUnavailable,
    Update,
    Write,
)

R = TypeVar("R", bound=Resource)

SCHEMA_VERSION = 1
APPLICATION_ID = 0x636E6574  # "cnet": tells our file from another program's
POLL = 0.015  # seconds: a watch wakes well within 50 ms, for a hundredth of a core at most
BUSY_TIMEOUT = 5.0  # seconds for which a writer waits for the writers before it; a write takes milliseconds
KEEP = 10_000  # changes; a watch further behind than that lists again
_TRIM_EVERY = 256  # writes between two trims of the log: one larger delete is cheaper than many small ones

_SCHEMA = (
    """
    CREATE TABLE resources (
        kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
        revision INTEGER NOT NULL, document BLOB NOT NULL,
        PRIMARY KEY (kind, namespace, name)
    ) WITHOUT ROWID
    """,
    # revision is the rowid: sqlite gives each new row the largest plus one, and the newest row is never trimmed
    """
    CREATE TABLE changes (
        revision INTEGER PRIMARY KEY, kind TEXT NOT NULL, type TEXT NOT NULL, document BLOB NOT NULL
    )
    """,
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


class SqliteStore:
    """A store in a file. ``keep`` is how many changes a watch can be behind."""

    atomic = True

    def __init__(
        self,
        path: Path,
        *,
        keep: int = KEEP,
        busy_timeout: float = BUSY_TIMEOUT,
        new_uid: Callable[[], str] = records.new_uid,
    ) -> None:
        self._path = path
        self._keep = max(1, keep)  # the newest change holds the revision
        self._busy_timeout = busy_timeout
        self._new_uid = new_uid
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._connection = _open(path, busy_timeout)
        self._identity = _identity(path)

    # --- reading ----------------------------------------------------------------------------------------

    def get(self, kind: type[R], name: str, namespace: str = "") -> Stored[R]:
        revision, document = self._find(kind, name, namespace)
        return Stored(self._decode(kinds.of(kind), name, document), revision)

    def whole(self, kind: type[R], name: str, namespace: str = "") -> Stored[R]:
        revision, document = self._find(kind, name, namespace)
        return Stored(kinds.keeping(self._decode(kinds.of(kind), name, document), document), revision)

    def _find(self, kind: type[R], name: str, namespace: str) -> tuple[Revision, bytes]:
        with self._reading() as connection:
            row = _row(connection, kinds.of(kind).name, namespace, name)
        if row is None:
            raise records.not_found(kinds.of(kind).name, name, namespace)
        return row

    def list(
        self, kind: type[R], namespace: str | None = None, *, view: Callable[[R], R] | None = None
    ) -> Listing[R]:
        return self._list(kind, namespace, lambda value, _: view(value) if view else value)

    def all_whole(self, kind: type[R], namespace: str | None = None) -> Listing[R]:
        return self._list(kind, namespace, kinds.keeping)

    def _list(self, kind: type[R], namespace: str | None, view: Callable[[R, bytes], R]) -> Listing[R]:
        of = kinds.of(kind)
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT namespace, name, revision, document FROM resources"
                " WHERE kind = ?1 AND (?2 IS NULL OR namespace = ?2) ORDER BY namespace, name",
                (of.name, namespace),
            ).fetchall()
            revision = _revision(connection)
        items = []
        unreadable: dict[tuple[str, str], str] = {}
        for place, name, changed, document in rows:
            # One document that somebody spoilt must not hide all the others.
            with records.tolerated(of.name, place, name, unreadable):
                items.append(Stored(view(of.decode(document), document), Revision(changed)))
        return Listing(tuple(items), revision, unreadable)

    def watch(self, kinds: Collection[type[Resource]], *, since: Revision) -> SqliteWatch:
        return SqliteWatch(self._path, self._busy_timeout, kinds, since=since, closing=self._closing)

    # --- writing ----------------------------------------------------------------------------------------

    def create(self, value: R) -> Stored[R]:
        with self._writing() as connection:
            return self._create(connection, value)

    def update(self, value: R, *, expected: Revision) -> Stored[R]:
        with self._writing() as connection:
            return self._update(connection, value, expected)

    def delete(
        self, kind: type[Resource], name: str, namespace: str = "", *, expected: Revision | None = None
    ) -> None:
        with self._writing() as connection:
            self._delete(connection, Delete(kind, name, namespace, expected))

    def write(self, writes: Sequence[Write]) -> Sequence[Stored[Resource] | None]:
        records.check_batch(writes)
        if not writes:
            return ()
        with self._writing() as connection:
            return tuple([self._write(connection, write) for write in writes])

    def close(self) -> None:
        self._closing.set()
        with self._lock:
            self._connection.close()

    # --- inside -----------------------------------------------------------------------------------------

    def _write(self, connection: sqlite3.Connection, write: Write) -> Stored[Resource] | None:
        match write:
            case Create(value):
                return self._create(connection, value)
            case Update(value, expected):
                return self._update(connection, value, expected)
            case Delete():
                self._delete(connection, write)
                return None

    def _create(self, connection: sqlite3.Connection, value: R) -> Stored[R]:
        kind, meta = kinds.of(type(value)), value.meta
        if _row(connection, kind.name, meta.namespace, meta.name) is not None:
            raise records.already_exists(kind.name, meta.name, meta.namespace)
        document = kind.encode(records.with_uid(value, meta.uid or self._new_uid()))
        revision = self._record(connection, kind.name, EventType.PUT, document)
        connection.execute(
            "INSERT INTO resources VALUES (?, ?, ?, ?, ?)",
            (kind.name, meta.namespace, meta.name, revision, document),
        )
        return Stored(kind.decode(document), revision)

    def _update(self, connection: sqlite3.Connection, value: R, expected: Revision) -> Stored[R]:
        kind, meta = kinds.of(type(value)), value.meta
        seen = self._expect(connection, kind.name, meta.name, meta.namespace, expected)
        before = self._decode(kind, meta.name, seen)
        if meta.uid not in {"", before.meta.uid}:
            raise records.other_uid(kind.name, meta.name, meta.namespace)
        document = kind.encode(records.with_uid(value, before.meta.uid), onto=seen)
        clean = kind.decode(document)
        revision = self._record(connection, kind.name, EventType.PUT, document)
        connection.execute(
            "UPDATE resources SET revision = ?, document = ? WHERE kind = ? AND namespace = ? AND name = ?",
            (revision, document, kind.name, meta.namespace, meta.name),
        )
        return Stored(clean, revision)

    def _delete(self, connection: sqlite3.Connection, write: Delete) -> None:
        name = kinds.of(write.kind).name
        seen = self._expect(connection, name, write.name, write.namespace, write.expected)
        self._record(connection, name, EventType.DELETED, seen)
        connection.execute(
            "DELETE FROM resources WHERE kind = ? AND namespace = ? AND name = ?", (name, write.namespace, write.name)
        )

    def _expect(
        self, connection: sqlite3.Connection, kind: str, name: str, namespace: str, expected: Revision | None
    ) -> bytes:
        row = _row(connection, kind, namespace, name)
        if row is None:
            raise records.not_found(kind, name, namespace)
        revision, document = row
        if expected is not None and revision != expected:
            raise records.conflict(kind, name, namespace, expected=expected, found=revision)
        return document

    def _record(self, connection: sqlite3.Connection, kind: str, type_: EventType, document: bytes) -> Revision:
        """Append to the log, and trim it now and then."""
        cursor = connection.execute(
            "INSERT INTO changes (kind, type, document) VALUES (?, ?, ?)", (kind, type_.value, document)
        )
        revision = Revision(cursor.lastrowid or 0)
        if revision % min(_TRIM_EVERY, self._keep) == 0:
            connection.execute("DELETE FROM changes WHERE revision <= ?", (revision - self._keep,))
        return revision

    def _decode(self, kind: kinds.Kind[R], name: str, document: bytes) -> R:
        try:
            return kind.decode(document)
        except BadInput as error:
            raise StoreDamaged(
                f"{self._path} holds {kind.name} {name!r} with a field that makes no sense ({error}): "
                f"delete it and create it again"
            ) from error

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Hold one moment of the store: all reads inside see the same revision."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Be the only writer; commit at the end, or nothing happened.

        IMMEDIATE, because a transaction that first reads and then wants to write can be refused for good when
        another writer came between (sqlite's BUSY_SNAPSHOT); this one waits its turn instead.
        """
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._lock, _translated(self._path):
            if self._closing.is_set():
                raise records.closed("store")
            _check_identity(self._path, self._identity)
            connection = self._connection
            try:
                connection.execute(begin)
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # sqlite has rolled back by itself after some errors
                    connection.execute("ROLLBACK")
                raise


class SqliteWatch:
    """The changes to some kinds after a revision, read from the log on a connection of its own."""

    def __init__(
        self,
        path: Path,
        busy_timeout: float,
        types: Collection[type[Resource]],
        *,
        since: Revision,
        closing: threading.Event,
    ) -> None:
        self._path = path
        self._kinds = {kinds.of(type_).name: kinds.of(type_) for type_ in types}
        self._since = since
        self._store_closing = closing
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._version = -1  # of the data as last read; sqlite's are positive
        self._connection = _open(path, busy_timeout)
        self._identity = _identity(path)

    def next(self, timeout: float) -> tuple[Event[Resource], ...]:
        if self._closed.is_set() or self._store_closing.is_set():
            raise records.closed("watch")
        deadline = time.monotonic() + timeout
        while True:
            with self._lock:
                if self._closed.is_set() or self._store_closing.is_set():
                    return ()
                with _translated(self._path):
                    found = self._take()
            left = deadline - time.monotonic()
            if found or left <= 0:
                return found
            self._closed.wait(min(POLL, left))

    def _take(self) -> tuple[Event[Resource], ...]:
        _check_identity(self._path, self._identity)
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version:
            return ()
        events = self._read()
        self._version = version  # only now: a read that failed must be done again
        return events

    def _read(self) -> tuple[Event[Resource], ...]:
        """Return what the log has after ``since``; one statement, so that it is one moment of the log."""
        rows = self._connection.execute(
            "SELECT revision, kind, type, document FROM changes WHERE revision >= ? ORDER BY revision", (self._since,)
        ).fetchall()
        self._check_resumable(rows[0][0] if rows else None)
        events = []
        for revision, name, type_, document in rows:
            if revision > self._since and (kind := self._kinds.get(name)) is not None:
                with records.readable(name, f"revision {revision}"):
                    events.append(Event(EventType(type_), kind.decode(document), Revision(revision)))
        if rows:
            self._since = Revision(rows[-1][0])
        return tuple(events)

    def _check_resumable(self, first: int | None) -> None:
        """Refuse a ``since`` that the log no longer reaches, or that this file never had (it was replaced)."""
        if first in {self._since, self._since + 1} or (first is None and self._since == 0):
            return
        raise Compacted(f"{self._path} has no longer the changes after revision {self._since}: list again")

    def close(self) -> None:
        self._closed.set()
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()


# --- the file -----------------------------------------------------------------------------------------------


def _open(path: Path, busy_timeout: float) -> sqlite3.Connection:
    """Return a connection to the file, which is made when there is none."""
    with _translated(path):
        _create(path)
        connection = sqlite3.connect(path, timeout=busy_timeout, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("BEGIN")  # one moment: another process may be making the schema just now
            version = _check_version(connection, path)
            connection.execute("COMMIT")
            _use_wal(connection, busy_timeout)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA journal_size_limit = 16777216")  # bytes: gives back what a burst took
            if version == 0:
                _make_schema(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection


def _create(path: Path) -> None:
    """Make file and directory for us alone; sqlite gives its side files the mode of the file.

    Nothing is opened when the file is there: closing a second descriptor of it would drop sqlite's locks
    (POSIX advisory locks, https://www.sqlite.org/howtocorrupt.html section 2.2).
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


_Identity = tuple[int, int]  # device, inode


def _identity(path: Path) -> _Identity | None:
    """Return which file stands at the path; ``None`` when none does."""
    try:
        found = os.stat(path)  # noqa: PTH116 - five times as fast as Path.stat, and every poll asks
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _check_identity(path: Path, opened: _Identity | None) -> None:
    """Refuse to go on with a file that was deleted or replaced: its writes would be lost, its watches silent."""
    if opened is None or _identity(path) != opened:
        raise StoreUnavailable(f"{path} was deleted or replaced while it was open: restart this program")


def _use_wal(connection: sqlite3.Connection, busy_timeout: float) -> None:
    """Switch to WAL; sqlite does not wait by itself while another process does the same."""
    deadline = time.monotonic() + busy_timeout
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(POLL)
        else:
            return


def _make_schema(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN IMMEDIATE")
    if _check_version(connection, path) == 0:  # nobody was faster
        for statement in _SCHEMA:
            connection.execute(statement)
    connection.execute("COMMIT")


def _check_version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the schema version, 0 for an empty file; to be called inside a transaction.

    Raises:
        StoreDamaged: the file belongs to a newer program, or to another one.
    """
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise StoreDamaged(
            f"{path} has schema version {version}, newer than {SCHEMA_VERSION}, the newest that this program knows: "
            f"upgrade cloudnet, or name another file"
        )
    application: int = connection.execute("PRAGMA application_id").fetchone()[0]
    empty = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
    if application != APPLICATION_ID and not empty:
        raise StoreDamaged(f"{path} is another program's sqlite file: name another file")
    return version


def _row(connection: sqlite3.Connection, kind: str, namespace: str, name: str) -> tuple[Revision, bytes] | None:
    # fetchone() is untyped: the columns are as in the schema above.
    return cast(
        "tuple[Revision, bytes] | None",
        connection.execute(
            "SELECT revision, document FROM resources WHERE kind = ? AND namespace = ? AND name = ?",
            (kind, namespace, name),
        ).fetchone(),
    )


def _revision(connection: sqlite3.Connection) -> Revision:
    return Revision(connection.execute("SELECT coalesce(max(revision), 0) FROM changes").fetchone()[0])


# --- errors -------------------------------------------------------------------------------------------------

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_REMEDIES = {
    sqlite3.SQLITE_FULL: "the disk is full: free some space on it",
    sqlite3.SQLITE_IOERR: "the disk does not work, or is full: look at the kernel log and at df",
    sqlite3.SQLITE_BUSY: "another process has kept it locked: find it with fuser, and stop it if it hangs",
    sqlite3.SQLITE_LOCKED: "another process has kept it locked: find it with fuser, and stop it if it hangs",
    sqlite3.SQLITE_READONLY: "it cannot be written: run as its owner, on a file system mounted for writing",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: run as its owner, and see that its directory can be written",
    sqlite3.SQLITE_PERM: "it cannot be opened: run as its owner",
}


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn what sqlite and the system say into our errors, with the file and the remedy."""
    try:
        yield
    except StoreError:
        raise
    except sqlite3.Error as error:
        raise _translate(error, path) from error
    except OSError as error:
        raise StoreUnavailable(
            f"{path}: {error.strerror}: see that its directory exists and can be written"
        ) from error


def _translate(error: sqlite3.Error, path: Path) -> StoreError:
    # Errors that Python's own module raises (a closed connection) carry no code.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in _DAMAGED:
        return StoreDamaged(
            f"{path} is corrupt or no sqlite file ({error}): stop cloudnet, then restore it from a backup, or move "
            f"it away together with its -wal and -shm files; what it held is then built anew"
        )
    remedy = _REMEDIES.get(code, "see what sqlite says, and try again")
    return StoreUnavailable(f"{path}: {remedy} ({error})")
