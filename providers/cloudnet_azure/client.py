"""The calls that this plugin makes to Azure, and the only place that knows its SDK, which is imported on first use.

Every attempt passes the call budget and every failure leaves as one of ``cloudnet.provider.errors``. The SDK's own
retries are off, and so is its polling: it would wait half a minute between looks, and know no budget. Bodies go and
come as JSON, not as the SDK's models, so that nothing of a table that it does not know is lost on the way. API
versions are pinned: an upgraded SDK shall not change what a whole-table write means.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from cloudnet.clock import Clock
from cloudnet.errors import MissingTool
from cloudnet.provider.budget import Budget, Kind
from cloudnet.provider.errors import PermissionDenied, ProviderError, Unavailable, Unsupported
from cloudnet.provider.refusals import Refusal
from cloudnet.retry import Retry
from cloudnet_azure import errors, ids, operations
from cloudnet_azure.config import AzureConfig
from cloudnet_azure.operations import Accepted

if TYPE_CHECKING:  # the SDK is loaded when its cloud is used, not before
    from azure.mgmt.compute import ComputeManagementClient
    from azure.mgmt.network import NetworkManagementClient

T = TypeVar("T")
Json: TypeAlias = dict[str, Any]  # a resource on the wire, as ARM names things

_OK = 200
NETWORK_API = "2025-05-01"
COMPUTE_API = "2026-04-01"
AUTHORIZATION_API = "2022-04-01"
SCALE_SET_NICS_API = "2018-10-01"  # the only one that Azure has for these

TABLES_READ = "Microsoft.Network/routeTables/read"
TABLES_WRITE = "Microsoft.Network/routeTables/write"
ROUTES_WRITE = "Microsoft.Network/routeTables/routes/write"
ROUTES_DELETE = "Microsoft.Network/routeTables/routes/delete"
INTERFACES_READ = "Microsoft.Network/networkInterfaces/read"
INTERFACES_WRITE = "Microsoft.Network/networkInterfaces/write"
SUBNETS_READ = "Microsoft.Network/virtualNetworks/subnets/read"
MACHINES_READ = "Microsoft.Compute/virtualMachines/read"
SCALE_SET_INTERFACES_READ = "Microsoft.Compute/virtualMachineScaleSets/networkInterfaces/read"
SCALE_SET_INTERFACE_READ = "Microsoft.Compute/virtualMachineScaleSets/virtualMachines/networkInterfaces/read"
SCALE_SET_MACHINES_READ = "Microsoft.Compute/virtualMachineScaleSets/virtualMachines/read"
SCALE_SET_MACHINES_WRITE = "Microsoft.Compute/virtualMachineScaleSets/virtualMachines/write"
SECURITY_GROUPS_READ = "Microsoft.Network/networkSecurityGroups/read"
PERMISSIONS_READ = "Microsoft.Authorization/permissions/read"
OPERATIONS_READ = {
    "Microsoft.Network": "Microsoft.Network/locations/operations/read",
    "Microsoft.Compute": "Microsoft.Compute/locations/operations/read",
}


@dataclass(frozen=True, slots=True)
class Connection:
    """The SDK's clients of the two services that we talk to."""

    network: NetworkManagementClient
    compute: ComputeManagementClient


