"""What the controller tells at a node: a route that came to trouble or out of it, a network that works or not. Pure.

It is told by what changed in the store's own records, so that a controller that starts anew, or plans anew, says
nothing that its predecessor has said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from cloudnet.controller import words
from cloudnet.model import cluster_events as events
from cloudnet.model.addresses import NodeName
from cloudnet.model.cloud_addresses import CloudAddresses
from cloudnet.model.cluster_events import ClusterEvent, Reason
from cloudnet.model.resources import (
    Cause,
    CloudNode,
    CloudRoute,
    NodeCondition,
    Resource,
    RouteState,
    TableStatus,
)

TROUBLES: Final[Mapping[RouteState, Reason]] = MappingProxyType(
    {
        RouteState.REFUSED: events.ROUTE_REFUSED,
        RouteState.CONFLICT: events.ROUTE_CONFLICT,
        RouteState.BLACK_HOLED: events.ROUTE_BLACK_HOLED,
    }
)


def of_change(old: Resource | None, new: Resource, uid: Callable[[NodeName], str]) -> Iterator[ClusterEvent]:
    """Yield what a node should be told when ``new`` is recorded in place of ``old``; ``uid`` is of nodes."""
    name = NodeName(new.node if isinstance(new, CloudRoute) else new.meta.name)
    match new:
        case CloudRoute():
            yield from of_route(old if isinstance(old, CloudRoute) else None, new, uid(name))
        case NodeCondition():
            yield from of_condition(old if isinstance(old, NodeCondition) else None, new, uid(name))
        case CloudNode():
            said = old.problem if isinstance(old, CloudNode) else ""
            if new.problem and new.problem != said:
                yield events.of_node(events.MACHINE_IMPAIRED, name, uid(name), new.problem)
        case CloudAddresses():
            cause = old.cause if isinstance(old, CloudAddresses) else Cause.NONE
            yield from _of_addresses(cause, new, uid(name))


def of_route(old: CloudRoute | None, new: CloudRoute, uid: str) -> Iterator[ClusterEvent]:
    """Yield what a node should be told of a block's routes; a cause that many tables share is told once."""
    before = {s.table: s for s in old.tables} if old else {}
    fresh = [s for s in new.tables if s.state in TROUBLES and not _same(before.get(s.table), s)]
    told: dict[tuple[RouteState, object], list[TableStatus]] = {}
    for status in fresh:
        told.setdefault((status.state, status.cause), []).append(status)
    for (state, _), statuses in told.items():
        yield events.of_node(TROUBLES[state], new.node, uid, words.route_trouble(new.cidr, statuses))
    if _is_whole(new.tables) and not _is_whole(before.values()):
        yield events.of_node(events.ROUTE_PROGRAMMED, new.node, uid, words.routed(new.cidr, len(new.tables)))


def of_condition(old: NodeCondition | None, new: NodeCondition, uid: str) -> Iterator[ClusterEvent]:
    """Yield that a node's network began to work, or stopped; a node that only joins has nothing to be told yet."""
    name = NodeName(new.meta.name)
    if new.ready and not (old and old.ready):
        yield events.of_node(events.NETWORK_READY, name, uid, words.network_ready())
    elif old is not None and old.ready and not new.ready:
        yield events.of_node(events.NETWORK_NOT_READY, name, uid, words.network_not_ready(new.message))


def _of_addresses(before: Cause, new: CloudAddresses, uid: str) -> Iterator[ClusterEvent]:
    if new.cause is before:
        return
    if new.cause is Cause.NONE:
        yield events.of_node(events.NATIVE_ADDRESSES_ENOUGH, new.meta.name, uid, words.addresses_enough())
    else:
        yield events.of_node(events.NATIVE_ADDRESSES_SHORT, new.meta.name, uid, new.detail)


def _same(before: TableStatus | None, now: TableStatus) -> bool:
    return before is not None and (before.state, before.cause) == (now.state, now.cause)


def _is_whole(tables: Iterable[TableStatus]) -> bool:
    found = [s.state for s in tables if s.state is not RouteState.WITHDRAWING]
    return bool(found) and all(state is RouteState.PROGRAMMED for state in found)
