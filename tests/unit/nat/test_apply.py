"""Writing, changing and mending the table, on the twin."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from cloudnet.kernel import ruleset
from cloudnet.kernel.nft import Exclude, NftError
from cloudnet.kernel.nft_memory import MemoryNft
from cloudnet.kernel.ruleset import Hook, KeyType, Set
from cloudnet.model.addresses import Family
from cloudnet.model.resources import IPPool, Metadata
from cloudnet.nat import plan
from cloudnet.nat.apply import Nat
from cloudnet.nat.plan import CHAIN, POOLS, SOURCES, TABLE, Options

V4 = Family.IPV4


def wanted(*, nat=True, options=Options()):  # noqa: B008 - frozen
    return plan.desired([IPPool(Metadata("p"), ip_network("10.65.0.0/16"), nat_outgoing=nat)], [], options)


@pytest.fixture
def nft():
    return MemoryNft()


def sources(nft):
    return nft.list(TABLE).sets[SOURCES[V4].name].elements


def test_the_first_time_everything_is_written_in_one_transaction(nft):
    assert Nat(nft).settle(wanted())

    assert len(nft.scripts) == 1
    assert nft.list(TABLE).chains[CHAIN].hook == plan.HOOK
    assert sources(nft) == wanted().members[SOURCES[V4]]


def test_a_pool_that_changes_is_a_change_of_elements_and_no_rule_is_touched(nft):
    nat = Nat(nft)
    nat.settle(wanted())

    nat.settle(wanted(nat=False))

    assert len(nft.scripts) == 1
    assert [type(change) for change in nft.changes[0]] == [Exclude]
    assert sources(nft) == frozenset()


def test_what_stands_already_is_left_alone(nft):
    nat = Nat(nft)
    nat.settle(wanted())

    assert not nat.settle(wanted())
    assert not nat.repair()
    assert len(nft.scripts) == 1
    assert not nft.changes


@pytest.mark.parametrize(
    "damage",
    [
        ruleset.flush_chain(TABLE, CHAIN),
        ruleset.add_rule(TABLE, CHAIN, "accept"),
        ruleset.flush_set(POOLS[V4]),
        ruleset.add_set(POOLS[V4], [plan.Element((ip_network("192.0.2.0/24"),))]),
        ruleset.add_set(Set(TABLE, "strange", (KeyType.MARK,))),
        ruleset.add_chain(TABLE, "strange"),
        ruleset.delete_table(TABLE),
    ],
    ids=["rules gone", "rule added", "set emptied", "element added", "set added", "chain added", "table gone"],
)
def test_what_others_did_is_found_and_mended(nft, damage):
    nat = Nat(nft)
    nat.settle(wanted())
    before = nft.list(TABLE)
    nft.run(damage)

    assert nat.repair()

    assert nft.list(TABLE) == before
    assert not nat.repair()


def test_after_a_refusal_everything_is_written_anew(nft):
    nat = Nat(nft)
    nat.settle(wanted())
    nft.run(ruleset.script([ruleset.delete_table(TABLE)]))

    with pytest.raises(NftError):
        nat.settle(plan.desired([IPPool(Metadata("q"), ip_network("10.66.0.0/16"))], [], Options()))
    nat.settle(wanted(nat=False))

    assert sources(nft) == frozenset()
    assert nft.list(TABLE).chains[CHAIN].rules


def test_a_restart_leaves_the_chain_hanging_so_that_open_connections_stay_translated(nft):
    Nat(nft).settle(wanted())

    Nat(nft).settle(wanted(options=Options(exclude_hosts=True)))

    assert "delete" not in nft.scripts[-1]
    assert len(nft.list(TABLE).chains[CHAIN].rules) == 2


def test_a_chain_that_hangs_elsewhere_is_made_anew(nft):
    nft.run(
        ruleset.script([ruleset.add_table(TABLE), ruleset.add_chain(TABLE, CHAIN, Hook("nat", "postrouting", 7))])
    )

    Nat(nft).settle(wanted())

    assert nft.list(TABLE).chains[CHAIN].hook == plan.HOOK
