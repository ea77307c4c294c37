from __future__ import annotations

from ipaddress import ip_network

import pytest

from cloudnet.ipam import handles
from cloudnet.store.memory import MemoryStore

A, B = ip_network("10.65.1.0/26"), ip_network("10.65.2.0/26")


@pytest.fixture
def store():
    return MemoryStore()


def counts(store):
    seen = handles.find(store, "net.Web")
    return seen and dict(seen.value.blocks)


def test_promises_add_up_and_the_handle_keeps_its_capitals(store):
    handles.promise(store, "net.Web", A, 1)
    handles.promise(store, "net.Web", A, 2)
    handles.promise(store, "net.Web", B, 1)

    assert counts(store) == {A: 3, B: 1}
    assert handles.find(store, "net.web").value.handle == "net.Web"


def test_a_withdrawn_promise_leaves_what_was_before(store):
    first = handles.promise(store, "net.Web", A, 1)
    second = handles.promise(store, "net.Web", B, 1)

    handles.withdraw(store, second)
    assert counts(store) == {A: 1}
    handles.withdraw(store, first)
    assert counts(store) == {A: 1}  # the handle was written since, so nobody knows what the promise still covers


def test_a_withdrawn_first_promise_leaves_no_handle(store):
    handles.withdraw(store, handles.promise(store, "net.Web", A, 1))

    assert counts(store) is None


def test_settling_writes_what_is_left_and_deletes_an_empty_handle(store):
    handles.promise(store, "net.Web", A, 3)
    seen = handles.promise(store, "net.Web", B, 1).after

    assert handles.settle(store, seen, {A: 1})
    assert counts(store) == {A: 1, B: 1}
    assert handles.settle(store, handles.find(store, "net.Web"), {A: 0, B: 0})
    assert counts(store) is None


def test_settling_on_an_old_reading_changes_nothing(store):
    seen = handles.promise(store, "net.Web", A, 1).after
    handles.promise(store, "net.Web", A, 1)

    assert not handles.settle(store, seen, {A: 0})
    assert counts(store) == {A: 2}
