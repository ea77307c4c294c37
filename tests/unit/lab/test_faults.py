from __future__ import annotations

import pytest

from cloudnet.errors import BadInput
from cloudnet.lab import faults
from cloudnet.lab.state import Fault

NAMES = {
    "quota",
    "permission",
    "throttle",
    "foreign-route",
    "delete-route",
    "blackhole",
    "fragmented",
    "exhausted",
    "take-prefix",
    "stop-node",
    "api-down",
    "agent-kill",
    "controller-kill",
    "leader-kill",
}


def test_every_fault_has_a_name_and_an_explanation():
    assert set(faults.KINDS) == NAMES
    assert all(kind.about for kind in faults.KINDS.values())


def test_an_unknown_fault_is_refused_with_the_known_ones():
    with pytest.raises(BadInput, match="expected one of quota"):
        faults.kind(Fault("earthquake"))


@pytest.mark.parametrize("name", sorted(name for name, kind in faults.KINDS.items() if kind.target))
def test_a_fault_that_aims_at_something_needs_a_target(name):
    with pytest.raises(BadInput, match="needs a"):
        faults.kind(Fault(name))
    assert faults.needs_target(name)


def test_a_limit_that_is_no_number_is_refused():
    with pytest.raises(BadInput, match="whole number"):
        faults.KINDS["quota"].make(object(), Fault("quota", value="many"))
