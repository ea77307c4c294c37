"""The calls that this plugin makes to AWS, and the only place that knows boto3, which is imported on first use.

Every attempt passes the call budget and every failure leaves as one of ``cloudnet.provider.errors``. botocore's
own retries are off: two layers of retries multiply, and only ours knows the budget. Every describe is filtered
and paged, because EC2 meters unfiltered ones hardest.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from cloudnet.clock import Clock
from cloudnet.errors import BadInput, MissingTool
from cloudnet.provider.budget import Budget, Kind
from cloudnet.provider.errors import (
    Conflict,
    NotFound,
    PermissionDenied,
    ProviderError,
    QuotaExceeded,
    Unavailable,
    Unsupported,
)
from cloudnet.provider.refusals import Refusal
from cloudnet.retry import Retry
from cloudnet_aws import errors
from cloudnet_aws.config import AwsConfig

if TYPE_CHECKING:  # stubs, which exist only where the code is checked
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.literals import InstanceTypeType
    from mypy_boto3_ec2.type_defs import (
        AssignIpv6AddressesRequestTypeDef,
        AssignIpv6AddressesResultTypeDef,
        AssignPrivateIpAddressesRequestTypeDef,
        AssignPrivateIpAddressesResultTypeDef,
        CreateNetworkInterfaceRequestTypeDef,
        CreateRouteRequestTypeDef,
        DeleteRouteRequestTypeDef,
        DescribeInstancesRequestTypeDef,
        DescribeNetworkInterfacesRequestTypeDef,
        DescribeRouteTablesRequestTypeDef,
        DescribeSecurityGroupsRequestTypeDef,
        DescribeSubnetsRequestTypeDef,
        FilterTypeDef,
        InstanceTypeDef,
        InstanceTypeInfoTypeDef,
        ManagedPrefixListTypeDef,
        NetworkInterfaceTypeDef,
        ReplaceRouteRequestTypeDef,
        RouteTableTypeDef,
        SecurityGroupTypeDef,
        SubnetTypeDef,
        UnassignIpv6AddressesRequestTypeDef,
        UnassignPrivateIpAddressesRequestTypeDef,
    )
    from mypy_boto3_service_quotas import ServiceQuotasClient

T = TypeVar("T")

TABLES_A_PAGE = 100  # the most that DescribeRouteTables and DescribeManagedPrefixLists give
INSTANCES_A_PAGE = INTERFACES_A_PAGE = SUBNETS_A_PAGE = 1000
TYPES_A_CALL = 100
GROUPS_A_PAGE = 1000
ROUTES_QUOTA = "L-93826ACB"  # Service Quotas' code of "Routes per route table"


_METHODS = {
    "ec2:CreateRoute": "create_route",
    "ec2:ReplaceRoute": "replace_route",
    "ec2:DeleteRoute": "delete_route",
    "ec2:ModifyNetworkInterfaceAttribute": "modify_network_interface_attribute",
}


@dataclass(frozen=True, slots=True)
class Connection:
    """The SDK's clients of the two services that we talk to."""

    ec2: EC2Client
    quotas: ServiceQuotasClient


