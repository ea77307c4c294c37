"""What the loop asks for, and what it is told: values in both directions.

The loop decides and never acts. Every action that touches the world is carried out by somebody else
(``controller.carry``), and its outcome comes back as an event. ``Say`` and ``Tell`` have no outcome.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from cloudnet.errors import CloudnetError
from cloudnet.model.addresses import NodeName, TableId
from cloudnet.model.cluster_events import ClusterEvent
from cloudnet.model.resources import Node, Resource
from cloudnet.provider.api import Instance, RouteChange, RouteResult, RouteTables
from cloudnet.provider.errors import ProviderError
from cloudnet.store.api import Event, Revision, Stored

# --- actions ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReadTables:
    """Read every table in scope. One is under way at most."""


@dataclass(frozen=True, slots=True)
class ReadInstances:
    """Look the machines of these nodes up, in bulk. One is under way at most."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class ApplyChanges:
    """Send these changes to one table, in order. One batch a table is under way at most."""

    table: TableId
    changes: tuple[RouteChange, ...]


@dataclass(frozen=True, slots=True)
class AllowForwarding:
    """Switch the source/destination check of these nodes' interfaces off."""

    instances: tuple[tuple[NodeName, Instance], ...]


@dataclass(frozen=True, slots=True)
class Put:
    """Create the resource, or update it where ``expected`` is the revision that we saw."""

    value: Resource
    expected: Revision | None = None


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete the resource that we saw at ``expected``."""

    value: Resource
    expected: Revision


Write: TypeAlias = Put | Remove


@dataclass(frozen=True, slots=True)
class WriteStore:
    """Write to the store, in order; one batch is under way at most. What is refused does not stop the rest."""

    writes: tuple[Write, ...]


class Level(enum.Enum):
    """How loudly to say something."""

    INFO = "info"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Say:
    """Tell the operator, once."""

    level: Level
    message: str


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell whoever looks at the node in question."""

    event: ClusterEvent


Action: TypeAlias = ReadTables | ReadInstances | ApplyChanges | AllowForwarding | WriteStore | Say | Tell

# --- outcomes and other events ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Changed:
    """What an informer delivered; ``synced`` completes a listing of every kind."""

    events: tuple[Event[Resource], ...]
    synced: bool = False


@dataclass(frozen=True, slots=True)
class Leading:
    """Whether this controller may write now."""

    leader: bool


@dataclass(frozen=True, slots=True)
class TablesRead:
    """The outcome of ``ReadTables``: the tables, or the error."""

    tables: RouteTables | None
    error: ProviderError | None = None


@dataclass(frozen=True, slots=True)
class InstancesRead:
    """The outcome of ``ReadInstances``; a node that is asked for and not found has no machine."""

    nodes: tuple[Node, ...]
    found: Mapping[NodeName, Instance]
    error: ProviderError | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """The outcome of ``ApplyChanges``; changes without a result were not sent."""

    table: TableId
    results: tuple[RouteResult, ...]


@dataclass(frozen=True, slots=True)
class ForwardingAllowed:
    """The outcome of ``AllowForwarding``; nodes without an entry were not tried."""

    instances: tuple[tuple[NodeName, Instance], ...]
    errors: Mapping[NodeName, ProviderError | None]


@dataclass(frozen=True, slots=True)
class WriteOutcome:
    """What became of one write: ``now`` is what the store holds afterwards, as far as known."""

    write: Write
    now: Stored[Resource] | None = None
    error: CloudnetError | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """The outcome of ``WriteStore``; writes without an outcome were not tried."""

    outcomes: tuple[WriteOutcome, ...]


Input: TypeAlias = Changed | Leading | TablesRead | InstancesRead | Applied | ForwardingAllowed | Written
