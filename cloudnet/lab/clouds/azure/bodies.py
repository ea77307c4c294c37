"""Resources as Azure Resource Manager shows them: what was written, and what Azure adds. Pure.

The keys are those of recorded traffic, so that a client meets nothing here that it does not meet there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]

LOCATION = "westeurope"


def guid(of: str) -> str:
    """Return a resource's guid: the same for the same id."""
    digits = hashlib.sha256(of.lower().encode()).hexdigest()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:32]))


def etag(of: str, version: int) -> str:
    return f'W/"{guid(f"{of} {version}")}"'


def reference(resource: str) -> Json:
    return {"id": resource}


def route_table(name: str, resource: str, written: Json, *, tag: str) -> Json:
    properties = written.get("properties") or {}
    routes = [
        route(r.get("name", ""), f"{resource}/routes/{r.get('name', '')}", r, tag=tag) for r in routes_of(written)
    ]
    shown: Json = {
        "name": name,
        "id": resource,
        "etag": tag,
        "type": "Microsoft.Network/routeTables",
        "location": written.get("location", LOCATION),
        "properties": {
            "provisioningState": "Succeeded",
            "resourceGuid": guid(resource),
            "disableBgpRoutePropagation": properties.get("disableBgpRoutePropagation", False),
            "routes": routes,
        },
    }
    if "tags" in written:
        shown["tags"] = written["tags"]
    return shown


def routes_of(table: Json) -> list[Json]:
    return list((table.get("properties") or {}).get("routes") or [])


def route(name: str, resource: str, written: Json, *, tag: str) -> Json:
    properties = written.get("properties") or {}
    written_keys = ("addressPrefix", "nextHopType", "nextHopIpAddress")
    return {
        "name": name,
        "id": resource,
        "etag": tag,
        "properties": {
            "provisioningState": "Succeeded",
            **{k: properties[k] for k in written_keys if properties.get(k) is not None},
            "hasBgpOverride": False,
        },
        "type": "Microsoft.Network/routeTables/routes",
    }


def network(name: str, resource: str, written: Json, subnets: Sequence[Json], *, tag: str) -> Json:
    return {
        "name": name,
        "id": resource,
        "etag": tag,
        "type": "Microsoft.Network/virtualNetworks",
        "location": written.get("location", LOCATION),
        "properties": {
            "provisioningState": "Succeeded",
            "resourceGuid": guid(resource),
            "addressSpace": written["properties"]["addressSpace"],
            "privateEndpointVNetPolicies": "Disabled",
            "subnets": list(subnets),
            "virtualNetworkPeerings": [],
            "enableDdosProtection": False,
        },
    }


def subnet(name: str, resource: str, written: Json, *, tag: str) -> Json:
    properties = written.get("properties") or {}
    shown = {k: properties[k] for k in ("addressPrefix", "routeTable", "networkSecurityGroup") if k in properties}
    return {
        "name": name,
        "id": resource,
        "etag": tag,
        "properties": {
            "provisioningState": "Succeeded",
            **shown,
            "delegations": [],
            "privateEndpointNetworkPolicies": "Disabled",
            "privateLinkServiceNetworkPolicies": "Enabled",
        },
        "type": "Microsoft.Network/virtualNetworks/subnets",
    }


def security_group(name: str, resource: str, written: Json, *, tag: str) -> Json:
    kind = "Microsoft.Network/networkSecurityGroups"
    own = (written.get("properties") or {}).get("securityRules") or []
    return {
        "name": name,
        "id": resource,
        "etag": tag,
        "type": kind,
        "location": written.get("location", LOCATION),
        "properties": {
            "provisioningState": "Succeeded",
            "resourceGuid": guid(resource),
            "securityRules": [_security_rule(f"{kind}/securityRules", resource, each, tag=tag) for each in own],
            "defaultSecurityRules": [
                _security_rule(f"{kind}/defaultSecurityRules", resource, _default(*each), tag=tag)
                for each in _DEFAULT_RULES
            ],
        },
    }


_NETWORK, _ANY = "VirtualNetwork", "*"
_DEFAULT_RULES = (
    ("AllowVnetInBound", "inbound traffic from all VMs in VNET", _NETWORK, _NETWORK, 65000),
    ("AllowAzureLoadBalancerInBound", "inbound traffic from azure load balancer", "AzureLoadBalancer", _ANY, 65001),
    ("DenyAllInBound", "all inbound traffic", _ANY, _ANY, 65500),
    ("AllowVnetOutBound", "outbound traffic from all VMs to all VMs in VNET", _NETWORK, _NETWORK, 65000),
    ("AllowInternetOutBound", "outbound traffic from all VMs to Internet", _ANY, "Internet", 65001),
    ("DenyAllOutBound", "all outbound traffic", _ANY, _ANY, 65500),
)
"""The rules at the end of every group: name, what they are about, source, destination, priority."""


def _default(name: str, about: str, source: str, destination: str, priority: int) -> Json:
    access = "Deny" if name.startswith("Deny") else "Allow"
    properties = {
        "description": f"{access} {about}",
        "protocol": _ANY,
        "sourcePortRange": _ANY,
        "destinationPortRange": _ANY,
        "sourceAddressPrefix": source,
        "destinationAddressPrefix": destination,
        "access": access,
        "priority": priority,
        "direction": "Inbound" if name.endswith("InBound") else "Outbound",
    }
    return {"name": name, "properties": properties}


