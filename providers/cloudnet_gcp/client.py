"""The calls that this plugin makes to Compute Engine, and the only place that knows its SDK, imported on first use.

Every attempt passes the call budget and every failure leaves as one of ``cloudnet.provider.errors``. The SDK's own
retries are off: two layers of retries multiply, and only ours knows the budget.

Two traps of google-cloud-compute are met here. A method that waits for its operation (``insert``) polls through a
client of its own that forgets the endpoint, so only the plain methods (``insert_unary``) are used, and operations are
read by clients that we make. And its messages drop empty lists, so the one body in which an empty list means
something, the alias ranges of an interface, is sent as JSON by the same session.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from cloudnet.clock import Clock
from cloudnet.errors import BadInput, MissingTool
from cloudnet.provider.budget import Budget, Kind
from cloudnet.provider.errors import PermissionDenied, ProviderError, Unavailable
from cloudnet.provider.refusals import Refusal
from cloudnet.retry import Retry
from cloudnet_gcp import errors, names, read, wire
from cloudnet_gcp.config import GcpConfig
from cloudnet_gcp.steps import Insert

T = TypeVar("T")

ENDPOINT = "https://compute.googleapis.com"
RESOURCE_MANAGER = "https://cloudresourcemanager.googleapis.com"
SCOPES = (
    "https://www.googleapis.com/auth/compute",
    "https://www.googleapis.com/auth/cloud-platform.read-only",  # to ask what we may do
)
A_PAGE = 500  # the most that any list gives
NAMES_A_FILTER = 50  # operations asked for at once: their names make a URL of 3 kB


@dataclass(frozen=True, slots=True)
class Connection:
    """The SDK's clients and its module of messages; untyped, because its types take mypy minutes to read."""

    sdk: Any
    routes: Any
    instances: Any
    projects: Any
    subnetworks: Any
    networks: Any
    firewalls: Any
    global_operations: Any
    zone_operations: Any
    session: Any  # google.auth's AuthorizedSession


