"""What of a network stands in the way of pods, and the command that removes it. Reads and asks, writes nothing.

Firewall policies of folders, organisations and networks are not looked at; that a network has one is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from ipaddress import ip_network
from typing import TYPE_CHECKING, TypeVar

from cloudnet.model.addresses import Family, InstanceId
from cloudnet.provider import findings
from cloudnet.provider.api import Instance, RouteTable, RouteTables, TableRoute
from cloudnet.provider.errors import ProviderError
from cloudnet.provider.findings import Machines, asked
from cloudnet.provider.firewall import Gap, Guard, of_family
from cloudnet.provider.preflight import Check, Finding, Needs, Severity
from cloudnet_gcp import firewalls, instances, names
from cloudnet_gcp.client import Client
from cloudnet_gcp.config import GcpConfig
from cloudnet_gcp.errors import PERMISSIONS

if TYPE_CHECKING:  # the provider is made of this file too
    from cloudnet_gcp import GcpProvider

T = TypeVar("T")
Answers = tuple[Finding, ...]

ADDRESSES = ("compute.instances.updateNetworkInterface", "compute.subnetworks.get", "compute.zoneOperations.list")
"""Calls that native addresses alone make."""
LOOKING = ("compute.firewalls.list", "compute.networks.get", "compute.subnetworks.aggregatedList")
"""Calls that the controller never makes."""
ANYWAY = frozenset({"compute.projects.get"})  # without it the controller goes on, with a cautious number
RULE_PRIORITY = 1000  # of a firewall rule, Google's default; a lower number decides first


def look(provider: GcpProvider, client: Client, config: GcpConfig, needs: Needs) -> Answers:
    """Return every finding, that of what can never be changed later first.

    Raises:
        ProviderError: Google does not answer.
    """
    found, may_list = _allowed("compute.instances.aggregatedList", lambda: provider.instances(needs.nodes), config)
    network, may_get = _allowed("compute.networks.get", client.network, config)
    read, may_read = _allowed("compute.routes.list", provider.routes.read, config)
    told: Answers = ()
    if found is not None:
        told = (*machines(needs, found, config), *firewall_rules(client, found, needs, config))
        told = (*told, *rooms(provider, found, needs, config))
    if network is not None:
        told = (*told, *network_mtu(needs, found or {}, network.mtu, config), *policy(network.policy))
    if found is not None and read is not None:
        told = (*told, *routing(provider, client, found, read, needs))
    return once((*told, *permissions(client, needs, config), *may_list, *may_get, *may_read))


def machines(needs: Needs, found: Machines, config: GcpConfig) -> Answers:
    """Judge machines. Native addresses need no forwarding, so with them a machine without it is no loss of theirs."""
    return (
        *findings.forwarding(
            found,
            problem="it was made without canIpForward, which nothing can change later: VXLAN carries its pods",
            remedy=partial(_make_anew, config),
            severity=Severity.WARNING if needs.native else Severity.BLOCKS,
        ),
        *findings.machines(
            needs,
            found,
            remedy=f"check project {config.project}, network {config.network}, and the nodes' ids and addresses",
        ),
    )


def routing(provider: GcpProvider, client: Client, found: Machines, read: RouteTables, needs: Needs) -> Answers:
    config = provider.config
    subnets, told = _allowed("compute.subnetworks.aggregatedList", client.subnets, config)
    ranges = [
        (f"range {range_name} of subnet {subnet.name}" if range_name else f"subnet {subnet.name}", ip_network(cidr))
        for subnet in subnets or ()
        for range_name, cidr in {"": subnet.cidr, **subnet.secondary}.items()
    ]
    return (
        *told,
        *findings.tables(found, read, remedy=_unserved),
        *findings.foreign(needs, found, read, remedy=partial(_delete_route, config)),
        *findings.quota(needs, found, read, provider.capabilities, remedy=partial(_raise_quota, config)),
        *findings.overlaps(needs, ranges, severity=Severity.BLOCKS),
    )


def rooms(provider: GcpProvider, found: Machines, needs: Needs, config: GcpConfig) -> Answers:
    """Judge whether every node can have an alias range for pods, where these are wanted."""
    addresses = provider.addresses
    if not needs.native:
        return ()
    if addresses is None:
        problem = "no secondary range is named that alias ranges come from"
        remedy = "set pod_range in the provider's settings"
        return (Finding(Check.ADDRESSES, "native addresses", Severity.BLOCKS, problem, remedy),)
    holdings, told = _allowed("compute.subnetworks.get", lambda: addresses.read(tuple(found.values())), config)
    if holdings is None:
        return told
    return (*told, *findings.rooms(needs, found, holdings, remedy=partial(_add_range, config)))


def network_mtu(needs: Needs, found: Machines, mtu: int, config: GcpConfig) -> Answers:
    """Judge the network's MTU, and whether the setting says the same."""
    told = findings.mtu(needs, {name: replace(instance, mtu=mtu) for name, instance in found.items()})
    if mtu == config.mtu:
        return told
    lost = "larger packets are lost" if mtu < config.mtu else "packets are smaller than they could be"
    return (
        *told,
        Finding(
            Check.MTU,
            f"setting mtu {config.mtu}",
            Severity.BLOCKS if mtu < config.mtu else Severity.WARNING,
            f"network {config.network} carries {mtu} bytes: {lost}",
            f"set mtu to {mtu} in the provider's settings",
        ),
    )


