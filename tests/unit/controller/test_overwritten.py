"""Somebody overwrites what the controller writes: it is written again, at the pace of any plan."""

from __future__ import annotations

from dataclasses import replace

from cloudnet.controller import carry
from cloudnet.controller.actions import Changed, WriteStore
from cloudnet.model.resources import CloudRoute, RouteState
from cloudnet.store.api import Event, EventType, change


def spoil(cluster, name):
    """Overwrite a route's record; return what the controller hears of it."""

    def spoilt(route):
        return replace(route, tables=tuple(replace(one, state=RouteState.PENDING) for one in route.tables))

    stored = change(cluster.store, CloudRoute, name, spoilt)
    return Changed((Event(EventType.PUT, stored.value, stored.revision),))


def writes(loop, now):
    actions, _ = loop.step(now)
    return [action for action in actions if isinstance(action, WriteStore)]


def test_an_overwriting_that_is_heard_before_the_stores_answer_is_answered_no_sooner_than_any_other(cluster):
    cluster.join(0, 1)
    cluster.run()
    loop, now, moment = cluster.sim.loop, cluster.clock.now(), cluster.options.debounce
    name = cluster.store.list(CloudRoute).items[0].value.meta.name
    loop.receive([spoil(cluster, name)])
    assert not writes(loop, now)
    (write,) = writes(loop, now + moment)
    answer = carry.store(write, cluster.store, lambda: True)

    loop.receive([spoil(cluster, name), answer])

    assert not writes(loop, now + moment)
    assert writes(loop, now + 2 * moment)
