"""Calls on route tables and their routes."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

from cloudnet.lab.clouds.azure import bodies, words
from cloudnet.lab.clouds.azure.bodies import Json
from cloudnet.lab.clouds.azure.state import ROUTE_TABLE, SUBNET, Resource, State
from cloudnet.lab.clouds.simulator import Answer, Request


def listed(state: State, request: Request) -> Answer:
    found = state.in_group(ROUTE_TABLE, request.parameters["group"])
    return Answer(200, {"value": [shown(state, each) for each in found]})


def get(state: State, request: Request) -> Answer:
    found = state.find(request.path)
    return Answer(200, shown(state, found), {"Etag": found.etag}) if found else _absent(request)


def put(state: State, request: Request) -> Answer:
    before = state.find(request.path)
    wrong = _wrong(state, bodies.routes_of(request.body))
    if refusal := state.refused(request, request.path, before) or wrong:
        return refusal
    made = state.put(ROUTE_TABLE, before.id if before else request.path, request.body)
    answer = state.accepted(request, made.id, before, Answer(200 if before else 201))
    return replace(answer, body=shown(state, made))


def delete(state: State, request: Request) -> Answer:
    before = state.find(request.path)
    if before and any(state.table_of(s) == before for s in state.of(SUBNET)):
        said = f"Route table {before.name} is in use and cannot be deleted."
        return words.error(400, "InUseRouteTableCannotBeDeleted", said, details=[])
    return state.deleted(request, before)


def put_route(state: State, request: Request) -> Answer:
    table, name = _parent(state, request), request.parameters["route"]
    if table is None:
        return _absent(request)
    others = _others(table, name)
    route = {"name": name, "properties": request.body.get("properties") or {}}
    known = len(others) < len(bodies.routes_of(table.written))
    if refusal := state.refused(request, table.id, table) or _wrong(state, [*others, route]):
        return refusal
    made = _with_routes(state, table, [*others, route])
    body = bodies.route(name, f"{table.id}/routes/{name}", route, tag=made.etag)
    body["properties"]["provisioningState"] = "Updating"
    return state.accepted(request, table.id, table, Answer(200 if known else 201, body))


def delete_route(state: State, request: Request) -> Answer:
    table = _parent(state, request)
    if table is None:
        return _absent(request)
    left = _others(table, request.parameters["route"])
    if len(left) == len(bodies.routes_of(table.written)):
        return Answer(204)
    if refusal := state.refused(request, table.id, table):
        return refusal
    _with_routes(state, table, left)
    return state.accepted(request, table.id, table, Answer(202))


def shown(state: State, table: Resource) -> Json:
    """Return a table as Azure shows it, with the subnets that it serves."""
    body = bodies.route_table(table.name, table.id, table.written, tag=table.etag)
    served = [bodies.reference(s.id) for s in state.of(SUBNET) if state.table_of(s) == table]
    if served:
        body["properties"]["subnets"] = served
    if state.held(table.id):
        body["properties"]["provisioningState"] = "Updating"
    return body


def _parent(state: State, request: Request) -> Resource | None:
    return state.find(request.path[: request.path.lower().rindex("/routes/")])


def _others(table: Resource, name: str) -> list[Json]:
    return [r for r in bodies.routes_of(table.written) if str(r.get("name")).lower() != name.lower()]


def _with_routes(state: State, table: Resource, routes: list[Json]) -> Resource:
    properties = {**(table.written.get("properties") or {}), "routes": routes}
    return state.put(ROUTE_TABLE, table.id, {**table.written, "properties": properties})


def _wrong(state: State, routes: list[Json]) -> Answer | None:
    """Return why a table may not hold these routes."""
    prefixes: dict[str, str] = {}
    for each in routes:
        if problem := _wrong_route(each):
            return problem
        prefix, name = str(each["properties"]["addressPrefix"]), str(each["name"])
        if prefix in prefixes:
            return words.duplicate(name, prefixes[prefix], prefix, state.codes)
        prefixes[prefix] = name
    limit = state.limit()
    return words.too_many_routes(limit, state.codes) if len(routes) > limit else None


def _wrong_route(route: Json) -> Answer | None:
    properties = route.get("properties") or {}
    kind, hop, prefix = (properties.get(k) for k in ("nextHopType", "nextHopIpAddress", "addressPrefix"))
    if not route.get("name") or not kind or not prefix:
        return words.invalid("A route needs a name, a next hop type and an address prefix.")
    if (kind == "VirtualAppliance") != bool(hop):
        return words.invalid(f"Route {route['name']}: a next hop address goes with VirtualAppliance alone.")
    if not prefix[0].isdigit() and ":" not in prefix:
        return None  # a service tag
    try:
        network = ip_network(prefix)
        if hop and ip_address(hop).version != network.version:
            return words.invalid(f"Route {route['name']}: next hop {hop} is of another family than {prefix}.")
    except ValueError:
        return words.invalid(f"Route {route['name']}: {prefix} or {hop} is not valid.", "InvalidAddressPrefixFormat")
    return None


def _absent(request: Request) -> Answer:
    return words.not_found("Microsoft.Network/routeTables", request.parameters["table"], request.parameters["group"])