class Client:
    """Azure, one method a call. ``deadline`` is seconds for all attempts; ``None`` the configured one."""

    def __init__(
        self, config: AzureConfig, connection: Connection, *, clock: Clock, budget: Budget, rng: random.Random
    ) -> None:
        self.budget = budget
        self._config = config
        self._clock = clock
        self._rng = rng
        self._retry = Retry(clock, rng, deadline=config.deadline)
        self._network = connection.network
        self._compute = connection.compute

    def token(self) -> str:
        """Return eight hexadecimal digits that hardly any other call gets."""
        return f"{self._rng.getrandbits(32):08x}"

    def route_tables(self) -> list[Json]:
        """Return every route table of the resource group, each with its routes and its subnets."""
        group = self._config.tables_group
        return self._list(
            TABLES_READ, lambda hook: self._network.route_tables.list(group, api_version=NETWORK_API, **hook)
        )

    def route_table(self, table: str) -> Json:
        group = self._config.tables_group
        return self._get(TABLES_READ, lambda: self._network.route_tables.get(group, table, api_version=NETWORK_API))

    def put_table(self, table: str, body: Json, etag: str) -> None:
        """Replace a whole table, unless somebody changed it since it had that ``etag``; returns when that is done."""
        self._write(
            TABLES_WRITE,
            lambda hook: self._network.route_tables.begin_create_or_update(
                self._config.tables_group,
                table,
                _wire(body),
                headers={"If-Match": etag},
                api_version=NETWORK_API,
                **hook,
            ),
        )

    def put_route(self, table: str, name: str, body: Json, *, deadline: float | None = None) -> None:
        """Make or replace one route of a table; returns when that is done."""
        self._write(
            ROUTES_WRITE,
            lambda hook: self._network.routes.begin_create_or_update(
                self._config.tables_group, table, name, _wire(body), api_version=NETWORK_API, **hook
            ),
            deadline=deadline,
        )

    def delete_route(self, table: str, name: str, *, deadline: float | None = None) -> None:
        """Delete one route of a table; returns when that is done."""
        self._write(
            ROUTES_DELETE,
            lambda hook: self._network.routes.begin_delete(
                self._config.tables_group, table, name, api_version=NETWORK_API, **hook
            ),
            deadline=deadline,
        )

    def interfaces(self, group: str) -> list[Json]:
        """Return every network interface of a resource group, those of uniform scale sets left out."""
        return self._list(
            INTERFACES_READ,
            lambda hook: self._network.network_interfaces.list(group, api_version=NETWORK_API, **hook),
        )

    def scale_set_interfaces(self, group: str, scale_set: str) -> list[Json]:
        """Return every network interface of a scale set's machines."""
        return self._list(
            SCALE_SET_INTERFACES_READ,
            lambda hook: self._network.network_interfaces.list_virtual_machine_scale_set_network_interfaces(
                group, scale_set, api_version=SCALE_SET_NICS_API, **hook
            ),
        )

    def subnets(self, group: str, network: str) -> list[Json]:
        """Return every subnet of a virtual network."""
        return self._list(
            SUBNETS_READ, lambda hook: self._network.subnets.list(group, network, api_version=NETWORK_API, **hook)
        )

    def security_group(self, group: str, name: str) -> Json:
        """Return a network security group with its rules, Azure's own among them."""
        return self._get(
            SECURITY_GROUPS_READ,
            lambda: self._network.network_security_groups.get(group, name, api_version=NETWORK_API),
        )

    def permissions(self, group: str) -> list[Json]:
        """Return what we may do in a resource group: for each role that we have there, its actions and exceptions."""
        scope = f"subscriptions/{self._config.subscription_id}/resourcegroups/{group}"
        url = f"{self._config.endpoint_url.rstrip('/')}/{scope}/providers/Microsoft.Authorization/permissions"
        found: list[Json] = []
        page: str | None = f"{url}?api-version={AUTHORIZATION_API}"
        while page:
            body = self._call(PERMISSIONS_READ, Kind.READ, partial(self._body, page))
            found += body["value"]
            page = body.get("nextLink")
        return found

    def scale_set_interface(self, group: str, scale_set: str, number: str, name: str) -> Json:
        """Return one interface of a scale set's machine."""
        return self._get(
            SCALE_SET_INTERFACE_READ,
            lambda: self._network.network_interfaces.get_virtual_machine_scale_set_network_interface(
                group, scale_set, number, name, api_version=SCALE_SET_NICS_API
            ),
        )

    def interface(self, group: str, name: str) -> Json:
        return self._get(
            INTERFACES_READ, lambda: self._network.network_interfaces.get(group, name, api_version=NETWORK_API)
        )

    def put_interface(self, group: str, name: str, body: Json, etag: str) -> None:
        """Replace a network interface, unless somebody changed it since it had that ``etag``."""
        self._write(
            INTERFACES_WRITE,
            lambda hook: self._network.network_interfaces.begin_create_or_update(
                group, name, _wire(body), headers={"If-Match": etag}, api_version=NETWORK_API, **hook
            ),
        )

    def machines(self, group: str) -> list[Json]:
        """Return every machine of a resource group with its power state, those of uniform scale sets left out."""
        return self._list(
            MACHINES_READ,
            lambda hook: self._compute.virtual_machines.list(
                group, expand="instanceView", api_version=COMPUTE_API, **hook
            ),
        )

    def scale_set_machines(self, group: str, scale_set: str) -> list[Json]:
        """Return every machine of a scale set with its power state."""
        return self._list(
            SCALE_SET_MACHINES_READ,
            lambda hook: self._compute.virtual_machine_scale_set_vms.list(
                group, scale_set, expand="instanceView", api_version=COMPUTE_API, **hook
            ),
        )

    def scale_set_machine(self, group: str, scale_set: str, number: str) -> Json:
        return self._get(
            SCALE_SET_MACHINES_READ,
            lambda: self._compute.virtual_machine_scale_set_vms.get(
                group, scale_set, number, api_version=COMPUTE_API
            ),
        )

    def put_scale_set_machine(self, group: str, scale_set: str, number: str, body: Json, etag: str) -> None:
        """Change a scale set's machine, unless somebody changed it since it had that ``etag``."""
        headers = {"If-Match": etag} if etag else {}
        self._write(
            SCALE_SET_MACHINES_WRITE,
            lambda hook: self._compute.virtual_machine_scale_set_vms.begin_update(
                group, scale_set, number, _wire(body), headers=headers, api_version=COMPUTE_API, **hook
            ),
        )

    # --- reads ----------------------------------------------------------------------------------------------

    def _get(self, action: str, function: Callable[[], Any]) -> Json:
        return self._call(action, Kind.READ, lambda: _json(function()))

    def _list(self, action: str, function: Callable[[Json], Any]) -> list[Json]:
        """Return all items of all pages; each page is a call.

        The SDK's iterator takes a page that it could not read for the end of the list. So each attempt has its own.
        """
        found: list[Json] = []
        token: str | None = None
        while True:
            items, token = self._call(action, Kind.READ, partial(_page, function, token))
            found += items
            if token is None:
                return found

    # --- writes ---------------------------------------------------------------------------------------------

    def _write(self, action: str, function: Callable[[Json], Any], *, deadline: float | None = None) -> None:
        """Send a write, and wait until its operation has ended; nothing of ours is locked meanwhile."""
        hook: Json = {"polling": False, "cls": self._accepted}
        until = self._clock.now() + self._config.operation_seconds
        while True:
            try:
                taken: Accepted = self._call(action, Kind.WRITE, lambda: function(hook).result(), deadline=deadline)
                break
            except errors.Busy as busy:  # perhaps by an operation of our own whose answer was lost
                wait = busy.retry_after or operations.LONGEST_WAIT
                if deadline == 0.0 or self._clock.now() + wait >= until:
                    raise
                self._clock.sleep(wait)
        if taken.operation:
            self._finish(action, taken)

    def _accepted(self, response: Any, _body: object, _headers: object) -> Accepted:  # the SDK's pipeline response
        answer = response.http_response
        answer.read()
        if answer.text() or answer.request.method != "DELETE":
            answer.json()  # a page of a proxy is none
        return operations.accepted({k.lower(): v for k, v in answer.headers.items()}, self._config.endpoint_url)

    def _finish(self, action: str, taken: Accepted) -> None:
        """Wait for the end of an operation.

        Raises:
            ProviderError: it failed, or did not end in time: then nobody knows what became of it.
        """
        look = OPERATIONS_READ[action.partition("/")[0]]
        until = self._clock.now() + self._config.operation_seconds
        named = taken.wait
        for wait in operations.waits(self._config.poll_seconds):
            self._clock.sleep(wait if named is None else max(wait, named))
            body, named = self._call(look, Kind.READ, lambda: self._ask(look, taken.operation))
            if operations.finished(action, body):
                return
            if self._clock.now() >= until:
                break
        raise Unavailable(
            f"{action} was accepted but has not ended after {self._config.operation_seconds:g} s: "
            "look at the resource's activity log",
            provider=errors.NAME,
        )

    def _ask(self, action: str, url: str) -> tuple[Mapping[str, Any], float | None]:
        body, headers = _got(self._network if action.startswith("Microsoft.Network") else self._compute, url)
        return body, operations.seconds({k.lower(): v for k, v in headers.items()})

    def _body(self, url: str) -> Json:
        """Return what is at a URL that the SDK has no method for."""
        body, _ = _got(self._network, url)
        if not isinstance(body.get("value"), list):
            raise ValueError("a list has values")  # noqa: TRY004  as for a body that is no JSON
        return body

    def _call(self, action: str, kind: Kind, function: Callable[[], T], *, deadline: float | None = None) -> T:
        def attempt() -> T:
            return translated(action, function, self._config)

        return self._retry.call(lambda: self.budget.call(action, kind, attempt), deadline=deadline)