class Client:
    """Compute Engine, one method a call. ``deadline`` is seconds for all attempts; ``None`` the configured one."""

    def __init__(
        self, config: GcpConfig, connection: Connection, *, clock: Clock, budget: Budget, rng: random.Random
    ) -> None:
        self.budget = budget
        self._config = config
        self._connection = connection
        self._sdk = connection.sdk
        self._retry = Retry(clock, rng, deadline=config.deadline)
        self._rng = rng
        self._options = {"retry": None, "timeout": config.timeout}
        # in filters: a regular expression, because the URL's host is not always the same
        self._network = f".*/projects/{config.project}/global/networks/{config.network}"

    # --- reading ------------------------------------------------------------------------------------------------

    def routes(self) -> list[wire.Route]:
        """Return every route of the network."""
        request = self._sdk.ListRoutesRequest(
            project=self._config.project, filter=f'network eq "{self._network}"', max_results=A_PAGE
        )
        pages = self._pages("compute.routes.list", self._connection.routes.list, request)
        return [read.route(answer) for page in pages for answer in page.items]

    def route(self, name: str) -> wire.Route:
        """Return one route by its name, in whatever network it is."""
        request = self._sdk.GetRouteRequest(project=self._config.project, route=name)
        return self._read(
            "compute.routes.get", lambda: read.route(self._connection.routes.get(request, **self._options))
        )

    def machines(self, wanted: Sequence[str] = ()) -> list[wire.Machine]:
        """Return the project's machines of these names; of all names when none is given."""
        request = self._sdk.AggregatedListInstancesRequest(project=self._config.project, max_results=A_PAGE)
        if wanted:
            request.filter = f'name eq "{"|".join(wanted)}"'
        pages = self._pages("compute.instances.aggregatedList", self._connection.instances.aggregated_list, request)
        scopes = (scope for page in pages for scope in dict(page.items).values())
        return [read.machine(answer) for scope in scopes for answer in scope.instances]

    def machine(self, instance: str) -> wire.Machine:
        zone, _, name = instance.partition("/")
        request = self._sdk.GetInstanceRequest(project=self._config.project, zone=zone, instance=name)
        return self._read(
            "compute.instances.get", lambda: read.machine(self._connection.instances.get(request, **self._options))
        )

    def subnet(self, subnet: str) -> wire.Subnet:
        region, _, name = subnet.partition("/")
        request = self._sdk.GetSubnetworkRequest(project=self._config.project, region=region, subnetwork=name)
        send = self._connection.subnetworks.get
        return self._read("compute.subnetworks.get", lambda: read.subnet(send(request, **self._options)))

    def subnets(self) -> list[wire.Subnet]:
        """Return the subnets of the network in all regions."""
        request = self._sdk.AggregatedListSubnetworksRequest(
            project=self._config.project, filter=f'network eq "{self._network}"', max_results=A_PAGE
        )
        send = self._connection.subnetworks.aggregated_list
        pages = self._pages("compute.subnetworks.aggregatedList", send, request)
        scopes = (scope for page in pages for scope in dict(page.items).values())
        return [read.subnet(answer) for scope in scopes for answer in scope.subnetworks]

    def network(self) -> wire.VpcNetwork:
        request = self._sdk.GetNetworkRequest(project=self._config.project, network=self._config.network)
        send = self._connection.networks.get
        return self._read("compute.networks.get", lambda: read.network(send(request, **self._options)))

    def firewalls(self) -> list[wire.Firewall]:
        """Return the firewall rules of the network; what policies say is not among them."""
        request = self._sdk.ListFirewallsRequest(
            project=self._config.project, filter=f'network eq "{self._network}"', max_results=A_PAGE
        )
        pages = self._pages("compute.firewalls.list", self._connection.firewalls.list, request)
        return [read.firewall(answer) for page in pages for answer in page.items]

    def granted(self, wanted: Sequence[str]) -> frozenset[str]:
        """Return which of these IAM permissions we have in the project; asking needs none and changes nothing."""
        action = "cloudresourcemanager.projects.testIamPermissions"
        url = f"{where(action, self._config)}/v1/projects/{self._config.project}:testIamPermissions"
        body = json.dumps({"permissions": list(wanted)})

        def ask() -> frozenset[str]:
            return frozenset(json.loads(self._send("POST", url, {}, body).content).get("permissions", ()))

        return self._read(action, ask)

    def operations(self, wanted: Sequence[str], *, zone: str = "") -> list[wire.Operation]:
        """Return these operations as they stand; one call for fifty."""
        found: list[wire.Operation] = []
        for at in range(0, len(wanted), NAMES_A_FILTER):
            chosen = f'name eq "{"|".join(wanted[at : at + NAMES_A_FILTER])}"'
            found += self._operations(chosen, zone)
        return found

    def _operations(self, chosen: str, zone: str) -> list[wire.Operation]:
        where = {"project": self._config.project, "filter": chosen, "max_results": A_PAGE}
        if zone:
            request = self._sdk.ListZoneOperationsRequest(zone=zone, **where)
            pages = self._pages("compute.zoneOperations.list", self._connection.zone_operations.list, request)
        else:
            request = self._sdk.ListGlobalOperationsRequest(**where)
            pages = self._pages("compute.globalOperations.list", self._connection.global_operations.list, request)
        return [read.operation(answer) for page in pages for answer in page.items]

    def routes_quota(self) -> wire.Quota | None:
        """Return the project's quota of static routes, one attempt; nothing when the project tells none."""
        request = self._sdk.GetProjectRequest(project=self._config.project)
        return self._read(
            "compute.projects.get",
            lambda: read.quota(self._connection.projects.get(request, **self._options), "ROUTES"),
            deadline=0.0,
        )

    # --- writing ------------------------------------------------------------------------------------------------

    def request_id(self) -> str:
        """Return an id for a write. With it a second attempt finds the first one's operation instead of writing."""
        return str(UUID(int=self._rng.getrandbits(128), version=4))

    def insert_route(
        self, route: Insert, *, request_id: str, description: str, deadline: float | None = None
    ) -> wire.Operation:
        project = self._config.project
        body = self._sdk.Route(
            name=route.name,
            description=description,
            network=f"projects/{project}/global/networks/{self._config.network}",
            dest_range=str(route.destination),
            priority=route.priority,
            next_hop_instance=names.machine_url(project, route.instance),
        )
        request = self._sdk.InsertRouteRequest(project=project, route_resource=body, request_id=request_id)
        send = self._connection.routes.insert_unary
        return self._write("compute.routes.insert", lambda: read.operation(send(request, **self._options)), deadline)

    def delete_route(self, name: str, *, request_id: str, deadline: float | None = None) -> wire.Operation:
        request = self._sdk.DeleteRouteRequest(project=self._config.project, route=name, request_id=request_id)
        send = self._connection.routes.delete_unary
        return self._write("compute.routes.delete", lambda: read.operation(send(request, **self._options)), deadline)

    def set_aliases(
        self, instance: str, nic: wire.Nic, aliases: Sequence[wire.Alias], *, request_id: str
    ) -> wire.Operation:
        """Give an interface exactly these alias ranges, unless it changed since its fingerprint was read."""
        zone, _, name = instance.partition("/")
        url = (
            f"{self._config.endpoint_url or ENDPOINT}/compute/v1/projects/{self._config.project}/zones/{zone}"
            f"/instances/{name}/updateNetworkInterface"
        )
        body = {
            "fingerprint": nic.fingerprint,
            "aliasIpRanges": [
                {"ipCidrRange": a.cidr} | ({"subnetworkRangeName": a.range} if a.range else {}) for a in aliases
            ],
        }
        query = {"networkInterface": nic.name, "requestId": request_id}
        return self._write(
            "compute.instances.updateNetworkInterface", lambda: self._patch(url, query, json.dumps(body)), None
        )

    def _patch(self, url: str, query: dict[str, str], body: str) -> wire.Operation:
        answer = self._send("PATCH", url, query, body)
        return read.operation(self._sdk.Operation.from_json(answer.content, ignore_unknown_fields=True))

    def _send(self, method: str, url: str, query: dict[str, str], body: str) -> Any:  # a response of requests
        from google.api_core.exceptions import from_http_response  # noqa: PLC0415  loaded by then

        answer = self._connection.session.request(
            method,
            url,
            params=query,
            data=body,
            headers={"Content-Type": "application/json"},
            timeout=self._config.timeout,
        )
        if answer.status_code >= 400:  # noqa: PLR2004  HTTP's errors
            raise from_http_response(answer)
        return answer

    # --- every call ---------------------------------------------------------------------------------------------

    def _pages(self, action: str, method: Callable[..., Any], request: Any) -> Iterator[Any]:  # the SDK's own objects
        while True:
            page = self._read(action, lambda: method(request, **self._options))
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def _read(self, action: str, function: Callable[[], T], *, deadline: float | None = None) -> T:
        return self._call(action, Kind.READ, function, deadline)

    def _write(self, action: str, function: Callable[[], T], deadline: float | None) -> T:
        return self._call(action, Kind.WRITE, function, deadline)

    def _call(self, action: str, kind: Kind, function: Callable[[], T], deadline: float | None) -> T:
        def attempt() -> T:
            return translated(action, function, self._config)

        return self._retry.call(lambda: self.budget.call(action, kind, attempt), deadline=deadline)


