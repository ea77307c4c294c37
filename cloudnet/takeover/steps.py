"""The steps of a takeover, as values: what each changes, and what becomes of it when the node is given back. Pure.

``act.py`` carries them out. Each may be done again after it was killed halfway, and so may its way back. The name of
a step is what the journal knows it by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from cloudnet.model.addresses import Network, NodeName


@dataclass(frozen=True, slots=True)
class GuardBooks:
    """While some nodes count their own range, nobody may claim another block or borrow an address."""

    name: str = "guard"
    says: str = "set strictAffinity and no automatic blocks, so that no node takes addresses of another's range"
    back: str = "set both back with the last node that is given back"


@dataclass(frozen=True, slots=True)
class MakePool:
    """A pool of the cluster's range, cut as Kubernetes cuts it, one block a node."""

    cidr: Network
    block_size: int
    name: str = "pool"

    @property
    def says(self) -> str:
        return f"make IPPool 'takeover' of {self.cidr} in blocks of /{self.block_size}, without outgoing NAT of ours"

    @property
    def back(self) -> str:
        return "delete it with the last node that is given back"


@dataclass(frozen=True, slots=True)
class Reserve:
    """Addresses that pods on a bridge take for the network, the bridge or everybody: no pod may have them."""

    node: NodeName
    network: str
    block: Network
    cidrs: tuple[Network, ...]
    name: str = "reserve"

    @property
    def says(self) -> str:
        return f"reserve {', '.join(map(str, self.cidrs))}, which pods on the bridge cannot reach as a pod"

    @property
    def back(self) -> str:
        return "take the reservation and what was taken in from host-local out of the books"


@dataclass(frozen=True, slots=True)
class CloseBooks:
    """host-local must give no address any more: each one that is free gets a file that is ours."""

    network: str
    block: Network
    name: str = "close"

    @property
    def says(self) -> str:
        return f"mark every free address of {self.block} as taken in host-local's books of {self.network!r}"

    @property
    def back(self) -> str:
        return "give host-local its books back, with the addresses that pods of ours still have marked as taken"


@dataclass(frozen=True, slots=True)
class ClaimBlock:
    """The node's range becomes its block, in one write with all addresses that pods have already."""

    node: NodeName
    kind: str
    network: str
    block: Network
    name: str = "claim"

    @property
    def says(self) -> str:
        return f"lay the VXLAN device, then make {self.block} the node's block, with the addresses pods have already"

    @property
    def back(self) -> str:
        return "let go of the block: no address of it is given any more"


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of the kernel; what it was before stands in the journal."""

    setting: str
    value: str
    why: str

    @property
    def name(self) -> str:
        return f"set {self.setting}"

    @property
    def says(self) -> str:
        return f"set {self.setting} to {self.value}: {self.why}"

    @property
    def back(self) -> str:
        return "set it to what it was, once no pod of ours is left"


@dataclass(frozen=True, slots=True)
class AwaitRoutes:
    """Nodes that are not taken yet know no other way to a block of ours than the cloud's route tables."""

    node: NodeName
    name: str = "routes"
    says: str = "wait until the cloud's route tables lead to this node's block"
    back: str = "let go of the node's blocks, once no pod of ours is left and the agent is stopped"


@dataclass(frozen=True, slots=True)
class LowerRoutes:
    """Calico's routes would win over ours, or take their place, and nobody keeps them any more."""

    name: str = "lower"
    says: str = "lay Calico's routes anew with a worse metric, so that the agent's win as soon as they are there"
    back: str = "lay them as they were"


@dataclass(frozen=True, slots=True)
class RemoveChains:
    """Felix's chains drop pods that they do not know; from here on our rules alone decide."""

    name: str = "chains"
    says: str = "remove Calico's iptables chains, now that the agent's rules are in force"
    back: str = "remove our nftables tables, once calico-node has written its chains again"


@dataclass(frozen=True, slots=True)
class AwaitAgent:
    """Nobody may be sent to an agent that cannot take pods."""

    name: str = "agent"
    says: str = "wait until this node's agent takes pods"
    back: str = "nothing to do"


@dataclass(frozen=True, slots=True)
class SwitchCni:
    """From here on new pods are ours: program, configuration, and then nobody's configuration before ours."""

    network: str
    file: str
    chain: tuple[str, ...] = ()
    name: str = "cni"

    @property
    def says(self) -> str:
        return f"put the plugin and {self.file} of network {self.network!r} in place, and set aside what comes before"

    @property
    def back(self) -> str:
        return "put back what was set aside, then remove ours"


Step: TypeAlias = (
    GuardBooks
    | MakePool
    | Reserve
    | CloseBooks
    | ClaimBlock
    | Setting
    | LowerRoutes
    | AwaitAgent
    | AwaitRoutes
    | RemoveChains
    | SwitchCni
)
