"""What the loop is told, and what it asks for: values in both directions.

The loop decides and never acts. What touches the world is carried out by somebody else (``agent.main``), and its
outcome comes back as an input. ``PathChanged`` has no outcome.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from cloudnet.kernel.api import Change, Failure, Gateway, Hop, KernelObject, Key, Link
from cloudnet.model.addresses import Address, Network
from cloudnet.model.paths import Path
from cloudnet.model.resources import AgentReport, Resource
from cloudnet.routes.probe import PacketKind
from cloudnet.store.api import Event

# --- inputs -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ResourcesChanged:
    """Changes from the store; ``synced`` once everything that it held at the start has been delivered."""

    events: tuple[Event[Resource], ...]
    synced: bool = True


@dataclass(frozen=True, slots=True)
class BlocksChanged:
    """Changes of IPAMBlocks, of which only the strays matter (``routes.borrowed``); ``synced`` as above."""

    events: tuple[Event[Resource], ...]
    synced: bool = True


@dataclass(frozen=True, slots=True)
class KernelRead:
    """A fresh look at the kernel; ``learned`` is empty where this node speaks no BGP."""

    links: Mapping[str, Link]
    gateways: Sequence[Gateway]
    objects: Mapping[Key, KernelObject]
    learned: Mapping[Network, Hop] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KernelStirred:
    """Somebody else changed something in the kernel."""


@dataclass(frozen=True, slots=True)
class ReadFailed:
    """The kernel could not be read."""


@dataclass(frozen=True, slots=True)
class Applied:
    """The kernel was given these changes; all but the failures are in force."""

    changes: tuple[Change, ...]
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True)
class Answered:
    """A probe or a call came back; ``at`` is monotonic seconds at its receipt, ``source`` who answered."""

    block: Network
    sequence: int
    source: Address
    at: float
    kind: PacketKind = PacketKind.ANSWER


Input: TypeAlias = ResourcesChanged | BlocksChanged | KernelRead | ReadFailed | KernelStirred | Applied | Answered

# --- actions ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReadKernel:
    """Answer with ``KernelRead``."""


@dataclass(frozen=True, slots=True)
class ApplyKernel:
    """Carry out in order, answer with ``Applied``."""

    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class SetSysctls:
    """Write kernel settings, ``(name, value)`` each."""

    settings: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class SetUpDevices:
    """Set devices of further interfaces up, with these addresses, ``(device, addresses)`` each; then look again."""

    devices: tuple[tuple[str, tuple[Address, ...]], ...]


@dataclass(frozen=True, slots=True)
class ProbeToSend:
    """One probe packet: from our tunnel address to an address inside the block; a call goes from node to node."""

    block: Network
    sequence: int
    source: Address
    destination: Address
    kind: PacketKind = PacketKind.PROBE


@dataclass(frozen=True, slots=True)
class SendProbes:
    """Send now, in any order; what cannot be sent is as good as lost."""

    probes: tuple[ProbeToSend, ...]


@dataclass(frozen=True, slots=True)
class AnswerPeers:
    """Answer probes of these tunnel ends from now on: tunnel address to (own, their) address; ``None``: no more."""

    peers: Mapping[Address, tuple[Address, Address] | None]
    overlay: frozenset[str]  # devices on which an arriving probe proves nothing


@dataclass(frozen=True, slots=True)
class WriteReport:
    """Make this the node's AgentReport in the store."""

    report: AgentReport


@dataclass(frozen=True, slots=True)
class PathChanged:
    """For log and metrics: a destination's path is another than before; ``None`` when there is none any more."""

    before: Path | None
    after: Path | None
    flapped: bool = False


Action: TypeAlias = (
    ReadKernel | ApplyKernel | SetUpDevices | SetSysctls | SendProbes | AnswerPeers | WriteReport | PathChanged
)
