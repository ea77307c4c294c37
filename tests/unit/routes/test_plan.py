"""A table plan touches only what is ours, fits the quota, keeps what is there, and comes to rest."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudnet.model.addresses import Family, InstanceId, InterfaceId, NodeName, TableId
from cloudnet.model.resources import Cause, NextHop, RouteState, TableStatus
from cloudnet.provider.api import Owner, RouteChange, TableRoute, Verb
from cloudnet.routes.aggregate import key, prefix, unions, widened
from cloudnet.routes.plan import Plan, Refusal, Standing, Wish, plan

T = TableId("rtb-a")
FIRST = int(ip_network("10.65.0.0/26").network_address)


def hop(k: int) -> NextHop:
    return NextHop(InterfaceId(f"eni-{k}"), InstanceId(f"i-{k}"))


def block(number: int):
    return ip_network((FIRST + (number << 6), 26))


def wish(number: int, node: int) -> Wish:
    return Wish(key(block(number)), block(number), NodeName(f"n{node}"), hop(node))


class World:
    """A table, the wishes for it, and the ledger; ``round`` carries one plan out, and everything succeeds."""

    def __init__(self, wishes: Mapping[int, int], *, limit: int, headroom: int = 0) -> None:
        self.wishes = {w.key: w for w in (wish(b, n) for b, n in wishes.items())}
        self.limit, self.headroom = limit, headroom
        self.routes: dict[int, TableRoute] = {}
        self.ledger: dict[int, TableStatus] = {}
        self.cleared: set[int] = set()

    def standing(self) -> Standing:
        going = {k for k, s in self.ledger.items() if s.state is RouteState.WITHDRAWING}
        return Standing(T, limits={Family.IPV4: self.limit}, routes=self.routes, left=going, cleared=self.cleared)

    def plan(self) -> Plan:
        return plan(self.standing(), self.wishes, self.ledger, headroom=self.headroom)

    def round(self) -> Plan:
        planned = self.plan()
        for change in planned.changes:
            k = key(change.destination)
            if change.verb is Verb.DELETE:
                self.routes.pop(k, None)
                self.cleared.add(k)
            else:
                self.routes[k] = TableRoute(change.destination, change.next_hop)
                self.cleared.discard(k)
            assert len(self.routes) <= max(self.limit, self.most)
        for k, status in planned.statuses.items():
            if status is None:
                self.ledger.pop(k, None)
            else:
                self.ledger[k] = status
        return planned

    def settle(self) -> list[RouteChange]:
        self.most = len(self.routes)
        changes: list[RouteChange] = []
        for _ in range(30):
            planned = self.round()
            changes += planned.changes
            if not planned.changes and not planned.statuses:
                return changes
        raise AssertionError(f"does not come to rest: {planned}")


@st.composite
def worlds(draw: st.DrawFn) -> World:
    wishes = draw(st.dictionaries(st.integers(0, 15), st.integers(0, 3), max_size=12))
    world = World(wishes, limit=draw(st.integers(0, 12)), headroom=draw(st.integers(0, 2)))
    for number in draw(st.sets(st.integers(0, 20), max_size=4)):
        k = key(block(number))
        world.routes[k] = TableRoute(block(number), NextHop(), Owner.FOREIGN, target="tgw-1")
    for number, node in draw(st.dictionaries(st.integers(0, 20), st.integers(0, 4), max_size=6)).items():
        k = key(block(number))
        if k not in world.routes:
            black = draw(st.booleans())
            world.routes[k] = TableRoute(block(number), hop(node), black_hole=black)
            if draw(st.booleans()):
                world.ledger[k] = TableStatus(T, RouteState.PROGRAMMED, next_hop=hop(node))
    return world


@settings(max_examples=300)
@given(worlds())
def test_what_is_not_ours_is_never_touched(world) -> None:
    def is_ours(k: int, route: TableRoute) -> bool:
        wanted = world.wishes.get(k)
        return k in world.ledger or (wanted is not None and wanted.next_hop.same_as(route.next_hop))

    others = {k: r for k, r in world.routes.items() if r.owner is Owner.FOREIGN or not is_ours(k, r)}

    changes = world.settle()

    assert others.items() <= world.routes.items()
    assert not others.keys() & {key(c.destination) for c in changes}


@settings(max_examples=300)
@given(worlds())
def test_the_table_ends_within_the_quota_less_headroom_unless_others_fill_it(world) -> None:
    world.settle()

    ours = sum(s.next_hop is not None and k in world.routes for k, s in world.ledger.items())
    others = len(world.routes) - ours
    assert ours <= max(0, world.limit - world.headroom - others)


@settings(max_examples=300)
@given(worlds())
def test_a_settled_table_wants_nothing_more(world) -> None:
    world.settle()

    planned = world.plan()

    assert planned.changes == ()
    assert not planned.statuses


@settings(max_examples=200)
@given(worlds(), st.randoms())
def test_the_plan_does_not_depend_on_the_order_of_anything(world, rng: random.Random) -> None:
    first = world.plan()

    for mapping in (world.wishes, world.routes, world.ledger):
        items = list(mapping.items())
        rng.shuffle(items)
        mapping.clear()
        mapping.update(items)

    assert world.plan() == first


@settings(max_examples=200)
@given(worlds(), st.integers(0, 15), st.integers(0, 3))
def test_a_block_that_joins_moves_no_route_that_is_there(world, number, node) -> None:
    world.settle()
    before = {k for k, s in world.ledger.items() if s.state is RouteState.PROGRAMMED and k in world.routes}
    new = wish(number, node)
    if new.key in world.wishes:
        return
    world.wishes = {**world.wishes, new.key: new}

    changes = world.settle()

    joined = {widened(new.key, n) for n in range(27)}
    for change in changes:
        if key(change.destination) in before:
            shared = {k for k in world.routes if k in {widened(key(change.destination), n) for n in range(26)}}
            assert shared, f"{change} moved a route although no joint route replaced it ({joined})"


def test_an_intent_is_in_the_ledger_before_the_change_is_sent() -> None:
    world = World({0: 0}, limit=10)

    first = world.plan()
    world.most = 0
    world.round()
    second = world.plan()

    assert first.changes == ()
    assert first.statuses[key(block(0))].next_hop == hop(0)
    assert [c.verb for c in second.changes] == [Verb.CREATE]


def test_a_changed_next_hop_is_replaced_in_place_and_both_are_in_the_ledger() -> None:
    world = World({0: 0}, limit=10)
    world.settle()
    world.wishes = {w.key: w for w in [wish(0, 1)]}

    planned = world.round()
    status = world.ledger[key(block(0))]
    changes = world.settle()

    assert planned.changes == ()
    assert (status.next_hop, status.previous) == (hop(1), hop(0))
    assert [c.verb for c in changes] == [Verb.REPLACE]
    assert world.ledger[key(block(0))].previous is None


def test_deletions_come_before_creations() -> None:
    world = World({0: 0}, limit=1)
    world.settle()
    world.wishes = {w.key: w for w in [wish(5, 1)]}

    changes = world.settle()

    assert [c.verb for c in changes] == [Verb.DELETE, Verb.CREATE]


def test_a_closed_table_lets_one_probe_through() -> None:
    world = World({0: 0, 5: 1, 9: 2}, limit=10)
    world.most = 0
    world.round()
    closed = {Family.IPV4: Refusal(Cause.QUOTA, "full", probe=True)}

    planned = plan(replace(world.standing(), closed=closed), world.wishes, world.ledger)

    assert len(planned.changes) == 1
    assert {s.state for s in planned.statuses.values()} == {RouteState.REFUSED}


def test_a_route_waits_until_agents_have_left() -> None:
    world = World({0: 0}, limit=10)
    world.settle()
    world.wishes = {}
    world.round()

    waiting = plan(replace(world.standing(), left=frozenset()), world.wishes, world.ledger)

    assert waiting.changes == ()
    assert [c.verb for c in world.plan().changes] == [Verb.DELETE]


@given(st.sets(st.integers(0, 63), max_size=20))
def test_unions_cover_exactly_their_blocks(numbers) -> None:
    blocks = {key(block(n)) for n in numbers}

    found = unions(blocks)

    assert sorted(b for members in found.values() for b in members) == sorted(blocks)
    for union, members in found.items():
        assert prefix(union).num_addresses == sum(prefix(b).num_addresses for b in members)
        assert all(widened(b, union & 0xFF) == union for b in members)


@pytest.mark.parametrize(
    "text", ["0.0.0.0/0", "10.65.1.0/26", "255.255.255.255/32", "::/0", "fd00::/122", "ff::1/128"]
)
def test_a_key_is_the_prefix_in_another_form(text) -> None:
    assert prefix(key(ip_network(text))) == ip_network(text)


def test_keys_order_as_prefixes_do() -> None:
    texts = ["10.0.0.0/8", "10.0.0.0/26", "10.65.0.0/26", "::/0", "fd00::/64", "fd00::/122"]
    assert sorted(map(key, map(ip_network, texts))) == list(map(key, map(ip_network, texts)))


# --- tables that nobody here writes, and tables of one zone ------------------------------------------------------


def declared_route(text: str, to: int | None = None) -> TableRoute:
    return TableRoute(ip_network(text), hop(to) if to else NextHop(), Owner.DECLARED, target="the router of rack-1")


def planned_with(*routes: TableRoute, ledger: Mapping[int, TableStatus] | None = None, **standing: object) -> Plan:
    wanted = {w.key: w for w in (wish(1, 1), wish(2, 2))}
    held = {key(r.destination): r for r in routes}
    return plan(Standing(T, routes=held, **standing), wanted, ledger or {})


def test_a_declared_route_serves_every_block_inside_and_is_never_written():
    planned = planned_with(declared_route("10.65.0.0/24"), read_only=True)

    assert planned.changes == ()
    assert {s.state for s in planned.statuses.values()} == {RouteState.PROGRAMMED}
    assert all("served by 10.65.0.0/24" in s.detail for s in planned.statuses.values())


def test_what_a_declared_route_serves_is_told_once():
    first = planned_with(declared_route("10.65.0.0/24"), read_only=True)

    assert planned_with(declared_route("10.65.0.0/24"), ledger=first.statuses, read_only=True).statuses == {}


def test_the_longest_declared_route_decides():
    planned = planned_with(declared_route("10.65.0.0/16", 1), declared_route("10.65.0.128/26", 2), read_only=True)

    assert planned.statuses[key(block(1))].state is RouteState.PROGRAMMED
    assert planned.statuses[key(block(2))].state is RouteState.PROGRAMMED


@pytest.mark.parametrize("text", ["10.65.0.128/26", "10.65.0.0/16", "10.65.0.132/32"], ids=["whole", "wider", "part"])
def test_a_declared_route_to_another_node_is_a_conflict(text):
    planned = planned_with(declared_route(text, 1), read_only=True)

    status = planned.statuses[key(block(2))]
    assert (status.state, status.cause) == (RouteState.CONFLICT, Cause.CONFLICT)
    assert text in status.detail
    assert "node 'n2'" in status.detail


def test_a_block_leaves_when_its_declared_route_does():
    before = planned_with(declared_route("10.65.0.0/24"), read_only=True)

    planned = planned_with(ledger=before.statuses, read_only=True)

    assert {(s.state, s.cause) for s in planned.statuses.values()} == {(RouteState.REFUSED, Cause.UNSUPPORTED)}


def test_nothing_is_sent_to_a_table_that_is_read_only():
    first = planned_with(read_only=True)
    second = planned_with(ledger=first.statuses, read_only=True)

    assert first.changes == second.changes == ()
    assert all("declare one" in s.detail for s in first.statuses.values())


def test_a_table_of_a_zone_takes_the_blocks_of_its_zone_only():
    wanted = {
        w.key: w for w in (replace(wish(1, 1), zone="z-1"), replace(wish(2, 2), zone="z-2"), replace(wish(3, 3)))
    }
    standing = Standing(T, zone="z-1")
    first = plan(standing, wanted, {})
    second = plan(standing, wanted, first.statuses)

    assert [c.destination for c in second.changes] == [block(1)]
    assert first.statuses[key(block(2))].cause is Cause.UNSUPPORTED
    assert "node 'n2' is in z-2" in first.statuses[key(block(2))].detail
    assert "is in no zone" in first.statuses[key(block(3))].detail
