"""``cloudnet agent``: the loop's hands. One owner thread acts; the others only put what they hear on its queue.

    store ── informer ──────┐
    kernel ── notices ──────┤              ┌─▶ kernel changes, sysctls, reads (at once, on this thread)
    probes ── UDP sockets ──┼─▶ queue ─▶ owner: Loop.step ─▶ probes (at once)
    SIGTERM ────────────────┘              └─▶ reporter thread ─▶ store
                                           └─▶ snapshot ◀── Unix socket, /metrics, /healthz, /readyz

Beside the owner run, each on threads of its own and told by the same informer: policy (``policy.py``), outgoing NAT
(``nat.py``), the node's tunnel addresses (``tunnel.py``), and the CNI plugin's requests (``cni.py``).

A store that is away, or locked, stops nothing: the loop goes on with what it knows. SIGTERM ends the program and
leaves the data path as it is.
"""

from __future__ import annotations

import gc
import logging
import queue
import secrets
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

from cloudnet.agent import actions, bgp, cni, fastpath, loop, nat, policy, policy_only, tunnel, uninstall
from cloudnet.agent.addresses import SharedLeases
from cloudnet.agent.bgp import BgpThread, Silent
from cloudnet.agent.enforcing import enforcing, unreadable_policies
from cloudnet.agent.fastpath import FastPathKeeper
from cloudnet.agent.loop import Loop
from cloudnet.agent.nat import NatKeeper, NatThread
from cloudnet.agent.prober import ProbeSockets
from cloudnet.agent.reporter import Reporter
from cloudnet.agent.service import Measuring, measuring, stopping_on_signals
from cloudnet.agent.socket import SocketServer
from cloudnet.clock import Clock, SystemClock
from cloudnet.cni.gate import Gate
from cloudnet.cni.site import Site
from cloudnet.config import AgentConfig
from cloudnet.errors import BadInput
from cloudnet.ipam.allocator import Allocator
from cloudnet.kernel import features
from cloudnet.kernel.api import Change, Kernel, KernelError
from cloudnet.kernel.fastpath import FastPathKernel
from cloudnet.kernel.features import Features
from cloudnet.kernel.netlink import NetlinkKernel
from cloudnet.kernel.nft_library import NftLibrary
from cloudnet.kernel.pods import Pods
from cloudnet.model.addresses import Address, NodeName, order
from cloudnet.model.cluster_events import Record, at_own_node
from cloudnet.model.paths import Path
from cloudnet.model.resources import AgentReport, IPAMBlock, Resource
from cloudnet.policy import feed
from cloudnet.policy.selectors import Matches
from cloudnet.policy.statistics import Count
from cloudnet.routes import borrowed
from cloudnet.store import guard, last_known
from cloudnet.store.api import Store
from cloudnet.store.event_recorder import recording
from cloudnet.store.guard import Guard
from cloudnet.store.informer import Batch, Informer
from cloudnet.store.last_known import LastKnown
from cloudnet.store.registry import open_store

if TYPE_CHECKING:
    from cloudnet.agent.metrics import Metrics

log = logging.getLogger(__name__)

_NAMED_FAILURES = 5  # of one batch; the others have the same cause more often than not
_NOTICE_POLL = 0.5  # seconds until the notices' thread sees that it should end
_BATCH = 10_000  # inputs taken in before a step: probes must go out under any flood


@dataclass(frozen=True, slots=True)
class Stop:
    """Leave the owner's loop."""


class Sockets(Protocol):
    """Where probes leave."""

    def send(self, probes: Collection[actions.ProbeToSend]) -> int: ...

    def answer_peers(self, peers: actions.AnswerPeers) -> None: ...


class Reports(Protocol):
    """Where the report goes."""

    def report(self, report: AgentReport) -> None: ...


