import enum
import io
import json
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from types import MappingProxyType

import pytest

from cloudnet.cli import output


class Colour(enum.Enum):
    RED = "red"


@dataclass(frozen=True, slots=True)
class Thing:
    colour: Colour
    addresses: tuple[object, ...]
    labels: MappingProxyType


def test_json_spells_our_values_as_people_do(capsys):
    output.print_json(
        Thing(
            Colour.RED,
            (ip_address("10.0.0.1"), ip_network("fd00::/64"), ip_interface("10.0.0.1/24")),
            MappingProxyType({"zone": "a"}),
        )
    )

    assert json.loads(capsys.readouterr().out) == {
        "colour": "red",
        "addresses": ["10.0.0.1", "fd00::/64", "10.0.0.1/24"],
        "labels": {"zone": "a"},
    }


def test_a_table_aligns_its_columns_and_is_never_cut_in_a_pipe(capsys):
    output.print_table(("NAME", "DETAIL"), [("n1", "x" * 300), ("longer", None)])

    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["NAME    DETAIL", f"n1      {'x' * 300}", "longer  -"]


def test_square_brackets_are_text_and_no_markup(capsys):
    output.print_table(("TO DO",), [("pip install 'cloudnet[aws]'",)])

    assert "cloudnet[aws]" in capsys.readouterr().out


def test_an_empty_table_says_so(capsys):
    output.print_table(("NAME",), [], empty="no nodes")

    assert capsys.readouterr().out == "no nodes\n"


def test_fields_stand_in_one_column():
    out = io.StringIO()
    output.print_fields({"a": True, "long name": Colour.RED, "c": ""}, to=out)

    assert out.getvalue() == "a          yes\nlong name  red\nc          -\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59, "59s"), (60, "1m00s"), (3599, "59m59s"), (3600, "1h00m"), (86399, "23h59m"), (90000, "1d01h")],
)
def test_ago_has_two_figures_at_most(seconds, text):
    assert output.ago(1000.0, 1000.0 + seconds) == text


def test_ago_of_the_unknown_is_a_dash_and_of_the_future_is_now():
    assert output.ago(0, 1000) == "-"
    assert output.ago(2000, 1000) == "0s"
