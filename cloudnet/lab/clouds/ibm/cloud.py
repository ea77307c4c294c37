"""What the VPC's calls do, and how IBM Cloud says no. What is assumed stands in docs/reference/ibm.md."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from cloudnet.clock import Clock
from cloudnet.lab.clouds.conditions import Conditions
from cloudnet.lab.clouds.ibm import bodies
from cloudnet.lab.clouds.ibm.contract import PREFIX
from cloudnet.lab.clouds.ibm.state import Machine, Route, Table, Vpc
from cloudnet.lab.clouds.simulator import Answer, Request
from cloudnet.lab.clouds.trouble import Fault, Trouble

MERGE_PATCH = "application/merge-patch+json"
PREFIX_LENGTHS = 14  # different ones in a routing table
_LARGEST_PAGE = 100
_DEFAULT_PAGE = 50
_DEFAULT_PRIORITY = 2
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_ACTIONS = frozenset({"delegate", "delegate_vpc", "deliver", "drop"})


class Refused(Exception):
    """The API says no; never leaves this module."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class IbmCloud:
    """Handler and dialect in one: the state of one VPC and its words."""

    def __init__(self, vpc: Vpc, clock: Clock, conditions: Callable[[], Conditions]) -> None:
        self.vpc = vpc
        self.changed: Callable[[], None] = _nothing
        self._clock = clock
        self._conditions = conditions
        self._calls: Mapping[str, Callable[[Request], Answer]] = {
            "list_instances": self._list_instances,
            "list_virtual_network_interfaces": self._list_virtual_interfaces,
            "list_instance_network_interfaces": self._list_old_interfaces,
            "list_subnets": self._list_subnets,
            "list_security_groups": self._list_security_groups,
            "list_vpc_routing_tables": self._list_tables,
            "list_vpc_routing_table_routes": self._list_routes,
            "create_vpc_routing_table_route": self._create_route,
            "update_vpc_routing_table_route": self._update_route,
            "delete_vpc_routing_table_route": self._delete_route,
            "update_virtual_network_interface": self._update_virtual_interface,
            "update_instance_network_interface": self._update_old_interface,
        }

    def __call__(self, request: Request) -> Answer:
        try:
            self._check_form(request)
            return self._calls[request.call](request)
        except Refused as refused:
            return self._error(refused.status, refused.code, refused.message)

    # --- the dialect ----------------------------------------------------------------------------------------

    def credential(self, request: Request) -> str:
        return request.headers.get("authorization", "").removeprefix("Bearer ")

    def refuse(self, request: Request, fault: Fault) -> Answer:
        status, code, message = _REFUSALS[fault.trouble]
        return self._error(status, fault.code or code, f"{message} ({request.call})", retry_after=fault.retry_after)

    def operation_failed(self, request: Request, answer: Answer, fault: Fault) -> Answer:  # noqa: ARG002 - the protocol's
        """Let what was accepted end in failure: the route that a create made is never in force."""
        if request.call == "create_vpc_routing_table_route" and isinstance(answer.body, dict):
            table = self.vpc.tables[request.parameters["routing_table_id"]]
            table.routes.pop(answer.body["id"], None)
            self.changed()
        return Answer(answer.status, {**answer.body, "lifecycle_state": "failed"} if answer.body else None)

    def _error(self, status: int, code: str, message: str, *, retry_after: float | None = None) -> Answer:
        trace = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{code} {message}"))
        headers = {"X-Request-Id": trace}
        if retry_after is not None:
            headers["Retry-After"] = f"{max(1, round(retry_after))}"
        return Answer(status, bodies.error(code, message, trace=trace), headers)

    def _check_form(self, request: Request) -> None:
        """Every call names the API's version, and a patch says that it is one."""
        if request.query.get("generation") != "2" or not re.fullmatch(
            r"\d{4}-\d\d-\d\d", request.query.get("version", "")
        ):
            raise Refused(400, "bad_field", "expected the query parameters version and generation")
        kind = request.headers.get("content-type", "")
        if request.method == "PATCH" and kind != MERGE_PATCH:
            raise Refused(415, "unsupported_media_type", f"expected {MERGE_PATCH}, found {kind!r}")

    # --- lists ----------------------------------------------------------------------------------------------

    def _page(self, request: Request, name: str, items: Iterable[bodies.Body]) -> Answer:
        limit = int(request.query.get("limit", _DEFAULT_PAGE))
        if not 1 <= limit <= _LARGEST_PAGE:
            raise Refused(400, "bad_field", f"limit: expected 1 to {_LARGEST_PAGE}, found {limit}")
        path = request.path.removeprefix(PREFIX)
        start = request.query.get("start", "")
        return Answer(200, bodies.page(self.vpc, path, name, list(items), start=start, limit=limit))

    def _list_instances(self, request: Request) -> Answer:
        here = request.query.get("vpc.id", self.vpc.id) == self.vpc.id
        machines = self.vpc.machines.values() if here else ()
        return self._page(request, "instances", (bodies.machine(self.vpc, m) for m in machines))

    def _list_virtual_interfaces(self, request: Request) -> Answer:
        interfaces = (i for i in self.vpc.interfaces.values() if not i.old)
        shown = (bodies.virtual_interface(self.vpc, i) for i in interfaces)
        return self._page(request, "virtual_network_interfaces", shown)

    def _list_old_interfaces(self, request: Request) -> Answer:
        machine = self._machine(request)
        interface = self.vpc.interfaces[machine.interface]
        return Answer(200, {"network_interfaces": [bodies.old_interface(self.vpc, machine, interface)]})

    def _list_subnets(self, request: Request) -> Answer:
        here = request.query.get("vpc.id", self.vpc.id) == self.vpc.id
        subnets = self.vpc.subnets.values() if here else ()
        return self._page(request, "subnets", (bodies.subnet(self.vpc, s) for s in subnets))

    def _list_security_groups(self, request: Request) -> Answer:
        here = request.query.get("vpc.id", self.vpc.id) == self.vpc.id
        groups = self.vpc.groups.values() if here else ()
        return self._page(request, "security_groups", (bodies.security_group(self.vpc, g) for g in groups))

    def _list_tables(self, request: Request) -> Answer:
        self._check_vpc(request)
        now = self._clock.now()
        shown = (bodies.table(self.vpc, t, now) for t in self.vpc.tables.values())
        return self._page(request, "routing_tables", shown)

    def _list_routes(self, request: Request) -> Answer:
        table, now = self._table(request), self._clock.now()
        shown = (bodies.route(self.vpc, table.id, r, now) for r in table.standing(now))
        return self._page(request, "routes", shown)

    # --- routes ---------------------------------------------------------------------------------------------

    def _create_route(self, request: Request) -> Answer:
        table, now = self._table(request), self._clock.now()
        made = self._route_from(request.body, table)
        made.stable_at = now + self._conditions().read_delay
        table.routes[made.id] = made
        self.changed()
        return Answer(201, bodies.route(self.vpc, table.id, made, now))

    def _route_from(
        self,
        body: Any,  # parsed JSON, whatever came
        table: Table,
    ) -> Route:
        """Return the route that a create asks for.

        Raises:
            Refused: the API would not make it.
        """
        destination = _network(_field(body, "destination"))
        zone = str(_field(body, "zone").get("name", ""))
        if zone not in {s.zone for s in self.vpc.subnets.values()}:
            raise Refused(404, "not_found", f"zone {zone!r} does not exist in region {self.vpc.region}")
        action, priority = str(body.get("action", "deliver")), int(body.get("priority", _DEFAULT_PRIORITY))
        if action not in _ACTIONS or not 0 <= priority <= 4:  # noqa: PLR2004 - IBM's range
            raise Refused(400, "bad_field", f"action {action!r} or priority {priority} is out of range")
        route_id = self.vpc.new("r010-")
        name = str(body.get("name", route_id))
        address = _next_hop(body, action)
        route = Route(route_id, name, destination, zone, action, address, priority, bool(body.get("advertise")))
        self._check_room(route, table)
        return route

    def _check_room(self, route: Route, table: Table) -> None:
        if not _NAME.fullmatch(route.name) or route.name.startswith("ibm-"):
            raise Refused(400, "bad_field", f"name {route.name!r} is not allowed")
        standing = table.standing(self._clock.now())
        if any(r.name == route.name for r in standing):
            raise Refused(400, "validation_unique_failed", f"a route is named {route.name!r} already")
        alike = table.alike(route.destination, route.zone, route.priority)
        if len(alike) > 1 or any(r.action != "deliver" for r in (*alike, *([route] if alike else []))):
            raise Refused(400, "conflict_field", f"{route.destination} has two routes of that priority already")
        if len(standing) >= self._conditions().routes_per_table:
            raise Refused(400, "over_quota", "the quota of routes per routing table is reached")
        lengths = {r.destination.prefixlen for r in standing}
        if route.destination.prefixlen not in lengths and len(lengths) >= PREFIX_LENGTHS:
            raise Refused(400, "over_quota", f"a routing table takes no more than {PREFIX_LENGTHS} prefix lengths")

    def _update_route(self, request: Request) -> Answer:
        table, now = self._table(request), self._clock.now()
        route = self._route(request, table)
        body = request.body or {}
        if "next_hop" in body:
            route.address = _next_hop(body, route.action)
            route.stable_at, route.changed = now + self._conditions().read_delay, True
        route.priority = int(body.get("priority", route.priority))
        route.advertise = bool(body.get("advertise", route.advertise))
        self.changed()
        return Answer(200, bodies.route(self.vpc, table.id, route, now))

    def _delete_route(self, request: Request) -> Answer:
        table = self._table(request)
        route = self._route(request, table)
        if route.service:
            raise Refused(
                409, "route_has_creator", f"route {route.name} was made by a service, which has to delete it"
            )
        route.gone_at = self._clock.now() + self._conditions().read_delay
        table.standing(self._clock.now())
        self.changed()
        return Answer(204)

    # --- interfaces -----------------------------------------------------------------------------------------

    def _update_virtual_interface(self, request: Request) -> Answer:
        interface = self.vpc.interfaces.get(request.parameters["id"])
        if interface is None or interface.old:
            raise Refused(404, "not_found", f"virtual network interface {request.parameters['id']} does not exist")
        interface.spoofing = bool(request.body.get("allow_ip_spoofing", interface.spoofing))
        self.changed()
        return Answer(200, bodies.virtual_interface(self.vpc, interface))

    def _update_old_interface(self, request: Request) -> Answer:
        machine = self._machine(request)
        interface = self.vpc.interfaces[machine.interface]
        if not interface.old:  # its list shows a read-only shadow of the attachment
            raise Refused(409, "conflict", f"instance {machine.id} has network attachments: change those")
        if interface.id != request.parameters["id"]:
            raise Refused(404, "not_found", f"network interface {request.parameters['id']} does not exist")
        interface.spoofing = bool(request.body.get("allow_ip_spoofing", interface.spoofing))
        self.changed()
        return Answer(200, bodies.old_interface(self.vpc, machine, interface))

    # --- what a path names ----------------------------------------------------------------------------------

    def _check_vpc(self, request: Request) -> None:
        name = request.parameters["vpc_id"]
        if name != self.vpc.id:
            raise Refused(404, "not_found", f"VPC {name} does not exist")

    def _table(self, request: Request) -> Table:
        self._check_vpc(request)
        table = self.vpc.tables.get(request.parameters["routing_table_id"])
        if table is None:
            raise Refused(404, "not_found", f"routing table {request.parameters['routing_table_id']} does not exist")
        return table

    def _route(self, request: Request, table: Table) -> Route:
        table.standing(self._clock.now())
        route = table.routes.get(request.parameters["id"])
        if route is None or route.gone_at is not None:
            raise Refused(404, "not_found", f"route {request.parameters['id']} does not exist")
        return route

    def _machine(self, request: Request) -> Machine:
        machine = self.vpc.machines.get(request.parameters["instance_id"])
        if machine is None:
            raise Refused(404, "not_found", f"instance {request.parameters['instance_id']} does not exist")
        return machine


