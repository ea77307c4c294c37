from hypothesis import given
from hypothesis import strategies as st

from cloudnet.policy import boxes
from cloudnet.policy.boxes import Box

LAST = 300


@st.composite
def spans(draw):
    """Return spans of one rule in order, neighbours among them."""
    ends = sorted(draw(st.sets(st.integers(0, LAST), max_size=12)))
    first, rest = ends[0::2], ends[1::2]
    alone = [] if len(first) == len(rest) else [(first[-1], first[-1])]
    apart = list(zip(first, rest, strict=False)) + alone
    return [part for span in apart for part in _halves(span, draw(st.booleans()))]


def _halves(span, divided):
    first, last = span
    return [(first, first), (first + 1, last)] if divided and first < last else [span]


@st.composite
def changes(draw):
    """Return spans of many rules, and what those of a few become."""
    before = draw(st.lists(spans(), min_size=4, max_size=30))
    places = draw(st.sets(st.integers(0, len(before) - 1), max_size=2))
    after = [draw(_nearly(of)) if index in places else of for index, of in enumerate(before)]
    return before, after


@st.composite
def _nearly(draw, of):
    kept = [span for span in of if draw(st.integers(0, 3))]
    first = draw(st.integers(0, LAST))
    more = first, min(first + draw(st.integers(0, 20)), LAST)
    free = all(last < more[0] or first > more[1] for first, last in kept)
    return sorted([*kept, more]) if free else kept


def differences(before, after):
    return [
        (index, set(old) ^ set(new)) for index, (old, new) in enumerate(zip(before, after, strict=True)) if old != new
    ]


def cut(of):
    return list(boxes.cut(enumerate(of)))


@given(st.lists(spans(), max_size=8))
def test_every_address_is_in_the_box_of_its_rules(rules):
    found = {address: box.rules for box in cut(rules) for address in range(box.first, box.last + 1)}

    for address in range(LAST + 1):
        own = tuple(i for i, of in enumerate(rules) if any(first <= address <= last for first, last in of))
        assert found.get(address, ()) == own


@given(changes())
def test_what_is_cut_anew_around_a_change_is_what_is_cut_from_nothing(change):
    before, after = change

    now = boxes.recut(cut(before), differences(before, after), after)

    assert now.boxes == cut(after)


@given(changes())
def test_what_is_gone_and_what_is_new_lead_from_the_old_boxes_to_the_new_ones(change):
    before, after = change

    now = boxes.recut(cut(before), differences(before, after), after)

    assert sorted((set(cut(before)) - set(now.gone)) | set(now.new)) == now.boxes


def test_one_span_more_leaves_the_boxes_elsewhere_alone():
    before = [[(10 * index, 10 * index + 4)] for index in range(100)]
    after = [[*of, (507, 507)] if index == 3 else of for index, of in enumerate(before)]

    now = boxes.recut(cut(before), differences(before, after), after)

    assert now.new == [Box(507, 507, (3,))]
    assert now.gone == []


def test_boxes_become_one_when_what_divided_them_goes():
    before = [[(0, 9)], [(4, 4)], *([(100 * index, 100 * index)] for index in range(1, 20))]
    after = [[(0, 9)], [], *before[2:]]

    now = boxes.recut(cut(before), differences(before, after), after)

    assert now.new == [Box(0, 9, (0,))]
    assert now.gone == [Box(0, 3, (0,)), Box(4, 4, (0, 1)), Box(5, 9, (0,))]


def test_the_boxes_of_a_span_are_those_that_have_an_address_of_it():
    three = [Box(0, 4, (0,)), Box(5, 9, (1,)), Box(20, 29, (2,))]

    assert boxes.within(three, (4, 5)) == three[:2]
    assert boxes.within(three, (10, 19)) == []
    assert boxes.within(three, (25, 26)) == three[2:]
