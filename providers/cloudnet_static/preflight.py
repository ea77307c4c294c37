"""What was declared of a plain network, held against the nodes and pools of the store. Pure: there is nobody to ask.

Whether switches and routers let packets through, and whether they have the routes, shows only when probes are sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from cloudnet.model.addresses import Network, NodeName
from cloudnet.provider import findings
from cloudnet.provider.api import RouteTable, RouteTables, TableRoute
from cloudnet.provider.findings import Machines
from cloudnet.provider.firewall import inside
from cloudnet.provider.preflight import Check, Finding, Needs, Severity
from cloudnet_static.config import StaticConfig


def look(config: StaticConfig, needs: Needs, found: Machines, read: RouteTables) -> tuple[Finding, ...]:
    """Return every finding."""
    nodes = [("the nodes' subnet", address.network) for node in needs.nodes for address in node.addresses]
    subnets = [("the subnet", subnet.cidr) for subnet in config.subnets]
    return (
        *findings.machines(needs, found, remedy="add the subnet of their addresses to subnets"),
        *findings.tables(found, read, remedy=lambda subnet: f"add {subnet} to subnets"),
        *declarations(config, needs, found, read),
        *findings.overlaps(needs, [*nodes, *subnets], severity=Severity.BLOCKS),
        *findings.mtu(needs, found),
        *findings.no_rooms(needs),
    )


def declarations(config: StaticConfig, needs: Needs, found: Machines, read: RouteTables) -> tuple[Finding, ...]:
    """Judge whether what routers are declared to do leads to the nodes that have the addresses."""
    wrong = (*strangers(config, found), *contradictions(needs, found, read), *undeclared(needs, found, read))
    return wrong or (Finding(Check.ROUTES, f"{len(config.routed)} declared prefixes"),)


def strangers(config: StaticConfig, found: Machines) -> Iterator[Finding]:
    """Yield declarations that lead to no node."""
    known = {address for instance in found.values() for address in instance.addresses}
    for at, routed in enumerate(config.routed):
        if routed.next_hop and routed.next_hop not in known:
            yield Finding(
                Check.ROUTES,
                f"routed[{at}]: {routed.prefix}",
                Severity.BLOCKS,
                f"it is declared to lead to {routed.next_hop}, which no node has",
                f"name the node's own address in routed[{at}].next_hop, or leave it empty where routers learn by BGP",
            )


def contradictions(needs: Needs, found: Machines, read: RouteTables) -> Iterator[Finding]:
    """Yield blocks that are declared to lead to another node than their own."""
    for table, name, block in _between_subnets(needs, found, read):
        route = declared(table, block)
        if route and route.next_hop.address and route.next_hop.address not in found[name].addresses:
            yield Finding(
                Check.ROUTES,
                f"{block} of {name}, from {table.name}",
                Severity.BLOCKS,
                f"{route.destination} is declared to lead to {route.target}, another node",
                f"correct next_hop of {route.destination} in routed, and the router",
            )


def undeclared(needs: Needs, found: Machines, read: RouteTables) -> Iterator[Finding]:
    """Yield the pools of which some router is declared to carry nothing; VXLAN does that instead."""
    if len({instance.subnet for instance in found.values()}) < 2:  # noqa: PLR2004  in one subnet there is no router
        return
    for pool in needs.pools:
        without = [t.name for t in read.tables if not any(_touches(pool.cidr, r.destination) for r in t.routes)]
        if without:
            entry = json.dumps({"prefix": str(pool.cidr)})
            yield Finding(
                Check.ROUTES,
                f"pool {pool.meta.name} ({pool.cidr}), from {findings.listed(without)}",
                Severity.WARNING,
                "nobody is declared to route it: VXLAN carries it between subnets",
                f"when the routers have its routes, add {entry} to routed",
            )


def declared(table: RouteTable, block: Network) -> TableRoute | None:
    """Return the declaration that decides for a block: the longest, as in a router."""
    covering = [route for route in table.routes if inside(block, route.destination)]
    return max(covering, key=lambda route: route.destination.prefixlen, default=None)


def _touches(one: Network, other: Network) -> bool:
    return inside(one, other) or inside(other, one)


def _between_subnets(
    needs: Needs, found: Machines, read: RouteTables
) -> Iterator[tuple[RouteTable, NodeName, Network]]:
    for table in read.tables:
        for name, blocks in needs.blocks.items():
            if name in found and found[name].subnet not in table.subnets:
                yield from ((table, name, block) for block in blocks)
