import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudnet.policy.selectors import BadSelector, Matches, parse
from cloudnet.testing import selectors

DEEP = 10_000


@pytest.mark.parametrize(
    ("text", "labels", "selected"),
    [
        ("", {}, True),
        (" \t", {"a": "b"}, True),
        ("all()", {}, True),
        ("global( )", {}, True),
        ("a == 'b'", {"a": "b"}, True),
        ("a == 'b'", {"a": "c"}, False),
        ("a == 'b'", {}, False),
        ("a == ''", {"a": ""}, True),
        ("a == ''", {}, False),
        ("a != 'b'", {"a": "c"}, True),
        ("a != 'b'", {"a": "b"}, False),
        ("a != 'b'", {}, True),
        ("a in {'b', 'c'}", {"a": "c"}, True),
        ("a in {'b', 'c'}", {"a": "d"}, False),
        ("a in {'b', 'c'}", {}, False),
        ("a in {}", {"a": "b"}, False),
        ("a not in {'b'}", {"a": "c"}, True),
        ("a not in {'b'}", {"a": "b"}, False),
        ("a not in {'b'}", {}, True),
        ("a notin {}", {"a": "b"}, True),
        ("a contains 'b'", {"a": "abc"}, True),
        ("a contains 'b'", {"a": "ac"}, False),
        ("a contains 'b'", {}, False),
        ("a contains ''", {"a": ""}, True),
        ("a starts with 'b'", {"a": "bc"}, True),
        ("a startswith 'b'", {"a": "cb"}, False),
        ("a starts with ''", {}, False),
        ("a ends with 'b'", {"a": "cb"}, True),
        ("a endswith 'b'", {"a": "bc"}, False),
        ("has(a)", {"a": ""}, True),
        ("has(a)", {"b": "a"}, False),
        ("!has(a)", {}, True),
        ("!a == 'b'", {"a": "c"}, True),
        ("!a == 'b' && c == 'd'", {"a": "c"}, False),
        ("!!!has(a)", {}, True),
        ("has(a) || has(b) && has(c)", {"a": ""}, True),
        ("(has(a) || has(b)) && has(c)", {"a": ""}, False),
        ("!(has(a) || has(b))", {"b": ""}, False),
        ("!(has(a) && has(b))", {"b": ""}, True),
    ],
)
def test_a_selector_selects_what_calico_says(text, labels, selected):
    assert parse(text).matches(labels) is selected


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("", "all()"),
        (" (all() )", "all()"),
        ("a=='b'", 'a == "b"'),
        ("a!='\"'", "a != '\"'"),
        ('a contains"\'"', 'a contains "\'"'),
        ("a startswith 'b'", 'a starts with "b"'),
        ("a ends\t with 'b'", 'a ends with "b"'),
        ("a in{'d','a','b','a',}", 'a in {"a", "b", "d"}'),
        ("a   notin { }", "a not in {}"),
        ("((a == 'b'))", 'a == "b"'),
        ("has(a)&&has(b)&&has(c)", "(has(a) && has(b) && has(c))"),
        ("(has(a)&&has(b))&&has(c)", "((has(a) && has(b)) && has(c))"),
        ("has(a)||has(b)&&has(c)", "(has(a) || (has(b) && has(c)))"),
        ("!!has(a)", "has(a)"),
        ("!(!(has(a)))", "has(a)"),
        ("! !!a == 'b'", '!a == "b"'),
        ("all.x == 'a'", 'all.x == "a"'),
        ("has == 'a' && in in {'in'}", '(has == "a" && in in {"in"})'),
        ("not not in {'a'}", 'not not in {"a"}'),
        ("contains contains 'contains'", 'contains contains "contains"'),
    ],
)
def test_a_selector_has_calicos_canonical_form(text, canonical):
    assert parse(text).canonical() == canonical


