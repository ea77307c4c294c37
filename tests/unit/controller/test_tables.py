"""What a read proves depends on when it was started."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from cloudnet.controller.tables import VERIFY_SECONDS, Table, growing
from cloudnet.model.addresses import InterfaceId, TableId
from cloudnet.model.resources import NextHop
from cloudnet.provider.api import RouteChange, RouteTable, TableRoute, Verb
from cloudnet.routes.aggregate import key

T, BLOCK, HOP = TableId("rtb-a"), ip_network("10.65.1.0/26"), NextHop(InterfaceId("eni-1"))
SHOWN = RouteTable(T, frozenset(), (TableRoute(BLOCK, HOP),))
EMPTY = RouteTable(T, frozenset())


def accepted(verb: Verb, at: float) -> Table:
    table = Table(EMPTY, {})
    table.accept(RouteChange(verb, T, BLOCK, HOP), at)
    return table


def test_a_read_that_was_started_before_the_write_proves_nothing_of_it() -> None:
    table = accepted(Verb.DELETE, at=5.0)

    table.read(EMPTY, {}, started=4.0, now=6.0)

    assert key(BLOCK) in table.awaiting
    assert not table.cleared


@pytest.mark.parametrize(("verb", "seen"), [(Verb.CREATE, SHOWN), (Verb.REPLACE, SHOWN), (Verb.DELETE, EMPTY)])
def test_a_later_read_settles_what_it_shows(verb, seen) -> None:
    table = accepted(verb, at=5.0)

    table.read(seen, {}, started=5.1, now=5.2)

    assert not table.awaiting
    assert table.cleared == ({key(BLOCK)} if verb is Verb.DELETE else set())


def test_a_write_that_no_read_ever_shows_is_forgotten() -> None:
    table = accepted(Verb.CREATE, at=5.0)

    table.read(EMPTY, {}, started=6.0, now=7.0)
    assert table.awaiting
    table.read(EMPTY, {}, started=6.0 + VERIFY_SECONDS, now=7.0 + VERIFY_SECONDS)

    assert not table.awaiting


def test_waits_double_up_to_their_limit() -> None:
    assert [growing(1.0, 5.0, n) for n in (1, 2, 3, 4, 1000)] == [1.0, 2.0, 4.0, 5.0, 5.0]