def _security_rule(kind: str, group: str, written: Json, *, tag: str) -> Json:
    lists = ("sourcePortRanges", "destinationPortRanges", "sourceAddressPrefixes", "destinationAddressPrefixes")
    return {
        "name": written["name"],
        "id": f"{group}/{kind.rpartition('/')[2]}/{written['name']}",
        "etag": tag,
        "type": kind,
        "properties": {"provisioningState": "Succeeded"} | {name: [] for name in lists} | written["properties"],
    }


def interface(name: str, resource: str, written: Json, *, tag: str) -> Json:
    properties = written.get("properties") or {}
    configurations = [
        _configuration(c, f"{resource}/ipConfigurations/{c['name']}", primary=at == 0, tag=tag)
        for at, c in enumerate(properties.get("ipConfigurations") or [])
    ]
    kept = {k: properties[k] for k in ("networkSecurityGroup",) if k in properties}
    return {
        "name": name,
        "id": resource,
        "etag": tag,
        "properties": {
            "provisioningState": "Succeeded",
            "resourceGuid": guid(resource),
            "ipConfigurations": configurations,
            "dnsSettings": {
                "dnsServers": [],
                "appliedDnsServers": [],
                "internalDomainNameSuffix": "lab.ax.internal.cloudapp.net",
            },
            "enableAcceleratedNetworking": properties.get("enableAcceleratedNetworking", False),
            "vnetEncryptionSupported": False,
            "enableIPForwarding": properties.get("enableIPForwarding", False),
            "disableTcpStateTracking": False,
            "hostedWorkloads": [],
            "tapConfigurations": [],
            "nicType": "Standard",
            "allowPort25Out": True,
            "defaultOutboundConnectivityEnabled": False,
            "auxiliaryMode": "None",
            "auxiliarySku": "None",
            **kept,
        },
        "type": "Microsoft.Network/networkInterfaces",
        "location": written.get("location", LOCATION),
        "kind": "Regular",
    }


_AS_WRITTEN = (
    *("privateIPAddress", "privateIPAddressPrefixLength", "publicIPAddress", "applicationSecurityGroups"),
    *("loadBalancerBackendAddressPools", "loadBalancerInboundNatRules"),
)


def _configuration(written: Json, resource: str, *, primary: bool, tag: str) -> Json:
    properties = written.get("properties") or {}
    shown = {k: properties[k] for k in _AS_WRITTEN if k in properties}
    return {
        "name": written["name"],
        "id": resource,
        "etag": tag,
        "type": "Microsoft.Network/networkInterfaces/ipConfigurations",
        "properties": {
            "provisioningState": "Succeeded",
            **shown,
            "privateIPAllocationMethod": properties.get("privateIPAllocationMethod", "Dynamic"),
            "subnet": reference(properties["subnet"]["id"]),
            "primary": properties.get("primary", primary),
            "privateIPAddressVersion": properties.get("privateIPAddressVersion", "IPv4"),
        },
    }


def scale_set_machine(resource: str, number: str, configuration: Mapping[str, Any], *, version: int) -> Json:
    """Return a machine of a uniform scale set, as far as its network goes."""
    scale_set = resource.split("/")[8]
    return {
        "name": f"{scale_set}_{number}",
        "id": resource,
        "type": "Microsoft.Compute/virtualMachineScaleSets/virtualMachines",
        "location": LOCATION,
        "instanceId": number,
        "sku": {"name": "Standard_D2s_v3", "tier": "Standard"},
        "etag": f'"{version}"',
        "properties": {
            "latestModelApplied": True,
            "modelDefinitionApplied": "VirtualMachineScaleSet",
            "networkProfileConfiguration": {"networkInterfaceConfigurations": [configuration]},
            "provisioningState": "Succeeded",
            "hardwareProfile": {"vmSize": "Standard_D2s_v3"},
            "resilientVMDeletionStatus": "Disabled",
            "vmId": guid(resource),
            "storageProfile": {"dataDisks": []},
            "osProfile": {"computerName": f"{scale_set}{int(number):06d}", "adminUsername": "lab"},
            "networkProfile": {
                "networkInterfaces": [reference(f"{resource}/networkInterfaces/{configuration['name']}")]
            },
            "timeCreated": "2001-02-03T04:05:06Z",
        },
    }


def machine(resource: str, name: str, interface: str) -> Json:
    """Return a virtual machine, as far as its network goes."""
    return {
        "name": name,
        "id": resource,
        "type": "Microsoft.Compute/virtualMachines",
        "location": LOCATION,
        "properties": {
            "hardwareProfile": {"vmSize": "Standard_D2s_v3"},
            "provisioningState": "Succeeded",
            "vmId": guid(resource),
            "networkProfile": {"networkInterfaces": [reference(interface)]},
            "timeCreated": "2001-02-03T04:05:06Z",
        },
    }


def instance_view(*, running: bool) -> Json:
    state, said = ("running", "VM running") if running else ("deallocated", "VM deallocated")
    return {
        "statuses": [
            {"code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "Provisioning succeeded"},
            {"code": f"PowerState/{state}", "level": "Info", "displayStatus": said},
        ]
    }