@pytest.mark.parametrize(
    ("text", "uid"),
    [
        ("", "s:5y5I3VdRZfDU01O--xXAPx2yxCQQqMf0M6IWug"),
        (" (all() )", "s:5y5I3VdRZfDU01O--xXAPx2yxCQQqMf0M6IWug"),
        ("! (has( b)||! has(a ))", "s:Iss0uCleLYv1GSv_pNm7hAO58kE9jAx1NKyG3Q"),
        ('! (a == "b"&&! c != "d")', "s:lh3haoY1ikTRkd4UZu0nWSaIBknYLPJLX16d-w"),
    ],
)
def test_a_selector_has_calicos_unique_id(text, uid):
    assert parse(text).uid() == uid


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [
        ("b == b", 5, "expected a quoted value, found 'b' after 'b == '"),
        ("b contains b", 11, "expected a quoted value"),
        ("'b' == b", 0, "expected a label, 'has(', 'all()', 'global()', '!' or '(', found \"'b' == b\""),
        ("b", 1, "after label 'b', found the end after 'b'"),
        (
            "a b",
            2,
            "expected one of '==', '!=', 'in', 'not in', 'contains', 'starts with', 'ends with' after label 'a'",
        ),
        ("a = 'b'", 2, "expected one of '=='"),
        ("a ! = 'b'", 2, "expected one of"),
        ("a !in {'b'}", 2, "expected one of"),
        ("a starts 'b'", 2, "expected one of"),
        ("a not {'b'}", 2, "expected one of"),
        ("a all()", 2, "expected one of"),
        ("all ()", 4, "expected one of"),
        ("all(", 4, "expected ')' to end 'all('"),
        ("all(a)", 4, "expected ')' to end 'all('"),
        ("has()", 4, "expected a label's name"),
        ("has(a", 5, "expected ')' to end 'has('"),
        ("has(a b)", 6, "expected ')' to end 'has('"),
        ("has('a')", 4, "expected a label's name"),
        ("!", 1, "expected a label"),
        ("a == 'b' &", 9, "expected '&&', '||' or the end"),
        ("a == 'b' |", 9, "expected '&&', '||' or the end"),
        ("a == 'b' &&", 11, "expected a label"),
        ("a == 'b' || && has(c)", 12, "expected a label"),
        ("a == 'b' c == 'd'", 9, "expected '&&', '||' or the end"),
        ("a in ''", 5, "expected '{' and quoted values"),
        ("a in {'b'", 9, "expected ',' or '}'"),
        ("a in {'b' 'c'}", 10, "expected ',' or '}'"),
        ("a in {,}", 6, "expected a quoted value or '}'"),
        ("a in {'b',,}", 10, "expected a quoted value or '}'"),
        ("a in {b}", 6, "expected a quoted value or '}'"),
        ("a == \"b'", 8, 'expected a closing " for the one of character 6, found the end'),
        ("a == 'b\\'c'", 9, "expected '&&', '||' or the end"),
        ("(", 1, "expected a label"),
        ("()", 1, "expected a label"),
        ("(a == 'b'", 9, "expected ')' for the '(' of character 1"),
        ("((a == 'b')", 11, "expected ')' for the '(' of character 1"),
        ("(a == 'b' has(c))", 10, "expected '&&', '||' or ')'"),
        ("a == 'b')", 8, "expected '&&', '||' or the end, as no '(' is open"),
        ("a == 'b'\n", 8, "expected '&&', '||' or the end"),
        ("a == 'b' && %", 12, "expected a label"),
        ("é == 'b'", 0, "expected a label"),
        ("a" * 513 + " == 'b'", 0, "expected at most 512 characters in a label's name"),
        ("a == '\ud800'", 6, "expected text that can be encoded in UTF-8"),
    ],
)
def test_what_is_no_selector_is_refused_at_the_character(text, position, expected):
    with pytest.raises(BadSelector) as caught:
        parse(text, path="spec.selector")

    assert caught.value.position == position
    assert str(caught.value).startswith(f"spec.selector: character {position + 1}: ")
    assert expected in str(caught.value)


def test_the_longest_label_is_taken():
    assert parse("a" * 512 + " == 'b'").matches({"a" * 512: "b"})


def test_a_wrong_character_is_pointed_at():
    with pytest.raises(BadSelector) as caught:
        parse("a == '\t' && b == c")

    assert caught.value.pointer == "a == '\N{REPLACEMENT CHARACTER}' && b == c\n                 ^"


@given(selectors.expressions(), selectors.labels(), st.sampled_from(("", " ", "\t ")))
def test_a_selector_selects_what_its_words_say(tree, labels, blank):
    assert parse(selectors.spelt(tree, blank)).matches(labels) is selectors.selects(tree, labels)


@given(selectors.expressions(), selectors.labels())
def test_a_canonical_text_stands_for_itself(tree, labels):
    selector = parse(selectors.spelt(tree))
    again = parse(selector.canonical())

    assert again.canonical() == selector.canonical()
    assert again.uid() == selector.uid()
    assert again.matches(labels) is selector.matches(labels)


@given(selectors.expressions(), selectors.expressions())
def test_unique_ids_are_equal_exactly_when_canonical_texts_are(one, other):
    first, second = parse(selectors.spelt(one)), parse(selectors.spelt(other))

    assert (first.uid() == second.uid()) is (first.canonical() == second.canonical()) is (first == second)


@given(selectors.expressions(), selectors.labels())
def test_a_double_negation_is_none(tree, labels):
    once = parse(selectors.spelt(tree))
    twice = parse(f"!(!({selectors.spelt(tree)}))")

    assert twice == once
    assert parse(f"!({selectors.spelt(tree)})").matches(labels) is not once.matches(labels)