_REFUSALS: Mapping[Trouble, tuple[int, str, str]] = {
    Trouble.THROTTLE: (429, "too_many_requests", "too many requests"),
    Trouble.PERMISSION: (403, "not_authorized", "the request is not authorized"),
    Trouble.AUTHENTICATION: (401, "not_authenticated", "the token is not valid"),
    Trouble.QUOTA: (400, "over_quota", "the quota is reached"),
    Trouble.NOT_FOUND: (404, "not_found", "the resource does not exist"),
    Trouble.CONFLICT: (409, "conflict", "the resource is in a state that does not allow this"),
    Trouble.PRECONDITION: (412, "precondition_failed", "the ETag does not match"),
    Trouble.UNAVAILABLE: (503, "service_unavailable", "the service is not available"),
    Trouble.INTERNAL: (500, "internal_error", "an internal error happened"),
}


def _nothing() -> None:
    """Nobody listens yet."""


def _field(
    body: Any,  # parsed JSON, whatever came
    name: str,
) -> Any:  # JSON
    if not isinstance(body, dict) or name not in body:
        raise Refused(400, "missing_field", f"{name} is required")
    return body[name]


def _network(text: str) -> IPv4Network:
    try:
        return IPv4Network(text)
    except ValueError as error:
        raise Refused(400, "bad_field", f"destination: {error}") from error


def _next_hop(
    body: Mapping[str, Any],  # parsed JSON
    action: str,
) -> IPv4Address:
    if action != "deliver":
        return IPv4Address("0.0.0.0")
    text = str(_field(body, "next_hop").get("address", ""))
    try:
        address = IPv4Address(text)
    except ValueError as error:
        raise Refused(400, "bad_field", f"next_hop: {error}") from error
    if not int(address):
        raise Refused(400, "bad_field", "next_hop: 0.0.0.0 delivers to nobody")
    return address
