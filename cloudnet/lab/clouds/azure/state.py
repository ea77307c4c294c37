"""What the lab's Azure holds, and what every write has in common: conditions, locks, operations."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from cloudnet.clock import Clock
from cloudnet.lab.clouds.azure import bodies, words
from cloudnet.lab.clouds.azure.bodies import Json
from cloudnet.lab.clouds.azure.pending import Operation, Operations
from cloudnet.lab.clouds.azure.words import Codes
from cloudnet.lab.clouds.simulator import Answer, Request

LOCK_SECONDS = 11.0  # Retry-After of a locked route table, as users of cloud-provider-azure reported it

ROUTE_TABLE = "routeTables"
INTERFACE = "networkInterfaces"
NETWORK = "virtualNetworks"
SUBNET = "subnets"
SECURITY_GROUP = "networkSecurityGroups"
SCALE_SET_MACHINE = "scaleSetMachine"  # what is written of it is the network configuration of its interface


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


class State:
    """One subscription. One call at a time; the simulator sees to that. ``denied``: calls that it may not make."""

    def __init__(self, clock: Clock, limit: Callable[[], int], operations: Operations, codes: Codes) -> None:
        self.codes = codes
        self.denied: Callable[[], Collection[str]] = frozenset
        self.limit = limit
        self.groups: set[str] = set()
        self.machines: dict[str, Machine] = {}
        self.changed: Callable[[], None] = lambda: None
        self.operations = operations
        self._clock = clock
        self._resources: dict[str, Resource] = {}
        self._versions: dict[str, int] = {}

    def of(self, kind: str) -> Iterator[Resource]:
        return (resource for resource in self._resources.values() if resource.kind == kind)

    def in_group(self, kind: str, group: str) -> list[Resource]:
        return sorted((r for r in self.of(kind) if r.id.split("/")[4].lower() == group.lower()), key=lambda r: r.id)

    def inside(self, network: str) -> list[Resource]:
        """Return the subnets of a network."""
        return [s for s in self.of(SUBNET) if s.id.lower().startswith(f"{network.lower()}/")]

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

    # --- writes -----------------------------------------------------------------------------------------------

    def held(self, resource: str) -> bool:
        """Tell whether an operation is at work on a resource."""
        return self.operations.held(resource, now=self._clock.now()) > 0

    def refused(self, request: Request, resource: str, before: Resource | None) -> Answer | None:
        """Return why a write may not be now: another operation holds the resource, or it has changed since."""
        if self.held(resource) and not request.outsider:
            return words.busy(resource, LOCK_SECONDS)
        wanted = request.headers.get("if-match", "")
        if wanted and before is not None and wanted not in {before.etag, "*"}:
            return words.etag_mismatch(_weak(wanted), before.etag, before.id)
        return None

    def accepted(self, request: Request, resource: str, before: Resource | None, answer: Answer) -> Answer:
        """Start the operation of a write that was carried out, and say so; an outsider waits for none."""
        if request.outsider:
            self.changed()
            return answer

        def undo() -> None:
            if before is None:
                self.drop(resource)
            else:
                self.put(before.kind, before.id, before.written)

        namespace = "Microsoft.Compute" if "/microsoft.compute/" in resource.lower() else "Microsoft.Network"
        operation = self.operations.start(namespace, resource, undo, now=self._clock.now())
        self.changed()
        return Answer(answer.status, answer.body, {**answer.headers, **_headers(request, operation)})

    def deleted(self, request: Request, before: Resource | None, status: int = 202) -> Answer:
        """Delete a resource; that there is none is success."""
        if before is None:
            return Answer(204)
        if refusal := self.refused(request, before.id, before):
            return refusal
        self.drop(before.id)
        return self.accepted(request, before.id, before, Answer(status))

    def operation(self, request: Request) -> Answer:
        body = self.operations.status(request.parameters["operation"], now=self._clock.now())
        return Answer(200, body) if body else words.child_not_found(request.path)


def _headers(request: Request, operation: Operation) -> Mapping[str, str]:
    url = (
        f"http://{request.headers.get('host', '127.0.0.1')}/subscriptions/{request.parameters['subscription']}"
        f"/providers/{operation.namespace}/locations/{bodies.LOCATION}/operations/{operation.id}"
        f"?api-version={request.query['api-version']}&t=t&c=c&s=s&h=h"
    )
    found = {"Azure-AsyncOperation": url, "Azure-AsyncNotification": "Enabled"}
    if request.method == "DELETE":
        found["Location"] = url.replace("/operations/", "/operationResults/")
    return found


def _weak(etag: str) -> str:
    return etag if etag.startswith("W/") else f'W/"{etag}"'
