"""Alias ranges of interfaces: which blocks a change asks for, and which are to be had. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from cloudnet.lab.clouds.gcp import rules
from cloudnet.lab.clouds.gcp.rules import Refusal
from cloudnet.lab.clouds.gcp.state import Document, Project
from cloudnet.model.addresses import Network, family


def judge(project: Project, nic: Document, body: Mapping[str, Any]) -> Refusal | None:
    """Refuse alias ranges from a secondary range that the subnet does not have."""
    known = _ranges(project, nic)
    for alias in body.get("aliasIpRanges", []):
        name = alias.get("subnetworkRangeName", "")
        if name not in known:
            return rules.invalid("subnetworkRangeName", name, "No such secondary range.")
    return None


def given(project: Project, nic: Document, body: Mapping[str, Any]) -> list[Document] | None:
    """Return the interface's alias ranges after a change, each with its block; nothing when one is not to be had.

    A change without the list leaves it as it is, an empty one clears it.
    """
    if "aliasIpRanges" not in body:
        return list(nic.get("aliasIpRanges", []))
    known, taken = _ranges(project, nic), list(_taken(project, nic))
    made: list[Document] = []
    for alias in body["aliasIpRanges"]:
        found = allot(alias["ipCidrRange"], known[alias.get("subnetworkRangeName", "")], taken)
        if found is None:
            return None
        taken.append(found)
        made.append({**alias, "ipCidrRange": str(found)})
    return made


def _ranges(project: Project, nic: Document) -> Mapping[str, Network]:
    subnet = project.find(nic["subnetwork"])
    return rules.ranges(subnet[1]) if subnet else {}


def _taken(project: Project, but: Document) -> Iterator[Network]:
    """Yield what interfaces hold, or are about to: their own addresses, alias ranges of the others in the subnet."""
    for each in project.pending:
        yield from map(ip_network, each.holds if each.failure is None else ())
    for _, machine in project.of("instances"):
        for nic in machine["networkInterfaces"]:
            if nic.get("subnetwork") == but.get("subnetwork") and nic["fingerprint"] != but["fingerprint"]:
                yield from (ip_network(a["ipCidrRange"]) for a in nic.get("aliasIpRanges", []))
            if rules.network(nic.get("networkIP")):
                yield ip_network(ip_address(nic["networkIP"]))


def allot(wanted: str, within: Network, taken: Collection[Network]) -> Network | None:
    """Return the alias range that is meant: the one that is named, or the first free one of a length (``/28``)."""
    if not wanted.startswith("/"):
        named = rules.network(wanted)
        free = named is not None and not any(family(t) is family(named) and named.overlaps(t) for t in taken)
        return named if named is not None and free and named.subnet_of(within) else None  # type: ignore[arg-type]  # IPv4 both
    for candidate in within.subnets(new_prefix=int(wanted[1:])):
        if not any(candidate.overlaps(t) for t in taken):
            return candidate
    return None
