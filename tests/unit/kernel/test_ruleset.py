"""The text of transactions, and that nothing becomes a command that was not meant as one."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudnet.errors import BadInput
from cloudnet.kernel import ruleset
from cloudnet.kernel.ruleset import Element, Fate, Hook, KeyType, Set, Span, Table, Verdict

TABLE = Table("cloudnet")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (ruleset.add_table(TABLE), "add table inet cloudnet"),
        (ruleset.delete_table(TABLE), "add table inet cloudnet\ndelete table inet cloudnet"),
        (ruleset.add_chain(TABLE, "pod-1"), "add chain inet cloudnet pod-1"),
        (
            ruleset.add_chain(TABLE, "post", Hook("nat", "postrouting", 90)),
            "add chain inet cloudnet post { type nat hook postrouting priority 90; policy accept; }",
        ),
        (
            ruleset.add_rule(TABLE, "pod-1", "tcp dport { 80, 90 } accept", remark='says "x"'),
            'add rule inet cloudnet pod-1 tcp dport { 80, 90 } accept comment "says ?x?"',
        ),
        (
            ruleset.add_set(
                Set(TABLE, "nets", (KeyType.IPV4, KeyType.PORT), interval=True),
                [Element((ip_network("10.0.0.0/8"), Span(1, 9))), Element((ip_address("11.0.0.1"), 5))],
            ),
            (
                "add set inet cloudnet nets { type ipv4_addr . inet_service; flags interval;"
                " elements = { 10.0.0.0/8 . 1-9, 11.0.0.1 . 5 }; }"
            ),
        ),
        (
            ruleset.add_set(
                Set(TABLE, "pods", (KeyType.DEVICE,), verdicts=True),
                [Element(("cali1",), Verdict(Fate.GOTO, "pod-1"))],
            ),
            'add map inet cloudnet pods { type ifname : verdict; elements = { "cali1" : goto pod-1 }; }',
        ),
        (ruleset.flush_set(Set(TABLE, "pods", (KeyType.DEVICE,), verdicts=True)), "flush map inet cloudnet pods"),
        (ruleset.delete_set(Set(TABLE, "nets", (KeyType.IPV4,))), "delete set inet cloudnet nets"),
    ],
    ids=lambda text: text[:30],
)
def test_each_command_is_one_line(line, expected):
    assert line == expected


@given(text=st.text(max_size=300))
def test_an_identifier_is_a_name_whatever_it_is_made_of(text):
    name = ruleset.identifier("policy", text)

    assert re.fullmatch(r"policy-[a-zA-Z0-9._-]*", name)
    assert len(name) <= ruleset.LONGEST_NAME
    assert ruleset.add_chain(TABLE, name).endswith(name)


@given(texts=st.lists(st.one_of(st.text("aB-_./ü", max_size=150), st.text(max_size=5)), min_size=2, unique=True))
def test_two_texts_never_share_an_identifier(texts):
    names = {ruleset.identifier("p", text) for text in texts}

    assert len(names) == len(texts)


def test_an_identifier_cannot_be_forged_by_writing_one_out():
    shortened = ruleset.identifier("p", "a b")

    assert ruleset.identifier("p", shortened.removeprefix("p-")) != shortened


@given(text=st.text(max_size=300))
def test_a_comment_is_one_quoted_string_within_the_limit(text):
    written = ruleset.comment(text)

    assert re.fullmatch(r'comment "[ !#-\[\]-~]*"', written)
    assert len(written.encode()) <= len('comment ""') + ruleset.LONGEST_COMMENT
    assert "$" not in written


@given(text=st.text(max_size=40))
def test_text_that_reaches_a_rule_unquoted_cannot_begin_another_command(text):
    try:
        line = ruleset.add_rule(TABLE, "main", f"iifname {text} accept")
    except BadInput:
        return

    outside = re.sub(r'"[^"\n]*"', "", line)
    assert not set(outside) & set(';\n\r\0#"$\\')


@pytest.mark.parametrize("name", ["", "a b", "x" * 16, "a/b", 'a"b', "eth*", "a\nb", "a$b", "a\\b", "a:b", "\x00"])
def test_what_is_no_name_of_a_device_is_refused(name):
    with pytest.raises(BadInput, match="no name of a device"):
        ruleset.device(name)


@pytest.mark.parametrize("name", ["", "1a", "a b", "a;b", "a{", "x" * 129, "a\n"])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(BadInput, match="no name for nftables"):
        ruleset.add_chain(TABLE, name)
