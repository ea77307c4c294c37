"""What of a VPC stands in the way of pods, and the command that removes it. Reads, asks by dry run, writes nothing.

Network ACLs and AWS Network Firewall are not looked at: unless somebody changed them they let all pass.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from cloudnet.model.addresses import Family, Network, family
from cloudnet.provider import findings
from cloudnet.provider.api import Instance, RouteTable, RouteTables, TableRoute
from cloudnet.provider.findings import Machines, asked
from cloudnet.provider.firewall import Gap, Guard
from cloudnet.provider.preflight import Check, Finding, Needs, Severity
from cloudnet_aws import instances, security_groups
from cloudnet_aws.client import ROUTES_QUOTA, Client
from cloudnet_aws.config import AwsConfig
from cloudnet_aws.routes import LOCAL

if TYPE_CHECKING:  # the provider is made of this file too
    from cloudnet_aws import AwsProvider

T = TypeVar("T")
Answers = tuple[Finding, ...]

MOST_ROUTES = 1000  # that AWS gives a table on request


def look(provider: AwsProvider, client: Client, config: AwsConfig, needs: Needs) -> Answers:
    """Return every finding.

    Raises:
        ProviderError: AWS does not answer.
    """
    found, told = _allowed("ec2:DescribeInstances", lambda: provider.instances(needs.nodes))
    read, more = _allowed("ec2:DescribeRouteTables", provider.routes.read)
    told = (*told, *more, *quota_permission(client))
    if found is not None:
        told = (*told, *machines(needs, found, config), *firewalls(client, found, needs, config))
        told = (*told, *rooms(provider, found, needs, config))
    if found is not None and read is not None:
        told = (*told, *write_permissions(client, found, read, needs), *routing(provider, found, read, needs, config))
    return told


def machines(needs: Needs, found: Machines, config: AwsConfig) -> Answers:
    return (
        *findings.machines(
            needs,
            found,
            remedy=f"check vpc_id {config.vpc_id}, region {config.region} and the nodes' provider ids and addresses",
        ),
        *findings.forwarding(
            found,
            problem="its source/destination check is on; the controller switches it off, or",
            remedy=partial(_switch_off, config),
            severity=Severity.WARNING,
        ),
        *findings.mtu(needs, found),
    )


def routing(provider: AwsProvider, found: Machines, read: RouteTables, needs: Needs, config: AwsConfig) -> Answers:
    ranges = [("the VPC's own", r.destination) for t in read.tables for r in t.routes if r.target == LOCAL]
    return (
        *findings.tables(found, read, remedy=_unserved),
        *findings.foreign(needs, found, read, remedy=partial(_delete_route, config)),
        *findings.quota(needs, found, read, provider.capabilities, remedy=partial(_raise_quota, config)),
        *findings.overlaps(needs, ranges, severity=Severity.BLOCKS),
    )


def rooms(provider: AwsProvider, found: Machines, needs: Needs, config: AwsConfig) -> Answers:
    """Judge whether every node can have native addresses, where these are wanted."""
    if not needs.native:
        return ()
    if not config.cluster:
        problem, remedy = "interfaces of ours would have no mark", "set cluster in the provider's settings"
        return (Finding(Check.ADDRESSES, "native addresses", Severity.BLOCKS, problem, remedy),)
    holdings, told = _allowed("ec2:DescribeNetworkInterfaces", lambda: provider.addresses.read(tuple(found.values())))
    return told if holdings is None else (*told, *findings.rooms(needs, found, holdings, remedy=_another_subnet))


# --- permissions --------------------------------------------------------------------------------------------------


def quota_permission(client: Client) -> Answers:
    """Judge whether the quota may be read; where not, the configured number is taken."""
    action = "servicequotas:GetServiceQuota"
    return _allowed(action, client.routes_quota, severity=Severity.WARNING)[1]


def write_permissions(client: Client, found: Machines, read: RouteTables, needs: Needs) -> Answers:
    """Judge by dry runs what may be written; policies can tell tables apart, so each is asked about."""
    instance = next(iter(found.values()), None)
    if instance is None or not needs.pods:
        return ()
    attribute = {"NetworkInterfaceId": instance.interface, "SourceDestCheck": {"Value": False}}
    told = [*_denied(client, "ec2:ModifyNetworkInterfaceAttribute", attribute)]
    for table in read.tables:
        at = {"RouteTableId": table.id, **_destination(needs.pods[0])}
        told += _denied(client, "ec2:CreateRoute", at | {"NetworkInterfaceId": instance.interface})
        told += _denied(client, "ec2:ReplaceRoute", at | {"NetworkInterfaceId": instance.interface})
        told += _denied(client, "ec2:DeleteRoute", at)
    return tuple(dict.fromkeys(told))


def _denied(client: Client, action: str, request: Mapping[str, object]) -> Answers:
    return _allowed(action, lambda: client.ask_whether(action, request))[1]


def _allowed(action: str, read: Callable[[], T], *, severity: Severity = Severity.BLOCKS) -> tuple[T | None, Answers]:
    return asked(read, action, statement(action), severity=severity)


def statement(action: str) -> str:
    """Return the statement of a policy that allows an action."""
    return json.dumps({"Effect": "Allow", "Action": [action], "Resource": "*"})


def _destination(prefix: Network) -> Mapping[str, str]:
    field = "DestinationCidrBlock" if family(prefix) is Family.IPV4 else "DestinationIpv6CidrBlock"
    return {field: str(prefix)}


# --- security groups ----------------------------------------------------------------------------------------------


def firewalls(client: Client, found: Machines, needs: Needs, config: AwsConfig) -> Answers:
    """Judge the security groups of the nodes' interfaces."""
    groups = security_groups.groups_of(instances.with_ids(client, (i.id for i in found.values())), found)
    named = sorted({group for each in groups.values() for group in each})
    answers, told = _allowed(
        "ec2:DescribeSecurityGroups",
        lambda: client.security_groups(named) if named else [],
        severity=Severity.WARNING,  # the controller does not need it
    )
    if answers is None:
        return told
    guards = security_groups.guards(groups, found, answers)
    return (*told, *findings.openings(needs, guards, remedy=partial(_authorize, config)))