Heard: TypeAlias = actions.Input | Stop
Inbox: TypeAlias = "queue.SimpleQueue[Heard]"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What other threads may know; replaced whole, never changed."""

    paths: tuple[Path, ...] = ()
    kinds: Mapping[tuple[str, str], int] = field(default_factory=dict)
    not_ready: str = "starting"
    mtu: int = 0
    observed: int = 0
    flaps: int = 0
    repairs: int = 0
    failures: int = 0
    heard_at: float = 0.0  # from the store
    awake_until: float = 0.0  # the next step is due by then


class Agent:
    """The owner: runs the loop and carries its actions out. ``run`` returns when somebody says ``Stop``."""

    def __init__(
        self,
        config: AgentConfig,
        inbox: Inbox,
        clock: Clock,
        *,
        kernel: Kernel,
        sockets: Sockets,
        reporter: Reports,
    ) -> None:
        self.inbox = inbox
        self.snapshot = Snapshot()
        self.store_problem: Callable[[], str] = str
        self.locked: Callable[[], str] = str  # somebody has locked the store
        self.unreadable: Callable[[], Sequence[str]] = tuple  # policies whose documents make no sense, and why
        self.nat_problem: Callable[[], str] = str
        self.policy_problem: Callable[[], str] = str
        self.policy_out_of_force: Callable[[], str] = str  # a part of the former: no policy can be changed
        self.bgp: BgpThread | Silent = Silent()
        self.policy_traffic: Callable[[], Sequence[Count]] = tuple
        self.laid = threading.Event()  # the ground is in the kernel, for the first time
        self.metrics: Metrics | None = None  # comes later: its library takes longer to import than the ground to lay
        self._loop = Loop(config)
        self._speaks_bgp = config.bgp
        self._kernel, self._sockets, self._reporter, self._clock = kernel, sockets, reporter, clock
        self._sysctl_problems: set[str] = set()

    @property
    def heard_at(self) -> float:
        return self.snapshot.heard_at

    @property
    def awake_until(self) -> float:
        return self.snapshot.awake_until

    def not_ready(self) -> str:
        """Return what is missing, or nothing; any thread may ask."""
        unreadable = "; ".join(self.unreadable())
        return self.cannot_add() or self.nat_problem() or self.policy_problem() or self.bgp.problem or unreadable

    def cannot_add(self) -> str:
        """Return why no pod can be added now, or nothing; any thread may ask."""
        return self.snapshot.not_ready or self.locked()

    def impaired(self) -> str:
        """Return what keeps this node's pods from all of their network, or nothing; any thread may ask."""
        return self.nat_problem() or self.policy_out_of_force()

    def run(self) -> None:
        wakeup = self._clock.now()
        while True:
            heard = self._take(max(0.0, wakeup - self._clock.now()))
            if any(isinstance(h, Stop) for h in heard):
                return
            self._loop.receive(h for h in heard if not isinstance(h, Stop))
            wakeup = self._act()

    def _take(self, timeout: float) -> Sequence[Heard]:
        heard: list[Heard] = []
        try:
            heard.append(self.inbox.get(timeout=timeout))
            while len(heard) < _BATCH:
                heard.append(self.inbox.get_nowait())
        except queue.Empty:
            pass  # everything that was there has been taken
        return heard

    def _act(self) -> float:
        """Step and carry out until nothing more is to do now; return when to wake up."""
        while True:
            due, wakeup = self._loop.step(self._clock.now(), self._clock.wall())
            answers = [answer for action in due if (answer := self._carry_out(action)) is not None]
            if not answers:
                break
            self._loop.receive(answers)
        self._publish(wakeup)
        return wakeup

    def _carry_out(self, action: actions.Action) -> actions.Input | None:
        match action:
            case actions.ReadKernel():
                return self._read()
            case actions.ApplyKernel(changes):
                return self._apply(changes)
            case actions.SetUpDevices(devices):
                return self._set_up(devices)
            case actions.SetSysctls(settings):
                self._set_sysctls(settings)
            case actions.SendProbes(probes):
                unsent = self._sockets.send(probes)
                if self.metrics:
                    self.metrics.probes_sent.inc(len(probes) - unsent)
                    self.metrics.probes_unsent.inc(unsent)
            case actions.AnswerPeers():
                self._sockets.answer_peers(action)
            case actions.WriteReport(report):
                self._reporter.report(report)
            case actions.PathChanged():
                self._tell(action)
        return None

    def _set_up(self, devices: Sequence[tuple[str, tuple[Address, ...]]]) -> actions.Input | None:
        """Set devices up; look at them again, unless one could not be: the next resync tries again."""
        try:
            for name, addresses in devices:
                self._kernel.set_up(name, addresses)
                log.info("set up interface=%s addresses=%s", name, ",".join(map(str, addresses)))
        except KernelError as e:
            log.warning("an interface for pods cannot be set up, trying again by itself: %s", e)
            return None
        return actions.KernelStirred()

    def _read(self) -> actions.Input:
        try:
            learned = self._kernel.learned() if self._speaks_bgp else {}
            links, gateways = self._kernel.links(), tuple(self._kernel.gateways())
            return actions.KernelRead(links, gateways, self._kernel.read(), learned)
        except KernelError as e:
            log.warning("cannot read the kernel, trying again reason=%r", str(e))
            return actions.ReadFailed()

    def _apply(self, changes: tuple[Change, ...]) -> actions.Input:
        failures = tuple(self._kernel.apply(changes))
        for failure in failures[:_NAMED_FAILURES]:
            log.warning("kernel refused a change change=%r reason=%r", failure.change, str(failure.error))
        if len(failures) > _NAMED_FAILURES:
            log.warning("kernel refused more changes number=%d", len(failures) - _NAMED_FAILURES)
        if self.metrics:
            self.metrics.kernel_changes.inc(len(changes) - len(failures))
            self.metrics.kernel_failures.inc(len(failures))
        return actions.Applied(changes, failures)

    def _set_sysctls(self, settings: tuple[tuple[str, str], ...]) -> None:
        for name, value in settings:
            try:
                self._kernel.set_sysctl(name, value)
            except KernelError as e:
                if name not in self._sysctl_problems:
                    log.warning("cannot set a kernel setting name=%s value=%s reason=%r", name, value, str(e))
                self._sysctl_problems.add(name)

    def _tell(self, change: actions.PathChanged) -> None:
        path = change.after or change.before
        if path is not None:
            was, now = (p.kind.value if p else "gone" for p in (change.before, change.after))
            log.info(
                "path changed block=%s node=%s before=%s after=%s reason=%s detail=%r",
                path.block, path.node, was, now, path.reason.value, path.detail,
            )  # fmt: skip
        if self.metrics:
            self.metrics.path_changed(change)

    def _publish(self, wakeup: float) -> None:
        counts, before = self._loop.counts, self.snapshot
        not_ready = self._loop.not_ready()
        if not not_ready:
            self.laid.set()
        if not_ready != before.not_ready:
            log.info("not ready reason=%r", not_ready) if not_ready else log.info("ready node=%s", self._loop.name)
        self.snapshot = Snapshot(
            paths=self._loop.paths,
            kinds=dict(self._loop.kinds),
            not_ready=not_ready,
            mtu=self._loop.mtu(),
            observed=self._loop.report.observed if self._loop.report else 0,
            flaps=counts.flaps,
            repairs=counts.repairs,
            failures=counts.failures,
            heard_at=self._loop.heard_at,
            awake_until=wakeup,
        )
        if self.metrics:
            self.metrics.show(self.snapshot.kinds, ready=not not_ready, repairs=counts.repairs, rtts=counts.rtts)
        counts.rtts.clear()


