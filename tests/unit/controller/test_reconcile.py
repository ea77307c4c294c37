"""The seventeen situations in which a route controller finds a table, and what it makes of each.

The situations are those of the table test of Kubernetes' own route controller, asked of the whole loop: a cloud and
a store in memory, and after a while the table is as it should be.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

import pytest

from cloudnet.model.addresses import TableId
from cloudnet.model.resources import NextHop, Node

BLOCKS = {0: "10.65.0.0/26", 1: "10.65.1.0/26"}
ALL = {"10.65.0.0/26": "eni-0", "10.65.1.0/26": "eni-1"}


@dataclass(frozen=True)
class Situation:
    """``ours`` was programmed by an earlier controller, ``foreign`` by somebody else; ``expected`` is the outcome."""

    name: str
    expected: dict[str, str]
    nodes: tuple[int, ...] = (0, 1)
    blocks: dict[int, tuple[str, ...]] = field(default_factory=lambda: {k: (b,) for k, b in BLOCKS.items()})
    ours: dict[str, int] = field(default_factory=dict)
    foreign: dict[str, str] = field(default_factory=dict)
    gone: tuple[str, ...] = ()
    writes: int | None = None


SITUATIONS = [
    Situation("no route and no node", {}, nodes=(), blocks={}, writes=0),
    Situation("no route yet", ALL, writes=2),
    Situation("every route is there", ALL, ours={BLOCKS[0]: 0, BLOCKS[1]: 1}, writes=0),
    Situation("one route is missing", ALL, ours={BLOCKS[0]: 0}, writes=1),
    Situation("one route too many", ALL, ours={BLOCKS[0]: 0, BLOCKS[1]: 1, "10.65.9.0/26": 1}, writes=1),
    Situation("a route leads to the wrong node", ALL, ours={BLOCKS[0]: 1, BLOCKS[1]: 1}, writes=1),
    Situation("routes lead to each other's node", ALL, ours={BLOCKS[0]: 1, BLOCKS[1]: 0}, writes=2),
    Situation("only routes that nobody needs", {}, nodes=(), blocks={}, ours={BLOCKS[0]: 0}, writes=1),
    Situation("a black hole of ours is needed", ALL, ours={BLOCKS[0]: 7, BLOCKS[1]: 1}, gone=("i-7",), writes=1),
    Situation(
        "a black hole of ours is not needed",
        ALL,
        ours={**{b: k for k, b in BLOCKS.items()}, "10.65.9.0/26": 7},
        gone=("i-7",),
        writes=1,
    ),
    Situation(
        "a black hole of somebody else",
        {**ALL, "10.99.0.0/24": "eni-8"},
        foreign={"10.99.0.0/24": "i-8"},
        gone=("i-8",),
        writes=2,
    ),
    Situation("a route of somebody else outside", {**ALL, "0.0.0.0/0": "igw-1"}, foreign={"0.0.0.0/0": "igw-1"}),
    Situation(
        "a route of somebody else among ours", {**ALL, "10.65.200.0/26": "tgw-1"}, foreign={"10.65.200.0/26": "tgw-1"}
    ),
    Situation(
        "two blocks on one node",
        {**ALL, "10.65.2.0/26": "eni-0"},
        blocks={0: (BLOCKS[0], "10.65.2.0/26"), 1: (BLOCKS[1],)},
        writes=3,
    ),
    Situation(
        "both families",
        {**ALL, "fd00:65::/122": "eni-0"},
        blocks={0: (BLOCKS[0], "fd00:65::/122"), 1: (BLOCKS[1],)},
        writes=3,
    ),
    Situation("a node without a block", {BLOCKS[1]: "eni-1"}, blocks={1: (BLOCKS[1],)}, writes=1),
    Situation("two nodes with one block", {}, blocks={0: (BLOCKS[0],), 1: (BLOCKS[0],)}, writes=0),
]


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda s: s.name)
@pytest.mark.parametrize("tables", [1, 3])
def test_every_situation_ends_as_it_should(make_cluster, situation, tables) -> None:
    cluster = make_cluster(tables=1, l2_adjacent=False)
    names = [
        TableId("rtb-0"),
        *(cluster.cloud.add_table(f"rtb-{i}", subnets=[f"other-{i}"]) for i in range(1, tables)),
    ]
    prepare(cluster, situation, names)
    before = cluster.calls()[1]

    cluster.restart()
    cluster.run(60)

    for table in names:
        routes = cluster.cloud.routes(table)
        assert {str(d): r.next_hop.interface or r.target for d, r in routes.items()} == situation.expected
    if situation.writes is not None:
        assert cluster.calls()[1] - before == situation.writes * tables
    settled = cluster.calls()[1]
    cluster.run(1000)
    assert cluster.calls()[1] == settled


def prepare(cluster, situation: Situation, tables: list[TableId]) -> None:
    for k in (0, 1, 7, 8):
        cluster.machine(k)
    prepare_earlier_controller(cluster, situation)
    for table, (destination, target) in itertools.product(tables, situation.foreign.items()):
        put_foreign(cluster, table, destination, target)
    for instance in situation.gone:
        cluster.cloud.remove_instance(instance)
    for k in situation.nodes:
        cluster.node(k)
    for k, blocks in situation.blocks.items():
        for block in blocks:
            cluster.block(k, block)


def prepare_earlier_controller(cluster, situation: Situation) -> None:
    """Let an earlier controller program ``ours`` for nodes that claimed them then."""
    if not situation.ours:
        return
    for k in {0, 1, *situation.ours.values()}:
        cluster.node(k)
    for cidr, k in situation.ours.items():
        cluster.block(k, cidr)
    cluster.run(60)
    for k in {0, 1, *situation.ours.values()}:
        cluster.store.delete(Node, f"n{k}")
    for cidr, k in situation.ours.items():
        cluster.unblock(k, cidr)


def put_foreign(cluster, table: str, destination: str, target: str) -> None:
    if target.startswith("i-"):
        hop = NextHop(instance=target, interface=f"eni-{target[2:]}", address=ip_address("10.0.0.99"))
        cluster.cloud.put_route(table, ip_network(destination), hop)
    else:
        cluster.cloud.add_foreign_route(table, ip_network(destination), target)
