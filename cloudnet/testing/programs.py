"""Agent and controller with their own threads, on any store, over a kernel and a cloud in memory.

with running_controller(store, cloud), running_agent(other, "n1") as agent:
    join(third, 1)
    eventually(lambda: programmed(third) == 2)

What a program does while its store is in trouble, and after it, shows here without a single packet.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Interface, IPv4Network, ip_address
from pathlib import Path

from cloudnet.agent import actions
from cloudnet.agent.main import hear_resources
from cloudnet.agent.owner import Agent
from cloudnet.agent.owner import Inbox as AgentInbox
from cloudnet.agent.owner import Stop as StopAgent
from cloudnet.agent.reporter import Reporter
from cloudnet.clock import SystemClock
from cloudnet.config import AgentConfig
from cloudnet.controller.lease import Keeper
from cloudnet.controller.loop import KINDS, Loop
from cloudnet.controller.main import Controller, Inbox, Stop, telling
from cloudnet.controller.options import Options
from cloudnet.kernel.api import Gateway, Link
from cloudnet.kernel.memory import MemoryKernel
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.resources import (
    AffinityState,
    BlockAffinity,
    CloudRoute,
    Lease,
    Metadata,
    Node,
    RouteState,
    Vtep,
)
from cloudnet.provider.memory import MemoryCloud, MemoryProvider
from cloudnet.store import guard
from cloudnet.store.api import Store
from cloudnet.store.guard import Guard
from cloudnet.store.informer import Informer
from cloudnet.store.last_known import LastKnown

SOON = 40.0  # seconds until a state must be reached; a loaded machine takes its time
RETRIES = Options(retry_first=0.2, retry_limit=1.0)


class Mute:
    """Where probes would leave: nobody answers, so that every path stays on the ground."""

    def send(self, probes: Collection[actions.ProbeToSend]) -> int:
        return len(probes)

    def answer_peers(self, peers: actions.AnswerPeers) -> None:
        """There are none."""


@contextmanager
def running_controller(
    store: Store, cloud: MemoryCloud, *, name: str = "controller", lease: float = 3.0
) -> Iterator[Controller]:
    """Run a controller until the block ends; the store stays open."""
    clock, guarded = SystemClock(), Guard(store)
    inbox: Inbox = queue.SimpleQueue()
    provider = MemoryProvider(cloud, clock)
    decides = Loop(provider.capabilities, RETRIES)
    made = Controller(decides, Keeper(name, lease), inbox, clock, provider=provider, store=guarded)
    made.locked = lambda: guarded.problem
    thread = threading.Thread(target=made.run, name="controller")
    with Informer(guarded, (*KINDS, Lease, *guard.KINDS), telling(guarded, inbox)):
        thread.start()
        try:
            yield made
        finally:
            inbox.put(Stop())
            thread.join(SOON)
            assert not thread.is_alive()


class RunningAgent:
    """An agent and what it speaks to. ``kernel`` is its node's."""

    def __init__(self, agent: Agent, kernel: MemoryKernel, informer: Informer, store: Guard) -> None:
        self.agent = agent
        self.kernel = kernel
        self.informer = informer
        self.store = store

    def device_to(self, block: IPv4Network) -> str:
        """Return the device that packets to a block leave by; empty when they have no way."""
        route = self.kernel.lookup(block.network_address + 9)
        return route.device if route is not None and route.device else ""


@contextmanager
def running_agent(store: Store, node: str, directory: Path) -> Iterator[RunningAgent]:
    """Run the agent of a node until the block ends; the store stays open. ``directory`` is its memory."""
    clock, guarded, config = SystemClock(), Guard(store), AgentConfig(node=node)
    number = int(node.removeprefix("n"))
    eth0 = Link("eth0", 2, 1500, up=True, addresses=(address_of(number),))
    kernel = MemoryKernel([eth0], [Gateway(Family.IPV4, "eth0", ip_address(f"10.0.{number}.1"))])
    with ExitStack() as stack:
        inbox: AgentInbox = queue.SimpleQueue()
        reporter = Reporter(guarded, retry=0.2)
        stack.callback(reporter.close)
        agent = Agent(config, inbox, clock, kernel=kernel, sockets=Mute(), reporter=reporter)
        agent.locked = lambda: guarded.problem
        thread = threading.Thread(target=agent.run, name="agent")
        kept = LastKnown(str(directory / f"{node}.kept"), clock)
        hearers = (lambda batch: guarded.hear(batch.events, synced=batch.synced),)
        informer = hear_resources(guarded, inbox, stack, hearers, kept)
        agent.store_problem = lambda: informer.problem
        thread.start()
        try:
            yield RunningAgent(agent, kernel, informer, guarded)
        finally:
            inbox.put(StopAgent())
            thread.join(SOON)
            assert not thread.is_alive()


# --- the cluster that they work for -------------------------------------------------------------------------


def cloud_of(nodes: int) -> MemoryCloud:
    """Return a cloud with a table and a machine for each node."""
    made = MemoryCloud(SystemClock())
    for number in range(1, nodes + 1):
        made.add_table(f"rtb-{number}", subnets=[f"s{number}"])
        made.add_instance(f"i-{number}", f"s{number}", [address_of(number).ip])
    return made


def join(store: Store, number: int) -> None:
    """Write a node and its block, as kubelet and address management would."""
    name = f"n{number}"
    tunnel = Vtep(block_of(number).network_address, f"66:00:00:00:00:{number:02x}")
    store.create(Node(Metadata(name), (address_of(number),), (tunnel,)))
    meta = Metadata(f"{name}-10-65-{number}-0-26")
    store.create(BlockAffinity(meta, NodeName(name), block_of(number), AffinityState.CONFIRMED))


POOL = IPv4Network("10.65.0.0/16")


def address_of(number: int) -> IPv4Interface:
    return IPv4Interface(f"10.0.{number}.10/24")


def block_of(number: int) -> IPv4Network:
    return IPv4Network(f"10.65.{number}.0/26")


def programmed(store: Store) -> int:
    """Return how many routes of all tables the ledger says are there."""
    states = (table.state for item in store.list(CloudRoute).items for table in item.value.tables)
    return sum(state is RouteState.PROGRAMMED for state in states)


def eventually(true: Callable[[], bool], *, seconds: float = SOON) -> None:
    """Wait until something is true.

    Raises:
        TimeoutError: it does not come true in time.
    """
    until = time.monotonic() + seconds
    while not true():
        if time.monotonic() > until:
            raise TimeoutError(f"not true after {seconds:g} s")
        time.sleep(0.01)