def _got(service: Any, url: str) -> tuple[Json, Mapping[str, str]]:  # one of the SDK's clients
    """Return the body and the headers of what is at a URL."""
    from azure.core.exceptions import HttpResponseError  # noqa: PLC0415  loaded by then
    from azure.core.rest import HttpRequest  # noqa: PLC0415  the same

    answer = service.send_request(HttpRequest("GET", url))
    if answer.status_code >= 400:  # noqa: PLR2004  HTTP's errors
        raise HttpResponseError(response=answer)
    body = answer.json()
    if not isinstance(body, dict):
        raise ValueError("an answer is a JSON object")  # noqa: TRY004  as for a body that is no JSON
    return body, answer.headers


def _wire(body: Json) -> BytesIO:
    """Return a body for one attempt: bytes are what every version of the SDK passes on as they are."""
    return BytesIO(json.dumps(body).encode())


def _json(model: Any) -> Json:  # a model of the SDK, whose dictionary is what was on the wire
    body: Json = model.as_dict()
    if not body.get("id"):
        raise ValueError("a resource has an id")
    return body


def _page(function: Callable[[Json], Any], token: str | None) -> tuple[list[Json], str | None]:
    """Return one page, and what names the next one."""
    pages: Any = function({"raw_response_hook": _listing}).by_page(continuation_token=token)
    items = [_json(item) for item in next(pages)]
    return items, pages.continuation_token or None


