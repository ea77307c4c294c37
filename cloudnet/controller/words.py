"""The sentences that the controller tells people: what is wrong, where, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cloudnet.controller.pool_actions import (
    AddInterface,
    GiveAddresses,
    Mutation,
    RemoveInterface,
    TakeAddresses,
)
from cloudnet.model.addresses import Network, NodeName
from cloudnet.model.resources import TableStatus
from cloudnet.provider.api import Instance, RouteChange, Verb, Wanted
from cloudnet.provider.errors import (
    Conflict,
    NotFound,
    PermissionDenied,
    ProviderError,
    QuotaExceeded,
    Throttled,
    Unavailable,
    Unsupported,
)
from cloudnet.store import api

_NAMED_TABLES: Final = 3  # of those that refuse a block; the others have the same cause

RACES = (api.Conflict, api.AlreadyExists, api.NotFound)
"""A write that lost a race: the next plan decides again."""

GONE = (api.NotFound,)

_DOING = {Verb.CREATE: "create", Verb.REPLACE: "replace", Verb.DELETE: "delete"}


def refusal(error: ProviderError, change: RouteChange, limit: int | None) -> str:
    """Say why a change was refused, and the remedy."""
    doing = f"cannot {_DOING[change.verb]} {change.destination} in route table {change.table}"
    match error:
        case QuotaExceeded():
            full = f"its limit is {limit} routes" if limit else "it is full"
            return f"{doing}: {full}; raise the quota of routes per table, or remove routes ({error})"
        case PermissionDenied():
            return f"{doing}: grant the controller's credentials the right to {_DOING[change.verb]} routes ({error})"
        case Conflict():
            return f"{doing}: something else stands there; remove it or exclude the block ({error})"
        case NotFound():
            return f"{doing}: the table or the machine is gone; looking again ({error})"
        case Throttled() | Unavailable():
            return f"{doing} now; trying again by itself ({error})"
        case _:
            return f"{doing}: this cloud cannot do it ({error})"


def reading(what: str, error: ProviderError | None) -> str:
    """Say why something of the cloud cannot be read; everything that stands is left alone."""
    remedy = "trying again by itself"
    if isinstance(error, PermissionDenied):
        remedy = "check that the controller's credentials are right, not expired, and may describe them"
    elif isinstance(error, NotFound):
        remedy = "check region and network in the provider's configuration"
    return f"cannot read {what} of the cloud: {remedy}; existing routes stay ({error})"


def no_tables() -> str:
    return "the cloud shows no route table of any subnet: check region, network and permissions; VXLAN carries all"


def forwarding(node: NodeName, instance: Instance, error: ProviderError) -> str:
    remedy = "allow it"
    if isinstance(error, PermissionDenied):
        remedy = "grant the controller's credentials the right to change network interfaces"
    elif isinstance(error, Throttled | Unavailable):
        remedy = "trying again by itself"
    elif isinstance(error, Unsupported):
        remedy = "make the machine anew"
    what = f"node {node!r}: interface {instance.interface} drops pod addresses, and that cannot be changed"
    return f"{what}: {remedy} ({error})"


def never_forwards(node: NodeName, instance: Instance) -> str:
    return (
        f"node {node!r}: instance {instance.id} was made without IP forwarding, and this cloud allows it only when a "
        "machine is made: make the machine anew with it; VXLAN carries its pods"
    )


def no_instance(node: NodeName) -> str:
    return (
        f"the cloud knows no instance of node {node!r}: "
        "if the machine is gone remove the node, else check its provider id and address"
    )


def route_trouble(block: Network, statuses: Sequence[TableStatus]) -> str:
    """Say at a node why its block has no route; ``statuses`` are of one state and cause."""
    first = statuses[0]
    where = ", ".join(sorted(s.table for s in statuses)[:_NAMED_TABLES])
    more = f" and {len(statuses) - _NAMED_TABLES} more" if len(statuses) > _NAMED_TABLES else ""
    why = first.detail or f"the cloud shows it as {first.state.value}"
    return f"pods of {block} are reached over VXLAN, for there is no route in table {where}{more}: {why}"


def routed(block: Network, tables: int) -> str:
    where = "the route table" if tables == 1 else f"each of {tables} route tables"
    return f"{block} has its route in {where}: agents leave VXLAN for it once probes come back"


def network_ready() -> str:
    return "the agent has laid the VXLAN ground: pods can be scheduled here"


def network_not_ready(message: str) -> str:
    return f"pods that run keep their network, new ones wait: {message}"


def store(error: str) -> str:
    return f"cannot write to the store, trying again by itself: {error}"


def addresses_enough() -> str:
    return "the cloud gives as many addresses as pods need again"


# --- native addresses ---------------------------------------------------------------------------------------


def addresses(action: Mutation, error: ProviderError) -> str:
    """Say why native addresses were not given or taken, and the remedy."""
    match action:
        case GiveAddresses():
            doing = f"cannot get {_amount(action.wanted)} for node {action.node!r}, interface {action.interface.id}"
        case AddInterface():
            doing = f"cannot attach another interface to node {action.node!r}, instance {action.instance.id}"
        case TakeAddresses():
            doing = f"cannot give addresses of node {action.node!r} back, interface {action.interface.id}"
        case RemoveInterface():
            doing = f"cannot remove interface {action.interface.id}"
    if isinstance(error, PermissionDenied):
        return f"{doing}: grant the controller's credentials the right to; pods get addresses of pools ({error})"
    if isinstance(error, Throttled | Unavailable):
        return f"{doing} now; trying again by itself ({error})"
    if isinstance(error, QuotaExceeded):
        return f"{doing}: raise the quota, or use a larger machine type; pods get addresses of pools ({error})"
    return f"{doing}; looking again ({error})"


def _amount(wanted: Wanted) -> str:
    return f"{wanted.count} /{wanted.length}"


def adopting(node: NodeName, block: Network, error: Exception) -> str:
    return f"node {node!r} cannot use {block}, which the cloud gave it, yet: {error}"


def pod_limit(node: NodeName, text: str, used: int) -> str:
    return f"node {node!r}: annotation cloudnet.io/pod-limit is {text!r}, expected a number: going on with {used}"
