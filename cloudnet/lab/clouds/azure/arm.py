"""Azure Resource Manager for a lab: the handler of its calls.

What it does like Azure, line by line and with sources: docs/reference/azure.md, "The simulator".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from typing import Any

from cloudnet.clock import Clock
from cloudnet.lab.clouds.azure import bodies, words
from cloudnet.lab.clouds.azure.bodies import Json
from cloudnet.lab.clouds.azure.pending import Operation, Operations
from cloudnet.lab.clouds.azure.words import Codes
from cloudnet.lab.clouds.simulator import Answer, Request
from cloudnet.lab.clouds.trouble import Fault

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
LOCK_SECONDS = 11.0  # Retry-After of a locked route table, as users of cloud-provider-azure reported it

_TABLE, _NIC, _VNET, _SUBNET, _MACHINE = (
    "routeTables",
    "networkInterfaces",
    "virtualNetworks",
    "subnets",
    "scaleSetMachine",
)


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource: what was written, and how often. Never changed, only replaced."""

    kind: str
    id: str
    name: str
    written: Json
    version: int = 1

    @property
    def etag(self) -> str:
        return bodies.etag(self.id, self.version)


@dataclass(frozen=True, slots=True)
class Machine:
    """A virtual machine, or one of a scale set; ``interface`` is the id of its only one."""

    id: str
    name: str
    interface: str
    mac: str
    running: bool = True