def answer(config: AgentConfig, agent: Agent, request: Mapping[str, object]) -> object:
    """Answer one request on the Unix socket.

    Raises:
        BadInput: there is no such verb.
    """
    seen = agent.snapshot
    match request.get("verb"):
        case "paths":
            ordered = sorted(seen.paths, key=lambda path: order(path.block))
            return {"node": config.node, "paths": [spell(path) for path in ordered]}
        case "status":
            return {
                "node": config.node,
                "ready": not agent.not_ready(),
                "message": agent.not_ready(),
                "store_problem": agent.store_problem(),
                "pod_mtu": seen.mtu,
                "observed": seen.observed,
                "destinations": {f"{kind}/{reason}": n for (kind, reason), n in sorted(seen.kinds.items()) if n},
                "flaps": seen.flaps,
                "kernel_repairs": seen.repairs,
                "kernel_failures": seen.failures,
            }
        case "policy":
            return {"node": config.node, "counts": [asdict(count) for count in agent.policy_traffic()]}
        case "bgp":
            return {"node": config.node, **agent.bgp.answer()}
    raise BadInput(f"expected bgp, paths, policy or status, found {request.get('verb')!r}", path="verb")


def spell(path: Path) -> dict[str, object]:
    """Return a path as the socket spells it."""
    return {
        "block": str(path.block),
        "node": path.node,
        "kind": path.kind.value,
        "reason": path.reason.value,
        "next_hop": str(path.next_hop) if path.next_hop else None,
        "mtu": path.mtu,
        "detail": path.detail,
        "since": path.since,
    }


