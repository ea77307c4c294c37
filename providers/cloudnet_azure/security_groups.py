"""Network security groups as rules of addresses. Pure.

A packet has to pass the group of the subnet and the group of the interface, so each is a firewall of its own; without
any, everything passes. Azure's own rules at the end let through what is of ``VirtualNetwork``, a tag that means the
addresses of the network and, where routes are programmed, their prefixes: pods' too. An application security group
means interfaces' addresses and never their pods'. Sources: "Azure service tags overview", "How network security
groups filter network traffic".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network

from cloudnet.model.addresses import Family, Network
from cloudnet.provider.firewall import ANY, EVERY_PORT, EVERYWHERE, Rule, of_family
from cloudnet_azure.client import Json

FIRST, LAST = 100, 4096  # priorities that rules of one's own may have


@dataclass(frozen=True, slots=True)
class Known:
    """What rules may name: ``virtual_network`` by that tag, ``groups`` by their ids, in small letters."""

    virtual_network: tuple[Network, ...]
    groups: Mapping[str, tuple[Network, ...]]


def rules(group: Json, known: Known) -> tuple[Rule, ...]:
    """Return what a group says, its own rules and Azure's."""
    properties = group.get("properties") or {}
    every = [*(properties.get("securityRules") or []), *(properties.get("defaultSecurityRules") or [])]
    return tuple(rule for each in every for rule in _rules(each.get("properties") or {}, known))


def _rules(body: Json, known: Known) -> Iterator[Rule]:
    inbound, allow = str(body["direction"]).lower() == "inbound", str(body["access"]).lower() == "allow"
    if allow and not _every_port(_texts(body, "sourcePortRange")):
        return  # packets of pods, and of VXLAN, leave from any port
    source, destination = (_addresses(body, side, known) for side in ("source", "destination"))
    remotes, here = (source, destination) if inbound else (destination, source)
    protocol = str(body["protocol"]).lower()
    if protocol == "icmp":
        remotes = of_family(remotes, Family.IPV4)  # of IPv6 only a rule for every protocol speaks
    for ports in _texts(body, "destinationPortRange") or ["*"]:
        yield Rule(
            inbound, remotes, ANY if protocol == "*" else protocol, _range(ports), allow, int(body["priority"]), here
        )


def _texts(body: Json, name: str) -> list[str]:
    """Return the values of a property that is there once and as a list: ``sourcePortRange``, ``sourcePortRanges``."""
    return [*([body[name]] if body.get(name) else []), *(body.get(f"{name}s") or body.get(f"{name}es") or [])]


def _every_port(ranges: Sequence[str]) -> bool:
    return not ranges or any(_range(each) == EVERY_PORT for each in ranges)


def _range(text: str) -> tuple[int, int]:
    if text == "*":
        return EVERY_PORT
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def _addresses(body: Json, side: str, known: Known) -> tuple[Network, ...]:
    named = [g["id"].lower() for g in body.get(f"{side}ApplicationSecurityGroups") or []]
    if named:
        return tuple(network for each in named for network in known.groups.get(each, ()))
    return tuple(n for text in _texts(body, f"{side}AddressPrefix") for n in _networks(text, known))


def _networks(text: str, known: Known) -> Iterable[Network]:
    """Return the addresses that a prefix or a service tag means; of other tags nothing that is a node or a pod."""
    if text.lower() in {"*", "any"}:
        return EVERYWHERE
    if text.lower() == "virtualnetwork":
        return known.virtual_network
    try:
        return (ip_network(text, strict=False),)
    except ValueError:
        return ()


def free_priorities(group: Sequence[Rule], count: int, *, inbound: bool) -> tuple[int, ...]:
    """Return priorities of new rules that decide before every denial of that way, fewer where not enough are free."""
    same_way = [rule for rule in group if rule.inbound is inbound]
    before = min([LAST + 1, *(rule.rank for rule in same_way if not rule.allow)])
    taken = {rule.rank for rule in same_way}
    free = [priority for priority in range(before - 1, FIRST - 1, -1) if priority not in taken]
    return tuple(sorted(free[:count]))
