"""The contract that every nftables door keeps: derive from ``NftContract`` and say how one is made.

class TestMemory(NftContract):
    @pytest.fixture
    def nft(self):
        return MemoryNft()
"""

from __future__ import annotations

import errno
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from cloudnet.kernel import ruleset
from cloudnet.kernel.nft import ElementChange, Exclude, Include, Nft, NftError, Standing, Traffic, remove
from cloudnet.kernel.ruleset import Element, Fate, Hook, KeyType, Set, Span, Table, Verdict

TABLE = Table("cn-test")
OTHER = Table("cn-other")
HOOK = Hook("filter", "forward", 10)

PLAIN = Set(TABLE, "plain", (KeyType.IPV4,))
NETS = Set(TABLE, "nets", (KeyType.IPV4,), interval=True)
NETS_V6 = Set(TABLE, "nets6", (KeyType.IPV6,), interval=True)
PORTS = Set(TABLE, "ports", (KeyType.PROTOCOL, KeyType.PORT), interval=True)
PODS = Set(TABLE, "pods", (KeyType.DEVICE,), verdicts=True)
PAIRS = Set(TABLE, "pairs", (KeyType.IPV4, KeyType.PORT))
MARKS = Set(TABLE, "marks", (KeyType.MARK,))
MACS = Set(TABLE, "macs", (KeyType.DEVICE, KeyType.MAC, KeyType.IPV6))
SETS = (PLAIN, NETS, NETS_V6, PORTS, PODS, PAIRS, MARKS, MACS)


def host(text: str) -> Element:
    return Element((ip_address(text),))


def net(text: str) -> Element:
    return Element((ip_network(text),))


def pod(name: str, chain: str = "pod") -> Element:
    return Element((name,), Verdict(Fate.JUMP, chain))


EXAMPLES: tuple[tuple[Set, tuple[Element, ...]], ...] = (
    (PLAIN, (host("10.0.0.1"), host("255.255.255.255"), host("0.0.0.0"))),  # noqa: S104 - an address, not a socket
    (NETS, (net("10.0.0.0/8"), net("11.0.0.0/9"), net("11.128.0.0/9"), net("128.0.0.0/1"))),
    (NETS, (net("0.0.0.0/0"),)),
    (NETS_V6, (net("fd00::/48"), net("fd00:0:1::/48"), net("ff00::/8"))),
    (NETS_V6, (net("::/0"),)),
    (PORTS, (Element((6, Span(80, 90))), Element((17, 53)), Element((Span(100, 110), Span(1, 65535))))),
    (
        PODS,
        (
            pod("cali0123456789a"),
            Element(("eth0",), Verdict(Fate.DROP)),
            Element(("eth1",), Verdict(Fate.GOTO, "pod")),
            Element(("eth2",), Verdict(Fate.ACCEPT)),
            Element(("eth3",), Verdict(Fate.RETURN)),
        ),
    ),
    (PAIRS, (Element((ip_address("10.0.0.1"), 80)), Element((ip_address("10.0.0.1"), 65535)))),
    (MARKS, (Element((1,)), Element((0xFFFF0000,)))),
    (MACS, (Element(("cali1", "ee:ee:ee:ee:ee:ee", ip_address("fe80::1"))),)),
)
"""Elements of every type of key, at the ends of what is possible."""


def begin(nft: Nft) -> None:
    """Make the table with one base chain, one chain and every set, empty."""
    lines = [ruleset.add_table(TABLE), ruleset.add_chain(TABLE, "main", HOOK), ruleset.add_chain(TABLE, "pod")]
    nft.run(ruleset.script([*lines, *map(ruleset.add_set, SETS)]))


def standing(nft: Nft) -> Standing:
    found = nft.list(TABLE)
    assert found is not None
    return found


def elements(nft: Nft, of: Set) -> frozenset[Element]:
    return standing(nft).sets[of.name].elements