class Client:
    """AWS, one method a call. ``deadline`` is seconds for all attempts; ``None`` the configured one."""

    def __init__(
        self, config: AwsConfig, connection: Connection, *, clock: Clock, budget: Budget, rng: random.Random
    ) -> None:
        self.budget = budget
        self._config = config
        self._retry = Retry(clock, rng, deadline=config.deadline)
        self._ec2 = connection.ec2
        self._quotas = connection.quotas

    def route_tables(self) -> list[RouteTableTypeDef]:
        """Return every route table of the VPC."""
        request: DescribeRouteTablesRequestTypeDef = {"Filters": [self._in_vpc()], "MaxResults": TABLES_A_PAGE}
        tables: list[RouteTableTypeDef] = []
        while True:
            page = self._read("ec2:DescribeRouteTables", lambda: self._ec2.describe_route_tables(**request))
            tables += page["RouteTables"]
            if not page.get("NextToken"):
                return tables
            request["NextToken"] = page["NextToken"]

    def instances(self, name: str = "", values: Sequence[str] = ()) -> list[InstanceTypeDef]:
        """Return the VPC's instances, only those that match the filter ``name`` when there is one."""
        filters = [self._in_vpc()]
        if name:
            filters.append({"Name": name, "Values": list(values)})
        request: DescribeInstancesRequestTypeDef = {"Filters": filters, "MaxResults": INSTANCES_A_PAGE}
        found: list[InstanceTypeDef] = []
        while True:
            page = self._read("ec2:DescribeInstances", lambda: self._ec2.describe_instances(**request))
            for reservation in page["Reservations"]:
                found += reservation.get("Instances", [])
            if not page.get("NextToken"):
                return found
            request["NextToken"] = page["NextToken"]

    def _in_vpc(self) -> FilterTypeDef:
        return {"Name": "vpc-id", "Values": [self._config.vpc_id]}

    def prefix_lists(self, ids: Sequence[str]) -> list[ManagedPrefixListTypeDef]:
        """Return these prefix lists, one attempt: at most a page of them fits beside routes in a table."""
        filters: list[FilterTypeDef] = [{"Name": "prefix-list-id", "Values": list(ids)[:TABLES_A_PAGE]}]
        page = self._read(
            "ec2:DescribeManagedPrefixLists",
            lambda: self._ec2.describe_managed_prefix_lists(Filters=filters, MaxResults=TABLES_A_PAGE),
            deadline=0.0,
        )
        return page["PrefixLists"]

    def routes_quota(self) -> int:
        """Return how many routes of a family fit into a table of this account, one attempt."""
        answer = self._read(
            "servicequotas:GetServiceQuota",
            lambda: self._quotas.get_service_quota(ServiceCode="vpc", QuotaCode=ROUTES_QUOTA),
            deadline=0.0,
        )
        return int(answer["Quota"]["Value"])

    def create_route(self, request: CreateRouteRequestTypeDef, *, deadline: float | None = None) -> None:
        self._write("ec2:CreateRoute", lambda: self._ec2.create_route(**request), deadline=deadline)

    def replace_route(self, request: ReplaceRouteRequestTypeDef, *, deadline: float | None = None) -> None:
        self._write("ec2:ReplaceRoute", lambda: self._ec2.replace_route(**request), deadline=deadline)

    def delete_route(self, request: DeleteRouteRequestTypeDef, *, deadline: float | None = None) -> None:
        self._write("ec2:DeleteRoute", lambda: self._ec2.delete_route(**request), deadline=deadline)

    def switch_source_check_off(self, interface: str) -> None:
        self._write(
            "ec2:ModifyNetworkInterfaceAttribute",
            lambda: self._ec2.modify_network_interface_attribute(
                NetworkInterfaceId=interface, SourceDestCheck={"Value": False}
            ),
        )

    # --- preflight ------------------------------------------------------------------------------------------

    def security_groups(self, ids: Sequence[str]) -> list[SecurityGroupTypeDef]:
        """Return these security groups of the VPC, with their rules."""
        filters: list[FilterTypeDef] = [self._in_vpc(), {"Name": "group-id", "Values": list(ids)}]
        request: DescribeSecurityGroupsRequestTypeDef = {"Filters": filters, "MaxResults": GROUPS_A_PAGE}
        found: list[SecurityGroupTypeDef] = []
        while True:
            page = self._read("ec2:DescribeSecurityGroups", lambda: self._ec2.describe_security_groups(**request))
            found += page["SecurityGroups"]
            if not page.get("NextToken"):
                return found
            request["NextToken"] = page["NextToken"]

    def ask_whether(self, action: str, request: Mapping[str, object]) -> None:
        """Ask whether a write would be allowed; nothing is written.

        EC2 judges who asks before it judges what is asked for: any refusal but of the permission means that there
        is one ("DryRun" in the EC2 API Reference).

        Raises:
            PermissionDenied: it would not be.
        """
        method = getattr(self._ec2, _METHODS[action])
        try:
            self._change(action, lambda: method(**request, DryRun=True))
        except (Conflict, NotFound, QuotaExceeded, Unsupported):
            return

    # --- native addresses -----------------------------------------------------------------------------------

    def interfaces(self, name: str = "", values: Sequence[str] = ()) -> list[NetworkInterfaceTypeDef]:
        """Return the VPC's interfaces, only those that match the filter ``name`` when there is one."""
        filters = [self._in_vpc()]
        if name:
            filters.append({"Name": name, "Values": list(values)})
        request: DescribeNetworkInterfacesRequestTypeDef = {"Filters": filters, "MaxResults": INTERFACES_A_PAGE}
        found: list[NetworkInterfaceTypeDef] = []
        while True:
            page = self._read(
                "ec2:DescribeNetworkInterfaces", lambda: self._ec2.describe_network_interfaces(**request)
            )
            found += page["NetworkInterfaces"]
            if not page.get("NextToken"):
                return found
            request["NextToken"] = page["NextToken"]

    def subnets(self) -> list[SubnetTypeDef]:
        """Return the VPC's subnets."""
        request: DescribeSubnetsRequestTypeDef = {"Filters": [self._in_vpc()], "MaxResults": SUBNETS_A_PAGE}
        found: list[SubnetTypeDef] = []
        while True:
            page = self._read("ec2:DescribeSubnets", lambda: self._ec2.describe_subnets(**request))
            found += page["Subnets"]
            if not page.get("NextToken"):
                return found
            request["NextToken"] = page["NextToken"]

    def instance_types(self, names: Sequence[str]) -> list[InstanceTypeInfoTypeDef]:
        """Return what EC2 says of these types, at most ``TYPES_A_CALL``."""
        types = cast("list[InstanceTypeType]", list(names))  # any name will do: EC2 knows newer ones than the SDK
        answer = self._read(
            "ec2:DescribeInstanceTypes", lambda: self._ec2.describe_instance_types(InstanceTypes=types)
        )
        return answer["InstanceTypes"]

    def assign_ipv4(self, request: AssignPrivateIpAddressesRequestTypeDef) -> AssignPrivateIpAddressesResultTypeDef:
        return self._change("ec2:AssignPrivateIpAddresses", lambda: self._ec2.assign_private_ip_addresses(**request))

    def assign_ipv6(self, request: AssignIpv6AddressesRequestTypeDef) -> AssignIpv6AddressesResultTypeDef:
        return self._change("ec2:AssignIpv6Addresses", lambda: self._ec2.assign_ipv6_addresses(**request))

    def unassign_ipv4(self, request: UnassignPrivateIpAddressesRequestTypeDef) -> None:
        self._write("ec2:UnassignPrivateIpAddresses", lambda: self._ec2.unassign_private_ip_addresses(**request))

    def unassign_ipv6(self, request: UnassignIpv6AddressesRequestTypeDef) -> None:
        self._write("ec2:UnassignIpv6Addresses", lambda: self._ec2.unassign_ipv6_addresses(**request))

    def create_interface(self, request: CreateNetworkInterfaceRequestTypeDef) -> NetworkInterfaceTypeDef:
        answer = self._change("ec2:CreateNetworkInterface", lambda: self._ec2.create_network_interface(**request))
        return answer["NetworkInterface"]

    def attach_interface(self, interface: str, instance: str, index: int) -> str:
        """Attach it and return the attachment's id."""
        answer = self._change(
            "ec2:AttachNetworkInterface",
            lambda: self._ec2.attach_network_interface(
                NetworkInterfaceId=interface, InstanceId=instance, DeviceIndex=index
            ),
        )
        return answer["AttachmentId"]

    def delete_with_instance(self, interface: str, attachment: str) -> None:
        """Let the interface go when its instance goes."""
        self._write(
            "ec2:ModifyNetworkInterfaceAttribute",
            lambda: self._ec2.modify_network_interface_attribute(
                NetworkInterfaceId=interface, Attachment={"AttachmentId": attachment, "DeleteOnTermination": True}
            ),
        )

    def detach_interface(self, attachment: str) -> None:
        self._write("ec2:DetachNetworkInterface", lambda: self._ec2.detach_network_interface(AttachmentId=attachment))

    def delete_interface(self, interface: str) -> None:
        """Delete it; one that is being detached is tried again until the deadline."""
        self._write(
            "ec2:DeleteNetworkInterface", lambda: self._ec2.delete_network_interface(NetworkInterfaceId=interface)
        )

    def _read(self, action: str, function: Callable[[], T], *, deadline: float | None = None) -> T:
        return self._call(action, Kind.READ, function, deadline)

    def _write(self, action: str, function: Callable[[], object], *, deadline: float | None = None) -> None:
        self._call(action, Kind.WRITE, function, deadline)

    def _change(self, action: str, function: Callable[[], T]) -> T:
        """Write, and return what was made."""
        return self._call(action, Kind.WRITE, function, None)

    def _call(self, action: str, kind: Kind, function: Callable[[], T], deadline: float | None) -> T:
        def attempt() -> T:
            return translated(action, function, self._config)

        return self._retry.call(lambda: self.budget.call(action, kind, attempt), deadline=deadline)


