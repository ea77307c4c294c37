"""What a store promises of whole documents: ``DocumentsContract``, for stores that keep them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from cloudnet.model import calico, kinds
from cloudnet.model.resources import IPAMHandle, Metadata, Node, Resource
from cloudnet.store import documents
from cloudnet.store.api import NotFound, Store

# Any: a document.
NODE: dict[str, Any] = {
    "apiVersion": "projectcalico.org/v3",
    "kind": "Node",
    "metadata": {"name": "n1", "labels": {"rack": "r1"}, "creationTimestamp": "2024-01-01T00:00:00Z"},
    "spec": {"bgp": {"asNumber": 64512, "ipv4Address": "10.0.0.1/24", "newer": True}, "newer": {"field": [1]}},
}


def whole(document: dict[str, Any]) -> Resource:
    """Return the resource of a document, which it brings."""
    return kinds.keeping(calico.parse(document), json.dumps(document).encode())


class DocumentsContract:
    """Tests for a store that keeps documents as they were written; ``store`` is a fresh one."""

    @pytest.fixture
    def written(self, store: Store) -> Store:
        store.create(whole(NODE))
        return store

    def test_a_document_comes_back_with_what_we_do_not_understand_of_it(self, written: Store) -> None:
        got = documents.get(written, Node, "n1").value
        (listed,) = documents.list_all(written, Node).items

        uid = got.meta.uid
        assert json.loads(got.meta.document) == {**NODE, "metadata": {**NODE["metadata"], "uid": uid}}
        assert listed.value.meta.document == got.meta.document
        assert listed.value == written.get(Node, "n1").value

    def test_an_update_of_the_value_leaves_the_rest_of_the_document_alone(self, written: Store) -> None:
        seen = written.get(Node, "n1")

        written.update(replace(seen.value, addresses=()), expected=seen.revision)

        spec = json.loads(documents.get(written, Node, "n1").value.meta.document)["spec"]
        assert spec == {"bgp": {"asNumber": 64512, "newer": True}, "newer": {"field": [1]}}

    def test_a_document_takes_the_whole_place_of_another(self, written: Store) -> None:
        seen = written.get(Node, "n1")
        other = {**NODE, "metadata": {"name": "n1"}, "spec": {"bgp": {"asNumber": 64513}}}

        written.update(whole(other), expected=seen.revision)

        found = json.loads(documents.get(written, Node, "n1").value.meta.document)
        assert found["spec"] == other["spec"]
        assert found["metadata"]["creationTimestamp"] == NODE["metadata"]["creationTimestamp"]
        assert "labels" not in found["metadata"]

    def test_a_value_that_brought_no_document_has_one_all_the_same(self, store: Store) -> None:
        made = store.create(IPAMHandle(Metadata("h"), "h", {}))

        assert kinds.decode(documents.get(store, IPAMHandle, "h").value.meta.document) == made.value

    def test_a_document_that_is_not_there_is_not_found(self, store: Store) -> None:
        with pytest.raises(NotFound, match="there is no Node 'n1'"):
            documents.get(store, Node, "n1")
