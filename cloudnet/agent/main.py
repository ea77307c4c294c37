"""``cloudnet agent``, wired up. One owner thread acts; the others only put what they hear on its queue.

    store ── informer ──────┐
    kernel ── notices ──────┤              ┌─▶ kernel changes, sysctls, reads (at once, on this thread)
    probes ── UDP sockets ──┼─▶ queue ─▶ owner: Loop.step ─▶ probes (at once)
    SIGTERM ────────────────┘              └─▶ reporter thread ─▶ store
                                           └─▶ snapshot ◀── Unix socket, /metrics, /healthz, /readyz

Beside the owner run, each on threads of its own and told by the same informer: policy (``policy.py``), outgoing NAT
(``nat.py``), BGP where it is spoken (``bgp_thread.py``), the node's tunnel addresses (``tunnel.py``), and the CNI
plugin's requests (``cni.py``).

A store that is away, or locked, stops nothing: the loop goes on with what it knows. SIGTERM ends the program and
leaves the data path as it is.
"""

from __future__ import annotations

import gc
import logging
import queue
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager

from cloudnet.agent import (
    actions,
    bgp_thread,
    cni,
    fastpath,
    nat,
    node_address_keeper,
    policy,
    policy_only,
    tunnel,
    uninstall,
)
from cloudnet.agent.addresses import SharedLeases
from cloudnet.agent.answers import answer
from cloudnet.agent.cni_config import keeping_config
from cloudnet.agent.enforcing import enforcing, unreadable_policies
from cloudnet.agent.fastpath import FastPathKeeper
from cloudnet.agent.heard import KINDS
from cloudnet.agent.nat import NatKeeper, NatThread
from cloudnet.agent.node_address_keeper import NodeAddressKeeper
from cloudnet.agent.owner import Agent, Inbox, Stop
from cloudnet.agent.prober import ProbeSockets
from cloudnet.agent.reporter import Reporter
from cloudnet.agent.service import Measuring, measuring, stopping_on_signals
from cloudnet.agent.socket import SocketServer
from cloudnet.clock import Clock, SystemClock
from cloudnet.cni.gate import Gate
from cloudnet.cni.site import Site
from cloudnet.config import AgentConfig
from cloudnet.ipam.allocator import Allocator
from cloudnet.keeping import keeping
from cloudnet.kernel import features
from cloudnet.kernel.api import Kernel
from cloudnet.kernel.fastpath import FastPathKernel
from cloudnet.kernel.features import Features
from cloudnet.kernel.netlink import NetlinkKernel
from cloudnet.kernel.nft_library import NftLibrary
from cloudnet.kernel.pods import Pods
from cloudnet.model.addresses import Address, NodeName
from cloudnet.model.cluster_events import Record, at_own_node
from cloudnet.model.resources import IPAMBlock, Resource
from cloudnet.policy import feed
from cloudnet.policy.selectors import Matches
from cloudnet.routes import borrowed
from cloudnet.store import guard, last_known
from cloudnet.store.api import Store
from cloudnet.store.event_recorder import recording
from cloudnet.store.guard import Guard
from cloudnet.store.informer import Batch, Informer
from cloudnet.store.last_known import LastKnown
from cloudnet.store.registry import open_store

log = logging.getLogger(__name__)

_NOTICE_POLL = 0.5  # seconds until the notices' thread sees that it should end


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
        opened = open_store(config.store, node=config.node)
        store = Guard(opened)
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
        agent.ask_of_policy(policing)
        agent.bgp = stack.enter_context(bgp_thread.speaking(config, clock))
        hearers = (
            lambda batch: store.hear(batch.events, synced=batch.synced),
            lambda batch: cluster.hear(batch.events, synced=batch.synced),
            lambda batch: leases.heard(batch.events, synced=batch.synced),
            lambda batch: outgoing.hear(batch.events, synced=batch.synced),
            lambda batch: policing.hear(batch.events, synced=batch.synced),
            agent.bgp.hear,
        )
        kept = LastKnown(last_known.path(config.state), clock)
        ask_of_store(agent, hear_resources(store, inbox, stack, hearers, kept, also=agent.bgp.kinds))
        hear_blocks(store, inbox, stack, agent.bgp.hear_blocks)
        own = node_address_keeper.made(config, store, cluster.own, at_own_node(record, config.node))
        stack.enter_context(keeping_own_address(own, agent, clock))
        stack.enter_context(keeping("tunnel", tunnel_keeper(config, store, clock, cluster).look))
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


def ask_of_store(agent: Agent, informer: Informer) -> None:
    """Ask this informer how the store fares."""
    agent.store_problem = lambda: informer.problem
    agent.unreadable = lambda: tuple(unreadable_policies(informer))


def keeping_own_address(keeper: NodeAddressKeeper, agent: Agent, clock: Clock) -> AbstractContextManager[None]:
    """Keep the address of this node, and let people see how it is found."""
    agent.node_addresses = keeper.words
    return node_address_keeper.keeping_addresses(keeper, clock)


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
    also: Sequence[type[Resource]] = (),
) -> Informer:
    """Tell the inbox and all hearers of the store's resources until the stack closes; on the informer's thread.

    ``also``: kinds that not every agent needs.
    """

    def deliver(batch: Batch) -> None:
        for hear in hearers:
            hear(batch)
        mine = tuple(event for event in batch.events if isinstance(event.value, KINDS))
        if mine or batch.synced:
            inbox.put(actions.ResourcesChanged(mine, batch.synced))

    kinds = tuple({*KINDS, *cni.KINDS, *feed.KINDS, *guard.KINDS, *also})
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
    """Answer the CNI plugin, and let the runtime know of it when pods can be added."""

    def observe(command: str, code: int, seconds: float) -> None:
        if agent.metrics:
            agent.metrics.cni_answered(command, code, seconds)

    with cni.serving(config, site, leases, observe=observe), keeping_config(config, agent.cannot_add):
        yield


@contextmanager
def watching(kernel: Kernel, inbox: Inbox) -> Iterator[None]:
    """Put a notice on the inbox whenever somebody else changes the kernel."""
    notices = kernel.notices()

    def listen() -> float:
        if notices.wait(_NOTICE_POLL):
            inbox.put(actions.KernelStirred())
        return 0.0

    with closing(notices), keeping("notices", listen):
        yield
