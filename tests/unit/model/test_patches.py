import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudnet.errors import BadInput
from cloudnet.model import patches
from cloudnet.model.patches import PatchType

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text("ab", max_size=2), JSON, max_size=3)


@pytest.mark.parametrize(
    ("document", "patch", "expected"),
    [
        # the examples of RFC 7396, appendix A, whose patch is an object
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_does_what_the_rfc_says(document, patch, expected):
    assert patches.merge(document, patch) == expected
    assert patches.apply(document, patch, PatchType.STRATEGIC) == expected


@given(OBJECTS, OBJECTS)
def test_merging_twice_is_merging_once_and_leaves_the_document_alone(document, patch):
    before = copy.deepcopy(document)

    once = patches.merge(document, patch)

    assert patches.merge(once, patch) == once
    assert document == before


@given(OBJECTS)
def test_operations_leave_the_document_alone(document):
    before = copy.deepcopy(document)

    patched = patches.apply(document, [{"op": "add", "path": "/new", "value": {"x": 1}}], PatchType.JSON)

    assert patched == {**before, "new": {"x": 1}}
    assert document == before


@pytest.mark.parametrize(
    "patch",
    [
        "text",
        [1],
        [{"op": "leap", "path": "/a"}],
        [{"path": "/a"}],
        [{"op": "replace", "path": "/none/there", "value": 1}],
        [{"op": "test", "path": "/a", "value": 2}],
        [{"op": "replace", "path": "", "value": []}],
    ],
)
def test_operations_that_do_not_fit_are_refused(patch):
    with pytest.raises(BadInput, match="patch: "):
        patches.apply({"a": 1}, patch, PatchType.JSON)