def connect(config: GcpConfig) -> Connection:
    """Return the SDK's clients; nothing is sent yet.

    Raises:
        MissingTool: google-cloud-compute is not installed.
        BadInput: the file with the credentials is not one.
        PermissionDenied: there are no credentials.
    """
    try:
        from google.api_core.client_options import ClientOptions  # noqa: PLC0415  an SDK is loaded when it is used
        from google.auth.transport.requests import AuthorizedSession  # noqa: PLC0415  the same
        from google.cloud import compute_v1  # noqa: PLC0415  the same
    except ImportError as error:
        raise MissingTool(
            f"the gcp provider needs google-cloud-compute: pip install 'cloudnet[gcp]' ({error})"
        ) from error
    options = {
        "credentials": identity(config),
        "client_options": ClientOptions(api_endpoint=config.endpoint_url or ENDPOINT),
    }
    return Connection(
        sdk=compute_v1,
        routes=compute_v1.RoutesClient(**options),
        instances=compute_v1.InstancesClient(**options),
        projects=compute_v1.ProjectsClient(**options),
        subnetworks=compute_v1.SubnetworksClient(**options),
        networks=compute_v1.NetworksClient(**options),
        firewalls=compute_v1.FirewallsClient(**options),
        global_operations=compute_v1.GlobalOperationsClient(**options),
        zone_operations=compute_v1.ZoneOperationsClient(**options),
        session=AuthorizedSession(options["credentials"]),
    )


