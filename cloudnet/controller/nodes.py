"""What the controller knows of nodes: resources, machines, blocks, agents. Pure.

A node's machine is *unknown* until the cloud was asked, then *found* or *missing*. While the cloud does not answer,
what was known stays; a node that nothing was ever known of keeps the next hop that the route ledger has for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from cloudnet.controller import words
from cloudnet.controller.tables import NEVER, Trouble, growing
from cloudnet.ipam import native
from cloudnet.model.addresses import Family, Network, NodeName, SubnetId, TableId
from cloudnet.model.resources import (
    AgentReport,
    BlockAffinity,
    Cause,
    CloudNode,
    EncapMode,
    IPPool,
    Metadata,
    NextHop,
    Node,
    NodeCondition,
    Resource,
)
from cloudnet.provider.api import Capabilities, Instance
from cloudnet.routes.aggregate import key
from cloudnet.routes.claims import Claims, claims, pool_of
from cloudnet.routes.path import encapsulation
from cloudnet.routes.plan import Wish

K = TypeVar("K")
V = TypeVar("V")

EVERYBODY = 1 << 62  # newer than any revision


@dataclass(frozen=True, slots=True)
class NodesOptions:
    """Settings that concern nodes."""

    every_route_in_every_table: bool = False


class Nodes:
    """Nodes by name, with everything that belongs to them."""

    def __init__(self, capabilities: Capabilities, options: NodesOptions) -> None:
        self._capabilities = capabilities
        self._options = options
        self._nodes: dict[NodeName, Node] = {}
        self._pools: dict[str, IPPool] = {}
        self._affinities: dict[str, BlockAffinity] = {}
        self._reports: dict[NodeName, AgentReport] = {}
        self._instances: dict[NodeName, Instance | None] = {}  # None: asked for, and there is none
        self._shut: set[NodeName] = set()  # those of them that do not forward
        self._unknown: set[NodeName] = set()
        self._failing: dict[NodeName, str] = {}
        self._forwarding: dict[NodeName, Trouble] = {}
        self._claims: Claims | None = None
        self._wishes: Mapping[int, Wish] | None = None
        self._made: dict[int, tuple[object, Wish]] = {}
        self._changed = True
        self._touched: set[NodeName] = set()  # nodes of which the store may have something to learn
        self._left: set[NodeName] = set()  # nodes that went; what others wrote of them goes, too

    # --- what is heard --------------------------------------------------------------------------------------

    def node(self, value: Node, *, gone: bool) -> bool:
        """Take a node in; tell whether it matters here."""
        name, old = value.name, self._nodes.get(value.name)
        if old == value and not gone:
            return False  # heartbeats and our own verdicts change nothing that is read here
        self._touched.add(name)
        if gone:
            for where in (self._nodes, self._instances, self._failing, self._forwarding):
                where.pop(name, None)
            self._unknown.discard(name)
            self._shut.discard(name)
            self._left.add(name)
            self._forget_claims()
            return old is not None
        elsewhere = old is None or (old.addresses, old.provider_id) != (value.addresses, value.provider_id)
        reborn = name in self._left or (old is not None and old.meta.uid != value.meta.uid)
        self._left.discard(name)
        self._nodes[name] = value
        if elsewhere or reborn:
            self._unknown.add(name)
        self._forget_claims()
        return True

    def pool(self, value: IPPool, *, gone: bool) -> None:
        _put(self._pools, value.meta.name, value, gone=gone)
        self._forget_claims()

    def affinity(self, value: BlockAffinity, *, gone: bool) -> None:
        _put(self._affinities, value.meta.name, value, gone=gone)
        self._forget_claims()

    def report(self, value: AgentReport, *, gone: bool) -> bool:
        name = NodeName(value.meta.name)
        old = self._reports.get(name)
        _put(self._reports, name, value, gone=gone)
        self._touched.add(name)
        return gone or old != value

    # --- machines -------------------------------------------------------------------------------------------

    def found(self, asked: Iterable[Node], found: Mapping[NodeName, Instance]) -> bool:
        """Take an answer of the cloud in; tell whether it changes anything."""
        changed = False
        for node in asked:
            name = node.name
            current = self._nodes.get(name)
            if current is None:
                continue
            changed |= self._failing.pop(name, None) is not None
            if (current.addresses, current.provider_id) != (node.addresses, node.provider_id):
                continue  # the answer is about a former self of the node
            changed |= name in self._unknown
            if name not in self._instances or self._instances[name] != found.get(name):
                self._learned(name, found.get(name))
                self._touched.add(name)
                changed = True
            self._unknown.discard(name)
        if changed:
            self._forget_wishes()
        return changed

    def unavailable(self, asked: Iterable[Node], why: str) -> None:
        """The cloud did not answer for these."""
        for node in asked:
            if node.name in self._nodes and node.name in self._unknown:
                self._failing[node.name] = why
        self._forget_wishes()

    def doubt(self, hop: NextHop) -> None:
        """The cloud says that this machine is gone: look again."""
        self._unknown.update(n for n, i in self._instances.items() if i is not None and i.next_hop.same_as(hop))

    def names(self) -> Collection[NodeName]:
        return self._nodes.keys()

    def uid(self, name: NodeName) -> str:
        """Return the uid of a node, empty where there is no such node."""
        node = self._nodes.get(name)
        return node.meta.uid if node else ""

    def values(self) -> tuple[Node, ...]:
        return tuple(self._nodes[n] for n in sorted(self._nodes))

    def machines(self) -> Mapping[NodeName, Instance]:
        """Return the machine of each node that has one, as far as known."""
        return {name: i for name, i in self._instances.items() if i is not None}

    def unknown(self) -> tuple[Node, ...]:
        """Return the nodes whose machine must be looked up."""
        return tuple(self._nodes[n] for n in sorted(self._unknown))

    def unread(self) -> bool:
        """Tell whether a look-up that a plan should wait for is still to come."""
        return any(n not in self._failing for n in self._unknown)

    def missing(self) -> Collection[NodeName]:
        return [n for n, i in self._instances.items() if i is None]

    def subnets(self) -> frozenset[SubnetId]:
        return frozenset(i.subnet for i in self._instances.values() if i is not None)

    # --- forwarding -----------------------------------------------------------------------------------------

    def forwards(self, name: NodeName, instance: Instance) -> None:
        self._forwarding.pop(name, None)
        self._touched.add(name)
        if self._instances.get(name) == instance:
            self._learned(name, replace(instance, forwarding=True))

    def _learned(self, name: NodeName, instance: Instance | None) -> None:
        self._instances[name] = instance
        (self._shut.discard if instance is None or instance.forwarding else self._shut.add)(name)

    def refuses(self, name: NodeName, detail: str, *, now: float, first: float, limit: float) -> bool:
        """Note that the cloud does not let the node forward; tell whether that is news."""
        old = self._forwarding.get(name)
        tries = old.tries + 1 if old else 1
        self._touched.add(name)
        self._forwarding[name] = Trouble(Cause.PERMISSION, detail, now + growing(first, limit, tries), tries)
        return old is None

    def closed(self, now: float) -> Iterator[tuple[NodeName, Instance]]:
        """Yield the machines that must be allowed to forward: those with blocks that want a native way."""
        if not self._shut:
            return
        wanting = {n for b, n in self.claims().owner.items() if self._mode(b) is not EncapMode.ALWAYS}
        for name in sorted(wanting & self._shut):
            trouble, instance = self._forwarding.get(name), self._instances[name]
            if instance is not None and (trouble is None or trouble.until <= now):
                yield name, instance

    def retry_at(self, now: float) -> float:
        """Return when the next refused node may be tried again."""
        return min((t.until for t in self._forwarding.values() if t.until > now), default=NEVER)

    # --- blocks ---------------------------------------------------------------------------------------------

    def claims(self) -> Claims:
        if self._claims is None:
            self._claims = claims(self._nodes.values(), self._affinities.values(), self._pools.values())
        return self._claims

    def warnings(self) -> Collection[str]:
        """Return what an operator should be told about blocks, pools and machines."""
        found = self.claims()
        missing = [words.no_instance(n) for n in sorted(self.missing())]
        return dict.fromkeys((*found.refused.values(), *found.warnings, *missing)).keys()

    def wishes(self, ledgered: Callable[[int], NextHop | None]) -> Mapping[int, Wish]:
        """Return the blocks that want cloud routes; ``ledgered`` is what was last written for a block."""
        if self._wishes is None:
            made = dict(self._wished(ledgered))
            self._changed = self._changed or {k: w for k, (_, w) in made.items()} != {
                k: w for k, (_, w) in self._made.items()
            }
            self._made = made
            self._wishes = {k: w for k, (_, w) in made.items()}
        return self._wishes

    def take_change(self) -> bool:
        """Tell, once, whether wishes changed since the last time."""
        changed, self._changed = self._changed, False
        return changed

    def _wished(self, ledgered: Callable[[int], NextHop | None]) -> Iterator[tuple[int, tuple[object, Wish]]]:
        found = self.claims()
        natives = {a.cidr for a in self._affinities.values() if native.is_native(a)}  # the cloud delivers them itself
        for block, name in found.owner.items():
            if name not in self._nodes or block in natives or self._mode(block) is not EncapMode.NEVER:
                continue
            k = key(block)
            instance = self._instances.get(name)
            source = (block, name, instance, self._failing.get(name))
            old = self._made.get(k)
            known = old is not None and instance is not None and old[0] == source
            yield k, old if old is not None and known else (source, self._wish(k, block, name, ledgered))
        for block, why in found.refused.items():
            if self._mode(block) is EncapMode.NEVER:
                wish = Wish(key(block), block, found.claimants[block][0], cause=Cause.DUPLICATE, detail=why)
                yield wish.key, (None, wish)

    def _wish(self, k: int, block: Network, name: NodeName, ledgered: Callable[[int], NextHop | None]) -> Wish:
        if Family(block.version) not in self._capabilities.families:
            return Wish(k, block, name, cause=Cause.UNSUPPORTED, detail=f"this cloud routes no IPv{block.version}")
        instance = self._instances.get(name)
        if instance is not None and self._capabilities.forwarding_fixed and not instance.forwarding:
            return Wish(k, block, name, cause=Cause.UNSUPPORTED, detail=words.never_forwards(name, instance))
        if instance is not None:
            adjacent = self._capabilities.l2_adjacent and not self._options.every_route_in_every_table
            direct = instance.subnet if adjacent else None
            return Wish(k, block, name, instance.next_hop, direct, zone=instance.zone)
        if name in self._instances and name not in self._failing:
            return Wish(k, block, name, cause=Cause.NOT_FOUND, detail=words.no_instance(name))
        why = self._failing.get(name, f"the machine of node {name!r} is being looked up")
        return Wish(k, block, name, ledgered(k), cause=Cause.UNAVAILABLE, detail=why)

    def _mode(self, block: Network) -> EncapMode:
        return encapsulation(pool_of(block, self._pools.values())) if self._pools else EncapMode.NEVER

    def _forget_claims(self) -> None:
        self._claims = None
        self._forget_wishes()

    def _forget_wishes(self) -> None:
        self._wishes = None

    # --- agents ---------------------------------------------------------------------------------------------

    @property
    def lost(self) -> frozenset[Network]:
        """Blocks whose native way some agent finds dead."""
        return frozenset(b for n, r in self._reports.items() if n in self._nodes for b in r.lost)

    def observed(self, subnets: Collection[SubnetId]) -> int:
        """Return the revision that every agent in these subnets has acted on."""
        seen = (
            self._reports[name].observed
            for name, instance in self._instances.items()
            if instance is not None and instance.subnet in subnets and name in self._reports
        )
        return min(seen, default=EVERYBODY)

    # --- what the store should say --------------------------------------------------------------------------

    def touch(self, names: Iterable[str] | None = None) -> None:
        """Look again at what the store says of these nodes, or of all."""
        self._touched.update(self._nodes if names is None else map(NodeName, names))

    def take_touched(self) -> Collection[NodeName]:
        """Return, once, the nodes of which the store may have something to learn."""
        touched, self._touched = self._touched, set()
        return sorted(touched)

    def cloud_nodes(
        self, names: Iterable[NodeName], tables: Mapping[SubnetId, tuple[TableId, ...]]
    ) -> Iterator[CloudNode]:
        for name in names:
            instance = self._instances.get(name)
            if instance is None or name not in self._nodes:
                continue
            trouble = self._forwarding.get(name)
            problem = trouble.detail if trouble is not None and not instance.forwarding else ""
            yield CloudNode(
                meta=Metadata(name),
                instance=instance.id,
                interface=instance.interface,
                subnet=instance.subnet,
                zone=instance.zone,
                tables=tables.get(instance.subnet, ()),
                forwarding=instance.forwarding,
                l2_adjacent=self._capabilities.l2_adjacent,
                mtu=instance.mtu,
                problem=problem if instance.running else f"instance {instance.id} is stopped: start it",
            )

    def conditions(self, names: Iterable[NodeName], wall: float) -> Iterator[NodeCondition]:
        """Yield the verdict on each node's network: ready as soon as its VXLAN ground is."""
        for name in names:
            if name not in self._nodes:
                continue
            report = self._reports.get(name)
            if report is None:
                reason, message = "NoAgent", "no agent has reported from this node: start `cloudnet agent` on it"
            elif report.ready:
                reason, message = "GroundReady", report.message
            else:
                reason, message = "AgentNotReady", report.message or "the agent has not laid the VXLAN ground yet"
            ready = report is not None and report.ready
            yield NodeCondition(Metadata(name), ready, reason, message, wall, self.uid(name))

    def leave_unknown(self) -> None:
        """Take the nodes of which there are but reports for gone: they went while nobody led."""
        self._left |= self._reports.keys() - self._nodes.keys()

    def undecided(self, value: Resource) -> bool:
        """Tell whether a resource must stay although nothing asks for it.

        A node may be looked up still; and an agent may report before its node is made.
        """
        name = NodeName(value.meta.name)
        if isinstance(value, AgentReport):
            return name not in self._left
        return isinstance(value, CloudNode) and name in self._nodes and name not in self._instances


def merged(value: Resource, old: Resource | None) -> Resource:
    """Return what to write over ``old``: its metadata stay, and ``since`` while the verdict does.

    A verdict that does not say of which Node it is (a definition from before there was such a field) stays as it is.
    """
    if old is None:
        return value
    if isinstance(value, NodeCondition) and isinstance(old, NodeCondition):
        same = (value.ready, value.reason) == (old.ready, old.reason)
        new = replace(value, meta=old.meta, since=old.since if same else value.since)
        return old if replace(new, node_uid="") == old else new
    if isinstance(value, CloudNode):
        return replace(value, meta=old.meta)
    return value


def _put(where: dict[K, V], k: K, value: V, *, gone: bool) -> None:
    if gone:
        where.pop(k, None)
    else:
        where[k] = value