class Arm:
    """The state of one subscription and the calls on it. One call at a time; the simulator sees to that."""

    def __init__(
        self,
        clock: Clock,
        limit: Callable[[], int],
        *,
        operation_seconds: float = 1.0,
        codes: Codes = Codes(),  # noqa: B008 - a frozen value
    ) -> None:
        self.codes = codes
        self.groups: set[str] = set()
        self.machines: dict[str, Machine] = {}
        self.changed: Callable[[], None] = lambda: None
        self.operations = Operations(operation_seconds)
        self._clock = clock
        self._limit = limit
        self._resources: dict[str, Resource] = {}
        self._versions: dict[str, int] = {}

    # --- the simulator's side ---------------------------------------------------------------------------------

    def __call__(self, request: Request) -> Answer:
        """Carry a call out."""
        if request.call == "Operations_Get":
            return self._operation(request)
        group = request.parameters["group"]
        if group.lower() not in self.groups:
            return words.group_not_found(group)
        kind, _, verb = request.call.partition("_")
        return getattr(self, f"_{_VERBS[kind, verb]}")(request)  # type: ignore[no-any-return]  # all of the table are ours

    def refuse(self, request: Request, fault: Fault) -> Answer:
        return words.refuse(request, fault, self.codes)

    def credential(self, request: Request) -> str:
        return request.headers.get("authorization", "").removeprefix("Bearer ")

    def operation_failed(self, _request: Request, answer: Answer, fault: Fault) -> Answer:
        """Let the operation that was just started fail, and take back what it did."""
        operation = self.operations.newest
        if operation is not None and "Azure-AsyncOperation" in answer.headers:
            operation.error = {"code": fault.code or "InternalServerError", "message": "An error occurred."}
            operation.undo()
            self.changed()
        return answer

    # --- state, for the fabric and for tests ------------------------------------------------------------------

    def of(self, kind: str) -> Iterator[Resource]:
        return (resource for resource in self._resources.values() if resource.kind == kind)

    def find(self, resource: str) -> Resource | None:
        return self._resources.get(resource.lower())

    def put(self, kind: str, resource: str, written: Json) -> Resource:
        """Store a resource as written; it gets a version that no one of that id ever had."""
        version = self._versions[resource.lower()] = self._versions.get(resource.lower(), 0) + 1
        made = Resource(kind, resource, resource.rpartition("/")[2], written, version)
        self._resources[resource.lower()] = made
        return made

    def drop(self, resource: str) -> None:
        self._resources.pop(resource.lower(), None)

    def table_of(self, subnet: Resource) -> Resource | None:
        """Return the route table that a subnet's packets are looked up in."""
        table = (subnet.written.get("properties") or {}).get("routeTable") or {}
        return self.find(table.get("id", ""))

    # --- operations -------------------------------------------------------------------------------------------

    def _operation(self, request: Request) -> Answer:
        body = self.operations.status(request.parameters["operation"], now=self._clock.now())
        return Answer(200, body) if body else words.child_not_found(request.path)

    def _accepted(self, request: Request, before: Resource | None, holds: str, answer: Answer) -> Answer:
        """Start the operation of a write that was carried out, and say so; an outsider waits for none."""
        resource = request.path
        if request.outsider:
            self.changed()
            return answer

        def undo() -> None:
            if before is None:
                self.drop(resource)
            else:
                self.put(before.kind, before.id, before.written)

        namespace = "Microsoft.Compute" if "/microsoft.compute/" in resource.lower() else "Microsoft.Network"
        operation = self.operations.start(namespace, holds, undo, now=self._clock.now())
        self.changed()
        return Answer(answer.status, answer.body, {**answer.headers, **self._headers(request, operation)})

    def _headers(self, request: Request, operation: Operation) -> Mapping[str, str]:
        subscription = request.parameters["subscription"]
        url = (
            f"http://{request.headers.get('host', '127.0.0.1')}/subscriptions/{subscription}/providers/"
            f"{operation.namespace}/locations/{bodies.LOCATION}/operations/{operation.id}"
            f"?api-version={request.query['api-version']}&t=t&c=c&s=s&h=h"
        )
        found = {"Azure-AsyncOperation": url, "Azure-AsyncNotification": "Enabled"}
        return (
            {**found, "Location": url.replace("/operations/", "/operationResults/")}
            if request.method == "DELETE"
            else found
        )

    def _refused(self, request: Request, resource: str, before: Resource | None) -> Answer | None:
        """Return why a write may not be now: another operation holds the resource, or it has changed since."""
        if self.operations.held(resource, now=self._clock.now()) and not request.outsider:
            return words.busy(resource, LOCK_SECONDS)
        wanted = request.headers.get("if-match", "")
        if wanted and before is not None and wanted not in {before.etag, "*"}:
            return words.etag_mismatch(_weak(wanted), before.etag, before.id)
        return None

    # --- route tables -----------------------------------------------------------------------------------------

    def _table_list(self, request: Request) -> Answer:
        return Answer(200, {"value": [self._table(each) for each in self._in_group(_TABLE, request)]})

    def _table_get(self, request: Request) -> Answer:
        found = self.find(request.path)
        if found is None:
            return _absent("Microsoft.Network/routeTables", request, "table")
        return Answer(200, self._table(found), {"Etag": found.etag})

    def _table(self, of: Resource) -> Json:
        body = bodies.route_table(of.name, of.id, of.written, tag=of.etag)
        served = [bodies.reference(s.id) for s in self.of(_SUBNET) if self.table_of(s) == of]
        if served:
            body["properties"]["subnets"] = served
        if self.operations.held(of.id, now=self._clock.now()):
            body["properties"]["provisioningState"] = "Updating"
        return body

    def _table_put(self, request: Request) -> Answer:
        before = self.find(request.path)
        if refusal := self._refused(request, request.path, before) or self._bad_routes(
            bodies.routes_of(request.body)
        ):
            return refusal
        made = self.put(_TABLE, before.id if before else request.path, request.body)
        answer = self._accepted(request, before, made.id, Answer(200 if before else 201))
        return Answer(answer.status, self._table(made), answer.headers)

    def _table_delete(self, request: Request) -> Answer:
        before = self.find(request.path)
        if before is None:
            return Answer(204)
        if refusal := self._refused(request, before.id, before):
            return refusal
        if any(self.table_of(s) == before for s in self.of(_SUBNET)):
            return words.error(
                400, "InUseRouteTableCannotBeDeleted", f"Route table {before.name} is in use.", details=[]
            )
        self.drop(before.id)
        return self._accepted(request, before, before.id, Answer(202))

    def _bad_routes(self, routes: list[Json]) -> Answer | None:
        """Return why a table may not hold these routes."""
        prefixes: dict[str, str] = {}
        for each in routes:
            if problem := _bad_route(each):
                return problem
            prefix = str(each["properties"]["addressPrefix"])
            if prefix in prefixes:
                return words.duplicate(str(each.get("name")), prefixes[prefix], prefix, self.codes)
            prefixes[prefix] = str(each.get("name"))
        return words.too_many_routes(self._limit(), self.codes) if len(routes) > self._limit() else None

    # --- routes -----------------------------------------------------------------------------------------------

    def _parent(self, request: Request) -> Resource | None:
        return self.find(request.path.rpartition("/routes/")[0])

    def _route_put(self, request: Request) -> Answer:
        table = self._parent(request)
        if table is None:
            return _absent("Microsoft.Network/routeTables", request, "table")
        name = request.parameters["route"]
        others = [r for r in bodies.routes_of(table.written) if str(r.get("name")).lower() != name.lower()]
        known = len(others) < len(bodies.routes_of(table.written))
        routes = [*others, {"name": name, "properties": request.body.get("properties") or {}}]
        if refusal := self._refused(request, table.id, table) or self._bad_routes(routes):
            return refusal
        answer, made = self._with_routes(request, table, routes, Answer(200 if known else 201))
        body = bodies.route(name, f"{table.id}/routes/{name}", routes[-1], tag=made.etag)
        body["properties"]["provisioningState"] = "Updating"
        return Answer(answer.status, body, answer.headers)

    def _route_delete(self, request: Request) -> Answer:
        table = self._parent(request)
        if table is None:
            return _absent("Microsoft.Network/routeTables", request, "table")
        name = request.parameters["route"].lower()
        left = [r for r in bodies.routes_of(table.written) if str(r.get("name")).lower() != name]
        if len(left) == len(bodies.routes_of(table.written)):
            return Answer(204)
        if refusal := self._refused(request, table.id, table):
            return refusal
        return self._with_routes(request, table, left, Answer(202))[0]

    def _with_routes(
        self, request: Request, table: Resource, routes: list[Json], answer: Answer
    ) -> tuple[Answer, Resource]:
        """Write a table with other routes."""
        properties = {**(table.written.get("properties") or {}), "routes": routes}
        made = self.put(_TABLE, table.id, {**table.written, "properties": properties})
        return self._accepted(replace(request, path=table.id), table, table.id, answer), made

    # --- networks ---------------------------------------------------------------------------------------------

    def _network_get(self, request: Request) -> Answer:
        found = self.find(request.path)
        if found is None:
            return _absent("Microsoft.Network/virtualNetworks", request, "vnet")
        return Answer(200, self._network(found), {"Etag": found.etag})

    def _network(self, of: Resource) -> Json:
        inside = [s for s in self.of(_SUBNET) if s.id.lower().startswith(f"{of.id.lower()}/")]
        subnets = [bodies.subnet(s.name, s.id, s.written, tag=s.etag) for s in inside]
        return bodies.network(of.name, of.id, of.written, subnets, tag=of.etag)

    def _network_put(self, request: Request) -> Answer:
        before = self.find(request.path)
        if refusal := self._refused(request, request.path, before):
            return refusal
        made = self.put(_VNET, request.path, request.body)
        for each in request.body["properties"].get("subnets") or []:
            self.put(_SUBNET, f"{request.path}/subnets/{each['name']}", each)
        return self._accepted(request, before, made.id, Answer(200 if before else 201, self._network(made)))

    def _network_delete(self, request: Request) -> Answer:
        before = self.find(request.path)
        if before is None:
            return Answer(204)
        for each in [s for s in self.of(_SUBNET) if s.id.lower().startswith(f"{before.id.lower()}/")]:
            self.drop(each.id)
        self.drop(before.id)
        return self._accepted(request, before, before.id, Answer(202))

    def _subnet_list(self, request: Request) -> Answer:
        network = request.path.rpartition("/")[0].lower()
        found = [s for s in self.of(_SUBNET) if s.id.lower().startswith(f"{network}/")]
        return Answer(200, {"value": [bodies.subnet(s.name, s.id, s.written, tag=s.etag) for s in found]})

    def _subnet_get(self, request: Request) -> Answer:
        found = self.find(request.path)
        if found is None:
            return words.child_not_found(request.path)
        return Answer(200, bodies.subnet(found.name, found.id, found.written, tag=found.etag), {"Etag": found.etag})

    def _subnet_put(self, request: Request) -> Answer:
        before = self.find(request.path)
        if refusal := self._refused(request, request.path, before):
            return refusal
        made = self.put(_SUBNET, before.id if before else request.path, request.body)
        body = bodies.subnet(made.name, made.id, made.written, tag=made.etag)
        return self._accepted(request, before, made.id, Answer(200 if before else 201, body))

    def _subnet_delete(self, request: Request) -> Answer:
        before = self.find(request.path)
        if before is None:
            return Answer(204)
        self.drop(before.id)
        return self._accepted(request, before, before.id, Answer(202))

    # --- interfaces -------------------------------------------------------------------------------------------

    def _interface_list(self, request: Request) -> Answer:
        return Answer(200, {"value": [self.interface(each) for each in self._in_group(_NIC, request)]})

    def _interface_get(self, request: Request) -> Answer:
        found = self.find(request.path)
        if found is None:
            return _absent("Microsoft.Network/networkInterfaces", request, "interface")
        return Answer(200, self.interface(found), {"Etag": found.etag})

    def interface(self, of: Resource) -> Json:
        """Return an interface as Azure shows it, with the machine that it is attached to."""
        body = bodies.interface(of.name, of.id, of.written, tag=of.etag)
        machine = next((m for m in self.machines.values() if m.interface.lower() == of.id.lower()), None)
        if machine:
            body["properties"] |= {
                "virtualMachine": bodies.reference(machine.id),
                "macAddress": machine.mac.upper().replace(":", "-"),
                "primary": True,
            }
        return body

    def _interface_put(self, request: Request) -> Answer:
        """Write an interface: with recorded Azure this ends at once, without an operation."""
        before = self.find(request.path)
        if refusal := self._refused(request, request.path, before):
            return refusal
        addressed = self._addressed(request.body, before)
        made = self.put(_NIC, before.id if before else request.path, addressed)
        self.changed()
        return Answer(200 if before else 201, self.interface(made))

    def _addressed(self, body: Json, before: Resource | None) -> Json:
        """Give an address to each ip-configuration that asks for a dynamic one; the old one where it had one."""
        old = {c["name"]: c for c in (before.written["properties"].get("ipConfigurations") or [])} if before else {}
        taken = {
            c["properties"].get("privateIPAddress")
            for each in self.of(_NIC)
            for c in each.written["properties"].get("ipConfigurations") or []
        }
        configurations = []
        for each in body["properties"].get("ipConfigurations") or []:
            properties = dict(each["properties"])
            if "privateIPAddress" not in properties:
                had = (old.get(each["name"]) or {}).get("properties", {}).get("privateIPAddress")
                properties["privateIPAddress"] = had or self._free_address(properties["subnet"]["id"], taken)
            configurations.append({**each, "properties": properties})
        return {**body, "properties": {**body["properties"], "ipConfigurations": configurations}}

    def _free_address(self, subnet: str, taken: set[Any]) -> str:
        found = self.find(subnet)
        prefix = ip_network((found.written["properties"] if found else {}).get("addressPrefix", "10.0.0.0/24"))
        hosts = list(prefix.hosts())[3:]  # Azure keeps the first four addresses, the network's own among them
        return next(str(host) for host in hosts if str(host) not in taken)

    def _interface_delete(self, request: Request) -> Answer:
        before = self.find(request.path)
        if before is None:
            return Answer(204)
        self.drop(before.id)
        return self._accepted(request, before, before.id, Answer(200))

    # --- scale sets -------------------------------------------------------------------------------------------

    def _scale_set_interfaces(self, request: Request) -> Answer:
        prefix = request.path.rpartition("/")[0].lower() + "/virtualmachines/"
        found = [r for r in self.of(_MACHINE) if r.id.lower().startswith(prefix)]
        return Answer(200, {"value": [self.scale_set_interface(each) for each in found]})

    def scale_set_interface(self, machine: Resource) -> Json:
        """Return the interface of a scale set's machine, made from the machine's network configuration."""
        configuration = machine.written
        resource = f"{machine.id}/networkInterfaces/{configuration['name']}"
        shown = Resource(
            _NIC, resource, configuration["name"], {"properties": configuration["properties"]}, machine.version
        )
        body = self.interface(shown)
        for key in ("kind", "nicType", "auxiliaryMode", "auxiliarySku", "defaultOutboundConnectivityEnabled"):
            (body if key == "kind" else body["properties"]).pop(key)  # not in 2018-10-01
        for key in ("allowPort25Out", "vnetEncryptionSupported", "disableTcpStateTracking"):
            body["properties"].pop(key)
        return body

    def _machine_list(self, request: Request) -> Answer:
        """List machines, those of a scale set where the path names one; with their power states where asked for."""
        prefix = request.path.lower() + "/"
        found = [m for m in self.machines.values() if m.id.lower().startswith(prefix)]
        seen = request.query.get("$expand", "").lower() == "instanceview"
        return Answer(200, {"value": [self._shown(machine, view=seen) for machine in found]})

    def _shown(self, machine: Machine, *, view: bool) -> Json:
        resource = self.find(machine.id)
        if resource is not None:
            body = bodies.scale_set_machine(
                machine.id, resource.name, _configuration(resource), version=resource.version
            )
        else:
            body = bodies.machine(machine.id, machine.name, machine.interface)
        if view:
            body["properties"]["instanceView"] = bodies.instance_view(running=machine.running)
        return body

    def _machine_get(self, request: Request) -> Answer:
        found, refusal = self._machine(request)
        if found is None:
            return refusal
        body = bodies.scale_set_machine(found.id, found.name, _configuration(found), version=found.version)
        return Answer(200, body, {"Etag": body["etag"]})

    def _machine(self, request: Request) -> tuple[Resource | None, Answer]:
        number = request.parameters["number"]
        if not number.isdecimal():
            said = "Virtual Machine Scale Set VM instanceId must be a number."
            return None, words.error(400, "InvalidParameter", said, target="instanceId")
        found = self.find(request.path)
        kind = "Microsoft.Compute/virtualMachineScaleSets/virtualMachines"
        return found, words.not_found(kind, number, request.parameters["group"])

    def _machine_put(self, request: Request) -> Answer:
        before, refusal = self._machine(request)
        if before is None:
            return refusal
        tag = f'"{before.version}"'
        wanted = request.headers.get("if-match", "")
        if wanted and wanted != tag:
            return words.compute_etag_mismatch(wanted.strip('"'), tag)
        if self.operations.held(before.id, now=self._clock.now()):
            return words.error(409, "OperationNotAllowed", "Another operation is in progress.")  # assumed
        made = self.put(_MACHINE, before.id, _configured(before.written, request.body))
        body = bodies.scale_set_machine(made.id, made.name, _configuration(made), version=made.version)
        body["properties"]["provisioningState"] = "Updating"
        return self._accepted(request, before, made.id, Answer(200, body, {"Etag": body["etag"]}))

    # --- small things -----------------------------------------------------------------------------------------

    def _in_group(self, kind: str, request: Request) -> list[Resource]:
        group = request.parameters["group"].lower()
        return sorted((r for r in self.of(kind) if r.id.lower().split("/")[4] == group), key=lambda r: r.id)


