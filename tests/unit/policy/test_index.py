import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudnet.policy.index import LabelIndex, Match
from cloudnet.policy.selectors import parse
from cloudnet.testing import selectors

ITEMS = st.sampled_from("ijkl")
PARENTS = st.sampled_from(("p", "q", "r"))
SELECTORS = st.sampled_from(
    [
        parse(text)
        for text in (
            "all()",
            "a == 'x'",
            "a == 'x' && b == 'y'",
            "a in {'x', 'y'}",
            "a == 'x' || b == 'x'",
            "has(a)",
            "!has(b)",
            "a != 'x' && has(b)",
            "a in {}",
            "a starts with 'x'",
            "!(a == 'x' && b == 'x')",
        )
    ]
) | selectors.expressions().map(lambda tree: parse(selectors.spelt(tree)))


def few_labels():
    return st.dictionaries(st.sampled_from("ab"), st.sampled_from(("x", "y", "xy")), max_size=2)


EVENTS = st.one_of(
    st.tuples(st.just("put_item"), ITEMS, few_labels(), st.lists(PARENTS, max_size=3).map(tuple)),
    st.tuples(st.just("remove_item"), ITEMS),
    st.tuples(st.just("put_parent"), PARENTS, few_labels()),
    st.tuples(st.just("remove_parent"), PARENTS),
    st.tuples(st.just("want"), SELECTORS),
    st.tuples(st.just("release"), SELECTORS),
)


class Told:
    """An index, and what it told: the matches that started and have not stopped."""

    def __init__(self):
        self.index = LabelIndex()
        self.matches = set()
        self.users = {}
        self.items = {}
        self.parents = {}

    def send(self, name, *arguments):
        if name == "release" and not self.users.get(arguments[0]):
            return
        self.remember(name, *arguments)
        for match in getattr(self.index, name)(*arguments):
            assert ((match.selector, match.item) in self.matches) is not match.started
            (self.matches.add if match.started else self.matches.discard)((match.selector, match.item))

    def remember(self, name, what, *rest):
        match name:
            case "put_item":
                self.items[what] = rest
            case "remove_item":
                self.items.pop(what, None)
            case "put_parent":
                self.parents[what] = rest[0]
            case "remove_parent":
                self.parents.pop(what, None)
            case "want":
                self.users[what] = self.users.get(what, 0) + 1
            case "release":
                self.users[what] -= 1

    def wanted(self):
        return [selector for selector, users in self.users.items() if users]

    def expected(self):
        return {
            (selector.uid(), item)
            for selector in self.wanted()
            for item, (own, parents) in self.items.items()
            if selector.matches(effective(own, [self.parents.get(name, {}) for name in parents]))
        }


def effective(own, parents):
    labels = dict(own)
    for parent in parents:
        for name, value in parent.items():
            labels.setdefault(name, value)
    return labels


def told(events):
    told = Told()
    for event in events:
        told.send(*event)
    return told


@settings(max_examples=400)
@given(st.lists(EVENTS, max_size=40))
def test_matches_are_those_of_the_final_state_whatever_led_to_it(events):
    after = told(events)

    assert after.matches == after.expected()
    for selector in after.wanted():
        assert set(after.index.items(selector.uid())) == {i for uid, i in after.matches if uid == selector.uid()}
    for item in after.items:
        assert set(after.index.selectors(item)) == {uid for uid, i in after.matches if i == item}


@given(st.data())
def test_any_order_and_repetition_of_what_is_there_gives_the_same_matches(data):
    items = data.draw(st.dictionaries(ITEMS, st.tuples(few_labels(), st.lists(PARENTS, max_size=3).map(tuple))))
    parents = data.draw(st.dictionaries(PARENTS, few_labels()))
    wanted = data.draw(st.lists(SELECTORS, max_size=5, unique=True))
    events = [("put_item", item, *rest) for item, rest in items.items()]
    events += [("put_parent", parent, labels) for parent, labels in parents.items()]
    repeated = data.draw(st.lists(st.sampled_from(events), max_size=5)) if events else []
    order = data.draw(st.permutations([*events, *repeated, *(("want", selector) for selector in wanted)]))

    assert told(order).matches == told([*events, *(("want", selector) for selector in wanted)]).matches


@given(st.lists(EVENTS, max_size=30))
def test_what_is_forgotten_leaves_nothing_behind(events):
    after = told(events)

    for item in list(after.items):
        after.send("remove_item", item)
    for parent in list(after.parents):
        after.send("remove_parent", parent)
    assert not any(waiter.groups for waiter in after.index._waiters.values())
    for selector in after.wanted():
        for _ in range(after.users[selector]):
            after.send("release", selector)

    assert after.matches == set()
    assert not any(vars(after.index).values())


def test_an_items_own_label_wins_and_then_its_first_parents():
    index = LabelIndex()
    index.put_parent("first", {"a": "first", "b": "first", "c": "first"})
    index.put_parent("second", {"b": "second", "c": "second", "d": "second"})
    for text in ("c == 'own'", "b == 'first'", "d == 'second'", "c == 'first'", "b == 'second'"):
        index.want(parse(text))

    started = index.put_item("pod", {"c": "own"}, ("first", "second"))

    expected = {parse(text).uid() for text in ("c == 'own'", "b == 'first'", "d == 'second'")}
    assert set(started) == {Match(uid, "pod", started=True) for uid in expected}


def test_a_selector_is_followed_until_its_last_user_has_released_it():
    index = LabelIndex()
    index.put_item("pod", {"a": "x"})
    selector = parse("has(a)")

    first, second = index.want(selector), index.want(selector)
    third, fourth = index.release(selector), index.release(selector)

    assert first == [Match(selector.uid(), "pod", started=True)]
    assert second == third == []
    assert fourth == [Match(selector.uid(), "pod", started=False)]


class Counting:
    """A mapping that counts how often it is asked."""

    def __init__(self, labels):
        self.labels, self.asked = labels, 0

    def get(self, name):
        self.asked += 1
        return self.labels.get(name)


@pytest.fixture
def large():
    index = LabelIndex()
    for i in range(1000):
        index.put_parent(f"ns{i % 50}", {"ns": str(i % 50)})
        index.put_item(i, {"app": str(i % 100), "pod": str(i)}, (f"ns{i % 50}",))
        index.want(parse(f"app == '{i % 100}' && ns == '{i % 50}' && !has(x{i})"))
    return index


def asked_of_groups(index, act):
    for group in index._groups.values():
        group.labels = Counting(group.labels)
    act()
    return sum(group.labels.asked for group in index._groups.values() if isinstance(group.labels, Counting))


def test_a_new_selector_asks_only_items_that_may_match(large):
    asked = asked_of_groups(large, lambda: large.want(parse("app == '7' && has(pod) && has(app)")))

    assert 10 <= asked <= 30


def test_a_parents_label_that_nobody_asks_for_asks_nobody(large):
    asked = asked_of_groups(large, lambda: large.put_parent("ns7", {"ns": "7", "team": "x"}))

    assert asked == 0


def test_items_labelled_alike_are_asked_once(large):
    large.put_item("first", {"app": "7"}, ("ns7",))

    asked = asked_of_groups(large, lambda: large.put_item("second", {"app": "7"}, ("ns7",)))

    assert asked == 0
    assert len(list(large.selectors("second"))) == len(list(large.selectors("first"))) == 10
