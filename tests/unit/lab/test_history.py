from __future__ import annotations

import pytest

from cloudnet.lab.clouds.history import History


def test_a_reader_of_the_past_sees_what_held_then():
    history = History()
    for now, state in ((0.0, "a"), (10.0, "b"), (20.0, "c")):
        history.add(now, state, keep=60)

    assert [history.at(moment) for moment in (-1.0, 9.9, 10.0, 25.0)] == ["a", "a", "b", "c"]


def test_what_nobody_can_see_anymore_is_forgotten():
    history = History()
    for now in range(100):
        history.add(float(now), now, keep=5)

    assert history.at(0.0) == 94
    assert history.at(95.5) == 95


def test_a_history_without_a_state_has_none_to_show():
    with pytest.raises(LookupError):
        History().at(1.0)
