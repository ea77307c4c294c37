from __future__ import annotations

import json
import time
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudnet.errors import BadInput
from cloudnet.model import kinds
from cloudnet.model.resources import CloudRoute, Metadata, NextHop, Node, RouteState, TableStatus
from cloudnet.testing import strategies


@given(strategies.resources())
def test_every_value_survives_its_document(value):
    assert kinds.decode(kinds.encode(value)) == value


@given(st.sampled_from(kinds.ALL).flatmap(lambda kind: st.tuples(strategies.OF[kind.type], strategies.OF[kind.type])))
def test_writing_a_value_onto_any_other_gives_that_value(pair):
    old, new = pair
    kind = kinds.of(type(new))

    assert kind.decode(kind.encode(new, onto=kind.encode(old))) == new


@given(strategies.resources(), st.dictionaries(st.sampled_from(["theirs", "newer"]), st.integers(), min_size=1))
def test_what_we_do_not_know_survives_at_every_level(value, extra):
    kind = kinds.of(type(value))
    document = json.loads(kind.encode(value))
    for place in (document, document["metadata"], document.setdefault("spec", {}), document.setdefault("status", {})):
        place.update(extra)
    stored = json.dumps(document).encode()
    changed = replace(value, meta=replace(value.meta, labels={"new": "label"}))

    written = json.loads(kind.encode(changed, onto=stored))

    document["metadata"]["labels"] = {"new": "label"}
    assert written == document


@given(strategies.resources(), strategies.resources(), st.dictionaries(st.just("theirs"), st.integers(), min_size=1))
def test_a_value_that_brings_its_document_is_written_whole_and_takes_the_place_of_another(value, other, extra):
    kind = kinds.of(type(value))
    document = json.loads(kind.encode(value))
    document.setdefault("spec", {}).update(extra)
    before = json.loads(kind.encode(other)) if type(other) is type(value) else document
    before = {**before, "metadata": {**before["metadata"], "creationTimestamp": "t0"}, "theirs": 1}

    whole = kinds.keeping(value, json.dumps(document).encode())
    written = json.loads(kind.encode(whole, onto=json.dumps(before).encode()))

    assert written["metadata"].pop("creationTimestamp") == "t0"
    assert written == {**({"status": before["status"]} if "status" in before else {}), **document}
    assert json.loads(kind.encode(whole)) == document


def test_a_document_without_a_status_leaves_that_of_the_one_that_it_replaces():
    kind = kinds.of(Node)
    stored = kind.encode(Node(Metadata("n1"), pod_cidrs=(ip_network("10.0.0.0/24"),)))
    document = b'{"metadata":{"name":"n1"},"spec":{}}'

    written = kind.decode(kind.encode(kinds.keeping(kind.decode(document), document), onto=stored))

    assert written.pod_cidrs == (ip_network("10.0.0.0/24"),)


@pytest.mark.parametrize("kind", kinds.ALL, ids=lambda kind: kind.name)
def test_a_kind_is_found_by_class_and_by_what_people_type(kind):
    assert kinds.of(kind.type) is kind
    assert {kinds.named(word) for word in (kind.name, kind.name.lower(), kind.plural)} == {kind}


def test_an_unknown_kind_is_answered_with_those_there_are():
    with pytest.raises(BadInput, match="unknown kind 'gadgets': use one of Node, IPPool, BlockAffinity"):
        kinds.named("gadgets")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"", "expected a JSON document: Input data was truncated"),
        (b"{not json", "expected a JSON document: object keys must be strings"),
        (b"\xff{}", r"expected a JSON document: "),
        (b"7 8", "expected a JSON document: trailing characters"),
        (b"[" * 100_000, "expected a JSON document: "),
        (b"[]", r"expected an object, found \[\]"),
        (b"{}", "kind: missing, and needed"),
        (b'{"kind":"Gadget","apiVersion":"v1"}', "kind: expected one of 'Node', .*found 'Gadget'"),
        (b'{"kind":"Node","apiVersion":"v1","metadata":{"name":"x"}}', "apiVersion: has no meaning here, found 'v1'"),
        (b'{"kind":"Node","apiVersion":"projectcalico.org/v3"}', "metadata: missing, and needed"),
        (
            b'{"kind":"Node","apiVersion":"projectcalico.org/v3","metadata":{}}',
            "metadata.name: expected lower-case letters, .*found ''",
        ),
        (
            b'{"kind":"Node","apiVersion":"projectcalico.org/v3","metadata":{"name":"x","namespace":"y"}}',
            "metadata.namespace: expected nothing, for a Node belongs to the whole cluster, found 'y'",
        ),
        (
            b'{"kind":"Node","apiVersion":"projectcalico.org/v3","metadata":{"name":"x","labels":{"a":1}}}',
            r"metadata\.labels.*: expected a string, found",
        ),
    ],
)
def test_a_document_that_is_none_says_what_is_wrong(document, message):
    with pytest.raises(BadInput, match=f"^{message}"):
        kinds.decode(document)


@pytest.mark.parametrize("name", ["", "N1", "-n", "n-", "a..b", "a_b", "a" * 254, "n\n"])
def test_a_name_that_kubernetes_refuses_cannot_be_written(name):
    with pytest.raises(BadInput, match=r"^metadata\.name: ") as caught:
        kinds.encode(Node(Metadata(name)))

    assert caught.value.path == "metadata.name"


@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda j: json.dumps(j).encode())
)
def test_garbage_never_leaves_as_anything_but_bad_input(document):
    with pytest.raises(BadInput):
        kinds.decode(document)


def test_5000_routes_are_read_well_within_a_second():
    hops = NextHop("eni-1", "i-1", ip_address("10.0.1.11"))
    tables = tuple(TableStatus(f"rtb-{i}", RouteState.PROGRAMMED, next_hop=hops, since=1.5) for i in range(3))
    document = kinds.encode(CloudRoute(Metadata("r", uid="u"), ip_network("10.65.1.0/26"), "n1", tables))
    kind = kinds.of(CloudRoute)

    began = time.thread_time()
    for _ in range(5000):
        kind.decode(document)

    assert time.thread_time() - began < 0.7
