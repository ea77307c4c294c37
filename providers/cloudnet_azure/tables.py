"""Azure's route tables in our words, and ours in Azure's. Pure.

A route of ours is known by its name, which is made of our mark, the cluster and the prefix: Azure's routes carry no
tags. A route to an address that carries no mark may be ours all the same, from before or by hand: ``UNMARKED``, the
controller's ledger decides. Anything that leads elsewhere is somebody else's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from types import MappingProxyType

from cloudnet.model.addresses import Address, Family, Network, TableId, family, order
from cloudnet.model.resources import NextHop
from cloudnet.provider.api import Instance, Owner, RouteChange, RouteTable, TableRoute
from cloudnet.provider.errors import Unsupported
from cloudnet_azure import ids
from cloudnet_azure.client import Json
from cloudnet_azure.errors import NAME

APPLIANCE = "VirtualAppliance"  # the kind of next hop that is an address
_WORDS = {
    "VirtualNetworkGateway": "the virtual network gateway",
    "VnetLocal": "the virtual network itself",
    "Internet": "the internet",
    "None": "nowhere: packets to it are dropped",
}


@dataclass(frozen=True, slots=True)
class Machines:
    """Who has which address, as the last look-ups of nodes showed: routes name addresses, people machines."""

    by_address: Mapping[Address, Instance] = field(default_factory=dict, hash=False)

    def next_hop(self, address: Address) -> NextHop:
        """Return the next hop at an address, with its machine where that is known."""
        known = self.by_address.get(address)
        return NextHop(known.interface, known.id, address) if known else NextHop(address=address)

    def off(self, address: Address) -> bool:
        """Tell whether the machine at an address is known to be switched off."""
        known = self.by_address.get(address)
        return known is not None and not known.running

    def address(self, change: RouteChange) -> Address:
        """Return the address that a change's next hop has in the family of its destination.

        Raises:
            Unsupported: it has none.
        """
        hop, wanted = change.next_hop, family(change.destination)
        if hop.address and family(hop.address) is wanted:
            return hop.address
        for address, instance in self.by_address.items():
            if family(address) is wanted and hop.interface and instance.interface == hop.interface:
                return address
        raise Unsupported(
            f"the next hop of {change.destination} has no IPv{wanted.value} address, and Azure's routes lead to one: "
            f"give the interface {hop.interface or hop.address} an IPv{wanted.value} address",
            provider=NAME,
        )


def route_name(cluster: str, destination: Network) -> str:
    """Return the name of our route to a prefix; no two prefixes have one name."""
    return f"cloudnet-{cluster}-{str(destination).replace(':', '-').replace('/', '-')}"


def destination_of(route: Json) -> Network | None:
    """Return what a route leads to; nothing for a service tag, which is no one prefix."""
    try:
        return ip_network(route.get("properties", {}).get("addressPrefix", ""), strict=False)
    except ValueError:
        return None


def parse_table(body: Json, machines: Machines, *, cluster: str, limit: int) -> RouteTable:
    """Return one table. Azure counts both families, and service tags, against one limit."""
    raw = body.get("properties", {}).get("routes") or []
    routes = [r for each in raw if (r := parse_route(each, machines, cluster=cluster))]
    used = {of: sum(family(r.destination) is of for r in routes) for of in Family}
    return RouteTable(
        id=TableId(body["name"]),
        subnets=frozenset(ids.subnet(s["id"]) for s in body.get("properties", {}).get("subnets") or []),
        routes=tuple(sorted(routes, key=lambda r: order(r.destination))),
        limits=MappingProxyType({of: max(0, limit - (len(raw) - used[of])) for of in Family}),
        name=body["name"],
    )


def parse_route(body: Json, machines: Machines, *, cluster: str) -> TableRoute | None:
    """Return one route; nothing for a service tag."""
    destination = destination_of(body)
    if destination is None:
        return None
    properties = body["properties"]
    kind, text = str(properties.get("nextHopType", "")), str(properties.get("nextHopIpAddress") or "")
    if kind != APPLIANCE or not text:
        words = _WORDS.get(kind, f"a next hop of the kind {kind!r}, which cloudnet does not know")
        return TableRoute(destination, NextHop(), Owner.FOREIGN, target=f"{words} (route {body.get('name', '')!r})")
    hop = machines.next_hop(ip_address(text))
    ours = str(body.get("name", "")).lower() == route_name(cluster, destination).lower()
    who = f"interface {hop.interface} at {text}" if hop.interface else text
    return TableRoute(
        destination,
        hop,
        Owner.OURS if ours else Owner.UNMARKED,
        black_hole=machines.off(ip_address(text)),
        target=f"{who} (route {body.get('name', '')!r})",
    )


def standing_name(body: Json | None, destination: Network) -> str:
    """Return the name of the table's route to a prefix; empty when there is none."""
    routes: Iterable[Json] = (body or {}).get("properties", {}).get("routes") or []
    return next((str(r.get("name", "")) for r in routes if destination_of(r) == destination), "")


def route_body(destination: Network, address: Address) -> Json:
    return {
        "properties": {
            "addressPrefix": str(destination),
            "nextHopType": APPLIANCE,
            "nextHopIpAddress": str(address),
        }
    }
