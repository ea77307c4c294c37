"""Azure's resource ids in short: the names in them, from the resource group on, in small letters. Pure.

``/subscriptions/S/resourceGroups/RG/providers/Microsoft.Compute/virtualMachineScaleSets/V/virtualMachines/0`` is
``rg/v/0``. ARM compares ids without case and answers in any, so one spelling is needed for comparing, and this one
can be read. How many names there are tells the kind: a machine has two, a scale set's machine three; an interface
has two, a scale set's interface four.
"""

from __future__ import annotations

from cloudnet.model.addresses import InstanceId, InterfaceId, SubnetId

_GROUP, _TYPE = 4, 6  # where an id has its resource group, and its first type after the provider's namespace
PROVIDER_ID = "azure://"  # what Kubernetes puts before a machine's id


def short(resource_id: str) -> str:
    """Return the names of an id; empty for what is none."""
    parts = resource_id.strip("/").split("/")
    if len(parts) <= _TYPE or parts[0].lower() != "subscriptions":
        return ""
    return "/".join((parts[_GROUP - 1], *parts[_TYPE + 1 :: 2])).lower()


def machine(resource_id: str) -> InstanceId | None:
    """Return the machine of an id, or of a node's provider id; nothing where it names none."""
    path = resource_id.removeprefix(PROVIDER_ID)
    name = short(path)
    return InstanceId(name) if name and "/microsoft.compute/" in path.lower() else None


def interface(resource_id: str) -> InterfaceId:
    return InterfaceId(short(resource_id))


def subnet(resource_id: str) -> SubnetId:
    return SubnetId(short(resource_id))


def names(of: str) -> tuple[str, ...]:
    """Return the names in a short id."""
    return tuple(of.split("/"))
