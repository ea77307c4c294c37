"""Azure Resource Manager for a lab: which function carries which call out, and how it refuses.

What it does like Azure, line by line and with sources: docs/reference/azure.md, "The simulator".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from cloudnet.clock import Clock
from cloudnet.lab.clouds.azure import interfaces, machines, networks, security, tables, words
from cloudnet.lab.clouds.azure.pending import Operations
from cloudnet.lab.clouds.azure.state import State
from cloudnet.lab.clouds.azure.words import Codes
from cloudnet.lab.clouds.simulator import Answer, Request
from cloudnet.lab.clouds.trouble import Fault

_CALLS: Mapping[str, Callable[[State, Request], Answer]] = MappingProxyType(
    {
        "RouteTables_List": tables.listed,
        "RouteTables_Get": tables.get,
        "RouteTables_CreateOrUpdate": tables.put,
        "RouteTables_Delete": tables.delete,
        "Routes_CreateOrUpdate": tables.put_route,
        "Routes_Delete": tables.delete_route,
        "VirtualNetworks_Get": networks.get,
        "VirtualNetworks_CreateOrUpdate": networks.put,
        "VirtualNetworks_Delete": networks.delete,
        "Subnets_List": networks.list_subnets,
        "Subnets_Get": networks.get_subnet,
        "Subnets_CreateOrUpdate": networks.put_subnet,
        "Subnets_Delete": networks.delete_subnet,
        "NetworkSecurityGroups_List": security.listed,
        "NetworkSecurityGroups_Get": security.get,
        "NetworkSecurityGroups_CreateOrUpdate": security.put,
        "NetworkSecurityGroups_Delete": security.delete,
        "Permissions_ListForResourceGroup": security.permissions,
        "NetworkInterfaces_List": interfaces.listed,
        "NetworkInterfaces_Get": interfaces.get,
        "NetworkInterfaces_CreateOrUpdate": interfaces.put,
        "NetworkInterfaces_Delete": interfaces.delete,
        "NetworkInterfaces_ListVirtualMachineScaleSetNetworkInterfaces": interfaces.list_of_scale_set,
        "NetworkInterfaces_GetVirtualMachineScaleSetNetworkInterface": interfaces.get_of_scale_set,
        "VirtualMachines_List": machines.listed,
        "VirtualMachineScaleSetVMs_List": machines.listed,
        "VirtualMachineScaleSetVMs_Get": machines.get,
        "VirtualMachineScaleSetVMs_Update": machines.put,
    }
)


class Arm:
    """The handler and the dialect of one simulated subscription; ``limit`` is how many routes fit into a table."""

    def __init__(
        self,
        clock: Clock,
        limit: Callable[[], int],
        *,
        operation_seconds: float = 1.0,
        codes: Codes = Codes(),  # noqa: B008 - a frozen value
    ) -> None:
        self.state = State(clock, limit, Operations(operation_seconds), codes)

    def __call__(self, request: Request) -> Answer:
        """Carry a call out."""
        if request.call == "Operations_Get":
            return self.state.operation(request)
        group = request.parameters["group"]
        if group.lower() not in self.state.groups:
            return words.group_not_found(group)
        return _CALLS[request.call](self.state, request)

    def refuse(self, request: Request, fault: Fault) -> Answer:
        return words.refuse(request, fault, self.state.codes)

    def credential(self, request: Request) -> str:
        return request.headers.get("authorization", "").removeprefix("Bearer ")

    def operation_failed(self, _request: Request, answer: Answer, fault: Fault) -> Answer:
        """Let the operation that was just started fail, and take back what it did."""
        operation = self.state.operations.newest
        if operation is not None and "Azure-AsyncOperation" in answer.headers:
            operation.error = {"code": fault.code or "InternalServerError", "message": "An error occurred."}
            operation.undo()
            self.state.changed()
        return answer
