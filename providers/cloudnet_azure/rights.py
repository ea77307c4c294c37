"""Which actions the controller needs where, and whether roles grant them. Pure."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cloudnet.provider.preflight import Severity
from cloudnet_azure import client
from cloudnet_azure.client import Json

SUBNETS_JOIN = "Microsoft.Network/virtualNetworks/subnets/join/action"
SECURITY_GROUPS_JOIN = "Microsoft.Network/networkSecurityGroups/join/action"


class Where(enum.Enum):
    """The resource groups that actions are needed in."""

    NODES = "nodes"
    TABLES = "tables"
    NETWORKS = "networks"
    SECURITY_GROUPS = "security groups"


@dataclass(frozen=True, slots=True)
class Right:
    """One action. ``blocks``: the controller cannot do without; ``scale_sets``: needed only where nodes are of one.

    ``native``: needed only for native addresses.
    """

    action: str
    where: Where
    blocks: bool = True
    scale_sets: bool = False
    native: bool = False

    @property
    def severity(self) -> Severity:
        return Severity.BLOCKS if self.blocks else Severity.WARNING


RIGHTS: tuple[Right, ...] = (
    Right(client.TABLES_READ, Where.TABLES),
    Right(client.TABLES_WRITE, Where.TABLES),
    Right(client.ROUTES_WRITE, Where.TABLES),
    Right(client.ROUTES_DELETE, Where.TABLES),
    Right(client.OPERATIONS_READ["Microsoft.Network"], Where.TABLES, blocks=False),
    Right(client.INTERFACES_READ, Where.NODES),
    Right(client.INTERFACES_WRITE, Where.NODES),
    Right(client.MACHINES_READ, Where.NODES, blocks=False),
    Right(client.SCALE_SET_INTERFACES_READ, Where.NODES, scale_sets=True),
    Right(client.SCALE_SET_INTERFACE_READ, Where.NODES, scale_sets=True, native=True),
    Right(client.SCALE_SET_MACHINES_READ, Where.NODES, scale_sets=True),
    Right(client.SCALE_SET_MACHINES_WRITE, Where.NODES, scale_sets=True),
    Right(client.OPERATIONS_READ["Microsoft.Compute"], Where.NODES, blocks=False, scale_sets=True),
    Right(SUBNETS_JOIN, Where.NETWORKS),
    Right(client.SUBNETS_READ, Where.NETWORKS, native=True),
    Right(SECURITY_GROUPS_JOIN, Where.SECURITY_GROUPS),
)
"""Everything that the controller's role has; what a look alone needs besides shows when it reads."""


def needed(*, scale_sets: bool, native: bool) -> Iterable[Right]:
    """Return what is needed, where nodes are of scale sets or not, and pods get native addresses or not."""
    return (r for r in RIGHTS if (scale_sets or not r.scale_sets) and (native or not r.native))


def granted(action: str, roles: Iterable[Json]) -> bool:
    """Tell whether one of these roles grants an action: exceptions count in the role that has them."""
    return any(_any(role.get("actions"), action) and not _any(role.get("notActions"), action) for role in roles)


def _any(patterns: Iterable[str] | None, action: str) -> bool:
    return any(_pattern(each).fullmatch(action) for each in patterns or ())


def _pattern(text: str) -> re.Pattern[str]:
    """Return a pattern of actions: ``*`` stands for anything, slashes too, and case does not count."""
    return re.compile(".*".join(map(re.escape, text.split("*"))), re.IGNORECASE)


def missing(
    roles: Mapping[str, Iterable[Json]], wanted: Iterable[Right], groups: Mapping[Where, Iterable[str]]
) -> list[tuple[Right, str]]:
    """Return what is not granted, each with the resource group that it is not granted in."""
    return [
        (right, group)
        for right in wanted
        for group in sorted(groups.get(right.where, ()))
        if group in roles and not granted(right.action, roles[group])
    ]
