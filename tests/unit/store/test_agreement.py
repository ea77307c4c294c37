"""Memory and sqlite, driven side by side through every operation, answer alike."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cloudnet.errors import CloudnetError
from cloudnet.model.resources import AgentReport, CloudRoute, Lease, Metadata, Node
from cloudnet.store.api import Compacted, Create, Delete, Revision, Update
from cloudnet.store.memory import MemoryData, MemoryStore
from cloudnet.store.sqlite import SqliteStore
from cloudnet.testing import strategies

KINDS = (Node, CloudRoute, Lease, AgentReport)
NAMES = st.sampled_from(["a", "b", "not-so-short"])
KEEP = 8


class Stores(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name) / "store.sqlite"
        self.memory = MemoryStore(MemoryData(keep=KEEP, new_uid=lambda: "fresh"))
        self.sqlite = self.open()
        self.watches = None
        self.watch_from(0)

    def open(self):
        return SqliteStore(self.path, keep=KEEP, new_uid=lambda: "fresh")

    def watch_from(self, since):
        self.close_watches()
        self.watches = [store.watch(KINDS[:2], since=Revision(since)) for store in (self.memory, self.sqlite)]

    def close_watches(self):
        for watch in self.watches or ():
            watch.close()

    def teardown(self):
        self.close_watches()
        self.sqlite.close()
        self.memory.close()
        self.directory.cleanup()

    def agree(self, do):
        memory, sqlite = outcome(lambda: do(self.memory)), outcome(lambda: do(self.sqlite))
        assert memory == sqlite
        return memory

    @rule(data=st.data(), kind=st.sampled_from(KINDS), name=NAMES, uid=st.sampled_from(["", "mine"]))
    def create(self, data, kind, name, uid):
        value = draw(data, kind, name, uid)
        self.agree(lambda store: store.create(value))

    @rule(data=st.data(), kind=st.sampled_from(KINDS), name=NAMES, uid=st.sampled_from(["", "", "mine"]))
    def update(self, data, kind, name, uid):
        value, expected = draw(data, kind, name, uid), self.expected(data, kind, name)
        self.agree(lambda store: store.update(value, expected=expected))

    @rule(data=st.data(), kind=st.sampled_from(KINDS), name=NAMES, checked=st.booleans())
    def delete(self, data, kind, name, checked):
        expected = self.expected(data, kind, name) if checked else None
        self.agree(lambda store: store.delete(kind, name, expected=expected))

    @rule(data=st.data(), what=st.lists(st.tuples(st.sampled_from(KINDS), NAMES), unique=True, max_size=4))
    def batch(self, data, what):
        writes = [self.draw_write(data, kind, name) for kind, name in what]
        self.agree(lambda store: tuple(store.write(writes)))

    def draw_write(self, data, kind, name):
        match data.draw(st.sampled_from(["create", "update", "delete", "delete-seen"])):
            case "create":
                return Create(draw(data, kind, name, ""))
            case "update":
                return Update(draw(data, kind, name, ""), self.expected(data, kind, name))
            case "delete":
                return Delete(kind, name)
            case _:
                return Delete(kind, name, expected=self.expected(data, kind, name))

    def expected(self, data, kind, name):
        seen = outcome(lambda: self.memory.get(kind, name).revision)
        return data.draw(st.sampled_from([seen, seen, Revision(1)])) if isinstance(seen, int) else Revision(1)

    @rule(kind=st.sampled_from(KINDS), name=NAMES)
    def get(self, kind, name):
        self.agree(lambda store: store.get(kind, name))

    @rule(since=st.integers(0, 40))
    def watch_anew(self, since):
        self.watch_from(since)

    @rule()
    def follow(self):
        memory, sqlite = (outcome(lambda watch=watch: watch.next(0)) for watch in self.watches)
        if Compacted in {memory, sqlite}:
            # Each may keep more of the log than it must; who lists again is level with the other.
            self.watch_from(self.memory.list(Node).revision)
        else:
            assert memory == sqlite

    @rule()
    def reopen_the_file(self):
        self.sqlite.close()
        self.sqlite = self.open()
        self.watch_from(self.memory.list(Node).revision)

    @invariant()
    def lists_agree(self):
        for kind in KINDS:
            self.agree(lambda store, kind=kind: store.list(kind))


def draw(data, kind, name, uid):
    value = data.draw(strategies.OF[kind])
    return replace(value, meta=Metadata(name, uid=uid, labels=value.meta.labels))


def outcome(do):
    try:
        return do()
    except CloudnetError as error:
        return type(error)


TestStores = Stores.TestCase
TestStores.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
