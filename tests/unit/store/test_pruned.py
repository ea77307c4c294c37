"""What an older definition drops of our writes is found by comparing, and said once."""

from __future__ import annotations

import logging

import msgspec
import pytest

from cloudnet.store.kubernetes_pruned import Pruned, fields

HEAD = {"apiVersion": "cloudnet.io/v1", "kind": "K", "metadata": {"name": "a"}}
TABLES = {"status": {"tables": [{"table": "a", "hop": "10.0.0.1"}, {"table": "b", "hop": "10.0.0.2"}]}}


@pytest.mark.parametrize(
    ("sent", "kept", "lost"),
    [
        (HEAD, {**HEAD, "metadata": {"name": "a", "uid": "u"}}, set()),
        ({**HEAD, "metadata": {"name": "a", "labels": {"x": "y"}}}, HEAD, set()),
        ({"spec": {"a": 1, "b": 2}}, {"spec": {"a": 1}}, {"spec.b"}),
        ({"spec": {"a": {"b": {"c": 1}}}}, {"spec": {}}, {"spec.a"}),
        ({"spec": {"a": 1}, "status": {"b": 1}}, {"spec": {"a": 1}}, {"status"}),
        (TABLES, {"status": {"tables": [{"table": "a"}, {"table": "b"}]}}, {"status.tables[].hop"}),
        (TABLES, TABLES, set()),
        ({"spec": {"a": 1}}, {"spec": {"a": 1, "defaulted": True}}, set()),
        ({"spec": {"a": 0, "b": "", "c": [], "d": {}, "e": False, "f": None}}, {"spec": {}}, set()),
        ({"spec": {"ordinals": [None, 3, None]}}, {"spec": {"ordinals": [None, 3, None]}}, set()),
    ],
    ids=["system", "metadata", "field", "outermost", "part", "in a list", "all", "default", "empty", "scalars"],
)
def test_what_says_something_and_is_not_there_was_dropped(sent, kept, lost):
    assert {path for path, is_kept in fields(sent, kept) if not is_kept} == lost


def test_each_field_is_said_once_and_once_more_when_it_is_kept(caplog):
    caplog.set_level(logging.INFO)
    pruned, whole = Pruned(), {"spec": {"a": 1, "b": 2}}

    for kept in ({}, {}, {"a": 1}, {"a": 1, "b": 2}, {"a": 1, "b": 2}, {"b": 2}):
        pruned.note("ks.cloudnet.io", whole, msgspec.json.encode({"spec": kept}))
    pruned.note("ks.cloudnet.io", {"spec": {}}, b'{"spec":{}}')

    said = [(r.levelname, r.getMessage().partition(" what=")[2]) for r in caplog.records]
    assert said == [
        ("WARNING", "ks.cloudnet.io fields=spec.a,spec.b"),
        ("INFO", "ks.cloudnet.io fields=spec.a"),
        ("INFO", "ks.cloudnet.io fields=spec.b"),
        ("WARNING", "ks.cloudnet.io fields=spec.a"),
    ]


def test_two_resources_are_told_apart(caplog):
    pruned = Pruned()

    for what in ("as.cloudnet.io", "bs.cloudnet.io", "as.cloudnet.io"):
        pruned.note(what, {"spec": {"a": 1}}, b'{"spec":{}}')

    assert len(caplog.records) == 2
