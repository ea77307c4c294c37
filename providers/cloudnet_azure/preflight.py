"""What of a subscription stands in the way of pods, and the command that removes it. Reads, writes nothing.

Rights are those of the resource groups as Azure tells them; policies and locks show only when something is written.
Azure Firewall and appliances between subnets are not looked at.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_network
from typing import TYPE_CHECKING, TypeVar

from cloudnet.model.addresses import InterfaceId, Network, NodeName, SubnetId
from cloudnet.model.resources import EncapMode
from cloudnet.provider import findings
from cloudnet.provider.api import Instance, RouteTables
from cloudnet.provider.findings import Machines, asked
from cloudnet.provider.firewall import Guard
from cloudnet.provider.preflight import Check, Finding, Needs, Severity
from cloudnet_azure import client as calls
from cloudnet_azure import configurations, ids, instances, power, remedies, rights, security_groups
from cloudnet_azure.client import Client, Json
from cloudnet_azure.config import AzureConfig
from cloudnet_azure.rights import Where
from cloudnet_azure.security_groups import Known

if TYPE_CHECKING:  # the provider is made of this file too
    from cloudnet_azure import AzureProvider

T = TypeVar("T")
Answers = tuple[Finding, ...]

_OF_A_SUBNET = 3  # names in the id of a subnet
_OF_A_SCALE_SET = 4  # names in the id of a scale set's interface


@dataclass(frozen=True, slots=True)
class Sight:
    """What is around the nodes: their interfaces, and every subnet of their virtual networks, as Azure shows them."""

    interfaces: Mapping[InterfaceId, Json]
    subnets: Mapping[SubnetId, Json]


def look(provider: AzureProvider, client: Client, config: AzureConfig, needs: Needs) -> Answers:
    """Return every finding.

    Raises:
        ProviderError: Azure does not answer.
    """
    found, told = _allowed(calls.INTERFACES_READ, lambda: provider.instances(needs.nodes), config)
    read, more = _allowed(calls.TABLES_READ, provider.routes.read, config)
    told = (*told, *more)
    if found is None:
        return told
    found, more = powered(client, found, config)
    told = (*told, *more, *machines(needs, found, config))
    sight, more = _allowed(calls.SUBNETS_READ, lambda: see(client, found, config), config, severity=Severity.WARNING)
    told = (*told, *more, *permissions(client, found, sight, needs, config))
    if sight is not None:
        told = (*told, *surroundings(client, found, sight, needs, config), *rooms(provider, found, needs))
    if read is not None:
        told = (*told, *routing(provider, found, read, needs, config))
    return told


def powered(client: Client, found: Machines, config: AzureConfig) -> tuple[Machines, Answers]:
    """Return the machines with their power states as they are now; without permission all are taken for running."""
    names = [instance.id for instance in found.values()]
    off, told = _allowed(calls.MACHINES_READ, lambda: power.look(client, names), config, severity=Severity.WARNING)
    return {name: replace(i, running=i.running and i.id not in (off or ())) for name, i in found.items()}, told


def machines(needs: Needs, found: Machines, config: AzureConfig) -> Answers:
    return (
        *findings.machines(
            needs,
            found,
            remedy=f"check resource_group {config.resource_group}, scale_sets and the nodes' ids and addresses",
        ),
        *findings.forwarding(
            found,
            problem="IP forwarding is off; the controller switches it on, or",
            remedy=remedies.switch_on,
            severity=Severity.WARNING,
        ),
        *findings.mtu(needs, found),
        *encapsulations(needs),
    )


def encapsulations(needs: Needs) -> Answers:
    """Judge pools that ask for IP-in-IP: Azure drops it, whoever sends it."""
    return tuple(
        Finding(
            Check.FIREWALL,
            f"pool {pool.meta.name} ({pool.cidr})",
            Severity.WARNING,
            f"it asks for IP-in-IP ({pool.ipip_mode.value}), which Azure drops: cloudnet sends VXLAN instead",
            "set ipipMode to Never and vxlanMode to what ipipMode was",
        )
        for pool in needs.pools
        if pool.ipip_mode is not EncapMode.NEVER
    )


def routing(
    provider: AzureProvider, found: Machines, read: RouteTables, needs: Needs, config: AzureConfig
) -> Answers:
    return (
        *findings.tables(found, read, remedy=partial(remedies.associate, config)),
        *findings.foreign(needs, found, read, remedy=partial(remedies.delete_route, config)),
        *findings.quota(needs, found, read, provider.capabilities, remedy=remedies.fewer_routes),
    )


def rooms(provider: AzureProvider, found: Machines, needs: Needs) -> Answers:
    """Judge whether every node can have native addresses, where these are wanted."""
    if not needs.native:
        return ()
    return findings.rooms(needs, found, provider.addresses.read(tuple(found.values())), remedy=remedies.larger_subnet)


# --- permissions --------------------------------------------------------------------------------------------------


def permissions(client: Client, found: Machines, sight: Sight | None, needs: Needs, config: AzureConfig) -> Answers:
    """Judge what the controller may do in each resource group that it works in."""
    groups = _groups(found, sight, config)
    every = sorted({group for each in groups.values() for group in each})
    roles, told = _allowed(
        calls.PERMISSIONS_READ,
        lambda: {group: client.permissions(group) for group in every},
        config,
        severity=Severity.WARNING,  # the controller does not need it
    )
    scale_sets = bool(config.scale_sets) or any(map(_of_scale_set, found.values()))
    wanted = tuple(rights.needed(scale_sets=scale_sets, native=bool(needs.native)))
    lacking = rights.missing(roles or {}, wanted, groups)
    return (
        *told,
        *(
            Finding(
                Check.PERMISSION,
                f"{right.action} in {group}",
                right.severity,
                "no role of this identity grants it",
                remedies.grant(config, right.action, group),
            )
            for right, group in lacking
        ),
    )


def _groups(found: Machines, sight: Sight | None, config: AzureConfig) -> Mapping[Where, Collection[str]]:
    """Return the resource groups that the controller works in, in small letters."""
    nodes = {ids.names(instance.interface)[0] for instance in found.values()}
    networks = {ids.names(instance.subnet)[0] for instance in found.values() if instance.subnet}
    return {
        Where.NODES: {config.resource_group.lower(), *nodes},
        Where.TABLES: {config.tables_group.lower()},
        Where.NETWORKS: networks,
        Where.SECURITY_GROUPS: {ids.names(each)[0] for each in (_of_interfaces(found, sight) if sight else ())},
    }


def _allowed(
    action: str, read: Callable[[], T], config: AzureConfig, *, severity: Severity = Severity.BLOCKS
) -> tuple[T | None, Answers]:
    group = config.tables_group if action == calls.TABLES_READ else config.resource_group
    return asked(read, action, remedies.grant(config, action, group), severity=severity)


# --- what is around the nodes -------------------------------------------------------------------------------------


def see(client: Client, found: Machines, config: AzureConfig) -> Sight:
    """Read the nodes' interfaces once more, whole, and the subnets of their networks."""
    own = {instance.interface for instance in found.values()}
    bodies = instances.listed(client, (i.id for i in found.values()), config, more=False) if found else ()
    networks = {ids.names(i.subnet)[:2] for i in found.values() if len(ids.names(i.subnet)) == _OF_A_SUBNET}
    subnets = [subnet for group, network in sorted(networks) for subnet in client.subnets(group, network)]
    return Sight(
        {name: body for body in bodies if (name := ids.interface(body["id"])) in own},
        {ids.subnet(subnet["id"]): subnet for subnet in subnets},
    )


