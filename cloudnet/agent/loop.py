"""The path manager's loop: what was heard goes in, what to do comes out. Pure; ``agent/main.py`` is its hands.

    resources, kernel reads, probe answers ──receive──▶ ┌──────┐ ──step(now)──▶ kernel changes, probes,
                                                        │ Loop │                sysctls, the report
    what the kernel took and refused ────────receive──▶ └──────┘                and when to step next

One change among many costs one change: inputs mark nodes and blocks dirty, a step settles only those, and ``Wishes``
holds what remains between wished and actual. Nothing is written or swept before the store's first full answer and
the first read of the kernel; native routes found then are adopted, so that a restart moves no packet. While the own
Node is missing from the store the kernel is left alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from cloudnet.agent import desired, secondary
from cloudnet.agent.actions import (
    Action,
    Answered,
    AnswerPeers,
    Applied,
    ApplyKernel,
    BlocksChanged,
    Input,
    KernelRead,
    KernelStirred,
    PathChanged,
    ProbeToSend,
    ReadFailed,
    ReadKernel,
    ResourcesChanged,
    SendProbes,
    SetSysctls,
    SetUpDevices,
    WriteReport,
)
from cloudnet.agent.blocks import NO_BLOCKS, Blocks
from cloudnet.agent.borrowed import Borrowed
from cloudnet.agent.desired import Underlay
from cloudnet.agent.secondary import Attached
from cloudnet.agent.wishes import NATIVE_METRIC, Wishes, is_native
from cloudnet.config import AgentConfig
from cloudnet.ipam import native
from cloudnet.kernel.api import (
    MAIN_TABLE,
    OVERLAY_DEVICES,
    Change,
    Failure,
    Hop,
    KernelObject,
    Key,
    Link,
    Remove,
    Route,
    VxlanDevice,
)
from cloudnet.model.addresses import Address, Family, Network, NodeName, family, order
from cloudnet.model.cloud_addresses import CloudAddresses
from cloudnet.model.paths import Path, PathKind
from cloudnet.model.resources import (
    AgentReport,
    BlockAffinity,
    CloudNode,
    CloudRoute,
    IPAMBlock,
    IPPool,
    Metadata,
    Node,
    Resource,
    RouteState,
)
from cloudnet.overlay import vxlan
from cloudnet.routes import fallback, path, probe
from cloudnet.routes.claims import counts, pool_of
from cloudnet.routes.fallback import Damping, Fallback, State
from cloudnet.routes.path import Candidate, Here, There
from cloudnet.routes.probe import PacketKind, Prober, Verdict
from cloudnet.store.api import Event, EventType

K = TypeVar("K")
V = TypeVar("V")

KINDS: tuple[type[Resource], ...] = (Node, IPPool, BlockAffinity, CloudNode, CloudRoute, CloudAddresses)
"""What an agent watches; the contents of blocks come apart (``BlocksChanged``): the ground does not wait for them."""


@dataclass(slots=True)
class _Destination:
    node: Node
    offered: Candidate
    fallback: Fallback


@dataclass(slots=True)
class Counts:
    """Numbers that only grow, for metrics."""

    repairs: int = 0
    flaps: int = 0
    failures: int = 0
    answers: int = 0
    rtts: list[float] = field(default_factory=list)  # since somebody last took them away


_READ_GAP = 2.0  # seconds between two reads because of notices: another routing daemon may never rest
_READ_DELAY = 0.02  # seconds from a notice to the read: changes come in bursts
_RETRY_FIRST = 1.0  # seconds until the kernel is asked again for what it refused; doubles …
_RETRY_LIMIT = 30.0  # … up to this
_IDLE = 3600.0
_AT_ONCE = (float("-inf"), 0.0, "")


class Loop:
    """The state of one agent. One thread at a time."""

    def __init__(self, config: AgentConfig) -> None:
        self.counts = Counts()
        self.name = NodeName(config.node)
        self.heard_at = 0.0  # when the store last delivered something
        self._config = config
        self._damping = Damping(config.hold_first, config.hold_limit)
        self._prober = Prober(
            probe.Settings(
                interval=config.probe_interval,
                budget=config.probe_budget,
                lost_probes=config.lost_probes,
                lost_after=config.lost_after,
                prove_seconds=config.prove_seconds,
            )
        )
        self._nodes: dict[NodeName, Node] = {}
        self._clouds: dict[NodeName, CloudNode] = {}
        self._routes: dict[Network, CloudRoute] = {}
        self._pools: dict[str, IPPool] = {}
        self._probing = dict.fromkeys(Family, True)  # whether some block may be reached natively
        self._blocks = Blocks()
        self._natives: dict[Network, set[str]] = {}  # blocks that the cloud delivers itself: {block: affinities}
        self._addresses: CloudAddresses | None = None
        self._attached: tuple[Attached, ...] = ()
        self._unready: tuple[tuple[str, tuple[Address, ...]], ...] = ()  # devices that are to be set up
        self._borrowed = Borrowed()
        self._strays_known = False
        self._wishes = Wishes()
        self._read: KernelRead | None = None
        self._learned: Mapping[Network, Hop] = {}
        self._here: Here | None = None
        self._underlays: dict[Family, Underlay] = {}
        self._synced = False
        self._dirty_blocks: dict[Network, None] = {}
        self._dirty_nodes: dict[NodeName, None] = {}
        self._all_dirty = True
        self._look_due = True
        self._destinations: dict[Network, _Destination] = {}
        self._holds: dict[Network, float] = {}
        self._lost: set[Network] = set()
        self._paths: dict[Network, Path] = {}
        self._kinds: Counter[tuple[str, str]] = Counter()
        self._adoptable: dict[Network, Route] = {}
        self._withdrawing: dict[Network, int] = {}  # block -> revision that we have yet to act on
        self._observed = 0
        self._report: AgentReport | None = None
        self._report_due = False
        self._read_due = 0.0
        self._read_at = float("-inf")
        self._sysctls_due = False
        self._peers: dict[NodeName, dict[Address, tuple[Address, Address]]] = {}
        self._peers_due: dict[Address, tuple[Address, Address] | None] = {}
        self._refused: dict[Key, tuple[float, float, str]] = {}  # key -> (try again at, then wait, message)
        self._now = 0.0

    # what others may look at

    @property
    def paths(self) -> tuple[Path, ...]:
        """Return the path to each remote block, in no order."""
        return tuple(self._paths.values())

    @property
    def kinds(self) -> Mapping[tuple[str, str], int]:
        """Return the number of destinations by kind and reason."""
        return self._kinds

    @property
    def report(self) -> AgentReport | None:
        return self._report

    def responder(self, block: Network) -> Address | None:
        """Return who must answer the probes of a block: its node's own address."""
        destination = self._destinations.get(block)
        address = destination.node.address(family(block)) if destination else None
        return address.ip if address else None

    def mtu(self) -> int:
        """Return the MTU that pods can use on every path; 0 while unknown."""
        return self._here.vxlan_mtu if self._here else 0

    def not_ready(self) -> str:
        """Return what is missing for a working ground, or nothing."""
        if not self._synced:
            return "waiting for the store"
        if self._read is None:
            return "waiting for the kernel"
        if self._here is None:
            return self._no_ground()
        unlaid = self._wishes.unlaid()
        if unlaid:
            why = next((self._refused[v.key][2] for v in unlaid if v.key in self._refused), "being laid")
            return f"{len(unlaid)} parts of the ground are not in the kernel: {why}"
        return ""

    # in

    def receive(self, inputs: Iterable[Input]) -> None:
        """Take in what was heard; nothing happens before the next step."""
        for heard in inputs:
            match heard:
                case Answered():
                    self._answered(heard)
                case ResourcesChanged():
                    for event in heard.events:
                        self._resource(event)
                    self._synced = self._synced or heard.synced
                    self.heard_at = self._now
                case BlocksChanged():
                    self._blocks_changed(heard)
                case KernelRead():
                    self._kernel_read(heard)
                case KernelStirred() | ReadFailed():
                    soon = max(self._now + _READ_DELAY, self._read_at + _READ_GAP)
                    self._read_due = min(self._read_due, soon)
                case Applied():
                    self._applied(heard)

    def _answered(self, heard: Answered) -> None:
        if heard.source != self.responder(heard.block):
            return
        if heard.kind is PacketKind.PRESENT:
            self._prober.present(heard.block, heard.at)
            return
        rtt = self._prober.answered(heard.block, heard.sequence, heard.at)
        if rtt is not None:
            self.counts.answers += 1
            self.counts.rtts.append(rtt)

    def _resource(self, event: Event[Resource]) -> None:
        value, gone = event.value, event.type is EventType.DELETED
        match value:
            case Node():
                self._node(value, gone=gone)
            case BlockAffinity():
                blocks = frozenset({value.cidr}) if counts(value) and not gone else NO_BLOCKS
                self._delivery(value, gone=gone)
                self._touch(self._blocks.claim(("affinity", value.meta.name), value.node, blocks))
            case IPPool():
                _put(self._pools, value.meta.name, value, gone=gone)
                self._all_dirty = True
                self._look_due = True
            case CloudNode():
                name = NodeName(value.meta.name)
                _put(self._clouds, name, value, gone=gone)
                self._dirty_nodes[name] = None
                self._all_dirty = self._all_dirty or name == self.name
            case CloudRoute():
                self._cloud_route(value, event.revision, gone=gone)
            case CloudAddresses() if value.meta.name == self.name:
                self._addresses = None if gone else value
                self._look_due = True

    def _delivery(self, affinity: BlockAffinity, *, gone: bool) -> None:
        """Note whether the cloud delivers the block itself."""
        names, name = self._natives.get(affinity.cidr, set()), affinity.meta.name
        after = names | {name} if native.is_native(affinity) and not gone else names - {name}
        if bool(after) is not bool(names):
            self._touch([affinity.cidr])
        _put(self._natives, affinity.cidr, after, gone=not after)

    def _blocks_changed(self, heard: BlocksChanged) -> None:
        for event in heard.events:
            if isinstance(event.value, IPAMBlock):
                self._touch(self._borrowed.heard(event.value, gone=event.type is EventType.DELETED))
        self._strays_known = self._strays_known or heard.synced

    def _node(self, node: Node, *, gone: bool) -> None:
        _put(self._nodes, node.name, node, gone=gone)
        pod_cidrs = NO_BLOCKS if gone else frozenset(node.pod_cidrs)
        self._touch(self._blocks.claim(("node", node.name), node.name, pod_cidrs))
        self._dirty_nodes[node.name] = None
        self._all_dirty = self._all_dirty or node.name == self.name

    def _cloud_route(self, route: CloudRoute, revision: int, *, gone: bool) -> None:
        self._dirty_blocks[route.cidr] = None
        if gone:
            if self._routes.get(route.cidr, route).meta.name == route.meta.name:
                self._routes.pop(route.cidr, None)
            self._withdrawing.pop(route.cidr, None)
            return
        self._routes[route.cidr] = route
        if any(status.state is RouteState.WITHDRAWING for status in route.tables):
            self._withdrawing[route.cidr] = revision
        else:
            self._withdrawing.pop(route.cidr, None)

    def _touch(self, blocks: Iterable[Network]) -> None:
        for block in blocks:
            self._dirty_blocks[block] = None

    def _kernel_read(self, read: KernelRead) -> None:
        differing = self._wishes.found(read.objects)
        if self._read is None:
            natives = (v for v in read.objects.values() if is_native(v))
            self._adoptable = {v.destination: v for v in natives if isinstance(v, Route)}
        else:
            self.counts.repairs += differing
        self._read = read
        self._touch(block for block, hop in read.learned.items() if self._learned.get(block) != hop)
        self._touch(block for block in self._learned if block not in read.learned)
        self._learned = read.learned
        self._look_due = True
        self._read_due = float("inf")
        self._sysctls_due = True

    def _applied(self, applied: Applied) -> None:
        failed = {id(failure.change): failure for failure in applied.failures}
        refused_before = bool(self._refused)
        for change in applied.changes:
            if failure := failed.get(id(change)):
                self._kernel_refused(failure)
                continue
            if refused_before:
                self._refused.pop(change.value.key, None)
            if isinstance(change.value, VxlanDevice) and change.value.key in self._wishes.actual:
                self._read_due = self._now  # routes through a device that was made anew are gone
            self._wishes.applied(change)
            self._sysctls_due = self._sysctls_due or isinstance(change.value, VxlanDevice)
        self._report_due = True

    def _kernel_refused(self, failure: Failure) -> None:
        self.counts.failures += 1
        key = failure.change.value.key
        wait = self._refused[key][1] if key in self._refused else _RETRY_FIRST
        self._refused[key] = (self._now + wait, min(2 * wait, _RETRY_LIMIT), str(failure.error))

    # out

    def step(self, now: float, wall: float = 0.0) -> tuple[tuple[Action, ...], float]:
        """Return what to do now, in order, and when to step again if nothing is heard before."""
        self._now = now
        actions: list[Action] = []
        if now >= min(self._read_due, self._read_at + self._config.resync_seconds):
            self._read_at = now
            self._read_due = float("inf")
            actions.append(ReadKernel())
        if not self._synced or self._read is None:
            return tuple(actions), self._next_wakeup(now)
        if self._all_dirty or self._look_due:
            self._look_around()
        if self._here is not None:
            actions += self._settle(now, wall)
            actions += self._kernel_work(now)
            actions += self._probes(now)
        if not any(isinstance(action, ApplyKernel) for action in actions):
            actions += self._reporting()
        return tuple(actions), self._next_wakeup(now)

    def _next_wakeup(self, now: float) -> float:
        times = [now + _IDLE, self._read_due, self._read_at + self._config.resync_seconds]
        if self._synced and self._here is not None:  # otherwise nobody would act on these
            times += self._holds.values()
            times += (refusal[0] for refusal in self._refused.values())
            probe_at = self._prober.next_due
            times += () if probe_at is None else (probe_at,)
        return max(now, min(times))

    # settling what is dirty

    def _look_around(self) -> None:
        """Find this node's own place: its Node, its devices, its gateways; ``_here`` is ``None`` without them."""
        assert self._read is not None  # noqa: S101 - step() has seen to it
        node = self._nodes.get(self.name)
        self._look_due = False
        self._report_due = True
        before = self._here, self._underlays
        self._here, self._underlays = None, {}
        if node is None:
            return
        for address in node.addresses:
            version = family(address)
            link = next((x for x in self._read.links.values() if _carries(x, address.ip)), None)
            if link is not None and node.vtep(version) is not None:
                ways = (g.address for g in self._read.gateways if g.family is version and g.device == link.name)
                self._underlays[version] = Underlay(link, next(ways, None))
        if not self._underlays:
            return
        gateways = {v: u.gateway for v, u in self._underlays.items() if u.gateway is not None}
        underlay_mtu = min(u.link.mtu for u in self._underlays.values())
        vxlan_mtu = min(desired.vxlan_mtu(self._config, v, u.link.mtu) for v, u in self._underlays.items())
        self._here = Here(node, self._clouds.get(self.name), gateways, underlay_mtu, vxlan_mtu)
        if (self._here, self._underlays) != before:
            self._all_dirty = True
        self._look_at_interfaces()

    def _look_at_interfaces(self) -> None:
        """Find the devices of further interfaces, and wish the rules and tables that their addresses need."""
        assert self._read is not None  # noqa: S101 - step() has seen to it
        before, self._attached = self._attached, secondary.attached(self._addresses, self._read.links)
        if before != self._attached:
            self._all_dirty = True
        pools = [pool.cidr for pool in self._pools.values()]
        self._wishes.wish(("addresses",), secondary.objects(self._addresses, self._attached, pools))
        self._unready = tuple((a.link.name, a.missing) for a in self._attached if not a.ready)
        self._sysctls_due = True

    def _no_ground(self) -> str:
        node = self._nodes.get(self.name)
        if node is None:
            return f"node {self.name!r} is not in the store: create its Node resource, or correct --node"
        if not node.vteps:
            return f"node {self.name!r} has no tunnel address: give it a VTEP in its Node resource"
        addresses = ", ".join(str(a.ip) for a in node.addresses) or "none"
        return f"no device carries an address of node {self.name!r} ({addresses}): correct the Node resource"

    def _settle(self, now: float, wall: float) -> list[Action]:
        if self._all_dirty:
            self._all_dirty = False
            self._settle_itself()
            self._touch(self._blocks)
            self._touch(self._borrowed)
            self._touch(self._destinations)
            self._dirty_nodes.update(dict.fromkeys(self._nodes))
        for name in self._dirty_nodes:
            self._settle_node(name)
            self._touch(self._blocks.of(name))
            self._touch(self._borrowed.of(name))
        self._dirty_nodes.clear()
        self._touch(self._prober.changed())
        self._touch(block for block, at in self._holds.items() if at <= now)
        blocks = tuple(self._dirty_blocks)
        self._dirty_blocks.clear()
        actions: list[Action] = []
        for block in blocks:
            actions += self._settle_block(block, now, wall)
        self._adoptable.clear()
        self._report_due = self._report_due or bool(blocks)
        return actions

    def _settle_itself(self) -> None:
        assert self._here is not None  # noqa: S101 - step() has seen to it
        for version in Family:
            self._probing[version] = path.may_be_native(version, self._pools.values())
            self._settle_family(version)
        self._sysctls_due = True

    def _settle_family(self, version: Family) -> None:
        assert self._here is not None  # noqa: S101 - step() has seen to it
        underlay, probing = self._underlays.get(version), self._probing[version]
        objects = (
            desired.for_itself(self._config, self._here.node, version, underlay, probing=probing) if underlay else ()
        )
        self._wishes.wish(("itself", int(version)), objects)

    def _settle_node(self, name: NodeName) -> None:
        node = self._nodes.get(name)
        for version in Family:
            wanted = node is not None and name != self.name and version in self._underlays
            objects = vxlan.to_node(node, version) if node is not None and wanted else ()
            self._wishes.wish(("node", name, int(version)), objects)
        peers = dict(self._peers_at(node)) if node is not None and name != self.name else {}
        before = self._peers.pop(name, None) or {}
        if peers:
            self._peers[name] = peers
        if before == peers:
            return
        self._peers_due.update(dict.fromkeys(before.keys() - peers.keys()) if before else ())
        self._peers_due.update(peers)

    def _peers_at(self, node: Node) -> Iterator[tuple[Address, tuple[Address, Address]]]:
        assert self._here is not None  # noqa: S101 - step() has seen to it
        for version in self._underlays:
            vtep, own, theirs = node.vtep(version), self._here.node.address(version), node.address(version)
            if vtep is not None and own is not None and theirs is not None:
                yield vtep.address, (own.ip, theirs.ip)

    def _settle_block(self, block: Network, now: float, wall: float) -> list[Action]:
        version = family(block)
        if not self._probing[version] and pool_of(block, self._pools.values()) is None:
            self._probing[version] = True
            self._settle_family(version)
        owner = self._borrowed.owner(block) or self._blocks.owner(block)
        if owner is not None and owner != self.name:
            return self._settle_remote(block, self._nodes.get(owner) or _unknown(owner), now, wall)
        self._leave(block)
        mine = owner is not None and family(block) in self._underlays
        self._wishes.wish(("block", order(block)), desired.for_own_block(block) if mine else ())
        claimants = [name for name in self._blocks.claimants(block) if name != self.name]
        if owner is None and claimants:
            node = self._nodes.get(claimants[0]) or _unknown(claimants[0])
            return self._record(block, path.refused(block, node, self._blocks.conflict(block), since=wall))
        return self._record(block, None)

    def _settle_remote(self, block: Network, node: Node, now: float, wall: float) -> list[Action]:
        assert self._here is not None  # noqa: S101 - step() has seen to it
        there = There(
            block,
            node,
            self._clouds.get(node.name),
            self._routes.get(block),
            pool_of(block, self._pools.values()),
            learned=self._learned.get(block),
            native=block in self._natives,
        )
        offered = path.candidate(self._here, there)
        underlay = self._underlays.get(family(block))
        if underlay is None or node.vtep(family(block)) is None:
            offered = replace(offered, kind=PathKind.VXLAN, next_hop=None)
        before = self._destinations.get(block)
        standing = self._stand(there, before, offered, underlay, now)
        after = self._drive(block, offered, standing, now)
        self._destinations[block] = _Destination(node, offered, after)
        if after.state is State.HELD:
            self._holds[block] = after.held_until
        elif self._holds:  # asking nothing for a block costs a hash, and there may be thousands of blocks
            self._holds.pop(block, None)
        self._wishes.wish(("block", order(block)), self._ways(there, offered, native=after.state is State.NATIVE))
        verdict = self._prober.verdict(block)
        if verdict in {Verdict.LOST, Verdict.SILENT} and offered.kind is PathKind.NATIVE:
            self._lost.add(block)
        elif self._lost:
            self._lost.discard(block)
        chosen = path.choose(self._here, there, offered, after.state, verdict, since=wall)
        flapped = before is not None and after.flaps > before.fallback.flaps
        self.counts.flaps += flapped
        return self._record(block, chosen, flapped=flapped)

    def _ways(self, there: There, offered: Candidate, *, native: bool) -> Iterator[KernelObject]:
        """Yield what the kernel should hold of a remote block."""
        underlay, vtep = self._underlays.get(family(there.block)), there.node.vtep(family(there.block))
        if underlay is None or vtep is None:
            return
        yield from desired.for_remote_block(there.block, there.node, offered, underlay, native=native)
        if there.native and not native:
            yield from secondary.ground(vxlan.to_block(there.block, vtep.address), self._attached)

    def _stand(
        self,
        there: There,
        known: _Destination | None,
        offered: Candidate,
        underlay: Underlay | None,
        now: float,
    ) -> Fallback:
        """Return the destination's fallback state before this look; another way than before starts anew."""
        block, node = there.block, there.node
        if known is None:
            adopted = self._adoptable.get(block) if self._adoptable else None
            standing = Fallback(since=now)
            if offered.native and underlay and adopted == desired.native_route(block, offered, underlay):
                self._prober.watch(block, now)
                return fallback.advance(standing, fallback.Event.ADOPTED, now, self._damping)
            return standing
        before, after = ((way.kind, way.next_hop, way.device) for way in (known.offered, offered))
        same_way = before == after
        if same_way and known.node.addresses == node.addresses:
            return known.fallback
        self._prober.forget(block)
        return fallback.advance(known.fallback, fallback.Event.ROUTE_LOST, now, self._damping)

    def _drive(self, block: Network, offered: Candidate, standing: Fallback, now: float) -> Fallback:
        """Feed the fallback table with what holds now until it comes to rest; a level, not an edge."""
        if offered.native:
            self._prober.watch(block, now)
        else:
            self._prober.forget(block)
        while True:
            event = self._event(block, offered, standing, now)
            if event is None:
                return standing
            after = fallback.advance(standing, event, now, self._damping)
            if after is standing:
                return standing
            standing = after

    def _event(self, block: Network, offered: Candidate, standing: Fallback, now: float) -> fallback.Event | None:
        verdict = self._prober.verdict(block)
        match standing.state:
            case State.HELD if now >= standing.held_until:
                return fallback.Event.HOLD_EXPIRED
            case State.GROUND if offered.native:
                return fallback.Event.ROUTE_VERIFIED
            case State.PROVING | State.NATIVE if not offered.native:
                return fallback.Event.ROUTE_LOST
            case State.PROVING if verdict is Verdict.PROVEN:
                return fallback.Event.PROBES_PROVEN
            case State.NATIVE if verdict is Verdict.LOST:
                return fallback.Event.PROBES_LOST
        return None

    def _leave(self, block: Network) -> None:
        self._destinations.pop(block, None)
        self._holds.pop(block, None)
        self._lost.discard(block)
        self._prober.forget(block)

    def _record(self, block: Network, chosen: Path | None, *, flapped: bool = False) -> list[Action]:
        before = self._paths.get(block)
        if chosen == before:
            return []
        if before is not None:
            self._kinds[before.kind.value, before.reason.value] -= 1
            del self._paths[block]
        if chosen is not None:
            self._kinds[chosen.kind.value, chosen.reason.value] += 1
            self._paths[block] = chosen
        return [PathChanged(before, chosen, flapped)]

    # kernel, probes, report

    def _kernel_work(self, now: float) -> list[Action]:
        actions: list[Action] = []
        if self._unready:
            actions.append(SetUpDevices(self._unready))
            self._unready = ()
        wanted = self._wishes.changes()
        if not self._strays_known:  # a route to a stray of an earlier run must stand until we know
            wanted = tuple(change for change in wanted if not _forgets_an_address(change))
        changes = wanted
        if self._refused:
            changes = tuple(c for c in wanted if self._refused.get(c.value.key, _AT_ONCE)[0] <= now)
            due = {c.value.key for c in wanted}
            self._refused = {key: value for key, value in self._refused.items() if key in due}
        if changes:
            actions.append(ApplyKernel(changes))
        elif self._sysctls_due:
            self._sysctls_due = False
            actions.append(SetSysctls(self._sysctls()))
        if self._peers_due and not changes:  # the overlay's devices must be there to be told apart
            overlay = frozenset(OVERLAY_DEVICES[version] for version in self._underlays)
            actions.append(AnswerPeers(self._peers_due, overlay))
            self._peers_due = {}
        return actions

    def _sysctls(self) -> tuple[tuple[str, str], ...]:
        """Return the settings that routing needs; of ``all`` and a device's own rp_filter the greater counts.

        Forwarding on makes a host ignore router advertisements unless accept_ra is 2 (ip-sysctl.rst).
        """
        settings: list[tuple[str, str]] = []
        for version, underlay in self._underlays.items():
            if version is Family.IPV4:
                settings.append(("net.ipv4.ip_forward", "1"))
                further = (a.link.name for a in self._attached)
                devices = (underlay.link.name, OVERLAY_DEVICES[version], *further)
                settings += ((f"net.ipv4.conf.{device}.rp_filter", "2") for device in devices)
            else:
                settings.append((f"net.ipv6.conf.{underlay.link.name}.accept_ra", "2"))
                settings.append(("net.ipv6.conf.all.forwarding", "1"))
        return tuple(settings)

    def _probes(self, now: float) -> list[Action]:
        assert self._here is not None  # noqa: S101 - step() has seen to it
        probes = []
        for due in self._prober.due(now):
            version = family(due.block)
            vtep, own, theirs = (
                self._here.node.vtep(version),
                self._here.node.address(version),
                self.responder(due.block),
            )
            if vtep is not None:
                probes.append(ProbeToSend(due.block, due.sequence, vtep.address, due.block.network_address))
            if due.call and own is not None and theirs is not None:
                probes.append(ProbeToSend(due.block, due.sequence, own.ip, theirs, PacketKind.CALL))
        return [SendProbes(tuple(probes))] if probes else []

    def _reporting(self) -> list[Action]:
        if not self._report_due:
            return []
        self._report_due = False
        self._acknowledge()
        problem = self.not_ready()
        lost = tuple(sorted(self._lost, key=order))
        report = AgentReport(Metadata(self.name), not problem, self._observed, lost, problem)
        if report == self._report:
            return []
        self._report = report
        return [WriteReport(report)]

    def _acknowledge(self) -> None:
        """Advance ``observed`` to the newest withdrawal up to which no native route is left in the kernel."""
        standing = {b: r for b, r in self._withdrawing.items() if self._still_uses(b)}
        oldest = min(standing.values(), default=None)
        done = {b: r for b, r in self._withdrawing.items() if oldest is None or r < oldest}
        self._observed = max([self._observed, *done.values()])
        for block in done:
            del self._withdrawing[block]

    def _still_uses(self, block: Network) -> bool:
        cloud, route = self._clouds.get(self.name), self._routes[block]
        ours = cloud.tables if cloud else ()
        withdrawn = any(s.table in ours and s.state is RouteState.WITHDRAWING for s in route.tables)
        return withdrawn and Route(block, metric=NATIVE_METRIC, table=MAIN_TABLE).key in self._wishes.actual


def _put(where: dict[K, V], key: K, value: V, *, gone: bool) -> None:
    if gone:
        where.pop(key, None)
    else:
        where[key] = value


def _forgets_an_address(change: Change) -> bool:
    """Tell whether it removes a route to a single address."""
    value = change.value
    whole = isinstance(value, Route) and value.destination.prefixlen == value.destination.max_prefixlen
    return whole and isinstance(change, Remove)


def _carries(link: Link, address: Address) -> bool:
    return any(own.ip == address for own in link.addresses)


def _unknown(name: NodeName) -> Node:
    """Return a node that somebody's block names and nobody has described yet."""
    return Node(Metadata(name))