def _listing(response: Any) -> None:  # the SDK's pipeline response
    """Refuse a body that is no list: the SDK would take it for an empty one."""
    answer = response.http_response
    if answer.status_code == _OK and not isinstance(answer.json().get("value"), list):
        raise ValueError("a list has values")


def connect(config: AzureConfig) -> Connection:
    """Return the SDK's clients; nothing is sent yet.

    Raises:
        MissingTool: the SDK is not installed.
    """
    try:
        from azure.core.pipeline.policies import RetryPolicy  # noqa: PLC0415  an SDK is loaded when it is used
        from azure.mgmt.compute import ComputeManagementClient  # noqa: PLC0415  the same
        from azure.mgmt.network import NetworkManagementClient  # noqa: PLC0415  the same

        credential, policies = credentials(config)
    except ImportError as error:
        raise MissingTool(f"the azure provider needs its SDK: pip install 'cloudnet[azure]' ({error})") from error
    logging.getLogger("azure").setLevel(logging.WARNING)  # it tells of every request and answer
    options: Json = {
        "base_url": config.endpoint_url,
        "credential_scopes": [config.endpoint_url.rstrip("/") + "/.default"],
        "retry_policy": RetryPolicy.no_retries(),
        "connection_timeout": config.connect_timeout,
        "read_timeout": config.read_timeout,
        "user_agent": f"cloudnet/{config.cluster}",
        **policies,
    }
    return Connection(
        NetworkManagementClient(credential, config.subscription_id, **options),
        ComputeManagementClient(credential, config.subscription_id, **options),
    )