_VERBS = {
    ("RouteTables", "List"): "table_list",
    ("RouteTables", "Get"): "table_get",
    ("RouteTables", "CreateOrUpdate"): "table_put",
    ("RouteTables", "Delete"): "table_delete",
    ("Routes", "CreateOrUpdate"): "route_put",
    ("Routes", "Delete"): "route_delete",
    ("VirtualNetworks", "Get"): "network_get",
    ("VirtualNetworks", "CreateOrUpdate"): "network_put",
    ("VirtualNetworks", "Delete"): "network_delete",
    ("Subnets", "List"): "subnet_list",
    ("Subnets", "Get"): "subnet_get",
    ("Subnets", "CreateOrUpdate"): "subnet_put",
    ("Subnets", "Delete"): "subnet_delete",
    ("NetworkInterfaces", "List"): "interface_list",
    ("NetworkInterfaces", "Get"): "interface_get",
    ("NetworkInterfaces", "CreateOrUpdate"): "interface_put",
    ("NetworkInterfaces", "Delete"): "interface_delete",
    ("NetworkInterfaces", "ListVirtualMachineScaleSetNetworkInterfaces"): "scale_set_interfaces",
    ("VirtualMachines", "List"): "machine_list",
    ("VirtualMachineScaleSetVMs", "List"): "machine_list",
    ("VirtualMachineScaleSetVMs", "Get"): "machine_get",
    ("VirtualMachineScaleSetVMs", "Update"): "machine_put",
}


