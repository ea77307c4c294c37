"""What one change of a route takes: a few calls, in the order that leaves no gap. Pure.

Compute Engine has no call that changes a route, and it lets any number of routes lead the same way: the one with the
lowest priority number wins, and equals share the traffic. So a *replacement* makes a second route to the new next hop
with the other one of our two priorities and then deletes the first. If the new one has the better number the traffic
moves when it appears, else when the old one goes; at no moment does a packet find nothing, or half of them the old
way. And nobody but us refuses a second route: whatever of somebody else's stands at the very destination is a
``Conflict``, even where ours would win. Only what is ours is deleted whoever stands beside it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cloudnet.model.addresses import InstanceId, Network
from cloudnet.provider.api import RouteChange, Verb
from cloudnet.provider.errors import Conflict, NotFound, Unsupported
from cloudnet_gcp import wire
from cloudnet_gcp.errors import NAME
from cloudnet_gcp.names import Marks, machine_id

PRIORITIES = (1000, 999)  # the API's own default first; the other while a replacement is made


@dataclass(frozen=True, slots=True)
class Insert:
    """Make a route."""

    name: str
    destination: Network
    instance: InstanceId
    priority: int


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a route; that there is none is success."""

    name: str


Step = Insert | Delete


def plan(change: RouteChange, standing: Collection[wire.Route], marks: Marks) -> tuple[Step, ...]:
    """Return the steps from what stands at the change's destination to what is wanted; none when it is there.

    Raises:
        Conflict: somebody else's route is there, or one of ours that leads elsewhere.
        NotFound: there is nothing to replace.
        Unsupported: the next hop names no machine.
    """
    target = change.next_hop.instance
    if target is None:
        raise Unsupported(f"the route to {change.destination} names no machine to lead to", provider=NAME)
    ours = effective_first([route for route in standing if marks.ours(route)])
    for route in standing:
        if not marks.ours(route) and not (ours and change.verb is Verb.DELETE):
            raise conflict(change, route)
    if change.verb is Verb.CREATE:
        return _create(change, target, ours, marks)
    if change.verb is Verb.REPLACE:
        return _replace(change, target, ours, marks)
    return _delete(change, target, ours, marks)


def _create(change: RouteChange, target: InstanceId, ours: Sequence[wire.Route], marks: Marks) -> tuple[Step, ...]:
    if not ours:
        return (Insert(marks.name(change.destination, target), change.destination, target, PRIORITIES[0]),)
    if machine_id(ours[0].instance) != target:
        raise conflict(change, ours[0])
    return _drop(ours[1:])


def _replace(change: RouteChange, target: InstanceId, ours: Sequence[wire.Route], marks: Marks) -> tuple[Step, ...]:
    if not ours:
        raise NotFound(f"no route of ours leads to {change.destination} in network {change.table}", provider=NAME)
    wanted = next((r for r in ours if machine_id(r.instance) == target), None)
    others = _drop([r for r in ours if r is not wanted])
    if wanted is not None:
        return others
    other = PRIORITIES[1] if ours[0].priority == PRIORITIES[0] else PRIORITIES[0]
    return (Insert(marks.name(change.destination, target), change.destination, target, other), *others)


def _delete(change: RouteChange, target: InstanceId, ours: Sequence[wire.Route], marks: Marks) -> tuple[Step, ...]:
    if not ours:
        return (Delete(marks.name(change.destination, target)),)  # reads lag behind writes
    if machine_id(ours[0].instance) != target:
        raise conflict(change, ours[0])
    return _drop(ours)


def _drop(routes: Sequence[wire.Route]) -> tuple[Step, ...]:
    """Delete the routes, the one that packets follow last: no leftover may come to the fore meanwhile."""
    return tuple(Delete(route.name) for route in reversed(routes))


def effective_first(routes: Collection[wire.Route]) -> list[wire.Route]:
    """Return the routes of one destination in the order in which the network follows them."""
    return sorted(routes, key=lambda route: (route.priority, route.name))


def conflict(change: RouteChange, route: wire.Route, *, code: str = "", status: int = 0) -> Conflict:
    where = machine_id(route.instance)
    leads = f"instance {where}" if where else route.other
    return Conflict(
        f"{change.destination} in network {change.table} already leads to {leads} by route {route.name}: "
        "remove that route or give the node another block",
        provider=NAME,
        code=code,
        status=status,
    )
