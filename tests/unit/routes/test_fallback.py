from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from cloudnet.routes.fallback import TRANSITIONS, Damping, Event, Fallback, State, advance, render

DAMPING = Damping(first=2.0, limit=16.0, calm=60.0)


def follow(*events, step=1.0, start=None):
    fallback, now = start or Fallback(), 0.0
    for event in events:
        now += step
        fallback = advance(fallback, event, now, DAMPING)
    return fallback


def flap(times, *, between=1.0):
    fallback, now = Fallback(), 0.0
    for _ in range(times):
        for event in (Event.ROUTE_VERIFIED, Event.PROBES_PROVEN):
            fallback = advance(fallback, event, now, DAMPING)
        now += between
        fallback = advance(fallback, Event.PROBES_LOST, now, DAMPING)
        lost_at, now = now, fallback.held_until
        fallback = advance(fallback, Event.HOLD_EXPIRED, now, DAMPING)
    return fallback, now - lost_at


def test_the_table_answers_every_event_in_every_state():
    assert set(TRANSITIONS) == {(state, event) for state in State for event in Event}


def test_a_verified_route_is_used_only_after_probes_have_shown_it():
    assert follow(Event.ROUTE_VERIFIED).state is State.PROVING
    assert follow(Event.ROUTE_VERIFIED, Event.PROBES_PROVEN).state is State.NATIVE


def test_probes_alone_never_make_a_destination_native():
    assert follow(Event.PROBES_PROVEN, Event.PROBES_PROVEN).state is State.GROUND


def test_one_event_is_enough_to_leave_the_native_path():
    native = follow(Event.ROUTE_VERIFIED, Event.PROBES_PROVEN)

    assert follow(Event.PROBES_LOST, start=native).state is State.HELD
    assert follow(Event.ROUTE_LOST, start=native).state is State.GROUND


def test_a_planned_leave_is_no_flap():
    left = follow(Event.ROUTE_VERIFIED, Event.PROBES_PROVEN, Event.ROUTE_LOST)

    assert (left.flaps, left.account) == (0, 0)


def test_a_hold_down_outlives_the_route_that_flapped():
    held = follow(Event.ROUTE_VERIFIED, Event.PROBES_PROVEN, Event.PROBES_LOST)

    assert follow(Event.ROUTE_LOST, Event.ROUTE_VERIFIED, Event.PROBES_PROVEN, start=held).state is State.HELD
    assert follow(Event.HOLD_EXPIRED, start=held).state is State.GROUND


def test_the_hold_down_doubles_with_each_flap_up_to_its_limit():
    assert [flap(times)[1] for times in range(1, 6)] == [2.0, 4.0, 8.0, 16.0, 16.0]


def test_a_calm_stretch_on_the_native_path_is_forgiven():
    often, _ = flap(3)

    calm = advance(often, Event.ADOPTED, 1000.0, DAMPING)
    later = advance(calm, Event.PROBES_LOST, 1000.0 + 2 * DAMPING.calm, DAMPING)

    assert later.account == often.account - 2 + 1
    assert later.flaps == often.flaps + 1


def test_a_thousand_flaps_do_not_overflow_the_hold_down():
    assert Damping(2.0, 300.0).hold(5000) == 300.0


def test_adoption_moves_only_a_destination_that_stands_on_the_ground():
    assert follow(Event.ADOPTED).state is State.NATIVE
    assert follow(Event.ROUTE_VERIFIED, Event.ADOPTED).state is State.PROVING


@given(st.lists(st.sampled_from(Event), max_size=60))
def test_native_is_entered_only_by_proof_of_a_verified_route_or_by_adoption(events):
    fallback = Fallback()
    verified = False
    for event in events:
        before, fallback = fallback, advance(fallback, event, 0.0, DAMPING)
        verified = {Event.ROUTE_VERIFIED: True, Event.ROUTE_LOST: False}.get(event, verified)
        if fallback.state is State.NATIVE and before.state is not State.NATIVE:
            assert event is Event.ADOPTED or (event is Event.PROBES_PROVEN and verified)


@given(st.lists(st.sampled_from(Event), max_size=60))
def test_after_losing_its_route_no_destination_is_native(events):
    fallback = follow(*events, Event.ROUTE_LOST)

    assert fallback.state in {State.GROUND, State.HELD}


@given(st.lists(st.sampled_from(Event), max_size=60), st.sampled_from(Event))
def test_an_event_that_changes_nothing_gives_the_same_value_back(events, event):
    fallback = follow(*events)

    again = advance(fallback, event, 99.0, DAMPING)

    assert (again is fallback) == (TRANSITIONS[fallback.state, event] is fallback.state)


def test_the_printed_table_has_a_row_for_each_event():
    rows = render().splitlines()

    assert rows[0] == "| event \\ state | ground | proving | native | held |"
    assert [row.split(" | ")[0] for row in rows[2:]] == [f"| {event.value}" for event in Event]
    assert "| probes lost | · | · | held | · |" in rows


def test_the_design_page_prints_the_very_table():
    page = Path(__file__).parents[3] / "docs/design/paths.md"

    assert render() in page.read_text()
