"""Many changes of one table as a single write of the whole table. Pure.

Azure replaces a table by what is written: a route that is left out is gone. So the body is the table as it was just
read, foreign routes word for word, and the write is guarded by the etag of that read. What of the changes may not
happen (a foreign route in the way, a route that leads elsewhere by now) is sifted out first, each with its own error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cloudnet.model.addresses import Address, Network
from cloudnet.provider import writes
from cloudnet.provider.api import Owner, RouteChange, RouteTable, Verb
from cloudnet.provider.errors import NotFound, ProviderError
from cloudnet_azure.client import Json
from cloudnet_azure.errors import NAME
from cloudnet_azure.tables import Machines, destination_of, route_body, route_name

_TABLE_KEPT = ("location", "tags")
_PROPERTIES_KEPT = ("disableBgpRoutePropagation",)
_ROUTE_READ_ONLY = frozenset({"provisioningState", "hasBgpOverride"})


@dataclass(frozen=True, slots=True)
class Sifted:
    """What becomes of a batch: what may not be, and where prefixes shall lead (``None``: nowhere)."""

    errors: Mapping[RouteChange, ProviderError]
    edits: Mapping[Network, Address | None]


def sift(changes: Sequence[RouteChange], table: RouteTable, machines: Machines) -> Sifted:
    """Hold changes against the table as it was read."""
    routes = {r.destination: r for r in table.routes}
    refused: dict[RouteChange, ProviderError] = {}
    edits: dict[Network, Address | None] = {}
    for change in changes:
        route = routes.get(change.destination)
        try:
            if change.verb is Verb.DELETE:
                if route is not None and not (writes.stands(route, change) or writes.leads_nowhere(route)):
                    raise writes.in_the_way(change, route, provider=NAME)
                if route is not None:
                    edits[change.destination] = None
                continue
            if route is None and change.verb is Verb.REPLACE:
                raise NotFound(f"there is no route to {change.destination} in {table.name}", provider=NAME)
            if route is not None and not writes.stands(route, change):
                if change.verb is Verb.CREATE or route.owner is Owner.FOREIGN:
                    raise writes.in_the_way(change, route, provider=NAME)
            elif route is not None:
                continue
            edits[change.destination] = machines.address(change)
        except ProviderError as error:
            refused[change] = error
    return Sifted(refused, edits)


def table_body(table: Json, edits: Mapping[Network, Address | None], *, cluster: str) -> Json:
    """Return the body that writes a table with some routes edited, and everything else as it is."""
    properties = table.get("properties", {})
    left = dict(edits)
    routes = []
    for route in properties.get("routes") or []:
        destination = destination_of(route)
        if destination is None or destination not in edits:
            routes.append(_kept(route))
        elif (address := left.pop(destination, None)) is not None:
            routes.append({"name": route["name"], **route_body(destination, address)})
    routes += [
        {"name": route_name(cluster, destination), **route_body(destination, address)}
        for destination, address in left.items()
        if address is not None
    ]
    return {
        **{k: table[k] for k in _TABLE_KEPT if k in table},
        "properties": {**{k: properties[k] for k in _PROPERTIES_KEPT if k in properties}, "routes": routes},
    }


def _kept(route: Json) -> Json:
    properties = {k: v for k, v in route.get("properties", {}).items() if k not in _ROUTE_READ_ONLY}
    return {"name": route["name"], "properties": properties}


def last_half(changes: Sequence[RouteChange], table: RouteTable) -> tuple[RouteChange, ...]:
    """Return the last half of the changes that make a route where none stands; nothing when none does."""
    standing = {route.destination for route in table.routes}
    new = [c for c in changes if c.verb is Verb.CREATE and c.destination not in standing]
    return tuple(new[len(new) // 2 :])