def _authorize(config: AwsConfig, guard: Guard, gap: Gap) -> str:
    """Return the command that lets a gap's packets through the first of a guard's groups."""
    verb = "authorize-security-group-ingress" if gap.inbound else "authorize-security-group-egress"
    permissions = [_permission(protocol, gap) for protocol in gap.protocols]
    return _aws(config, f"{verb} --group-id {guard.id} --ip-permissions '{json.dumps(permissions)}'")


def _permission(protocol: str, gap: Gap) -> Mapping[str, object]:
    first, last = (-1, -1) if protocol == "icmp" else gap.opening.ports
    four = [{"CidrIp": str(n)} for n in gap.remotes if family(n) is Family.IPV4]
    six = [{"CidrIpv6": str(n)} for n in gap.remotes if family(n) is Family.IPV6]
    ranges = ({"IpRanges": four} if four else {}) | ({"Ipv6Ranges": six} if six else {})
    return {"IpProtocol": protocol, "FromPort": first, "ToPort": last, **ranges}


# --- remedies -----------------------------------------------------------------------------------------------------


def _switch_off(config: AwsConfig, instance: Instance) -> str:
    command = f"modify-network-interface-attribute --network-interface-id {instance.interface} --no-source-dest-check"
    return _aws(config, command)


def _another_subnet(subnet: str) -> str:
    return f"move machines to a subnet with more room than {subnet}, or leave these pods to pools"


def _unserved(subnet: str) -> str:
    return f"add the table of {subnet} to route_table_ids, or leave route_table_ids empty"


def _delete_route(config: AwsConfig, table: RouteTable, route: TableRoute) -> str:
    ((field, prefix),) = _destination(route.destination).items()
    flag = "--destination-cidr-block" if field == "DestinationCidrBlock" else "--destination-ipv6-cidr-block"
    return _aws(config, f"delete-route --route-table-id {table.id} {flag} {prefix}")


def _raise_quota(config: AwsConfig, _table: RouteTable, wanted: int) -> str:
    if wanted > MOST_ROUTES:
        return (
            f"AWS gives a table {MOST_ROUTES} routes at most: give nodes fewer, larger blocks (blockSize of the pool)"
        )
    return (
        f"aws service-quotas request-service-quota-increase --region {config.region} --service-code vpc "
        f"--quota-code {ROUTES_QUOTA} --desired-value {min(MOST_ROUTES, wanted * 2)}"
    )


def _aws(config: AwsConfig, command: str) -> str:
    return f"aws ec2 --region {config.region} {command}"
