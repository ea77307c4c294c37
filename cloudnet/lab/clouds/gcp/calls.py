"""What the calls of Compute Engine do to a lab's project: the handler of its simulator."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial as bound
from ipaddress import ip_network
from types import MappingProxyType

from cloudnet.clock import Clock
from cloudnet.lab.clouds.gcp import aliases, dialect, lists, rules
from cloudnet.lab.clouds.gcp.rules import Refusal
from cloudnet.lab.clouds.gcp.state import URL, Document, Failure, Project, fingerprint, last, partial
from cloudnet.lab.clouds.history import History
from cloudnet.lab.clouds.simulator import Answer, Request

KEEP = 60.0  # seconds of old states, for readers that lag

_LISTS: Mapping[str, str] = MappingProxyType(
    {
        "routes": "routeList",
        "firewalls": "firewallList",
        "instances": "instanceAggregatedList",
        "subnetworks": "subnetworkAggregatedList",
        "operations": "operationList",
    }
)


@dataclass(slots=True)
class Manners:
    """How this Google behaves where the real one may be either way; tests vary it.

    ``operation_seconds`` is how long a write of the account is under way. ``quota_at_once``: whether a full quota
    refuses the call, or lets its operation fail. ``no_room`` is the code of a range without a free block.
    """

    operation_seconds: float = 0.3
    quota_at_once: bool = False
    no_room: str = "IP_SPACE_EXHAUSTED"


@dataclass(slots=True)
class Calls:
    """The handler. ``limit`` tells how many static routes fit now, ``lag`` how many seconds a read of routes lags.

    ``denied`` tells which calls the account may not make.
    """

    project: Project
    clock: Clock
    limit: Callable[[], int]
    lag: Callable[[], float] = lambda: 0.0
    denied: Callable[[], Collection[str]] = frozenset
    manners: Manners = field(default_factory=Manners)
    changed: Callable[[], None] = lambda: None
    _routes: History[Mapping[str, Document]] = field(default_factory=History)

    def __post_init__(self) -> None:
        self._remember()

    def __call__(self, request: Request) -> Answer:
        self.advance()
        verb = getattr(self, "_" + request.call.removeprefix("compute.").replace(".", "_"))
        try:
            answer: Answer = verb(request)
        except dialect.Refused as error:
            return dialect.error(error.refusal)
        if request.outsider:
            self.advance(at_once=True)
        return answer

    def advance(self, *, at_once: bool = False) -> None:
        """End the operations that are due, or all; tell whoever listens when that changed something."""
        if self.project.advance(float("inf") if at_once else self.clock.now()):
            self._remember()
            self.changed()

    def _remember(self) -> None:
        routes = {path: document for path, document in self.project.resources.items() if "/routes/" in path}
        self._routes.add(self.clock.now(), MappingProxyType(routes), keep=KEEP)

    # --- reading ------------------------------------------------------------------------------------------------

    def _get(self, request: Request) -> Answer:
        path = partial(request.path)
        if path not in self.project.resources:
            raise dialect.Refused(rules.not_found(path))
        return dialect.good(self.project.resources[path])

    _networks_get = _subnetworks_get = _instances_get = _get

    def _routes_get(self, request: Request) -> Answer:
        path = partial(request.path)
        seen = self._seen(request)
        if path not in seen:
            raise dialect.Refused(rules.not_found(path))
        return dialect.good(self._with_warnings(seen[path]))

    def _seen(self, request: Request) -> Mapping[str, Document]:
        lag = 0.0 if request.outsider else self.lag()
        return self._routes.at(self.clock.now() - lag)

    def _routes_list(self, request: Request) -> Answer:
        found = [self._with_warnings(document) for _, document in sorted(self._seen(request).items())]
        return self._page(request, "routes", self._chosen(request, found))

    def _with_warnings(self, route: Document) -> Document:
        """Return a route with what the API says of a next hop that does not work."""
        if not (instance := route.get("nextHopInstance")):
            return dict(route)
        found = self.project.find(instance)
        code = rules.hop_warning(found[1] if found else None, route)
        return {**route, "warnings": [{"code": code, "message": f"Next hop '{instance}'"}]} if code else dict(route)

    def _instances_aggregatedList(self, request: Request) -> Answer:  # noqa: N802 - the API's name
        return self._aggregated(request, "instances", "zone")

    def _subnetworks_aggregatedList(self, request: Request) -> Answer:  # noqa: N802 - the API's name
        return self._aggregated(request, "subnetworks", "region")

    def _aggregated(self, request: Request, collection: str, scope: str) -> Answer:
        """List a collection of all zones or regions, each with its own."""
        found = self._chosen(request, [document for _, document in self.project.of(collection)])
        found.sort(key=lambda each: (each[scope], each["name"]))
        page, token = lists.page(request.query, found)
        scopes: dict[str, Document] = {}
        for each in page:
            scopes.setdefault(f"{scope}s/{last(each[scope])}", {collection: []})[collection].append(each)
        return dialect.good(self._list(request, collection, scopes, token))

    def _firewalls_list(self, request: Request) -> Answer:
        return self._page(request, "firewalls", self._chosen(request, [d for _, d in self.project.of("firewalls")]))

    def _cloudresourcemanager_projects_testIamPermissions(self, request: Request) -> Answer:  # noqa: N802 - the API's name
        """Answer with those permissions that no denied call needs."""
        withheld = {rules.permission(call) for call in self.denied()}
        granted = [each for each in request.body["permissions"] if each not in withheld]
        return dialect.good({"permissions": granted} if granted else {})

    def _globalOperations_list(self, request: Request) -> Answer:  # noqa: N802 - the API's name
        scope = partial(request.path).removesuffix("/operations")
        found = [o for o in self.project.operations.values() if o["selfLink"].startswith(f"{URL}{scope}/operations/")]
        return self._page(request, "operations", self._chosen(request, found))

    def _globalOperations_get(self, request: Request) -> Answer:  # noqa: N802 - the API's name
        found = self.project.operations.get(request.parameters["operation"])
        if found is None or partial(found["selfLink"]) != partial(request.path):
            raise dialect.Refused(rules.not_found(partial(request.path)))
        return dialect.good(found)

    _zoneOperations_list = _globalOperations_list  # noqa: N815 - the API's name
    _zoneOperations_get = _regionOperations_get = _globalOperations_get  # noqa: N815 - the API's name

    def _projects_get(self, request: Request) -> Answer:
        used = sum(rules.static(document) for _, document in self.project.of("routes"))
        if request.parameters["project"] != self.project.name:
            raise dialect.Refused(rules.not_found(partial(request.path)))
        shown = self.project.server_fields(partial(request.path), "project") | {
            "name": self.project.name,
            "quotas": [
                {"metric": "NETWORKS", "limit": 15.0, "usage": float(len(list(self.project.of("networks"))))},
                {"metric": "ROUTES", "limit": float(self.limit()), "usage": float(used)},
            ],
        }
        return dialect.good(shown)

    def _chosen(self, request: Request, found: Sequence[Document]) -> list[Document]:
        lets_through = lists.parse(request.query.get("filter", ""))
        if lets_through is None:
            refusal = rules.invalid("filter", request.query["filter"], "Invalid list filter expression.")
            raise dialect.Refused(refusal)
        return [document for document in found if lets_through(document)]

    def _page(self, request: Request, collection: str, found: Sequence[Document]) -> Answer:
        page, token = lists.page(request.query, found)
        return dialect.good(self._list(request, collection, list(page), token))

    def _list(self, request: Request, collection: str, items: object, token: str) -> Document:
        path = partial(request.path)
        shown: Document = {"kind": f"compute#{_LISTS[collection]}", "id": path, "selfLink": URL + path}
        if items:
            shown["items"] = items
        if token:
            shown["nextPageToken"] = token
        return shown

    # --- writing ------------------------------------------------------------------------------------------------

    def _insert(self, request: Request, document: Document, kind: str, *, failure: Failure | None = None) -> Answer:
        """Accept a new resource: the document, what the server adds, and everything once more as whole URLs."""
        path = f"{partial(request.path)}/{document['name']}"
        made = document | self.project.server_fields(path, kind)
        effect = bound(self.project.resources.__setitem__, path, made)
        return self._begin(request, "insert", path, effect, target_id=made["id"], failure=failure)

    def _begin(
        self,
        request: Request,
        kind: str,
        target: str,
        effect: Callable[[], object],
        *,
        target_id: str = "",
        failure: Failure | None = None,
        holds: tuple[str, ...] = (),
    ) -> Answer:
        wait = 0.0 if request.outsider else self.manners.operation_seconds
        operation = self.project.begin(
            kind,
            target,
            effect,
            ends_at=self.clock.now() + wait,
            target_id=target_id,
            request_id=request.query.get("requestId", ""),
            failure=failure,
            holds=holds,
        )
        return dialect.good(operation)

    def _repeated(self, request: Request) -> Answer | None:
        """Return the operation of a request that was sent before: a second attempt writes nothing."""
        name = self.project.requests.get(request.query.get("requestId", ""))
        return dialect.good(self.project.operations[name]) if name else None

    def _check(self, *refusals: Refusal | None) -> None:
        for refusal in refusals:
            if refusal:
                raise dialect.Refused(refusal)

    def _networks_insert(self, request: Request) -> Answer:
        path = f"{partial(request.path)}/{request.body.get('name')}"
        self._check(rules.make(self.project, path, request.body))
        made = {**request.body, "selfLinkWithId": URL + path}
        if "routingConfig" in made:
            made["routingConfig"] = {"bgpBestPathSelectionMode": "LEGACY", **made["routingConfig"]}
        return self._insert(request, made, "network")

    def _subnetworks_insert(self, request: Request) -> Answer:
        body = request.body
        path = f"{partial(request.path)}/{body.get('name')}"
        self._check(rules.make(self.project, path, body))
        network = self.project.find(body["network"])
        if network is None:
            raise dialect.Refused(rules.not_found(partial(body["network"])))
        cidr = ip_network(body.get("ipCidrRange") or "10.128.0.0/20")  # a reserved range names none
        region = {"region": URL + partial(request.path).rsplit("/", 1)[0], "network": URL + network[0]}
        made = _SUBNET | body | region | {"ipCidrRange": str(cidr), "gatewayAddress": str(cidr[1])}
        return self._insert(request, made | {"fingerprint": fingerprint(made)}, "subnetwork")

    def _routes_insert(self, request: Request) -> Answer:
        if again := self._repeated(request):
            return again
        body = request.body
        path = f"{partial(request.path)}/{body.get('name')}"
        self._check(rules.make(self.project, path, body), rules.route(self.project, body))
        failure = self._over_quota()
        if failure and self.manners.quota_at_once:
            raise dialect.Refused(Refusal(failure.status, "quotaExceeded", failure.message))
        references = {name: URL + partial(body[name]) for name in ("network", "nextHopInstance") if name in body}
        return self._insert(request, {"priority": 1000} | body | references, "route", failure=failure)

    def _over_quota(self) -> Failure | None:
        held = sum(rules.static(document) for _, document in self.project.of("routes"))
        coming = sum(
            "/routes/" in each.target and each.target not in self.project.resources for each in self.project.pending
        )
        if held + coming < self.limit():
            return None
        return Failure(403, "QUOTA_EXCEEDED", f"Quota 'ROUTES' exceeded. Limit: {self.limit()}.0 globally.")

    def _firewalls_insert(self, request: Request) -> Answer:
        path = f"{partial(request.path)}/{request.body.get('name')}"
        self._check(rules.make(self.project, path, request.body))
        network = {"network": URL + partial(request.body["network"])}
        return self._insert(request, _FIREWALL | request.body | network, "firewall")

    def _instances_insert(self, request: Request) -> Answer:
        body = request.body
        path = f"{partial(request.path)}/{body.get('name')}"
        self._check(rules.make(self.project, path, body))
        zone = partial(request.path).rsplit("/", 1)[0]
        nics = [self._nic(at, nic) for at, nic in enumerate(body.get("networkInterfaces", []))]
        made = {"labelFingerprint": fingerprint({})} | body
        made |= {"zone": URL + zone, "status": "RUNNING", "networkInterfaces": nics}
        return self._insert(request, made, "instance")

    def _nic(self, number: int, wanted: Document) -> Document:
        made = {"kind": "compute#networkInterface", "name": f"nic{number}", "stackType": "IPV4_ONLY"} | wanted
        if subnet := self.project.find(wanted.get("subnetwork", "")):
            made |= {"subnetwork": URL + subnet[0], "network": subnet[1]["network"]}
        return made | {"fingerprint": fingerprint(made)}

    def _instances_stop(self, request: Request) -> Answer:
        return self._set_status(request, "stop", "TERMINATED")

    def _instances_start(self, request: Request) -> Answer:
        return self._set_status(request, "start", "RUNNING")

    def _set_status(self, request: Request, kind: str, status: str) -> Answer:
        path = partial(request.path).removesuffix(f"/{kind}")
        self._check(rules.change(self.project, path))
        document = self.project.resources[path]
        effect = bound(document.__setitem__, "status", status)
        return self._begin(request, kind, path, effect, target_id=document["id"])

    def _delete(self, request: Request) -> Answer:
        if again := self._repeated(request):
            return again
        path = partial(request.path)
        self._check(rules.change(self.project, path))
        effect = bound(self.project.resources.pop, path, None)
        return self._begin(request, "delete", path, effect, target_id=self.project.resources[path]["id"])

    _networks_delete = _subnetworks_delete = _routes_delete = _instances_delete = _delete

    def _instances_updateNetworkInterface(self, request: Request) -> Answer:  # noqa: N802 - the API's name
        if again := self._repeated(request):
            return again
        path = partial(request.path).removesuffix("/updateNetworkInterface")
        self._check(rules.change(self.project, path))
        machine = self.project.resources[path]
        name = request.query.get("networkInterface", "")
        at = next((n for n, nic in enumerate(machine["networkInterfaces"]) if nic["name"] == name), None)
        if at is None:
            raise dialect.Refused(rules.invalid("networkInterface", name, "The instance has none of that name."))
        current = machine["networkInterfaces"][at]
        self._check(rules.interface(current, request.body), aliases.judge(self.project, current, request.body))
        given = aliases.given(self.project, current, request.body)
        changed = current | ({"aliasIpRanges": given} if given is not None else {})
        changed["fingerprint"] = fingerprint(changed)
        failure = Failure(400, self.manners.no_room, "IP space is exhausted.") if given is None else None
        effect = bound(machine["networkInterfaces"].__setitem__, at, changed)
        return self._begin(
            request,
            "updateNetworkInterface",
            path,
            effect,
            target_id=machine["id"],
            failure=failure,
            holds=tuple(alias["ipCidrRange"] for alias in given or ()),
        )


_FIREWALL: Document = {"priority": 1000, "direction": "INGRESS", "disabled": False, "logConfig": {"enable": False}}
_SUBNET: Document = {
    "privateIpGoogleAccess": False,
    "privateIpv6GoogleAccess": "DISABLE_GOOGLE_ACCESS",
    "purpose": "PRIVATE",
    "stackType": "IPV4_ONLY",
    "state": "READY",
}