def run(config: AgentConfig) -> int:
    """Run the agent until SIGTERM or SIGINT; the data path stays. Returns the exit status.

    Raises:
        CloudnetError: it cannot start; the message says why and what to do.
    """
    if config.policy_only:
        return policy_only.run(config)
    clock = SystemClock()
    spare_the_collector()
    with ExitStack() as stack:
        found = features.detect()
        features.require(found, "net_admin", "vxlan", "policy_rules")
        uninstall.remember(config)
        kernel = NetlinkKernel(
            allow_host_network=config.allow_host_network, checksum_broken=found.vxlan_checksum_broken
        )
        stack.callback(kernel.close)
        store = Guard(opened := open_store(config.store))
        stack.callback(store.close)
        inbox: Inbox = queue.SimpleQueue()
        sockets = ProbeSockets(config.probe_port, secrets.randbits(32), clock, inbox.put)
        stack.callback(sockets.close)
        reporter = Reporter(store)
        stack.callback(reporter.close)
        agent = Agent(config, inbox, clock, kernel=kernel, sockets=sockets, reporter=reporter)
        agent.locked = lambda: store.problem
        server = SocketServer(config.socket, lambda request: answer(config, agent, request))
        stack.callback(server.close)
        cluster = cni.CachedCluster(config.node, store)
        leases = cni.warm_leases(config, store, clock, Matches())
        outgoing = nat_thread(config, clock)
        stack.callback(outgoing.close)
        agent.nat_problem = lambda: outgoing.problem
        has_fast_path = takes_fast_path(config, found)
        wanted = policy.options(config, fast_path=has_fast_path)
        record = stack.enter_context(recording(opened, config.node))
        policing = stack.enter_context(enforcing(config, wanted, clock, at_own_node(record, config.node)))
        agent.policy_problem = lambda: policing.problem
        agent.policy_out_of_force = lambda: policing.out_of_force
        agent.policy_traffic = policing.traffic
        agent.bgp = stack.enter_context(bgp.speaking(config, clock))
        hearers = (
            lambda batch: store.hear(batch.events, synced=batch.synced),
            lambda batch: cluster.hear(batch.events, synced=batch.synced),
            lambda batch: leases.heard(batch.events, synced=batch.synced),
            lambda batch: outgoing.hear(batch.events, synced=batch.synced),
            lambda batch: policing.hear(batch.events, synced=batch.synced),
            agent.bgp.hear,
        )
        informer = hear_resources(
            store, inbox, stack, hearers, LastKnown(last_known.path(config.state), clock), also=agent.bgp.kinds
        )
        agent.store_problem = lambda: informer.problem
        agent.unreadable = lambda: tuple(unreadable_policies(informer))
        hear_blocks(store, inbox, stack, agent.bgp.hear_blocks)
        stack.enter_context(tunnel.keeping(tunnel_keeper(config, store, clock, cluster)))
        stack.enter_context(watching(kernel, inbox))
        stack.enter_context(stopping_on_signals(lambda: inbox.put(Stop())))  # SimpleQueue.put is reentrant
        measured: list[Measuring] = [outgoing, policing, agent.bgp]
        if has_fast_path:
            measured.append(stack.enter_context(fastpath.keeping(fast_path_keeper(config, cluster), clock)))
        stack.enter_context(measuring(config, agent, clock, measured))
        site = site_maker(config, agent, store, clock, cluster=cluster, leases=leases, gate=policing, record=record)
        stack.enter_context(adding_pods(config, agent, site, leases))
        agent.run()
        log.info("stopping, the data path stays node=%s", config.node)
    return 0


def takes_fast_path(config: AgentConfig, found: Features) -> bool:
    """Tell whether established connections pass netfilter by; say why they do not although they should."""
    if config.fast_path and not found.fast_path:
        log.info("established connections go the ordinary way reason=%r", features.REMEDIES["fast_path"])
    return config.fast_path and found.fast_path


