"""What removes what stands in the way, as commands of ``az`` to paste. Pure."""

from __future__ import annotations

from cloudnet.model.addresses import Family
from cloudnet.provider.api import Instance, RouteTable, TableRoute
from cloudnet.provider.firewall import Gap, Guard, of_family
from cloudnet_azure import ids, security_groups
from cloudnet_azure.config import AzureConfig

_OF_A_SCALE_SET = 4  # names in the id of a scale set's interface


def grant(config: AzureConfig, action: str, group: str) -> str:
    """Return what to add to the controller's role, named as ``terraform/azure`` names it."""
    scope = f"/subscriptions/{config.subscription_id}/resourceGroups/{group}"
    return f'add "{action}" to the Actions of role cloudnet-{config.cluster}, assigned at {scope}'


def allow(guard: Guard, gap: Gap) -> str:
    """Return the commands that let a gap's packets through a group, by rules that decide before its denials."""
    versions = [version for version in Family if of_family(gap.remotes, version)]
    every = [(p, v) for v in versions for p in _protocols(gap, v)]
    priorities = security_groups.free_priorities(guard.rules, len(every), inbound=gap.inbound)
    if len(priorities) < len(every):
        return f"{guard.name} has no free priority before its denials: give these larger numbers"
    return "; ".join(
        _create(guard, gap, protocol, version, priority)
        for (protocol, version), priority in zip(every, priorities, strict=True)
    )


def _protocols(gap: Gap, version: Family) -> tuple[str, ...]:
    """Return the protocols as rules name them; ICMP of IPv6 has no name but ``*``."""
    every = len(gap.protocols) > len({"tcp", "udp"})
    return (
        ("*",)
        if every or (version is Family.IPV6 and "icmp" in gap.protocols)
        else tuple(protocol.capitalize() for protocol in gap.protocols)
    )


def _create(guard: Guard, gap: Gap, protocol: str, version: Family, priority: int) -> str:
    group, name = ids.names(guard.id)
    remotes = " ".join(map(str, of_family(gap.remotes, version)))
    ports = "*" if gap.ports is None else "-".join(map(str, dict.fromkeys(gap.ports)))
    source, destination = (remotes, "'*'") if gap.inbound else ("'*'", remotes)
    way = "Inbound" if gap.inbound else "Outbound"
    rule = f"cloudnet-{gap.opening.name.lower()}-{way.lower()}-{priority}"
    return (
        f"az network nsg rule create --resource-group {group} --nsg-name {name} --name {rule} --priority {priority} "
        f"--direction {way} --access Allow --protocol '{protocol}' --source-address-prefixes {source} "
        f"--source-port-ranges '*' --destination-address-prefixes {destination} --destination-port-ranges '{ports}'"
    )


def switch_on(instance: Instance) -> str:
    names = ids.names(instance.interface)
    if len(names) == _OF_A_SCALE_SET:
        return (
            f"az vmss update --resource-group {names[0]} --name {names[1]} --set virtualMachineProfile"
            ".networkProfile.networkInterfaceConfigurations[0].enableIPForwarding=true, then "
            f"az vmss update-instances --resource-group {names[0]} --name {names[1]} --instance-ids {names[2]}"
        )
    return f"az network nic update --resource-group {names[0]} --name {names[1]} --ip-forwarding true"


def associate(config: AzureConfig, subnet: str) -> str:
    group, network, name = ids.names(subnet)
    table = config.route_tables[0] if config.route_tables else "TABLE"
    return (
        f"az network vnet subnet update --resource-group {group} --vnet-name {network} --name {name} "
        f"--route-table {table}, a table of resource group {config.tables_group}"
    )


def delete_route(config: AzureConfig, table: RouteTable, route: TableRoute) -> str:
    return (
        f"az network route-table route delete --resource-group {config.tables_group} --route-table-name {table.name} "
        f"--name {route.target.rpartition('(route ')[2].rstrip(')')}"
    )


def fewer_routes(table: RouteTable, wanted: int) -> str:
    return (
        f"give nodes fewer, larger blocks (blockSize of the pool), or have Azure raise the routes of {table.name} "
        f"to {wanted} and set routes_per_table"
    )


def larger_subnet(subnet: str) -> str:
    group, network, name = ids.names(subnet)
    return (
        f"az network vnet subnet update --resource-group {group} --vnet-name {network} --name {name} "
        f"--address-prefixes RANGE RANGE: one more range, or a larger one"
    )