def connect(config: AwsConfig) -> Connection:
    """Return the SDK's clients; nothing is sent yet.

    Raises:
        MissingTool: boto3 is not installed.
        BadInput: the region does not exist as far as the SDK knows.
    """
    try:
        import boto3  # noqa: PLC0415  an SDK is loaded when its cloud is used, not before
        from botocore.config import Config  # noqa: PLC0415  the same
    except ImportError as error:
        raise MissingTool(f"the aws provider needs boto3: pip install 'cloudnet[aws]' ({error})") from error
    session = boto3.session.Session(
        aws_access_key_id=config.access_key_id or None,
        aws_secret_access_key=config.secret_access_key or None,
        aws_session_token=config.session_token or None,
        region_name=config.region,
    )
    check_region(config, known_regions(session))
    options = Config(
        retries={"total_max_attempts": 1, "mode": "standard"},
        connect_timeout=config.connect_timeout,
        read_timeout=config.read_timeout,
        tcp_keepalive=True,
        user_agent_extra=f"cloudnet/{config.cluster}" if config.cluster else "cloudnet",
    )
    endpoint = config.endpoint_url or None
    try:
        return Connection(
            ec2=session.client("ec2", config=options, endpoint_url=endpoint),
            quotas=session.client("service-quotas", config=options, endpoint_url=endpoint),
        )
    except ValueError as error:  # botocore's answer to an endpoint that is no URL
        raise BadInput(str(error), path="endpoint_url") from error


