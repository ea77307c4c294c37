"""What a takeover looks at before it decides anything: one node, as its disk, its kernel and the store tell of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cloudnet.cni.conflist import CHAINED
from cloudnet.kernel.api import Link
from cloudnet.model.addresses import Address, Network
from cloudnet.model.resources import BlockAffinity, IPAMBlock, IPAMConfiguration, IPPool, Node
from cloudnet.model.workloads import WorkloadEndpoint

LABEL: Final = "cloudnet.io/takeover"
"""Of what came with a takeover: the affinity of a block, whose value is the predecessor, and the pool."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """One plugin of a network configuration. ``folder`` is where host-local keeps its books, if the list says so."""

    type: str
    bridge: str = ""
    ipam: str = ""
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Configuration:
    """One file that a runtime would read, by its name in the folder; without plugins it makes no sense."""

    file: str
    network: str = ""
    plugins: tuple[Plugin, ...] = ()

    def plugin(self, *types: str) -> Plugin | None:
        return next((plugin for plugin in self.plugins if plugin.type in types), None)

    def chained(self) -> tuple[str, ...]:
        """Return the reference plugins that follow the first and that may follow ours just so."""
        return tuple(plugin.type for plugin in self.plugins[1:] if plugin.type in CHAINED)


@dataclass(frozen=True, slots=True)
class Held:
    """An address that host-local gave to a container."""

    address: Address
    container: str
    interface: str = "eth0"


@dataclass(frozen=True, slots=True)
class Facts:
    """One node before, in the middle of, or after a takeover.

    ``configurations`` are in the order in which a runtime would choose. ``books`` is the folder of host-local's, and
    ``held`` what it has given, by network. ``agent`` says why the agent cannot take pods yet, nothing when it can;
    ``agent_answers`` whether there is one at all. ``endpoints`` are those of this node.
    """

    node: Node
    configurations: tuple[Configuration, ...] = ()
    links: Mapping[str, Link] = field(default_factory=dict)
    books: str = ""
    held: Mapping[str, tuple[Held, ...]] = field(default_factory=dict)
    pools: tuple[IPPool, ...] = ()
    affinities: tuple[BlockAffinity, ...] = ()
    blocks: tuple[IPAMBlock, ...] = ()
    rules: IPAMConfiguration | None = None
    endpoints: tuple[WorkloadEndpoint, ...] = ()
    agent_answers: bool = False
    agent: str = ""
    calico_runs: bool = False
    calico_nftables: bool = False

    def foreign(self, ours: str) -> tuple[Configuration, ...]:
        """Return the configurations that are not ours, whose plugin's program is called ``ours``."""
        return tuple(one for one in self.configurations if one.plugins and not one.plugin(ours))


@dataclass(frozen=True, slots=True)
class Found:
    """Which pod network the node has now, and how that is known. ``chain`` are plugins that ours takes along.

    ``books`` is where host-local keeps them, if its configuration says so.
    """

    kind: str
    file: str
    network: str
    bridge: str = ""
    books: str = ""
    chain: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person chose: ``pool`` is the cluster's range of pod addresses, where no pool has it yet."""

    pool: Network | None = None
    program: str = "cloudnet"
    configuration: str = "10-cloudnet.conflist"
