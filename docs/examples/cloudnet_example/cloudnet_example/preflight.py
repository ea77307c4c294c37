"""What of the router stands in the way of pods, and what removes it. Reads, writes nothing.

The router cannot be asked who may write, so a missing right to write shows when something is written. It has no
firewall.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudnet.provider import findings
from cloudnet.provider.api import Instance, RouteTable, TableRoute
from cloudnet.provider.preflight import Finding, Needs, Severity

if TYPE_CHECKING:  # the provider is made of this file too
    from cloudnet_example import ExampleProvider

READ = "give the token the role reader, on the router's page Tokens"


def look(provider: ExampleProvider, needs: Needs) -> tuple[Finding, ...]:
    """Return every finding.

    Raises:
        ProviderError: the router does not answer.
    """
    found, told = findings.asked(lambda: provider.instances(needs.nodes), "ListMachines", READ)
    read, more = findings.asked(provider.routes.read, "ListTables", READ)
    told = (*told, *more)
    if found is not None:
        told = (
            *told,
            *findings.machines(needs, found, remedy="check the nodes' provider ids and addresses"),
            *findings.forwarding(
                found,
                problem="its port does not forward; the controller changes that, or",
                remedy=_switch_on,
                severity=Severity.WARNING,
            ),
            *findings.mtu(needs, found),
        )
    if found is not None and read is not None:
        told = (
            *told,
            *findings.tables(found, read, remedy=lambda segment: f"add {segment} to the segments of a table"),
            *findings.foreign(needs, found, read, remedy=_delete),
            *findings.quota(needs, found, read, provider.capabilities, remedy=_larger),
        )
    return told


def _switch_on(instance: Instance) -> str:
    return f"shelfctl port {instance.interface} --forwarding on"


def _delete(table: RouteTable, route: TableRoute) -> str:
    return f"shelfctl table {table.id} delete {route.destination}"


def _larger(table: RouteTable, wanted: int) -> str:
    return f"shelfctl table {table.id} --limit {wanted * 2}, or larger blocks (blockSize of the pool)"