def known_regions(
    session: Any,  # boto3's Session: the package ships no types, and the stubs are not there at run time
) -> frozenset[str]:
    """Return every region of every partition that the installed SDK knows."""
    partitions = session.get_available_partitions()
    return frozenset(r for p in partitions for r in session.get_available_regions("ec2", partition_name=p))


def check_region(config: AwsConfig, known: frozenset[str]) -> None:
    """Refuse a region that does not exist; with an endpoint of its own any name will do."""
    if config.region not in known and not config.endpoint_url:
        raise BadInput(
            f"{config.region!r} is no AWS region that the installed boto3 knows: correct it, "
            "upgrade boto3 if the region is new, or set endpoint_url",
            path="region",
        )


def translated(action: str, function: Callable[[], T], config: AwsConfig) -> T:
    """Return what ``function`` returns, its failure as one of our errors."""
    from botocore import exceptions  # noqa: PLC0415  loaded by then
    from botocore.parsers import ResponseParserError  # noqa: PLC0415  the same

    try:
        return function()
    except exceptions.ClientError as error:
        raise errors.translate(refusal(action, error.response), secrets=config.secrets) from error
    except (
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
        exceptions.CredentialRetrievalError,
    ) as e:
        raise PermissionDenied(
            f"{action} was not sent, there are no credentials: give the machine a role or set access_key_id ({e})",
            provider=errors.NAME,
        ) from e
    except exceptions.ParamValidationError as error:
        raise Unsupported(f"{action} was not sent: {error}", provider=errors.NAME) from error
    except ResponseParserError as error:
        raise Unavailable(
            f"{action} was answered by something that is not AWS, at {where(config)}: "
            "look for a proxy, or correct endpoint_url",
            provider=errors.NAME,
        ) from error
    except (exceptions.BotoCoreError, exceptions.HTTPClientError) as error:
        raise unreachable(action, error, config) from error


def refusal(
    action: str,
    response: Any,  # botocore's error response: a dict that follows no schema when a proxy wrote it
) -> Refusal:
    """Return the parts of an error response that we act on."""
    error, meta = response.get("Error", {}), response.get("ResponseMetadata", {})
    after = str(meta.get("HTTPHeaders", {}).get("retry-after", ""))
    return Refusal(
        action=action,
        status=int(meta.get("HTTPStatusCode", 0)),
        code=str(error.get("Code", "")),
        message=str(error.get("Message", "")),
        request_id=str(meta.get("RequestId", "")),
        retry_after=float(after) if after.isdecimal() else None,
    )


def unreachable(action: str, error: Exception, config: AwsConfig) -> ProviderError:
    return Unavailable(
        f"{action} got no answer from {where(config)} in region {config.region}: "
        f"check the network, the region and endpoint_url ({type(error).__name__})",
        provider=errors.NAME,
    )


def where(config: AwsConfig) -> str:
    return config.endpoint_url or f"ec2.{config.region}.amazonaws.com"
