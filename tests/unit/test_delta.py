from hypothesis import given
from hypothesis import strategies as st

from cloudnet.delta import DeltaTracker

KEYS = st.integers(0, 5)
VALUES = st.integers(0, 2)
OPERATIONS = st.one_of(
    st.tuples(st.just("want"), KEYS, VALUES),
    st.tuples(st.just("drop"), KEYS),
    st.tuples(st.just("saw"), KEYS, VALUES),
    st.tuples(st.just("lost"), KEYS),
    st.tuples(st.just("resync"), st.dictionaries(KEYS, VALUES)),
)


def tracker_after(operations):
    tracker = DeltaTracker()
    for name, *arguments in operations:
        getattr(tracker, name)(*arguments)
    return tracker


@given(st.lists(OPERATIONS))
def test_what_is_pending_always_equals_the_naive_difference(operations):
    tracker = tracker_after(operations)

    desired, actual = tracker.desired, tracker.actual
    assert dict(tracker.updates()) == {k: v for k, v in desired.items() if k not in actual or actual[k] != v}
    assert dict(tracker.deletions()) == {k: v for k, v in actual.items() if k not in desired}
    assert bool(tracker) == (dict(desired) != dict(actual))


@given(st.lists(OPERATIONS))
def test_the_state_follows_the_operations(operations):
    tracker = tracker_after(operations)

    desired, actual = {}, {}
    for name, *arguments in operations:
        match name:
            case "want":
                desired[arguments[0]] = arguments[1]
            case "drop":
                desired.pop(arguments[0], None)
            case "saw":
                actual[arguments[0]] = arguments[1]
            case "lost":
                actual.pop(arguments[0], None)
            case "resync":
                actual = dict(arguments[0])
    assert (dict(tracker.desired), dict(tracker.actual)) == (desired, actual)


@given(st.lists(OPERATIONS))
def test_after_all_pending_work_is_done_the_world_is_as_desired(operations):
    tracker = tracker_after(operations)

    for key, _ in tracker.deletions():
        tracker.lost(key)
    for key, value in tracker.updates():
        tracker.saw(key, value)

    assert tracker.actual == tracker.desired
    assert not tracker


def test_updates_come_in_the_order_of_the_wishes():
    tracker = DeltaTracker()
    tracker.want("second", 2)
    tracker.want("first", 1)

    assert [key for key, _ in tracker.updates()] == ["second", "first"]


def test_a_deletion_carries_the_value_that_stands_there():
    tracker = DeltaTracker()
    tracker.saw("old", 7)

    assert list(tracker.deletions()) == [("old", 7)]


def test_work_that_is_settled_while_it_is_listed_is_left_out():
    tracker = DeltaTracker()
    tracker.want("a", 1)
    tracker.want("b", 2)

    updates = tracker.updates()
    next(updates)
    tracker.saw("b", 2)

    assert list(updates) == []


def test_the_callers_mapping_is_not_kept_by_a_resync():
    tracker = DeltaTracker()
    world = {"a": 1}
    tracker.resync(world)
    world["b"] = 2

    assert dict(tracker.actual) == {"a": 1}
