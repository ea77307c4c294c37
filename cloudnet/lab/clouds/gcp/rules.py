"""What Compute Engine refuses at once, beside what its description says of types and patterns. Pure.

Which of these the real API refuses at once and which in the operation, and with which reason, is not all known; the
table in docs/design/lab-google.md says of each line where it comes from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from types import MappingProxyType
from typing import Any

from cloudnet.lab.clouds.gcp.state import Document, Project, last, partial
from cloudnet.model.addresses import Network, family

_NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
NEXT_HOPS = ("nextHopInstance", "nextHopIp", "nextHopIlb", "nextHopVpnTunnel", "nextHopGateway")
MOST_ALIASES = 150  # of one interface
_VERBS: Mapping[str, str] = MappingProxyType({"insert": "create", "aggregatedList": "list"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is an error: HTTP status, the API's reason, and its sentence."""

    status: int
    reason: str
    message: str


def not_found(path: str) -> Refusal:
    return Refusal(404, "notFound", f"The resource '{path}' was not found")


def exists(path: str) -> Refusal:
    return Refusal(409, "alreadyExists", f"The resource '{path}' already exists")


def not_ready(path: str) -> Refusal:
    return Refusal(400, "resourceNotReady", f"The resource '{path}' is not ready")


def invalid(name: str, value: object, why: str) -> Refusal:
    return Refusal(400, "invalid", f"Invalid value for field '{name}': '{value}'. {why}")


def make(project: Project, path: str, body: Mapping[str, Any]) -> Refusal | None:
    """Judge the making of any resource."""
    if not _NAME.fullmatch(str(body.get("name", ""))):
        return invalid("resource.name", body.get("name", ""), f"Must be a match of regex '{_NAME.pattern}'")
    if path in project.resources:
        return exists(path)
    return exists(path) if project.busy(path) else None


def change(project: Project, path: str) -> Refusal | None:
    """Judge a change or the removal of any resource."""
    if path not in project.resources:
        return not_ready(path) if project.busy(path) else not_found(path)
    return not_ready(path) if project.busy(path) else None


def route(project: Project, body: Mapping[str, Any]) -> Refusal | None:
    """Judge the making of a route."""
    for required in ("network", "destRange"):
        if not body.get(required):
            return Refusal(400, "required", f"Required field 'resource.{required}' not specified")
    for reference in ("network", "nextHopInstance"):
        if body.get(reference) and project.find(body[reference]) is None:
            return not_found(partial(body[reference]))
    destination = network(body["destRange"])
    if destination is None:
        return invalid("resource.destRange", body["destRange"], "Must be a CIDR address range.")
    hops = [hop for hop in NEXT_HOPS if body.get(hop)]
    if len(hops) != 1:
        return invalid("resource.nextHop", ", ".join(hops), "Exactly one next hop must be specified.")
    if subnet := _inside_a_subnet(project, body["network"], destination):
        return invalid("resource.destRange", destination, f"It is the range of subnetwork {subnet} or inside it.")
    return None


def _inside_a_subnet(project: Project, of: str, destination: Network) -> str:
    for _, subnet in project.of("subnetworks"):
        if last(subnet["network"]) != last(of):
            continue
        for cidr in ranges(subnet).values():
            if family(cidr) is family(destination) and destination.subnet_of(cidr):  # type: ignore[arg-type]  # one family
                return str(subnet["name"])
    return ""


def ranges(subnet: Document) -> Mapping[str, Network]:
    """Return a subnet's ranges by name; '' is the primary one."""
    found = {"": ip_network(subnet["ipCidrRange"])}
    return found | {r["rangeName"]: ip_network(r["ipCidrRange"]) for r in subnet.get("secondaryIpRanges", [])}


def interface(current: Document, body: Mapping[str, Any]) -> Refusal | None:
    """Judge a change of an interface."""
    if not body.get("fingerprint"):
        return Refusal(400, "required", "Required field 'resource.fingerprint' not specified")
    if body["fingerprint"] != current["fingerprint"]:
        return Refusal(412, "conditionNotMet", "Supplied fingerprint does not match current metadata fingerprint.")
    if len(body.get("aliasIpRanges", [])) > MOST_ALIASES:
        return invalid("networkInterface.aliasIpRanges", "", f"An interface has at most {MOST_ALIASES}.")
    return None


def permission(call: str) -> str:
    """Return the IAM permission that a call is named after: ``compute.routes.create`` for an insert."""
    resource, _, verb = call.rpartition(".")
    return f"{resource}.{_VERBS.get(verb, verb)}"


def network(text: object) -> Network | None:
    try:
        return ip_network(str(text))
    except ValueError:
        return None


def static(document: Document) -> bool:
    """Tell whether the quota of static routes counts a route; subnet routes are the network's own."""
    return not document.get("nextHopNetwork")


def hop_warning(machine: Document | None, route: Document) -> str:
    """Return the API's code for what is wrong with a route's machine; '' when packets get there."""
    if machine is None:
        return "NEXT_HOP_INSTANCE_NOT_FOUND"
    nics = [n for n in machine["networkInterfaces"] if last(n["network"]) == last(route["network"])]
    if not nics:
        return "NEXT_HOP_INSTANCE_NOT_ON_NETWORK"
    if machine["status"] != "RUNNING":
        return "NEXT_HOP_NOT_RUNNING"
    if not machine.get("canIpForward"):
        return "NEXT_HOP_CANNOT_IP_FORWARD"
    if ":" in route["destRange"] and not any(n.get("ipv6Address") for n in nics):
        return "NEXT_HOP_INSTANCE_HAS_NO_IPV6_INTERFACE"
    return ""
