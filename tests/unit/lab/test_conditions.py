from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from cloudnet.errors import BadInput
from cloudnet.lab.clouds import conditions
from cloudnet.lab.clouds.conditions import Conditions


def test_conditions_change_by_the_fields_of_a_message():
    changed = conditions.change(Conditions(), {"silent": ["10.65.1.0/26"], "denied": ["A"], "retry_after": "2"})

    assert changed.silent == {IPv4Network("10.65.1.0/26")}
    assert (changed.denied, changed.retry_after) == ({"A"}, 2.0)


def test_unknown_conditions_are_an_error():
    with pytest.raises(BadInput, match="nonsense"):
        conditions.change(Conditions(), {"nonsense": 1})


def test_conditions_are_shown_without_credentials():
    assert "secret" not in str(conditions.shown(Conditions(keys=frozenset({"secret"}))))
