"""What of a VPC stands in the way of pods, and the command that removes it. Reads, writes nothing.

The API has no dry run: whether routes may be written and spoofing allowed shows only when the controller does it.
Network ACLs are not looked at: unless somebody changed them they let all pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from ipaddress import ip_network
from typing import TYPE_CHECKING, TypeVar

from cloudnet.model.addresses import Family, InterfaceId, family
from cloudnet.provider import findings
from cloudnet.provider.api import Instance, RouteTable, RouteTables, TableRoute
from cloudnet.provider.findings import Machines, asked
from cloudnet.provider.firewall import Gap, Guard
from cloudnet.provider.preflight import Finding, Needs, Severity
from cloudnet_ibm import security_groups
from cloudnet_ibm.client import Client
from cloudnet_ibm.config import IbmConfig
from cloudnet_ibm.routes import split

if TYPE_CHECKING:  # the provider is made of this file too
    from cloudnet_ibm import IbmProvider

T = TypeVar("T")
Answers = tuple[Finding, ...]

VIEWER = "grant the controller's service id the role Viewer on VPC Infrastructure Services (is)"


def look(provider: IbmProvider, client: Client, needs: Needs) -> Answers:
    """Return every finding.

    Raises:
        ProviderError: IBM Cloud does not answer.
    """
    found, told = _allowed("list_instances", lambda: provider.instances(needs.nodes))
    read, more = _allowed("list_vpc_routing_tables", provider.routes.read)
    told = (*told, *more)
    if found is not None:
        told = (*told, *machines(needs, found, provider.config), *firewalls(client, found, needs))
    if found is not None and read is not None:
        told = (*told, *routing(provider, client, found, read, needs))
    return told


def machines(needs: Needs, found: Machines, config: IbmConfig) -> Answers:
    return (
        *findings.machines(
            needs,
            found,
            remedy=f"check vpc_id {config.vpc_id}, region {config.region} and the nodes' provider ids and addresses",
        ),
        *findings.forwarding(
            found,
            problem="IP spoofing is not allowed; the controller allows it, or",
            remedy=_allow_spoofing,
            severity=Severity.WARNING,
        ),
        *findings.mtu(needs, found),
        *findings.no_rooms(needs),
    )


def routing(provider: IbmProvider, client: Client, found: Machines, read: RouteTables, needs: Needs) -> Answers:
    config = provider.config
    subnets, told = _allowed("list_subnets", client.subnets)
    ranges = [("the subnet", ip_network(subnet.ipv4_cidr_block)) for subnet in subnets or ()]
    return (
        *told,
        *findings.tables(found, read, remedy=_unserved),
        *findings.foreign(needs, found, read, remedy=partial(_delete_route, config)),
        *findings.quota(needs, found, read, provider.capabilities, remedy=_raise_quota),
        *findings.overlaps(needs, ranges, severity=Severity.BLOCKS),
        *findings.families(needs, provider.capabilities),
    )


def firewalls(client: Client, found: Machines, needs: Needs) -> Answers:
    """Judge the security groups of the nodes' interfaces."""
    known, told = _allowed("list_security_groups", client.security_groups, severity=Severity.WARNING)
    if known is None:
        return told  # the controller does not need them
    wanted = {instance.interface for instance in found.values()}
    virtual = client.virtual_network_interfaces() if wanted else []
    groups = {InterfaceId(i.id): tuple(sorted(g.id for g in i.security_groups)) for i in virtual if i.id in wanted}
    virtual_only = {name: instance for name, instance in found.items() if instance.interface in groups}
    guards = security_groups.guards(virtual_only, groups, known)
    routed = replace(needs, pools=tuple(pool for pool in needs.pools if family(pool.cidr) is Family.IPV4))
    return (*told, *findings.openings(routed, guards, remedy=_add_rule))


def _allowed(call: str, read: Callable[[], T], *, severity: Severity = Severity.BLOCKS) -> tuple[T | None, Answers]:
    return asked(read, call, VIEWER, severity=severity)


# --- remedies -----------------------------------------------------------------------------------------------------


def _allow_spoofing(instance: Instance) -> str:
    return f"ibmcloud is virtual-network-interface-update {instance.interface} --allow-ip-spoofing true"


def _unserved(subnet: str) -> str:
    return f"add the routing table of {subnet} to routing_table_ids, or leave routing_table_ids empty"


def _delete_route(config: IbmConfig, table: RouteTable, route: TableRoute) -> str:
    name = re.search(r"\(route ([^,)]+)", route.target)
    what = name.group(1) if name else str(route.destination)
    return f"ibmcloud is vpc-routing-table-route-delete {config.vpc_id} {split(table.id)[0]} {what}"


def _raise_quota(table: RouteTable, wanted: int) -> str:
    return (
        f"give the subnets of zone {table.zone} a routing table of their own, "
        f"or ask IBM for {wanted * 2} routes a table and set routes_per_table"
    )


def _add_rule(guard: Guard, gap: Gap) -> str:
    """Return the commands that let a gap's packets through the first of a guard's groups."""
    way = "inbound" if gap.inbound else "outbound"
    ports = f" --port-min {gap.ports[0]} --port-max {gap.ports[1]}" if gap.ports else ""
    return "; ".join(
        f"ibmcloud is security-group-rule-add {guard.id} {way} {protocol} --remote {remote}{ports}"
        for protocol in gap.protocols
        for remote in gap.remotes
    )