# --- permissions --------------------------------------------------------------------------------------------------


def permissions(client: Client, needs: Needs, config: GcpConfig) -> Answers:
    """Judge what the controller may do in the project, write or read."""
    wanted = needed(native=bool(needs.native))
    try:
        granted = client.granted(tuple(wanted))
    except ProviderError as error:
        remedy = (
            "enable the Cloud Resource Manager API, and give the machine's token the scope cloud-platform.read-only"
        )
        return (Finding(Check.PERMISSION, "what is granted", Severity.WARNING, str(error), remedy),)
    return tuple(
        Finding(Check.PERMISSION, permission)
        if permission in granted
        else Finding(
            Check.PERMISSION, permission, severity, "it is not granted in the project", grant(config, permission)
        )
        for permission, severity in wanted.items()
    )


def needed(*, native: bool) -> Mapping[str, Severity]:
    """Return the permissions that are needed, with ``native`` addresses or without, and what a missing one means."""
    calls = [call for call in PERMISSIONS if native or call not in ADDRESSES]
    found: dict[str, Severity] = {}
    for call in sorted(calls, key=lambda each: each in LOOKING):  # what the controller needs is needed
        for permission in PERMISSIONS[call]:
            found.setdefault(permission, _without(call))
    return found


def _without(call: str) -> Severity:
    return Severity.WARNING if call in ANYWAY or call in LOOKING else Severity.BLOCKS


def grant(config: GcpConfig, permission: str) -> str:
    """Return the command that adds a permission to the controller's role, named as ``terraform/gcp`` names it."""
    role = f"cloudnet_{config.cluster.replace('-', '_')}"
    return f"gcloud iam roles update {role} --project {config.project} --add-permissions {permission}"


def _allowed(call: str, read: Callable[[], T], config: GcpConfig) -> tuple[T | None, Answers]:
    permission = PERMISSIONS[call][0]
    return asked(read, permission, grant(config, permission), severity=_without(call))


def once(told: Iterable[Finding]) -> Answers:
    """Leave out what is told twice of one permission: a refusal says more than a grant, the first one is kept."""
    kept: dict[tuple[Check, str, str], Finding] = {}
    for finding in told:
        key = (finding.check, finding.subject, "" if finding.check is Check.PERMISSION else finding.problem)
        known = kept.setdefault(key, finding)
        if known.severity is Severity.OK:
            kept[key] = finding
    return tuple(kept.values())


# --- firewall -----------------------------------------------------------------------------------------------------


