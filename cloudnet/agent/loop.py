"""The path manager's loop: what was heard goes in, what to do comes out. Pure; ``agent/owner.py`` is its hands.

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

from cloudnet.agent import desired, secondary, surroundings, unowned
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
from cloudnet.agent.desired import Underlay
from cloudnet.agent.destinations import Destinations
from cloudnet.agent.heard import Heard
from cloudnet.agent.refusals import Refusals
from cloudnet.agent.secondary import Attached
from cloudnet.agent.wishes import NATIVE_METRIC, Wishes, is_native
from cloudnet.config import AgentConfig
from cloudnet.kernel.api import (
    MAIN_TABLE,
    OVERLAY_DEVICES,
    Change,
    KernelObject,
    Remove,
    Route,
    VxlanDevice,
)
from cloudnet.model.addresses import Address, Family, Network, NodeName, family, order
from cloudnet.model.paths import Path, PathKind
from cloudnet.model.resources import (
    AgentReport,
    Metadata,
    Node,
    Resource,
    RouteState,
)
from cloudnet.overlay import vxlan
from cloudnet.routes import path, probe
from cloudnet.routes.claims import pool_of
from cloudnet.routes.fallback import Damping, State
from cloudnet.routes.path import Candidate, Here, There
from cloudnet.routes.probe import PacketKind, Prober
from cloudnet.routes.ways import Ways
from cloudnet.store.api import EventType


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
_IDLE = 3600.0


class Loop:
    """The state of one agent. One thread at a time."""

    def __init__(self, config: AgentConfig) -> None:
        self.counts = Counts()
        self.name = NodeName(config.node)
        self.heard_at = 0.0  # when the store last delivered something
        self._config = config
        self._prober = Prober(
            probe.Settings(
                interval=config.probe_interval,
                budget=config.probe_budget,
                lost_probes=config.lost_probes,
                lost_after=config.lost_after,
                prove_seconds=config.prove_seconds,
            )
        )
        self._heard = Heard(self.name)
        self._destinations = Destinations(self._prober, Damping(config.hold_first, config.hold_limit))
        self._refusals = Refusals()
        self._wishes = Wishes()
        self._read: KernelRead | None = None
        self._learned = Ways()
        self._here: Here | None = None
        self._underlays: dict[Family, Underlay] = {}
        self._attached: tuple[Attached, ...] = ()
        self._unready: tuple[tuple[str, tuple[Address, ...]], ...] = ()  # devices that are to be set up
        self._probing = dict.fromkeys(Family, True)  # whether some block may be reached natively
        self._paths: dict[Network, Path] = {}
        self._kinds: Counter[tuple[str, str]] = Counter()
        self._observed = 0
        self._report: AgentReport | None = None
        self._report_due = False
        self._read_due = 0.0
        self._read_at = float("-inf")
        self._sysctls_due = False
        self._peers: dict[NodeName, dict[Address, tuple[Address, Address]]] = {}
        self._peers_due: dict[Address, tuple[Address, Address] | None] = {}
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
        return self._destinations.responder(block)

    def mtu(self) -> int:
        """Return the MTU that pods can use on every path; 0 while unknown."""
        return self._here.vxlan_mtu if self._here else 0

    def not_ready(self) -> str:
        """Return what is missing for a working ground, or nothing."""
        if not self._heard.synced:
            return "waiting for the store"
        if self._read is None:
            return "waiting for the kernel"
        if self._here is None:
            return surroundings.no_ground(self.name, self._heard.own_node)
        unlaid = self._wishes.unlaid()
        if unlaid:
            why = self._refusals.why(unlaid) or "being laid"
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
                    self._resources(heard)
                case BlocksChanged():
                    self._heard.contents(heard)
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

    def _resources(self, changed: ResourcesChanged) -> None:
        for event in changed.events:
            self._heard.resource(event)
        if any(self._is_own_node(event.value) and event.type is EventType.DELETED for event in changed.events):
            self._report = None  # with a node goes its report: who comes back under its name reports anew
        self._heard.synced = self._heard.synced or changed.synced
        self.heard_at = self._now

    def _is_own_node(self, value: Resource) -> bool:
        return isinstance(value, Node) and value.name == self.name

    def _kernel_read(self, read: KernelRead) -> None:
        differing = self._wishes.found(read.objects)
        if self._read is None:
            natives = (v for v in read.objects.values() if is_native(v))
            self._destinations.adopt({v.destination: v for v in natives if isinstance(v, Route)})
        else:
            self.counts.repairs += differing
        self._read = read
        self._learn(Ways(read.learned))
        self._heard.look_due = True
        self._read_due = float("inf")
        self._sysctls_due = True

    def _learn(self, ways: Ways) -> None:
        """Take in what BGP peers told; a prefix that is no block concerns whichever blocks lie in it."""
        before, self._learned = self._learned, ways
        differing = tuple(ways.differing(before))
        self._heard.touch(differing)
        if any(self._heard.blocks.owner(prefix) is None for prefix in differing):
            self._heard.all_dirty = True

    def _applied(self, applied: Applied) -> None:
        failed = {id(failure.change): failure for failure in applied.failures}
        refused_before = bool(self._refusals)
        for change in applied.changes:
            if failure := failed.get(id(change)):
                self.counts.failures += 1
                self._refusals.note(failure, self._now)
                continue
            if refused_before:
                self._refusals.forget(change.value.key)
            if isinstance(change.value, VxlanDevice) and change.value.key in self._wishes.actual:
                self._read_due = self._now  # routes through a device that was made anew are gone
            self._wishes.applied(change)
            self._sysctls_due = self._sysctls_due or isinstance(change.value, VxlanDevice)
        self._report_due = True

    # out

    def step(self, now: float, wall: float = 0.0) -> tuple[tuple[Action, ...], float]:
        """Return what to do now, in order, and when to step again if nothing is heard before."""
        self._now = now
        actions: list[Action] = []
        if now >= min(self._read_due, self._read_at + self._config.resync_seconds):
            self._read_at = now
            self._read_due = float("inf")
            actions.append(ReadKernel())
        if not self._heard.synced or self._read is None:
            return tuple(actions), self._next_wakeup(now)
        if self._heard.all_dirty or self._heard.look_due:
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
        if self._heard.synced and self._here is not None:  # otherwise nobody would act on these
            times += self._destinations.times()
            times += self._refusals.times()
            probe_at = self._prober.next_due
            times += () if probe_at is None else (probe_at,)
        return max(now, min(times))

    # settling what is dirty

    def _look_around(self) -> None:
        """Find this node's own place: its Node, its devices, its gateways; ``_here`` is ``None`` without them."""
        assert self._read is not None  # noqa: S101 - step() has seen to it
        node = self._heard.own_node
        self._heard.look_due = False
        self._report_due = True
        before = self._here, self._underlays
        self._here, self._underlays = None, {}
        if node is None:
            return
        self._underlays = surroundings.underlays(node, self._read)
        self._here = surroundings.here(self._config, node, self._heard.clouds.get(self.name), self._underlays)
        if self._here is None:
            return
        if (self._here, self._underlays) != before:
            self._heard.all_dirty = True
        self._look_at_interfaces()

    def _look_at_interfaces(self) -> None:
        """Find the devices of further interfaces, and wish the rules and tables that their addresses need."""
        assert self._read is not None  # noqa: S101 - step() has seen to it
        before, self._attached = self._attached, secondary.attached(self._heard.addresses, self._read.links)
        if before != self._attached:
            self._heard.all_dirty = True
        pools = [pool.cidr for pool in self._heard.pools.values()]
        self._wishes.wish(("addresses",), secondary.objects(self._heard.addresses, self._attached, pools))
        self._unready = tuple((a.link.name, a.missing) for a in self._attached if not a.ready)
        self._sysctls_due = True

    def _settle(self, now: float, wall: float) -> list[Action]:
        heard = self._heard
        if heard.all_dirty:
            heard.all_dirty = False
            self._settle_itself()
            for blocks in (heard.blocks, heard.borrowed, self._destinations):
                heard.touch(blocks)
            heard.dirty_nodes.update(dict.fromkeys(heard.nodes))
        for name in heard.dirty_nodes:
            self._settle_node(name)
            heard.touch(heard.blocks.of(name))
            heard.touch(heard.borrowed.of(name))
        heard.dirty_nodes.clear()
        heard.touch(self._prober.changed())
        heard.touch(self._destinations.expired(now))
        dirty = tuple(heard.dirty_blocks)
        heard.dirty_blocks.clear()
        actions: list[Action] = []
        for block in dirty:
            actions += self._settle_block(block, now, wall)
        self._destinations.adopt({})
        self._report_due = self._report_due or bool(dirty)
        return actions

    def _settle_itself(self) -> None:
        assert self._here is not None  # noqa: S101 - step() has seen to it
        for version in Family:
            self._probing[version] = path.may_be_native(version, self._heard.pools.values())
            self._settle_family(version)
        pools = (pool.cidr for pool in self._heard.pools.values())
        self._wishes.wish(("unowned",), unowned.rules(self._here, pools, natives=bool(self._heard.natives)))
        self._sysctls_due = True

    def _settle_family(self, version: Family) -> None:
        assert self._here is not None  # noqa: S101 - step() has seen to it
        underlay, probing = self._underlays.get(version), self._probing[version]
        objects = (
            desired.for_itself(self._config, self._here.node, version, underlay, probing=probing) if underlay else ()
        )
        self._wishes.wish(("itself", int(version)), objects)

    def _settle_node(self, name: NodeName) -> None:
        node = self._heard.nodes.get(name)
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
        if not self._probing[version] and pool_of(block, self._heard.pools.values()) is None:
            self._probing[version] = True
            self._settle_family(version)
        owner = self._heard.borrowed.owner(block) or self._heard.blocks.owner(block)
        if owner is not None and owner != self.name:
            return self._settle_remote(block, self._heard.nodes.get(owner) or _unknown(owner), now, wall)
        self._destinations.leave(block)
        mine = owner is not None and family(block) in self._underlays
        self._wishes.wish(("block", order(block)), desired.for_own_block(block) if mine else ())
        claimants = [name for name in self._heard.blocks.claimants(block) if name != self.name]
        if owner is None and claimants:
            node = self._heard.nodes.get(claimants[0]) or _unknown(claimants[0])
            return self._record(block, path.refused(block, node, self._heard.blocks.conflict(block), since=wall))
        return self._record(block, None)

    def _settle_remote(self, block: Network, node: Node, now: float, wall: float) -> list[Action]:
        assert self._here is not None  # noqa: S101 - step() has seen to it
        there = There(
            block,
            node,
            self._heard.clouds.get(node.name),
            self._heard.routes.get(block),
            pool_of(block, self._heard.pools.values()),
            learned=self._learned.to(block),
            native=block in self._heard.natives,
        )
        offered = path.candidate(self._here, there)
        underlay = self._underlays.get(family(block))
        if underlay is None or node.vtep(family(block)) is None:
            offered = replace(offered, kind=PathKind.VXLAN, next_hop=None)
        flaps = self._destinations.flaps(block)
        after = self._destinations.settle(there, offered, underlay, now)
        self._wishes.wish(("block", order(block)), self._ways(there, offered, native=after.state is State.NATIVE))
        chosen = path.choose(self._here, there, offered, after.state, self._prober.verdict(block), since=wall)
        flapped = after.flaps > flaps
        self.counts.flaps += flapped
        return self._record(block, chosen, flapped=flapped)

    def _ways(self, there: There, offered: Candidate, *, native: bool) -> Iterator[KernelObject]:
        """Yield what the kernel should hold of a remote block."""
        underlay, vtep = self._underlays.get(family(there.block)), there.node.vtep(family(there.block))
        if underlay is None or vtep is None:
            return
        yield from desired.for_remote_block(there.block, there.node, offered, underlay, native=native)
        if there.native:
            yield from self._grounds(vxlan.to_block(there.block, vtep.address), native=native)

    def _grounds(self, ground: Route, *, native: bool) -> Iterator[KernelObject]:
        """Yield a native block's ground for tables besides the main one."""
        assert self._here is not None  # noqa: S101 - step() has seen to it
        yield from unowned.ground(self._here, ground)
        if not native:
            yield from secondary.ground(ground, self._attached)

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
        if not self._heard.strays_known:  # a route to a stray of an earlier run must stand until we know
            wanted = tuple(change for change in wanted if not _forgets_an_address(change))
        changes = tuple(self._refusals.due(wanted, now))
        if changes:
            actions.append(ApplyKernel(changes))
        elif self._sysctls_due:
            self._sysctls_due = False
            actions.append(SetSysctls(tuple(surroundings.sysctls(self._underlays, self._attached))))
        if self._peers_due and not changes:  # the overlay's devices must be there to be told apart
            overlay = frozenset(OVERLAY_DEVICES[version] for version in self._underlays)
            actions.append(AnswerPeers(self._peers_due, overlay))
            self._peers_due = {}
        return actions

    def _probes(self, now: float) -> list[Action]:
        assert self._here is not None  # noqa: S101 - step() has seen to it
        probes = []
        for due in self._prober.due(now):
            version = family(due.block)
            own, theirs = self._here.node.address(version), self.responder(due.block)
            if (source := self._probe_source(version)) is not None:
                probes.append(ProbeToSend(due.block, due.sequence, source, due.block.network_address))
            if due.call and own is not None and theirs is not None:
                probes.append(ProbeToSend(due.block, due.sequence, own.ip, theirs, PacketKind.CALL))
        return [SendProbes(tuple(probes))] if probes else []

    def _probe_source(self, version: Family) -> Address | None:
        """Return what to probe from: a pool's address proves that those may be sent; else the node's own."""
        assert self._here is not None  # noqa: S101 - step() has seen to it
        if self._here.forwards:
            vtep = self._here.node.vtep(version)
            return vtep.address if vtep else None
        own = self._here.node.address(version)
        return own.ip if own else None

    def _reporting(self) -> list[Action]:
        if not self._report_due:
            return []
        self._report_due = False
        self._acknowledge()
        problem = self.not_ready()
        lost = tuple(sorted(self._destinations.lost, key=order))
        report = AgentReport(Metadata(self.name), not problem, self._observed, lost, problem)
        if report == self._report:
            return []
        self._report = report
        return [WriteReport(report)]

    def _acknowledge(self) -> None:
        """Advance ``observed`` to the newest withdrawal up to which no native route is left in the kernel."""
        standing = {b: r for b, r in self._heard.withdrawals.items() if self._still_uses(b)}
        oldest = min(standing.values(), default=None)
        done = {b: r for b, r in self._heard.withdrawals.items() if oldest is None or r < oldest}
        self._observed = max([self._observed, *done.values()])
        for block in done:
            del self._heard.withdrawals[block]

    def _still_uses(self, block: Network) -> bool:
        cloud, route = self._heard.clouds.get(self.name), self._heard.routes[block]
        ours = cloud.tables if cloud else ()
        withdrawn = any(s.table in ours and s.state is RouteState.WITHDRAWING for s in route.tables)
        return withdrawn and Route(block, metric=NATIVE_METRIC, table=MAIN_TABLE).key in self._wishes.actual


def _forgets_an_address(change: Change) -> bool:
    """Tell whether it removes a route to a single address."""
    value = change.value
    whole = isinstance(value, Route) and value.destination.prefixlen == value.destination.max_prefixlen
    return whole and isinstance(change, Remove)


def _unknown(name: NodeName) -> Node:
    """Return a node that somebody's block names and nobody has described yet."""
    return Node(Metadata(name))