@given(selectors.expressions(), selectors.labels())
def test_what_is_selected_meets_the_restrictions(tree, labels):
    selector = parse(selectors.spelt(tree))

    if selector.matches(labels):
        for label, values in selector.restrictions().items():
            assert label in labels
            assert values is None or labels[label] in values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all()", {}),
        ("a == 'b'", {"a": {"b"}}),
        ("a in {'b', 'c'} && has(d)", {"a": {"b", "c"}, "d": None}),
        ("a in {'b', 'c'} && a in {'c', 'd'}", {"a": {"c"}}),
        ("a == 'b' && a == 'c'", {"a": set()}),
        ("a == 'b' || a == 'c'", {"a": {"b", "c"}}),
        ("a == 'b' || has(a)", {"a": None}),
        ("a == 'b' || has(c)", {}),
        ("a == 'b' && c == 'd' || c == 'e' && f == 'g'", {"c": {"d", "e"}}),
        ("a starts with 'b'", {"a": None}),
        ("a != 'b'", {}),
        ("!a == 'b'", {}),
        ("!a != 'b'", {"a": {"b"}}),
        ("!has(a)", {}),
        ("!(a not in {'b'} || !has(c))", {"a": {"b"}, "c": None}),
        ("!(a != 'b' && a != 'c')", {"a": {"b", "c"}}),
        ("!a contains 'b'", {}),
    ],
)
def test_restrictions_are_what_every_match_must_have(text, expected):
    assert parse(text).restrictions() == expected


@given(selectors.expressions(), selectors.labels())
def test_a_prefixed_selector_selects_prefixed_labels(tree, labels):
    selector = parse(selectors.spelt(tree))

    prefixed = selector.prefixed("pcns.")

    assert prefixed.matches({f"pcns.{name}": value for name, value in labels.items()}) is selector.matches(labels)
    assert parse(prefixed.canonical()) == prefixed


def test_a_prefixed_selector_keeps_its_order():
    prefixed = parse("(has(a) || b == 'c') && !d in {'e', 'f'} && all()").prefixed("pcsa.")

    assert prefixed.canonical() == '((has(pcsa.a) || pcsa.b == "c") && !pcsa.d in {"e", "f"} && all())'


@given(selectors.expressions(), selectors.labels(), selectors.labels())
def test_labels_that_a_selector_does_not_ask_for_change_nothing(tree, labels, others):
    selector = parse(selectors.spelt(tree))
    changed = {name: value for name, value in others.items() if name not in selector.labels()}
    kept = {name: value for name, value in labels.items() if name in selector.labels()}

    assert selector.matches(kept | changed) is selector.matches(labels)


@pytest.mark.parametrize(
    "text",
    [
        "(" * DEEP + "has(a)" + ")" * DEEP,
        "!(" * DEEP + "has(a)" + ")" * DEEP,
        "(has(a) && (has(a) || !" * DEEP + "has(a)" + "))" * DEEP,
        " || ".join(f"a == '{'x' * 90}{i}'" for i in range(DEEP)) + " || has(a)",
        "a in {" + ",".join(f"'{'x' * 90}{i}'" for i in range(DEEP)) + ", 'b'}",
        "a != '" + "x" * 1_000_000 + "'",
    ],
    ids=["parentheses", "negations", "and and or", "long", "many values", "long value"],
)
def test_a_deep_or_long_selector_is_read_and_answered(text):
    began = time.process_time()

    selector = parse(text)
    again = parse(selector.canonical())

    assert selector.matches({"a": "b"}) is again.matches({"a": "b"}) is True
    assert selector.uid() == again.uid()
    assert selector.restrictions().keys() <= {"a"}
    assert parse(selector.prefixed("x.").canonical()).matches({"x.a": "b"})
    assert time.process_time() - began < 10


@pytest.mark.parametrize("text", ["(" * DEEP, "!" * 1_000_000, "(" * DEEP + "a", "a in {" + "'b'," * DEEP])
def test_a_deep_or_long_text_that_is_no_selector_is_refused(text):
    with pytest.raises(BadSelector):
        parse(text)


def test_a_selector_that_was_read_before_answers_for_other_labels():
    matches = Matches()

    answers = [matches("zone == 'a'", {"zone": zone}) for zone in ("a", "b", "a")]

    assert answers == [True, False, True]


def test_remembered_selectors_do_not_grow_without_end():
    matches = Matches(limit=2)

    answers = [matches(f"zone == '{i % 7}'", {"zone": "3"}) for i in range(21)]

    assert answers == [i % 7 == 3 for i in range(21)]
    assert len(matches._read) <= 2