def surroundings(client: Client, found: Machines, sight: Sight, needs: Needs, config: AzureConfig) -> Answers:
    ranges = [(f"subnet {ids.names(name)[-1]}", n) for name, body in sight.subnets.items() for n in _ranges(body)]
    return (
        *findings.overlaps(needs, ranges, severity=Severity.BLOCKS),
        *firewalls(client, found, sight, needs, config),
    )


def firewalls(client: Client, found: Machines, sight: Sight, needs: Needs, config: AzureConfig) -> Answers:
    """Judge the network security groups of the nodes' interfaces and subnets, each for itself."""
    guarded = defaultdict(set)
    for name, instance in found.items():
        for body in (sight.interfaces.get(instance.interface, {}), sight.subnets.get(instance.subnet, {})):
            if group := _security_group(body):
                guarded[group].add(name)
    bodies, told = _allowed(
        calls.SECURITY_GROUPS_READ,
        lambda: {group: client.security_group(*calls.id_parts(group, config.resource_group)) for group in guarded},
        config,
        severity=Severity.WARNING,  # the controller does not need them
    )
    if bodies is None:
        return told
    known = Known((*(n for body in sight.subnets.values() for n in _ranges(body)), *needs.pods), _asgs(sight))
    guards = [_guard(group, guarded[group], found, bodies[group], known) for group in sorted(guarded)]
    return (*told, *findings.openings(needs, guards, remedy=remedies.allow))


def _guard(group: str, nodes: Collection[NodeName], found: Machines, body: Json, known: Known) -> Guard:
    return Guard(
        f"network security group {ids.names(group)[-1]}",
        tuple(sorted(nodes)),
        security_groups.rules(body, known),
        id=group,
        addresses=tuple(ip_network(address) for name in nodes for address in found[name].addresses),
    )


def _security_group(body: Json) -> str:
    """Return the short id of the group of an interface or a subnet; empty where it has none."""
    return ids.short(((body.get("properties") or {}).get("networkSecurityGroup") or {}).get("id", ""))


def _of_interfaces(found: Machines, sight: Sight) -> set[str]:
    """Return the groups of the nodes' interfaces: who writes an interface joins it to its group again."""
    return {g for i in found.values() if (g := _security_group(sight.interfaces.get(i.interface, {})))}


def _asgs(sight: Sight) -> Mapping[str, tuple[Network, ...]]:
    """Return the addresses of each application security group, as far as nodes are in it."""
    members: dict[str, tuple[Network, ...]] = defaultdict(tuple)
    for body in sight.interfaces.values():
        for each in configurations.of(body):
            address = each["properties"].get("privateIPAddress")
            for group in each["properties"].get("applicationSecurityGroups") or []:
                members[group["id"].lower()] += (ip_network(address),) if address else ()
    return members


def _ranges(subnet: Json) -> list[Network]:
    properties = subnet.get("properties") or {}
    texts = (
        [properties["addressPrefix"]] if properties.get("addressPrefix") else properties.get("addressPrefixes", [])
    )
    return [ip_network(text) for text in texts]


def _of_scale_set(instance: Instance) -> bool:
    return len(ids.names(instance.interface)) == _OF_A_SCALE_SET