def changes() -> SearchStrategy[list[ElementChange]]:
    """Draw changes of single addresses and of verdicts; the keys are few, so that they meet."""
    hosts = st.lists(st.integers(0, 5).map(lambda n: host(f"10.0.0.{n}")), max_size=4, unique=True).map(tuple)
    verdicts = st.sampled_from((Verdict(Fate.DROP), Verdict(Fate.JUMP, "pod")))
    pods = st.lists(
        st.builds(lambda n, verdict: Element((f"cali{n}",), verdict), st.integers(0, 3), verdicts),
        max_size=3,
        unique_by=lambda one: one.key,
    ).map(tuple)
    return st.lists(
        st.one_of(
            st.builds(Include, st.just(PLAIN), hosts),
            st.builds(Exclude, st.just(PLAIN), hosts),
            st.builds(Include, st.just(PODS), pods),
            st.builds(Exclude, st.just(PODS), pods),
        ),
        max_size=6,
    )


class NftContract:
    """Every test takes ``nft``, a door to a network namespace without tables."""

    def test_there_are_no_tables_at_first(self, nft: Nft) -> None:
        assert nft.tables() == frozenset()
        assert nft.list(TABLE) is None

    def test_a_transaction_makes_a_table_with_chains_rules_and_sets(self, nft: Nft) -> None:
        begin(nft)

        nft.run(
            ruleset.script(
                [
                    ruleset.add_rule(TABLE, "main", "iifname vmap @pods"),
                    ruleset.add_rule(TABLE, "pod", "ip saddr @plain accept", remark="by policy x"),
                    ruleset.add_rule(TABLE, "pod", "drop"),
                ]
            )
        )

        found = standing(nft)
        assert nft.tables() == {TABLE}
        assert found.chains["main"].hook == HOOK
        assert found.chains["pod"].hook is None
        assert [rule.comment for rule in found.chains["pod"].rules] == ["by policy x", ""]
        assert {name: one.set for name, one in found.sets.items()} == {one.name: one for one in SETS}

    def test_rules_read_alike_when_nothing_changed_and_otherwise_when_something_did(self, nft: Nft) -> None:
        begin(nft)
        nft.run(ruleset.script([ruleset.add_rule(TABLE, "pod", "ip saddr 10.0.0.1 accept")]))
        before = standing(nft).chains

        nft.run(ruleset.script([ruleset.flush_chain(TABLE, "pod"), ruleset.add_rule(TABLE, "pod", "drop")]))
        changed = standing(nft).chains
        nft.run(
            ruleset.script(
                [
                    ruleset.flush_chain(TABLE, "pod"),
                    ruleset.add_rule(TABLE, "pod", "ip saddr 10.0.0.1 accept"),
                ]
            )
        )

        assert changed != before
        assert standing(nft).chains == before

    def test_when_one_line_is_refused_nothing_is_done_and_the_line_is_named(self, nft: Nft) -> None:
        begin(nft)
        before = standing(nft)
        lines = [ruleset.add_chain(TABLE, "new"), ruleset.flush_set(PLAIN), ruleset.delete_chain(TABLE, "nobody")]

        with pytest.raises(NftError, match=r"line 3.*nobody") as refused:
            nft.run(ruleset.script(lines))

        assert refused.value.line == 3
        assert refused.value.errno == errno.ENOENT
        assert standing(nft) == before

    def test_a_rule_that_jumps_nowhere_is_refused(self, nft: Nft) -> None:
        begin(nft)

        with pytest.raises(NftError, match="nowhere") as refused:
            nft.run(ruleset.script([ruleset.add_rule(TABLE, "main", "jump nowhere")]))

        assert refused.value.errno == errno.ENOENT

    def test_a_chain_that_something_leads_to_is_not_deleted_before_nothing_does(self, nft: Nft) -> None:
        begin(nft)
        nft.change([Include(PODS, (pod("cali1"),))])
        leave = ruleset.script([ruleset.flush_chain(TABLE, "pod"), ruleset.delete_chain(TABLE, "pod")])

        with pytest.raises(NftError) as refused:
            nft.run(leave)
        nft.change([Exclude(PODS, (pod("cali1"),))])
        nft.run(leave)

        assert refused.value.errno == errno.EBUSY
        assert set(standing(nft).chains) == {"main"}

    def test_deleting_a_table_is_idempotent_and_leaves_others_alone(self, nft: Nft) -> None:
        begin(nft)
        nft.run(ruleset.script([ruleset.add_table(OTHER)]))

        nft.run(ruleset.script([ruleset.delete_table(TABLE)]))
        nft.run(ruleset.script([ruleset.delete_table(TABLE)]))

        assert nft.tables() == {OTHER}

    def test_flushing_a_table_takes_rules_and_leaves_all_that_they_ask(self, nft: Nft) -> None:
        begin(nft)
        nft.run(ruleset.script([ruleset.add_rule(TABLE, "main", "accept"), ruleset.add_set(PODS, [pod("cali1")])]))

        nft.run(ruleset.script([ruleset.flush_table(TABLE), ruleset.flush_table(OTHER)]))

        assert {name: chain.rules for name, chain in standing(nft).chains.items()} == {"main": (), "pod": ()}
        assert elements(nft, PODS) == {pod("cali1")}
        assert nft.tables() == {TABLE, OTHER}

    def test_removing_a_table_is_idempotent_and_leaves_others_alone(self, nft: Nft) -> None:
        begin(nft)
        nft.run(ruleset.script([ruleset.add_table(OTHER), ruleset.add_set(PODS, [pod("cali1")])]))

        remove(nft, TABLE)
        remove(nft, TABLE)

        assert nft.tables() == {OTHER}

    @pytest.mark.parametrize(("into", "given"), EXAMPLES, ids=lambda one: getattr(one, "name", ""))
    def test_elements_go_in_by_text_and_by_change_alike(
        self, nft: Nft, into: Set, given: tuple[Element, ...]
    ) -> None:
        begin(nft)

        nft.run(ruleset.script([ruleset.add_set(into, given)]))
        by_text = elements(nft, into)
        nft.run(ruleset.script([ruleset.flush_set(into)]))
        emptied = elements(nft, into)
        nft.change([Include(into, given)])

        assert by_text == frozenset(given)
        assert emptied == frozenset()
        assert elements(nft, into) == frozenset(given)

    @pytest.mark.parametrize(("into", "given"), EXAMPLES, ids=lambda one: getattr(one, "name", ""))
    def test_elements_that_came_by_text_go_out_by_change(
        self, nft: Nft, into: Set, given: tuple[Element, ...]
    ) -> None:
        begin(nft)
        nft.run(ruleset.script([ruleset.add_set(into, given)]))

        nft.change([Exclude(into, given[:1])])

        assert elements(nft, into) == frozenset(given[1:])

    def test_adding_what_is_there_and_removing_what_is_not_succeed(self, nft: Nft) -> None:
        begin(nft)
        nft.change([Include(PLAIN, (host("10.0.0.1"),)), Include(NETS, (net("10.0.0.0/8"),))])

        nft.change([Include(PLAIN, (host("10.0.0.1"), host("10.0.0.2"))), Include(NETS, (net("10.0.0.0/8"),))])
        nft.change([Exclude(PLAIN, (host("10.0.0.9"), host("10.0.0.2"))), Exclude(PODS, (pod("cali1"),))])

        assert elements(nft, PLAIN) == {host("10.0.0.1")}
        assert elements(nft, NETS) == {net("10.0.0.0/8")}

    def test_a_verdict_is_replaced_by_taking_it_out_and_putting_it_in(self, nft: Nft) -> None:
        begin(nft)
        nft.change([Include(PODS, (pod("cali1"),))])
        drop = Element(("cali1",), Verdict(Fate.DROP))

        nft.change([Exclude(PODS, (drop,)), Include(PODS, (drop,))])

        assert elements(nft, PODS) == {drop}

    def test_a_verdict_to_no_chain_is_refused_with_all_other_changes(self, nft: Nft) -> None:
        begin(nft)

        with pytest.raises(NftError) as refused:
            nft.change([Include(PLAIN, (host("10.0.0.1"),)), Include(PODS, (pod("cali1", "nowhere"),))])

        assert refused.value.errno == errno.ENOENT
        assert elements(nft, PLAIN) == frozenset()

    def test_an_element_within_another_is_refused(self, nft: Nft) -> None:
        begin(nft)
        nft.change([Include(NETS, (net("10.0.0.0/8"),))])

        with pytest.raises(NftError):
            nft.change([Include(NETS, (net("10.1.0.0/16"),))])

        assert elements(nft, NETS) == {net("10.0.0.0/8")}

    def test_a_set_that_is_not_there_takes_nothing_and_gives_nothing(self, nft: Nft) -> None:
        begin(nft)
        nobody = Set(TABLE, "nobody", (KeyType.IPV4,))

        with pytest.raises(NftError) as refused:
            nft.change([Include(nobody, (host("10.0.0.1"),))])
        nft.change([Exclude(nobody, (host("10.0.0.1"),))])

        assert refused.value.errno == errno.ENOENT

    def test_thousands_of_elements_go_in_and_out_at_once(self, nft: Nft) -> None:
        begin(nft)
        many = tuple(Element((ip_address((10 << 24) + number),)) for number in range(10_000))

        nft.change([Include(PLAIN, many)])
        filled = elements(nft, PLAIN)
        nft.change([Exclude(PLAIN, many[1:])])

        assert filled == frozenset(many)
        assert elements(nft, PLAIN) == {many[0]}

    def test_a_listing_without_elements_has_everything_else(self, nft: Nft) -> None:
        begin(nft)
        nft.change([Include(PLAIN, (host("10.0.0.1"),))])

        found = nft.list(TABLE, elements=False)

        assert found is not None
        assert found.sets["plain"].set == PLAIN
        assert found.sets["plain"].elements == frozenset()

    def test_named_counters_are_read_until_they_are_deleted(self, nft: Nft) -> None:
        begin(nft)
        nft.run(f"add counter {TABLE} seen\nadd rule {TABLE} main counter name seen\n")

        assert nft.counters(TABLE) == {"seen": Traffic(0, 0)}
        assert nft.counters(OTHER) == {}

        nft.run(f"flush chain {TABLE} main\ndelete counter {TABLE} seen\n")

        assert nft.counters(TABLE) == {}

    def test_elements_are_taken_out_by_text_too(self, nft: Nft) -> None:
        begin(nft)
        nft.change([Include(PLAIN, (host("10.0.0.1"), host("10.0.0.2")))])

        nft.run(f"delete element {PLAIN} {{ 10.0.0.1 }}\n")

        assert elements(nft, PLAIN) == {host("10.0.0.2")}

    def test_names_of_users_become_names_comments_and_prefixes_that_are_taken(self, nft: Nft) -> None:
        begin(nft)
        text = 'x"; flush ruleset; $y \n{ } # \\ ü \0 ' + "z" * 300
        chain = ruleset.identifier("policy", text)
        body = f"log {ruleset.log_prefix(text)} iifname {ruleset.device('a;b{}#')} jump {chain}"

        nft.run(
            ruleset.script(
                [
                    ruleset.add_chain(TABLE, chain),
                    ruleset.add_set(Set(TABLE, ruleset.identifier("set", text), (KeyType.IPV4,))),
                    ruleset.add_rule(TABLE, "main", body, remark=text),
                ]
            )
        )

        assert chain in standing(nft).chains
        assert standing(nft).chains["main"].rules[0].comment.startswith("x?; flush ruleset; ?y ?{ }")

    def test_a_closed_door_may_be_closed_again(self, nft: Nft) -> None:
        nft.close()

        nft.close()
