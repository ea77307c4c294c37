"""A look at a cloud before anything is written to it: what stands in the way of pods, and the exact remedy.

An optional face of a provider: whoever has the method ``preflight`` has it. It reads, changes nothing, and answers in
findings, which ``cloudnet preflight`` prints. What a provider reads it judges by the pure functions of ``findings``
and ``firewall`` beside this file; ``cloudnet.testing.preflight`` holds the suite that every one passes.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from cloudnet.model.addresses import Family, Network, NodeName, family
from cloudnet.model.resources import IPPool, Node


class Check(enum.Enum):
    """What was looked at."""

    PERMISSION = "permission"  # may the controller make its calls?
    MACHINES = "machines"  # has every node a machine in this cloud?
    FORWARDING = "forwarding"  # does the fabric take pods' packets from and to the machines?
    FIREWALL = "firewall"  # do VXLAN, probes and pods' packets pass?
    TABLES = "tables"  # has every node's subnet a route table?
    ROUTES = "routes"  # does somebody else's route stand where one of ours has to?
    QUOTA = "quota"  # does what is wanted fit?
    ADDRESSES = "addresses"  # do pools overlap what is there already?
    MTU = "mtu"  # do pods' packets fit, in VXLAN too?


class Severity(enum.Enum):
    """What a finding means for pods."""

    OK = "ok"
    WARNING = "warning"  # it works, with less than there could be, or cloudnet sets it right by itself
    BLOCKS = "blocks"  # some pods get no native path, or no path at all, until somebody acts


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. ``remedy`` is a command or a policy statement to paste, or what to set."""

    check: Check
    subject: str
    severity: Severity = Severity.OK
    problem: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Needs:
    """What the cluster will ask of the cloud. ``pod_mtu`` is bytes, 0 whatever every path can carry.

    ``native``: the families in which pods shall get addresses of the cloud's own.
    """

    nodes: tuple[Node, ...] = ()
    pools: tuple[IPPool, ...] = ()
    blocks: Mapping[NodeName, tuple[Network, ...]] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    vxlan_port: int = 4789
    probe_port: int = 4793
    pod_mtu: int = 0
    native: frozenset[Family] = frozenset()

    @property
    def pods(self) -> tuple[Network, ...]:
        """Every prefix that pod addresses come from."""
        return tuple(pool.cidr for pool in self.pools)

    @property
    def families(self) -> frozenset[Family]:
        return frozenset(map(family, self.pods))

    def routes_to(self, node: NodeName) -> Mapping[Family, int]:
        """Return how many routes lead to a node: one a block, and one a family while it has none yet."""
        held = self.blocks.get(node, ())
        return {each: max(1, sum(family(block) is each for block in held)) for each in self.families}


@runtime_checkable
class Preflight(Protocol):
    """A provider that can look before anything is written."""

    def preflight(self, needs: Needs) -> Sequence[Finding]:
        """Return what was looked at, problems and all; a call that is denied is a finding, not an error.

        Raises:
            ProviderError: the cloud does not answer at all, so nothing can be said.
        """


def blocks(findings: Iterable[Finding]) -> bool:
    """Tell whether one of the findings stands in the way."""
    return any(finding.severity is Severity.BLOCKS for finding in findings)