def spare_the_collector() -> None:
    """Let the cycle collector look less often: a cold start makes a hundred thousand values and no cycle.

    What stands after the imports is never looked at again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


def tunnel_keeper(config: AgentConfig, store: Store, clock: Clock, cluster: cni.CachedCluster) -> tunnel.TunnelKeeper:
    matches = Matches()
    allocator = Allocator(store, now=cni.time_of(clock), matches=matches)
    return tunnel.TunnelKeeper(
        store, allocator, NodeName(config.node), seen=lambda: (cluster.own(), cluster.pools()), matches=matches
    )


def nat_thread(config: AgentConfig, clock: Clock) -> NatThread:
    """Start the thread of outgoing NAT; it opens its door itself, and goes on without one.

    Raises:
        BadInput: a setting makes no sense.
    """
    return NatThread(
        NatKeeper(
            nat.options(config),
            lambda: NftLibrary(allow_host_network=config.allow_host_network),
            resync=config.resync_seconds,
        ),
        clock,
    )


def fast_path_keeper(config: AgentConfig, cluster: cni.CachedCluster) -> FastPathKeeper:
    """Return what lets devices take the fast path: those of pods, and those that this node's own addresses are on."""

    def own() -> frozenset[Address]:
        node = cluster.own()
        return frozenset(address.ip for address in node.addresses) if node else frozenset()

    return FastPathKeeper(
        (config.interface_prefix,),
        own,
        lambda: FastPathKernel(allow_host_network=config.allow_host_network),
    )


def hear_resources(
    store: Store,
    inbox: Inbox,
    stack: ExitStack,
    hearers: Sequence[Callable[[Batch], None]],
    kept: LastKnown,
    *,
    also: Collection[type[Resource]] = (),
) -> Informer:
    """Tell the inbox and all hearers of the store's resources until the stack closes; on the informer's thread.

    ``also``: kinds that not every agent needs.
    """

    def deliver(batch: Batch) -> None:
        for hear in hearers:
            hear(batch)
        mine = tuple(event for event in batch.events if isinstance(event.value, loop.KINDS))
        if mine or batch.synced:
            inbox.put(actions.ResourcesChanged(mine, batch.synced))

    kinds = tuple({*loop.KINDS, *cni.KINDS, *feed.KINDS, *guard.KINDS, *also})
    return stack.enter_context(Informer(store, kinds, deliver, last_known=kept))


def hear_blocks(store: Store, inbox: Inbox, stack: ExitStack, hear: Callable[[Batch], None]) -> None:
    """Tell the inbox, and ``hear``, of addresses that are not where their block is, until the stack closes.

    By an informer of its own: there are thousands of blocks, they change with every pod, and the ground needs none.
    """

    def deliver(batch: Batch) -> None:
        inbox.put(actions.BlocksChanged(batch.events, batch.synced))
        hear(batch)

    stack.enter_context(Informer(store, (IPAMBlock,), deliver, views={IPAMBlock: borrowed.lean}))


def site_maker(
    config: AgentConfig,
    agent: Agent,
    store: Store,
    clock: Clock,
    *,
    cluster: cni.CachedCluster,
    leases: SharedLeases,
    gate: Gate,
    record: Record,
) -> Callable[[Pods], Site]:
    """Return what puts together all that answering the CNI plugin needs."""

    def site(pods: Pods) -> Site:
        return cni.build_site(
            config,
            store,
            clock,
            pods=pods,
            cluster=cluster,
            gate=gate,
            leases=leases,
            mtu=lambda: config.pod_mtu or agent.snapshot.mtu,
            not_ready=agent.cannot_add,
            impaired=agent.impaired,
            record=record,
        )

    return site


@contextmanager
def adding_pods(
    config: AgentConfig, agent: Agent, site: Callable[[Pods], Site], leases: SharedLeases
) -> Iterator[None]:
    """Answer the CNI plugin."""

    def observe(command: str, code: int, seconds: float) -> None:
        if agent.metrics:
            agent.metrics.cni_answered(command, code, seconds)

    with cni.serving(config, site, leases, observe=observe):
        yield


@contextmanager
def watching(kernel: Kernel, inbox: Inbox) -> Iterator[None]:
    """Put a notice on the inbox whenever somebody else changes the kernel."""
    ending = threading.Event()
    notices = kernel.notices()

    def listen() -> None:
        while not ending.is_set():
            if notices.wait(_NOTICE_POLL) and not ending.is_set():
                inbox.put(actions.KernelStirred())

    thread = threading.Thread(target=listen, name="notices", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
        notices.close()
