"""The calls of Azure Resource Manager that the lab knows: those of the plugin, and those that build a network.

Names are the operation ids of Microsoft's descriptions; paths, statuses and versions are theirs as well
(``Microsoft.Network`` 2025-05-01, ``Microsoft.Compute`` 2026-04-01; interfaces of scale sets have 2018-10-01,
permissions are ``Microsoft.Authorization`` 2022-04-01).
Buckets as Azure Resource Manager has them for a subscription, a principal and a region since 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from cloudnet.lab.clouds.azure.names import NETWORK_API
from cloudnet.lab.clouds.contract import Contract, Endpoint
from cloudnet.provider.budget import Bucket

READ, WRITE, DELETE = "read", "write", "delete"
BUCKETS: Mapping[str, Bucket] = MappingProxyType(
    {READ: Bucket(25.0, 250.0), WRITE: Bucket(10.0, 200.0), DELETE: Bucket(10.0, 200.0)}
)

NETWORK = NETWORK_API
COMPUTE = "2026-04-01"
SCALE_SET_NICS = "2018-10-01"
AUTHORIZATION = "2022-04-01"

_GROUP = "/subscriptions/{subscription}/resourceGroups/{group}"
_TABLES = _GROUP + "/providers/Microsoft.Network/routeTables"
_TABLE = _TABLES + "/{table}"
_ROUTE = _TABLE + "/routes/{route}"
_NICS = _GROUP + "/providers/Microsoft.Network/networkInterfaces"
_NIC = _NICS + "/{interface}"
_NSGS = _GROUP + "/providers/Microsoft.Network/networkSecurityGroups"
_NSG = _NSGS + "/{security_group}"
_VNET = _GROUP + "/providers/Microsoft.Network/virtualNetworks/{vnet}"
_SUBNETS = _VNET + "/subnets"
_SUBNET = _SUBNETS + "/{subnet}"
_SET = _GROUP + "/providers/Microsoft.Compute/virtualMachineScaleSets/{scale_set}"
_SET_MACHINE = _SET + "/virtualMachines/{number}"

_STATUSES = {"GET": {200}, "PUT": {200, 201}, "DELETE": {200, 202, 204}}
_BUCKET_OF = {"GET": READ, "PUT": WRITE, "DELETE": DELETE}


def _endpoint(name: str, method: str, path: str, version: str) -> Endpoint:
    statuses = frozenset(_STATUSES[method]) | ({202} if name == "VirtualMachineScaleSetVMs_Update" else set())
    return Endpoint(name, method, path, statuses, _BUCKET_OF[method], MappingProxyType({"api-version": version}))


ENDPOINTS: tuple[Endpoint, ...] = (
    _endpoint("RouteTables_List", "GET", _TABLES, NETWORK),
    _endpoint("RouteTables_Get", "GET", _TABLE, NETWORK),
    _endpoint("RouteTables_CreateOrUpdate", "PUT", _TABLE, NETWORK),
    _endpoint("RouteTables_Delete", "DELETE", _TABLE, NETWORK),
    _endpoint("Routes_CreateOrUpdate", "PUT", _ROUTE, NETWORK),
    _endpoint("Routes_Delete", "DELETE", _ROUTE, NETWORK),
    _endpoint("NetworkInterfaces_List", "GET", _NICS, NETWORK),
    _endpoint("NetworkInterfaces_Get", "GET", _NIC, NETWORK),
    _endpoint("NetworkInterfaces_CreateOrUpdate", "PUT", _NIC, NETWORK),
    _endpoint("NetworkInterfaces_Delete", "DELETE", _NIC, NETWORK),
    _endpoint("NetworkSecurityGroups_List", "GET", _NSGS, NETWORK),
    _endpoint("NetworkSecurityGroups_Get", "GET", _NSG, NETWORK),
    _endpoint("NetworkSecurityGroups_CreateOrUpdate", "PUT", _NSG, NETWORK),
    _endpoint("NetworkSecurityGroups_Delete", "DELETE", _NSG, NETWORK),
    _endpoint("VirtualNetworks_Get", "GET", _VNET, NETWORK),
    _endpoint("VirtualNetworks_CreateOrUpdate", "PUT", _VNET, NETWORK),
    _endpoint("VirtualNetworks_Delete", "DELETE", _VNET, NETWORK),
    _endpoint("Subnets_List", "GET", _SUBNETS, NETWORK),
    _endpoint("Subnets_Get", "GET", _SUBNET, NETWORK),
    _endpoint("Subnets_CreateOrUpdate", "PUT", _SUBNET, NETWORK),
    _endpoint("Subnets_Delete", "DELETE", _SUBNET, NETWORK),
    _endpoint(
        "NetworkInterfaces_ListVirtualMachineScaleSetNetworkInterfaces",
        "GET",
        _SET + "/networkInterfaces",
        SCALE_SET_NICS,
    ),
    _endpoint(
        "NetworkInterfaces_GetVirtualMachineScaleSetNetworkInterface",
        "GET",
        _SET_MACHINE + "/networkInterfaces/{interface}",
        SCALE_SET_NICS,
    ),
    _endpoint("VirtualMachines_List", "GET", _GROUP + "/providers/Microsoft.Compute/virtualMachines", COMPUTE),
    _endpoint("VirtualMachineScaleSetVMs_List", "GET", _SET + "/virtualMachines", COMPUTE),
    _endpoint("VirtualMachineScaleSetVMs_Get", "GET", _SET_MACHINE, COMPUTE),
    _endpoint("VirtualMachineScaleSetVMs_Update", "PUT", _SET_MACHINE, COMPUTE),
    _endpoint(
        "Permissions_ListForResourceGroup",
        "GET",
        _GROUP + "/providers/Microsoft.Authorization/permissions",
        AUTHORIZATION,
    ),
    # What Azure-AsyncOperation leads to; the URL is Azure's own, so no version is asked for.
    Endpoint(
        "Operations_Get",
        "GET",
        "/subscriptions/{subscription}/providers/{namespace}/locations/{location}/operations/{operation}",
        bucket=READ,
    ),
)

CONTRACT = Contract(ENDPOINTS, ignore_case=True)
