import json

import pytest
from hypothesis import given

from cloudnet.cli import columns
from cloudnet.errors import BadInput
from cloudnet.model import kinds
from cloudnet.testing import strategies

OTHERS = {"spec.bgp.asNumber"}  # fields of Calico's that we only keep


@pytest.mark.parametrize("kind", kinds.ALL, ids=lambda kind: kind.name)
def test_every_column_shows_a_field_that_there_is(kind):
    shown = columns.usual(kind.name, namespaces=True, wide=True)
    paths = {path for column in shown for path in column.path.split("|") if path.startswith("spec.")} - OTHERS

    unknown = {path for path in paths if kind.unknown(nested(path.split(".")))}

    assert not unknown
    assert len({column.heading for column in shown}) == len(shown)


def nested(steps):
    return {steps[0]: nested(steps[1:])} if steps else 1


def test_columns_are_given_to_kinds_that_there_are():
    assert set(columns.OF) <= {kind.name for kind in kinds.ALL}


@given(strategies.resources())
def test_anything_can_be_shown_in_its_columns(value):
    document = json.loads(kinds.encode(value))

    shown = columns.usual(kinds.of(type(value)).name, namespaces=False, wide=True)

    assert columns.cell(document, shown[0]) == value.meta.name
    assert all(isinstance(columns.cell(document, column), str) for column in shown)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("spec.cidr", "10.0.0.0/8"),
        ("spec.nothing|spec.cidr", "10.0.0.0/8"),
        ("spec.flag", "true"),
        ("spec.list", "a,b"),
        ("spec.items.name", "x,y"),
        ("spec.items[1].name", "y"),
        ("spec.items[7].name", "absent"),
        ("spec.map", "k=v,n=1"),
        ("spec.cidr.deeper", "absent"),
        ("spec.zero", "0"),
    ],
)
def test_a_path_leads_to_what_stands_there(path, expected):
    spec = {
        "cidr": "10.0.0.0/8",
        "flag": True,
        "list": ["a", "b"],
        "items": [{"name": "x"}, {"name": "y"}, {}],
        "map": {"k": "v", "n": 1},
        "zero": 0,
    }

    assert columns.cell({"spec": spec}, columns.Column("X", path, "absent")) == expected


@pytest.mark.parametrize("text", ["NAME,GADGET", "X:", "X:.", ""])
def test_a_column_that_nobody_knows_is_refused(text):
    with pytest.raises(BadInput, match="--output: expected columns of IPPool"):
        columns.custom(text, "IPPool")


def test_kubectls_braces_are_understood():
    (column,) = columns.custom("X:{.spec.cidr}", "IPPool")

    assert column == columns.Column("X", "spec.cidr")