def identity(config: GcpConfig) -> Any:  # google.auth's Credentials
    """Return whom we call as: the configured token or file, else what the machine offers.

    Raises:
        BadInput: the file is no service account's key.
        PermissionDenied: there is nothing.
    """
    import google.auth  # noqa: PLC0415  an SDK is loaded when it is used
    from google.auth.exceptions import DefaultCredentialsError  # noqa: PLC0415  the same
    from google.oauth2 import credentials, service_account  # noqa: PLC0415  the same

    if config.access_token:
        return credentials.Credentials(token=config.access_token)
    if config.credentials_file:
        try:
            return service_account.Credentials.from_service_account_file(config.credentials_file, scopes=SCOPES)
        except (OSError, ValueError) as error:
            raise BadInput(f"expected a service account's key: {error}", path="credentials_file") from error
    try:
        return google.auth.default(scopes=SCOPES)[0]
    except DefaultCredentialsError as error:
        raise PermissionDenied(
            "there are no credentials: give the machine a service account or set credentials_file",
            provider=errors.NAME,
        ) from error


def translated(action: str, function: Callable[[], T], config: GcpConfig) -> T:
    """Return what ``function`` returns, its failure as one of our errors."""
    from google.api_core.exceptions import GoogleAPICallError  # noqa: PLC0415  loaded by then
    from google.auth.exceptions import GoogleAuthError, TransportError  # noqa: PLC0415  the same
    from google.protobuf.json_format import ParseError  # noqa: PLC0415  the same
    from requests.exceptions import RequestException  # noqa: PLC0415  the same

    try:
        return function()
    except GoogleAPICallError as error:
        raise errors.translate(refusal(action, error), secrets=config.secrets) from error
    except (RequestException, TransportError) as error:
        raise unreachable(action, error, config) from error
    except GoogleAuthError as error:
        raise PermissionDenied(
            f"{action} was not sent, the credentials do not work: renew them or check the machine's service account "
            f"({type(error).__name__})",
            provider=errors.NAME,
        ) from error
    except (ParseError, ValueError, TypeError, AttributeError) as error:  # what the SDK's readers do on garbage
        raise Unavailable(
            f"{action} was answered by something that is not Google's, at {where(action, config)}: "
            f"look for a proxy, or correct {setting(action)} ({type(error).__name__})",
            provider=errors.NAME,
        ) from error


def refusal(action: str, error: Any) -> Refusal:  # google.api_core's GoogleAPICallError
    """Return the parts of a refusal that we act on; the first of its errors has the reason."""
    first = next((e for e in error.errors if isinstance(e, dict)), {})
    headers = getattr(error.response, "headers", {})
    after = str(headers.get("Retry-After", ""))
    return Refusal(
        action=action,
        status=int(error.code or getattr(error.response, "status_code", 0) or 0),
        code=str(first.get("reason") or error.reason or ""),
        message=str(first.get("message") or error.message),
        retry_after=float(after) if after.isdecimal() else None,
    )


def unreachable(action: str, error: Exception, config: GcpConfig) -> ProviderError:
    return Unavailable(
        f"{action} got no answer from {where(action, config)}: "
        f"check the network and {setting(action)} ({type(error).__name__})",
        provider=errors.NAME,
    )


def where(action: str, config: GcpConfig) -> str:
    """Return the URL that a call goes to."""
    defaults = {"endpoint_url": ENDPOINT, "resource_manager_url": RESOURCE_MANAGER}
    return getattr(config, setting(action)) or defaults[setting(action)]


def setting(action: str) -> str:
    """Return the setting that says where a call goes."""
    return "endpoint_url" if action.startswith("compute.") else "resource_manager_url"
