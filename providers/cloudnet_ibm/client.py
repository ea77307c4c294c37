"""The calls that this plugin makes to IBM Cloud. Only this file knows ibm-vpc, which is imported on first use.

Every attempt passes the call budget and every failure leaves as one of ``cloudnet.provider.errors``. The SDK's own
retries stay off: two layers of retries multiply, and only ours knows the budget. Every list is paged.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qs, urlsplit

import msgspec

from cloudnet.clock import Clock
from cloudnet.errors import MissingTool
from cloudnet.provider.budget import Budget, Kind
from cloudnet.provider.errors import PermissionDenied, ProviderError, Throttled, Unavailable
from cloudnet.provider.refusals import Refusal
from cloudnet.retry import Retry
from cloudnet_ibm import answers, errors
from cloudnet_ibm.config import IbmConfig

T = TypeVar("T")

A_PAGE = 100  # the most that a list gives


class _Page(Protocol):
    @property
    def next(self) -> answers.Link | None: ...


P = TypeVar("P", bound=_Page)


class Client:
    """The VPC API, one method a call. ``deadline`` is seconds for all attempts; ``None`` the configured one."""

    def __init__(
        self,
        config: IbmConfig,
        sdk: Any,  # VpcV1: the package ships no types
        *,
        clock: Clock,
        budget: Budget,
        rng: random.Random,
    ) -> None:
        self.budget = budget
        self._config = config
        self._sdk = sdk
        self._retry = Retry(clock, rng, deadline=config.deadline)

    def instances(self) -> list[answers.Machine]:
        """Return the instances of the VPC."""
        pages = self._pages("list_instances", answers.MachinePage, vpc_id=self._config.vpc_id)
        return [machine for page in pages for machine in page.instances]

    def virtual_network_interfaces(self) -> list[answers.Interface]:
        """Return the virtual network interfaces of the region, or of the configured resource group."""
        group = self._config.resource_group_id or None
        pages = self._pages("list_virtual_network_interfaces", answers.InterfacePage, resource_group_id=group)
        return [interface for page in pages for interface in page.virtual_network_interfaces]

    def network_interfaces(self, instance: str) -> tuple[answers.Interface, ...]:
        """Return the interfaces of an instance from before virtual network interfaces."""
        return self._read(
            "list_instance_network_interfaces", answers.Interfaces, instance_id=instance
        ).network_interfaces

    def subnets(self) -> list[answers.Subnet]:
        """Return the subnets of the VPC."""
        pages = self._pages("list_subnets", answers.SubnetPage, vpc_id=self._config.vpc_id)
        return [subnet for page in pages for subnet in page.subnets]

    def security_groups(self) -> list[answers.SecurityGroup]:
        """Return the security groups of the VPC with their rules."""
        pages = self._pages("list_security_groups", answers.SecurityGroupPage, vpc_id=self._config.vpc_id)
        return [group for page in pages for group in page.security_groups]

    def routing_tables(self) -> list[answers.RoutingTable]:
        """Return the routing tables of the VPC."""
        pages = self._pages("list_vpc_routing_tables", answers.RoutingTablePage, vpc_id=self._config.vpc_id)
        return [table for page in pages for table in page.routing_tables]

    def routes(self, table: str) -> list[answers.Route]:
        """Return the routes of one routing table, of all zones."""
        pages = self._pages("list_vpc_routing_table_routes", answers.RoutePage, **self._in(table))
        return [route for page in pages for route in page.routes]

    def create_route(self, table: str, route: Mapping[str, object], *, deadline: float | None = None) -> None:
        self._write("create_vpc_routing_table_route", {**self._in(table), **route}, deadline)

    def replace_next_hop(self, table: str, route: str, address: str, *, deadline: float | None = None) -> None:
        patch = {"next_hop": {"address": address}}
        self._write(
            "update_vpc_routing_table_route", {**self._in(table), "id": route, "route_patch": patch}, deadline
        )

    def delete_route(self, table: str, route: str, *, deadline: float | None = None) -> None:
        self._write("delete_vpc_routing_table_route", {**self._in(table), "id": route}, deadline)

    def allow_spoofing(self, interface: str) -> None:
        """Allow it on a virtual network interface."""
        patch = {"allow_ip_spoofing": True}
        self._write("update_virtual_network_interface", {"id": interface, "virtual_network_interface_patch": patch})

    def allow_spoofing_of_old(self, instance: str, interface: str) -> None:
        """Allow it on an interface from before virtual network interfaces."""
        patch = {"allow_ip_spoofing": True}
        self._write(
            "update_instance_network_interface",
            {"instance_id": instance, "id": interface, "network_interface_patch": patch},
        )

    def _in(self, table: str) -> Mapping[str, object]:
        return {"vpc_id": self._config.vpc_id, "routing_table_id": table}

    def _pages(self, action: str, kind: type[P], **arguments: object) -> Iterator[P]:
        """Yield one page after the other."""
        start: str | None = None
        while True:
            page = self._read(action, kind, **arguments, limit=A_PAGE, start=start)
            yield page
            if page.next is None or not (start := token(page.next.href)):
                return

    def _read(self, action: str, kind: type[T], **arguments: object) -> T:
        def attempt() -> T:
            result = translated(action, getattr(self._sdk, action), arguments, self._config)
            try:
                return msgspec.convert(result, kind)
            except msgspec.ValidationError as error:
                raise not_ibm(action, self._config) from error

        return self._retry.call(lambda: self.budget.call(action, Kind.READ, attempt))

    def _write(self, action: str, arguments: Mapping[str, object], deadline: float | None = None) -> None:
        def attempt() -> object:
            return translated(action, getattr(self._sdk, action), arguments, self._config)

        self._retry.call(lambda: self.budget.call(action, Kind.WRITE, attempt), deadline=deadline)


def connect(config: IbmConfig) -> Any:  # VpcV1: the package ships no types
    """Return the SDK's client; nothing is sent yet.

    Raises:
        MissingTool: ibm-vpc is not installed.
    """
    try:
        from ibm_cloud_sdk_core import authenticators  # noqa: PLC0415  an SDK is loaded when its cloud is used
        from ibm_vpc import VpcV1  # noqa: PLC0415  the same
    except ImportError as error:
        raise MissingTool(f"the ibm provider needs ibm-vpc: pip install 'cloudnet[ibm]' ({error})") from error
    if config.api_key:
        identity = authenticators.IAMAuthenticator(config.api_key, url=config.iam_url or None)
    elif config.trusted_profile_id:
        identity = authenticators.VPCInstanceAuthenticator(iam_profile_id=config.trusted_profile_id)
    else:
        identity = authenticators.BearerTokenAuthenticator(config.token)
    sdk = VpcV1(authenticator=identity)
    sdk.set_service_url(config.url)
    sdk.set_http_config({"timeout": (config.connect_timeout, config.read_timeout)})
    return sdk


def translated(
    action: str,
    function: Callable[..., Any],  # a method of the SDK
    arguments: Mapping[str, object],
    config: IbmConfig,
) -> Any:  # JSON, or nothing where there is no body
    """Return what the call answers, its failure as one of our errors."""
    from ibm_cloud_sdk_core import ApiException  # noqa: PLC0415  loaded by then
    from requests import exceptions  # noqa: PLC0415  the same

    try:
        result = function(**arguments).get_result()
    except ApiException as error:
        if error.status_code < 400:  # noqa: PLR2004  HTTP's errors; below it the body was no JSON
            raise not_ibm(action, config) from error
        raise errors.translate(refusal(action, error), secrets=config.secrets) from error
    except exceptions.RetryError as error:  # where somebody switched the SDK's own retries on
        raise Throttled(f"{action} was throttled until the SDK gave up", provider=errors.NAME) from error
    except exceptions.RequestException as error:
        raise unreachable(action, error, config) from error
    except OSError as error:
        raise unreachable(action, error, config) from error
    except ValueError as error:  # an authenticator that cannot read its own answer
        raise PermissionDenied(
            f"{action} was not sent, there is no token: check the credentials ({type(error).__name__})",
            provider=errors.NAME,
        ) from error
    if result is not None and not isinstance(result, dict):  # a body that is no JSON is handed on as it came
        raise not_ibm(action, config)
    return result


def refusal(
    action: str,
    error: Any,  # ApiException: the package ships no types
) -> Refusal:
    """Return the parts of an error answer that we act on."""
    response = error.http_response
    headers: Mapping[str, str] = response.headers if response is not None else {}
    body = _json(response)
    listed = body.get("errors")
    first = listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], dict) else {}
    after = str(headers.get("Retry-After", ""))
    return Refusal(
        action=action,
        status=error.status_code,
        code=str(first.get("code") or body.get("errorCode") or ""),
        message=str(first.get("message") or body.get("errorMessage") or error.message or ""),
        request_id=str(body.get("trace") or error.global_transaction_id or headers.get("X-Request-Id") or ""),
        retry_after=float(after) if after.isdecimal() else None,
    )


def _json(
    response: Any,  # of requests, or None
) -> Mapping[str, Any]:  # follows no schema when a proxy wrote it
    try:
        body = response.json() if response is not None else {}
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def token(href: str) -> str:
    """Return the ``start`` of the next page, '' when the link names none."""
    return next(iter(parse_qs(urlsplit(href).query).get("start", [])), "")


def unreachable(action: str, error: Exception, config: IbmConfig) -> ProviderError:
    return Unavailable(
        f"{action} got no answer from {config.url}: "
        f"check the network, the region and endpoint_url ({type(error).__name__})",
        provider=errors.NAME,
    )


def not_ibm(action: str, config: IbmConfig) -> ProviderError:
    return Unavailable(
        f"{action} was answered by something that is not IBM Cloud, at {config.url}: "
        "look for a proxy, or correct endpoint_url",
        provider=errors.NAME,
    )
