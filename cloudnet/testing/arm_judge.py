"""Judges every call that passes a simulated Azure: request and answer against Microsoft's descriptions, for tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cloudnet.lab.clouds.simulator import Answer, Request
from cloudnet.testing.arm_types import Types

NETWORK, COMPUTE = "microsoft.network.2025-05-01.types.json", "microsoft.compute.2026-04-01.types.json"

RESOURCES: Mapping[str, str] = MappingProxyType(
    {
        "RouteTables": "Microsoft.Network/routeTables",
        "Routes": "Microsoft.Network/routeTables/routes",
        "NetworkInterfaces": "Microsoft.Network/networkInterfaces",
        "NetworkSecurityGroups": "Microsoft.Network/networkSecurityGroups",
        "VirtualNetworks": "Microsoft.Network/virtualNetworks",
        "Subnets": "Microsoft.Network/virtualNetworks/subnets",
        "VirtualMachines": "Microsoft.Compute/virtualMachines",
        "VirtualMachineScaleSetVMs": "Microsoft.Compute/virtualMachineScaleSets/virtualMachines",
    }
)
"""What the calls of each group are about."""

UNDESCRIBED = frozenset({"kind: is unknown", "properties.allowPort25Out: is unknown"})
"""What Azure shows of interfaces although its description does not have it: recorded traffic has both."""

_ERRORS = frozenset({"code", "message", "details", "target"})
_PERMISSION = frozenset({"actions", "notActions", "dataActions", "notDataActions"})
_OPERATION = frozenset({"status", "error", "startTime", "endTime", "name"})
_STATES = frozenset({"InProgress", "Succeeded", "Failed", "Canceled"})


class ArmJudge:
    """Finds what of a call the descriptions in a folder do not allow."""

    def __init__(self, folder: Path) -> None:
        self._network = Types(folder / NETWORK)
        self._compute = Types(folder / COMPUTE)

    def __call__(self, request: Request, answer: Answer) -> Iterator[str]:
        if request.call == "Operations_Get" and answer.status == 200:
            yield from operation(answer.body)
        elif request.call.startswith("Permissions_") and answer.status == 200:
            yield from permissions(answer.body)
        elif answer.status >= 400:
            yield from error(answer.body)
        else:
            yield from self._resource(request, answer)
        if request.method == "PUT" and answer.status < 400:
            yield from self.body(request.call, request.body, request=True)

    def _resource(self, request: Request, answer: Answer) -> Iterator[str]:
        if answer.body is None:
            if request.method != "DELETE":
                yield "an answer without a body"
        elif request.method == "GET" and "value" in answer.body:
            for item in answer.body["value"]:
                yield from self.body(request.call, item, request=False)
        else:
            yield from self.body(request.call, answer.body, request=False)

    def body(self, call: str, body: Any, *, request: bool) -> Iterator[str]:
        """Hold a resource against its description."""
        resource = RESOURCES[call.partition("_")[0]]
        types = self._compute if resource.startswith("Microsoft.Compute") else self._network
        for finding in types.check(resource, body, request=request):
            if request or finding not in UNDESCRIBED:
                yield f"{'request' if request else 'answer'}: {finding}"


def error(body: Any) -> Iterator[str]:
    """Yield what is wrong with the body of a refusal (ARM's ``ErrorResponse``)."""
    found = body.get("error") if isinstance(body, dict) else None
    if not isinstance(found, dict) or set(body) != {"error"}:
        yield f"a refusal is an object with an error, found {body!r}"
    elif not {"code", "message"} <= set(found) <= _ERRORS:
        yield f"an error has {sorted(_ERRORS)}, found {sorted(found)}"


def operation(body: Any) -> Iterator[str]:
    """Yield what is wrong with the body of an operation."""
    if not isinstance(body, dict) or not set(body) <= _OPERATION:
        yield f"an operation has {sorted(_OPERATION)}, found {body!r}"
    elif body.get("status") not in _STATES:
        yield f"an operation is one of {sorted(_STATES)}, found {body.get('status')!r}"
    elif (body["status"] == "Failed") != ("error" in body):
        yield f"an operation has an error when it failed, and only then: {body!r}"


def permissions(body: Any) -> Iterator[str]:
    """Yield what is wrong with a list of what the caller may do (``PermissionGetResult`` in its API)."""
    if not isinstance(body, dict) or not {"value"} <= set(body) <= {"value", "nextLink"}:
        yield f"permissions have a value, found {body!r}"
        return
    for each in body["value"]:
        if not set(each) <= _PERMISSION:
            yield f"a permission has {sorted(_PERMISSION)}, found {sorted(each)}"
        yield from (f"{k}: expected texts, found {v!r}" for k, v in each.items() if not _texts(v))


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