def credentials(config: AzureConfig) -> tuple[Any, Json]:
    """Return a credential of the SDK, and the policies that replace its own.

    The SDK's bearer policy refuses plain HTTP; a token that is given as it is goes out by a policy of ours.
    """
    if config.access_token:
        return _NoCredential(), {"authentication_policy": _token_policy(config.access_token)}
    from azure import identity  # noqa: PLC0415  an SDK is loaded when it is used

    authority = {"authority": config.authority_host} if config.authority_host else {}
    if config.client_secret:
        return identity.ClientSecretCredential(
            config.tenant_id, config.client_id, config.client_secret, **authority
        ), {}
    managed = {"managed_identity_client_id": config.client_id} if config.client_id else {}
    return identity.DefaultAzureCredential(**authority, **managed), {}


class _NoCredential:
    """Stands where the SDK wants a credential that our policy makes superfluous."""

    def get_token(self, *_scopes: str, **_options: object) -> Any:
        raise RuntimeError("the token is added by a policy")


def _token_policy(token: str) -> Any:
    from azure.core.pipeline import PipelineRequest  # noqa: PLC0415  an SDK is loaded when it is used
    from azure.core.pipeline.policies import SansIOHTTPPolicy  # noqa: PLC0415  the same

    class Bearer(SansIOHTTPPolicy[Any, Any]):
        def on_request(self, request: PipelineRequest[Any]) -> None:
            request.http_request.headers["Authorization"] = f"Bearer {token}"

    return Bearer()


def translated(action: str, function: Callable[[], T], config: AzureConfig) -> T:
    """Return what ``function`` returns, its failure as one of our errors."""
    from azure.core import exceptions  # noqa: PLC0415  loaded by then

    try:
        return function()
    except ProviderError:
        raise
    except (exceptions.DecodeError, exceptions.DeserializationError, exceptions.IncompleteReadError) as error:
        raise no_answer(action, error, config) from error
    except exceptions.ClientAuthenticationError as error:
        if getattr(error, "response", None) is None:
            raise PermissionDenied(
                f"{action} was not sent, there are no credentials: give the machine a managed identity "
                f"or set client_secret ({type(error).__name__})",
                provider=errors.NAME,
            ) from error
        raise errors.translate(refusal(action, error), secrets=config.secrets) from error
    except exceptions.HttpResponseError as error:
        raise errors.translate(refusal(action, error), secrets=config.secrets) from error
    except exceptions.SerializationError as error:
        raise Unsupported(f"{action} was not sent: {error}", provider=errors.NAME) from error
    except exceptions.AzureError as error:
        raise Unavailable(
            f"{action} got no answer from {config.endpoint_url}: check the network and endpoint_url "
            f"({type(error).__name__})",
            provider=errors.NAME,
        ) from error
    except (ValueError, TypeError, AttributeError, KeyError) as error:  # the SDK's ways with a body of another shape
        raise no_answer(action, error, config) from error


def no_answer(action: str, error: Exception, config: AzureConfig) -> Unavailable:
    return Unavailable(
        f"{action} was answered by something that is not Azure, at {config.endpoint_url}: "
        f"look for a proxy, or correct endpoint_url ({type(error).__name__})",
        provider=errors.NAME,
    )


def refusal(
    action: str,
    error: Any,  # the SDK's HttpResponseError, whose body follows no schema when a proxy wrote it
) -> Refusal:
    """Return the parts of an error response that we act on."""
    body = getattr(error, "error", None)
    answer = getattr(error, "response", None)
    headers = {k.lower(): v for k, v in answer.headers.items()} if answer is not None else {}
    return Refusal(
        action=action,
        status=int(error.status_code or 0),
        code=str(getattr(body, "code", "") or ""),
        message=str(getattr(body, "message", "") or ""),
        request_id=headers.get("x-ms-request-id", ""),
        retry_after=operations.seconds(headers),
    )


def id_parts(of: str, group: str) -> tuple[str, ...]:
    """Return the names in a short id; one that is a bare name is in ``group``."""
    found = ids.names(of)
    return found if len(found) > 1 else (group, *found)