def firewall_rules(client: Client, found: Machines, needs: Needs, config: GcpConfig) -> Answers:
    """Judge the network's rules, each node with those that its tags and service accounts bring."""
    known, told = _allowed("compute.firewalls.list", client.firewalls, config)
    if known is None:
        return told
    marks = {instances.instance_id(m): firewalls.marks(m) for m in instances.describe(client, _ids(found))}
    marked = {name: marks[instance.id] for name, instance in found.items() if instance.id in marks}
    guards = firewalls.guards(known, found, marked)
    return (*told, *findings.openings(needs, guards, remedy=partial(_allow, config)))


def _ids(found: Machines) -> list[InstanceId]:
    return [instance.id for instance in found.values()]


def policy(url: str) -> Answers:
    """Tell of a firewall policy: what it lets through is not judged."""
    if not url:
        return ()
    name = names.last(url)
    remedy = (
        f"see that it lets VXLAN, probes and pods through: gcloud compute network-firewall-policies describe {name}"
    )
    return (Finding(Check.FIREWALL, f"policy {name}", Severity.WARNING, "its rules are not looked at", remedy),)


def _allow(config: GcpConfig, guard: Guard, gap: Gap) -> str:
    """Return the commands that let a gap's packets through, by rules that decide before those that drop them."""
    versions = [version for version in Family if of_family(gap.remotes, version)]
    return "; ".join(_create(config, guard, gap, version) for version in versions)


def _create(config: GcpConfig, guard: Guard, gap: Gap, version: Family) -> str:
    first, last = gap.opening.ports
    ports = "" if gap.ports is None else f":{first}" if first == last else f":{first}-{last}"
    icmp = "icmp" if version is Family.IPV4 else "58"
    allowed = ",".join(icmp if protocol == "icmp" else f"{protocol}{ports}" for protocol in gap.protocols)
    way, side = ("ingress", "source") if gap.inbound else ("egress", "destination")
    name = f"cloudnet-{gap.opening.name.lower()}-{way}-ipv{version:d}"
    ranges = ",".join(map(str, of_family(gap.remotes, version)))
    return (
        f"gcloud compute firewall-rules create {name} --project {config.project} --network {config.network} "
        f"--direction {way.upper()} --priority {_before_denials(guard, gap)} --allow {allowed} "
        f"--{side}-ranges {ranges}{_target(guard.id)}"
    )


def _target(mark: str) -> str:
    if not mark:
        return ""
    return f" --target-{'service-accounts' if '@' in mark else 'tags'} {mark}"


def _before_denials(guard: Guard, gap: Gap) -> int:
    """Return a priority that decides before all denials of that way; none does before one of priority 0."""
    denials = [rule.rank for rule in guard.rules if rule.inbound is gap.inbound and not rule.allow]
    return max(0, min([RULE_PRIORITY, *(rank - 1 for rank in denials)]))


# --- remedies -----------------------------------------------------------------------------------------------------


def _make_anew(config: GcpConfig, instance: Instance) -> str:
    zone, _, name = instance.id.partition("/")
    return (
        f"drain the node, then gcloud compute instances delete {name} --project {config.project} --zone {zone}, "
        "and make it anew with --can-ip-forward, or can_ip_forward = true in its template"
    )


def _unserved(subnet: str) -> str:
    return f"check that {subnet} is a subnet of the network in the settings"


def _delete_route(config: GcpConfig, _table: RouteTable, route: TableRoute) -> str:
    name = re.search(r"\(route ([^)]+)\)", route.target)
    return f"gcloud compute routes delete {name[1] if name else route.destination} --project {config.project}"


def _raise_quota(config: GcpConfig, _table: RouteTable, wanted: int) -> str:
    return (
        f"ask for {wanted * 2} static routes: https://console.cloud.google.com/iam-admin/quotas"
        f"?project={config.project}, or give nodes fewer, larger blocks (blockSize of the pool)"
    )


def _add_range(config: GcpConfig, subnet: str) -> str:
    region, _, name = subnet.partition("/")
    return (
        f"gcloud compute networks subnets update {name} --project {config.project} --region {region} "
        f"--add-secondary-ranges {config.pod_range}=RANGE; a range that is too small can only be replaced by another"
    )
