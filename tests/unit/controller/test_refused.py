"""An older definition refuses what the controller writes of a node: routes go on, and it is said once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloudnet.errors import BadInput
from cloudnet.model.resources import CloudRoute, NodeCondition
from cloudnet.store.memory import MemoryStore


class Picky(MemoryStore):
    """A store that refuses a kind until it is told otherwise."""

    def __init__(self):
        super().__init__()
        self.refuses = NodeCondition
        self.refused = 0

    def create(self, value):
        if isinstance(value, self.refuses):
            self.refused += 1
            raise BadInput("expected another word", path="status.reason")
        return super().create(value)


@pytest.fixture
def cluster(make_cluster):
    cluster = make_cluster()
    cluster.store = Picky()
    cluster.restart()
    return cluster


def test_routes_are_programmed_all_the_same_and_it_is_said_once(cluster):
    cluster.join(1, 2)

    cluster.run(1.0)
    cluster.join(3)
    cluster.run(1.0)

    assert [len(routes) for routes in cluster.shown().values()] == [2, 2, 2], "all but its own node's"
    assert len([line for line in cluster.sim.said if "status.reason" in line]) == 1


def test_it_is_tried_again_ever_more_slowly_and_written_when_the_store_takes_it(cluster):
    cluster.join(1)
    cluster.run(5.0)
    cluster.store.refused = 0

    cluster.run(600.0)
    tries = cluster.store.refused
    cluster.store.refuses = ()
    cluster.run(cluster.options.retry_limit)

    assert tries == 3, "after one minute, two and four"
    assert cluster.condition(1) is not None
    assert cluster.sim.said[-1] == "records: works again"


def test_a_route_that_the_ledger_cannot_have_is_not_programmed(cluster):
    cluster.store.refuses = CloudRoute
    cluster.join(1, 2)

    cluster.run(60.0)
    before = cluster.shown()
    cluster.store.refuses = ()
    cluster.run(60.0)

    assert not any(before.values())
    assert all(cluster.shown().values())


def test_a_heartbeat_of_a_node_is_no_reason_to_look_at_its_records(cluster):
    """Our own verdict is one: it is shown in the node's status."""
    cluster.join(1)
    cluster.run()
    nodes = cluster.sim.loop.nodes
    nodes.take_touched()

    matters = nodes.node(cluster.get_node(1), gone=False)

    assert not matters
    assert nodes.take_touched() == []


class Forgetful(MemoryStore):
    """A store that drops the next hops of routes until it knows them."""

    knows = False

    def create(self, value):
        return super().create(self._cut(value))

    def update(self, value, *, expected):
        return super().update(self._cut(value), expected=expected)

    def _cut(self, value):
        if self.knows or not isinstance(value, CloudRoute):
            return value
        return replace(value, tables=tuple(replace(status, next_hop=None) for status in value.tables))


def test_a_route_that_is_cut_short_stays_out_of_the_cloud_until_the_newer_definition_is_there(make_cluster):
    cluster = make_cluster()
    cluster.store = Forgetful()
    cluster.restart()
    cluster.join(1, 2)
    cluster.run(60.0)
    before = cluster.shown()
    cluster.store.knows = True

    cluster.run(cluster.options.retry_limit)

    assert not any(before.values())
    assert all(cluster.shown().values())