def _weak(etag: str) -> str:
    return etag if etag.startswith("W/") else f'W/"{etag}"'


def _absent(kind: str, request: Request, parameter: str) -> Answer:
    return words.not_found(kind, request.parameters[parameter], request.parameters["group"])


def _bad_route(route: Json) -> Answer | None:
    properties = route.get("properties") or {}
    kind, hop, prefix = (properties.get(k) for k in ("nextHopType", "nextHopIpAddress", "addressPrefix"))
    if not route.get("name") or not kind or not prefix:
        return words.invalid("A route needs a name, a next hop type and an address prefix.")
    if (kind == "VirtualAppliance") != bool(hop):
        return words.invalid(
            f"Route {route['name']}: a next hop address goes with VirtualAppliance, and only with it."
        )
    if not prefix[0].isdigit() and ":" not in prefix:
        return None  # a service tag
    try:
        network = ip_network(prefix)
        if hop and ip_address(hop).version != network.version:
            return words.invalid(f"Route {route['name']}: next hop {hop} is of another family than {prefix}.")
    except ValueError:
        return words.invalid(f"Route {route['name']}: {prefix} or {hop} is not valid.", "InvalidAddressPrefixFormat")
    return None


def _configuration(machine: Resource) -> Json:
    """Return the network configuration of a scale set's machine as its model has it: without its own address."""
    properties = machine.written["properties"]
    return {
        "name": machine.written["name"],
        "properties": {
            "primary": True,
            "enableAcceleratedNetworking": False,
            "disableTcpStateTracking": False,
            "dnsSettings": {"dnsServers": []},
            "enableIPForwarding": properties.get("enableIPForwarding", False),
            "ipConfigurations": [
                {
                    "name": c["name"],
                    "properties": {
                        "subnet": c["properties"]["subnet"],
                        "privateIPAddressVersion": c["properties"].get("privateIPAddressVersion", "IPv4"),
                    },
                }
                for c in properties["ipConfigurations"]
            ],
        },
    }


def _configured(written: Json, body: Json) -> Json:
    """Return a machine's configuration with what a request changes; a request that names none changes none."""
    profile = (body.get("properties") or {}).get("networkProfileConfiguration") or {}
    for each in profile.get("networkInterfaceConfigurations") or []:
        if each.get("name") == written["name"]:
            forwarding = each["properties"].get("enableIPForwarding", False)
            return {**written, "properties": {**written["properties"], "enableIPForwarding": forwarding}}
    return written
